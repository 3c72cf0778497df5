"""hw.deploy: what goes to the board, and the commands that take it there."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from boards.catalogue import board
from hw.deploy import deploy, write_deployment
from sw import zoo
from sw.artefact import load
from sw.errors import MissingTool, PopstreamError


@pytest.fixture(scope="module")
def model():
    return load(zoo.path("digits-tiny"))


def write(folder, model, name="pynq", bits=b"bits", weights=b""):
    bitstream = None
    if bits is not None:
        bitstream = folder.parent / "made.bit"
        bitstream.write_bytes(bits)
    this = board(name)
    return write_deployment(
        folder,
        this,
        model,
        name="digits-tiny",
        clock_hz=this.clock_hz,
        bitstream=bitstream,
        weights=weights,
    )


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["pynq", "arty_z7", "ulx3s", "icebreaker"])
def test_holds_what_a_user_runs(model, tmp_path, name):
    files = contents(write(tmp_path / "deploy", model, name))
    wheel = next(file for file in files if file.endswith(".whl"))
    suffix = board(name).bitstream_suffix
    assert set(files) == {
        *(f"top{suffix}", "model.safetensors", wheel),
        *("run.sh", "popstream.ipynb", "README.txt"),
    }
    assert files[f"top{suffix}"] == b"bits"
    assert load(tmp_path / "deploy" / "model.safetensors").digest == model.digest
    readme = files["README.txt"].decode()
    assert board(name).title in readme and board(name).part in readme and wheel in readme
    assert wheel in files["run.sh"].decode()


def test_equal_inputs_give_equal_bytes(model, tmp_path):
    first, second = write(tmp_path / "a", model), write(tmp_path / "b", model)
    assert contents(first) == contents(second)


def test_an_older_bitstream_does_not_stay(model, tmp_path):
    write(tmp_path / "deploy", model)
    files = contents(write(tmp_path / "deploy", model, bits=None))
    assert "top.bit" not in files
    assert "not made yet: put it here" in files["README.txt"].decode()


def test_weights_come_along_but_older_ones_do_not_stay(model, tmp_path):
    files = contents(write(tmp_path / "deploy", model, weights=b"weights!"))
    assert files["weights.bin"] == b"weights!"
    assert "weights.bin          the weights that" in files["README.txt"].decode()
    files = contents(write(tmp_path / "deploy", model))
    assert "weights.bin" not in files and "weights.bin" not in files["README.txt"].decode()


def test_notebook_is_valid_and_its_python_too(model, tmp_path):
    folder = write(tmp_path / "deploy", model)
    book = json.loads((folder / "popstream.ipynb").read_text())
    assert book["nbformat"] == 4
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            compile("".join(cell["source"]), "cell", "exec")


def test_script_runs_the_library_out_of_the_wheel(model, tmp_path):
    folder = write(tmp_path / "deploy", model, "ulx3s")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    ran = subprocess.run(
        ["bash", str(folder / "run.sh"), "selftest"],
        env={"PATH": path, "DEVICE": "serial:/dev/nowhere"},
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert ran.returncode == 1
    assert "/dev/nowhere" in ran.stderr and len(ran.stderr.splitlines()) == 1


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """Programs that stand in for ssh and scp: they write down how they are called."""
    log = tmp_path / "commands"
    for name in ("ssh", "scp"):
        program = tmp_path / name
        program.write_text(
            f'#!/bin/sh\necho {name} "$@" >> {log}\ncase "$*" in *$FAIL*) exit $STATUS;; esac\n'
        )
        program.chmod(0o755)
        monkeypatch.setenv(name.upper(), str(program))
    monkeypatch.setenv("FAIL", "nothing fails")
    monkeypatch.setenv("STATUS", "0")
    return log


def test_deploys_over_ssh(model, tmp_path, remote):
    (tmp_path / "pynq digits").mkdir()
    folder = write(tmp_path / "pynq digits" / "deploy", model)
    deploy(folder, "xilinx@pynq")
    made, copied, tested = remote.read_text().splitlines()
    assert made == "ssh xilinx@pynq mkdir -p 'popstream/pynq digits'"
    for file in folder.iterdir():
        assert f" {file} " in copied
    assert copied.startswith("scp -q ") and copied.endswith(" xilinx@pynq:popstream/pynq digits/")
    assert tested == "ssh -t xilinx@pynq bash 'popstream/pynq digits'/run.sh selftest"


@pytest.mark.parametrize(
    ("fail", "status", "message"),
    [
        ("mkdir", 255, "could not make a folder on me@board: .*ssh did not get there"),
        ("-q", 1, "could not copy to me@board: status 1"),
        ("selftest", 1, "could not pass the self-test on me@board: status 1"),
    ],
)
def test_what_fails_there_is_told(model, tmp_path, remote, monkeypatch, fail, status, message):
    folder = write(tmp_path / "deploy", model)
    monkeypatch.setenv("FAIL", fail)
    monkeypatch.setenv("STATUS", str(status))
    with pytest.raises(PopstreamError, match=message):
        deploy(folder, "me@board")


def test_nothing_to_deploy(model, tmp_path, monkeypatch):
    folder = write(tmp_path / "deploy", model, bits=None)
    with pytest.raises(PopstreamError, match=r"nothing to deploy to me@board: .* no bitstream"):
        deploy(folder, "me@board")
    folder = write(tmp_path / "deploy", model)
    with pytest.raises(PopstreamError, match="--deploy wants user@host, not '-oProxy'"):
        deploy(folder, "-oProxy")
    monkeypatch.setenv("SSH", "/nowhere/ssh")
    with pytest.raises(MissingTool, match="SSH says '/nowhere/ssh'"):
        deploy(folder, "me@board")


def test_answers_are_the_golden_models(model, tmp_path):
    """The self-test on the board compares with these."""
    from sw.golden import predict

    stored = load(write(tmp_path / "deploy", model) / "model.safetensors").samples
    np.testing.assert_array_equal(stored.answers.reshape(-1), predict(model.network, stored.inputs))
