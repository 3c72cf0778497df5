"""What a shell says of the pipeline that it holds: the constants of the register map."""

from dataclasses import dataclass

from sw.host.frames import frame_bytes
from sw.host.registers import BATCHES, IDENTITY, MAGIC, VERSION

__all__ = ["Identity"]


@dataclass(frozen=True)
class Identity:
    """A pipeline, as far as whoever talks to it has to know it.

    Attributes
    ----------
    digest : str
        SHA-256 of the network, 64 hexadecimal digits.
    frame_elements : int
        Elements of a frame, at least 1.
    frame_bits : int
        Bits of an element, 1..8.
    result_elements : int
        Numbers a frame is answered with: 1 class index, or a score for each class.
    result_width : int
        Bits of such a number, 1..32.
    scores : bool
        They are scores.
    clock_hz : int
        The pipeline's clock.
    frame_cycles, latency_cycles : int
        As planned.
    batch_frames : int
        Frames that the pipeline takes as a batch, up to 65535; 0 where it takes them one by one.
    weight_words : int
        Words of 64 bits that it takes as weights for each batch; 0 where it has them.
    weight_crc : int
        CRC-32 of these words' bytes, as in zlib.

    Raises
    ------
    ValueError
        A number is out of its range.
    """

    digest: str
    frame_elements: int
    frame_bits: int
    result_elements: int
    result_width: int
    scores: bool
    clock_hz: int
    frame_cycles: int
    latency_cycles: int
    batch_frames: int = 0
    weight_words: int = 0
    weight_crc: int = 0

    def __post_init__(self):
        if len(bytes.fromhex(self.digest)) != 32:
            raise ValueError(f"A digest is 64 hexadecimal digits, not {self.digest!r}")
        if not 1 <= self.result_width <= 32 or self.result_elements < 1:
            raise ValueError(
                f"A result is 1 or more numbers of 1..32 bits, not {self.result_elements} of "
                f"{self.result_width}"
            )
        if not 0 <= self.batch_frames < 1 << 16:
            raise ValueError(f"Frames of a batch must be in 0..65535, not {self.batch_frames}")
        if not 0 <= self.weight_words < 1 << 29 or not 0 <= self.weight_crc < 1 << 32:
            raise ValueError(
                f"Weights are up to 2**29-1 words with a CRC of 32 bits, not {self.weight_words} "
                f"with {self.weight_crc:#x}"
            )
        if self.weight_words and not self.batch_frames:
            raise ValueError("Weights are read for each batch, but there are no batches")
        frame_bytes(self.frame_elements, self.frame_bits)

    @property
    def frame_bytes(self) -> int:
        """Bytes of a frame."""
        return frame_bytes(self.frame_elements, self.frame_bits)

    @property
    def number_bytes(self) -> int:
        """Bytes of one number of a result: 1, 2 or 4."""
        return next(size for size in (1, 2, 4) if self.result_width <= 8 * size)

    @property
    def result_bytes(self) -> int:
        """Bytes of a frame's result."""
        return self.result_elements * self.number_bytes

    def words(self) -> dict[str, int]:
        """The value of each constant register, by name."""
        digest = bytes.fromhex(self.digest)
        values = {
            "MAGIC": MAGIC,
            "VERSION": VERSION,
            "FRAME_ELEMENTS": self.frame_elements,
            "FRAME_BITS": self.frame_bits,
            "FRAME_BYTES": self.frame_bytes,
            "RESULT_ELEMENTS": self.result_elements,
            "RESULT_BYTES": self.number_bytes,
            "RESULT_KIND": int(self.scores),
            "CLOCK_HZ": self.clock_hz,
            "FRAME_CYCLES": self.frame_cycles,
            "LATENCY_CYCLES": self.latency_cycles,
        }
        for n in range(8):
            values[f"DIGEST_{n}"] = int.from_bytes(digest[4 * n : 4 * n + 4], "little")
        words = {register.name: values[register.name] for register in IDENTITY}
        if self.batch_frames:
            values = {
                "BATCH_FRAMES": self.batch_frames,
                "WEIGHT_WORDS": self.weight_words,
                "WEIGHT_CRC": self.weight_crc,
            }
            constants = (register for register in BATCHES if register.access == "constant")
            words |= {register.name: values[register.name] for register in constants}
        return words
