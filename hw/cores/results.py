"""Where the results of a pipeline that cannot wait do wait."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib.fifo import SyncFIFO

__all__ = ["keep_results"]


def keep_results(
    m: Module, o, *, answer: Value, finished: Value, reserve: Value, room: Signal, depth: int
) -> None:
    """Buffers results, and tells whether there is room to begin another.

    Parameters
    ----------
    m : Module
        Gets a submodule `results`.
    o : stream
        Where they leave: a cycle after they are there, or later.
    answer, finished : Value
        A result, and whether it is there in this cycle.
    reserve : Value
        Whether what becomes a result begins in this cycle; only where there is room.
    room : Signal
        Driven here: whether there is.
    depth : int
        Results under way at most. For one every n cycles that takes c from `reserve` to `finished`
        that is ceil((c + 2) / n).
    """
    # One bit for each, the lowest are free.
    free = Signal(depth, init=-1)
    release = o.valid & o.ready
    m.d.comb += room.eq(free[0])
    with m.If(reserve & ~release):
        m.d.sync += free.eq(free >> 1)
    with m.If(release & ~reserve):
        m.d.sync += free.eq(Cat(1, free))
    m.submodules.results = results = SyncFIFO(width=len(answer), depth=depth)
    m.d.comb += [
        results.w_data.eq(answer),
        results.w_en.eq(finished),
        results.r_en.eq(o.ready),
        o.valid.eq(results.r_rdy),
        o.payload.eq(results.r_data),
    ]
