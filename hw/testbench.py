"""The simulation job of a planned network: which streams to watch, and what they should carry."""

import numpy as np

from hw.pipeline import Conversion
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
    values = {
        name: value.reshape(len(images), -1)
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
    )
    taps = []
    for stage in plan.stages:
        node = stage.node
        if isinstance(stage, Conversion):
            node = next(n for n in network.nodes if f"{n.name}_lanes" == stage.name).inputs[0]
        taps.append(Stream(stage.name, stage.lanes, stage.width, stage.elements, path=stage.name))
        values[stage.name] = values[node]
    output = Stream("output", taps[-1].lanes, taps[-1].width, taps[-1].elements)
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
    return job, values[source.name], values
