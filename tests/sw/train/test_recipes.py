import dataclasses
import math
import shlex
import subprocess
import sys

import numpy as np
import pytest

from sw import datasets
from sw.errors import PopstreamError
from sw.train import description
from sw.train.recipes import (
    PRESETS,
    Recipe,
    command,
    differences,
    from_json,
    pixel_threshold,
    preset,
    to_json,
)


def weights(layers, image, classes):
    """How many weights such layers have, the last one's included."""
    total, shape = 0, image
    for layer, after in zip(layers, description.shapes(layers, image), strict=True):
        if isinstance(layer, description.Conv):
            total += layer.filters * layer.kernel**2 * shape[2]
        elif isinstance(layer, description.Dense):
            total += layer.neurons * math.prod(shape)
        shape = after
    return total + classes * math.prod(shape)


def test_presets_have_the_published_shapes():
    assert PRESETS["tfc"].hidden == (64, 64, 64)
    assert PRESETS["sfc"].hidden == (256, 256, 256)
    assert PRESETS["lfc"].hidden == (1024, 1024, 1024)
    assert PRESETS["tiny"].dataset == "digits"
    for name, synapses in {"cnv": 1_542_848, "bvgg16": 15_244_992}.items():
        recipe = PRESETS[name]
        assert weights(recipe.description, (32, 32, 3), 10) == synapses
    alexnet = PRESETS["xnor-alexnet"]
    assert weights(alexnet.description, (227, 227, 3), 1000) == 62_367_776


def test_names_and_folders():
    assert preset("sfc").name == "mnist-sfc"
    assert preset("sfc", dataset="fashion-mnist").name == "fashion-sfc"
    assert preset("sfc").directory.parts == ("runs", "sfc-mnist")
    assert preset(None, hidden=(30, 20)).name == "mnist-30-20"
    assert preset("sfc", hidden=(30,)).name == "mnist-30"
    assert preset("cnv").name == "cifar10-cnv"
    assert preset("cnv", width=0.25).name == "cifar10-cnv-x0.25"
    assert preset("cnv", layers="8C3-P2", width=0.5).name == "cifar10-4C3-P2"


def test_unknown_preset():
    with pytest.raises(PopstreamError, match=r"unknown preset 'sfcc'; .*did you mean 'sfc'"):
        preset("sfcc")


BAD = {
    "dataset": ("mnits", "unknown data set 'mnits'"),
    "hidden": ((0,), r"--hidden must be in 1..65536, not 0"),
    "layers": ("64C3", "--hidden and --layers are two networks"),
    "width": (0.5, "--width is for --layers"),
    "scaled": (True, "--scaled is for --layers"),
    "real": (True, "--real is for --layers"),
    "epochs": (0, "--epochs must be in 1.."),
    "batch": (1, "--batch must be in 2.."),
    "learning_rate": (float("nan"), "--learning-rate must be in .*, not nan"),
    "warmup": (99.0, "--warmup must be in 0..60, not 99.0"),
    "decay": (61.0, "--decay must be in 0..60, not 61.0"),
    "dropout": (1.0, "--dropout must be in"),
    "shift": (-1, "--shift must be in"),
    "flip": (True, "--flip is for --layers"),
    "label_smoothing": (1.0, "--label-smoothing must be in"),
    "binarise": ("half", "--binarise must be a whole number or mean, not 'half'"),
    "validation": (-1, "--validation must be in"),
    "teacher": ("runs/teacher", "--teacher is for --layers"),
    "distillation": (1.5, "--distillation must be in 0..1, not 1.5"),
    "temperature": (0.0, "--temperature must be in 0.01..1000, not 0.0"),
    "precision": ("bf61", "unknown precision 'bf61'; .*did you mean 'bf16'"),
    "seed": (-1, "--seed must be in"),
    "threads": (0, "--threads must be in"),
    "processes": (51, "--processes must be in 1..50, not 51"),
}


@pytest.mark.parametrize("name", BAD)
def test_values_out_of_range(name):
    value, message = BAD[name]
    with pytest.raises(PopstreamError, match=message):
        preset("sfc", **{name: value})


def test_every_field_is_checked():
    unbounded = {"preset", "compile"}
    assert set(BAD) == {item.name for item in dataclasses.fields(Recipe)} - unbounded


CONVOLUTIONAL_BAD = {
    "layers": ("64C3-64X3", "'64X3' is no layer"),
    "hidden": ((64,), "--hidden and --layers are two networks"),
    "width": (0.0, "--width must be in 0.001..1000, not 0.0"),
    "binarise": ("mean", "--binarise is for --hidden"),
    "teacher": ("runs/teacher", "--teacher and --distillation go together"),
    "distillation": (0.5, "--teacher and --distillation go together"),
}


@pytest.mark.parametrize("name", CONVOLUTIONAL_BAD)
def test_values_a_convolutional_network_cannot_have(name):
    value, message = CONVOLUTIONAL_BAD[name]
    with pytest.raises(PopstreamError, match=message):
        preset("cnv", **{name: value})


def test_no_network():
    with pytest.raises(PopstreamError, match="name a preset, or give --hidden"):
        preset(None)


@pytest.mark.parametrize(
    "recipe",
    [
        preset("tiny"),
        preset("lfc", dataset="fashion-mnist", epochs=7, binarise="mean", learning_rate=0.003),
        preset(None, hidden=(30, 20), seed=5),
        preset("sfc", hidden=(30,)),
        preset("cnv"),
        preset("cnv", processes=2),
        preset("cnv", width=0.25, flip=False, scaled=True, precision="float32"),
        preset(None, layers="8C3p1-P2-16", dataset="digits", teacher="a b", distillation=0.5),
    ],
    ids=lambda recipe: recipe.name,
)
def test_command_parses_back_to_the_recipe(recipe):
    from sw.train.__main__ import _parser

    words = shlex.split(command(recipe))
    options = vars(_parser().parse_args(words[words.index("sw.train") + 1 :]))
    options["processes"] = int(words[2]) if words[0] == "torchrun" else 1
    for name in ("out", "resume", "data_dir", "device", "stop_after"):
        del options[name]
    assert preset(options.pop("preset"), **options) == recipe
    assert from_json(to_json(recipe)) == recipe


def test_command_of_a_plain_preset_is_short():
    assert command(preset("sfc")) == "python -m sw.train sfc --dataset mnist"
    assert command(preset("cnv", processes=2)) == (
        "torchrun --nproc-per-node 2 -m sw.train cnv --dataset cifar10"
    )


@pytest.mark.parametrize(
    "change",
    [{"hidden": 3}, {"colour": "red"}, {"epochs": "many"}, {"epochs": 0}],
    ids=["hidden", "unknown", "type", "range"],
)
def test_recipe_of_another_version(change):
    with pytest.raises(PopstreamError):
        from_json({**to_json(preset("sfc")), **change})


def test_differences_name_field_and_values():
    changed = differences(preset("sfc"), preset("sfc", epochs=7, seed=2), done=2)
    assert changed == ["epochs 60, not 7", "seed 1, not 2"]
    assert differences(preset("sfc"), preset("sfc")) == []


def test_epochs_may_change_before_the_learning_rate_falls():
    old, new = preset("cnv", epochs=30, decay=10), preset("cnv", epochs=24, decay=10)
    assert differences(old, new, done=14) == []
    assert differences(old, new, done=15) == ["epochs 30, not 24"]
    assert differences(new, old, done=15) == ["epochs 24, not 30"]
    assert differences(old, preset("cnv", epochs=24, decay=4), done=20) == []
    assert differences(preset("sfc"), preset("sfc", epochs=7), done=1) == []  # after the warm-up
    assert differences(preset("sfc"), preset("sfc", epochs=7), done=2) == ["epochs 60, not 7"]


def tiny_set(images):
    labels = np.zeros(len(images), np.uint8)
    return datasets.Dataset("digits", images, labels, images, labels, 5, tuple("0123456789"))


def test_pixel_threshold():
    images = np.array([[[0, 3]], [[0, 4]]], np.uint8)
    data = tiny_set(images)
    assert pixel_threshold(preset("tiny"), data) == 8
    assert pixel_threshold(preset("tiny", binarise="31"), data) == 31
    assert pixel_threshold(preset("tiny", binarise="mean"), data).tolist() == [[1, 4]]
    with pytest.raises(PopstreamError, match=r"--binarise must be in 1..31, not 32"):
        pixel_threshold(preset("tiny", binarise="32"), data)


def test_recipes_and_command_line_do_not_import_torch():
    code = "import sys, sw.train.__main__, sw.zoo; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
