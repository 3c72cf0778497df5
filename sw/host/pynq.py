"""A PYNQ board seen from its own Linux: registers and memory through the `pynq` package.

All that is used of the package is what `PynqDevice` says; a module that has these calls, such as
that of a simulated board, serves as well.

Sources: UG585 (Zynq-7000 TRM) chapters 5 and 7 and appendix B.5 (axi_hp); pynq 4.0.0.
"""

import os
import platform
import select
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from sw.errors import MissingTool, PopstreamError
from sw.host.files import only_file
from sw.host.registers import BYTES, register

__all__ = ["BASE", "IRQ", "PynqDevice", "SharedBuffer", "open_device"]

BASE = 0x43C0_0000  # of the registers; any address of M_AXI_GP0 reaches them
IRQ = 61  # IRQF2P[0], as the interrupt controller counts
START_HZ = 10_000_000  # slow enough for every design: none has said yet what it was built for

# The bridges of S_AXI_HP0 and of S_AXI_HP2, which weights come through: the registers whose bit 0
# makes a port 32 bits wide, for reads and writes.
_AFI0, _AFI2 = 0xF800_8000, 0xF800_A000
_AFI_BYTES = 0x20
_AFI_WIDTHS = (0x00, 0x14)

_COMPATIBLE = Path("/proc/device-tree/compatible")
_ENVIRONMENT = (
    "run it as root in pynq's environment: sudo -i, then "
    ". /etc/profile.d/pynq_venv.sh; . /etc/profile.d/xrt_setup.sh"
)


class SharedBuffer:
    """Memory that processor and fabric share.

    Members
    -------
    array : array of uint8
        The memory, as the processor sees it. Whoever keeps a view of it reads freed memory once the
        buffer is closed.
    address : int
        Where it is for the fabric.
    """

    def __init__(self, memory):
        self._memory = memory
        self.array = np.asarray(memory)
        self.address = int(memory.device_address)

    def flush(self) -> None:
        """Makes what the processor wrote visible to the fabric."""
        self._memory.flush()

    def invalidate(self) -> None:
        """Makes what the fabric wrote visible to the processor."""
        self._memory.invalidate()

    def close(self) -> None:
        """Gives the memory back."""
        self.array = None
        if self._memory is not None:
            self._memory.freebuffer()
            self._memory = None


class PynqDevice:
    """The fabric of a Zynq, loaded with a bitstream.

    Parameters
    ----------
    pynq : module
        Used are its `Bitstream(path).download()`, `MMIO(address, length)` with `read(offset)` and
        `write(offset, value)`, `allocate(shape=, dtype=, cacheable=)` of buffers with
        `device_address`, `flush()`, `invalidate()` and `freebuffer()`, `Clocks.fclk0_mhz`, and
        `interrupt.get_uio_irq(number)`.
    bitstream : path
        What the fabric is loaded with. Registers of a fabric that was loaded with anything else may
        never answer, and then the processor stops; so what is there already is not used.
    base : int
        Address of the registers.

    Raises
    ------
    PopstreamError
        The fabric cannot be loaded.
    """

    name = "pynq"

    def __init__(self, *, pynq, bitstream, base: int = BASE):
        self._pynq, self._uio = pynq, None
        bitstream = Path(bitstream).absolute()
        if not bitstream.is_file():
            raise PopstreamError(f"there is no bitstream {bitstream}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # pynq's deprecations are not the user's
                self._set_clock(START_HZ)
                pynq.Bitstream(str(bitstream)).download()
                self._widen_port(_AFI0)
                self._registers = pynq.MMIO(base, BYTES)
                if self.read(register("WEIGHT_WORDS").address):  # else that port has no clock
                    self._widen_port(_AFI2)
                self._uio = self._open_interrupt()
        except Exception as error:  # pynq raises whatever came first
            reason = str(error) or repr(error)
            raise PopstreamError(f"cannot load {bitstream}: {reason}") from error

    def read(self, address: int) -> int:
        """The register's word."""
        return int(self._registers.read(address))

    def write(self, address: int, value: int) -> None:
        """Writes a register's word."""
        self._registers.write(address, int(value))

    def allocate(self, size: int) -> SharedBuffer:
        """Memory of so many bytes for processor and fabric.

        Raises
        ------
        PopstreamError
            There is not so much of it.
        """
        try:
            # In one dimension: so the bytes lie as they are counted.
            memory = self._pynq.allocate(shape=(size,), dtype=np.uint8, cacheable=True)
        except Exception as error:  # XRT's own type, or pynq's RuntimeError
            raise PopstreamError(f"no {size:,} bytes of memory for the fabric: {error}") from error
        return SharedBuffer(memory)

    def set_clock(self, hz: int) -> int:
        """Sets the fabric's clock to the nearest that is not faster; returns it in Hz."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pynq warns where it is off by more than a percent
            return self._set_clock(hz)

    def wait(self, timeout: float) -> bool:
        """Waits for an interrupt, at most so many seconds; whether it was seen."""
        if self._uio is None:
            return self._poll(timeout)
        os.write(self._uio, (1).to_bytes(4, sys.byteorder))  # the kernel disables it each time
        ready, _, _ = select.select([self._uio], [], [], max(0, timeout))
        if ready:
            os.read(self._uio, 4)
        return bool(ready)

    def close(self) -> None:
        """Lets go of the interrupt."""
        if self._uio is not None:
            os.close(self._uio)
            self._uio = None

    def _poll(self, timeout: float) -> bool:
        """As `wait` on a machine whose device tree has no such interrupt."""
        end, pause = time.monotonic() + timeout, 50e-6
        while not self.read(register("EVENTS").address):
            if time.monotonic() >= end:
                return False
            time.sleep(pause)
            pause = min(2 * pause, 1e-3)
        return True

    def _set_clock(self, hz: int) -> int:
        # pynq takes the nearest divisor: where that is too fast, less is asked for until it is not.
        most = asked = hz / 1e6
        while asked > most / 2:
            self._pynq.Clocks.fclk0_mhz = asked
            made = self._pynq.Clocks.fclk0_mhz
            if made <= most * 1.0001:  # it comes rounded
                return round(made * 1e6)
            asked *= 0.98
        raise PopstreamError(f"the fabric's clock cannot be {most:g} MHz: pynq made it {made:g}")

    def _widen_port(self, bridge: int) -> None:
        afi = self._pynq.MMIO(bridge, _AFI_BYTES)
        for offset in _AFI_WIDTHS:
            afi.write(offset, int(afi.read(offset)) & ~1)

    def _open_interrupt(self):
        """The file of the interrupt's device, None where the kernel offers none."""
        try:
            path = self._pynq.interrupt.get_uio_irq(IRQ)
            return path and os.open(path, os.O_RDWR)
        except OSError:
            return None


def open_device(argument, model_path, *, bitstream=None) -> PynqDevice:
    """The board that this runs on, loaded with a bitstream.

    Parameters
    ----------
    argument : None
        There is but one board.
    model_path : Path
        Not used: the bitstream says what it is.
    bitstream : path or None
        None: the one in the current folder.

    Raises
    ------
    MissingTool
        The pynq package, or a part of it, is not there.
    PopstreamError
        This is no Zynq-7000, or not root; there is no bitstream, or it cannot be loaded.
    """
    if argument is not None:
        raise PopstreamError(f"the device pynq takes no argument, not {argument!r}")
    if not _is_zynq():
        raise PopstreamError(
            f"this machine is no Zynq-7000 ({platform.machine()}): run it on the PYNQ board itself"
        )
    if os.geteuid():
        raise PopstreamError(f"the fabric's registers need root; {_ENVIRONMENT}")
    if bitstream is None:
        bitstream = only_file(Path(), "*.bit", what="bitstream", option="bitstream")
    try:
        import pynq
        import pynq.interrupt
    except ImportError as error:
        raise MissingTool(f"pynq not found ({error}): {_ENVIRONMENT}") from error
    return PynqDevice(pynq=pynq, bitstream=bitstream)


def _is_zynq() -> bool:
    try:
        return b"xlnx,zynq-7000" in _COMPATIBLE.read_bytes()
    except OSError:
        return False
