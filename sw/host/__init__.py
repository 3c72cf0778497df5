"""What a user runs on the board or at a PC: ``from sw.host import Accelerator``.

Needs Python 3.10, as PYNQ's image has it, and numpy.
"""

__all__ = ["Accelerator"]


def __getattr__(name: str):
    # Not at once: whoever wants the register map alone need not load the rest.
    if name == "Accelerator":
        from sw.host.accelerator import Accelerator

        return Accelerator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
