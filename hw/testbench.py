"""The simulation job of a planned network: which streams to watch, and what they should carry."""

import numpy as np

from hw.pipeline import Conversion, Shared, Stage
from hw.plan import Plan
from sim.job import Job, Stream, Weights
from sw import golden
from sw.network import Network

__all__ = ["job_for"]


def job_for(
    plan: Plan, network: Network, images: np.ndarray, verilog: str, seed: int
) -> tuple[Job, np.ndarray, dict[str, np.ndarray]]:
    """The job, its input frames, and the golden model's values of every watched stream.

    Where layers share an engine, a frame of the job is a batch; a last batch that the images do not
    fill is filled with them from the first on.

    Parameters
    ----------
    plan : Plan
    network : Network
    images : array of int, (frames, *shape)
    verilog : str
        Of the accelerator that the plan gives, its top named `accelerator`.
    seed : int
        Of the random stalls.
    """
    batch = plan.engine.frames if plan.engine else 1
    images = images[np.arange(-(-len(images) // batch) * batch) % len(images)]
    # What travels is the distance from the least value that there may be.
    values = {
        name: value.reshape(len(images) // batch, -1) - network.type(name).low
        for name, value in golden.trace(network, images).items()
    }
    first = network.nodes[1]
    pixels = plan.lanes.input == "pixels"
    source = network.input if pixels else first
    input = Stream(
        source.name,
        lanes=plan.lanes.input_lanes,
        width=network.type(source).width,
        elements=batch * network.type(source).elements,
        vectors=batch,
        port="i",
        signed=network.type(source).low < 0,
    )
    taps, carried = [], source.name
    for stage in plan.stages:
        node = carried if isinstance(stage, Conversion) else stage.node
        if node is None:  # windows, and sums yet to be quantised: the next stage shows them
            continue
        carried = node
        if isinstance(stage, Shared):  # the output shows it
            continue
        taps.append(_stream(stage, stage.name, stage.name, batch))
        values[stage.name] = values[node]
    output = _stream(plan.stages[-1], "output", "", batch)
    values["output"] = values[carried]
    job = Job(
        verilog=verilog,
        top="accelerator",
        input=input,
        output=output,
        taps=tuple(taps),
        cycles_per_frame=plan.cycles.per_batch,
        latency_cycles=plan.cycles.latency,
        weights=Weights(plan.weights) if plan.weights else None,
        seed=seed,
    )
    return job, values[source.name] + network.type(source).low, values


def _stream(stage: Stage, name: str, path: str, batch: int) -> Stream:
    """What leaves a stage."""
    vectors = batch * stage.vectors
    elements = vectors * stage.elements
    return Stream(name, stage.lanes, stage.width, elements, path=path, vectors=vectors)
