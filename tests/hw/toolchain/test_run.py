# amaranth: UnusedElaboratable=no
"""hw.toolchain.run: a stage that fails, is interrupted or lies leaves nothing half-made."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hw.toolchain import run_stage
from hw.toolchain.run import _expand
from sw.errors import MissingTool, PopstreamError


@pytest.fixture
def build(small, fake_tools, tmp_path, monkeypatch):
    """A prepared design in a folder, with a yosys that is ours."""
    prepared = small("icebreaker")
    root = tmp_path / "build"
    prepared.extract(root)

    def with_yosys(body="", **outputs):
        monkeypatch.setenv("YOSYS", str(fake_tools.add("fake-yosys", body, **outputs)))
        return prepared, root

    return with_yosys


GOOD = {"top__json": "{}", "top_stat__json": "{}"}


def test_outputs_are_moved_and_the_log_is_kept(build):
    body = "print('hello')\nassert pathlib.Path('top.ys').exists()"
    prepared, root = build(body, **GOOD, top__rpt="noise")
    result = run_stage(prepared, "synthesise", root)
    assert [path.name for path in result.outputs] == ["top.json", "top_stat.json"]
    assert result.log == root / "synthesise.log"
    assert "hello\n" in result.log.read_text()
    assert result.seconds > 0
    made = {path.name for path in root.iterdir()} - set(prepared.files)
    assert made == {"top.json", "top_stat.json", "synthesise.log"}


def test_progress_tells_the_passes(build):
    lines = ["1. Executing SYNTH pass.", "1.2. Executing PROC pass (convert).", "noise"]
    prepared, root = build(f"print({chr(10).join(lines)!r})", **GOOD)
    seen = []
    run_stage(prepared, "synthesise", root, progress=seen.append)
    assert seen == ["SYNTH pass", "PROC pass (convert)"]


def test_failure_ends_with_the_log_and_leaves_no_output(build):
    body = (
        "pathlib.Path('top.json').write_text('half')\n"
        "for n in range(40): print('line', n)\n"
        "print('ERROR: no such cell', file=sys.stderr)\n"
        "sys.exit(3)\n"
    )
    prepared, root = build(body)
    (root / "top.json").write_text("of an earlier run")
    with pytest.raises(PopstreamError) as caught:
        run_stage(prepared, "synthesise", root)
    message = str(caught.value).splitlines()
    assert message[0] == f"fake-yosys failed with status 3; its log, {root}/synthesise.log, ends:"
    assert message[-2:] == ["line 39", "ERROR: no such cell"]
    assert len(message) <= 13
    assert "line 0\n" in (root / "synthesise.log").read_text()
    assert (root / "top.json").read_text() == "of an earlier run"
    assert not list(root.glob(".*"))


def test_tool_that_dies_of_a_signal_is_said_to(build):
    prepared, root = build("os.kill(os.getpid(), 9)")
    with pytest.raises(PopstreamError, match="was ended by signal 9"):
        run_stage(prepared, "synthesise", root)


def test_tool_that_makes_nothing_is_an_error(build):
    prepared, root = build(top__json="{}")
    with pytest.raises(PopstreamError, match=r"the tools made no top_stat\.json; see their log"):
        run_stage(prepared, "synthesise", root)
    assert not (root / "top.json").exists()


def test_stage_out_of_order_names_what_is_missing(build, fake_tools, monkeypatch):
    prepared, root = build()
    monkeypatch.setenv("NEXTPNR_ICE40", str(fake_tools.add("fake-nextpnr")))
    with pytest.raises(PopstreamError, match=r"cannot place and route: .*top\.json is missing"):
        run_stage(prepared, "place and route", root)


def test_missing_tool_is_not_run(build, monkeypatch):
    prepared, root = build()
    monkeypatch.setenv("YOSYS", "/nowhere/yosys")
    with pytest.raises(MissingTool, match="no synthesis for icebreaker"):
        run_stage(prepared, "synthesise", root)
    assert not (root / "synthesise.log").exists()


def test_program_that_does_not_start_is_one_line(build, fake_tools, monkeypatch):
    prepared, root = build()
    broken = fake_tools.folder / "broken"
    broken.write_text("#!/nowhere/interpreter\n")
    broken.chmod(0o755)
    monkeypatch.setenv("YOSYS", str(broken))
    with pytest.raises(PopstreamError, match=r"cannot synthesise in .*: No such file"):
        run_stage(prepared, "synthesise", root)


def test_folder_that_is_gone_is_one_line(build, tmp_path):
    prepared, _ = build(**GOOD)
    with pytest.raises(PopstreamError, match=r"cannot synthesise in .*: No such file"):
        run_stage(prepared, "synthesise", tmp_path / "none")


INTERRUPTED = """
import sys
from pathlib import Path
from types import SimpleNamespace
from hw.toolchain.plan import Stage, Prepared
from hw.toolchain.run import run_stage
stages = tuple(
    Stage(name, (("yosys",),), ("top.json",)) for name in ("synthesise", "place and route", "b")
)
board = SimpleNamespace(name="board", family="ice40")
prepared = Prepared(board, "top", 1, "nextpnr", (), {}, stages)
try:
    run_stage(prepared, "synthesise", Path(sys.argv[1]))
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.parametrize("deaf", ["nobody", "both", "child"])
def test_ctrl_c_ends_the_tool_and_its_children(build, tmp_path, deaf):
    """Even those that ignore the interrupt."""
    pids = tmp_path / "pids"
    build(
        f"import signal, subprocess, time\n"
        f"if {deaf != 'nobody'}: signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        f"child = subprocess.Popen(['sleep', '60'])\n"
        f"if {deaf == 'child'}: signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"pathlib.Path({str(pids)!r}).write_text(f'{{os.getpid()}} {{child.pid}}')\n"
        f"time.sleep(60)\n"
    )
    root = tmp_path / "interrupted"
    root.mkdir()
    ours = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(root)], stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 20
    while not (pids.exists() and pids.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    ours.send_signal(signal.SIGINT)
    said, _ = ours.communicate(timeout=20)
    assert said == "interrupted\n"
    assert [path.name for path in root.iterdir()] == ["synthesise.log"]
    for pid in map(int, pids.read_text().split()):
        assert _ends(pid)


def _ends(pid: int) -> bool:
    """Whether a process is gone within a second, or only waited for by nobody."""
    for _ in range(50):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("plain", "plain"),
        ("$A", "one"),
        ("${A}/x", "one/x"),
        ("$NONE", ""),
        ("${A:+--a=$A}", "--a=one"),
        ("${NONE:+--a=$NONE}", ""),
        ("${EMPTY:+x}", ""),
    ],
)
def test_words_are_expanded_as_a_shell_does(word, expected):
    assert _expand(word, {"A": "one", "EMPTY": ""}) == expected
    shell = subprocess.run(
        ["sh", "-c", f'printf %s "{word}"'],
        env={"A": "one", "EMPTY": ""},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert shell.stdout == expected
