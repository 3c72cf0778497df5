"""sw.host.model: reads what sw.artefact reads, refuses what it refuses."""

import json
import struct

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from sw import artefact, zoo
from sw.errors import PopstreamError
from sw.fold import TrainedDense, fold_classifier
from sw.host import model as host_model
from sw.network import Argmax, Binarise, Conv, Dense, Input, Network, Pool

CARD = artefact.Card("small", "none", "none", 1.0, 1.0, 4, "é")


def small_network():
    rng = np.random.default_rng(0)
    return Network(
        (
            Input("pixels", shape=(3, 3), bits=5),
            Binarise("bits", ("pixels",), rng.integers(0, 33, (3, 3))),
            Dense("hidden", ("bits",), rng.integers(0, 2, (5, 9)), rng.integers(0, 11, 5)),
            Dense("scores", ("hidden",), rng.integers(0, 2, (2, 5))),
            Argmax("label", ("scores",)),
        ),
        ("no", "yés"),
    )


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(1)
    samples = artefact.Samples(
        rng.integers(0, 32, (4, 3, 3), dtype=np.uint8), np.array([0, 1, 1, 0], np.uint8)
    )
    path = tmp_path / "m.safetensors"
    artefact.save(path, small_network(), CARD, samples)
    return path


def assert_same(path, expected=None, found=None):
    expected, found = expected or artefact.load(path), found or host_model.load(path)
    network = expected.network
    assert found.digest == expected.digest
    assert found.classes == network.classes
    given = network.input
    assert (found.shape, found.bits, found.signed) == (given.shape, given.bits, given.signed)
    assert (found.low, found.high) == (network.type(given).low, network.type(given).high)
    assert found.elements == int(np.prod(found.shape))
    assert found.name == expected.card.name
    assert found.card["dataset"] == expected.card.dataset
    binarise = network.nodes[1]
    if isinstance(binarise, Binarise):
        assert found.thresholds.shape == binarise.thresholds.shape
        assert np.array_equal(found.thresholds, binarise.thresholds)
    else:
        assert found.thresholds is None
    for name in ("inputs", "labels", "answers"):
        a, b = getattr(found.samples, name), getattr(expected.samples, name)
        assert a.dtype == b.dtype and np.array_equal(a, b)


@pytest.mark.parametrize("name", zoo.names())
def test_reads_what_the_artefact_reads(name):
    assert_same(zoo.path(name))


def test_thresholds_of_each_element(file):
    assert_same(file)
    assert host_model.load(file).thresholds.shape == (3, 3)


def test_network_that_takes_bits(tmp_path):
    network = small_network()
    nodes = (Input("pixels", shape=(9,), bits=1), Binarise("bits", ("pixels",), 1))
    path = tmp_path / "m"
    samples = artefact.Samples(np.ones((2, 9), np.uint8), np.zeros(2, np.uint8))
    artefact.save(path, Network((*nodes, *network.nodes[2:]), network.classes), CARD, samples)
    assert_same(path)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("binarise", [False, True])
def test_convolutional_network(tmp_path, signed, binarise):
    rng = np.random.default_rng(3)
    pixels = Input("pixels", shape=(5, 4, 3), bits=6, signed=signed)
    low, high = pixels.infer().low, pixels.infer().high
    at = "bits" if binarise else "pixels"
    nodes = (
        pixels,
        *([Binarise("bits", ("pixels",), low + 1)] if binarise else []),
        Conv(
            "a",
            (at,),
            rng.integers(0, 2, (5, 3, 2, 3)),
            rng.integers(0, 9, (3, 1, 5)),
            padding=(1, 1, 0, 0),
            fill=[0, 0, 1],
        ),
        Pool("pool", ("a",)),
        Conv("b", ("pool",), rng.integers(0, 2, (2, 1, 1, 5)), [[1, 2, 3], [0, 1, 1]]),
        Dense("scores", ("b",), rng.integers(0, 2, (2, 4))),
        Argmax("label", ("scores",)),
    )
    path = tmp_path / "m"
    inputs = rng.integers(low, high + 1, (3, 5, 4, 3), np.int8 if signed else np.uint8)
    samples = artefact.Samples(inputs, np.zeros(3, np.uint8))
    artefact.save(path, Network(nodes, ("no", "yes")), CARD, samples)
    assert_same(path)
    other = np.zeros((3, 5, 4, 3), np.uint8 if signed else np.int8)
    rewrite(path, change_tensors=lambda tensors: tensors.update({"samples.inputs": other}))
    with pytest.raises(PopstreamError, match=r"inputs must be u?int8 \(3, 5, 4, 3\), not u?int8"):
        host_model.load(path)


def test_scores_as_answers(tmp_path):
    """A network without an argmax, and no samples at all."""
    nodes = small_network().nodes
    path = tmp_path / "m"
    samples = artefact.Samples(np.zeros((0, 3, 3), np.uint8), np.zeros(0, np.uint8))
    artefact.save(path, Network(nodes[:-1]), CARD, samples)
    assert_same(path)
    assert host_model.load(path).samples.answers.shape == (0, 2)


def test_many_classes(tmp_path):
    """Labels over 255."""
    weights = np.random.default_rng(0).integers(0, 2, (1000, 9))
    nodes = (*small_network().nodes[:2], Dense("scores", ("bits",), weights))
    network = Network((*nodes, Argmax("label", ("scores",))), map(str, range(1000)))
    labels = np.array([0, 999, 256], np.int32)
    samples = artefact.Samples(np.zeros((3, 3, 3), np.uint8), labels)
    path = tmp_path / "m"
    artefact.save(path, network, CARD, samples)
    assert_same(path)
    for wrong, message in (
        (np.array([0, 1000, 1], np.int32), r"samples\.labels must be in 0\.\.999, not 1000"),
        (np.array([0, -1, 1], np.int32), r"samples\.labels must be in 0\.\.999, not -1"),
        (np.zeros(3, np.uint8), r"samples\.labels must be int32 \(3,\), not uint8"),
    ):
        with pytest.raises(artefact.ArtefactError, match=message):
            artefact.save(path, network, CARD, artefact.Samples(samples.inputs, wrong))
        rewrite(
            path, change_tensors=lambda each, wrong=wrong: each.update({"samples.labels": wrong})
        )
        with pytest.raises(PopstreamError, match=message):
            host_model.load(path)


def test_index_without_names(tmp_path, file):
    path = tmp_path / "m"
    artefact.save(path, Network(small_network().nodes), CARD, artefact.load(file).samples)
    assert_same(path)


def test_older_file_has_no_answers(file):
    rewrite(file, change_tensors=lambda tensors: tensors.pop("samples.answers"))
    assert host_model.load(file).samples.answers is None


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
        place[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("format", value=2), "format 2, this version of Popstream reads format 1"),
        (setting("format", value=True), "format True, this version"),
        (lambda header: ["no object"], "format None"),
        (setting("nodes", value="none"), "'nodes' must be a list"),
        (setting("nodes", value=[]), "first node must be its input"),
        (setting("nodes", 2, value=7), "every node must be an object with a name"),
        (setting("nodes", 0, "op", value="dense"), "first node must be an input with a shape"),
        (setting("nodes", 0, "shape", value=[3, -3]), "must be an input with a shape"),
        (setting("nodes", 0, "shape", value=[]), "must be an input with a shape"),
        (setting("nodes", 0, "shape", value=[9]), r"bits\.thresholds must be int32 \(9,\)"),
        (setting("nodes", 0, "bits", value=9), r"pixels: bits must be in 1\.\.8, not 9"),
        (setting("nodes", 0, "bits", value=True), r"pixels: bits must be in 1\.\.8, not True"),
        (setting("nodes", 0, "signed", value=1), "pixels: signed must be true or false, not 1"),
        (setting("nodes", 0, "signed", value=True), r"thresholds must be in -16\.\.16, not"),
        (setting("nodes", 0, "bits", value=1), r"thresholds must be in 0\.\.2, not"),
        (setting("nodes", 1, "thresholds", value=3), "thresholds belongs to no node"),
        (setting("nodes", 1, "thresholds", value={"integers": [9]}), r"must be int32 \(9,\), not"),
        (setting("nodes", 2, "weights", value={"bits": []}), "hidden: weights must be"),
        (setting("nodes", 2, "weights", value={"bits": [5, 1 << 40]}), r"must be uint8 \(5, 13743"),
        (setting("nodes", 2, "weights", value={"floats": [5, 9]}), "hidden: weights must be"),
        (setting("nodes", 2, "weights", value={}), "hidden: weights must be"),
        (setting("nodes", 2, "weights", "more", value=1), "hidden: weights must be"),
        (setting("nodes", 2, "extra", value={"bits": [3]}), "tensor hidden.extra is missing"),
        (setting("classes", value=["one", 2]), "class names must be strings"),
        (setting("classes", value=["one"]), r"samples\.labels must be in 0\.\.0, not 1"),
        (setting("card", "name", value=1), "card: name must be str, not 1"),
    ],
)
def test_bad_headers(file, change, message):
    rewrite(file, change_header=change)
    with pytest.raises(PopstreamError, match=rf"m\.safetensors: .*{message}"):
        host_model.load(file)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("hidden.weights", None, "tensor hidden.weights is missing"),
        ("hidden.weights", np.zeros((5, 2), np.int32), r"must be uint8 \(5, 2\), not int32"),
        ("more", np.zeros(1, np.uint8), "tensor more belongs to no node"),
        ("bits.thresholds", np.full((3, 3), 33, np.int32), r"must be in 0\.\.32, not 33"),
        ("bits.thresholds", np.full((3, 3), -1, np.int32), r"must be in 0\.\.32, not -1"),
        ("bits.thresholds", np.zeros((3, 3), np.int64), "is of type 'I64', not U8, I8 or I32"),
        ("samples.inputs", None, "tensor samples.inputs is missing"),
        ("samples.inputs", np.full((4, 3, 3), 32, np.uint8), r"in 0\.\.31, not 32"),
        ("samples.inputs", np.array(3, np.uint8), r"must be uint8 \(3, 3\), not uint8 \(\)"),
        ("samples.labels", np.full(4, 2, np.uint8), r"in 0\.\.1, not 2"),
        ("samples.labels", np.zeros(3, np.uint8), r"must be uint8 \(4,\), not uint8 \(3,\)"),
        ("samples.answers", np.zeros((3, 1), np.int32), r"must be int32 \(4, 1\)"),
        ("samples.answers", np.zeros(4, np.int32), r"must be int32 \(4, 1\), not int32 \(4,\)"),
        ("samples.answers", np.full((4, 1), 2, np.int32), r"answers must be in 0\.\.1, not 2"),
    ],
)
def test_bad_tensors(file, name, value, message):
    def change(tensors):
        if value is None:
            del tensors[name]
        else:
            tensors[name] = value

    rewrite(file, change_tensors=change)
    with pytest.raises(PopstreamError, match=message):
        host_model.load(file)


def container(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def tensor(shape, begin, end, dtype="U8"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cut off after 0 bytes"),
        (b"\x01\0\0\0\0\0\0", "cut off after 7 bytes"),
        (struct.pack("<Q", 1 << 63) + b"{}", "cut off after 10 bytes"),
        (container(b"\xff\xff"), "invalid start byte"),
        (container(b"[" * 100_000), "is not JSON"),
        (container(b'{"a": NaN}'), "NaN is no number"),
        (container(b" {}"), "its header is no object"),
        (container(b"[]"), "its header is no object"),
        (container(b'{"__metadata__": {"a": "\\ud800"}}'), "surrogates not allowed"),
        (container({"__metadata__": {"a": 1}}), "metadata are not strings"),
        (container({"__metadata__": []}), "metadata are not strings"),
        (container({"a": 1}), "tensor a has no shape"),
        (container({"a": tensor([-1], 0, 1)}), "tensor a has no shape"),
        (container({"a": tensor([1.0], 0, 1)}, b"x"), "tensor a has no shape"),
        (container({"a": {"dtype": "U8", "shape": [1]}}, b"x"), "tensor a has no place"),
        (container({"a": tensor([1], 0, True)}, b"x"), "tensor a has no place"),
        (container({"a": tensor([1], 0, 1, "U9")}, b"x"), "is of type 'U9'"),
        (container({"a": tensor([1], 0, 1, ["U8"])}, b"x"), r"is of type \['U8'\]"),
        (container({"a": tensor([2], 0, 2)}, b"x"), r"of 2 bytes lies at 0\.\.2 of 1 bytes"),
        (container({"a": tensor([1], 1, 2)}, b"xy"), r"lies at 1\.\.2 .* end at 0"),
        (container({"a": tensor([1], 0, 1)}, b"xy"), "the tensors end at 1 of 2 bytes"),
        (container({"a": tensor([1 << 40, 1 << 40], 0, 1)}, b"x"), "tensor a of 12089258"),
        (container({"a": tensor([0, 1 << 70], 0, 0)}), "no array has the shape"),
        (
            container({"a": tensor([2], 0, 2), "b": tensor([2], 1, 3)}, b"xyz"),
            r"tensor b of 2 bytes lies at 1\.\.3 of 3 bytes, behind others that end at 2",
        ),
        (container({}), "no 'popstream' entry"),
        (container({"__metadata__": {"popstream": "{"}}), "the header is not JSON"),
    ],
)
def test_bad_containers(tmp_path, data, message):
    """Refused here, and by the safetensors package too."""
    path = tmp_path / "m"
    path.write_bytes(data)
    with pytest.raises(PopstreamError, match=message):
        host_model.load(path)
    with pytest.raises(artefact.ArtefactError):
        artefact.load(path)


def test_unreadable_files(tmp_path):
    with pytest.raises(PopstreamError, match=r"there is no model file .*nowhere"):
        host_model.load(tmp_path / "nowhere")
    with pytest.raises(PopstreamError, match="is a folder, not a model file"):
        host_model.load(tmp_path)
    huge = tmp_path / "huge"
    with huge.open("wb") as file:
        file.truncate((1 << 30) + 1)
    with pytest.raises(PopstreamError, match="over 1073741824 bytes"):
        host_model.load(huge)


def check_damaged(path):
    """Both read the same, or we refuse; what is no container for one is none for the other."""
    try:
        found = host_model.load(path)
    except PopstreamError:
        return "refused"
    try:
        expected = artefact.load(path)
    except artefact.ArtefactError as error:
        # A network that makes no sense has a digest of its own: no fabric computes it.
        assert not isinstance(error.__cause__, SafetensorError), error
        assert "card: " in str(error) or found.digest != DIGEST
        return "another"
    assert_same(path, expected, found)
    return "read"


DIGEST = artefact.network_digest(small_network())


def test_every_truncation_is_refused(file):
    with file.open("r+b") as opened:
        for length in reversed(range(file.stat().st_size)):
            opened.truncate(length)
            assert check_damaged(file) == "refused", length


def test_flipped_bits_are_refused_or_read_alike(file):
    data = file.read_bytes()
    rng = np.random.default_rng(0)
    outcomes = set()
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(rng.integers(8))
        file.write_bytes(damaged)
        outcomes.add(check_damaged(file))
    assert outcomes == {"refused", "another", "read"}


def test_replaced_bytes_are_refused_or_read_alike(file):
    """Bytes that JSON cares about, anywhere in the header."""
    data = file.read_bytes()
    end = 8 + struct.unpack("<Q", data[:8])[0]
    rng = np.random.default_rng(1)
    for _ in range(2000):
        damaged = bytearray(data)
        for at in rng.integers(8, end, rng.integers(1, 4)):
            damaged[at] = rng.choice(list(b'{}[]",:0123456789-.eE\\u \0\x80truefalsn'))
        file.write_bytes(damaged)
        check_damaged(file)


def test_digest_is_of_the_network_alone(tmp_path, file):
    """A network of another weight has another digest, a file of another card the same."""
    network = small_network()
    samples = artefact.load(file).samples
    card = artefact.Card("other", "none", "none", 0.5, 0.5, 4)
    artefact.save(tmp_path / "card", network, card, samples)
    assert host_model.load(tmp_path / "card").digest == host_model.load(file).digest

    signs = np.random.default_rng(2).random((2, 9)) > 0.5
    other = fold_classifier(
        input_shape=(3, 3),
        input_bits=5,
        binarise=3,
        layers=[TrainedDense(signs, None)],
        classes=network.classes,
    )
    artefact.save(tmp_path / "other", other, CARD, samples)
    assert_same(tmp_path / "other")
    assert host_model.load(tmp_path / "other").digest != host_model.load(file).digest
