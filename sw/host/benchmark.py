"""What a benchmark has measured."""

from dataclasses import dataclass

__all__ = ["Benchmark"]


@dataclass(frozen=True)
class Benchmark:
    """Throughput and latency of a board, and where the time went.

    The host works while the fabric does, so its activities and the fabric's add up to more than the
    time that passed. What binds is what takes nearly all of it.

    Attributes
    ----------
    images, seconds
        How many went through, and how long it took from the first image's pixels to the last one's
        answer.
    batch : int
        Images of a job.
    latency_seconds : float
        Of one image alone, likewise; the median of many.
    clock_hz : int
        The fabric's clock.
    frame_cycles : int
        Cycles a frame takes it, as planned.
    frame_bytes, result_bytes : int
        What a frame and its answer take in memory, or on the line.
    counters : dict
        What the fabric counted meanwhile, by the register's name.
    spent : dict
        Seconds of the host by activity: "encode" (binarise, pack), "copy in", "wait" (idle, or
        sending where the link is serial), "copy out", "decode".
    """

    images: int
    seconds: float
    batch: int
    latency_seconds: float
    clock_hz: int
    frame_cycles: int
    frame_bytes: int
    result_bytes: int
    counters: dict
    spent: dict

    @property
    def images_per_second(self) -> float:
        """Measured throughput."""
        return self.images / self.seconds

    @property
    def planned_images_per_second(self) -> float:
        """What the fabric makes of its clock as long as it does not wait."""
        return self.clock_hz / self.frame_cycles

    @property
    def in_bytes_per_second(self) -> float:
        """Frames' bytes."""
        return self.images_per_second * self.frame_bytes

    @property
    def out_bytes_per_second(self) -> float:
        """Results' bytes."""
        return self.images_per_second * self.result_bytes

    @property
    def weights_bytes_per_second(self) -> float:
        """Bytes of weights, read again for every batch; 0 where the fabric has them."""
        return 8 * self.counters.get("WORDS_READ", 0) / self.seconds

    @property
    def weights_starved_share(self) -> float:
        """Of the time: it had a job, and the pipeline waited for weights."""
        return self.counters.get("STALLS_WEIGHTS", 0) / (self.clock_hz * self.seconds)

    @property
    def busy_share(self) -> float:
        """Of the time: the fabric had frames."""
        return self.counters["CYCLES_BUSY"] / (self.clock_hz * self.seconds)

    @property
    def starved_share(self) -> float:
        """Of the time: it had a job, and the pipeline waited for its frames."""
        return self.counters["STALLS_IN"] / (self.clock_hz * self.seconds)

    @property
    def blocked_share(self) -> float:
        """Of the time: the pipeline waited for its answers to be taken."""
        return self.counters["STALLS_OUT"] / (self.clock_hz * self.seconds)

    def __str__(self) -> str:
        planned = self.planned_images_per_second
        weights = ()
        if self.counters.get("WORDS_READ"):
            starved = f"{self.weights_starved_share:.1%}"
            weights = (
                ("weights", _rate(self.weights_bytes_per_second), "read again for every batch"),
                ("weights starved", starved, "of the time it waited for weights"),
            )
        rows = (
            (
                "throughput",
                f"{self.images_per_second:,.0f} images/s",
                f"{self.images_per_second / planned:.1%} of {planned:,.0f} planned",
            ),
            ("latency", f"{1e3 * self.latency_seconds:.3f} ms", "one image, pixels to answer"),
            ("measured", f"{self.seconds:.2f} s", f"{self.images:,} images, batch {self.batch:,}"),
            ("clock", f"{self.clock_hz / 1e6:g} MHz", f"{self.frame_cycles:,} cycles a frame"),
            ("in", _rate(self.in_bytes_per_second), f"{self.frame_bytes:,} B a frame"),
            ("out", _rate(self.out_bytes_per_second), f"{self.result_bytes:,} B a frame"),
            *weights,
            ("fabric busy", f"{self.busy_share:.1%}", "of the time it had frames"),
            ("fabric starved", f"{self.starved_share:.1%}", "of the time it waited for frames"),
            ("fabric blocked", f"{self.blocked_share:.1%}", "of the time its answers waited"),
            *(
                (f"host: {what}", f"{seconds / self.seconds:.1%}", f"{seconds:.3f} s")
                for what, seconds in self.spent.items()
            ),
        )
        return "\n".join(f"{name:<16}{value:>20}  {text}" for name, value, text in rows)


def _rate(bytes_per_second: float) -> str:
    return f"{bytes_per_second / 1e6:,.2f} MB/s"
