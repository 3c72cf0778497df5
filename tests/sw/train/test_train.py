"""The trainer from its command line: training, resuming, exporting, answers to mistakes."""

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sw import artefact, datasets, golden
from sw.train import loop
from sw.train.__main__ import main
from sw.train.images import Pixels
from sw.train.layers import BinaryClassifier
from sw.train.loop import evaluate, learning_rate, settle
from sw.train.recipes import preset

TINY = ["tiny", "--hidden", "24,16", "--epochs", "4", "--shift", "1", "--dropout", "0.1"]
MODEL = "digits-24-16.safetensors"


# A convolutional network of every kind of layer, in the training's lower precision.
CONV = [
    *("--dataset", "digits", "--layers", "8C3p1-P2-12C3s2p1-16", "--scaled", "--epochs", "3"),
    *("--batch", "32", "--dropout", "0.1", "--precision", "bf16", "--threads", "1"),
]
CONV_MODEL = "digits-8C3p1-P2-12C3s2p1-16.safetensors"


@pytest.fixture(scope="module")
def convolutional(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "convolutional"
    assert main([*CONV, "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "straight"
    assert main([*TINY, "--out", str(folder)]) == 0
    return folder


def test_learns_and_reports(finished):
    lines = list(csv.DictReader((finished / "history.csv").read_text().splitlines()))
    assert [line["epoch"] for line in lines] == ["1", "2", "3", "4"]
    assert float(lines[-1]["loss"]) < float(lines[0]["loss"])
    assert float(lines[-1]["accuracy"]) > 0.4
    assert (finished / "history.png").read_bytes().startswith(b"\x89PNG")
    config = json.loads((finished / "config.json").read_text())
    assert config["recipe"]["hidden"] == [24, 16]
    assert config["versions"]["torch"] == torch.__version__


def test_model_file_predicts_as_its_card_says(finished):
    model = artefact.load(finished / MODEL)
    images, labels = datasets.load_test("digits")
    accuracy = np.mean(golden.predict(model.network, images) == labels)
    assert model.card.integer_accuracy == model.card.float_accuracy == accuracy
    assert "agree on all 355" in model.card.notes
    assert model.card.command.startswith("python -m sw.train --dataset digits --hidden 24,16")
    assert (model.samples.inputs == images[:50]).all()
    assert (model.samples.labels == labels[:50]).all()


def test_resuming_is_bit_identical(finished, tmp_path):
    folder = tmp_path / "stopped"
    assert main([*TINY, "--out", str(folder), "--stop-after", "2"]) == 0
    assert not (folder / MODEL).exists()
    assert main([*TINY, "--out", str(folder), "--resume"]) == 0
    assert (folder / MODEL).read_bytes() == (finished / MODEL).read_bytes()


def test_a_convolutional_model_predicts_as_its_card_says(convolutional):
    model = artefact.load(convolutional / CONV_MODEL)
    images, labels = datasets.load_test("digits")
    accuracy = np.mean(golden.predict(model.network, images[..., None]) == labels)
    assert model.card.integer_accuracy == model.card.float_accuracy == accuracy > 0.5
    assert "agree on all 355" in model.card.notes
    assert model.samples.inputs.shape == (50, 8, 8, 1)


def test_resuming_a_convolutional_network_is_bit_identical(convolutional, tmp_path):
    folder = tmp_path / "stopped"
    assert main([*CONV, "--out", str(folder), "--stop-after", "1"]) == 0
    assert main([*CONV, "--out", str(folder), "--resume"]) == 0
    assert (folder / CONV_MODEL).read_bytes() == (convolutional / CONV_MODEL).read_bytes()


def test_epochs_may_be_chosen_while_the_learning_rate_stands(tmp_path, capsys):
    """Resumed with fewer epochs, a training ends as if it had been begun so."""
    moved = ["--shift", "1", "--flip"]
    early = [*moved, "--epochs", "3", "--decay", "1"]
    late = [*moved, "--epochs", "9", "--decay", "5"]
    assert main([*CONV, *early, "--out", str(tmp_path / "straight")]) == 0
    folder = tmp_path / "changed"
    assert main([*CONV, *late, "--out", str(folder), "--stop-after", "2"]) == 0
    assert main([*CONV, *early, "--out", str(folder), "--resume"]) == 0
    straight = (tmp_path / "straight" / CONV_MODEL).read_bytes()
    assert (folder / CONV_MODEL).read_bytes() == straight
    message = refused(capsys, *CONV, *late, "--out", folder, "--resume")
    assert "begun with epochs 3, not 9; decay 1.0, not 5.0" in message


def test_a_student_learns_from_its_teacher(convolutional, tmp_path, capsys):
    teacher, student = tmp_path / "teacher", tmp_path / "student"
    assert main([*CONV, "--no-scaled", "--real", "--out", str(teacher)]) == 0
    assert f"--teacher {teacher}" in capsys.readouterr().err
    assert not list(teacher.glob("*.safetensors"))
    taught = [*CONV, "--teacher", str(teacher), "--distillation", "0.5", "--out", str(student)]
    assert main(taught) == 0
    model = artefact.load(student / CONV_MODEL)
    assert "--distillation 0.5" in model.card.command
    assert model.digest != artefact.load(convolutional / CONV_MODEL).digest


def test_teachers_that_cannot_teach(convolutional, tmp_path, capsys):
    def answer(teacher, *arguments):
        given = ["--teacher", teacher, "--distillation", "0.5", "--out", tmp_path / "student"]
        return refused(capsys, *CONV, *given, *arguments)

    assert "there is no" in answer(tmp_path / "nothing")
    assert "is binary; train one by --real" in answer(convolutional)
    other = tmp_path / "other"
    assert main([*CONV, "--no-scaled", "--real", "--epochs", "1", "--out", str(other)]) == 0
    state = torch.load(other / "checkpoint.pt", weights_only=True)
    del state["network"]["stages.0.weight"]
    torch.save(state, other / "checkpoint.pt")
    assert "is none for 10 classes of images of 8x8x1" in answer(other)


def test_pictures_from_files(tmp_path, capsys):
    """ImageNet's layout, two classes that differ in brightness."""
    rng = np.random.default_rng(1)
    for split, count in (("train", 16), ("val", 6)):
        for name, level in (("dark", 60), ("light", 160)):
            folder = tmp_path / "imagenet" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 60, (20, 24, 3)) + level
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    run = ["xnor-alexnet", "--dataset", "imagenet@16", "--layers", "8C3s2-P2-12", "--batch", "8"]
    run += ["--epochs", "4", "--shift", "1", "--learning-rate", "0.01", "--threads", "1"]
    run += ["--data-dir", str(tmp_path)]
    assert main([*run, "--out", str(tmp_path / "run")]) == 0
    model = artefact.load(tmp_path / "run" / "imagenet-8C3s2-P2-12.safetensors")
    assert model.network.nodes[0].shape == (16, 16, 3)
    assert model.card.integer_accuracy == model.card.float_accuracy == 1.0
    assert model.samples.inputs.shape == (12, 16, 16, 3)

    assert main([*run, "--out", str(tmp_path / "again"), "--stop-after", "2"]) == 0
    assert main([*run, "--out", str(tmp_path / "again"), "--resume"]) == 0
    again = artefact.load(tmp_path / "again" / "imagenet-8C3s2-P2-12.safetensors")
    assert again.digest == model.digest

    message = refused(capsys, *run, "--validation", "3", "--out", tmp_path / "no")
    assert "has a validation set of its own" in message


def test_colour_images_are_not_for_dense_networks(monkeypatch, tmp_path, capsys):
    pixels, labels = np.zeros((4, 2, 2, 3), np.uint8), np.zeros(4, np.uint8)
    data = datasets.Dataset("cifar10", pixels, labels, pixels, labels, 8, ("a", "b"))
    monkeypatch.setattr(datasets, "load", lambda *arguments: data)
    message = refused(capsys, "--hidden", "4", "--dataset", "cifar10", "--out", tmp_path / "no")
    assert "--hidden takes grey images; for cifar10 give --layers" in message


PROCESS = """
import sys, torch
from sw.train import loop
from sw.train.__main__ import main

def kept(network, pixels, processes, settle=loop.settle):
    torch.save(network.state_dict(), f"{sys.argv[1]}/process{processes.index}.pt")
    settle(network, pixels, processes)

loop.settle = kept
sys.exit(main([*sys.argv[2:], "--out", f"{sys.argv[1]}/run"]))
"""


def test_two_processes_train_one_network(tmp_path):
    script = tmp_path / "process.py"
    script.write_text(PROCESS)
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    run += [script, tmp_path, *CONV, "--precision", "float32"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(run, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("epoch   3/3") == 1  # the first process alone reports
    first, second = (torch.load(tmp_path / f"process{index}.pt") for index in range(2))
    assert first.keys() == second.keys()
    for name in first:
        assert torch.equal(first[name], second[name]), name

    model = artefact.load(tmp_path / "run" / CONV_MODEL)
    assert model.card.command.startswith("torchrun --nproc-per-node 2 -m sw.train --dataset digits")
    assert "agree on all 355" in model.card.notes
    assert model.card.integer_accuracy > 0.5
    assert f"all training images  accuracy {model.card.float_accuracy:.2%}" in done.stderr


def test_lower_precision_is_another_training(convolutional, tmp_path):
    assert main([*CONV, "--precision", "float32", "--out", str(tmp_path)]) == 0
    model = artefact.load(tmp_path / CONV_MODEL)
    assert model.digest != artefact.load(convolutional / CONV_MODEL).digest


@pytest.mark.filterwarnings("ignore")  # torch's tracer warns of its own doings
def test_compiled_steps_are_the_same_steps(convolutional, tmp_path, monkeypatch):
    """Traced, but run by torch's own kernels: making others takes a compiler, and minutes."""
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network: compile_(network, backend="eager"))
    assert main([*CONV, "--compile", "--out", str(tmp_path)]) == 0
    model = artefact.load(tmp_path / CONV_MODEL)
    assert model.card.command.endswith("--compile --threads 1")
    assert model.digest == artefact.load(convolutional / CONV_MODEL).digest


def test_another_seed_gives_another_model(finished, tmp_path):
    assert main([*TINY, "--out", str(tmp_path / "run"), "--seed", "2"]) == 0
    other = artefact.load(tmp_path / "run" / MODEL).digest
    assert other != artefact.load(finished / MODEL).digest


def test_resuming_a_finished_run_exports_again(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished, folder)
    (folder / MODEL).unlink()
    assert main([*TINY, "--out", str(folder), "--resume"]) == 0
    assert (folder / MODEL).read_bytes() == (finished / MODEL).read_bytes()


def test_interrupt_leaves_a_checkpoint_and_says_how_to_go_on(
    finished, tmp_path, monkeypatch, capsys
):
    folder = tmp_path / "run"
    calls = iter(range(1000))

    def interrupted(*arguments, **options):
        if next(calls) == 130:  # in the third epoch of 45 steps
            raise KeyboardInterrupt
        return learning_rate(*arguments, **options)

    monkeypatch.setattr(loop, "learning_rate", interrupted)
    assert main([*TINY, "--out", str(folder)]) == 130
    message = capsys.readouterr().err
    assert "interrupted" in message
    command = message.split("Continue by: python -m sw.train ")[1].split()
    assert len((folder / "history.csv").read_text().splitlines()) == 1 + 2
    monkeypatch.undo()
    assert main(command) == 0
    assert (folder / MODEL).read_bytes() == (finished / MODEL).read_bytes()


def test_ctrl_c_of_a_real_process(tmp_path):
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "sw.train", "tiny", "--epochs", "5000", "--out", str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (folder / "history.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Continue by:" in errors
    assert "Traceback" not in errors
    assert {file.name for file in folder.iterdir()} <= {
        "checkpoint.pt",
        "config.json",
        "history.csv",
        "history.png",
    }


def refused(capsys, *arguments):
    assert main([str(argument) for argument in arguments]) == 1
    message = capsys.readouterr().err
    assert "Traceback" not in message
    return message.splitlines()[-1]


def test_resume_with_another_recipe(finished, capsys):
    message = refused(capsys, *TINY, "--seed", "7", "--out", finished, "--resume")
    assert "begun with seed 1, not 7" in message


def test_a_run_is_not_overwritten(finished, capsys):
    assert "--resume" in refused(capsys, *TINY, "--out", finished)


def test_nothing_to_resume(tmp_path, capsys):
    assert "nothing to resume" in refused(capsys, *TINY, "--out", tmp_path / "no", "--resume")


@pytest.mark.parametrize("content", [b"", b"junk", None], ids=["empty", "junk", "cut off"])
def test_damaged_checkpoint(finished, tmp_path, capsys, content):
    shutil.copytree(finished, tmp_path / "run")
    file = tmp_path / "run" / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:2000] if content is None else content)
    assert "damaged" in refused(capsys, *TINY, "--out", tmp_path / "run", "--resume")


def test_checkpoint_that_runs_code_is_refused(finished, tmp_path, capsys):
    shutil.copytree(finished, tmp_path / "run")
    torch.save({"history": [], "recipe": print}, tmp_path / "run" / "checkpoint.pt")
    assert "damaged" in refused(capsys, *TINY, "--out", tmp_path / "run", "--resume")


@pytest.mark.parametrize("part", ["recipe", "network", "optimiser"])
def test_checkpoint_of_another_version(finished, tmp_path, capsys, part):
    shutil.copytree(finished, tmp_path / "run")
    file = tmp_path / "run" / "checkpoint.pt"
    state = torch.load(file, weights_only=True)
    torch.save({**state, part: {"else": 1}}, file)
    assert "another version" in refused(capsys, *TINY, "--out", tmp_path / "run", "--resume")


def test_folder_in_the_way(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    message = refused(capsys, *TINY, "--out", tmp_path / "file" / "run")
    assert "cannot make the folder" in message


@pytest.mark.parametrize("device", ["no-such", "cuda:77"])
def test_device_that_is_not_there(tmp_path, capsys, device):
    message = refused(capsys, *TINY, "--out", tmp_path / "run", "--device", device)
    assert "cannot train on device" in message


def test_mistakes_of_the_command_line(tmp_path, capsys):
    assert "did you mean 'tiny'" in refused(capsys, "tyni")
    assert "give --hidden" in refused(capsys)
    assert "--stop-after" in refused(capsys, "tiny", "--stop-after", "0")
    with pytest.raises(SystemExit):
        main(["--hidden", "64,x"])
    assert "e.g. 256,256, not '64,x'" in capsys.readouterr().err


def test_validation_holds_out_training_images(tmp_path, capsys):
    folder = tmp_path / "run"
    assert main([*TINY, "--out", str(folder), "--validation", "400", "--epochs", "1"]) == 0
    assert "1,042 images" in capsys.readouterr().err
    assert "too few" in refused(capsys, *TINY, "--out", tmp_path / "all", "--validation", "1441")


def test_learning_rate_warms_up_and_ends_near_zero():
    recipe = preset("sfc", epochs=10, warmup=1.0, learning_rate=0.5)
    rates = [learning_rate(recipe, step, 100) for step in range(1000)]
    assert rates[0] == pytest.approx(0.5 / 101)
    assert max(rates) == rates[100] == 0.5
    assert rates[550] == pytest.approx(0.25, abs=1e-9)
    assert 0 < rates[-1] < 1e-5
    assert not any(math.isnan(rate) for rate in rates)


def test_learning_rate_stays_until_the_decay():
    recipe = preset("cnv", epochs=10, decay=4, warmup=1.0, learning_rate=0.5)
    rates = [learning_rate(recipe, step, 100) for step in range(1000)]
    assert rates[99] < 0.5
    assert set(rates[100:601]) == {0.5}
    assert rates[601] < 0.5
    assert rates[800] == pytest.approx(0.25)
    assert 0 < rates[-1] < 1e-4
    late = preset("cnv", epochs=5, decay=5, warmup=2.0)  # the warm-up comes first
    assert learning_rate(late, 200, 100) == late.learning_rate > learning_rate(late, 210, 100)


def test_pixels_still_and_shifted():
    images = np.zeros((64, 5, 4), np.uint8)
    images[:, 2, 1] = 9
    pixels = Pixels(images, 9, shift=1, device="cpu")
    rows = torch.arange(64)
    still = pixels.batch(rows, still=True).reshape(64, 5, 4)
    assert ((still == 1).numpy() == (images >= 9)).all()
    torch.manual_seed(1)
    moved = pixels.batch(rows).reshape(64, 5, 4)
    assert ((moved == 1).sum(dim=(1, 2)) == 1).all()
    places = {tuple(place) for place in (moved == 1).nonzero()[:, 1:].tolist()}
    assert places == {(y, x) for y in (1, 2, 3) for x in (0, 1, 2)}


def test_shifts_bring_in_zeros():
    pixels = Pixels(np.full((9, 3, 3), 255, np.uint8), 1, shift=3, device="cpu")
    torch.manual_seed(1)
    assert (pixels.batch(torch.arange(9)) == -1).any()


def test_equal_scores_go_to_the_lowest_class():
    class Level(torch.nn.Module):
        def forward(self, x):
            return torch.zeros(len(x), 10)

    pixels = Pixels(np.zeros((3, 2, 2), np.uint8), 1, shift=0, device="cpu")
    assert evaluate(Level(), pixels).tolist() == [0, 0, 0]


def test_settled_batch_norm_has_the_statistics_of_every_image():
    torch.manual_seed(1)
    images = datasets.load("digits").train_images
    network = BinaryClassifier(64, (9, 7), 10, dropout=0.5)
    settle(network, Pixels(images, 8, shift=1, device="cpu"))

    x = np.where(images.reshape(len(images), -1) >= 8, 1, -1)
    for dense, norm in zip(network.dense, network.norm, strict=False):
        a = x @ np.where(dense.signs, 1, -1).T
        mean, variance = norm.mean.numpy(), norm.variance.numpy()
        assert mean == pytest.approx(a.mean(axis=0), rel=1e-5, abs=1e-6)
        assert variance == pytest.approx(a.var(axis=0), rel=1e-5)
        deviation = np.sqrt(variance.astype(np.float64) + norm.epsilon)
        x = np.where((a - mean.astype(np.float64)) / deviation >= 0, 1, -1)
