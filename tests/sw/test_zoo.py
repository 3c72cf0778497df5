import os

import numpy as np
import pytest
from safetensors import safe_open

from sw import artefact, datasets, golden, zoo
from sw.errors import PopstreamError
from sw.network import Layer
from sw.zoo.__main__ import layers, main, table

SHAPES = {
    "cifar10-cnv": "32x32x3-64C3-64C3-P2-128C3-128C3-P2-256C3-256C3-512-512-10",
    "digits-tiny": "64-64-64-10",
    "fashion-sfc": "784-256-256-256-10",
    "mnist-lfc": "784-1024-1024-1024-10",
    "mnist-sfc": "784-256-256-256-10",
    "mnist-tfc": "784-64-64-64-10",
}
GOALS = {"mnist-tfc": 0.932, "mnist-sfc": 0.978, "mnist-lfc": 0.984}


def test_the_zoo_is_complete():
    assert zoo.names() == tuple(SHAPES)


def test_unknown_model():
    with pytest.raises(PopstreamError, match=r"unknown model 'mnist-sfcc'; .*'mnist-sfc'"):
        zoo.path("mnist-sfcc")


@pytest.mark.parametrize("name", SHAPES)
def test_model(name):
    model = artefact.load(zoo.path(name))
    assert layers(model.network) == SHAPES[name]
    assert model.card.name == name
    assert "-m sw.train " in model.card.command
    assert model.card.float_accuracy == model.card.integer_accuracy
    assert model.card.integer_accuracy >= GOALS.get(name, 0)
    assert len(model.samples.inputs) == 50
    answers = golden.predict(model.network, model.samples.inputs)
    with safe_open(zoo.path(name), framework="numpy") as file:
        assert np.array_equal(file.get_tensor("samples.answers"), answers[:, None])
    hits = answers == model.samples.labels
    assert hits.mean() > model.card.integer_accuracy - 0.1


@pytest.mark.parametrize("name", SHAPES)
def test_card_and_samples_are_the_test_sets(name):
    model = artefact.load(zoo.path(name))
    folder = os.environ.get("POPSTREAM_DATA")
    if model.card.dataset != "digits" and not (
        folder and datasets.folder(model.card.dataset).is_dir()
    ):
        pytest.skip(f"no {model.card.dataset} under POPSTREAM_DATA")
    images, labels = datasets.load_test(model.card.dataset)
    assert model.card.test_images == len(images)
    assert (model.samples.inputs == images[:50]).all()
    assert (model.samples.labels == labels[:50]).all()
    if sum(layer.weights.size for layer in model.network.of(Layer)) < 400_000:  # in seconds
        accuracy = np.mean(golden.predict(model.network, images) == labels)
        assert accuracy == model.card.integer_accuracy


def test_readme_shows_the_cards(capsys):
    assert table() in zoo.path("digits-tiny").with_name("README.md").read_text()
    assert main([]) == 0
    assert capsys.readouterr().out.strip() == table().strip()
