"""A constant table in the gateware: what differs from layer to layer."""

from collections.abc import Mapping, Sequence

from amaranth.hdl import Module, Mux, Signal, Value

__all__ = ["Table"]


class Table:
    """Rows of named integers, of which one is looked at; a place in it moves from row to row.

    Parameters
    ----------
    rows : sequence of mapping of str to int
        At least one; all with the same names, and no value below 0.
    """

    def __init__(self, rows: Sequence[Mapping[str, int]]):
        self._rows = [{name: int(value) for name, value in row.items()} for row in rows]

    def place(self, name: str) -> Signal:
        """A signal for the number of a row."""
        return Signal(range(max(2, len(self._rows))), name=name)

    def after(self, place: Signal) -> Value:
        """The row behind it; behind the last one the first."""
        return Mux(place == len(self._rows) - 1, 0, place + 1)

    def look(self, m: Module, place: Signal) -> dict[str, Signal]:
        """The integers of a row, as wide as the largest."""
        found = {
            name: Signal(max(1, max(row[name] for row in self._rows).bit_length()), name=name)
            for name in self._rows[0]
        }
        with m.Switch(place):
            for number, row in enumerate(self._rows):
                with m.Case(number) if number < len(self._rows) - 1 else m.Default():
                    m.d.comb += [found[name].eq(value) for name, value in row.items()]
        return found
