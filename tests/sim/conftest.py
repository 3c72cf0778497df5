"""A small pipeline that can be told, by what goes in, to fail in every way a stream can fail."""

import numpy as np
import pytest
from amaranth.back import verilog
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sim.job import Job, Stream
from sim.tools import find_simulator
from sw.errors import MissingTool

ELEMENTS, LANES = 8, 3  # three beats, the last with one padding lane

# An element in lane 0 that has one of these values makes the second stage fail.
FAULTS = {
    name: 240 + index
    for index, name in enumerate(
        ("drop", "repeat", "flood", "withdraw", "change", "hang", "wait", "sleep", "remember")
    )
}


class Register(wiring.Component):
    """A register stage: one cycle, one beat a cycle."""

    i: In(stream.Signature(data.ArrayLayout(8, LANES)))
    o: Out(stream.Signature(data.ArrayLayout(8, LANES)))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.i.ready.eq(self.o.ready | ~self.o.valid)
        with m.If(self.i.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid), self.o.payload.eq(self.i.payload)]
        return m


class FaultyIncrement(wiring.Component):
    """Adds 1 to each element, in one register stage, unless it is told to fail."""

    i: In(stream.Signature(data.ArrayLayout(8, LANES)))
    o: Out(stream.Signature(data.ArrayLayout(8, LANES)))

    def elaborate(self, platform):
        m = Module()
        i, o = self.i, self.o
        valid, hidden, repeated, hung = (Signal(name=f"state_{k}") for k in range(4))
        waits = Signal(range(5001))  # cycles before the next beat is accepted
        told = Signal(8)  # lane 0 of the beat in the register, as it came in
        beat = Signal(2, reset_less=True)  # a beat counter that forgets to be reset
        repeats = ((told == FAULTS["repeat"]) & ~repeated) | (told == FAULTS["flood"])
        leaves, stalled = o.valid & o.ready, o.valid & ~o.ready

        m.d.comb += [
            o.valid.eq(valid & ~hidden),
            i.ready.eq((~valid | (leaves & ~repeats)) & ~hung & (waits == 0)),
        ]
        m.d.sync += hidden.eq(stalled & (told == FAULTS["withdraw"]))
        with m.If(waits != 0):
            m.d.sync += waits.eq(waits - 1)
        with m.If(leaves):
            m.d.sync += [valid.eq(repeats), repeated.eq(repeats)]
        with m.If(stalled & (told == FAULTS["change"])):
            m.d.sync += o.payload[1].eq(o.payload[1] + 1)
        with m.If(i.valid & i.ready):
            remembers = (i.payload[0] == FAULTS["remember"]) & (beat != 0)
            m.d.sync += [
                valid.eq(i.payload[0] != FAULTS["drop"]),
                told.eq(i.payload[0]),
                hung.eq(i.payload[0] == FAULTS["hang"]),
                beat.eq(beat + 1),
                o.payload[0].eq(i.payload[0] + 1 + remembers),
            ]
            m.d.sync += [o.payload[lane].eq(i.payload[lane] + 1) for lane in range(1, LANES)]
            with m.Switch(i.payload[0]):
                with m.Case(FAULTS["wait"]):
                    m.d.sync += waits.eq(1)
                with m.Case(FAULTS["sleep"]):
                    m.d.sync += waits.eq(5000)
            with m.If(beat == 2):
                m.d.sync += beat.eq(0)
        return m


class Pipeline(wiring.Component):
    """Both stages: two cycles of latency, three cycles a frame."""

    i: In(stream.Signature(data.ArrayLayout(8, LANES)))
    o: Out(stream.Signature(data.ArrayLayout(8, LANES)))

    def elaborate(self, platform):
        m = Module()
        m.submodules.first = first = Register()
        m.submodules.second = second = FaultyIncrement()
        wiring.connect(m, wiring.flipped(self.i), first.i)
        wiring.connect(m, first.o, second.i)
        wiring.connect(m, second.o, wiring.flipped(self.o))
        return m


@pytest.fixture(scope="session")
def simulator():
    """The simulator of this machine; without one the test is skipped."""
    try:
        return find_simulator()
    except MissingTool as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """Where compiled models are kept for the whole run of the tests."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def job():
    """The pipeline, with its true cycles."""
    beat = {"lanes": LANES, "width": 8, "elements": ELEMENTS}
    return Job(
        verilog=verilog.convert(Pipeline(), name="pipeline", emit_src=False),
        top="pipeline",
        input=Stream("pixels", **beat, port="i"),
        taps=(Stream("first", **beat, path="first"),),
        output=Stream("answer", **beat),
        latency_cycles=2,
        cycles_per_frame=3,
    )


@pytest.fixture
def frames():
    """40 frames without any fault."""
    return np.random.default_rng(7).integers(0, 240, (40, ELEMENTS))


@pytest.fixture
def expected(frames):
    """What the pipeline's streams should carry for `frames`, faults or not."""
    return lambda: {"first": frames.copy(), "answer": (frames + 1) % 256}


@pytest.fixture
def tell(frames):
    """Puts a fault into lane 0 of a beat of a frame."""

    def put(fault: str, frame, beat: int = 0) -> None:
        frames[frame, beat * LANES] = FAULTS[fault]

    return put
