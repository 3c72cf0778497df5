"""From a model file to a board: `python -m hw.build --board pynq`.

Loads the model, plans its lanes, generates the gateware, simulates it on real images against the
golden model, synthesises, simulates some of them on the netlist, places, routes and packs, as far
as this machine has the tools. Each finished stage stays in the build folder
`build/<board>-<model>-<digest>/` and is not done again; the digest covers the network, the plan and
the tools' versions. This is the only file that knows every stage; each stage is another module's
work.
"""

import argparse
import gc
import hashlib
import json
import math
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from sw.errors import MissingTool, PopstreamError

__all__ = ["STAGES", "Build", "main"]

STAGES = ("gateware", "simulate", "synthesise", "netlist", "place-and-route", "bitstream")
DEFAULT_MODEL = "digits-tiny"
NETLIST_SECONDS = 60  # a netlist is simulated unasked where this is expected to be enough
NETLIST_CYCLES = 20_000  # and its frames take about so many
# Shares of the board's LUTs and of all else, tried in this order where nobody says: at first what
# is placed and routed in minutes.
SHARES = ((0.08, 0.25), (0.25, 0.25), (0.5, 0.5), (0.75, 0.75), (1.0, 1.0))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="python -m hw.build",
        description="Build a binarised network for an FPGA board, simulated bit for bit.",
    )
    p.add_argument("--board", required=True, help="pynq, arty_z7, ulx3s or icebreaker")
    p.add_argument(
        "--model",
        default=DEFAULT_MODEL,
        help="a model of the zoo or a .safetensors file (default: %(default)s)",
    )
    p.add_argument(
        "--until", choices=STAGES, help="stop after this stage; a missing tool is an error"
    )
    p.add_argument("--clock", type=float, metavar="MHZ", help="the pipeline's clock")
    pace = p.add_mutually_exclusive_group()
    pace.add_argument("--target-fps", type=float, metavar="N", help="frames a second at least")
    pace.add_argument(
        "--fill",
        type=float,
        metavar="SHARE",
        help="the fastest within this share (0..1) of the board",
    )
    pace.add_argument(
        "--share",
        action="store_true",
        help="layers share one matrix unit, one after the other, and weights that do not fit the "
        "chip come from memory (default: where nothing else fits)",
    )
    pace.add_argument("--plan", type=Path, metavar="FILE", help="lanes from a JSON file")
    p.add_argument(
        "--batch",
        type=int,
        metavar="N",
        help="with layers that share: frames that are computed together (default: the fastest)",
    )
    p.add_argument(
        "--input",
        choices=("pixels", "bits"),
        help="what a frame comes as: pixels, binarised in the fabric (default), or packed bits",
    )
    p.add_argument(
        "--frames",
        metavar="N",
        help="test images to simulate, or 'all' (default: those in the model file)",
    )
    p.add_argument(
        "--seed", type=int, default=1, help="of the random stalls (default: %(default)s)"
    )
    p.add_argument(
        "--netlist",
        action=argparse.BooleanOptionalAction,
        help="simulate a few of the images on the synthesised netlist too (default: where it takes "
        f"less than about {NETLIST_SECONDS} s, and on boards that pip has no place and route for)",
    )
    p.add_argument("--waves", action="store_true", help="record the simulation's signals")
    p.add_argument("--data-dir", type=Path, metavar="DIR", help="where data sets are")
    p.add_argument("--flow", help="place and route by himbaechel, openxc7, vivado or nextpnr")
    p.add_argument(
        "--shell",
        help="what reaches the pipeline: zynq (the processor's memory) or serial (default: the "
        "board's first)",
    )
    p.add_argument("--baud", type=int, help="bits a second of the serial link")
    p.add_argument(
        "--results",
        choices=("labels", "scores"),
        default="labels",
        help="what a frame is answered with (default: %(default)s)",
    )
    p.add_argument("--flash", action="store_true", help="load the bitstream into the board")
    p.add_argument(
        "--deploy", metavar="USER@HOST", help="copy it to a board over ssh, run the self-test there"
    )
    p.add_argument(
        "--output", type=Path, default=Path("build"), metavar="DIR", help="build folders"
    )
    p.add_argument("--again", action="store_true", help="do every stage again")
    return p


@dataclass
class Build:
    """One build: what was asked for, what has been done, and where.

    Parameters
    ----------
    args : argparse.Namespace
        As `parser` gives it.
    say : function of str
        Called with a line for the user.
    """

    args: argparse.Namespace
    say: Callable[[str], None]
    seconds: dict[str, float] = field(default_factory=dict)  # of each part of the work, this time
    done: dict[str, dict] = field(default_factory=dict)  # results by stage, kept in stages.json
    skipped: dict[str, str] = field(default_factory=dict)  # stage -> why

    def run(self) -> Path:
        """Do every stage and write the report; returns the build folder."""
        began = time.monotonic()
        self.load()
        self.choose_plan()
        self.open_folder()
        self.generate()
        last = STAGES.index(self.args.until) if self.args.until else len(STAGES) - 1
        try:
            for stage in STAGES[1 : last + 1]:
                self.stage(stage)
            for stage in STAGES[last + 1 :]:
                if not self.is_current(stage):
                    self.done.pop(stage, None)
                    self.skipped[stage] = f"--until {self.args.until}"
            self.deployment()
            if self.args.flash:
                self.flash()
            if self.args.deploy:
                self.deploy()
        finally:
            self.seconds["all"] = time.monotonic() - began
            self.write_report()
        return self.folder

    def timed(self, name: str, began: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0) + time.monotonic() - began

    # Model, plan, folder

    def load(self) -> None:
        """Read the model and find the board."""
        from boards.catalogue import board
        from hw.toolchain.flows import choose_flow
        from sw import zoo
        from sw.artefact import load
        from sw.network import Argmax

        began = time.monotonic()
        self.board = board(self.args.board).through(self.args.shell)
        if self.args.baud is not None:
            self.board = self.board.at(self.args.baud)
        choose_flow(self.board, self.args.flow)  # a mistake is told before work is done
        self.count = _count(self.args.frames)
        self.clock_hz = self.board.clock(
            None if self.args.clock is None else round(self.args.clock * 1e6)
        ).hz
        given = self.args.model
        is_file = given.endswith(".safetensors") or "/" in given
        self.model_name = Path(given).stem if is_file else given
        self.model = load(Path(given) if is_file else zoo.path(given))
        self.network = self.model.network
        labels = isinstance(self.network.output, Argmax)
        if labels and self.args.results == "scores":
            self.network = self.network.scores()
        elif not labels and self.args.results == "labels":
            raise PopstreamError(
                f"{given}: ends in {self.network.output.name!r}, not in an argmax: it has no "
                "labels; build it with --results scores"
            )
        self.timed("load", began)
        card = self.model.card
        self.say(
            f"model   {self.model_name}: {card.dataset}, {card.integer_accuracy:.2%} of "
            f"{card.test_images:,} test images, {self.model.network.size_kib:.1f} KiB"
        )

    def choose_plan(self) -> None:
        """Lanes for every layer."""
        from hw import plan
        from hw.engine.share import share
        from hw.pipeline import PlanError
        from hw.resources import budgets

        began = time.monotonic()
        args = self.args
        common = (self.network, self.board, self.clock_hz)
        input = args.input or "pixels"
        if args.batch is not None and (args.plan or args.target_fps or args.fill):
            raise PlanError("--batch is for layers that share: it goes with --share alone")
        if args.plan:
            self.plan = plan.from_json(args.plan, *common)
            if args.input and args.input != self.plan.lanes.input:
                raise PlanError(f"{args.plan} takes {self.plan.lanes.input}, not {args.input}")
        elif args.target_fps is not None:
            self.plan = plan.meet(*common, args.target_fps, input)
        elif args.fill is not None:
            self.plan = plan.fill(*common, args.fill, input)
        elif args.share or args.batch is not None:
            self.plan = share(*common, batch=args.batch, input=input)
        else:
            whole = budgets(self.board)
            for luts, others in SHARES:
                limit = replace(whole * others, luts=whole.luts * luts)
                try:
                    self.plan = plan.fastest(*common, limit, input)
                    break
                except PlanError as error:
                    if luts < SHARES[-1][0]:
                        continue
                    if self.board.shell.name != "zynq":
                        raise
                    self.say(f"plan    {error}; so layers share one matrix unit")
                    self.plan = share(*common, input=input)
            port = self.plan.frame_bytes // 8  # cycles that a frame takes the memory port
            if self.board.shell.name == "zynq" and self.plan.cycles.per_frame < port:
                self.plan = plan.choose(*common, port, input)
        cycles = self.plan.cycles
        self.timed("plan", began)
        shares = ", ".join(f"{share:.0%} {what}" for what, share in self.plan.shares.items())
        self.say(
            f"plan    {cycles.per_frame:,} cycles a frame, {self.plan.frames_per_second:,.0f} "
            f"images/s at {self.clock_hz / 1e6:g} MHz, latency {cycles.latency:,} cycles; "
            f"about {shares}"
        )
        if self.plan.engine:
            self.say(f"engine  {self.plan.engine}")
        if self.plan.port_frames_per_second < self.plan.frames_per_second:
            self.say(f"port    {self.plan.port}: less than the pipeline takes")

    def open_folder(self) -> None:
        """Find or make the build folder, and what earlier builds left in it."""
        from hw.provenance import build_digest

        began = time.monotonic()
        self.versions, digest = build_digest(self.plan, self.model.digest, self.args)
        self.folder = self.args.output / f"{self.board.name}-{self.model_name}-{digest[:12]}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise PopstreamError(f"cannot make {self.folder}: {error.strerror}") from error
        self._stages_file = self.folder / "stages.json"
        if not self.args.again and self._stages_file.exists():
            try:
                self.done = dict(json.loads(self._stages_file.read_text()))
            except (OSError, ValueError, TypeError):
                self.done = {}  # damaged: every stage is done again
        self.timed("tool versions", began)

    def write(self, name: str, text: str) -> None:
        """A file of the build folder, whole or not at all."""
        from sw.artefact import write_file

        write_file(self.folder / name, text.encode())

    def keep(self, stage: str, result: dict) -> None:
        """Remember that a stage is done."""
        self.done[stage] = result
        self.write("stages.json", json.dumps(self.done, indent=1))

    # Stages

    def generate(self) -> None:
        """Verilog of the pipeline, and the tools' build plan around it."""
        gc.disable()  # until all is written nothing can be let go, and looking takes half the time
        try:
            self._generate()
        finally:
            gc.enable()

    def _generate(self) -> None:
        from amaranth.back import verilog

        from hw.accelerator import Accelerator
        from hw.toolchain import plain_names, prepare, write_archive

        began = time.monotonic()
        top = self.top(Accelerator(self.network, self.plan.lanes, self.board.family))
        self.pipeline = top.pipeline
        # Half of the conversion to Verilog is another program's work: it goes on meanwhile.
        with ThreadPoolExecutor(1) as beside:
            accelerator = Accelerator(self.network, self.plan.lanes, self.board.family)
            converted = beside.submit(
                verilog.convert,
                accelerator,
                name="accelerator",
                emit_src=False,
                strip_internal_attrs=True,
            )
            self.prepared = prepare(
                self.board,
                top,
                clock_hz=self.clock_hz,
                name="top",
                parts=[f"{top.pipeline}.{stage.name}" for stage in self.plan.stages],
                simulated=top.pipeline,
                flow=self.args.flow,
            )
            self.verilog = plain_names(converted.result())
        self.write("accelerator.v", self.verilog)
        self.write_shell(accelerator)
        self.write("plan.json", self.plan.to_json())
        self.prepared.extract(self.folder)
        self.archive = self.folder / f"{self.folder.name}.zip"
        write_archive(self.prepared, self.archive, root=self.folder)
        self.timed("gateware", began)
        self.keep("gateware", {"seconds": self.seconds["gateware"]})
        self.say(f"gateware {self.seconds['gateware']:.1f} s, {self.folder}/accelerator.v")

    def identity(self):
        """What the shell says of the pipeline."""
        from hw.shell.identity import Identity

        network, plan = self.network, self.plan
        result = network.type(network.output)
        return Identity(
            digest=self.model.digest,
            frame_elements=network.type(network.input).elements,
            frame_bits=network.input.bits if plan.lanes.input == "pixels" else 1,
            result_elements=result.elements,
            result_width=result.width,
            scores=self.args.results == "scores",
            clock_hz=self.clock_hz,
            frame_cycles=math.ceil(plan.cycles.per_frame),
            latency_cycles=plan.cycles.latency,
            batch_frames=plan.cycles.batch if plan.engine else 0,
            weight_words=len(plan.weights) // 8,
            weight_crc=zlib.crc32(plan.weights),
        )

    def top(self, accelerator):
        """The whole design: the pipeline in the board's shell."""
        from hw.shell.memory import MemoryShell
        from hw.shell.top import BoardTop
        from hw.shell.zynq import ZynqTop

        if self.board.shell.name == "zynq":
            shell = MemoryShell(accelerator, self.identity())
            return ZynqTop(self.board, shell, clock_hz=self.clock_hz)
        return BoardTop(self.board, accelerator, self.identity())

    def write_shell(self, accelerator) -> None:
        """The shell's Verilog around the pipeline's, for `sim.board`."""
        from hw.shell import simulated
        from hw.shell.external import External
        from hw.shell.memory import MemoryShell
        from hw.shell.uart import baud_divisor
        from sw.artefact import save, write_file

        pipeline, identity = External(accelerator, "accelerator"), self.identity()
        if self.board.shell.name == "zynq":
            shell = simulated.SimulatedZynq(MemoryShell(pipeline, identity))
        else:
            divisor = baud_divisor(self.clock_hz, self.board.baud)
            shell = simulated.SimulatedSerial(pipeline, identity, divisor=divisor)
        self.write("shell.v", simulated.shell_verilog(shell))
        about = {
            "board": self.board.name,
            "shell": self.board.shell.name,
            "clock_hz": self.clock_hz,
            "baud": self.board.baud,
        }
        self.write("shell.json", json.dumps(about, indent=1) + "\n")
        if self.plan.weights:
            write_file(self.folder / "weights.bin", self.plan.weights)
        model = self.model
        save(self.folder / "model.safetensors", model.network, model.card, model.samples)

    def stage(self, stage: str) -> None:
        """One stage: done before, done now, or left out for want of a tool."""
        key = self.key(stage)
        if self.done.get(stage, {}).get("key") == key and self.still_there(stage):
            self.say(f"{stage:<8} done before, in {self.done[stage]['seconds']:.1f} s")
            return
        self.done.pop(stage, None)  # should this one fail, the report must not show the last one
        needed = [name for name in STAGES[2 : STAGES.index(stage)] if name != "netlist"]
        blocked = [name for name in needed if name in self.skipped]
        if stage != "simulate" and blocked:
            self.skipped[stage] = f"there is no {blocked[0]}"
            return
        if stage == "netlist" and (why := self.netlist_unwanted()):
            self.skipped[stage] = why
            self.say(f"{stage:<8} not done: {why}")
            return
        began = time.monotonic()
        try:
            work = {"simulate": self.simulate, "netlist": self.simulate_netlist}
            result = work[stage]() if stage in work else self.execute(stage)
        except MissingTool as error:
            if self.args.until:
                raise
            self.skipped[stage] = str(error)
            self.say(f"{stage:<8} not done: {error}")
            return
        seconds = time.monotonic() - began
        self.timed(stage, began)
        self.keep(stage, {"key": key, "seconds": seconds, **result})
        self.say(f"{stage:<8} {seconds:.1f} s{self.headline(stage)}")

    def key(self, stage: str) -> list:
        """What a stage's result depends on: for as long as this is equal it is not done again."""
        if stage == "simulate":
            text = hashlib.sha256(self.verilog.encode()).hexdigest()
            return [text, self.model.digest, self.args.frames, self.args.seed]
        if stage == "netlist":
            frames = len(self.netlist_frames()[0])
            return [self.prepared.digest(), self.model.digest, frames, self.args.seed]
        return [self.prepared.digest()]

    def is_current(self, stage: str) -> bool:
        """Whether an earlier result is of this gateware, with whatever frames and seed."""
        return self.done.get(stage, {}).get("key", [])[:2] == self.key(stage)[:2]

    def still_there(self, stage: str) -> bool:
        if stage == "simulate":
            return not self.args.waves
        if stage == "netlist":
            return True
        outputs = self.prepared.stage(stage.replace("-", " ")).outputs
        return all((self.folder / name).exists() for name in outputs)

    def frames(self):
        """Test images and labels: the model file's own, or the first of the test set."""
        samples, count = self.model.samples, self.count
        if count is None or count <= len(samples.inputs):
            return samples.inputs[:count], samples.labels[:count]
        from sw.datasets import load_test

        inputs, labels = load_test(self.model.card.dataset, self.args.data_dir)
        if inputs.shape[1:] != self.model.network.input.shape:
            raise PopstreamError(
                f"{self.model.card.dataset} has images of {inputs.shape[1:]}, "
                f"the model takes {self.model.network.input.shape}"
            )
        return inputs[: int(min(count, len(inputs)))], labels[: int(min(count, len(labels)))]

    def simulate(self) -> dict:
        """Real images through the generated Verilog; every layer compared with the golden model."""
        from hw.progress import bar
        from hw.testbench import job_for
        from sim.runner import simulate

        images, labels = self.frames()
        with bar("simulate") as progress:
            job, frames, expected = job_for(
                self.plan, self.network, images, self.verilog, self.args.seed
            )
            result = simulate(
                job,
                frames,
                expected,
                self.folder / "simulation",
                cache_dir=self.args.output / "models",
                progress=progress,
                waves=self.args.waves,
            )
        return _simulated(result, labels, self.plan.cycles.batch)

    def netlist_unwanted(self) -> str | None:
        """Why the netlist is not simulated, or None where it is."""
        from hw.progress import expected_seconds

        if self.args.netlist is False:
            return "--no-netlist"
        if self.args.netlist or self.args.until == "netlist" or not self.board.pip_flow:
            return None
        seconds = expected_seconds("netlist", self.plan)
        if seconds <= NETLIST_SECONDS:
            return None
        return f"takes about {math.ceil(seconds / 60)} min; --netlist asks for it"

    def netlist_frames(self):
        """As many of the images as the netlist's simulation has time for, and their labels."""
        images, labels = self.frames()
        count = max(4, min(20, int(NETLIST_CYCLES // self.plan.cycles.per_frame)))
        return images[:count], labels[:count]

    def simulate_netlist(self) -> dict:
        """Images through the synthesised netlist: answers, cycles and latency as planned."""
        from hw.netlist import netlist
        from hw.progress import expected_seconds, spinner
        from hw.testbench import job_for
        from sim.job import SimulationMismatch
        from sim.runner import simulate

        images, labels = self.netlist_frames()
        rtlil = (self.folder / "top_netlist.il").read_text(encoding="utf-8")
        with spinner("netlist", expected_seconds("netlist", self.plan)) as progress:
            progress("cells become models")
            gates = netlist(rtlil, self.board.family, f"top.{self.pipeline}")
            self.write("netlist.v", gates)
            job, frames, expected = job_for(self.plan, self.network, images, gates, self.args.seed)
            progress("compiling")
            try:
                result = simulate(
                    replace(job, taps=()),  # the stages' streams are no longer to be found
                    frames,
                    expected,
                    self.folder / "netlist",
                    cache_dir=self.args.output / "models",
                    progress=lambda done, total: progress(f"{done} of {total} images"),
                )
            except SimulationMismatch as error:
                raise PopstreamError(f"in the synthesised netlist: {error}") from error
        return _simulated(result, labels, self.plan.cycles.batch)

    def execute(self, stage: str) -> dict:
        """Synthesis, place and route, or packing, by the tools."""
        from hw.measure import Netlist
        from hw.progress import expected_seconds, spinner
        from hw.toolchain import read_placement, read_synthesis, run_stage, write_archive

        name = stage.replace("-", " ")
        with spinner(stage, expected_seconds(stage, self.plan)) as progress:
            ran = run_stage(self.prepared, name, self.folder, progress=progress)
        if stage == "synthesise":
            write_archive(self.prepared, self.archive, root=self.folder)
            sizes = read_synthesis(self.prepared, self.folder)
            found = Netlist.read(self.folder / "top.json", "top")
            size, within = found.measured(), found.luts_within(self.prepared.parts)
            within["rest"] = size.luts - sum(within.values())
            return {
                "total": _counts(sizes.total) | {"luts": size.luts},
                "parts": {
                    part: _counts(counted) | {"luts": within[part]}
                    for part, counted in sizes.parts.items()
                },
                "levels": size.between_registers.levels,
                "carry_chains": size.between_registers.carry_chains,
                "longest_path": list(size.between_registers.path),
            }
        if stage == "place-and-route":
            placed = read_placement(self.prepared, self.folder)
            return {
                "fmax_mhz": placed.fmax_hz / 1e6,
                "target_mhz": placed.target_hz / 1e6,
                "met": placed.met,
                "used": placed.used and _counts(placed.used),
            }
        return {"file": ran.outputs[0].name, "bytes": ran.outputs[0].stat().st_size}

    def headline(self, stage: str) -> str:
        """What a user wants to know of a stage that is done."""
        result = self.done[stage]
        if stage == "simulate":
            return (
                f": {result['frames']:,} images bit-exact in every layer, "
                f"{result['accuracy']:.2%} right, {result['cycles_per_frame']:,} cycles a frame "
                f"and {result['latency_cycles']:,} latency as planned"
            )
        if stage == "synthesise":
            total = result["total"]
            return (
                f": {total['luts']:,} of {self.board.luts:,} LUT, {total['ffs']:,} of "
                f"{self.board.ffs:,} FF, {total['brams']:g} of {self.board.brams} block RAM; at "
                f"most {result['levels']} LUT levels and {result['carry_chains']} carry chains "
                "between registers"
            )
        if stage == "netlist":
            return (
                f": {result['frames']} images bit-exact on the netlist, "
                f"{result['cycles_per_frame']:,} cycles a frame and "
                f"{result['latency_cycles']:,} latency as planned"
            )
        if stage == "place-and-route":
            verdict = "" if result["met"] else ": TOO SLOW, the board may compute wrong answers"
            return (
                f": Fmax {result['fmax_mhz']:.1f} MHz, clock {result['target_mhz']:g} MHz{verdict}"
            )
        return f": {self.folder / result['file']}"

    def flash(self) -> None:
        from hw.toolchain import flash

        if "bitstream" not in self.done or "bitstream" in self.skipped:
            raise PopstreamError(f"nothing to load into {self.board.name}: there is no bitstream")
        flash(self.board, self.folder / self.prepared.bitstream)
        self.say(f"flash    {self.board.name} runs {self.model_name}")

    def deployment(self) -> None:
        """The folder that goes to the board."""
        from hw.deploy import write_deployment

        made = "bitstream" in self.done and "bitstream" not in self.skipped
        write_deployment(
            self.folder / "deploy",
            self.board,
            self.model,
            name=self.model_name,
            clock_hz=self.clock_hz,
            bitstream=self.folder / self.prepared.bitstream if made else None,
            weights=self.plan.weights,
        )
        self.say(f"deploy   {self.folder}/deploy")

    def deploy(self) -> None:
        from hw.deploy import deploy

        deploy(self.folder / "deploy", self.args.deploy)
        self.say(f"deploy   {self.args.deploy} runs {self.model_name}")

    def write_report(self) -> None:
        """report.json and report.html, from what is done and what is not."""
        from hw.report import render, summarise

        if not hasattr(self, "prepared"):
            return
        report = summarise(self)
        self.write("report.json", json.dumps(report, indent=2) + "\n")
        self.write("report.html", render(report))
        self.say(f"report   {self.folder}/report.html")


def _count(frames: str | None) -> float | None:
    """How many frames `--frames` asks for: infinity for all, None for the model file's own."""
    if frames in (None, "all"):
        return frames and math.inf
    if frames.isdecimal() and int(frames):
        return int(frames)
    raise PopstreamError(f"--frames must be at least 1, or 'all', not {frames!r}")


def _simulated(result, labels, batch: int) -> dict:
    """A simulation's result as JSON's types; a frame of it is a batch."""
    output = result.outputs.reshape(result.frames * batch, -1)[: len(labels)]
    found = output[:, 0] if output.shape[1] == 1 else output.argmax(axis=1)
    return {
        "frames": len(labels),
        "cycles_per_frame": result.cycles_per_frame / batch
        if batch > 1
        else result.cycles_per_frame,
        "latency_cycles": result.latency_cycles,
        "cycles": result.cycles,
        "run_seconds": result.seconds,
        "compile_seconds": result.compile_seconds,
        "cycles_per_second": result.cycles_per_second,
        "accuracy": float((found == labels).mean()),
        "simulator": result.simulator,
        "seed": result.seed,
    }


def _counts(size) -> dict:
    return {name: getattr(size, name) for name in ("luts", "ffs", "brams", "dsps", "carries")}


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = parser().parse_args(argv)
    from hw.progress import say

    build = Build(args, say)
    try:
        build.run()
    except PopstreamError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        where = getattr(build, "folder", None)
        kept = f"; finished stages are kept in {where}, run again to go on" if where else ""
        sys.stderr.write(f"interrupted{kept}\n")
        return 130
    except OSError as error:
        place = f" ({error.filename})" if error.filename else ""
        sys.stderr.write(f"error: {error.strerror or error}{place}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
