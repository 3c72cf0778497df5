"""The build's report: everything measured, as JSON, and as one HTML file that needs no network."""

from importlib.resources import files

from hw.pipeline import Conversion, Matrix, Pooling, Quantisation, Shared, Thresholding, Window
from hw.timing import stage_cycles

__all__ = ["render", "summarise"]

# Parts of the work that are Popstream's own; the others are the tools'.
_OWN = ("load", "plan", "gateware")
_STAGES = ("gateware", "simulate", "synthesise", "netlist", "place-and-route", "bitstream")


def _what(stage) -> str:
    match stage:
        case Matrix() if stage.vectors == 1:
            return f"dense, {stage.synapses} to {stage.neurons}"
        case Matrix():
            return f"convolution, {stage.vectors} pixels of {stage.synapses} to {stage.neurons}"
        case Window():
            rows, columns = stage.kernel
            return (
                f"windows of {rows}x{columns}x{stage.channels} "
                f"of an image of {stage.height}x{stage.columns}"
            )
        case Pooling():
            rows, columns = stage.size
            return f"maximum of {rows}x{columns} pixels of {stage.elements} channels"
        case Shared():
            return str(stage)
        case Quantisation():
            return f"levels of {stage.width} bits"
        case Conversion():
            return f"regroup {stage.elements} from {stage.i_lanes} to {stage.lanes} lanes"
        case Thresholding():
            return f"binarise {stage.elements} of {stage.i_width} bits"
    return f"argmax of {stage.i_elements}"


def summarise(build) -> dict:
    """The report of a build, as JSON's types.

    Parameters
    ----------
    build : hw.build.Build
        With its model, plan and whatever stages are done.
    """
    model, plan, board, done = build.model, build.plan, build.board, build.done
    synthesis = done.get("synthesise", {})
    layers = []
    for stage in plan.stages:
        estimate = plan.stage_resources(stage)
        synthesised = synthesis.get("parts", {}).get(f"{build.pipeline}.{stage.name}")
        unit = isinstance(stage, Matrix)
        lanes = stage.folding.inputs_per_beat * stage.lanes if unit else None
        layers.append(
            {
                "name": stage.name,
                "what": _what(stage),
                "inputs_per_beat": stage.folding.inputs_per_beat
                if isinstance(stage, Matrix)
                else getattr(stage, "i_lanes", stage.lanes),
                "neurons_per_beat": stage.lanes,
                "storage": stage.folding.storage if isinstance(stage, Matrix) else None,
                "cycles": stage_cycles(stage),
                "estimated": {"luts": round(estimate.luts), "brams": estimate.brams},
                "synthesised": synthesised,
                "luts_per_lane": round(synthesised["luts"] / lanes, 3)
                if unit and synthesised
                else None,
            }
        )
    stages = []
    for name in _STAGES:
        if name in build.skipped:
            stages.append({"stage": name, "status": "not done", "why": build.skipped[name]})
        elif name in done:
            fresh = name in build.seconds
            stages.append(
                {
                    "stage": name,
                    "status": "done" if fresh else "done before",
                    "seconds": round(done[name]["seconds"], 2),
                }
            )
        else:
            stages.append({"stage": name, "status": "not done", "why": "the build stopped before"})
    own = sum(build.seconds.get(name, 0) for name in _OWN)
    placement = done.get("place-and-route")
    used = (placement or {}).get("used") or synthesis.get("total")
    return {
        "model": {
            "name": build.model_name,
            "digest": model.digest,
            "card": vars(model.card),
            "classes": list(model.network.classes),
            "size_kib": round(model.network.size_kib, 2),
        },
        "board": {"name": board.name, "title": board.title, "part": board.part},
        "clock_mhz": plan.clock_hz / 1e6,
        "input": plan.lanes.input,
        "input_lanes": plan.lanes.input_lanes,
        "cycles_per_frame": plan.cycles.per_frame,
        "latency_cycles": plan.cycles.latency,
        "binding": plan.cycles.binding,
        "images_per_second": plan.frames_per_second,
        "latency_microseconds": plan.latency_seconds * 1e6,
        "port": {
            "shell": board.shell.name,
            "frame_bytes": plan.frame_bytes,
            "images_per_second": plan.port_frames_per_second,
            "text": plan.port,
            "estimated": {"luts": round(plan.shell.luts), "brams": plan.shell.brams},
            "luts": synthesis.get("parts", {}).get("rest", {}).get("luts"),
        },
        "layers": layers,
        "budget": {"luts": board.luts, "ffs": board.ffs, "brams": board.brams},
        "estimated": {
            "luts": round(plan.resources.luts),
            "ffs": round(plan.resources.ffs),
            "brams": plan.resources.brams,
        },
        "used": used,
        "used_after": "place and route" if (placement or {}).get("used") else "synthesis",
        "depth": {key: synthesis[key] for key in ("levels", "carry_chains", "longest_path")}
        if synthesis
        else None,
        "simulation": None if "simulate" in build.skipped else done.get("simulate"),
        "netlist": None if "netlist" in build.skipped else done.get("netlist"),
        "placement": placement,
        "no_fmax": None
        if placement
        else build.skipped.get("place-and-route", "the build stopped before place and route"),
        "bitstream": done.get("bitstream"),
        "stages": stages,
        "split": {
            "own_seconds": round(own, 2),
            "own_share": round(own / build.seconds["all"], 4),
            "seconds": {name: round(value, 2) for name, value in build.seconds.items()},
        },
        "versions": build.versions,
        "archive": build.archive.name,
    }


def render(report: dict) -> str:
    """The report as one HTML page."""
    import jinja2

    template = files("hw").joinpath("report.html.jinja").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template).render(r=report)
