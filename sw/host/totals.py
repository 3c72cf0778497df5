"""Counters that wrap at 32 bits as totals that do not."""

from sw.host.registers import COUNTERS

__all__ = ["Totals"]


class Totals:
    """Sums what counters of `sw.host.registers` grow by.

    Right as long as it is updated before one of them has gone round once: the fastest, one that
    counts cycles, takes 20 s at 200 MHz.

    Parameters
    ----------
    counters : tuple of Register
    """

    def __init__(self, counters: tuple = COUNTERS):
        self._last = {register.name: 0 for register in counters}
        self._totals = dict(self._last)

    def update(self, words: dict) -> None:
        """Takes the counters' words, by name."""
        for name in self._totals:
            self._totals[name] += (words[name] - self._last[name]) & 0xFFFF_FFFF
            self._last[name] = words[name]

    def restart(self) -> None:
        """The counters were set to 0, the totals stay."""
        self._last = dict.fromkeys(self._last, 0)

    def read(self) -> dict:
        """All totals as last updated, by the counter's name."""
        return dict(self._totals)
