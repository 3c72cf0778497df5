"""Rows of weights for an engine, from the chip and from the port, in the order of their use."""

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

from hw.cores.rom import LATENCY, Rom
from hw.engine.plan import PORT_BITS, ROWS_HELD, EnginePlan
from hw.engine.table import Table

__all__ = ["RowLoader"]


class RowLoader(wiring.Component):
    """Yields the rows of every layer, batch after batch, each with what it is.

    It runs ahead of who takes them by some rows, from layer to layer and from batch to batch. A
    streamed row is put together of `plan.row_words` words, one a cycle.

    Parameters
    ----------
    plan : EnginePlan
    rom : sequence of int
        The rows that are on the chip.
    family : str
        As `hw.cores.rom.Rom` has it.

    Members
    -------
    words : In(stream.Signature(64))
        The words of `hw.engine.image.weights_image`, for each batch all of them. Unused where
        everything is on the chip.
    o : Out(stream.Signature(StructLayout))
        `row`; `start`: of starts, not of a tile; `slice`: which of the starts' or the tile's rows
        it is; `slot`: which starts, of three groups of classes that take turns; `last`: it is the
        tile's last one.
    """

    def __init__(self, *, plan: EnginePlan, rom: Sequence[int], family: str = "generic"):
        self._plan, self._rom, self._family = plan, list(rom), family
        slices = max(plan.tile_rows, plan.start_slices)
        self._layout = data.StructLayout(
            {
                "row": plan.row_words * PORT_BITS,
                "start": 1,
                "slice": range(max(2, slices)),
                "slot": range(3 * plan.classes),
                "last": 1,
            }
        )
        super().__init__(
            {
                "words": In(stream.Signature(PORT_BITS)),
                "o": Out(stream.Signature(self._layout)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        plan = self._plan
        row = plan.row_words * PORT_BITS

        # Room for rows that are queued or on their way.
        m.submodules.queue = queue = SyncFIFO(width=self._layout.size, depth=ROWS_HELD)
        room = Signal(range(ROWS_HELD + 1), init=ROWS_HELD)
        given = self.o.valid & self.o.ready
        asked = Signal()
        m.d.sync += room.eq(room - asked + given)
        m.d.comb += [
            self.o.valid.eq(queue.r_rdy),
            self.o.payload.eq(queue.r_data),
            queue.r_en.eq(self.o.ready),
        ]

        # A row of words from the port.
        gathered, complete, taken = Signal(row, reset_less=True), Signal(), Signal()
        count = Signal(range(max(2, plan.row_words)))
        moves = self.words.valid & self.words.ready
        m.d.comb += self.words.ready.eq(~complete | taken)
        with m.If(taken):
            m.d.sync += complete.eq(0)
        with m.If(moves):
            last = count == plan.row_words - 1
            m.d.sync += [
                gathered.eq(Cat(gathered[PORT_BITS:], self.words.payload)),
                count.eq(Mux(last, 0, count + 1)),
            ]
            with m.If(last):
                m.d.sync += complete.eq(1)

        # Those of the ROM come later than they are asked for, those of the port at once; so these
        # wait until none is on its way.
        tag, resident, address = self._walk(m, asked)
        queued = Signal(self._layout)
        m.d.comb += [
            taken.eq(~resident & complete & (room != 0)),
            asked.eq(taken),
            queued.eq(Cat(gathered, tag)),
            queue.w_en.eq(taken),
            queue.w_data.eq(queued),
        ]
        if self._rom:
            m.submodules.rom = rom = Rom(
                words=self._rom, width=row, storage="block", family=self._family
            )
            m.d.comb += rom.address.eq(address)
            looked_up = resident & (room != 0)
            late, coming = Cat(tag, looked_up), []
            for cycle in range(LATENCY):
                register = Signal(len(late), name=f"late_{cycle}")
                m.d.sync += register.eq(late)
                late = register
                coming.append(late[-1])
            m.d.comb += [
                taken.eq(~resident & complete & (room != 0) & ~Cat(coming).any()),
                asked.eq(taken | looked_up),
                queue.w_en.eq(taken | late[-1]),
            ]
            with m.If(late[-1]):
                m.d.comb += queued.eq(Cat(rom.data, late[:-1]))
        return m

    def _walk(self, m, step):
        """The tag of the row that is due, whether it is on the chip, and where; moves with step."""
        plan = self._plan
        table = Table(
            [
                {
                    "resident": s.resident,
                    "chunks": s.chunks - 1,
                    "groups": s.groups - 1,
                    "tiles": s.tiles - 1,
                    "classes": s.work.classes[0] * s.work.classes[1] - 1,
                }
                for s in plan.products
            ]
        )
        layer = table.place("layer")
        at = table.look(m, layer)
        chunk, group, tile = (Signal.like(at[name]) for name in ("chunks", "groups", "tiles"))
        slice_ = Signal(self._layout["slice"].shape)
        slot = Signal(self._layout["slot"].shape)
        of_class, base = Signal(range(max(2, plan.classes))), Signal.like(slot)
        start, in_rom = Signal(init=1), Signal(range(max(2, len(self._rom))))
        chunk_rom = Signal.like(in_rom)

        slices = Mux(start, plan.start_slices - 1, plan.tile_rows - 1)
        last_slice = slice_ == slices
        last_class, last_tile = of_class == at["classes"], tile == at["tiles"]
        last_group, last_chunk = group == at["groups"], chunk == at["chunks"]
        group_ends = last_slice & ~start & last_tile
        chunk_ends = group_ends & last_group
        layer_ends = chunk_ends & last_chunk
        with m.If(step):
            m.d.sync += slice_.eq(Mux(last_slice, 0, slice_ + 1))
            with m.If(last_slice & start):
                m.d.sync += [of_class.eq(Mux(last_class, 0, of_class + 1)), start.eq(~last_class)]
            with m.If(last_slice & ~start):
                m.d.sync += [tile.eq(Mux(last_tile, 0, tile + 1)), start.eq(last_tile)]
            with m.If(group_ends):
                m.d.sync += [
                    group.eq(Mux(last_group, 0, group + 1)),
                    base.eq(Mux(base == 2 * plan.classes, 0, base + plan.classes)),
                ]
            with m.If(chunk_ends):
                m.d.sync += chunk.eq(Mux(last_chunk, 0, chunk + 1))
            with m.If(layer_ends):
                m.d.sync += layer.eq(table.after(layer))
            with m.If(at["resident"]):
                m.d.sync += in_rom.eq(in_rom + 1)
                with m.If(chunk_ends & ~last_chunk):
                    m.d.sync += in_rom.eq(chunk_rom)
                with m.If(layer_ends):
                    after = Signal.like(in_rom)
                    m.d.comb += after.eq(Mux(in_rom == len(self._rom) - 1, 0, in_rom + 1))
                    m.d.sync += [in_rom.eq(after), chunk_rom.eq(after)]

        m.d.comb += slot.eq(base + of_class)
        return Cat(start, slice_, slot, last_slice & ~start), at["resident"], in_rom
