"""A bank of an engine's memory: images as words, several of which are written a cycle."""

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

__all__ = ["Bank", "Writer", "writes"]


def writes(width: int, depth: int, columns: int) -> data.StructLayout:
    """What is written in a cycle to a bank whose words take turns in `columns` memories.

    Of each memory: whether it is written, the row, the word.
    """
    rows = -(-depth // columns)
    return data.StructLayout(
        {
            "en": columns,
            "row": data.ArrayLayout(range(max(2, rows)), columns),
            "word": data.ArrayLayout(width, columns),
        }
    )


class Writer(wiring.Component):
    """Up to `columns` words for consecutive addresses, spread over the memories of a bank.

    Parameters
    ----------
    width, depth, columns : int
        As `Bank` has them.

    Members
    -------
    address : In(range(depth))
        Of the first word; it need not be a multiple of `columns`.
    count : In(range(columns + 1))
        Words that are written, 0 for none.
    words : In(ArrayLayout(width, columns))
    o : Out(writes(width, depth, columns))
        Without a register.
    """

    def __init__(self, *, width: int, depth: int, columns: int):
        self._columns = columns
        super().__init__(
            {
                "address": In(range(max(2, depth))),
                "count": In(range(columns + 1)),
                "words": In(data.ArrayLayout(width, columns)),
                "o": Out(writes(width, depth, columns)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = ceil_log2(self._columns)
        first, row = self.address[:bits], self.address[bits:]
        for column in range(self._columns):
            place = Signal(bits, name=f"place_{column}")  # the word that is this memory's
            m.d.comb += [
                place.eq(column - first),
                self.o.en[column].eq(place < self.count),
                self.o.row[column].eq(row + (first > column)),
                self.o.word[column].eq(Array(self.words)[place] if bits else self.words[0]),
            ]
        return m


class Bank(wiring.Component):
    """A memory of `depth` words in block RAM; address a is in row a // columns of a column of its
    own, so that `columns` consecutive words can be written at once.

    Parameters
    ----------
    width : int
        Bits of a word.
    depth : int
    columns : int
        A power of two.

    Members
    -------
    address : In(range(depth))
    word : Out(width)
        The word, a cycle later.
    w : In(writes(width, depth, columns))
    """

    def __init__(self, *, width: int, depth: int, columns: int):
        self._width, self._depth, self._columns = width, depth, columns
        super().__init__(
            {
                "address": In(range(max(2, depth))),
                "word": Out(width),
                "w": In(writes(width, depth, columns)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = ceil_log2(self._columns)
        words = []
        for column in range(self._columns):
            m.submodules[f"column_{column}"] = memory = Memory(
                shape=self._width,
                depth=max(2, -(-self._depth // self._columns)),
                init=[],
                attrs={"ram_style": "block"},
            )
            write, read = memory.write_port(), memory.read_port()
            m.d.comb += [
                write.en.eq(self.w.en[column]),
                write.addr.eq(self.w.row[column]),
                write.data.eq(self.w.word[column]),
                read.addr.eq(self.address[bits:]),
            ]
            words.append(read.data)
        if bits:
            column = Signal(bits)
            m.d.sync += column.eq(self.address[:bits])
            m.d.comb += self.word.eq(Cat(words).word_select(column, self._width))
        else:
            m.d.comb += self.word.eq(words[0])
        return m
