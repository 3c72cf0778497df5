"""What an engine reads, adds and writes, cycle by cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.engine.plan import SHORTEST_TILE, EnginePlan
from hw.engine.table import Table

__all__ = ["Sequencer", "issue_layout", "padding_words"]


def padding_words(plan: EnginePlan) -> list[tuple[int, int]]:
    """The words that stand for padding: of which step, and which of a pixel's words."""
    return [
        (number, word)
        for number, step in enumerate(plan.steps)
        if any(step.work.padding)
        for word in range(step.words)
    ]


def issue_layout(plan: EnginePlan) -> data.StructLayout:
    """What is read in a cycle, a word of a window, and what becomes of it.

    `valid`: there is one, of pixel `pixel` of the chunk. `swap`: it is the first that meets a new
    tile. `pool`: it is ORed, else multiplied. `first`, `last`: it is the pixel's first or last
    word; with the last, `count` words go to bank `target` from address `to` on. `source` and
    `address`: where it is, unless it is padding: then `fill` is its place in `padding_words`.
    `starts`: what the sums start from.
    """
    return data.StructLayout(
        {
            **{"valid": 1, "swap": 1, "pool": 1, "first": 1, "last": 1},
            **{"source": 2, "target": 1},
            "pixel": range(max(2, plan.depth)),
            "address": range(max(2, *plan.bank_words)),
            "to": range(max(2, *plan.bank_words[1:])),
            "count": range(plan.columns + 1),
            "fill": range(max(2, len(padding_words(plan)))),
            "starts": range(3 * plan.classes),
        }
    )


class Sequencer(wiring.Component):
    """Walks through the passes of a batch: chunks, groups, tiles, pixels, from outside in.

    The pixels of a tile follow each other without a gap, and so do tiles that are loaded in time.
    A pass begins when all that the last one wrote is there.

    Parameters
    ----------
    plan : EnginePlan
    classes : sequence of (rows, columns)
        For each pass: the class of each output row, times the number of column classes, and the
        class of each output column.

    Members
    -------
    filled : In(1)
        The batch's input is in its bank.
    release : Out(1)
        All of it was asked for.
    loaded : In(1)
        The next tile is there.
    o : Out(issue_layout(plan))
        From registers.
    padding : Out(1)
        What `o` said a cycle ago is padding.
    score : Out(1)
        The sums of a group's pixels are scores, and all there. Until `scored`.
    pixels : Out(range(depth))
        How many they are, less one.
    chunk_ends, batch_ends : Out(1)
        With `score`: it is the chunk's or the batch's last group.
    scored : In(1)
    """

    def __init__(self, *, plan: EnginePlan, classes):
        self._plan, self._classes = plan, classes
        issued = issue_layout(plan)
        super().__init__(
            {
                "filled": In(1),
                "release": Out(1),
                "loaded": In(1),
                "o": Out(issued),
                "padding": Out(1),
                "score": Out(1),
                "pixels": Out(issued["pixel"].shape),
                "chunk_ends": Out(1),
                "batch_ends": Out(1),
                "scored": In(1),
            }
        )

    @property
    def _down(self) -> int:
        """Bits of a counter of rows or columns. It counts down from two less than there are, so
        that the highest bit tells the last one.
        """
        most = (max(step.rows, *step.work.outputs[:2]) for step in self._plan.steps)
        return max(most).bit_length() + 1

    def _table(self) -> Table:
        plan, size = self._plan, 1 << len(self.o.address)
        padded = padding_words(plan)
        down = 1 << self._down
        rows, row_class, column_class = [], 0, 0
        for number, step in enumerate(plan.steps):
            work, (height, width, _) = step.work, step.work.image
            top, _, left, _ = work.padding
            rows.append(
                {
                    "pool": work.pool,
                    "scores": work.scores,
                    "source": 0 if number == 0 else 2 - number % 2,
                    "target": number % 2,
                    "height": height,
                    "width": width,
                    "out_columns": (work.outputs[1] - 2) % down,
                    "out_rows": (work.outputs[0] - 2) % down,
                    "rows": (step.rows - 2) % down,
                    "last_rows": (step.last_rows - 2) % down,
                    "chunks": step.chunks - 1,
                    "groups": step.groups - 1,
                    "words": 0 if work.pool else step.words - 1,
                    "kernel_rows": work.kernel[0] - 1,
                    "kernel_columns": work.kernel[1] - 1,
                    "row_stride": work.stride[0],
                    "column_stride": work.stride[1],
                    "top": top,
                    "left": left,
                    # Steps of the address: to the window of the next column, row, frame, and in it
                    # to the next column and row; and where the first window begins, which may lie
                    # before the image.
                    "origin": -(top * width + left) * step.words % size,
                    "next_column": work.stride[1] * step.words,
                    "next_row": work.stride[0] * width * step.words % size,
                    "next_frame": height * width * step.words % size,
                    "window_column": step.words if work.pool else 1,
                    "window_row": (
                        (width - work.kernel[1]) * step.words + (step.words if work.pool else 1)
                    )
                    % size,
                    "pixel_words": step.written_words,
                    "row_words": step.written_words * work.outputs[1] % (1 << len(self.o.to)),
                    "group_words": 1 if work.pool else plan.columns,
                    "last_words": 1
                    if work.pool
                    else step.written_words - (step.groups - 1) * plan.columns,
                    "fill": padded.index((number, 0)) if (number, 0) in padded else 0,
                    "row_class": row_class,
                    "column_class": column_class,
                }
            )
            row_class += work.outputs[0]
            column_class += work.outputs[1]
        return Table(rows)

    def elaborate(self, platform):
        m = Module()
        plan = self._plan
        table = self._table()
        number = table.place("number")
        at = {}  # of the pass, in registers
        for name, value in table.look(m, number).items():
            at[name] = Signal.like(value, name=f"at_{name}")
            m.d.sync += at[name].eq(value)
        settled, before = Signal(), Signal.like(number)
        m.d.sync += before.eq(number)
        m.d.comb += settled.eq(before == number)

        # Where a row of windows begins: the address of its first pixel and that of the frame's
        # first window, its row in the image, which padding may make negative, how many rows of the
        # frame follow, where its results go, and its place among all rows that have a class.
        address = Signal(self.o.address.shape())
        sides = max(max(step.work.image[:2]) + max(step.work.kernel) for step in plan.steps)
        coordinate = signed(sides.bit_length() + 1)
        place = data.StructLayout(
            {
                "frame": address.shape(),
                "address": address.shape(),
                "row": coordinate,
                "left": self._down,
                "to": self.o.to.shape(),
                "class_at": range(1 + sum(len(rows) for rows, _ in self._classes)),
            }
        )
        # This row, the next one, and the first one of the chunk, where every tile begins again.
        here, following, first_row = Signal(place), Signal(place), Signal(place)
        frame_ends = here.left[-1]
        m.d.comb += [
            following.frame.eq(here.frame + Mux(frame_ends, at["next_frame"], 0)),
            following.address.eq(Mux(frame_ends, following.frame, here.address + at["next_row"])),
            following.row.eq(Mux(frame_ends, -at["top"], here.row + at["row_stride"])),
            following.left.eq(Mux(frame_ends, at["out_rows"], here.left - 1)),
            following.to.eq(here.to + at["row_words"]),
            following.class_at.eq(Mux(frame_ends, at["row_class"], here.class_at + 1)),
        ]

        # The window in its row, the word in its window; the group of neurons, or of a pool the word
        # of a pixel.
        column, columns_left = Signal(coordinate), Signal(self._down)
        to, class_at = (
            Signal.like(self.o.to),
            Signal(range(1 + sum(len(columns) for _, columns in self._classes))),
        )
        word, kernel_column, kernel_row = (
            Signal.like(at[name]) for name in ("words", "kernel_columns", "kernel_rows")
        )
        offset, first = Signal.like(address), Signal()
        group, group_to = Signal.like(at["groups"]), Signal.like(to)
        chunk, rows_left = Signal.like(at["chunks"]), Signal(self._down)
        pixel, starts_at = Signal.like(self.o.pixel), Signal.like(self.o.starts)

        # What is the last of its kind, and how many rows follow the first one of this chunk and of
        # the next. From registers: no tile ends in the cycle in which it is begun but those that
        # begin two cycles after the last one ended.
        is_last = {
            "word": word == at["words"],
            "column": kernel_column == at["kernel_columns"],
            "row": kernel_row == at["kernel_rows"],
            "group": group == at["groups"],
            "chunk": chunk == at["chunks"],
        }
        last_now = is_last["word"] & is_last["column"] & is_last["row"]
        known = {name: Signal(name=f"last_{name}") for name in is_last}
        last, rows_here, rows_next = Signal(), Signal.like(rows_left), Signal.like(rows_left)
        m.d.sync += [known[name].eq(value) for name, value in is_last.items()]
        m.d.sync += [
            last.eq(last_now),
            rows_here.eq(Mux(chunk == at["chunks"], at["last_rows"], at["rows"])),
            rows_next.eq(Mux(chunk + 1 == at["chunks"], at["last_rows"], at["rows"])),
        ]
        issue, row_ends = Signal(), columns_left[-1]
        tile_ends, chunk_ends, pass_ends = Signal(), Signal(), Signal()
        m.d.comb += [
            tile_ends.eq(row_ends & rows_left[-1]),
            chunk_ends.eq(tile_ends & last & known["group"]),
            pass_ends.eq(chunk_ends & known["chunk"]),
        ]

        def first_window(row):
            """What is to be done where a row of windows begins."""
            return [
                here.eq(row),
                address.eq(row.address),
                column.eq(-at["left"]),
                columns_left.eq(at["out_columns"]),
                to.eq(row.to),
                class_at.eq(at["column_class"]),
            ]

        with m.If(issue):
            m.d.sync += [
                pixel.eq(pixel + 1),
                address.eq(address + at["next_column"]),
                column.eq(column + at["column_stride"]),
                columns_left.eq(columns_left - 1),
                to.eq(to + at["pixel_words"]),
                class_at.eq(class_at + 1),
            ]
            with m.If(row_ends):
                m.d.sync += [first_window(following), rows_left.eq(rows_left - 1)]
            with m.If(tile_ends):
                m.d.sync += [
                    pixel.eq(0),
                    rows_left.eq(rows_here),
                    first.eq(last),
                    self.pixels.eq(pixel),
                    self.chunk_ends.eq(chunk_ends),
                    self.batch_ends.eq(pass_ends),
                ]
                with m.If(chunk_ends):
                    m.d.sync += [
                        first_row.eq(following),
                        rows_left.eq(rows_next),
                        chunk.eq(Mux(known["chunk"], 0, chunk + 1)),
                    ]
                with m.Else():
                    m.d.sync += first_window(first_row)
                m.d.sync += [word.eq(word + 1), offset.eq(offset + 1)]
                with m.If(known["word"]):
                    m.d.sync += [
                        word.eq(0),
                        kernel_column.eq(kernel_column + 1),
                        offset.eq(offset + at["window_column"]),
                    ]
                with m.If(known["word"] & known["column"]):
                    m.d.sync += [
                        kernel_column.eq(0),
                        kernel_row.eq(kernel_row + 1),
                        offset.eq(offset + at["window_row"]),
                    ]
                with m.If(last):
                    m.d.sync += [
                        kernel_row.eq(0),
                        offset.eq(Mux(at["pool"] & ~known["group"], group + 1, 0)),
                        group.eq(Mux(known["group"], 0, group + 1)),
                        group_to.eq(Mux(known["group"], 0, group_to + at["group_words"])),
                    ]
                    with m.If(~at["pool"]):
                        m.d.sync += starts_at.eq(
                            Mux(starts_at == 2 * plan.classes, 0, starts_at + plan.classes)
                        )

        # Tiles begin when they are there, and not too soon after each other or a chunk's end.
        begun, recent, begins = Signal(), Signal(SHORTEST_TILE - 1), Signal()
        m.d.comb += begins.eq(~begun & (at["pool"] | self.loaded) & (recent == 0))
        m.d.sync += recent.eq(Cat(issue & (~begun | chunk_ends), recent))
        with m.If(issue):
            m.d.sync += begun.eq(~tile_ends)

        waited = Signal(range(plan.drain))
        with m.FSM():
            with m.State("Begin"):
                origin = Signal(place)
                m.d.comb += [
                    origin.frame.eq(at["origin"]),
                    origin.address.eq(at["origin"]),
                    origin.row.eq(-at["top"]),
                    origin.left.eq(at["out_rows"]),
                    origin.class_at.eq(at["row_class"]),
                ]
                m.d.sync += [
                    first_window(origin),
                    first_row.eq(origin),
                    rows_left.eq(Mux(at["chunks"] == 0, at["last_rows"], at["rows"])),
                    first.eq(1),
                ]
                with m.If(settled & ((number != 0) | self.filled)):
                    m.next = "Run"
            with m.State("Run"):
                m.d.comb += issue.eq(begun | begins)
                with m.If(issue & (pass_ends | tile_ends & last & at["scores"])):
                    m.next = "Drain"
            with m.State("Drain"):  # until all that was computed is written
                m.d.comb += self.release.eq((number == 0) & self.batch_ends & (waited == 0))
                m.d.sync += waited.eq(waited + 1)
                with m.If((waited == plan.drain - 2) & ~at["scores"]):
                    m.d.sync += number.eq(table.after(number))
                with m.If(waited == plan.drain - 1):
                    m.d.sync += waited.eq(0)
                    m.next = "Begin"
                    with m.If(at["scores"]):
                        m.next = "Score"
            with m.State("Score"):
                m.d.comb += self.score.eq(1)
                with m.If(self.scored):
                    m.next = "Run"
                    with m.If(self.batch_ends):
                        m.d.sync += number.eq(0)
                        m.next = "Begin"

        # What leaves, and a cycle later whether it is padding; then it lies outside of the image.
        in_row, in_column = Signal(coordinate), Signal(coordinate)
        m.d.sync += [
            in_row.eq(here.row + kernel_row),
            in_column.eq(column + kernel_column),
            self.padding.eq(
                (in_row.as_unsigned() >= at["height"]) | (in_column.as_unsigned() >= at["width"])
            ),
        ]
        rows, columns = self._class_tables(m, here.class_at, class_at)
        m.d.sync += [
            self.o.valid.eq(issue),
            self.o.swap.eq(begins & issue & ~at["pool"]),
            self.o.pool.eq(at["pool"]),
            self.o.first.eq(first),
            self.o.last.eq(last_now),
            self.o.source.eq(at["source"]),
            self.o.target.eq(at["target"]),
            self.o.pixel.eq(pixel),
            self.o.address.eq(address + offset),
            self.o.to.eq(to + group_to),
            self.o.count.eq(
                Mux(at["scores"], 0, Mux(is_last["group"], at["last_words"], at["group_words"]))
            ),
            self.o.fill.eq(at["fill"] + word),
            self.o.starts.eq(starts_at + rows + columns),
        ]
        return m

    def _class_tables(self, m, row_at, column_at):
        """The class of a window: what its row and what its column adds to it."""
        if self._plan.classes == 1:
            return 0, 0
        found = []
        for axis, where in enumerate((row_at, column_at)):
            table = Table([{"of_class": each} for by in self._classes for each in by[axis]])
            found.append(table.look(m, where)["of_class"])
        return found
