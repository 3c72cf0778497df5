"""The rules of streams and of AXI, for proofs: `hw.formal` puts them around a design.

What our side does is asserted, what the other side does is assumed. A rule only looks at signals,
so it takes the streams themselves and has no members but what it found out. The text of a property
names it where it fails. All rules expect to be there from the first cycle on, and no reset.

Source: Arm IHI 0022, chapters A3 (handshakes, bursts, dependencies between channels) and B1 (Lite).
"""

from itertools import pairwise

from amaranth.asserts import AnySeq
from amaranth.hdl import Array, Assert, Assume, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.shell.bridge import Burst

__all__ = [
    "Carried",
    "CommandRules",
    "Extent",
    "Handshake",
    "Progress",
    "ReadRules",
    "WriteRules",
    "claim",
]


def claim(m: Module, ours: bool, test: Value, text: str) -> None:
    """A property that we have to keep, or that the other side is trusted to keep."""
    m.d.comb += (Assert if ours else Assume)(test, text)


def _field(payload, name: str, default: Value) -> Value:
    """A field of a payload, which ports of less ability lack."""
    return payload[name] if name in payload.shape().members else default


class Handshake(wiring.Component):
    """What is offered stays offered, unchanged, until it is taken.

    Parameters
    ----------
    beats : stream interface
    ours : bool
        Our side offers.

    Members
    -------
    waits : Out(1)
        The beat of the last cycle was offered and not taken.
    moves : Out(1)
        A beat is taken.
    """

    waits: Out(1)
    moves: Out(1)

    def __init__(self, beats, *, ours: bool):
        self._beats, self._ours = beats, ours
        super().__init__()

    def elaborate(self, platform):
        m = Module()
        beats = self._beats
        payload = Value.cast(beats.payload)
        before = Signal.like(payload)
        m.d.comb += self.moves.eq(beats.valid & beats.ready)
        m.d.sync += [self.waits.eq(beats.valid & ~beats.ready), before.eq(payload)]
        claim(m, self._ours, ~self.waits | beats.valid, "valid is not withdrawn")
        claim(m, self._ours, ~self.waits | (payload == before), "a payload waits unchanged")
        return m


class CommandRules(wiring.Component):
    """A burst is one that the specification knows.

    Parameters
    ----------
    commands : stream interface
        `ar` or `aw` of one of the ports of `hw.shell.axi`.
    ours : bool
        Our side is the master.
    """

    def __init__(self, commands, *, ours: bool):
        self._commands, self._ours = commands, ours
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        payload, valid = self._commands.payload, self._commands.valid
        fields = payload.shape().members

        def rule(test, text):
            claim(m, self._ours, ~valid | test, text)

        if "size" in fields:
            size, length, address = payload.size, payload.length, payload.address
            below = ((Const(7, 3) << size) >> 3)[:2]
            beats = Signal(5)
            end = Signal(13)
            m.d.comb += [
                beats.eq(length + 1),
                end.eq((address[:12] & ~below) + (beats << size)),
            ]
            wraps = payload.burst == Burst.WRAP.value
            rule(size <= 2, "a beat is no wider than the data")
            rule(payload.burst <= Burst.WRAP.value, "a burst is of a known kind")
            rule(
                ~wraps | Cat(beats == n for n in (2, 4, 8, 16)).any(),
                "a burst that wraps has 2 4 8 or 16 beats",
            )
            rule(~wraps | ((address & below) == 0), "a burst that wraps is aligned")
            crosses = (payload.burst == Burst.INCR.value) & (end > 4096)
            rule(~crosses, "a burst stays within 4 KiB")
        elif "length" in fields:
            rule(payload.address[:3] == 0, "an address is a multiple of 8")
            rule((payload.address[3:12] + payload.length) < 512, "a burst stays within 4 KiB")
        return m


class _Bursts(wiring.Component):
    """Bursts in their order; one that comes while there is none is at the head at once.

    Parameters
    ----------
    commands : stream interface
        Of the bursts; what its payload has of a length and an id is kept.
    depth : int
        How many there may be.

    Members
    -------
    push, pop : In(1)
        The present command enters; the head leaves.
    beat : In(1)
        One beat of the head is through.
    level : Out(range(depth + 1))
    length, id : Out(4), Out(12)
        Of the head; 0 where commands have none.
    left : Out(4)
        Beats of the head, less one, that are not through.
    """

    def __init__(self, commands, depth: int):
        self._commands, self._depth = commands, depth
        fields = commands.payload.shape().members
        self._kept = data.StructLayout({f: fields[f] for f in ("length", "id") if f in fields})
        super().__init__(
            {
                "push": In(1),
                "pop": In(1),
                "beat": In(1),
                "level": Out(range(depth + 1)),
                "length": Out(4),
                "id": Out(12),
                "left": Out(4),
            }
        )

    def elaborate(self, platform):
        m = Module()
        entries = Array(Signal(self._kept, name=f"entry_{n}") for n in range(self._depth))
        comes, head = Signal(self._kept), Signal(self._kept)
        for name in self._kept.members:
            m.d.comb += [
                comes[name].eq(self._commands.payload[name]),
                getattr(self, name).eq(head[name]),
            ]
        m.d.comb += head.eq(Mux(self.level == 0, comes, entries[0]))
        with m.If(self.pop):
            for entry, following in pairwise(entries):
                m.d.sync += entry.eq(following)
        with m.If(self.push & ~(self.pop & (self.level == 0))):
            m.d.sync += entries[self.level - self.pop].eq(comes)
        m.d.sync += self.level.eq(self.level + self.push - self.pop)
        m.d.comb += Assert(
            ~self.push | self.pop | (self.level < self._depth), "no more bursts than promised"
        )

        if "length" in self._kept.members:
            beats = Signal(4)
            m.d.comb += [
                self.left.eq(self.length - beats),
                Assert(
                    Mux(self.level == 0, beats == 0, beats <= self.length), "beats are of the head"
                ),
            ]
            with m.If(self.beat):
                m.d.sync += beats.eq(Mux(self.pop, 0, beats + 1))
        return m


class ReadRules(wiring.Component):
    """Each burst that is asked for is answered once, in order, beat by beat.

    Parameters
    ----------
    ar, r : stream interfaces
        Of one of the ports of `hw.shell.axi`.
    master : bool
        Our side asks; else it answers.
    outstanding : int
        Bursts that our side asks for, or takes, at most before an answer is through.

    Members
    -------
    owed : Out(range(outstanding + 1))
        Bursts that have been asked for and not been answered.
    left, id : Out(4), Out(12)
        Of the first of them: beats, less one, that are missing, and its id.
    ended : Out(1)
        The last beat of one is taken.
    """

    def __init__(self, ar, r, *, master: bool, outstanding: int):
        self._ar, self._r, self._master, self._outstanding = ar, r, master, outstanding
        super().__init__(
            {"owed": Out(range(outstanding + 1)), "left": Out(4), "id": Out(12), "ended": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        master, r = self._master, self._r.payload
        m.submodules.ar = ar = Handshake(self._ar, ours=master)
        m.submodules.r = moves = Handshake(self._r, ours=not master)
        m.submodules.command = CommandRules(self._ar, ours=master)
        m.submodules.bursts = bursts = _Bursts(self._ar, self._outstanding)
        last = bursts.left == 0
        m.d.comb += [
            bursts.push.eq(ar.moves),
            bursts.beat.eq(moves.moves),
            bursts.pop.eq(moves.moves & last),
            self.owed.eq(bursts.level),
            self.ended.eq(bursts.pop),
            self.left.eq(bursts.left),
            self.id.eq(bursts.id),
        ]

        def rule(test, text):
            claim(m, not master, ~self._r.valid | test, text)

        rule(bursts.level != 0, "data answer a burst")
        rule(_field(r, "last", last) == last, "last marks the last beat of a read")
        rule(_field(r, "id", bursts.id) == bursts.id, "data have the id of their burst")
        return m


class WriteRules(wiring.Component):
    """Each burst's data are as many as announced, and each burst is answered once, in order.

    Parameters
    ----------
    aw, w, b : stream interfaces
        Of one of the ports of `hw.shell.axi`.
    master : bool
        Our side writes; else it answers.
    outstanding : int
        Bursts that our side announces, or takes, at most before their answer is through.

    Members
    -------
    owed : Out(range(outstanding + 1))
        Bursts whose address has been taken and that have not been answered.
    id : Out(12)
        Of the first of them.
    unsent : Out(range(outstanding + 2))
        Bursts that were announced before this cycle and whose data have not all been taken.
    left : Out(4)
        Beats of the first of them, less one, that are missing.
    complete : Out(range(outstanding + 2))
        Bursts whose data have all been taken and that have not been answered.
    announces : Out(1)
        A burst's address is offered for the first time.
    ended : Out(1)
        An answer is taken.
    """

    def __init__(self, aw, w, b, *, master: bool, outstanding: int):
        self._aw, self._w, self._b = aw, w, b
        self._master, self._outstanding = master, outstanding
        super().__init__(
            {
                "owed": Out(range(outstanding + 1)),
                "id": Out(12),
                "unsent": Out(range(outstanding + 2)),
                "left": Out(4),
                "complete": Out(range(outstanding + 2)),
                "announces": Out(1),
                "ended": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        master, w, b = self._master, self._w.payload, self._b.payload
        m.submodules.aw = aw = Handshake(self._aw, ours=master)
        m.submodules.w = data_moves = Handshake(self._w, ours=master)
        m.submodules.b = answer_moves = Handshake(self._b, ours=not master)
        m.submodules.command = CommandRules(self._aw, ours=master)

        # A burst is announced when its address is first offered: data may come before that is
        # taken. Other people's data may come before that even, but we do not take them.
        m.submodules.announced = announced = _Bursts(self._aw, self._outstanding + 1)
        last = announced.left == 0
        m.d.comb += [
            self.announces.eq(self._aw.valid & ~aw.waits),
            announced.push.eq(self.announces),
            announced.beat.eq(data_moves.moves),
            announced.pop.eq(data_moves.moves & last),
            self.unsent.eq(announced.level),
            self.left.eq(announced.left),
        ]
        sees = self._w.valid if master else data_moves.moves
        known = (announced.level != 0) | announced.push
        m.d.comb += Assert(~sees | known, "data belong to an announced burst")
        marked = _field(w, "last", last) == last
        claim(m, master, ~sees | marked, "last marks the last beat of a write")

        # An answer wants both the address and all the data to have been taken before.
        m.submodules.taken = taken = _Bursts(self._aw, self._outstanding)
        complete = self.complete
        m.d.sync += complete.eq(complete + announced.pop - answer_moves.moves)
        m.d.comb += [
            taken.push.eq(aw.moves),
            taken.pop.eq(answer_moves.moves),
            self.owed.eq(taken.level),
            self.id.eq(taken.id),
            self.ended.eq(answer_moves.moves),
            Assert(
                announced.level + complete == taken.level + aw.waits, "a burst ends on all channels"
            ),
        ]

        if not master:
            m.d.comb += Assert(complete <= taken.level, "data are not taken before their address")

        def rule(test, text):
            claim(m, not master, ~self._b.valid | test, text)

        rule((taken.level != 0) & (complete != 0), "an answer is to a complete burst")
        rule(_field(b, "id", taken.id) == taken.id, "an answer has the id of its burst")
        return m


class Progress(wiring.Component):
    """What is owed is either waiting for the other side, or done soon.

    With it, "at most one answer" becomes "exactly one".

    Parameters
    ----------
    owed : Value
        There is something to do.
    waits : Value
        The other side has to do something first.
    cycles : int
        How many cycles in a row our side may take for itself.

    Members
    -------
    idle : Out(range(cycles + 1))
        Of how many such cycles the last was.
    """

    def __init__(self, owed: Value, waits: Value, *, cycles: int):
        self._idles, self._cycles = owed & ~waits, cycles
        super().__init__({"idle": Out(range(cycles + 1))})

    def elaborate(self, platform):
        m = Module()
        idle = self.idle
        m.d.sync += idle.eq(Mux(self._idles, idle + 1, 0))
        m.d.comb += Assert(~self._idles | (idle < self._cycles), "what is owed goes on")
        return m


class Extent(wiring.Component):
    """The bursts of a job cover its memory, word after word, and nothing else.

    Parameters
    ----------
    job : stream interface
        Address and frames. The other side gives addresses that are multiples of 8.
    commands : stream interface
        `ar` or `aw` of a `MemoryPort`.
    frame_bytes : int
        Bytes of a job's frame.
    w : stream interface or None
        Of the same port: only the job's bytes are written, and all of them.

    Members
    -------
    next_word : Out(29)
        Number of the word with which the next burst has to begin.
    words : Out(range(limit))
        Words of the job that no burst has had whose address was taken.
    tail : Out(3)
        Bytes of its last word, 0 for all.
    lead : Out(signed(10))
        Words that such bursts have had and `w` has not.
    """

    def __init__(self, job, commands, *, frame_bytes: int, w=None):
        self._job, self._commands, self._frame_bytes, self._w = job, commands, frame_bytes, w
        most = (1 << len(job.payload.frames)) * frame_bytes // 8 + 1
        super().__init__(
            {
                "next_word": Out(29),
                "words": Out(range(most)),
                "tail": Out(3),
                "lead": Out(signed(10)),
            }
        )

    @property
    def covered(self) -> Value:
        """Whether all bursts of the job have been taken, and of `w` all data."""
        return (self.words == 0) & (self.lead == 0)

    def strobes(self, follow: Value) -> Value:
        """Which bytes are the job's in a word that so many others of the job follow."""
        some = Array((1 << (bytes or 8)) - 1 for bytes in range(8))[self.tail]
        return Mux(follow == 0, some, 0xFF)

    def elaborate(self, platform):
        m = Module()
        job, commands, w = self._job, self._commands, self._w
        beats = commands.payload.length + 1
        with m.If(commands.valid):
            m.d.comb += [
                Assert(
                    commands.payload.address >> 3 == self.next_word,
                    "a burst follows the one before",
                ),
                Assert(beats <= self.words, "a burst is within its job"),
            ]
        taken = Mux(commands.valid & commands.ready, beats, 0)
        m.d.sync += [
            self.next_word.eq(self.next_word + taken),
            self.words.eq(self.words - taken),
        ]

        if w is not None:
            left = self.words + self.lead
            with m.If(w.valid):
                m.d.comb += [
                    Assert(left > 0, "data are within their job"),
                    Assert(
                        w.payload.strobes == self.strobes(left - 1),
                        "just the bytes of the job are written",
                    ),
                ]
            m.d.sync += self.lead.eq(self.lead + taken - (w.valid & w.ready))

        bytes = job.payload.frames * self._frame_bytes
        m.d.comb += Assume(~job.valid | (job.payload.address[:3] == 0), "a job is aligned")
        with m.If(job.valid & job.ready):
            m.d.comb += Assert(self.covered, "a job is done before the next is begun")
            m.d.sync += [
                self.next_word.eq(job.payload.address >> 3),
                self.words.eq((bytes + 7) >> 3),
                self.tail.eq(bytes),
            ]
        return m


class Carried(wiring.Component):
    """Elements come out as they went in: all, once, in order.

    Follows one element at a time, but any. A vector takes whole beats on both sides.

    Parameters
    ----------
    i, o : stream interfaces
        Of ArrayLayout(width, lanes).
    elements : int
        Of a vector.
    limit : int
        Places inside, at most.

    Members
    -------
    first : Out(range(elements))
        What the next beat of `i` begins with.
    inside : Out(range(limit + 1))
        Places for elements that went in and have not come out, padding of output beats included.
    follows, place, value : Out(1), Out(range(limit)), Out(width)
        Whether an element is followed, how many places are ahead of it, and what it is.
    """

    def __init__(self, i, o, *, elements: int, limit: int):
        self._i, self._o, self._elements = i, o, elements
        super().__init__(
            {
                "first": Out(range(elements)),
                "inside": Out(range(limit + 1)),
                "follows": Out(1),
                "place": Out(range(limit)),
                "value": Out(i.payload.shape().elem_shape),
            }
        )

    def elaborate(self, platform):
        m = Module()
        i, o, elements = self._i, self._o, self._elements
        i_lanes, o_lanes = i.payload.shape().length, o.payload.shape().length
        goes_in, comes_out = i.valid & i.ready, o.valid & o.ready

        places = -(-elements // o_lanes) * o_lanes  # that a vector takes
        left = places - self.first
        last = self.first + i_lanes >= elements
        with m.If(goes_in):
            m.d.sync += self.first.eq(Mux(last, 0, self.first + i_lanes))
        stays = self.inside - Mux(comes_out, o_lanes, 0)
        m.d.sync += self.inside.eq(stays + Mux(goes_in, Mux(last, left, i_lanes), 0))
        m.d.comb += Assert(
            ~o.valid | (self.inside >= o_lanes), "nothing comes out that has not gone in"
        )

        begins = AnySeq(1)
        lane = AnySeq(range(i_lanes))
        exists = (lane < i_lanes) & (self.first + lane < elements)
        here = self.follows & (self.place < o_lanes)
        with m.If(~self.follows):
            m.d.sync += [
                self.follows.eq(goes_in & begins & exists),
                self.place.eq(stays + lane),
                self.value.eq(i.payload[lane]),
            ]
        with m.Elif(comes_out):
            m.d.sync += [self.follows.eq(~here), self.place.eq(self.place - o_lanes)]
        same = o.payload[self.place[: (o_lanes - 1).bit_length()]] == self.value
        m.d.comb += Assert(~(o.valid & here) | same, "what comes out is what went in")
        return m
