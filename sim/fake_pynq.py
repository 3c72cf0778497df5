"""The `pynq` package of a simulated board: what `sw.host.pynq` calls, with the real one's habits.

A driver that relies on luck should fail here. Buffers are copies, as in a processor's cache, until
they are flushed or invalidated; memory ports are 32 bits wide until they are told otherwise; the
fabric does not answer before it is loaded, nor with a clock that it was not built for.

Sources: pynq 4.0.0; UG585 (Zynq-7000 TRM), chapters 5 and 25 and appendix B.5 (axi_hp).
"""

import numpy as np

from sim.board_simulation import MEMORY, SimulatedBoard
from sw.errors import PopstreamError

__all__ = ["FakeBuffer", "FakePynq"]

PAGE = 4096
STALE = 0xA5  # what nobody wrote reads as this
IRQ = 61  # IRQF2P[0]
PLL_MHZ = 1000  # FCLK0 comes from it, divided by two numbers of six bits
DIVISORS = sorted({first * second for first in range(1, 64) for second in range(1, 64)})
FABRIC = range(0x4000_0000, 0x8000_0000)  # M_AXI_GP0
# Bit 0: the port is 32 bits wide for reads, for writes.
AFI_WIDTHS = {"S_AXI_HP0": (0xF800_8000, 0xF800_8014), "S_AXI_HP2": (0xF800_A000, 0xF800_A014)}


class FakePynq:
    """Stands for the module.

    Parameters
    ----------
    board : SimulatedBoard
        A Zynq.

    Members
    -------
    Clocks, interrupt
        With `fclk0_mhz` and `get_uio_irq`.
    """

    def __init__(self, board: SimulatedBoard):
        self.Clocks, self.interrupt = _Clocks(), _Interrupt(board)
        self._board, self._loaded = board, False
        self._ports = AFI_WIDTHS if board.weights else {"S_AXI_HP0": AFI_WIDTHS["S_AXI_HP0"]}
        self._settings = {each: 1 for widths in self._ports.values() for each in widths}
        self._taken: dict[int, int] = {}  # memory: from where, to where

    def Bitstream(self, path: str) -> "_Bitstream":
        return _Bitstream(self, path)

    def MMIO(self, address: int, length: int) -> "_Registers":
        return _Registers(self, address, length)

    def allocate(self, shape, dtype="u4", *, cacheable: bool = True) -> "FakeBuffer":
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        pages, (address, whole) = -(-size // PAGE) * PAGE, MEMORY
        end = address + whole
        for begin, behind in sorted(self._taken.items()):
            if begin - address >= pages:
                break
            address = behind
        if not size or address + pages > end:
            raise RuntimeError(f"Failed to allocate {size} bytes")
        self._taken[address] = address + pages
        array = np.full(size, STALE, np.uint8).view(dtype).reshape(shape).view(FakeBuffer)
        array.device_address, array._pynq = address, self
        return array

    # What the processing system does with an access.

    def load(self) -> None:
        self._board.request("reset")
        self._loaded = True

    def read(self, address: int) -> int:
        if address in self._settings:
            return self._settings[address]
        self._reach(address)
        return self._board.request("read", address)

    def write(self, address: int, value: int) -> None:
        if address in self._settings:
            self._settings[address] = value
            return
        self._reach(address)
        for port, widths in self._ports.items():
            if any(self._settings[each] & 1 for each in widths):
                raise PopstreamError(f"the simulated Zynq: {port} is still 32 bits wide")
        self._board.request("write", address, value)

    def _reach(self, address: int) -> None:
        """Raises where the access would stop a real processor."""
        if address not in FABRIC:
            raise PopstreamError(f"the simulated Zynq: there is nothing at 0x{address:08X}")
        if not self._loaded:
            raise PopstreamError("the simulated Zynq: the fabric is not loaded")
        made, built = 1e6 * self.Clocks.fclk0_mhz, self._board.clock_hz
        if made > 1.001 * built:
            raise PopstreamError(
                f"the simulated Zynq: the fabric was built for {built:,} Hz, not {made:,.0f} Hz"
            )


class FakeBuffer(np.ndarray):
    """A copy of some of the board's memory, made and taken back when the driver says so."""

    def flush(self) -> None:
        self._owner()._board.request("store", self.device_address, self.tobytes())

    def invalidate(self) -> None:
        data = self._owner()._board.request("load", self.device_address, self.nbytes)
        self[...] = np.frombuffer(data, self.dtype).reshape(self.shape)

    def freebuffer(self) -> None:
        del self._owner()._taken[self.device_address]
        self._pynq = None

    def _owner(self) -> FakePynq:
        if self._pynq is None:
            raise PopstreamError("the simulated Zynq: this memory was given back")
        return self._pynq


class _Bitstream:
    def __init__(self, pynq: FakePynq, path: str):
        if not isinstance(path, str):
            raise TypeError("Bitstream name has to be a string.")
        self._pynq = pynq

    def download(self) -> None:
        self._pynq.load()


class _Registers:
    def __init__(self, pynq: FakePynq, address: int, length: int):
        self._pynq, self._address, self._length = pynq, address, length

    def read(self, offset: int = 0) -> int:
        return self._pynq.read(self._at(offset))

    def write(self, offset: int, data: int) -> None:
        if type(data) is not int:
            raise ValueError("Data type must be int or bytes.")
        self._pynq.write(self._at(offset), data)

    def _at(self, offset: int) -> int:
        if offset % 4:
            raise MemoryError("Unaligned access: offset must be multiple of 4.")
        if not 0 <= offset < self._length:
            raise IndexError(f"index {offset // 4} is out of bounds")
        return self._address + offset


class _Clocks:
    def __init__(self):
        self._divisor = 10

    @property
    def fclk0_mhz(self) -> float:
        return round(PLL_MHZ / self._divisor, 6)

    @fclk0_mhz.setter
    def fclk0_mhz(self, mhz: float) -> None:
        self._divisor = min(DIVISORS, key=lambda divisor: abs(divisor - PLL_MHZ / mhz))


class _Interrupt:
    def __init__(self, board: SimulatedBoard):
        self._board = board

    def get_uio_irq(self, number: int) -> str | None:
        return self._board.request("interrupt_file") if number == IRQ else None
