"""The plan of a network whose weights no chip holds: a head with matrix units of its own, then an
engine that does all other layers.
"""

from dataclasses import replace

from boards.catalogue import Board
from hw.engine.fit import MOST_FRAMES, fit
from hw.engine.passes import tail
from hw.engine.plan import EnginePlan
from hw.pipeline import EngineLanes, PlanError
from hw.plan import Plan
from hw.resources import WEIGHTS_PORT
from hw.search import Found, Search
from sw.errors import PopstreamError
from sw.network import Kind, Layer, Network, Pool

__all__ = ["head_of", "share"]

# Of the part's LUTs, how much the head and the shell take at most.
_MOST = 0.35


def head_of(network: Network) -> str:
    """The node behind which everything is on bits: the first layer that yields some, and its pool.

    Raises
    ------
    PlanError
        There is none before the scores.
    """
    for index, node in enumerate(network.nodes):
        if isinstance(node, Layer) and network.type(node).kind is Kind.SIGN:
            behind = network.nodes[index + 1]
            return behind.name if isinstance(behind, Pool) else node.name
    raise PlanError(f"{network.output.name}: no layer before it yields bits for an engine to take")


def share(
    network: Network,
    board: Board,
    clock_hz: int,
    *,
    luts: float = 0.75,
    batch: int | None = None,
    input: str = "pixels",
) -> Plan:
    """The plan of most images a second whose layers but the first share an engine.

    The head is the smallest that keeps up with it.

    Parameters
    ----------
    network : Network
    board : Board
        With LUT6s and a memory port.
    clock_hz : int
    luts : float
        Of the part's LUTs and flip-flops, how much may be used.
    batch : int or None
        Frames of a batch, 1..256; None takes the best number.
    input : str
        "pixels" or "bits".

    Raises
    ------
    PlanError
        The board has no port for weights, the batch is out of its range, or no engine fits, naming
        the layer and the numbers.
    """
    if board.shell.name != "zynq":
        raise PlanError(
            f"{board.name}: weights that do not fit the chip come from memory, and only the zynq "
            "shell reaches any"
        )
    if batch is not None and not 1 <= batch <= MOST_FRAMES:
        raise PlanError(f"a batch must be of 1..{MOST_FRAMES} frames, not {batch}")
    after = head_of(network)
    names = [node.name for node in network.nodes]
    front = Network(network.nodes[: names.index(after) + 1])
    behind, search = tail(network, after), Search(front, board, clock_hz, input)

    def engine_beside(head: Found) -> EnginePlan:
        try:
            reserved = head.resources + WEIGHTS_PORT
            return fit(behind, board, reserved=reserved, share=luts, batch=batch)
        except PopstreamError as error:
            raise PlanError(str(error)) from error

    head = search.smallest(search.paces[-1])  # the smallest at first
    plan = engine_beside(head)
    while True:
        # The engine's input is filled again when its first pass has read it.
        wanted = (plan.timing.per_batch - plan.timing.by_pass[0]) // plan.batch
        if head.cycles <= wanted:
            break
        faster = search.smallest(max(wanted, head.cycles // 2))
        if faster.cycles >= head.cycles or faster.resources.luts > _MOST * board.luts:
            break
        # What the head takes more, the engine has less: it gets no faster.
        head, plan = faster, engine_beside(faster)

    lanes = head.lanes
    engine = EngineLanes(
        after=after,
        simd=plan.simd,
        pe=plan.pe,
        batch=plan.batch,
        depth=plan.depth,
        row_words=plan.row_words,
        stages=plan.stages,
        resident=tuple(step.work.name for step in plan.products if step.resident),
    )
    return Plan(network, board, clock_hz, replace(lanes, engine=engine)).check()
