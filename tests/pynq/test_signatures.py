"""The real `pynq` package: that it has what sw.host.pynq calls, and the stand-ins stand in for.

Runs by `nox -s pynq`, in an environment of its own: pynq wants a numpy before 2. There is no Zynq
here, so its device is one of ours under pynq's own classes, with memory in place of /dev/mem.
"""

import inspect
import struct
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations of pynq's own dependencies, and "no devices"
    pynq = pytest.importorskip("pynq", reason="pynq is not installed; nox -s pynq installs it")
    from pynq import buffer, interrupt
    from pynq.pl_server import embedded_device, xrt_device
    from pynq.pl_server.device import Device

from sw.errors import PopstreamError
from sw.host.pynq import BASE, IRQ, PynqDevice
from sw.host.registers import BYTES, register

pytestmark = pytest.mark.filterwarnings("ignore")

AFI = 0xF800_8000
SLCR = 0xF800_0000
SLCR_CLOCK = 0x170  # FPGA0_CLK_CTRL
SLCR_IO_PLL = 0x108


def parameters(function):
    """Names of what a call may give, without `self`."""
    names = list(inspect.signature(function).parameters)
    return names[1:] if names[0] == "self" else names


def test_signatures():
    assert parameters(pynq.Bitstream.__init__)[0] == "bitfile_name"
    assert parameters(pynq.Bitstream.download) in ([], ["parser"])
    assert parameters(pynq.MMIO.__init__)[:2] == ["base_addr", "length"]
    assert parameters(pynq.MMIO.read)[0] == "offset"
    assert parameters(pynq.MMIO.write_mm) == ["offset", "data"]
    assert parameters(pynq.allocate)[:2] == ["shape", "dtype"]
    assert "kwargs" in parameters(pynq.allocate)
    assert "cacheable" in parameters(xrt_device._xrt_allocate)
    assert parameters(interrupt.get_uio_irq) == ["irq"]
    for name in ("flush", "invalidate", "freebuffer"):
        assert parameters(getattr(buffer.PynqBuffer, name)) == []
    assert issubclass(buffer.PynqBuffer, np.ndarray)
    clock = inspect.getattr_static(type(pynq.Clocks), "fclk0_mhz")
    assert clock.fget and clock.fset


class Zynq(embedded_device.EmbeddedDevice):
    """pynq's Zynq, without XRT's driver, the FPGA manager and /dev/mem under it."""

    arch = "armv7l"

    def __init__(self):
        Device.__init__(self, "zynq")
        self.capabilities = {"MEMORY_MAPPED": True}
        self.areas, self.log, self._streams = {}, [], {}
        self.areas[SLCR] = np.zeros(0x200 // 4, np.uint32)
        self.areas[SLCR][SLCR_IO_PLL // 4] = 20 << 12  # times 50 MHz
        self.areas[SLCR][SLCR_CLOCK // 4] = 1 << 20 | 20 << 8
        self.areas[AFI] = np.full(0x100 // 4, 0xF01, np.uint32)
        self.areas[BASE] = np.zeros(BYTES // 4, np.uint32)

    name = "zynq"

    def mmap(self, base_addr, length):
        self.log.append(("mmap", base_addr))
        return self.areas[base_addr][: length // 4]

    def shutdown(self):
        pass

    def write_fpga_manager(self, attribute, value):
        self.log.append((Path(attribute).name, value))

    def _xrt_download(self, data):
        assert data == embedded_device.DEFAULT_XCLBIN

    def allocate_bo(self, size, idx, cacheable):
        self.log.append(("allocate", size))
        assert cacheable
        return bytearray(max(size, 8192))

    def map_bo(self, bo):
        return memoryview(bo)

    def get_device_address(self, bo):
        return 0x1000_0000

    def flush(self, bo, offset, ptr, size):
        self.log.append(("flush", size))

    def invalidate(self, bo, offset, ptr, size):
        self.log.append(("invalidate", size))

    @property
    def fclk0_mhz(self):
        word = int(self.areas[SLCR][SLCR_CLOCK // 4])
        return 1000 / (word >> 8 & 63) / (word >> 20 & 63)


@pytest.fixture
def zynq(monkeypatch, tmp_path):
    device = Zynq()
    monkeypatch.setattr(Device, "_active_device", device, raising=False)
    monkeypatch.setattr(pynq.Clocks, "device", device)
    freed = []
    libc = SimpleNamespace(munmap=lambda address, size: freed.append(size))
    ctypes = SimpleNamespace(cast=lambda address, kind: address, c_void_p=None)
    monkeypatch.setattr(buffer, "libc", libc, raising=False)
    monkeypatch.setattr(buffer, "ctypes", ctypes, raising=False)
    monkeypatch.setattr(embedded_device, "save_global_state", lambda state: None)
    # Where the kernel looks for what the FPGA manager is told to load.
    real_path = embedded_device.Path
    monkeypatch.setattr(
        embedded_device,
        "Path",
        lambda path: tmp_path if path == "/lib/firmware" else real_path(path),
    )
    device.freed = freed
    yield device
    if "_real_instance" in vars(pynq.Clocks):
        del pynq.Clocks._real_instance


@pytest.fixture
def bitstream(tmp_path):
    """A .bit file as Vivado and prjxray write it: fields a to e before the words."""
    folder = tmp_path / "build"
    folder.mkdir()
    words = bytes(range(64))
    data = struct.pack(">H", 9) + bytes.fromhex("0ff00ff00ff00ff000") + struct.pack(">H", 1)
    fields = ("a", "top;UserID=0XFFFFFFFF"), ("b", "7z020clg400"), ("c", "2026/01/01"), ("d", "0:0")
    for key, text in fields:
        data += key.encode() + struct.pack(">H", len(text) + 1) + text.encode() + b"\0"
    path = folder / "top.bit"
    path.write_bytes(data + b"e" + struct.pack(">I", len(words)) + words)
    return path


def test_bitstream_is_loaded_without_a_description(zynq, bitstream, tmp_path):
    """No .hwh beside it: the clock goes down first, the words are swapped, the port widened."""
    device = PynqDevice(pynq=pynq, bitstream=bitstream)
    words = bytes(range(64))
    swapped = b"".join(words[n : n + 4][::-1] for n in range(0, 64, 4))
    assert (tmp_path / "top.bin").read_bytes() == swapped
    assert zynq.log == [
        ("mmap", SLCR),
        ("flags", "0"),
        ("firmware", "top.bin"),
        ("mmap", AFI),
        ("mmap", BASE),
    ]
    assert zynq.fclk0_mhz == 10
    assert [int(zynq.areas[AFI][n // 4]) for n in (0x00, 0x04, 0x14)] == [0xF00, 0xF01, 0xF00]
    assert device.set_clock(120_000_000) == 111_111_111
    assert round(zynq.fclk0_mhz, 6) == 111.111111


def test_registers(zynq, bitstream):
    device = PynqDevice(pynq=pynq, bitstream=bitstream)
    device.write(register("FRAMES").address, np.uint32(7))
    assert int(zynq.areas[BASE][register("FRAMES").address // 4]) == 7
    zynq.areas[BASE][0] = 0xFFFF_FFFF
    assert device.read(0) == 0xFFFF_FFFF and type(device.read(0)) is int


def test_memory(zynq, bitstream):
    device = PynqDevice(pynq=pynq, bitstream=bitstream)
    memory = device.allocate(100)
    assert memory.address == 0x1000_0000 and type(memory.array) is np.ndarray
    assert memory.array.dtype == np.uint8 and memory.array.shape == (100,)
    memory.array[:] = 7
    memory.flush()
    memory.invalidate()
    memory.close()
    memory.close()
    assert memory.array is None
    assert zynq.log[-3:] == [("allocate", 100), ("flush", 100), ("invalidate", 100)]
    assert zynq.freed == [100]


def test_damaged_bitstream_is_one_line(zynq, bitstream):
    for data in (b"", bitstream.read_bytes()[:-1], b"hello, world"):
        bitstream.write_bytes(data)
        with pytest.raises(PopstreamError, match=r"cannot load /.*top\.bit: .") as caught:
            PynqDevice(pynq=pynq, bitstream=bitstream)
        assert "\n" not in str(caught.value)


def test_interrupt_that_is_not_there():
    assert interrupt.get_uio_irq(IRQ) is None


@pytest.mark.skipif(Path(Zynq.BS_FPGA_MAN).exists(), reason="this is a Zynq")
def test_without_a_zynq_it_says_so(bitstream):
    with pytest.raises(PopstreamError, match="No Devices Found"):
        PynqDevice(pynq=pynq, bitstream=bitstream)
