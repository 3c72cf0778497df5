"""The writer: a stream of numbers to memory."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from hw.shell.axi import BURST_BEATS, MemoryPort, Response
from hw.shell.jobs import FRAMES_WIDTH, JOB

__all__ = ["Writer"]

_DEPTH = 2 * BURST_BEATS  # words of the buffer
_BURSTS = 3  # unanswered at most


class Writer(wiring.Component):
    """Writes the results of jobs, which lie in memory without a gap.

    Store and forward: a burst begins when all its words are here, so it always ends promptly,
    whatever the pipeline does. Bursts are of up to 16 words and end at multiples of 128 bytes, so
    they never cross 4 KiB. Of a job's last word only bytes that exist are written. A job ends when
    all its bursts have been answered; then the next is taken.

    About 200 LUT6, 48 of them the buffer of 32 words.

    Parameters
    ----------
    number_bytes : int
        Bytes of a number: 1, 2 or 4.
    elements : int
        Numbers of a frame's result, at least 1.

    Members
    -------
    job : In(stream.Signature(JOB))
        No frames: it is done at once.
    i : In(stream.Signature(8 * number_bytes))
    aw, w, b : Out, Out, In
        Of a `MemoryPort`.
    halt : In(1)
        Gives up the job, and takes no other. A burst that was begun ends. Held until the reset.
    idle : Out(1)
        There is no job, and nothing is offered or unanswered.
    frame : Out(1)
        High for a cycle when the last number of a frame is taken.
    done : Out(1)
        High for a cycle when a job has ended.
    failed : Out(1)
        High for a cycle when something was answered by an error. The job is not done; `halt` has to
        follow with the next cycle.
    response : Out(Response)
        That error.

    Raises
    ------
    ValueError
        A parameter out of its range.
    """

    def __init__(self, *, number_bytes: int, elements: int = 1):
        if number_bytes not in (1, 2, 4):
            raise ValueError(f"Bytes of a number must be 1, 2 or 4, not {number_bytes}")
        if elements < 1:
            raise ValueError(f"A result has at least 1 element, not {elements}")
        self._number_bytes, self._elements = number_bytes, elements
        port = MemoryPort().members
        super().__init__(
            {
                "job": In(stream.Signature(JOB)),
                "i": In(stream.Signature(8 * number_bytes)),
                "aw": port["aw"],
                "w": port["w"],
                "b": port["b"],
                "halt": In(1),
                "idle": Out(1),
                "frame": Out(1),
                "done": Out(1),
                "failed": Out(1),
                "response": Out(Response),
            }
        )

    @property
    def number_bytes(self) -> int:
        return self._number_bytes

    @property
    def elements(self) -> int:
        return self._elements

    def elaborate(self, platform):
        m = Module()

        # Memory is rows of a burst's 16 words. In the buffer, which holds two rows, a word has the
        # place that it has in its row; counts of words here and gone start from the first one's.
        here, gone = (Signal(range(2 * _DEPTH), name=name) for name in ("here", "gone"))
        row = Signal(25)
        frames = Signal(FRAMES_WIDTH)  # after the present one
        last_frame = Signal()
        empty = Signal()
        element = Signal(range(self._elements))
        last_element = element == self._elements - 1
        last = last_element & last_frame
        taken = self.i.valid & self.i.ready
        ended = Signal()
        job = self.job.payload
        with m.FSM() as fsm:
            with m.State("IDLE"):
                m.d.comb += self.job.ready.eq(~self.halt)
                m.d.sync += empty.eq(job.frames == 0)
                with m.If(self.job.valid & ~self.halt):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.sync += last_frame.eq(frames == 0)
                with m.If(empty | self.halt):
                    m.d.comb += self.done.eq(~self.halt)
                    m.next = "IDLE"
                with m.Else():
                    m.next = "TAKE"
            with m.State("TAKE"):
                with m.If(self.halt):
                    m.next = "IDLE"
                with m.Elif(taken & last):
                    m.next = "END"
            with m.State("END"):
                with m.If(self.halt):
                    m.next = "IDLE"
                with m.Elif(ended):
                    m.d.comb += self.done.eq(1)
                    m.next = "IDLE"
        begin = self.job.valid & self.job.ready

        # Numbers to words.
        lanes, bits = 8 // self._number_bytes, 8 * self._number_bytes
        lane = Signal(range(lanes))
        word = Signal(64)
        strobes = Signal(lanes)
        full = Signal()
        room = Signal()
        stored = full & room
        # That of the cycle before: enough for two more, and for a row beside one that is sent.
        in_use = Signal.like(here)
        m.d.sync += room.eq(in_use < _DEPTH * 3 // 4)
        m.d.comb += [
            in_use.eq(here - gone),
            self.i.ready.eq(fsm.ongoing("TAKE") & (~full | room)),
            self.frame.eq(taken & last_element),
        ]
        with m.If(taken):
            m.d.sync += [
                word.word_select(lane, bits).eq(self.i.payload),
                strobes.eq(Mux(lane == 0, 1, strobes | (1 << lane))),
                lane.eq(Mux(last, 0, lane + 1)),
                element.eq(Mux(last_element, 0, element + 1)),
            ]
        with m.If(taken | stored):
            m.d.sync += full.eq(taken & ((lane == lanes - 1) | last))
        with m.If(begin | self.frame):
            m.d.sync += frames.eq(Mux(begin, job.frames, frames) - 1)
        with m.If(self.frame):
            m.d.sync += last_frame.eq(frames == 1)

        # Words to bursts, one after the other.
        aw, w = self.aw, self.w
        sending = Signal()
        end = Signal(4)  # the place of the burst's last word
        unanswered = Signal(range(_BURSTS + 1))
        row_here = here[4:] != gone[4:]
        rest_here = Signal()
        bursts = Signal()
        m.d.sync += rest_here.eq(fsm.ongoing("END") & ~full & (here != gone) & ~(sending | bursts))
        m.d.comb += bursts.eq(
            (row_here | rest_here) & ~(aw.valid | sending | self.halt) & (unanswered != _BURSTS)
        )
        offset = Signal(4)
        with m.If(bursts):
            m.d.sync += [
                aw.valid.eq(1),
                aw.payload.length.eq(Mux(row_here, 0, here) + ~gone),
                offset.eq(gone),
                sending.eq(1),
                end.eq(Mux(row_here, 0, here) - 1),
            ]
        with m.If(aw.valid & aw.ready):
            m.d.sync += aw.valid.eq(0)
        # To load and to count takes one LUT a bit where one adder does both.
        with m.If(begin | (aw.valid & aw.ready)):
            m.d.sync += row.eq(Mux(begin, job.address[7:], row) + ~begin)
        with m.If(w.valid & w.ready & w.payload.last):
            m.d.sync += sending.eq(0)
        with m.If(begin):
            m.d.sync += [here.eq(job.address[3:7]), gone.eq(job.address[3:7])]
        with m.Else():
            m.d.sync += [here.eq(here + stored), gone.eq(gone + (w.valid & w.ready))]

        shape = data.StructLayout({"data": 64, "strobes": lanes})
        m.submodules.words = words = Memory(shape=shape, depth=_DEPTH, init=[])
        word_in, word_out = words.write_port(), words.read_port(domain="comb")
        m.d.comb += [
            word_in.addr.eq(here),
            word_in.data.eq(Cat(word, strobes)),
            word_in.en.eq(stored),
            word_out.addr.eq(gone),
            aw.payload.address.eq(Cat(Const(0, 3), offset, row)),
            w.valid.eq(sending),
            w.payload.data.eq(word_out.data.data),
            w.payload.strobes.eq(
                Cat(strobe.replicate(self._number_bytes) for strobe in word_out.data.strobes)
            ),
            w.payload.last.eq(gone[:4] == end),
            self.b.ready.eq(1),
        ]

        m.d.sync += [
            unanswered.eq(unanswered + bursts - self.b.valid),
            self.failed.eq(self.b.valid & self.b.payload.response[1]),
            self.response.eq(self.b.payload.response),
        ]
        at_rest = ~aw.valid & ~sending & (unanswered == 0)
        m.d.comb += self.idle.eq(fsm.ongoing("IDLE") & at_rest)
        m.d.sync += ended.eq(fsm.ongoing("END") & at_rest & ~full & (here == gone))

        return m
