"""The simulation job of an engine: its streams, its weights, and what it should answer."""

import numpy as np

from hw.engine.image import weights_image
from hw.engine.plan import EnginePlan
from sim.job import Job, Stalls, Stream, Weights
from sw import golden
from sw.network import Argmax, Network

__all__ = ["job_for"]


def job_for(
    network: Network,
    plan: EnginePlan,
    images: np.ndarray,
    verilog: str,
    *,
    seed: int = 1,
    stalls: Stalls | None = None,
) -> tuple[Job, np.ndarray, dict[str, np.ndarray]]:
    """The job, its input frames and the golden model's answers; a frame of it is a batch.

    Parameters
    ----------
    network, plan
        As `hw.engine.engine.Engine` takes them.
    images : array of 0 and 1, (whole batches of frames, *shape)
    verilog : str
        Of that engine, its top named `engine`.
    seed : int
        Of the random stalls.
    stalls : Stalls or None
        Of each of the three streams; None takes the usual ones.
    """
    stalls = stalls or Stalls()
    batches, work = len(images) // plan.batch, plan.steps[0].work
    channels = work.image[2]
    frames = images.reshape(batches, -1)
    answers = golden.predict(network, images).reshape(batches, -1)
    output = network.type(network.output)
    words = weights_image(network, plan)
    job = Job(
        verilog=verilog,
        top="engine",
        input=Stream(
            "images",
            lanes=min(plan.simd, channels),
            width=1,
            elements=frames.shape[1],
            vectors=frames.shape[1] // channels,
            port="i",
        ),
        output=Stream(
            "classes" if isinstance(network.output, Argmax) else "scores",
            lanes=1,
            width=output.width,
            elements=answers.shape[1],
        ),
        cycles_per_frame=plan.timing.per_batch,
        weights=Weights(words, stalls=stalls) if words else None,
        seed=seed,
        input_stalls=stalls,
        output_stalls=stalls,
    )
    return job, frames, {job.output.name: answers}
