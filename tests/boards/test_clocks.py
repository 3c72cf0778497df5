"""boards.clocks: every frequency claimed is made exactly and within the data sheet's limits."""

import pytest

from boards.clocks import Clock, Divider, PllEcp5, PllIce40, Processor


def test_divider_offers_powers_of_two():
    oscillator = Divider(125_000_000)
    assert sorted(oscillator.clocks) == [15_625_000, 31_250_000, 62_500_000, 125_000_000]
    assert oscillator.find(31_250_000) == Clock(31_250_000, "divide", {"by": 4})
    assert oscillator.find(125_000_000) == Clock(125_000_000)


def test_divider_offers_whole_hertz_only():
    assert sorted(Divider(10, stages=3).clocks) == [5, 10]


def test_processor_divides_twice():
    clocks = Processor(1_000_000_000).clocks
    assert clocks[100_000_000] == Clock(100_000_000, "FCLK")
    assert max(clocks) == 250_000_000
    for hz in clocks:
        by = 1_000_000_000 // hz
        assert by * hz == 1_000_000_000
        assert any(by % first == 0 and by // first < 64 for first in range(1, 64))


def test_nearest_brackets_the_wish():
    oscillator = Divider(125_000_000)
    assert oscillator.find(100_000_000) is None
    assert oscillator.nearest(100_000_000) == (62_500_000, 125_000_000)
    assert oscillator.nearest(1) == (15_625_000,)
    assert oscillator.nearest(10**9) == (125_000_000,)


@pytest.mark.parametrize("hz", [25_000_000, 12_000_000, 100_000_000])
def test_ecp5_dividers_make_what_they_claim(hz):
    clocks = PllEcp5(hz).clocks
    assert clocks[hz].how == "direct"
    for clock in clocks.values():
        if clock.how == "direct":
            continue
        s = clock.settings
        assert all(1 <= divider <= 128 for divider in s.values())
        vco = hz * s["CLKFB_DIV"] * s["CLKOP_DIV"] / s["CLKI_DIV"]
        assert vco / s["CLKOS_DIV"] == clock.hz
        assert 400e6 <= vco <= 800e6
        assert 10e6 <= hz / s["CLKI_DIV"] <= 400e6
        assert 3.125e6 <= clock.hz <= 400e6
        assert 3.125e6 <= vco / s["CLKOP_DIV"] <= 400e6


def test_ecp5_has_the_usual_frequencies():
    assert {50_000_000, 62_500_000, 80_000_000, 100_000_000, 125_000_000} <= set(
        PllEcp5(25_000_000).clocks
    )


@pytest.mark.parametrize("hz", [12_000_000, 25_000_000])
def test_ice40_dividers_make_what_they_claim(hz):
    for clock in PllIce40(hz).clocks.values():
        if clock.how == "direct":
            continue
        s = clock.settings
        vco = hz * (s["DIVF"] + 1) / (s["DIVR"] + 1)
        assert vco / 2 ** s["DIVQ"] == clock.hz
        assert 533e6 <= vco <= 1066e6
        assert 10e6 <= hz / (s["DIVR"] + 1) <= 133e6
        assert 16e6 <= clock.hz <= 275e6
        assert 0 <= s["DIVF"] <= 127 and 1 <= s["DIVQ"] <= 6


def test_ice40_agrees_with_icepll():
    # `icepll -i 12 -o 24` and `icepll -i 48 -o 60`.
    assert PllIce40(12_000_000).find(24_000_000).settings == {
        "DIVR": 0,
        "DIVF": 63,
        "DIVQ": 5,
        "FILTER_RANGE": 1,
    }
    assert PllIce40(48_000_000).find(60_000_000).settings["FILTER_RANGE"] == 4
