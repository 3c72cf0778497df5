"""What a user runs on the board or at a PC. Needs numpy, and Python 3.10 as PYNQ's image has it.

from sw.host import Accelerator
"""

__all__ = ["Accelerator"]


def __getattr__(name: str):
    # Not at once: whoever wants the register map alone need not load the rest.
    if name == "Accelerator":
        from sw.host.accelerator import Accelerator

        return Accelerator
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
