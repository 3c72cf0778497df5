"""The register map: one table from which gateware, driver and documentation derive.

    python -m sw.host.registers

prints it as doc/registers.md. Registers are 32-bit words, little-endian. The `IDENTITY` and
`COUNTERS` sections are also what the serial link answers to the commands of these names, word after
word in the order of their addresses. The `BATCHES` section is there only where frames are worked on
in batches; elsewhere it reads as 0, as whatever is not listed does.
"""

import enum
import sys
from dataclasses import dataclass

__all__ = [
    "BATCHES",
    "BATCH_COUNTERS",
    "BYTES",
    "CONTROL",
    "COUNTERS",
    "IDENTITY",
    "MAGIC",
    "MAP",
    "QUEUE",
    "VERSION",
    "Cause",
    "Field",
    "Register",
    "document",
    "register",
]

MAGIC = 0x53504F50  # "POPS" in the order of the bytes
VERSION = 1  # of this map; a driver refuses any other
BYTES = 256  # that the map takes in the address space; what is not listed reads as 0
QUEUE = 4  # jobs that may wait behind the one that runs


@dataclass(frozen=True)
class Field:
    """Some bits of a register.

    Attributes
    ----------
    name : str
    low, width : int
        Lowest bit, and how many.
    text : str
        What they mean.
    """

    name: str
    low: int
    width: int
    text: str

    @property
    def mask(self) -> int:
        """Its bits, in place."""
        return ((1 << self.width) - 1) << self.low

    def of(self, word: int) -> int:
        """The field's value in a register's."""
        return (word & self.mask) >> self.low


@dataclass(frozen=True)
class Register:
    """A 32-bit register.

    Attributes
    ----------
    name : str
    address : int
        Offset in bytes.
    access : str
        "constant"; "read"; "write" (kept, and read back); "act" (a 1 written to a bit does
        something once, or clears it).
    text : str
        What it is.
    fields : tuple of Field
        Empty where the whole word is one number.
    """

    name: str
    address: int
    access: str
    text: str
    fields: tuple = ()

    def field(self, name: str) -> Field:
        """The field of this name; KeyError where there is none."""
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(f"{self.name} has no field {name!r}")


class Cause(enum.IntEnum):
    """Values of `STATUS.cause`: why the jobs were given up."""

    NONE = 0
    READ_SLAVE = 1
    READ_DECODE = 2
    WRITE_SLAVE = 3
    WRITE_DECODE = 4
    UNALIGNED = 5
    OVERRUN = 6
    WEIGHTS_SLAVE = 7
    WEIGHTS_DECODE = 8
    WEIGHTS_STARVED = 9
    NO_WEIGHTS = 10

    @property
    def text(self) -> str:
        """What it means, in words."""
        return _CAUSES[self]


_CAUSES = {
    Cause.NONE: "no error",
    Cause.READ_SLAVE: "the memory answered a read with SLVERR",
    Cause.READ_DECODE: "a read reached no memory (DECERR)",
    Cause.WRITE_SLAVE: "the memory answered a write with SLVERR",
    Cause.WRITE_DECODE: "a write reached no memory (DECERR)",
    Cause.UNALIGNED: "an address of a job is not a multiple of 8",
    Cause.OVERRUN: "a job was started while the queue was full",
    Cause.WEIGHTS_SLAVE: "the memory answered a read of weights with SLVERR",
    Cause.WEIGHTS_DECODE: "a read of weights reached no memory (DECERR)",
    Cause.WEIGHTS_STARVED: "the memory did not answer a read of weights for far too long",
    Cause.NO_WEIGHTS: "a job was started without an address of the weights",
}


def _section(start: int, *rows) -> tuple:
    return tuple(
        Register(name, start + 4 * index, *rest) for index, (name, *rest) in enumerate(rows)
    )


IDENTITY = _section(
    0x00,
    ("MAGIC", "constant", f"0x{MAGIC:08X}, `POPS` as bytes: this is a Popstream accelerator"),
    ("VERSION", "constant", f"of this map: {VERSION}"),
    *(
        (
            f"DIGEST_{n}",
            "constant",
            f"bytes {4 * n}..{4 * n + 3} of the model's SHA-256, first lowest",
        )
        for n in range(8)
    ),
    ("FRAME_ELEMENTS", "constant", "elements of a frame"),
    ("FRAME_BITS", "constant", "bits of an element; where it is 1, eight elements share a byte"),
    ("FRAME_BYTES", "constant", "bytes of a frame"),
    ("RESULT_ELEMENTS", "constant", "numbers a frame is answered with: 1 is a class index"),
    ("RESULT_BYTES", "constant", "bytes of each of them: 1, 2 or 4, unsigned, little-endian"),
    ("RESULT_KIND", "constant", "0: class indices; 1: scores"),
    ("CLOCK_HZ", "constant", "the clock that the design was built for"),
    ("FRAME_CYCLES", "constant", "cycles a frame takes the pipeline, as planned"),
    ("LATENCY_CYCLES", "constant", "cycles from a frame's first beat to its answer, as planned"),
)

CONTROL = _section(
    0x80,
    (
        "CONTROL",
        "act",
        "what to do",
        (
            Field("start", 0, 1, "queue the job in `SOURCE`, `DESTINATION`, `FRAMES` (`WEIGHTS`)"),
            Field("reset", 1, 1, "give up all jobs: bursts in flight end, then all is as new"),
        ),
    ),
    (
        "STATUS",
        "read",
        "what is going on",
        (
            Field("busy", 0, 1, "jobs are queued or running, or a reset is"),
            Field("error", 1, 1, "jobs were given up; nothing runs until `CONTROL.reset`"),
            Field("queued", 4, 4, f"jobs that wait to run, at most {QUEUE}"),
            Field("cause", 8, 4, "; ".join(f"{cause:d}: {cause.text}" for cause in Cause)),
        ),
    ),
    (
        "EVENTS",
        "act",
        "what has happened; write 1 to clear. The interrupt is high while an enabled one is 1",
        (
            Field("done", 0, 1, "a job has ended, its results are in memory"),
            Field("error", 1, 1, "jobs were given up"),
        ),
    ),
    (
        "ENABLE",
        "write",
        "which events interrupt",
        (Field("done", 0, 1, "as in `EVENTS`"), Field("error", 1, 1, "as in `EVENTS`")),
    ),
    ("SOURCE", "write", "address of the frames, a multiple of 8; they follow each other closely"),
    ("DESTINATION", "write", "address of the results, a multiple of 8; likewise"),
    (
        "FRAMES",
        "write",
        "frames of the job, or batches where `BATCH_FRAMES` is not 0",
        (Field("frames", 0, 16, "how many, 0..65535"),),
    ),
)

COUNTERS = _section(
    0xC0,
    ("JOBS_DONE", "read", "jobs that have ended well"),
    ("FRAMES_DONE", "read", "frames that the pipeline has answered"),
    ("CYCLES_BUSY", "read", "cycles in which a frame was on its way"),
    ("STALLS_IN", "read", "cycles in which the pipeline, busy, waited for input"),
    ("STALLS_OUT", "read", "cycles in which an answer waited to be taken"),
    ("REJECTED", "read", "packets that the serial link did not take: CRC, length, no room"),
)

BATCHES = _section(
    0xE0,
    ("BATCH_FRAMES", "constant", "frames of a batch; `FRAMES` of a job counts these"),
    ("WEIGHT_WORDS", "constant", "words of 8 bytes that each batch reads as weights; 0: none"),
    ("WEIGHT_CRC", "constant", "CRC-32 of these bytes, as in zlib"),
    ("WEIGHTS", "write", "address of the weights, a multiple of 8; 0 is none, and refused"),
    ("WORDS_READ", "read", "words of weights that the pipeline has taken"),
    ("STALLS_WEIGHTS", "read", "cycles in which the pipeline, busy, waited for weights"),
)
BATCH_COUNTERS = tuple(entry for entry in BATCHES if entry.access == "read")

MAP = (*IDENTITY, *CONTROL, *COUNTERS, *BATCHES)

_BY_NAME = {register.name: register for register in MAP}


def register(name: str) -> Register:
    """The register of this name; KeyError where there is none."""
    return _BY_NAME[name]


def document() -> str:
    """The map as Markdown."""
    lines = [
        "# Registers",
        "",
        "Made by `python -m sw.host.registers`; do not edit. 32-bit words, little-endian. Counters",
        "wrap around, and start from 0 at `CONTROL.reset`.",
        "",
    ]
    only = "Only where frames are worked on in batches; elsewhere these read as 0."
    for title, section, intro in (
        ("Identity", IDENTITY, ()),
        ("Control", CONTROL, ()),
        ("Counters", COUNTERS, ()),
        ("Batches", BATCHES, (only, "")),
    ):
        lines += [
            f"## {title}",
            "",
            *intro,
            "| address | name | bits | access | what |",
            "|---|---|---|---|---|",
        ]
        for each in section:
            at = f"0x{each.address:02X}"
            lines.append(f"| {at} | `{each.name}` | 31:0 | {each.access} | {each.text} |")
            for field in each.fields:
                high = field.low + field.width - 1
                bits = f"{high}:{field.low}" if field.width > 1 else f"{high}"
                lines.append(f"| | `{each.name}.{field.name}` | {bits} | | {field.text} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.stdout.write(document())
