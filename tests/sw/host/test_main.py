"""python -m sw.host: what it prints, and how it ends."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from sw import artefact, zoo
from sw.host import __main__ as host_main
from sw.host import devices
from sw.host.__main__ import main
from sw.host.registers import COUNTERS


@pytest.fixture
def board(fake, tiny, monkeypatch):
    """Makes the device `fake` known; whatever it opens is in the list that comes back."""
    opened = []

    def make(*, path=tiny, **what):
        def open_device(argument, model_path):
            opened.append(fake(path, **what))
            return opened[-1]

        monkeypatch.setitem(devices._BUILT_IN, "fake", open_device)
        return opened

    return make


def run(path, *arguments):
    return main(["--device", "fake", "--model", str(path), *map(str, arguments)])


@pytest.mark.parametrize("scores", [False, True])
def test_selftest(board, tiny, capsys, scores):
    board(scores=scores, number_bytes=2)
    assert run(tiny, "selftest") == 0
    said = capsys.readouterr()
    assert said.out == "passed: 50 images as the golden model answers them, 92.0% right\n"
    assert said.err == ""


def test_selftest_that_fails(board, fake, tiny, capsys):
    right = fake(tiny).compute

    def wrong(data):
        labels = bytearray(right(data))
        labels[7] = (labels[7] + 1) % 10
        return bytes(labels)

    opened = board(compute=wrong)
    assert run(tiny, "selftest") == 1
    answer = artefact.load(tiny).samples.answers[7, 0]
    assert capsys.readouterr().out == (
        "FAILED: 1 of 50 images are answered otherwise than by the golden model, the first is "
        f"7: {(answer + 1) % 10}, not {answer}\n"
    )
    assert not opened[0].buffers


def test_selftest_of_a_network_that_ends_in_scores(board, fake, tiny, tmp_path, capsys):
    model = artefact.load(tiny)
    network = type(model.network)(model.network.nodes[:-1])
    path = tmp_path / "m.safetensors"
    digest = artefact.save(path, network, model.card, model.samples)
    words = {
        f"DIGEST_{n}": int.from_bytes(bytes.fromhex(digest)[4 * n : 4 * n + 4], "little")
        for n in range(8)
    }
    board(scores=True, identity=words)
    assert run(path, "selftest") == 0
    board(identity=words)  # and where the fabric takes the argmax of it
    assert run(path, "selftest") == 0
    said = "passed: 50 images as the golden model answers them, 92.0% right\n"
    assert capsys.readouterr().out == 2 * said


def test_selftest_of_an_old_file(board, tiny, tmp_path, capsys):
    with safe_open(tiny, framework="numpy") as file:
        tensors = {key: file.get_tensor(key) for key in set(file.keys()) - {"samples.answers"}}
        metadata = file.metadata()
    save_file(tensors, tmp_path / "m", metadata)
    board()
    assert run(tmp_path / "m", "selftest") == 1
    assert "is of an early version, without answers" in capsys.readouterr().err


def test_classify(board, capsys, tmp_path):
    path = zoo.path("mnist-tfc")
    samples = artefact.load(path).samples
    Image.fromarray(samples.inputs[0]).save(tmp_path / "one.png")
    Image.fromarray(255 - samples.inputs[1]).save(tmp_path / "two.png")
    np.save(tmp_path / "three.npy", samples.inputs[2:4])
    answers = samples.answers[:, 0]

    board(path=path)
    assert run(path, "classify", tmp_path / "one.png", tmp_path / "three.npy") == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{tmp_path}/one.png: {answers[0]}",
        f"{tmp_path}/three.npy[0]: {answers[2]}",
        f"{tmp_path}/three.npy[1]: {answers[3]}",
    ]
    assert run(path, "classify", "--invert", tmp_path / "two.png") == 0
    assert capsys.readouterr().out == f"{tmp_path}/two.png: {answers[1]}\n"

    assert run(path, "classify", "--scores", tmp_path / "one.png") == 1
    assert "--results scores" in capsys.readouterr().err

    board(path=path, scores=True, number_bytes=2)
    assert run(path, "classify", "--scores", tmp_path / "one.png") == 0
    said = capsys.readouterr()
    assert said.out.startswith(f"{tmp_path}/one.png: {answers[0]} (0 ")
    scores = [int(each.split()[1]) for each in said.out[said.out.index("(") + 1 : -2].split(",")]
    assert len(scores) == 10 and int(np.argmax(scores)) == answers[0]
    assert said.err == ""


def test_white_is_told(board, tiny, tmp_path, capsys):
    Image.fromarray(np.full((8, 8), 255, np.uint8)).save(tmp_path / "x.png")
    whites = []
    board(compute=lambda data: whites.append(int(data.max())) or bytes(len(data)))
    assert run(tiny, "classify", tmp_path / "x.png") == 0
    assert "white is 16, the largest value in the model's samples" in capsys.readouterr().err
    assert run(tiny, "classify", "--white", "31", tmp_path / "x.png") == 0
    assert capsys.readouterr().err == ""
    assert whites == [16, 31]


def test_identify_and_counters(board, tiny, capsys):
    board()
    assert run(tiny, "identify") == 0
    said = capsys.readouterr().out
    assert f"digits-tiny, digest {artefact.load(tiny).digest}" in said
    assert "64 elements of 5 bits, 64 B" in said and "a class index, 1 B" in said
    assert "64 cycles a frame, 1,562,500 images/s, latency 3.00 us" in said
    assert run(tiny, "counters") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [[each.name, "0"] for each in COUNTERS]


def test_benchmark(board, tiny, capsys):
    board()
    assert run(tiny, "--batch", "64", "benchmark", "--seconds", "0.05") == 0
    said = capsys.readouterr().out
    assert "throughput" in said and "64" in said and said.count("\n") == 14


def test_errors_are_one_line(board, tiny, tmp_path, capsys):
    board(stuck=True)
    assert run(tiny, "--timeout", "0.05", "selftest") == 1
    assert main(["--device", "fake", "--model", str(tmp_path / "none"), "selftest"]) == 1
    assert main(["--device", "nothing", "--model", str(tiny), "selftest"]) == 1
    assert main(["--device", "fake", "--model", str(tiny), "--baud", "9600", "selftest"]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 4 and all(line.startswith("error: ") for line in lines)
    assert "no frame for 0.05 s" in lines[0] and "no model file" in lines[1]
    assert "unknown device 'nothing'; known: " in lines[2] and "no option 'baud'" in lines[3]


def test_interrupted(board, tiny, capsys):
    def interrupt():
        raise KeyboardInterrupt

    opened = board(on_wait=interrupt)
    assert run(tiny, "selftest") == 130
    assert capsys.readouterr().err == "interrupted\n"
    assert ("CONTROL", 2) in opened[0].log[2:] and opened[0].log[-1] == ("close", None)


def test_usage(capsys):
    for arguments in ([], ["--device", "fake"], ["--device", "fake", "guess"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    assert "classify" in capsys.readouterr().out


def test_progress_on_a_terminal(board, tiny, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    board()
    assert run(tiny, "--batch", "20", "selftest") == 0
    said = capsys.readouterr().err
    shown = [line.rstrip() for line in said.split("\r") if line.strip()]
    assert [line.split(",")[0] for line in shown] == [
        "20 of 50 images",
        "40 of 50 images",
        "50 of 50 images",
    ]
    assert shown[-1].endswith(", 0 s left")
    assert said.endswith("\r")


def test_time_left(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    times = iter([100.0, 100.0, 110.0])
    monkeypatch.setattr(host_main.time, "monotonic", lambda: next(times))
    terminal = Terminal()
    with host_main._Progress("images", terminal) as progress:
        progress(0, 3000)
        progress(1000, 3000)
        assert terminal.getvalue() == "\r0 of 3,000 images\r1,000 of 3,000 images, 20 s left"
    assert terminal.getvalue().endswith("left\r" + " " * 32 + "\r")


def test_names_that_the_terminal_cannot_show(board, fake, tiny, tmp_path):
    """In ASCII, as where no locale is set."""
    model = artefact.load(tiny)
    network = type(model.network)(model.network.nodes, tuple("äöüßéèêçñø"))
    path = tmp_path / "m.safetensors"
    artefact.save(path, network, model.card, model.samples)
    code = (
        "import sys; from sw.host.__main__ import _say; from sw.host.model import load; "
        f"_say(load({str(path)!r}).classes[0]); _say('\\ud800', sys.stderr)"
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True
    )
    assert done.stdout == b"\\xe4\n" and done.stderr == b"\\ud800\n"


def test_reader_that_has_had_enough(tiny):
    """As in `python -m sw.host ... | head -0`: no traceback."""
    code = (
        "import sys; import sw.host.__main__ as m\n"
        "class Nothing:\n"
        "    def __enter__(self): return self\n"
        "    def __exit__(self, *_): pass\n"
        "m.Accelerator.open = lambda *a, **k: Nothing()\n"
        "m._COMMANDS['identify'] = lambda *_: m._say('x' * 100_000) or 0\n"
        "sys.exit(m.main(['--device', 'fake', 'identify']))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 1


def test_as_a_module(tiny, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "sw.host", "--device", "pynq", "--model", str(tiny), "selftest"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
