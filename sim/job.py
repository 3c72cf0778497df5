"""What is to be simulated and what came of it: plain data for both sides of the simulator."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Self

import numpy as np

from sw.errors import PopstreamError

__all__ = ["Job", "Result", "SimulationMismatch", "Stalls", "Stream", "Weights"]


@dataclass(frozen=True)
class Stream:
    """A stream of vectors.

    n elements travel as ceil(n / lanes) beats, element 0 in the lowest bits of the first. Padding
    lanes of the last beat are not looked at. A frame is one vector, or several of the same size.

    Parameters
    ----------
    name : str
        What messages call it, e.g. the layer.
    lanes : int
        Elements a beat, at least 1.
    width : int
        Bits an element, 1 to 62.
    elements : int
        Elements a frame, at least 1.
    path : str
        Instance that has the stream's port, as a dotted path below the top; ``""`` is the top.
    port : str
        Name of the port: ``o`` stands for the signals ``o__valid``, ``o__ready``, ``o__payload``.
    signed : bool
        Elements are two's complement.
    vectors : int
        Vectors a frame, e.g. the pixels of an image; a divisor of `elements`.

    Raises
    ------
    ValueError
        A number is out of its range.
    """

    name: str
    lanes: int
    width: int
    elements: int
    path: str = ""
    port: str = "o"
    signed: bool = False
    vectors: int = 1

    def __post_init__(self) -> None:
        if self.lanes < 1 or self.elements < 1:
            raise ValueError(
                f"stream {self.name!r}: lanes and elements must be at least 1, "
                f"not {self.lanes} and {self.elements}"
            )
        if self.vectors < 1 or self.elements % self.vectors:
            raise ValueError(
                f"stream {self.name!r}: vectors must divide {self.elements}, not {self.vectors}"
            )
        if not 1 <= self.width <= 62:
            raise ValueError(f"stream {self.name!r}: width must be in 1..62, not {self.width}")

    @property
    def vector_beats(self) -> int:
        """Beats a vector."""
        return -(-self.elements // self.vectors // self.lanes)

    @property
    def beats(self) -> int:
        """Beats a frame."""
        return self.vectors * self.vector_beats

    @property
    def bits(self) -> int:
        """Bits a beat."""
        return self.lanes * self.width

    @property
    def range(self) -> tuple[int, int]:
        """The smallest and the largest element."""
        low = -(1 << self.width - 1) if self.signed else 0
        return low, low + (1 << self.width) - 1


@dataclass(frozen=True)
class Stalls:
    """How one side is stalled at random.

    Parameters
    ----------
    chance : float
        Probability in 0..0.9 that a gap begins in a cycle that is not stalled. Half of the gaps
        last one cycle, the others 1 to 16.
    bursts : float
        Long gaps per frame time, 0..1 on average; each lasts up to two frame times, so that
        whole frames pile up or starve.
    """

    chance: float = 0.1
    bursts: float = 0.1

    def __post_init__(self) -> None:
        if not (0 <= self.chance <= 0.9 and 0 <= self.bursts <= 1):
            raise ValueError(
                f"chance must be in 0..0.9 and bursts in 0..1, not {self.chance} and {self.bursts}"
            )


@dataclass(frozen=True)
class Weights:
    """A port that is fed with the same words for every frame, or batch where that is a frame.

    Parameters
    ----------
    words : bytes
        64-bit words, little-endian, from the first to the last and again.
    port : str
        As in `Stream`; of the top.
    stalls : Stalls
        Gaps of its valid while every frame is checked.
    """

    words: bytes = field(repr=False)
    port: str = "weights"
    stalls: Stalls = Stalls()

    def __post_init__(self) -> None:
        if not self.words or len(self.words) % 8:
            raise ValueError(f"weights must be whole words of 8 bytes, not {len(self.words)} bytes")


@dataclass(frozen=True)
class Job:
    """A design, the streams to watch, and how to press them.

    Parameters
    ----------
    verilog : str
        The design's Verilog, simulated as it is.
    top : str
        The module with ports ``clk`` and ``rst`` (where it has state) and the streams `input`
        and `output`.
    input, output : Stream
        Ports of the top.
    taps : tuple of Stream
        Streams inside, in the order in which data passes them.
    cycles_per_frame, latency_cycles : int or None
        What the plan predicts; compared exactly where given. See `Result` for their definition.
    seed : int
        Of every random choice. Equal jobs and frames give equal simulations.
    weights : Weights or None
        A second input, of weights.
    input_stalls, output_stalls : Stalls
        Gaps of `input` valid and of `output` ready while every frame is checked.
    reset : bool
        First interrupt a stalled run by a reset at a random cycle.

    Raises
    ------
    ValueError
        Two streams have the same name.
    """

    verilog: str = field(repr=False)
    top: str
    input: Stream
    output: Stream
    taps: tuple[Stream, ...] = ()
    cycles_per_frame: int | None = None
    latency_cycles: int | None = None
    seed: int = 1
    weights: Weights | None = None
    input_stalls: Stalls = Stalls()
    output_stalls: Stalls = Stalls()
    reset: bool = True

    def __post_init__(self) -> None:
        names = [stream.name for stream in self.streams]
        if len(set(names)) < len(names):
            raise ValueError(f"streams must have names of their own, not {', '.join(names)}")

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Every watched stream, in the order in which data passes them."""
        return (self.input, *self.taps, self.output)

    def to_json(self) -> dict:
        """The job without its Verilog and its words of weights, as JSON's types."""
        fields = {k: v for k, v in asdict(self).items() if k != "verilog"}
        if self.weights is not None:
            del fields["weights"]["words"]
        return fields

    @classmethod
    def from_json(cls, fields: Mapping) -> Self:
        """The inverse of `to_json`, without Verilog and with a word of weights."""
        streams = {k: Stream(**fields[k]) for k in ("input", "output")}
        stalls = {k: Stalls(**fields[k]) for k in ("input_stalls", "output_stalls")}
        taps = tuple(Stream(**tap) for tap in fields["taps"])
        weights = fields["weights"]
        if weights is not None:
            stalls_of_weights = Stalls(**weights["stalls"])
            weights = Weights(**{**weights, "words": bytes(8), "stalls": stalls_of_weights})
        others = {"taps": taps, "weights": weights, "verilog": ""}
        return cls(**{**fields, **streams, **stalls, **others})


@dataclass(frozen=True)
class Result:
    """A simulation in which every check passed.

    A beat is transferred in the cycle that ends with the clock edge at which valid and ready are
    both 1. Latency and cycles per frame are measured right after a reset, without any stall: input
    valid and output ready are constantly 1.

    Members
    -------
    frames : int
        Frames checked under random stalls.
    latency_cycles : int
        From the cycle in which the first frame's first input beat is transferred to the cycle in
        which its first output beat is: 0 for wires, 1 for one register stage.
    cycles_per_frame : int or None
        From a frame's first output beat to the next frame's, once the pipeline is full; None
        where successive frames differ (an error if the job predicts it).
    cycles : int
        Clock cycles simulated, all phases.
    seconds : float
        Wall time they took, without compiling and starting the simulator.
    compile_seconds : float
        Wall time of the compilation; 0 where a compiled model was at hand.
    outputs : ndarray of int64 (frames, elements of the output)
        What the design answered.
    simulator : str
        Its name and version, with the compiler's where there is one.
    seed : int
        As in the job.
    """

    frames: int
    latency_cycles: int
    cycles_per_frame: int | None
    cycles: int
    seconds: float
    compile_seconds: float
    outputs: np.ndarray = field(repr=False)
    simulator: str
    seed: int

    @property
    def cycles_per_second(self) -> float:
        """Clock cycles simulated per second of wall time."""
        return self.cycles / self.seconds


class SimulationMismatch(PopstreamError):
    """The simulated design does not do what it should.

    Members
    -------
    kind : str
        ``value``, ``timing``, ``protocol``, ``lost``, ``duplicated`` or ``deadlock``.
    layer : str or None
        Name of the stream where it showed.
    frame, neuron : int or None
        Where in it, counted from 0.
    expected, got : int or None
        For values, cycles and beats.
    seed : int
        Gives the same simulation again.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        seed: int,
        layer: str | None = None,
        frame: int | None = None,
        neuron: int | None = None,
        expected: int | None = None,
        got: int | None = None,
    ) -> None:
        super().__init__(message)
        self.kind, self.seed = kind, seed
        self.layer, self.frame, self.neuron = layer, frame, neuron
        self.expected, self.got = expected, got
