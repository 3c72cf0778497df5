import re
import sys

import pytest

from sw import benchmark, golden


@pytest.fixture(autouse=True)
def no_data(monkeypatch, tmp_path):
    monkeypatch.setenv("POPSTREAM_DATA", str(tmp_path))


@pytest.mark.parametrize(("model", "shape"), [("digits-tiny", (8, 8)), ("cnv", (32, 32, 3))])
def test_golden(model, shape, capsys, monkeypatch):
    asked = []
    monkeypatch.setattr(golden, "predict", lambda *given, **options: asked.append((given, options)))
    command = ["golden", "--model", model, "--images", "7", "--threads", "1"]
    assert benchmark.main(command) == 0
    (((network, images), options),) = asked
    assert network.input.shape == shape and images.shape == (7, *shape)
    assert options == {"threads": 1}
    printed = (
        rf"{model}: 7 random images in \d+\.\d s \(\d+\.\d s of processors\), [\d,]+ a second\n"
    )
    assert re.fullmatch(printed, capsys.readouterr().out)


def test_unknown_model(capsys):
    assert benchmark.main(["golden", "--model", "nothing"]) == 1
    assert "error: there is no model file nothing" in capsys.readouterr().err


def test_layer_is_compared_and_weighed(capsys, monkeypatch):
    """Small sizes, so the ratio means nothing; that both compute the same is checked inside."""
    pytest.importorskip("torch")
    pytest.importorskip("numba")
    monkeypatch.setattr(benchmark, "SIDES", (3, 5))
    assert benchmark.main(["xnor", "--rounds", "1"]) == 0
    out = capsys.readouterr().out
    rows = re.findall(r"^ (\d)x\1 .* ([\d.]+) +([\d.]+) *$", out, re.MULTILINE)
    assert [row[0] for row in rows] == ["3", "5"] and all(float(row[1]) > 0 for row in rows)
    assert "weights: 2,359,296 bytes of float32, 73,728 packed, 1/32" in out


def test_what_differs_is_told(capsys, monkeypatch):
    pytest.importorskip("torch")
    pytest.importorskip("numba")
    monkeypatch.setattr(benchmark, "SIDES", (3,))
    compute = golden.PreparedLayer.__call__

    def wrong(self, x, compiled):
        value = compute(self, x, compiled)
        value.words[0, 0, 0, 0] ^= value.words.dtype.type(1)
        return value

    monkeypatch.setattr(golden.PreparedLayer, "__call__", wrong)
    assert benchmark.main(["xnor", "--rounds", "1"]) == 1
    assert "do not compute the same" in capsys.readouterr().err


@pytest.mark.parametrize(("missing", "extra"), [("torch", "train"), ("numba", "speed")])
def test_missing_package(missing, extra, capsys, monkeypatch):
    for name in ("torch", "numba"):
        pytest.importorskip(name)
    monkeypatch.setitem(sys.modules, missing, None)
    monkeypatch.delitem(sys.modules, "sw.kernel", raising=False)
    assert benchmark.main(["xnor"]) == 1
    assert f"{missing} not found: pip install 'popstream[{extra}]'" in capsys.readouterr().err
