"""Which devices there are, and how each is opened.

A device's name is what stands before the first colon, such as ``serial`` in
``serial:/dev/ttyUSB1``; what stands behind it is its argument. `pynq` and `serial` are built in;
other packages name theirs as entry points of the group `popstream.devices`, functions

    open_device(argument: str | None, model_path: Path, **options) -> device

that give a `sw.host.memory.RegisterDevice`, or a port as `sw.host.serial.SerialClient` takes it.
"""

import inspect
from importlib.metadata import entry_points
from pathlib import Path

from sw.errors import PopstreamError, unknown
from sw.host import pynq

__all__ = ["GROUP", "names", "open_device"]

GROUP = "popstream.devices"


def _open_serial(argument, model_path, *, baud: int = 1_000_000):
    from sw.host.serial import open_port

    if not argument:
        raise PopstreamError("the device serial needs a port, such as serial:/dev/ttyUSB1")
    return open_port(argument, baud)


_BUILT_IN = {"pynq": pynq.open_device, "serial": _open_serial}


def _others() -> dict:
    return {point.name: point for point in entry_points(group=GROUP)}


def names() -> list:
    """The names of all devices."""
    return sorted({*_BUILT_IN, *_others()})


def open_device(device: str, model_path: Path, options: dict):
    """Opens a device.

    Parameters
    ----------
    device : str
        ``name`` or ``name:argument``.
    model_path : Path
        The model file that it is meant to compute.
    options : dict
        Of the device's own, by name.

    Raises
    ------
    PopstreamError
        There is no such device, it takes no such option, or it cannot be opened.
    """
    name, colon, argument = device.partition(":")
    opener = _BUILT_IN.get(name) or _load(name)
    known = {
        option
        for option, parameter in inspect.signature(opener).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    for option in options:
        if option not in known:
            takes = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
            raise PopstreamError(f"the device {name} has no option {option!r}; {takes}")
    return opener(argument if colon else None, model_path, **options)


def _load(name: str):
    others = _others()
    if name not in others:
        raise unknown("device", name, names())
    try:
        return others[name].load()
    except ImportError as error:
        raise PopstreamError(f"the device {name} cannot be loaded: {error}") from error
