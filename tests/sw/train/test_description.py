import pytest

from sw.errors import PopstreamError
from sw.train.description import Conv, Dense, Pool, parse, scale, shapes, text

ALEXNET = "96C11s4p2-P3s2-256C5p2-P3s2-4096"


def test_every_kind_of_layer():
    assert parse(ALEXNET) == (
        Conv(96, 11, stride=4, padding=2),
        Pool(3, stride=2),
        Conv(256, 5, padding=2),
        Pool(3, stride=2),
        Dense(4096),
    )
    assert parse("64C3-P2") == (Conv(64, 3, stride=1, padding=0), Pool(2, stride=2))


@pytest.mark.parametrize("layers", [ALEXNET, "1C1", "512", "64C3p1-P2-64C3-10-10"])
def test_text_is_what_was_parsed(layers):
    assert text(parse(layers)) == layers


def test_options_in_any_order():
    assert text(parse("8C3p1s2")) == "8C3s2p1"


WRONG = {
    "8C3-8X3-P2": (4, 3, "'8X3' is no layer; layers are 64C3"),
    "8C3--P2": (4, 1, "a layer is missing"),
    "": (0, 1, "a layer is missing"),
    "8C3-": (4, 1, "a layer is missing"),
    "8C3-c3": (4, 2, "'c3' is no layer"),
    "8C3-8C0": (4, 3, "the kernel must be in 1..32, not 0"),
    "0C3": (0, 3, "filters must be in 1..65536, not 0"),
    "8C3-8C3s0": (4, 5, "the stride must be in 1..32, not 0"),
    "8C3p3": (0, 5, "padding 3 must be less than the kernel"),
    "8C3p1p1": (0, 7, "p is given twice"),
    "8C3-P0": (4, 2, "the pool must be in 1..32, not 0"),
    "8C3-P2p1": (4, 4, "'P2p1' is no layer"),
    "P2-8C3": (0, 2, "a pool must follow a convolution"),
    "8C3-P2-P2": (7, 2, "a pool must follow a convolution"),
    "64-8C3": (3, 3, "a convolution cannot follow neurons"),
    "8C3-99999999999999999999": (4, 20, "neurons must be in 1..65536, not 9999"),
}


@pytest.mark.parametrize("layers", WRONG)
def test_what_is_wrong_is_pointed_at(layers):
    start, length, message = WRONG[layers]
    with pytest.raises(PopstreamError) as caught:
        parse(layers)
    first, second, third = str(caught.value).split("\n")
    assert first.startswith(f"--layers: {message}")
    assert second == f"  {layers}"
    assert third == "  " + " " * start + "^" * length


def test_scale():
    assert text(scale(parse("64C3-P2-100"), 0.25)) == "16C3-P2-25"
    assert text(scale(parse("3C3p1-P2-100"), 0.01)) == "1C3p1-P2-1"


def test_shapes():
    assert shapes(parse(ALEXNET), (227, 227, 3)) == [
        (56, 56, 96),
        (27, 27, 96),
        (27, 27, 256),
        (13, 13, 256),
        (4096,),
    ]
    assert shapes(parse("4C3-P2"), (8, 5, 1)) == [(6, 3, 4), (3, 1, 4)]


def test_a_window_that_does_not_fit():
    with pytest.raises(PopstreamError, match=r"layer 3, 4C3: a window of 3x3 .* image of 2x1$"):
        shapes(parse("4C3-P2-4C3"), (7, 5, 1))
    with pytest.raises(PopstreamError, match=r"7C5p1: .* 5x5 .* of 2x2 padded to 4x4"):
        shapes(parse("7C5p1"), (2, 2, 1))
    with pytest.raises(PopstreamError, match=r"layer 2, P2: .* image of 1x1"):
        shapes(parse("4C3-P2"), (3, 3, 1))
