"""The simulation job of a planned network: which streams to watch, and what they should carry."""

import numpy as np

from hw.pipeline import Conversion, Stage
from hw.plan import Plan
from sim.job import Job, Stream
from sw import golden
from sw.network import Network

__all__ = ["job_for"]


def job_for(
    plan: Plan, network: Network, images: np.ndarray, verilog: str, seed: int
) -> tuple[Job, np.ndarray, dict[str, np.ndarray]]:
    """The job, its input frames, and the golden model's values of every watched stream.

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
    # What travels is the distance from the least value that there may be.
    values = {
        name: value.reshape(len(images), -1) - network.type(name).low
        for name, value in golden.trace(network, images).items()
    }
    first = network.nodes[1]
    pixels = plan.lanes.input == "pixels"
    source = network.input if pixels else first
    input = Stream(
        source.name,
        lanes=plan.lanes.input_lanes,
        width=network.type(source).width,
        elements=network.type(source).elements,
        port="i",
        signed=network.type(source).low < 0,
    )
    taps, carried = [], source.name
    for stage in plan.stages:
        node = carried if isinstance(stage, Conversion) else stage.node
        if node is None:  # windows, and sums yet to be quantised: the next stage shows them
            continue
        carried = node
        taps.append(_stream(stage, stage.name, stage.name))
        values[stage.name] = values[node]
    output = _stream(plan.stages[-1], "output", "")
    values["output"] = values[taps[-1].name]
    job = Job(
        verilog=verilog,
        top="accelerator",
        input=input,
        output=output,
        taps=tuple(taps),
        cycles_per_frame=plan.cycles.per_frame,
        latency_cycles=plan.cycles.latency,
        seed=seed,
    )
    return job, values[source.name] + network.type(source).low, values


def _stream(stage: Stage, name: str, path: str) -> Stream:
    """What leaves a stage."""
    elements = stage.vectors * stage.elements
    return Stream(name, stage.lanes, stage.width, elements, path=path, vectors=stage.vectors)
