"""The number format that trains fastest on this machine: ``${fastest_precision:}`` in a YAML file."""

from __future__ import annotations

import torch

#: What ``torch.cpu.get_capabilities`` calls the instructions that multiply in bfloat16.
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")


def fastest_precision() -> str:
    """``bf16-mixed`` where the accelerator, or else the processor, multiplies in bfloat16; ``32-true`` elsewhere.

    A processor that has to emulate bfloat16 takes several times as long as in float32; one that has it half as long.
    """
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    # Older releases of torch report no more than this.
    native = any(map(capabilities.get, BFLOAT16)) or torch.cpu._is_avx512_bf16_supported()
    return "bf16-mixed" if native else "32-true"
