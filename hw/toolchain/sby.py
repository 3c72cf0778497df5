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
proof
cover

[options]
proof: mode {mode}
proof: depth {depth}
cover: mode cover
cover: depth {cover}

[engines]
smtbmc --nopresat yices

[script]
read_rtlil design.il
prep -flatten -top top

[files]
design.il
"""

_BROKEN = re.compile(r"counterexample trace(?: \[(\w+)\])?: (\S+)\n((?:.*failed assertion .*\n)+)")
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
    """The log of one of the tasks."""
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
    folder.mkdir(parents=True, exist_ok=True)
    design = rtlil_of(case)
    (folder / "design.il").write_text(design)
    mode = "prove" if case.always else "bmc"
    script = _SBY.format(mode=mode, depth=case.depth, cover=case.cover)
    (folder / "case.sby").write_text(script)
    began = time.monotonic()

    log = _run(name, "proof", folder)
    if "DONE (PASS" not in log:
        # What inputs can break from the start says more than what induction finds.
        broken = sorted(_BROKEN.findall(log), key=lambda found: found[0] == "induction")
        if not broken:
            raise PopstreamError(f"{name}: no proof, see {folder / 'case_proof/logfile.txt'}")
        part, trace, lines = broken[0]
        failed = _FAILED.findall(lines)
        texts = ", ".join(_readable(text) for text, _ in failed)
        where = f"in cycle {failed[0][1] or 0}"
        if part == "induction":
            where = f"after {case.depth} cycles in which all hold"
        raise PopstreamError(f"{name}: {where} this does not: {texts}; see {folder / trace}")

    log = _run(name, "cover", folder)
    if "DONE (PASS" not in log:
        missed = ", ".join(_readable(text) for text in _UNREACHED.findall(log))
        raise PopstreamError(f"{name}: within {case.cover} cycles this never happens: {missed}")

    return Proof(
        cover=1 + max(int(step or 0) for step in _REACHED.findall(log)),
        seconds=time.monotonic() - began,
        properties=design.count('FLAVOR "assert"'),
        assumptions=design.count('FLAVOR "assume"'),
    )
