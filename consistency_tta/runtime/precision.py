"""The number format that is fastest on this machine: ``${fastest_precision:}`` in a YAML file, ``--dtype auto``."""

from __future__ import annotations

import torch

from consistency_tta.runtime.errors import ConfigurationError

#: What ``torch.cpu.get_capabilities`` calls the instructions that multiply in bfloat16.
BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")

#: Number formats of generation.
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def fastest_precision() -> str:
    """Lightning's name of the format that trains fastest: ``bf16-mixed`` or ``32-true``."""
    return "bf16-mixed" if multiplies_in_bfloat16("cuda" if torch.cuda.is_available() else "cpu") else "32-true"


def inference_dtype(name: str, device: torch.device) -> torch.dtype:
    """The format in which networks run.

    Args:
        name: a name in :data:`DTYPES`, or ``auto`` for bfloat16 where the device multiplies in it and float32
            elsewhere: docs/performance.md has the measurements.
        device: where they run.

    Raises:
        ConfigurationError: if there is no such format.
    """
    if name == "auto":
        return torch.bfloat16 if multiplies_in_bfloat16(device.type) else torch.float32
    if name not in DTYPES:
        raise ConfigurationError(f"expected a dtype among auto, {', '.join(DTYPES)}, got {name!r}")
    return DTYPES[name]


def multiplies_in_bfloat16(device_type: str) -> bool:
    """Whether a device has instructions that multiply in bfloat16.

    A processor that has to emulate them takes several times as long as in float32; one that has them half as long.
    """
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device_type != "cpu":
        return False
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    # Older releases of torch report no more than this.
    return any(map(capabilities.get, BFLOAT16)) or torch.cpu._is_avx512_bf16_supported()
