import dataclasses
import shlex
import subprocess
import sys

import numpy as np
import pytest

from sw import datasets
from sw.errors import PopstreamError
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


def test_presets_have_the_published_shapes():
    assert PRESETS["tfc"].hidden == (64, 64, 64)
    assert PRESETS["sfc"].hidden == (256, 256, 256)
    assert PRESETS["lfc"].hidden == (1024, 1024, 1024)
    assert PRESETS["tiny"].dataset == "digits"


def test_names_and_folders():
    assert preset("sfc").name == "mnist-sfc"
    assert preset("sfc", dataset="fashion-mnist").name == "fashion-sfc"
    assert preset("sfc").directory.parts == ("runs", "sfc-mnist")
    assert preset(None, hidden=(30, 20)).name == "mnist-30-20"
    assert preset("sfc", hidden=(30,)).name == "mnist-30"


def test_unknown_preset():
    with pytest.raises(PopstreamError, match=r"unknown preset 'sfcc'; .*did you mean 'sfc'"):
        preset("sfcc")


BAD = {
    "dataset": ("mnits", "unknown data set 'mnits'"),
    "hidden": ((0,), r"--hidden must be in 1..65536, not 0"),
    "epochs": (0, "--epochs must be in 1.."),
    "batch": (1, "--batch must be in 2.."),
    "learning_rate": (float("nan"), "--learning-rate must be in .*, not nan"),
    "warmup": (99.0, "--warmup must be in 0..60, not 99.0"),
    "dropout": (1.0, "--dropout must be in"),
    "shift": (-1, "--shift must be in"),
    "label_smoothing": (1.0, "--label-smoothing must be in"),
    "binarise": ("half", "--binarise must be a whole number or mean, not 'half'"),
    "validation": (-1, "--validation must be in"),
    "seed": (-1, "--seed must be in"),
    "threads": (0, "--threads must be in"),
}


@pytest.mark.parametrize("name", BAD)
def test_values_out_of_range(name):
    value, message = BAD[name]
    with pytest.raises(PopstreamError, match=message):
        preset("sfc", **{name: value})


def test_every_field_is_checked():
    assert set(BAD) == {item.name for item in dataclasses.fields(Recipe)} - {"preset"}


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
    ],
    ids=lambda recipe: recipe.name,
)
def test_command_parses_back_to_the_recipe(recipe):
    from sw.train.__main__ import _parser

    options = vars(_parser().parse_args(shlex.split(command(recipe))[3:]))
    for name in ("out", "resume", "data_dir", "device", "stop_after"):
        del options[name]
    assert preset(options.pop("preset"), **options) == recipe
    assert from_json(to_json(recipe)) == recipe


def test_command_of_a_plain_preset_is_short():
    assert command(preset("sfc")) == "python -m sw.train sfc --dataset mnist"


@pytest.mark.parametrize(
    "change",
    [{"hidden": 3}, {"colour": "red"}, {"epochs": "many"}, {"epochs": 0}],
    ids=["hidden", "unknown", "type", "range"],
)
def test_recipe_of_another_version(change):
    with pytest.raises(PopstreamError):
        from_json({**to_json(preset("sfc")), **change})


def test_differences_name_field_and_values():
    assert differences(preset("sfc"), preset("sfc", epochs=7)) == ["epochs 60, not 7"]
    assert differences(preset("sfc"), preset("sfc")) == []


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
