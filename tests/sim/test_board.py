# amaranth: UnusedElaboratable=no
"""sim.board: the host's library on simulated gateware, and what if one of the two dies."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.accelerator import Accelerator as Pipeline
from hw.engine.engine import Engine
from hw.engine.image import weights_image
from hw.engine.passes import tail
from hw.engine.plan import EnginePlan, plan_engine
from hw.pipeline import Lanes, LayerLanes
from hw.shell.axi import MemoryPort, ProcessorPort, Response
from hw.shell.identity import Identity
from hw.shell.memory import MemoryShell
from hw.shell.simulated import SimulatedSerial, SimulatedZynq, shell_verilog
from hw.shell.uart import baud_divisor
from sim.board import open_device
from sim.board_simulation import MEMORY, SimulatedBoard
from sim.fake_pynq import FakePynq
from sw import zoo
from sw.artefact import load
from sw.errors import PopstreamError
from sw.golden import predict
from sw.host import Accelerator
from sw.host.pynq import BASE
from sw.host.registers import IDENTITY, Cause, register

MODEL = load(zoo.path("digits-tiny"))
CLOCK_HZ = {"zynq": 100_000_000, "serial": 1_000_000}
BAUD = 100_000
BITS = tail(MODEL.network, "bits")
ENGINE = plan_engine(BITS, simd=16, pe=16, batch=6)


def identity(shell: str, lanes: Lanes) -> Identity:
    return Identity(
        digest=MODEL.digest,
        frame_elements=64,
        frame_bits=5 if lanes.input == "pixels" else 1,
        result_elements=1,
        result_width=4,
        scores=False,
        clock_hz=CLOCK_HZ[shell],
        frame_cycles=16,
        latency_cycles=60,
    )


def write_build(folder: Path, shell: str, lanes: Lanes, engine: EnginePlan | None = None) -> Path:
    """What hw.build leaves for a simulated board."""
    folder.mkdir()
    pipeline, about = Pipeline(MODEL.network, lanes), identity(shell, lanes)
    if engine is not None:
        pipeline, weights = Engine(network=BITS, plan=engine), weights_image(BITS, engine)
        words, crc = engine.stream_words, zlib.crc32(weights)
        about = replace(about, batch_frames=engine.batch, weight_words=words, weight_crc=crc)
        (folder / "weights.bin").write_bytes(weights)
    if shell == "zynq":
        component = SimulatedZynq(MemoryShell(pipeline, about))
    else:
        divisor = baud_divisor(CLOCK_HZ[shell], BAUD)
        component = SimulatedSerial(pipeline, about, divisor=divisor)
    (folder / "shell.v").write_text(shell_verilog(component))
    described = {"shell": shell, "clock_hz": CLOCK_HZ[shell], "baud": BAUD, "board": "a board"}
    (folder / "shell.json").write_text(json.dumps(described))
    shutil.copy(zoo.path("digits-tiny"), folder / "model.safetensors")
    return folder


LAYERS = {name: LayerLanes(32, 16) for name in ("hidden0", "hidden1")} | {
    "scores": LayerLanes(32, 10)
}


@pytest.fixture(scope="module")
def builds(tmp_path_factory, simulator):
    folder = tmp_path_factory.mktemp("builds")
    (folder / "models").mkdir()  # as hw.build has one
    return folder


@pytest.fixture(scope="module")
def zynq(builds):
    return write_build(builds / "zynq", "zynq", Lanes("pixels", 8, LAYERS))


@pytest.fixture(scope="module")
def streamed(builds):
    return write_build(builds / "streamed", "zynq", Lanes("bits", 16, LAYERS), ENGINE)


@pytest.fixture(scope="module")
def serial(builds):
    return write_build(builds / "serial", "serial", Lanes("bits", 16, LAYERS))


class Broken(wiring.Component):
    """Reads of its registers fail, writes are never answered."""

    registers: In(ProcessorPort())
    memory: Out(MemoryPort())
    interrupt: Out(1)

    def elaborate(self, platform):
        m = Module()
        ar, r = self.registers.ar, self.registers.r
        m.d.comb += [ar.ready.eq(~r.valid), r.payload.last.eq(1)]
        m.d.comb += r.payload.response.eq(Response.SLVERR.value)
        with m.If(ar.valid & ar.ready):
            m.d.sync += [r.valid.eq(1), r.payload.id.eq(ar.payload.id)]
        with m.Elif(r.ready):
            m.d.sync += r.valid.eq(0)
        return m


@pytest.fixture(scope="module")
def echo(builds):
    """A board that only sends back what it receives; it is compiled in no time."""
    folder = builds / "echo"
    folder.mkdir()
    (folder / "shell.v").write_text(
        "module shell(input clk, input rst, input rx, output reg tx);\n"
        "always @(posedge clk) tx <= rst | rx;\n"
        "endmodule\n"
    )
    described = {"shell": "serial", "clock_hz": 1_000_000, "baud": BAUD, "board": "an echo"}
    (folder / "shell.json").write_text(json.dumps(described))
    return folder


@pytest.fixture
def opened():
    """Opens a device, and closes it after the test."""
    devices = []

    def device(folder, **options):
        devices.append(open_device(str(folder), None, **options))
        return devices[-1]

    yield device
    for each in devices:
        each.close()


def images(count: int) -> np.ndarray:
    return MODEL.samples.inputs[np.arange(count) % len(MODEL.samples.inputs)]


def start(device, frames: int, source: int, destination: int, **others: int) -> None:
    """Has the gateware do a job."""
    words = {"ENABLE": 3, "SOURCE": source, "DESTINATION": destination, "FRAMES": frames} | others
    for name, value in (words | {"CONTROL": 1}).items():
        device.write(register(name).address, value)


def status(device, field: str) -> int:
    return register("STATUS").field(field).of(device.read(register("STATUS").address))


def is_gone(pid: int, seconds: float = 20.0) -> bool:
    """Whether a process, which may be somebody else's child, ends in time."""
    end = time.monotonic() + seconds
    while True:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        if time.monotonic() >= end:
            return False
        time.sleep(0.05)


# A Zynq


@pytest.mark.parametrize("options", [{}, {"stall": 0.5, "seed": 5}], ids=["free", "stalled"])
def test_images_through_a_zynq(zynq, options):
    frames = images(120)
    with Accelerator.open(f"sim:{zynq}", batch=33, **options) as accelerator:
        labels = accelerator.infer(frames)
        again = accelerator.infer(frames[:5])
        counters = accelerator.counters
        assert accelerator.clock_hz == CLOCK_HZ["zynq"]
    expected = predict(MODEL.network, frames)
    assert np.array_equal(labels, expected)
    assert np.array_equal(again, expected[:5])
    assert (counters["FRAMES_DONE"], counters["JOBS_DONE"]) == (125, 5)


@pytest.mark.parametrize("options", [{}, {"stall": 0.5, "seed": 5}], ids=["free", "stalled"])
def test_images_with_weights_from_memory(streamed, options):
    frames = images(50)
    with Accelerator.open(f"sim:{streamed}", batch=20, **options) as accelerator:
        labels = accelerator.infer(frames)
        again = accelerator.infer(frames[:5])
        accelerator.reset()
        once_more = accelerator.infer(frames[5:13])
        counters = accelerator.counters
    expected = predict(MODEL.network, frames)
    assert labels.tolist() == expected.tolist()
    assert again.tolist() == expected[:5].tolist()
    assert once_more.tolist() == expected[5:13].tolist()
    batches = 4 + 4 + 2 + 1 + 2
    assert (counters["FRAMES_DONE"], counters["JOBS_DONE"]) == (batches * ENGINE.batch, 5)
    assert counters["WORDS_READ"] == batches * ENGINE.stream_words
    if not options:
        assert 0 < counters["STALLS_WEIGHTS"] < counters["CYCLES_BUSY"] / 2


def test_weights_are_those_in_memory(streamed, opened):
    device = opened(streamed)
    with Accelerator.open(device, model=streamed / "model.safetensors") as accelerator:
        memory, expected = accelerator._link._weights, predict(MODEL.network, images(12))
        right = memory.array.copy()
        for array in (right, np.zeros_like(right), right):
            memory.array[:] = array
            memory.flush()
            labels = accelerator.infer(images(12))
            assert (labels.tolist() == expected.tolist()) == (array is right)


def test_reset_in_mid_batch(streamed, opened):
    """Whatever the engine is doing, and its port, the next batch is right."""
    device = opened(streamed, stall=0.2)
    with Accelerator.open(device, model=streamed / "model.safetensors") as accelerator:
        expected = predict(MODEL.network, images(6))
        weights = accelerator._link._weights.address
        for cycles in range(20, 2 * ENGINE.timing.per_batch, 97):
            start(device, 2, MEMORY[0], MEMORY[0] + 4096, WEIGHTS=weights)
            device.board.request("run", cycles)
            accelerator.reset()
            assert accelerator.infer(images(6)).tolist() == expected.tolist(), cycles


@pytest.mark.parametrize(
    ("weights", "cause"),
    [
        (MEMORY[0] - 8, "WEIGHTS_SLAVE"),
        (sum(MEMORY) - 8 * (ENGINE.stream_words // 2), "WEIGHTS_SLAVE"),  # the rest is nowhere
        (MEMORY[0] + 4, "UNALIGNED"),
        (0, "NO_WEIGHTS"),
    ],
)
def test_failing_weights(streamed, opened, weights, cause):
    device = opened(streamed)
    device.set_clock(CLOCK_HZ["zynq"])
    start(device, 2, MEMORY[0], MEMORY[0] + 4096, WEIGHTS=weights)
    assert device.wait(1e-3)
    assert status(device, "error")
    assert status(device, "cause") == Cause[cause]
    device.write(register("CONTROL").address, 2)
    bits = images(6) >= MODEL.network.nodes[1].thresholds
    frames = np.packbits(bits.reshape(6, -1), axis=1, bitorder="little")
    device.board.request("store", MEMORY[0], frames.tobytes())
    device.board.request("store", MEMORY[0] + 8192, (streamed / "weights.bin").read_bytes())
    start(device, 1, MEMORY[0], MEMORY[0] + 4096, WEIGHTS=MEMORY[0] + 8192)
    assert device.wait(1e-3) and not status(device, "error")
    expected = predict(MODEL.network, images(6)).astype(np.uint8)
    assert device.board.request("load", MEMORY[0] + 4096, 6) == expected.tobytes()


def test_job_that_never_ends(zynq, opened):
    device = opened(zynq)
    with Accelerator.open(device, model=zynq / "model.safetensors", timeout=1.0) as accelerator:
        write, start = device.write, (register("CONTROL").address, 1)
        device.write = lambda *access: None if access == start else write(*access)
        with pytest.raises(PopstreamError, match="has answered no frame for 1 s and owes 3"):
            accelerator.infer(images(3))
        device.write = write
        assert len(accelerator.infer(images(3))) == 3


def test_identity(zynq, opened):
    device = opened(zynq)
    words = {each.name: device.read(each.address) for each in IDENTITY}
    assert words == identity("zynq", Lanes("pixels", 8, LAYERS)).words()


def test_interrupt(zynq, opened):
    device = opened(zynq)
    device.set_clock(CLOCK_HZ["zynq"])
    assert not device.wait(1e-4)
    buffers = [device.allocate(640), device.allocate(16)]
    for _ in range(2):
        start(device, 10, *(each.address for each in buffers))
        began = time.monotonic()
        assert device.wait(1e-3)
        assert time.monotonic() - began < 5  # not by the end of a wait for the file
        assert device.wait(1e-3)  # it stays high
        device.write(register("EVENTS").address, 3)
        assert not device.wait(1e-4)


def test_interrupt_file(zynq, opened):
    device = opened(zynq)
    device.set_clock(CLOCK_HZ["zynq"])
    start(device, 0, MEMORY[0], MEMORY[0])
    assert device.board.request("wait", 1000)

    file = os.open(device.board.request("interrupt_file"), os.O_RDWR)
    try:
        for count in (1, 2):
            assert not select.select([file], [], [], 0.2)[0]  # not before it is enabled
            os.write(file, (1).to_bytes(4, sys.byteorder))
            assert select.select([file], [], [], 10)[0]
            assert int.from_bytes(os.read(file, 4), sys.byteorder) == count
    finally:
        os.close(file)


def test_memory_is_seen_through_a_cache(zynq, opened):
    device = opened(zynq)
    device.set_clock(CLOCK_HZ["zynq"])
    frames = images(10).reshape(10, -1)
    source, destination = device.allocate(frames.size), device.allocate(10)
    source.array[:] = frames.reshape(-1)
    assert device.board.request("load", source.address, 64) != frames[0].tobytes()
    source.flush()
    assert device.board.request("load", source.address, 64) == frames[0].tobytes()

    start(device, 10, source.address, destination.address)
    assert device.wait(1e-3)
    expected = predict(MODEL.network, images(10)).astype(np.uint8)
    assert not np.array_equal(destination.array, expected)
    destination.invalidate()
    assert np.array_equal(destination.array, expected)


def test_memory_is_shared_out(zynq, opened):
    device = opened(zynq)
    half = MEMORY[1] // 2
    first, second = device.allocate(half - 1), device.allocate(5)
    assert (first.address, second.address) == (MEMORY[0], MEMORY[0] + half)
    with pytest.raises(PopstreamError, match="no 33,554,432 bytes"):
        device.allocate(half)
    first.close()
    third = device.allocate(half)
    assert third.address == MEMORY[0]


@pytest.mark.parametrize(("source", "cause"), [(MEMORY[0] - 64, "READ_SLAVE"), (4, "UNALIGNED")])
def test_failing_job(zynq, opened, source, cause):
    device = opened(zynq)
    device.set_clock(CLOCK_HZ["zynq"])
    start(device, 2, source, MEMORY[0])
    assert device.wait(1e-3)
    assert status(device, "error")
    assert status(device, "cause") == Cause[cause]


def test_seed_decides(zynq, opened):
    def cycles(seed: int) -> int:
        device = opened(zynq, stall=0.3, seed=seed)
        device.set_clock(CLOCK_HZ["zynq"])
        start(device, 20, MEMORY[0], MEMORY[0] + 4096)
        assert device.wait(1e-3)
        return device.board.request("cycles")

    assert cycles(1) == cycles(1) != cycles(2)


def test_broken_registers(builds, simulator):
    folder = builds / "broken"
    folder.mkdir()
    (folder / "shell.v").write_text(shell_verilog(SimulatedZynq(Broken())))
    (folder / "shell.json").write_text('{"shell": "zynq", "clock_hz": 1000000}')
    board = SimulatedBoard(folder)
    with pytest.raises(PopstreamError, match="the register at 0x40000004 answers SLVERR"):
        board.request("read", 0x4000_0004)
    with pytest.raises(PopstreamError, match="at 0x40000008 does not answer for 10000 cycles"):
        board.request("write", 0x4000_0008, 1)
    board.close()


# What a careless driver is told


@pytest.fixture
def pynq(zynq, opened):
    """A fake pynq with a fabric that is not loaded."""
    return FakePynq(opened(zynq).board)


def test_driver_that_does_not_load(pynq):
    with pytest.raises(PopstreamError, match="the fabric is not loaded"):
        pynq.MMIO(BASE, 256).read(0)


def test_driver_with_too_fast_a_clock(pynq):
    pynq.Bitstream("shell.v").download()
    pynq.Clocks.fclk0_mhz = 110
    assert pynq.Clocks.fclk0_mhz == 111.111111
    with pytest.raises(PopstreamError, match="built for 100,000,000 Hz, not 111,111,111 Hz"):
        pynq.MMIO(BASE, 256).read(0)


def test_driver_with_a_narrow_memory_port(pynq):
    pynq.Bitstream("shell.v").download()
    pynq.MMIO(0xF800_8000, 0x20).write(0, 0)
    registers = pynq.MMIO(BASE, 256)
    assert registers.read(0) == IDENTITY[0].address + 0x53504F50
    with pytest.raises(PopstreamError, match="S_AXI_HP0 is still 32 bits wide"):
        registers.write(0x80, 1)


def test_driver_with_a_narrow_port_of_weights(streamed, opened):
    pynq = FakePynq(opened(streamed).board)
    pynq.Bitstream("shell.v").download()
    for offset in (0x00, 0x14):
        pynq.MMIO(0xF800_8000, 0x20).write(offset, 0)
    with pytest.raises(PopstreamError, match="S_AXI_HP2 is still 32 bits wide"):
        pynq.MMIO(BASE, 256).write(0x80, 1)


def test_driver_that_reaches_for_nothing(pynq):
    pynq.Bitstream("shell.v").download()
    with pytest.raises(PopstreamError, match="there is nothing at 0xE000A000"):
        pynq.MMIO(0xE000_A000, 4).read(0)
    registers = pynq.MMIO(BASE, 256)
    with pytest.raises(IndexError):
        registers.read(256)
    with pytest.raises(MemoryError):
        registers.read(2)
    with pytest.raises(ValueError, match="int or bytes"):
        registers.write(0x80, np.uint32(1))
    assert pynq.interrupt.get_uio_irq(62) is None


def test_driver_that_uses_what_it_gave_back(pynq):
    buffer = pynq.allocate((4,), np.uint32)
    buffer.freebuffer()
    with pytest.raises(PopstreamError, match="was given back"):
        buffer.flush()


# A serial line


def test_images_over_a_serial_line(serial):
    frames = images(30)
    with Accelerator.open(f"sim:{serial}") as accelerator:
        assert np.array_equal(accelerator.infer(frames), predict(MODEL.network, frames))
        counters = accelerator.counters
    assert (counters["FRAMES_DONE"], counters["REJECTED"]) == (30, 0)


def test_port(echo, opened):
    port = opened(echo)
    everything = bytes(range(256))
    assert port.write(everything) == 256
    assert port.in_waiting == 0  # no time has passed
    assert port.read(200) == everything[:200]
    assert port.read(300) == everything[200:]
    port.write(b"abc")
    assert port.read() == b"a"
    port.timeout = 25 / BAUD  # of which a byte takes 10
    assert port.read(9) == b"bc"
    port.write(b"defg")
    port.board.request("run", 2000)
    assert port.in_waiting == 4
    assert port.read(2) == b"de"
    assert port.in_waiting == 2
    port.reset_input_buffer()
    assert port.in_waiting == 0
    port.timeout = 0
    assert port.read(1) == b""


def test_port_of_a_silent_board(echo, opened):
    port = opened(echo, patience=0.05)
    assert port.read(1) == b""  # without any timeout, but nobody was asked anything
    assert port.board.request("cycles") < 1000
    port.write(b"a")
    port.timeout = 3600
    assert port.read(2) == b"a"
    assert 0 <= port.board.request("cycles") - 50_000 < 1000


def test_two_boards(echo, opened):
    ports = opened(echo), opened(echo)
    for port, data in zip(ports, (b"abc", b"xyz"), strict=True):
        port.write(data)
    assert ports[0].read(3) == b"abc"
    ports[0].close()
    assert ports[1].read(3) == b"xyz"


# The end of one side


def test_killed_simulator(zynq):
    accelerator = Accelerator.open(f"sim:{zynq}")
    device = accelerator._link._device
    pid, log = device.board.pid, device.board.log
    threading.Timer(0.3, os.kill, (pid, signal.SIGKILL)).start()
    with pytest.raises(PopstreamError) as caught:
        while True:
            accelerator.infer(images(1000))
    message = str(caught.value)
    assert f"the simulated board has ended without an answer; its log {log} ends:" in message
    assert "return code: -9" in message
    assert is_gone(pid)
    with pytest.raises(PopstreamError, match="the simulated board is closed"):
        accelerator.close()


def test_killed_user(echo):
    program = (
        "import os, sys; from sim.board import open_device\n"
        "device = open_device(sys.argv[1], None)\n"
        "print(device.board.pid, flush=True)\n"
        "device.board.request('run', 10**12)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, echo], stdout=subprocess.PIPE, text=True
    ) as user:
        pid = int(user.stdout.readline())
        assert not is_gone(pid, 0.3)
        user.kill()
    assert is_gone(pid)


def test_user_who_does_not_close(echo):
    program = (
        "import sys; from sim.board import open_device\n"
        "device = open_device(sys.argv[1], None)\n"
        "print(device.board.pid, device.board.log)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, echo], capture_output=True, text=True, check=True
    )
    pid, log = run.stdout.split()
    assert is_gone(int(pid), 0)
    assert not Path(log).parent.exists()


def test_close(echo, opened):
    device = opened(echo)
    pid, log = device.board.pid, device.board.log
    device.close()
    device.close()
    assert is_gone(pid, 0)
    assert not log.parent.exists()
    with pytest.raises(PopstreamError, match="the simulated board is closed"):
        device.read(1)


def test_limit(echo, opened):
    device = opened(echo, limit=2.0)
    pid = device.board.pid
    with pytest.raises(PopstreamError, match="does not answer within 2 s"):
        device.board.request("run", 10**12)
    assert is_gone(pid, 0)


def test_keyboard_interrupt(echo, opened):
    device = opened(echo, limit=30.0)
    main = threading.main_thread().ident
    threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        device.board.request("run", 10**12)
    assert is_gone(device.board.pid, 0)
    with pytest.raises(PopstreamError, match="the simulated board is closed"):
        device.read(1)


def test_broken_bench(zynq, opened):
    device = opened(zynq)
    with pytest.raises(PopstreamError, match=r"(?s)ended without.*no memory at 0x00000000"):
        device.board.request("load", 0, 8)
    assert device.board.log.exists()


# What cannot be opened


@pytest.fixture
def broken(echo, tmp_path):
    """A build with other text in one of its files."""

    def changed(name: str, text: str | None) -> Path:
        for each in ("shell.v", "shell.json"):
            shutil.copy(echo / each, tmp_path / each)
        (tmp_path / name).unlink() if text is None else (tmp_path / name).write_text(text)
        return tmp_path

    return changed


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("shell.v", None, r"cannot simulate a board: .*shell\.v: No such file"),
        ("shell.json", None, r"cannot simulate a board: .*shell\.json: No such file"),
        ("shell.json", "{", r"shell\.json: JSONDecodeError"),
        ("shell.json", "{}", r"shell\.json: KeyError\('shell'\)"),
        ("shell.json", '{"shell": "usb", "clock_hz": 1}', r"there is no shell like .*usb"),
        ("shell.v", "module shell(; endmodule", r"(?s)does not compile .*design\.v:1"),
    ],
)
def test_broken_build(broken, name, text, message):
    with pytest.raises(PopstreamError, match=message):
        SimulatedBoard(broken(name, text))


def test_simulator_that_does_not_start(echo, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(PopstreamError, match=r"does not start; its log .*simulation\.log ends:"):
        SimulatedBoard(echo)


def test_stall_out_of_range(echo):
    with pytest.raises(PopstreamError, match=r"stall must be in 0\.\.0\.9, not 1"):
        SimulatedBoard(echo, stall=1)


def test_waves(echo, opened, simulator):
    device = opened(echo, waves=True)
    device.close()
    name = {"verilator": "dump.vcd", "icarus": "dump.fst"}[simulator.name]
    assert (device.board.log.parent / name).stat().st_size > 1000
