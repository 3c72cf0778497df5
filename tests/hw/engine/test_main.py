import re

import pytest

from hw.engine import __main__ as command


def test_a_plan_is_printed(capsys):
    assert command.main(["bvgg16", "--width", "0.125", "--lanes", "8", "16", "--batch", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "8 x 16 lanes, batches of 2, 100 MHz, port 100%"
    names = [line.split()[0] for line in lines[2:-3]]
    assert names[:2] == ["conv1", "pool0"] and names[-1] == "scores" and len(names) == 18
    cycles = [int(line.split()[-2]) for line in lines[2:-3]]
    assert f"{sum(cycles)} cycles a batch, {2e8 / sum(cycles):.1f} images/s" in lines[-3]
    assert lines[-2].startswith("plan: ")


def test_a_slow_port(capsys):
    assert command.main(["bvgg16", "--batch", "1", "--efficiency", "0.5"]) == 0
    assert ", port 50%" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lanes", "8", "12"], r"pe must be simd \(8\) times a power of two, not 12"),
        (["--efficiency", "2", "--lanes", "8", "8"], "efficiency must be above 0 and at most 1"),
        (["--batch", "100"], "conv1: a batch of 100 images of 32x32x64"),
    ],
)
def test_what_cannot_be(options, message, capsys):
    assert command.main(["bvgg16", *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert re.search(message, error)
