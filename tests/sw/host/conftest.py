"""A board in Python: the register map, memory, and jobs that a function computes."""

import zlib
from collections import deque
from dataclasses import dataclass, field

import numpy as np
import pytest

from sw import artefact, zoo
from sw.errors import PopstreamError
from sw.golden import trace
from sw.host.frames import frame_bytes
from sw.host.registers import (
    BATCH_COUNTERS,
    BATCHES,
    CONTROL,
    COUNTERS,
    IDENTITY,
    MAGIC,
    MAP,
    QUEUE,
    VERSION,
    Cause,
    register,
)

BASE = 0x1000_0000
CYCLES = 1000  # that every job takes


class FakeBuffer:
    """Memory with a cache in front: what is not flushed or invalidated is not seen."""

    def __init__(self, device, size, address):
        self.device, self.address = device, address
        self.array = np.full(size, 0xEE, np.uint8)
        self.memory = np.full(size, 0xDD, np.uint8)

    def flush(self):
        self.memory[:] = self.array

    def invalidate(self):
        self.array[:] = self.memory

    def close(self):
        self.device.buffers.remove(self)
        self.array = None


@dataclass
class FakeDevice:
    """A `RegisterDevice` whose jobs end one by one, each time somebody waits.

    `compute` makes results (bytes) of frames (uint8, (n, frame_bytes)); `identity` are the words of
    the identity section. The rest is what may go wrong.
    """

    identity: dict
    compute: object
    name: str = "fake"
    stuck: bool = False  # jobs never end
    slow: int = 0  # waits for which a job's frames come in before it ends
    reset_stuck: bool = False
    cause: int = 0  # the next job ends with this
    fails_after: int | None = None  # jobs that end well before `cause`
    gone_after: int | None = None  # register accesses before the device is gone
    deaf: bool = False  # interrupts are lost
    on_wait: object = None  # called at every wait
    room: int = 1 << 30  # bytes that may be allocated
    buffers: list = field(default_factory=list)
    log: list = field(default_factory=list)  # (name, value) of what is written, and "wait", "close"

    def __post_init__(self):
        self.words = {each.address: 0 for each in MAP}
        self.words |= {each.address: self.identity[each.name] for each in IDENTITY}
        self.words |= {each.address: self.identity.get(each.name, 0) for each in BATCHES}
        self.jobs, self.next_address, self.deepest = deque(), BASE, 0
        self.resetting = False

    def set(self, name, value):
        self.words[register(name).address] = value & 0xFFFF_FFFF

    def get(self, name):
        return self.words[register(name).address]

    def _reach(self):
        if self.gone_after is not None:
            self.gone_after -= 1
            if self.gone_after < 0:
                raise OSError(5, "Input/output error")

    def read(self, address):
        self._reach()
        assert address % 4 == 0
        if address == register("STATUS").address:
            status = register("STATUS")
            busy = bool(self.jobs) or self.resetting
            queued = max(0, len(self.jobs) - 1)
            cause = self.get("STATUS") >> status.field("cause").low
            return busy | (cause != 0 and not busy) << 1 | queued << 4 | cause << 8
        return self.words.get(address, 0)

    def write(self, address, value):
        self._reach()
        (each,) = (each for each in (*CONTROL, *BATCHES) if each.address == address)
        assert each in CONTROL or self.get("BATCH_FRAMES"), "a write to what is not there"
        self.log.append((each.name, value))
        if each.name == "CONTROL":
            if value & 2:
                self._reset()
            elif value & 1:
                self._start()
        elif each.name == "EVENTS":
            self.words[address] &= ~value
        elif each.access == "write":
            self.words[address] = value

    def _reset(self):
        self.resetting = self.reset_stuck
        self.jobs.clear()
        for each in (*COUNTERS, *BATCH_COUNTERS):
            self.words[each.address] = 0
        for name in ("STATUS", "EVENTS", "ENABLE"):
            self.set(name, 0)

    def _start(self):
        if self.get("STATUS"):
            return
        if len(self.jobs) == QUEUE + 1:
            self._fail(Cause.OVERRUN)
            return
        if self.get("WEIGHT_WORDS") and not self.get("WEIGHTS"):
            self._fail(Cause.NO_WEIGHTS)
            return
        frames = self.get("FRAMES") * (self.get("BATCH_FRAMES") or 1)
        addresses = (self.get(name) for name in ("SOURCE", "DESTINATION", "WEIGHTS"))
        self.jobs.append([*addresses, frames, 0])
        self.deepest = max(self.deepest, len(self.jobs))

    def _fail(self, cause):
        self.jobs.clear()
        status = register("STATUS")
        self.set("STATUS", cause << status.field("cause").low)
        self.set("EVENTS", self.get("EVENTS") | 2)

    def _memory(self, address, size):
        for buffer in self.buffers:
            at = address - buffer.address
            if at >= 0 and at + size <= len(buffer.memory):
                return buffer.memory[at : at + size]
        raise AssertionError(f"no memory of {size} bytes at 0x{address:X}")

    def step(self):
        """Ends the oldest job, or as much of it as `slow` lets."""
        if not self.jobs or self.stuck:
            return
        job = self.jobs[0]
        source, destination, weights, frames, waited = job
        if waited < self.slow:
            job[-1] += 1
            self.set("FRAMES_DONE", self.get("FRAMES_DONE") + 1)
            return
        if self.cause and self.fails_after in (None, 0):
            self._fail(self.cause)
            return
        if self.fails_after:
            self.fails_after -= 1
        size = self.get("FRAME_BYTES")
        data = self._memory(source, frames * size).reshape(frames, size)
        if words := self.get("WEIGHT_WORDS"):
            image = self._memory(weights, 8 * words)
            assert zlib.crc32(image) == self.get("WEIGHT_CRC"), "other weights"
            read = self.get("WORDS_READ") + words * frames // self.get("BATCH_FRAMES")
            self.set("WORDS_READ", read)
            self.set("STALLS_WEIGHTS", self.get("STALLS_WEIGHTS") + CYCLES // 2)
        results = self.compute(data)
        each = self.get("RESULT_ELEMENTS") * self.get("RESULT_BYTES")
        assert len(results) == frames * each
        self._memory(destination, len(results))[:] = np.frombuffer(results, np.uint8)
        self.jobs.popleft()
        self.set("JOBS_DONE", self.get("JOBS_DONE") + 1)
        self.set("FRAMES_DONE", self.get("FRAMES_DONE") + frames - waited)
        self.set("CYCLES_BUSY", self.get("CYCLES_BUSY") + CYCLES)
        self.set("STALLS_IN", self.get("STALLS_IN") + CYCLES // 4)
        self.set("EVENTS", self.get("EVENTS") | 1)

    def allocate(self, size):
        self.room -= size
        if self.room < 0:
            raise PopstreamError(f"no {size} bytes of memory")
        buffer = FakeBuffer(self, size, self.next_address)
        self.next_address += -(-size // 4096) * 4096
        self.buffers.append(buffer)
        return buffer

    def set_clock(self, hz):
        self.log.append(("clock", hz))
        return hz

    def wait(self, timeout):
        assert 0 < timeout <= 0.1, "a wait that is longer than the counters allow"
        assert not self.get("EVENTS"), "a wait that would not wait"
        self.log.append(("wait", timeout))
        if self.on_wait:
            self.on_wait()
        self.step()
        return not self.deaf and bool(self.get("EVENTS") & self.get("ENABLE"))

    def close(self):
        self.log.append(("close", None))


def make_device(
    path, *, bits=False, scores=False, number_bytes=1, batch_frames=0, weights=b"", **faults
):
    """A fake board for a model file, which computes with the golden model.

    It wants these weights to be in memory, but makes no use of them.
    """
    model = artefact.load(path)
    network = model.network
    node, width = network.input, 1 if bits else network.input.bits
    output = network.output.inputs[0] if scores else network.output.name
    elements = int(np.prod(node.shape))

    def compute(data):
        if width == 1:
            flat = np.unpackbits(data, axis=1, bitorder="little", count=elements)
        else:
            flat = data
        pixels = flat.reshape(-1, *node.shape)
        # Any pixels on the same sides of the thresholds have the same answer.
        if bits and node.bits > 1:
            pixels = np.where(pixels, network.nodes[1].thresholds, 0).astype(np.uint8)
        elif node.signed:  # two's complement
            pixels = (pixels.astype(int) ^ 1 << width - 1) - (1 << width - 1)
        return trace(network, pixels)[output].astype(f"<u{number_bytes}").tobytes()

    digest = bytes.fromhex(model.digest)
    words = {
        "MAGIC": MAGIC,
        "VERSION": VERSION,
        "FRAME_ELEMENTS": elements,
        "FRAME_BITS": width,
        "FRAME_BYTES": frame_bytes(elements, width),
        "RESULT_ELEMENTS": len(network.classes) if scores else 1,
        "RESULT_BYTES": number_bytes,
        "RESULT_KIND": int(scores),
        "CLOCK_HZ": 100_000_000,
        "FRAME_CYCLES": 64,
        "LATENCY_CYCLES": 300,
        "BATCH_FRAMES": batch_frames,
        "WEIGHT_WORDS": len(weights) // 8,
        "WEIGHT_CRC": zlib.crc32(weights),
    }
    words |= {f"DIGEST_{n}": int.from_bytes(digest[4 * n : 4 * n + 4], "little") for n in range(8)}
    identity = words | faults.pop("identity", {})
    return FakeDevice(identity, faults.pop("compute", compute), **faults)


@pytest.fixture
def fake():
    """Makes fake boards; see `make_device`."""
    return make_device


@pytest.fixture
def tiny():
    """The smallest model file: 8x8 pixels of 5 bits."""
    return zoo.path("digits-tiny")
