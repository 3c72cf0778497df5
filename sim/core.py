"""Simulates a single core as the whole network is simulated: a job without taps."""

from pathlib import Path

import numpy as np
from amaranth.back import verilog
from amaranth.hdl import Shape
from amaranth.lib import data, wiring

from sim.job import Job, Result, Stream
from sim.runner import simulate
from sim.tools import Simulator

__all__ = ["check_core", "port_stream"]


def port_stream(component: wiring.Component, port: str, elements: int) -> Stream:
    """The stream of vectors that a component's port carries.

    Parameters
    ----------
    component : wiring.Component
        Has the port, whose payload is an ArrayLayout, or a plain shape for one lane.
    port : str
        Its name.
    elements : int
        Elements a frame.
    """
    payload, lanes = component.signature.members[port].signature.members["payload"].shape, 1
    if isinstance(payload, data.ArrayLayout):
        payload, lanes = payload.elem_shape, payload.length
    shape = Shape.cast(payload)
    return Stream(port, lanes, shape.width, elements, port=port, signed=shape.signed)


def check_core(
    component: wiring.Component,
    frames: np.ndarray,
    expected: np.ndarray,
    build_dir: Path,
    *,
    cache_dir: Path | None = None,
    simulator: Simulator | None = None,
    waves: bool = False,
    **fields,
) -> Result:
    """Simulates a core with streams `i` and `o` on frames, stalled, reset, and timed.

    Parameters
    ----------
    component : wiring.Component
        Has ports ``i`` and ``o`` with `amaranth.lib.stream.Signature`.
    frames : ndarray of integers (frames, elements)
        What goes in.
    expected : ndarray of integers (frames, elements)
        What should come out.
    build_dir, cache_dir, simulator, waves
        As in `sim.runner.simulate`.
    **fields
        Of `sim.job.Job`: predicted cycles, seed, stalls, reset.

    Raises
    ------
    SimulationMismatch, MissingTool, PopstreamError, ValueError
        As `sim.runner.simulate`.
    """
    job = Job(
        verilog=verilog.convert(component, name="core", emit_src=False, strip_internal_attrs=True),
        top="core",
        input=port_stream(component, "i", np.shape(frames)[1]),
        output=port_stream(component, "o", np.shape(expected)[1]),
        **fields,
    )
    return simulate(
        job,
        frames,
        {"o": expected},
        build_dir,
        cache_dir=cache_dir,
        simulator=simulator,
        waves=waves,
    )
