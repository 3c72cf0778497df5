"""What a fabric says of itself, and whether it is what a model file describes."""

from dataclasses import dataclass

from sw.errors import PopstreamError
from sw.host.frames import frame_bytes
from sw.host.model import Model
from sw.host.registers import MAGIC, VERSION

__all__ = ["Identity"]


@dataclass(frozen=True)
class Identity:
    """A fabric, as its constant registers describe it.

    Attributes
    ----------
    digest : str
        SHA-256 of its network, 64 hexadecimal digits.
    frame_elements, frame_bits, frame_bytes : int
        A frame's elements, bits of each, and bytes of all.
    result_elements, number_bytes : int
        Numbers that a frame is answered with, and bytes of each.
    scores : bool
        They are scores, not a class index.
    clock_hz : int
        The clock that it was built for.
    frame_cycles, latency_cycles : int
        Planned: from frame to frame, and from a frame to its answer.
    batch_frames : int
        Frames that it takes as a batch, 0 where it takes them one by one.
    weight_bytes, weight_crc : int
        Bytes that it reads from memory as weights, 0 where it has them, and their CRC-32.
    """

    digest: str
    frame_elements: int
    frame_bits: int
    frame_bytes: int
    result_elements: int
    number_bytes: int
    scores: bool
    clock_hz: int
    frame_cycles: int
    latency_cycles: int
    batch_frames: int = 0
    weight_bytes: int = 0
    weight_crc: int = 0

    @property
    def result_bytes(self) -> int:
        """Bytes of a frame's result."""
        return self.result_elements * self.number_bytes

    @classmethod
    def read(cls, words: dict) -> "Identity":
        """From the words of the constant registers, by name; a serial line has none of batches.

        Raises
        ------
        PopstreamError
            They are not a Popstream accelerator's, or of another version, or make no sense.
        """
        if words["MAGIC"] != MAGIC:
            raise PopstreamError(
                f"this is no Popstream accelerator: MAGIC reads 0x{words['MAGIC']:08X}, not "
                f"0x{MAGIC:08X}; check the bitstream"
            )
        if words["VERSION"] != VERSION:
            raise PopstreamError(
                f"the accelerator's registers are of version {words['VERSION']}, this library "
                f"drives version {VERSION}: use the library that came with the bitstream"
            )
        identity = cls(
            digest=b"".join(words[f"DIGEST_{n}"].to_bytes(4, "little") for n in range(8)).hex(),
            frame_elements=words["FRAME_ELEMENTS"],
            frame_bits=words["FRAME_BITS"],
            frame_bytes=words["FRAME_BYTES"],
            result_elements=words["RESULT_ELEMENTS"],
            number_bytes=words["RESULT_BYTES"],
            scores=bool(words["RESULT_KIND"]),
            clock_hz=words["CLOCK_HZ"],
            frame_cycles=words["FRAME_CYCLES"],
            latency_cycles=words["LATENCY_CYCLES"],
            batch_frames=words.get("BATCH_FRAMES", 0),
            weight_bytes=8 * words.get("WEIGHT_WORDS", 0),
            weight_crc=words.get("WEIGHT_CRC", 0),
        )
        identity._check(words["RESULT_KIND"])
        return identity

    def _check(self, kind: int) -> None:
        try:
            sensible = self.frame_bytes == frame_bytes(self.frame_elements, self.frame_bits)
        except ValueError:
            sensible = False
        sensible &= kind in (0, 1) and self.number_bytes in (1, 2, 4)
        sensible &= self.result_elements == 1 or (self.scores and self.result_elements > 1)
        sensible &= bool(self.clock_hz and self.frame_cycles) and self.batch_frames < 1 << 16
        if not sensible:
            raise PopstreamError(f"the accelerator's description makes no sense: {self}")

    def check_model(self, model: Model) -> None:
        """Raises PopstreamError unless this fabric computes the network of this model."""
        if self.digest != model.digest:
            raise PopstreamError(
                f"the accelerator computes another network than {model.name}: its digest is "
                f"{self.digest[:16]}, the model file's {model.digest[:16]}; give the model file "
                "that it was built from"
            )
        takes_bits = self.frame_bits == 1 and model.thresholds is not None
        if self.frame_elements != model.elements or not (
            self.frame_bits == model.bits or takes_bits
        ):
            raise PopstreamError(
                f"the accelerator takes frames of {self.frame_elements} elements of "
                f"{self.frame_bits} bits, {model.name} has {model.elements} of {model.bits}"
            )
        classes = len(model.classes)
        if self.scores and classes and self.result_elements != classes:
            raise PopstreamError(
                f"the accelerator yields {self.result_elements} scores, {model.name} has "
                f"{classes} classes"
            )
