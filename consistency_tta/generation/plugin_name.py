"""A plugin with its settings, as text that differs between any two."""

from __future__ import annotations

from torch import Tensor, nn


def plugin_name(plugin: nn.Module) -> str:
    """Class and settings of a time grid or solver, such as ``KarrasGrid(rho=7.0)``; ``UniformGrid`` has none.

    Settings are the plain attributes, buffers, parameters and submodules of the object. A class of another package than
    ours is named with its module.
    """
    attributes = {name: value for name, value in vars(plugin).items() if name not in vars(nn.Module())}
    tensors = dict(plugin.named_parameters(recurse=False)) | dict(plugin.named_buffers(recurse=False))
    settings = attributes | tensors | dict(plugin.named_children())
    name, module = type(plugin).__qualname__, type(plugin).__module__
    if module.split(".")[0] != "consistency_tta":
        name = f"{module}.{name}"
    return name + (f"({', '.join(f'{key}={_value(value)}' for key, value in settings.items())})" if settings else "")


def _value(value: object) -> str:
    if isinstance(value, nn.Module):
        return plugin_name(value)
    if isinstance(value, Tensor):
        return repr(value.tolist())
    # The text of any other object may have its address in it, which is another in each process.
    plain = value is None or isinstance(value, str | int | float | bool | list | tuple | dict)
    return repr(value) if plain else type(value).__qualname__
