# amaranth: UnusedElaboratable=no
"""hw.shell.memory and hw.shell.engine on Verilator, with cocotbext-axi's processor and memory."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
from amaranth.back import verilog
from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.shell.axi import BURST_BEATS, wires
from hw.shell.engine import Engine
from hw.shell.identity import Identity
from hw.shell.memory import MemoryShell
from sim.compile import TIMESCALE, cocotb_runner, compile_design, log_end
from sim.tools import find_simulator
from sw.errors import MissingTool

SEEDS = 880  # ten times each kind of case on each shell
LATENCY = 30
PATIENCE_CYCLES = 2048  # far longer than any stall here
AXI4_WIDTHS = {"len": 8, "lock": 1, "size": 3}
# Name, elements of a frame, bits of one, lanes, numbers of a result, its width and its lanes (0: an
# index), and cycles of a frame.
SHELLS = {
    "two_bytes": (16, 1, 5, 1, 4, 0, 4),
    "word": (64, 1, 24, 1, 8, 0, 3),
    "bits": (784, 1, 98, 1, 4, 0, 8),
    "slow_bits": (781, 1, 49, 10, 10, 4, 32),
    "bytes": (100, 8, 10, 1, 8, 0, 10),
    "image": (784, 8, 28, 10, 16, 1, 28),
    "nibbles": (21, 4, 4, 3, 20, 2, 6),
}
# And frames of a batch and words of weights.
BATCHES = {
    "alone": ((50, 8, 7, 1, 4, 0, 8), 1, 1),
    "threes": ((100, 8, 10, 1, 8, 0, 10), 3, 37),
    "streamed": ((21, 4, 4, 3, 20, 2, 6), 4, 300),
    "resident": ((64, 1, 24, 1, 8, 0, 3), 5, 0),
}


class Digest(wiring.Component):
    """Stands in for a pipeline: a frame's digest depends on every element and its place.

    Takes a frame every `cycles` cycles, if its beats are not more.
    """

    def __init__(self, elements, bits, lanes, numbers, width, o_lanes, cycles):
        self._elements, self._lanes, self._cycles = elements, lanes, cycles
        self._numbers, self._o_lanes = numbers, o_lanes
        result = data.ArrayLayout(width, o_lanes) if o_lanes else width
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(bits, lanes))),
                "o": Out(stream.Signature(result)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        beats = -(-self._elements // self._lanes)
        rest = self._elements - (beats - 1) * self._lanes
        beat = Signal(range(beats))
        last = beat == beats - 1
        total, result = Signal(32), Signal(32)
        pace = Signal(range(self._cycles + 1))
        free = Signal()
        moves = self.i.valid & self.i.ready
        m.d.comb += self.i.ready.eq(((beat != 0) | (pace == 0)) & (~last | free))
        with m.If(pace != 0):
            m.d.sync += pace.eq(pace - 1)
        with m.If(moves & (beat == 0)):
            m.d.sync += pace.eq(self._cycles - 1)
        added = sum(
            (2 * lane + 1) * (element if lane < rest else Mux(last, 0, element))
            for lane, element in enumerate(self.i.payload)
        )
        new = (total * 5 + added)[:32]
        with m.If(moves):
            m.d.sync += [beat.eq(Mux(last, 0, beat + 1)), total.eq(Mux(last, 0, new))]

        lanes = max(1, self._o_lanes)
        groups = -(-self._numbers // lanes)
        group = Signal(range(groups))
        goes = self.o.valid & self.o.ready
        m.d.comb += free.eq(~self.o.valid | (goes & (group == groups - 1)))
        out = Value.cast(self.o.payload)
        for lane in range(lanes):
            number = out.word_select(lane, len(out) // lanes)
            m.d.comb += number.eq(result + 37 * (group * lanes + lane))
        with m.If(goes):
            m.d.sync += group.eq(group + 1)
            with m.If(group == groups - 1):
                m.d.sync += [group.eq(0), self.o.valid.eq(0)]
        with m.If(moves & last):
            m.d.sync += [self.o.valid.eq(1), result.eq(new)]
        return m


class Batched(wiring.Component):
    """Stands in for a pipeline that takes batches, and weights for each.

    When all frames and words of a batch are there, each frame is answered with its digest and one
    of all words. Words are taken while frames are.
    """

    def __init__(self, shape, batch, words):
        self._digest = Digest(*shape[:3], 1, 32, 0, shape[6])
        self._batch, self._words = batch, words
        _, _, _, self._numbers, width, self._o_lanes, _ = shape
        result = data.ArrayLayout(width, self._o_lanes) if self._o_lanes else width
        weights = {"weights": In(stream.Signature(64))} if words else {}
        i = self._digest.signature.members["i"]
        super().__init__({"i": i, **weights, "o": Out(stream.Signature(result))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.digest = digest = self._digest
        wiring.connect(m, wiring.flipped(self.i), digest.i)
        totals = Array(Signal(32, name=f"total_{n}") for n in range(self._batch))
        frames, words = Signal(range(self._batch + 1)), Signal(range(self._words + 1))
        all_frames, all_words = frames == self._batch, words == self._words
        of_weights = Signal(32)
        m.d.comb += digest.o.ready.eq(~all_frames)
        with m.If(digest.o.valid & digest.o.ready):
            m.d.sync += [totals[frames].eq(digest.o.payload), frames.eq(frames + 1)]
        if self._words:
            m.d.comb += self.weights.ready.eq(~all_words)
            low, high = self.weights.payload[:32], self.weights.payload[32:]
            with m.If(self.weights.valid & self.weights.ready):
                m.d.sync += [of_weights.eq(5 * of_weights + low + 3 * high), words.eq(words + 1)]

        lanes = max(1, self._o_lanes)
        groups = -(-self._numbers // lanes)
        frame, group = Signal(range(self._batch)), Signal(range(groups))
        out = Value.cast(self.o.payload)
        m.d.comb += self.o.valid.eq(all_frames & all_words)
        for lane in range(lanes):
            number = out.word_select(lane, len(out) // lanes)
            m.d.comb += number.eq(totals[frame] + of_weights + 37 * (group * lanes + lane))
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += group.eq(group + 1)
            with m.If(group == groups - 1):
                m.d.sync += [group.eq(0), frame.eq(frame + 1)]
                with m.If(frame == self._batch - 1):
                    m.d.sync += [each.eq(0) for each in (frame, frames, words, of_weights)]
        return m


def identity(elements, bits, lanes, numbers, width, o_lanes, cycles, batch=0, words=0):
    return Identity(
        digest="5a" * 32,
        frame_elements=elements,
        frame_bits=bits,
        result_elements=numbers,
        result_width=width,
        scores=numbers > 1,
        clock_hz=100_000_000,
        frame_cycles=cycles,
        latency_cycles=cycles + 1,
        batch_frames=batch,
        weight_words=words,
    )


class Watch(wiring.Component):
    """Whether a master has broken a rule: it has to hold what it offers; and bursts their rows."""

    def __init__(self, port):
        self._port = port
        super().__init__({"broken": Out(3)})

    def elaborate(self, platform):
        m = Module()
        offers = [name for name in ("ar", "aw", "w") if name in self._port.signature.members]
        for number, name in enumerate(offers):
            channel = getattr(self._port, name)
            payload = Value.cast(channel.payload)
            was, offered = Signal.like(payload), Signal()
            m.d.sync += [was.eq(payload), offered.eq(channel.valid & ~channel.ready)]
            wrong = offered & (~channel.valid | (payload != was))
            if name != "w":
                burst = channel.payload
                beyond = burst.address[3:7] + burst.length >= BURST_BEATS
                wrong |= channel.valid & (beyond | burst.address[:3].any())
            with m.If(wrong):
                m.d.sync += self.broken[number].eq(1)
        return m


class Shells(wiring.Component):
    """All shells side by side, with AXI's wires as wide as AXI4 has them."""

    def __init__(self):
        self.shells, self._wires, members = {}, {}, {}
        for name, shape in SHELLS.items():
            self.shells[name] = MemoryShell(Digest(*shape), identity(*shape))
        for name, (shape, *batch) in BATCHES.items():
            about = identity(*shape, *batch)
            self.shells[name] = MemoryShell(
                Batched(shape, *batch), about, patience_cycles=PATIENCE_CYCLES
            )
        for name, shell in self.shells.items():
            members |= {f"{name}_{out}": Out(1) for out in ("busy", "error", "interrupt")}
            members[f"{name}_broken"] = Out(4)
            ports = [("gp", shell.registers, In), ("hp", shell.memory, Out)]
            if shell.identity.weight_words:
                ports.append(("hp2", shell.weights_memory, Out))
                members[f"{name}_hp2_rid"] = In(6)
            for prefix, port, way in ports:
                for wire, (driver, value) in wires(port).items():
                    flow = way if driver == "o" else way.flip()
                    wide = next((w for end, w in AXI4_WIDTHS.items() if wire.endswith(end)), None)
                    full = f"{name}_{prefix}_{wire}"
                    members[full] = flow(wide or len(value))
                    self._wires[full] = value
            for channel in ("r", "b"):  # IDs that the port leaves out
                members.setdefault(f"{name}_hp_{channel}id", In(6))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()
        for name, shell in self.shells.items():
            m.submodules[name] = shell
            m.submodules[f"{name}_watch"] = watch = Watch(shell.memory)
            broken = [watch.broken]
            if shell.identity.weight_words:
                m.submodules[f"{name}_weights_watch"] = watch = Watch(shell.weights_memory)
                broken.append(watch.broken[0])
            m.d.comb += getattr(self, f"{name}_broken").eq(Cat(broken))
            for out in ("busy", "error", "interrupt"):
                m.d.comb += getattr(self, f"{name}_{out}").eq(getattr(shell, out))
        for name, inner in self._wires.items():
            outer, inward = getattr(self, name), self.signature.members[name].flow is In
            m.d.comb += inner.eq(outer) if inward else outer.eq(inner)
        return m


def bench_around(design: wiring.Component) -> str:
    """A module with the design's ports, all of them public."""
    ports = [("input", 1, "clk"), ("input", 1, "rst")]
    for name, member in design.signature.members.items():
        ports.append(("input" if member.flow is In else "output", len(getattr(design, name)), name))
    declared = ",\n".join(
        f"    {way} [{width - 1}:0] {name} /*verilator public_flat_rw*/"
        if width > 1
        else f"    {way} {name} /*verilator public_flat_rw*/"
        for way, width, name in ports
    )
    connected = ", ".join(f".{name}({name})" for _, _, name in ports)
    return f"module bench (\n{declared}\n);\n    shells shells ({connected});\nendmodule\n"


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Runs a test of `sim.memory_bench` on all shells; returns the folder with what it left."""
    try:
        simulator = find_simulator("verilator")
    except MissingTool as error:
        pytest.skip(str(error))
    design = Shells()
    bench = bench_around(design)
    text = verilog.convert(design, name="shells", emit_src=False, strip_internal_attrs=True)
    models = tmp_path_factory.mktemp("models")
    model = compile_design(text, bench, "bench", simulator, models, name="memory shells")
    shells = []
    for name, shape in (SHELLS | {name: shape for name, (shape, *_) in BATCHES.items()}).items():
        about = design.shells[name].identity
        shells.append(
            {
                "name": name,
                "elements": shape[0],
                "bits": shape[1],
                "lanes": shape[2],
                "numbers": shape[3],
                "width": shape[4],
                "frame_bytes": about.frame_bytes,
                "number_bytes": about.number_bytes,
                "batch": max(1, about.batch_frames),
                "words": about.weight_words,
            }
        )

    def run(test, **config):
        folder = tmp_path_factory.mktemp(test)
        (folder / "config.json").write_text(json.dumps({"shells": shells} | config))
        with cocotb_runner(simulator) as runner, suppress(SystemExit, RuntimeError):
            runner.test(
                test_module="sim.memory_bench",
                test_filter=f"{test}$",
                hdl_toplevel="bench",
                hdl_toplevel_lang="verilog",
                build_dir=model,
                test_dir=folder,
                results_xml=str(folder / "results.xml"),
                timescale=TIMESCALE,
                log_file=folder / "simulation.log",
            )
        failure = folder / "failure.txt"
        if failure.exists():
            pytest.fail(failure.read_text())
        return folder

    return run


def test_random_cases(simulated):
    """Stalls, boundaries, errors and resets, each by a seed that a failure prints."""
    folder = simulated("cases", seeds=[0, SEEDS])
    assert (folder / "cycles.txt").exists(), log_end(folder / "simulation.log")


def test_rate(simulated):
    """A frame every max(cycles of the pipeline, bytes / 8), by the clock and by the counters."""
    folder = simulated("rate", latency=LATENCY)
    assert (folder / "rates.json").exists(), log_end(folder / "simulation.log")
    rates = json.loads((folder / "rates.json").read_text())
    for name, shape in SHELLS.items():
        few, many = rates[name]
        elements, _, lanes, _, _, _, cycles = shape
        for run in (few, many):
            assert run["FRAMES_DONE"] == run["frames"] and run["JOBS_DONE"] == 1
            assert abs(run["CYCLES_BUSY"] - run["cycles"]) <= 4, (name, run)
        each = {key: (many[key] - few[key]) / (many["frames"] - few["frames"]) for key in many}
        assert each["CYCLES_BUSY"] == each["cycles"]
        pipeline = max(cycles, -(-elements // lanes))
        ideal = max(pipeline, identity(*shape).frame_bytes / 8)
        assert each["cycles"] == pytest.approx(ideal, rel=0.05), (name, each)
        assert each["cycles"] - each["STALLS_IN"] == pytest.approx(pipeline, rel=0.05), (name, each)
        if pipeline == ideal:  # it waits for the first frame, not after the last
            assert LATENCY < few["STALLS_IN"] == many["STALLS_IN"] < 2 * LATENCY

    # Where weights bind, they are waited for once: their buffer bridges what is between batches.
    few, many = rates["streamed"]
    (_, _, _, numbers, *_), batch, words = BATCHES["streamed"]
    batches = many["frames"] - few["frames"]
    assert many["WORDS_READ"] - few["WORDS_READ"] == batches * words
    assert many["FRAMES_DONE"] - few["FRAMES_DONE"] == batches * batch
    each = (many["cycles"] - few["cycles"]) / batches
    assert each == pytest.approx(words + batch * numbers, rel=0.02)
    assert LATENCY < few["STALLS_WEIGHTS"] == many["STALLS_WEIGHTS"] < 2 * LATENCY


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("bits", {"frame_bits": 8}, "784 elements of 8 bits do not come 98 of 1 a beat"),
        ("bits", {"frame_elements": 97}, "97 elements of 1 bits do not come 98 of 1 a beat"),
        ("image", {"result_width": 8}, "10 numbers of 1 bytes do not come 1 of 16 bits a beat"),
        ("slow_bits", {"result_elements": 3}, "3 numbers of 2 bytes do not come 4 of 10 bits"),
        (
            "word",
            {"batch_frames": 2, "weight_words": 9},
            "9 words of weights a batch do not go to None",
        ),
    ],
)
def test_streams_have_to_be_as_the_identity_says(name, changes, message):
    with pytest.raises(ValueError, match=message):
        Engine(Digest(*SHELLS[name]), replace(identity(*SHELLS[name]), **changes))


def test_weights_have_to_be_as_the_identity_says():
    shape, *batch = BATCHES["threes"]
    about = identity(*shape, *batch)
    with pytest.raises(ValueError, match=r"0 words of weights a batch do not go to In\(stream"):
        Engine(Batched(shape, *batch), replace(about, weight_words=0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_frames": -1}, r"Frames of a batch must be in 0\.\.65535, not -1"),
        ({"batch_frames": 65536}, r"Frames of a batch must be in 0\.\.65535, not 65536"),
        ({"batch_frames": 1, "weight_words": 1 << 29}, r"up to 2\*\*29-1 words .* not 536870912"),
        ({"batch_frames": 1, "weight_crc": 1 << 32}, "a CRC of 32 bits, .* with 0x100000000"),
        ({"weight_words": 1}, "read for each batch, but there are no batches"),
    ],
)
def test_weights_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        replace(identity(*SHELLS["word"]), **changes)


def test_properties():
    about = identity(*SHELLS["word"])
    assert Engine(Digest(*SHELLS["word"]), about).identity == about
