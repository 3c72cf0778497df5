"""Proves properties of designs, by SymbiYosys, yosys and Yices, all from pip.

A design's inputs are free, and its rules are assertions, assumptions and covers in Amaranth beside
it; `hw.formal` has the cases. A proof comes with a second run that shows that what is wanted to
happen does, for of a design that does nothing, or whose assumptions contradict each other,
everything is true.

Source: SymbiYosys' documentation, yosyshq.readthedocs.io/projects/sby (modes bmc, prove, cover).
"""

import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Const, Fragment, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from hw.toolchain.tools import require_tool
from hw.toolchain.yosys import errors_in
from sw.errors import PopstreamError

__all__ = ["Case", "Inside", "Proof", "prove", "rtlil_of"]


class Inside:
    """The signals within a design, by their paths: induction needs to know how they go together.

    Parameters
    ----------
    fragment : Fragment
        Of the elaborated design.
    """

    def __init__(self, fragment: Fragment):
        self._fragment = fragment

    def __getitem__(self, path: str) -> Signal:
        """Such as ``words.level``: that which something within drives."""
        *parts, last = path.split(".")
        fragment = self._fragment
        for part in parts:
            fragment = fragment.find_subfragment(part)
        for statements in fragment.statements.values():
            for signal in statements._lhs_signals():
                if signal.name == last:
                    return signal
        raise KeyError(path)

    def peek(self, path: str, address: Value) -> Value:
        """What a memory has at an address."""
        memory = self._fragment.find_subfragment(path)
        word = Signal(memory._data.shape, name="peeked")
        memory.read_port(domain="comb", addr=address, data=word, en=Const(1), transparent_for=())
        return word

    def state(self, name: str, fsm: str = "fsm") -> Value:
        """Whether a state machine is in the state of this name."""
        return self[f"{fsm}_state"] == self._fragment.find_generated(fsm).encoding[name]

    def exists(self, fsm: str = "fsm") -> Value:
        """Whether a state machine is in one of its states."""
        return self[f"{fsm}_state"] < len(self._fragment.find_generated(fsm).encoding)


@dataclass(frozen=True)
class Case:
    """A design and what it has to keep.

    Attributes
    ----------
    design : callable
        Makes the component.
    rules : callable
        Takes a Module, the component and its `Inside`; adds properties and covers.
    depth : int
        Cycles from the start in which no inputs may break a property.
    cover : int
        Cycles from the start in which all covers can be reached.
    always : bool
        The properties hold in all cycles: they do if they held in the `depth` cycles before,
        whether these can be reached or not.
    """

    design: Callable[[], wiring.Component]
    rules: Callable[[Module, wiring.Component, Inside], None]
    depth: int
    cover: int
    always: bool = False

    @property
    def mode(self) -> str:
        """How long the properties hold, for the user."""
        if self.always:
            return f"always, by {self.depth}-induction"
        return f"for {self.depth} cycles"


@dataclass(frozen=True)
class Proof:
    """What came of a case.

    Attributes
    ----------
    properties, assumptions : int
        How many there are of each.
    cover : int
        The cycles in which all that is to happen has happened.
    seconds : float
        What it took.
    """

    properties: int
    assumptions: int
    cover: int
    seconds: float


_SBY = """\
[tasks]
start
cover
step

[options]
start: mode bmc
step: mode prove
start: depth {depth}
step: depth {depth}
cover: mode cover
cover: depth {cover}

[engines]
smtbmc --nopresat yices

[script]
read_rtlil design.il
hierarchy -top top
# A ROM would be a memory, of which induction does not know what is in it.
proc -norom
prep -flatten -top top
memory_map
opt -fast

[files]
design.il
"""

_BROKEN = re.compile(r"counterexample trace.*: (\S+)\n((?:.*failed assertion .*\n)+)")
_FAILED = re.compile(r"failed assertion top\.(\S+) at .*?(?: step (\d+))?$", re.MULTILINE)
_UNREACHED = re.compile(r"Unreached cover statement at top: (\S+)", re.MULTILINE)
_REACHED = re.compile(r" reached cover statement .*?(?: step (\d+))?$", re.MULTILINE)


def rtlil_of(case: Case) -> str:
    """A case as RTLIL: all inputs of the design are free, nothing is ever reset."""
    m = Module()
    m.domains.sync = sync = ClockDomain(reset_less=True)
    dut = case.design()
    m.submodules.dut = fragment = Fragment.get(dut, "formal")
    case.rules(m, dut, Inside(fragment))
    members = dut.signature.flatten(dut)
    inputs = [Value.cast(value) for _, member, value in members if member.flow is In]
    text = rtlil.convert(m, platform="formal", ports=[sync.clk, *inputs])
    # Properties go by their texts, as far as RTLIL's names can have them.
    return re.sub(
        r'(?<=cell \$check )\$\d+\n( *parameter \\FORMAT )"([^"]+)"',
        lambda found: f'\\{found[2].replace(" ", "_")}\n{found[1]}""',
        text,
    )


def _readable(name: str) -> str:
    """The text of a property, after the rules that it is of."""
    *parts, text = name.split(".")
    return f"{'.'.join(parts)}: {text.replace('_', ' ')}".removeprefix(": ")


def _run(name: str, task: str, folder: Path) -> str:
    """The log of one of SymbiYosys' tasks."""
    tools = ("sby", "yosys", "yosys-smtbmc", "yices-smt2")
    sby, yosys, smtbmc, yices = (require_tool(tool, need="a proof") for tool in tools)
    command = [sby, "--yosys", yosys, "--smtbmc", smtbmc, "-f", "case.sby", task]
    path = os.pathsep.join((str(yices.parent), os.environ.get("PATH", "")))
    environment = {**os.environ, "PATH": path}
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)
    log = folder / f"case_{task}/logfile.txt"
    if "DONE (" not in ran.stdout or not log.exists():
        raise PopstreamError(f"{name}: sby failed: {errors_in(ran.stdout + ran.stderr)}")
    return log.read_text()


def _holds_on(model: str, cycles: int) -> bool:
    """Whether all properties hold behind any so many cycles in which they hold.

    SymbiYosys' own induction asks for all of them at once, with which Yices is lost for hours; one
    by one they take a fraction of a second each.

    Parameters
    ----------
    model : str
        What yosys wrote of a design for SMT solvers: its states, and over them what holds initially
        (``top_h``), is assumed (``top_u``), asserted (``top_a``, and one by one ``top_a N``), and
        how one follows another (``top_t``).
    """
    properties = re.findall(r"^; yosys-smt2-assert (\d+) ", model, re.MULTILINE)
    lines = ["(set-logic QF_UFBV)", model]
    for n in range(cycles + 1):
        lines += [f"(declare-fun s{n} () |top_s|)", f"(assert (and (|top_h| s{n}) (|top_u| s{n})))"]
    for n in range(cycles):
        lines.append(f"(assert (and (|top_a| s{n}) (|top_t| s{n} s{n + 1})))")
    for number in properties:
        lines.append(f"(push 1) (assert (not (|top_a {number}| s{cycles}))) (check-sat) (pop 1)")
    command = [require_tool("yices-smt2", need="a proof"), "--incremental"]
    ran = subprocess.run(command, input="\n".join(lines), capture_output=True, text=True)
    answers = ran.stdout.split()
    if len(answers) != len(properties) or not {"sat", "unsat"}.issuperset(answers):
        raise PopstreamError(f"yices-smt2 failed: {' '.join((ran.stdout + ran.stderr).split())}")
    return "sat" not in answers


def prove(name: str, case: Case, folder: Path) -> Proof:
    """Proves a case.

    Parameters
    ----------
    name : str
        For the user.
    case : Case
    folder : Path
        For the proof's files, traces among them, which it replaces. Not below /tmp, which tools
        from pip do not see.

    Raises
    ------
    MissingTool
        A tool is not on this machine.
    PopstreamError
        A property does not hold, and the message names it and the trace that shows it; something
        never happens; or the tools fail.
    """
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    design = rtlil_of(case)
    (folder / "design.il").write_text(design)
    (folder / "case.sby").write_text(_SBY.format(depth=case.depth, cover=case.cover))

    log, where = _run(name, "start", folder), "in cycle {}"
    if case.always and "DONE (PASS" in log:
        model = (folder / "case_start/model/design_smt2.smt2").read_text()
        if not _holds_on(model, case.depth):
            # It says no more than that; SymbiYosys makes a trace of it.
            log, where = _run(name, "step", folder), f"after {case.depth} cycles in which all hold"
    if "DONE (PASS" not in log:
        broken = _BROKEN.search(log)
        if not broken:
            raise PopstreamError(f"{name}: no proof, see the logs in {folder}")
        trace, failed = folder / broken[1], _FAILED.findall(broken[2])
        where = where.format(failed[0][1] or 0)
        texts = ", ".join(_readable(text) for text, _ in failed)
        raise PopstreamError(f"{name}: {where} this does not: {texts}; see {trace}")

    log = _run(name, "cover", folder)
    if "DONE (PASS" not in log:
        missed = ", ".join(_readable(text) for text in _UNREACHED.findall(log))
        raise PopstreamError(f"{name}: within {case.cover} cycles this never happens: {missed}")

    return Proof(
        properties=design.count('FLAVOR "assert"'),
        assumptions=design.count('FLAVOR "assume"'),
        cover=1 + max(int(step or 0) for step in _REACHED.findall(log)),
        seconds=time.monotonic() - began,
    )
