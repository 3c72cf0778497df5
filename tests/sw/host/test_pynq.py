"""sw.host.pynq against a `pynq` that does what the real one does, as far as it is used."""

import os
import socket
import sys
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from sw.errors import MissingTool, PopstreamError
from sw.host import Accelerator
from sw.host import pynq as host_pynq
from sw.host.pynq import BASE, IRQ, PynqDevice, open_device
from sw.host.registers import register

AFI, AFI2 = 0xF800_8000, 0xF800_A000


class Memory(np.ndarray):
    """As pynq.buffer.PynqBuffer: an array that is gone once it is freed."""

    def flush(self):
        self.buffer.array[:] = self
        self.buffer.flush()

    def invalidate(self):
        self.buffer.invalidate()
        self[:] = self.buffer.array

    def freebuffer(self):
        self.buffer.close()


class FakePynq(ModuleType):
    """The module, in front of a fake board. `log` is what happened, in order."""

    def __init__(self, board, *, source_mhz=1000.0, uio=None):
        super().__init__("pynq")
        self.board, self.log = board, []
        self.afi = {base: {0x00: 0xF01, 0x14: 0xF01, 0x04: 7} for base in (AFI, AFI2)}
        self.source, self.mhz, self.uio, self.broken = source_mhz, 50.0, uio, {}
        pynq = self

        class Clocks(type):
            @property
            def fclk0_mhz(cls):
                return round(pynq.mhz, 6)

            @fclk0_mhz.setter
            def fclk0_mhz(cls, mhz):
                pynq.happens("clock", mhz)
                products = sorted({a * b for a in range(1, 64) for b in range(1, 64)})
                wanted = pynq.source / mhz
                pynq.mhz = pynq.source / min(products, key=lambda q: abs(q - wanted))

        class Bitstream:
            def __init__(self, bitfile_name):
                assert type(bitfile_name) is str and Path(bitfile_name).is_absolute()
                self.bitfile_name = bitfile_name

            def download(self):
                pynq.happens("download", self.bitfile_name)

        class MMIO:
            def __init__(self, base_addr, length=4):
                pynq.happens("MMIO", base_addr)
                self.base, self.length = base_addr, length

            def read(self, offset=0):
                assert 0 <= offset < self.length
                if offset == register("EVENTS").address:
                    pynq.board.step()  # nobody waits otherwise
                bridge = pynq.afi.get(self.base)
                return bridge[offset] if bridge else pynq.board.read(offset)

            def write(self, offset, data):
                assert type(data) is int and 0 <= offset < self.length
                if bridge := pynq.afi.get(self.base):
                    pynq.happens("afi", offset)
                    bridge[offset] = data
                else:
                    pynq.board.write(offset, data)

        def allocate(shape, dtype="u4", target=None, **kwargs):
            pynq.happens("allocate", shape)
            assert kwargs == {"cacheable": True}
            buffer = board.allocate(int(np.prod(shape)) * np.dtype(dtype).itemsize)
            memory = np.zeros(shape, dtype).view(Memory)
            memory.buffer, memory.device_address = buffer, buffer.address
            return memory

        def get_uio_irq(irq):
            assert irq == IRQ == 61
            return self.uio

        self.Clocks = Clocks("Clocks", (), {})
        self.Bitstream, self.MMIO, self.allocate = Bitstream, MMIO, allocate
        self.interrupt = SimpleNamespace(get_uio_irq=get_uio_irq)

    def happens(self, name, value):
        self.log.append((name, value))
        if name in self.broken:
            raise self.broken[name]


@pytest.fixture
def bitstream(tmp_path):
    path = tmp_path / "top.bit"
    path.write_bytes(b"")
    return path


@pytest.fixture
def made(fake, tiny, bitstream):
    """Makes a fake module, and the device on it."""

    def make(**options):
        module = FakePynq(fake(tiny), **options)
        return module, PynqDevice(pynq=module, bitstream=bitstream)

    return make


def test_loads_slowly_then_widens_then_looks(made, bitstream):
    pynq, _ = made()
    assert pynq.log == [
        ("clock", 10.0),
        ("download", str(bitstream)),
        ("MMIO", AFI),
        ("afi", 0x00),
        ("afi", 0x14),
        ("MMIO", BASE),
    ]
    # 64 bits wide for reads and writes, and nothing else changed.
    assert pynq.afi[AFI] == {0x00: 0xF00, 0x14: 0xF00, 0x04: 7}
    assert pynq.afi[AFI2] == {0x00: 0xF01, 0x14: 0xF01, 0x04: 7}


def test_widens_the_port_of_weights_where_there_are_any(fake, tiny, bitstream):
    pynq = FakePynq(fake(tiny, batch_frames=1, weights=bytes(8)))
    PynqDevice(pynq=pynq, bitstream=bitstream)
    assert pynq.log[-3:] == [("MMIO", AFI2), ("afi", 0x00), ("afi", 0x14)]
    assert pynq.afi[AFI] == pynq.afi[AFI2] == {0x00: 0xF00, 0x14: 0xF00, 0x04: 7}


@pytest.mark.parametrize(
    ("source", "hz", "made_hz"),
    [
        (1000.0, 100_000_000, 100_000_000),
        (1000.0, 62_500_000, 62_500_000),
        (1000.0, 120_000_000, 111_111_111),  # 125 would be nearer
        (1000.0, 249_000_000, 200_000_000),  # 250 would
        (1000.0, 999_000_000, 500_000_000),
        (1600.0, 200_000_000, 200_000_000),
        (1000.0, 300_000, 299_491),
    ],
)
def test_clock_is_never_faster(made, source, hz, made_hz):
    pynq, device = made(source_mhz=source)
    assert device.set_clock(hz) == made_hz
    assert round(pynq.mhz * 1e6) == made_hz


def test_clock_that_cannot_be_so_slow(made):
    _, device = made()
    with pytest.raises(PopstreamError, match=r"clock cannot be 0\.1 MHz: pynq made it 0\.25"):
        device.set_clock(100_000)


def test_the_whole_driver_on_it(made, tiny):
    """An accelerator through the module: flushes, invalidates, addresses, and memory given back."""
    pynq, device = made()
    with Accelerator.open(device, model=tiny, batch=20) as accelerator:
        samples = accelerator.model.samples
        labels = accelerator.infer(samples.inputs)
        assert labels.tolist() == samples.answers[:, 0].tolist()
        assert accelerator.clock_hz == 100_000_000
        assert pynq.board.buffers
    assert not pynq.board.buffers


def test_words_are_plain_integers(made):
    pynq, device = made()
    assert type(device.read(0)) is int
    device.write(register("FRAMES").address, np.int64(3))
    assert pynq.board.get("FRAMES") == 3


def test_no_memory_left(made):
    pynq, device = made()
    pynq.broken["allocate"] = RuntimeError("BO allocation failed: Cannot allocate memory")
    with pytest.raises(PopstreamError, match=r"no 1,048,576 bytes of memory .*: BO allocation"):
        device.allocate(1 << 20)


# Loading


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        ("clock", OSError("Root permissions required."), r"top\.bit: Root permissions required"),
        ("download", RuntimeError("Invalid length found"), r"top\.bit: Invalid length found"),
        ("download", IndexError(), r"top\.bit: IndexError\(\)"),
        ("MMIO", RuntimeError("No Devices Found"), "No Devices Found"),
    ],
)
def test_fabric_that_cannot_be_loaded(fake, tiny, bitstream, step, error, message):
    pynq = FakePynq(fake(tiny))
    pynq.broken[step] = error
    with pytest.raises(PopstreamError, match=message):
        PynqDevice(pynq=pynq, bitstream=bitstream)


def test_no_such_bitstream(fake, tiny, tmp_path):
    with pytest.raises(PopstreamError, match=r"there is no bitstream /.*none\.bit"):
        PynqDevice(pynq=FakePynq(fake(tiny)), bitstream=tmp_path / "none.bit")


# Interrupts


def test_polls_where_there_is_no_interrupt(made):
    pynq, device = made()
    reads = []

    def read(address):
        assert address == register("EVENTS").address
        reads.append(address)
        return len(reads) == 5

    pynq.board.read = read
    assert device.wait(1.0) is True
    assert len(reads) == 5
    began = time.monotonic()
    assert device.wait(0.05) is False
    assert 0.05 <= time.monotonic() - began < 1
    device.close()


def test_a_path_that_cannot_be_opened_is_polled(made, tmp_path):
    pynq, device = made(uio=str(tmp_path / "uio0"))
    pynq.board.read = lambda address: 1
    assert device.wait(1.0) is True


@pytest.fixture
def kernel(made, monkeypatch):
    """A device whose /dev/uio0 is a socket, and the kernel's end of it."""
    ours, kernels = socket.socketpair()
    kernels.settimeout(5)
    ours_fd = ours.detach()

    def opened(path, flags, *rest):
        assert path == "/dev/uio0" and flags == os.O_RDWR
        return ours_fd

    with monkeypatch.context() as patch:
        patch.setattr(host_pynq.os, "open", opened)
        _, device = made(uio="/dev/uio0")
    yield device, kernels
    device.close()
    kernels.close()


def test_waits_for_the_interrupt(kernel):
    device, kernels = kernel
    kernels.sendall((1).to_bytes(4, sys.byteorder))
    assert device.wait(5.0) is True
    assert kernels.recv(4) == (1).to_bytes(4, sys.byteorder)  # enabled, as it must be each time
    began = time.monotonic()
    assert device.wait(0.05) is False
    assert 0.05 <= time.monotonic() - began < 1
    assert kernels.recv(4) == (1).to_bytes(4, sys.byteorder)


def test_closing_closes_the_interrupt(kernel):
    device, kernels = kernel
    device.close()
    assert kernels.recv(4) == b""
    device.close()


# Opening


@pytest.fixture
def board(monkeypatch, tmp_path):
    """A machine that is a Zynq, with root and pynq."""
    compatible = tmp_path / "compatible"
    compatible.write_bytes(b"digilent,pynq-z2\0xlnx,zynq-7000\0")
    monkeypatch.setattr(host_pynq, "_COMPATIBLE", compatible)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.chdir(tmp_path)

    def install(module):
        monkeypatch.setitem(sys.modules, "pynq", module)
        monkeypatch.setitem(sys.modules, "pynq.interrupt", module and module.interrupt)

    return install


def test_opens_the_bitstream_of_this_folder(board, fake, tiny, bitstream):
    pynq = FakePynq(fake(tiny))
    board(pynq)
    with Accelerator.open("pynq", model=tiny) as accelerator:
        assert repr(accelerator) == "<Accelerator digits-tiny on pynq>"
    assert ("download", str(bitstream)) in pynq.log


def test_opens_the_bitstream_that_is_named(board, fake, tiny, tmp_path):
    pynq = FakePynq(fake(tiny))
    board(pynq)
    (tmp_path / "other.bit").write_bytes(b"")
    Accelerator.open("pynq", model=tiny, bitstream="other.bit").close()
    assert ("download", str(tmp_path / "other.bit")) in pynq.log


def test_no_bitstream(board, tiny):
    with pytest.raises(PopstreamError, match=r"no bitstream: .* has no \*\.bit; .* bitstream="):
        Accelerator.open("pynq", model=tiny)


def test_no_zynq(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(host_pynq, "_COMPATIBLE", tmp_path / "none")
    with pytest.raises(PopstreamError, match=r"this machine is no Zynq-7000 \(.*\): run it on the"):
        open_device(None, tiny)
    (tmp_path / "none").write_bytes(b"xlnx,zynqmp\0")
    with pytest.raises(PopstreamError, match="this machine is no Zynq-7000"):
        open_device(None, tiny)


def test_no_root(board, tiny, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(PopstreamError, match=r"registers need root; .* sudo -i"):
        open_device(None, tiny)


def test_no_pynq(board, tiny, bitstream):
    board(None)
    with pytest.raises(MissingTool, match=r"pynq not found \(.*\): .*pynq_venv\.sh"):
        open_device(None, tiny)


def test_no_argument_is_taken(tiny):
    with pytest.raises(PopstreamError, match="pynq takes no argument, not '1'"):
        Accelerator.open("pynq:1", model=tiny)
