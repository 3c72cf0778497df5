import contextlib
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from sw import artefact, golden, zoo
from sw.artefact import ArtefactError, Card, Samples
from sw.network import Argmax, Binarise, Conv, Dense, Input, Network, Pool, stored_fields

CARD = Card("test", "digits", "python -m sw.train tiny", 0.91, 0.91, 355, "é")


def make():
    rng = np.random.default_rng(0)
    network = Network(
        (
            Input("pixels", shape=(3, 3), bits=5),
            Binarise("bits", ("pixels",), rng.integers(0, 33, (3, 3))),
            Dense("hidden", ("bits",), rng.integers(0, 2, (5, 9)), rng.integers(0, 11, 5)),
            Dense("scores", ("hidden",), rng.integers(0, 2, (2, 5))),
            Argmax("label", ("scores",)),
        ),
        ("no", "yes"),
    )
    samples = Samples(
        rng.integers(0, 32, (4, 3, 3), dtype=np.uint8), np.array([0, 1, 1, 0], dtype=np.uint8)
    )
    return network, samples


@pytest.fixture
def file(tmp_path):
    network, samples = make()
    artefact.save(tmp_path / "m.safetensors", network, CARD, samples)
    return tmp_path / "m.safetensors"


def rewrite(file, change_header=None, change_tensors=None):
    data = file.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["popstream"])
    tensors = from_bytes(data)
    if change_header:
        header = change_header(header) or header
    if change_tensors:
        change_tensors(tensors)
    file.write_bytes(to_bytes(tensors, metadata={"popstream": json.dumps(header)}))


def setting(*path, value):
    def change(header):
        place = header
        for key in path[:-1]:
            place = place[key]
        if value is None:
            del place[path[-1]]
        else:
            place[path[-1]] = value

    return change


def test_round_trip(file):
    network, samples = make()
    model = artefact.load(file)
    assert model.card == CARD
    assert model.network.classes == network.classes
    for a, b in zip(model.network.nodes, network.nodes, strict=True):
        assert type(a) is type(b) and (a.name, a.inputs) == (b.name, b.inputs)
    assert model.network.input.bits == 5 and model.network.input.shape == (3, 3)
    for node in ("hidden", "scores"):
        a, b = (next(n for n in net.nodes if n.name == node) for net in (model.network, network))
        assert np.array_equal(a.weights, b.weights)
        assert np.array_equal(a.thresholds, b.thresholds) or a.thresholds is b.thresholds
    assert np.array_equal(model.network.nodes[1].thresholds, network.nodes[1].thresholds)
    assert np.array_equal(model.samples.inputs, samples.inputs)
    assert np.array_equal(model.samples.labels, samples.labels)


@pytest.mark.parametrize("output", ["label", "scores", "hidden"])
def test_answers_are_the_golden_models(tmp_path, output):
    """Of a network that ends in an index, in scores and in signs; given ones are not believed."""
    network, samples = make()
    names = [node.name for node in network.nodes]
    network = Network(network.nodes[: names.index(output) + 1], ())
    samples = Samples(samples.inputs, samples.labels, np.full((4, 1), 1, np.int32))
    artefact.save(tmp_path / "m", network, CARD, samples)
    answers = artefact.load(tmp_path / "m").samples.answers
    assert answers.dtype == np.int32
    assert answers.shape == (4, {"label": 1, "scores": 2, "hidden": 5}[output])
    assert np.array_equal(answers, golden.trace(network, samples.inputs)[output])


def test_older_file_without_answers(file):
    before = artefact.load(file)
    rewrite(file, change_tensors=put("samples.answers", None))
    after = artefact.load(file)
    assert np.array_equal(after.samples.answers, before.samples.answers)
    assert after.samples.answers.dtype == np.int32
    assert after.digest == before.digest


def test_equal_inputs_give_equal_bytes(file, tmp_path):
    network, samples = make()
    digest = artefact.save(tmp_path / "again.safetensors", network, CARD, samples)
    assert file.read_bytes() == (tmp_path / "again.safetensors").read_bytes()
    assert digest == artefact.load(file).digest == artefact.network_digest(network)


def make_images(signed=False):
    """Every operation, every shape of thresholds and of padding."""
    rng = np.random.default_rng(0)
    bits = rng.integers
    network = Network(
        (
            Input("pixels", shape=(8, 7, 3), bits=4, signed=signed),
            Conv(
                "first",
                ("pixels",),
                bits(0, 2, (9, 3, 2, 3)),
                np.sort(bits(100, 170, (9, 3)), axis=1),
            ),
            Pool("pool", ("first",), (2, 3), (1, 2)),
            Conv(
                "second",
                ("pool",),
                bits(0, 2, (5, 3, 3, 9)),
                bits(90, 160, (4, 1, 5)),
                stride=(1, 2),
                padding=(1, 2, 1, 0),
                fill=bits(0, 4, 9),
            ),
            Dense("scores", ("second",), bits(0, 2, (2, 30))),
            Argmax("label", ("scores",)),
        ),
        ("no", "yes"),
    )
    low, high = (-8, 8) if signed else (0, 16)
    inputs = rng.integers(low, high, (6, 8, 7, 3), np.int8 if signed else np.uint8)
    return network, Samples(inputs, np.zeros(6, np.uint8))


@pytest.mark.parametrize("signed", [False, True])
def test_images_round_trip(tmp_path, signed):
    network, samples = make_images(signed)
    digest = artefact.save(tmp_path / "m", network, CARD, samples)
    model = artefact.load(tmp_path / "m")
    assert model.digest == digest
    for found, expected in zip(model.network.nodes, network.nodes, strict=True):
        assert type(found) is type(expected)
        assert (found.name, found.inputs) == (expected.name, expected.inputs)
        for item in stored_fields(type(found)):
            a, b = getattr(found, item.name), getattr(expected, item.name)
            assert type(a) is type(b)
            assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b
    assert model.samples.inputs.dtype == (np.int8 if signed else np.uint8)
    assert np.array_equal(model.samples.inputs, samples.inputs)
    assert np.array_equal(model.samples.answers[:, 0], golden.predict(network, samples.inputs))
    assert len(set(model.samples.answers[:, 0])) == 2


def test_numbers_may_lie_as_they_like(tmp_path):
    """Axes in another order in memory are the same network, in the same bytes."""
    network, samples = make_images()
    nodes = [
        replace(
            node,
            **{
                name: np.asfortranarray(value)
                for name in ("weights", "thresholds")
                if (value := getattr(node, name, None)) is not None
            },
        )
        for node in network.nodes
    ]
    digest = artefact.save(tmp_path / "a", network, CARD, samples)
    turned = Samples(np.asfortranarray(samples.inputs), samples.labels)
    artefact.save(tmp_path / "b", Network(nodes, network.classes), CARD, turned)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert artefact.load(tmp_path / "b").digest == digest


def test_digest_covers_every_field():
    network, _ = make_images()
    changes = [
        ("pixels", {"signed": True}),
        ("pool", {"size": (2, 2)}),
        ("second", {"fill": 3}),
        ("second", {"padding": (2, 1, 1, 0)}),
        ("second", {"thresholds": network.nodes[3].thresholds[0, 0]}),
    ]
    digests = {artefact.network_digest(network)}
    for name, change in changes:
        nodes = [replace(node, **change) if node.name == name else node for node in network.nodes]
        digests.add(artefact.network_digest(Network(nodes, network.classes)))
    assert len(digests) == 1 + len(changes)


def test_older_files_keep_their_bytes_and_digest():
    """A file written before inputs had signs; the fabric that was built from it has its digest."""
    model = artefact.load(zoo.path("digits-tiny"))
    assert model.digest == "7bd91c31f7248557018ea980a3fd5365cffaec0cd1da4a2f4387524f687b9088"
    with safe_open(zoo.path("digits-tiny"), framework="numpy") as file:
        header = json.loads(file.metadata()["popstream"])
    assert artefact._encode(model.network)[0] == header["nodes"]
    assert "signed" not in header["nodes"][0] and not model.network.input.signed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("nodes", 0, "signed", value="yes"), "pixels: signed must be true or false, not"),
        (setting("nodes", 1, "op", value="dense"), "first: unknown field 'fill'"),
        (setting("nodes", 2, "size", value=[2]), "pool: size must be 2 integers"),
        (setting("nodes", 2, "size", value=[9, 1]), "pool: a window of 9x1 leaves nothing"),
        (setting("nodes", 2, "stride", value={"a": 1}), "pool: stride must be 2 integers"),
        (setting("nodes", 3, "stride", value="22"), "second: stride must be 2 integers"),
        (setting("nodes", 3, "stride", value=None), "second: stride is missing"),
        (setting("nodes", 3, "padding", value=[3, 0, 0, 0]), "second: a padding of"),
        (setting("nodes", 3, "padding", value=[0, 2, 1, 0]), "second: its windows overhang"),
        (setting("nodes", 3, "fill", value=1), "second: fill must be {'integers': shape}"),
        (setting("nodes", 0, "shape", value=[8, 7, 2]), "first: has weights of 3 channels, its"),
        (setting("nodes", 0, "shape", value=[2, 7, 3]), "first: a window of 3x2 does not fit"),
        (setting("classes", value=["a", "b", "c"]), "label: yields 2 classes, but 3 are named"),
    ],
)
def test_bad_images(tmp_path, change, message):
    network, samples = make_images()
    path = tmp_path / "m.safetensors"
    artefact.save(path, network, CARD, samples)
    rewrite(path, change_header=change)
    with pytest.raises(ArtefactError, match=rf"m\.safetensors: {message}"):
        artefact.load(path)


@pytest.mark.parametrize("signed", [False, True])
def test_samples_of_either_sign(tmp_path, signed):
    network, samples = make_images(signed)
    high = 7 if signed else 15
    for inputs, message in (
        (np.full((1, 8, 7, 3), high + 1, samples.inputs.dtype), rf"\.\.{high}, not {high + 1}"),
        (
            samples.inputs.view(np.uint8 if signed else np.int8),
            r"u?int8 \(k, 8, 7, 3\), not u?int8",
        ),
    ):
        wrong = Samples(inputs, np.zeros(len(inputs), np.uint8))
        with pytest.raises(ArtefactError, match=message):
            artefact.save(tmp_path / "m", network, CARD, wrong)


def test_digest_is_the_networks(tmp_path):
    network, samples = make()
    digest = artefact.network_digest(network)
    assert artefact.save(tmp_path / "a", network, replace(CARD, name="b"), samples) == digest
    hidden = network.nodes[2]
    other = Dense("hidden", ("bits",), 1 - hidden.weights, hidden.thresholds)
    changed = Network((*network.nodes[:2], other, *network.nodes[3:]), network.classes)
    assert artefact.network_digest(changed) != digest


def test_layout(file):
    """The bytes, from the format's description."""
    network, _ = make()
    tensors = from_bytes(file.read_bytes())
    weights = network.nodes[2].weights
    stored = tensors["hidden.weights"]
    assert stored.dtype == np.uint8 and stored.shape == (5, 2)
    assert stored[3, 0] == sum(int(bit) << k for k, bit in enumerate(weights[3, :8]))
    assert stored[3, 1] == weights[3, 8]
    assert tensors["hidden.thresholds"].dtype == np.int32
    assert tensors["hidden.thresholds"].tolist() == network.nodes[2].thresholds.tolist()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("format", value=2), "format 2, this version of Popstream reads format 1"),
        (lambda h: ["no object"], "format None"),
        (setting("nodes", value="none"), "'nodes' must be a list"),
        (setting("nodes", 0, value=7), "every node must be an object with a name"),
        (setting("nodes", 2, "op", value="conv3d"), "hidden: unknown operation 'conv3d'; .* dense"),
        (setting("nodes", 2, "inputs", value="bits"), "hidden: inputs must be a list of names"),
        (setting("nodes", 2, "inputs", value=["label"]), "hidden: takes 'label', which no node"),
        (setting("nodes", 2, "extra", value=1), "hidden: unknown field 'extra'"),
        (setting("nodes", 2, "weights", value=None), "hidden: weights is missing"),
        (setting("nodes", 2, "weights", value={"bits": [5, 1 << 40]}), "hidden: weights has the"),
        (setting("nodes", 2, "weights", value={"integers": [5]}), "hidden: weights must be"),
        (setting("nodes", 2, "weights", value={"bits": [5, 17]}), r"must be uint8 \(5, 3\), not"),
        (setting("nodes", 0, "bits", value="8"), r"pixels: bits must be in 1\.\.8, not 8"),
        (setting("nodes", 0, "shape", value=[3, -3]), r"positive integers, not \(3, -3\)"),
        (setting("classes", value=["one"]), "yields 2 classes, but 1 are named"),
        (setting("card", "dataset", value=None), "card: missing 1 required .*'dataset'"),
        (setting("card", "float_accuracy", value=91), r"float_accuracy must be in 0\.\.1, not 91"),
        (setting("card", "test_images", value="many"), "test_images must be int, not 'many'"),
    ],
)
def test_bad_headers(file, change, message):
    rewrite(file, change_header=change)
    with pytest.raises(ArtefactError, match=rf"m\.safetensors: .*{message}"):
        artefact.load(file)


def put(name, value):
    def change(tensors):
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put("hidden.weights", None), "tensor hidden.weights is missing"),
        (put("hidden.weights", np.full((5, 2), 255, np.uint8)), "padding bits behind 9 must be 0"),
        (put("hidden.weights", np.zeros((5, 2), np.int32)), r"must be uint8 \(5, 2\), not int32"),
        (put("hidden.thresholds", np.array([0, 0, 11, 0, 0], np.int32)), r"not 11 \(neuron 2\)"),
        (put("more", np.zeros(1, np.uint8)), "tensor more belongs to no node"),
        (put("samples.inputs", None), "tensor samples.inputs is missing"),
        (put("samples.inputs", np.full((4, 3, 3), 32, np.uint8)), r"in 0\.\.31, not 32"),
        (put("samples.inputs", np.zeros((4, 9), np.uint8)), r"uint8 \(k, 3, 3\)"),
        (put("samples.labels", np.full(4, 2, np.uint8)), r"in 0\.\.1, not 2"),
        (put("samples.labels", np.zeros(3, np.uint8)), r"uint8 \(4,\), not uint8 \(3,\)"),
        (put("samples.answers", np.zeros((4, 1), np.uint8)), r"int32 \(4, 1\), not uint8"),
        (put("samples.answers", np.zeros(4, np.int32)), r"int32 \(4, 1\), not int32 \(4,\)"),
        (put("samples.answers", np.full((4, 1), 2, np.int32)), r"answers must be in 0\.\.1, not 2"),
        (put("samples.answers", np.full((4, 1), -1, np.int32)), r"in 0\.\.1, not -1"),
    ],
)
def test_bad_tensors(file, change, message):
    rewrite(file, change_tensors=change)
    with pytest.raises(ArtefactError, match=message):
        artefact.load(file)


def test_unreadable_files(file, tmp_path):
    data = file.read_bytes()
    for cut in (0, 7, 100, len(data) - 1):
        file.write_bytes(data[:cut])
        with pytest.raises(ArtefactError, match="not a readable safetensors file"):
            artefact.load(file)
    file.write_bytes(to_bytes({"x": np.zeros(1)}))
    with pytest.raises(ArtefactError, match="no 'popstream' entry"):
        artefact.load(file)
    file.write_bytes(to_bytes({"x": np.zeros(1)}, metadata={"popstream": "{"}))
    with pytest.raises(ArtefactError, match="the header is not JSON"):
        artefact.load(file)
    with pytest.raises(ArtefactError, match=r"there is no model file .*nowhere"):
        artefact.load(tmp_path / "nowhere")
    with pytest.raises(ArtefactError, match="is a folder, not a model file"):
        artefact.load(tmp_path)


@pytest.mark.parametrize("making", [make, make_images])
def test_every_flipped_byte_is_told_or_harmless(tmp_path, making):
    """Whatever a damaged file says, it is refused by name or read as some other valid network."""
    network, samples = making()
    path = tmp_path / "m"
    artefact.save(path, network, CARD, samples)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(0)
    for at in rng.choice(len(data), 300, replace=False):
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        with contextlib.suppress(ArtefactError):
            artefact.load(path)


def numbers(value, path=()):
    """The path of every value below."""
    for key, below in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(below, dict | list):
            yield from numbers(below, (*path, key))
        yield (*path, key)


def test_every_odd_value_is_told_or_harmless(tmp_path):
    """Each value of the graph replaced by others: nothing but a refusal, or another network."""
    network, samples = make_images()
    path = tmp_path / "m"
    artefact.save(path, network, CARD, samples)
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["popstream"])
    refused = 0
    odd = (0, 1 << 40, True, "x", [], [1, 2], {}, {"integers": []})
    places = [("nodes", *place) for place in numbers(header["nodes"])]
    for place in places:
        for value in odd:
            rewrite(path, change_header=setting(*place, value=value))
            try:
                artefact.load(path)
            except ArtefactError:
                refused += 1
            path.write_bytes(data)
    assert refused > 0.9 * len(places) * len(odd)


def test_nothing_half_written(file, tmp_path, monkeypatch):
    before = file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    network, samples = make()
    with pytest.raises(ArtefactError, match=r"cannot write .*No space left"):
        artefact.save(file, network, CARD, samples)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["m.safetensors"]


def test_samples_must_fit(tmp_path):
    network, samples = make()
    with pytest.raises(ArtefactError, match=r"samples\.inputs must be uint8"):
        bad = Samples(samples.inputs.astype(np.int64), samples.labels)
        artefact.save(tmp_path / "m", network, CARD, bad)
    assert not (tmp_path / "m").exists()
