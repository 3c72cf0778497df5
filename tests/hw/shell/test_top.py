# amaranth: UnusedElaboratable=no
"""hw.shell.top: elaborated for every board, and refusing what does not fit."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from boards.catalogue import BOARDS, board
from hw.shell.top import BoardTop
from sw.errors import PopstreamError


class Parity(wiring.Component):
    """Stands in for a pipeline: answers the parity of each beat that ends a frame of one beat."""

    def __init__(self, *, width, lanes, index_width=4):
        super().__init__(
            {
                "i": In(stream.Signature(data.ArrayLayout(width, lanes))),
                "o": Out(stream.Signature(index_width)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        m.d.comb += self.i.ready.eq(~self.o.valid | self.o.ready)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                self.o.valid.eq(1),
                self.o.payload.eq(self.i.payload.as_value().xor()),
            ]
        return m


@pytest.mark.parametrize("name", BOARDS)
@pytest.mark.parametrize(("width", "lanes", "elements"), [(8, 3, 20), (1, 12, 30), (1, 2, 2)])
def test_elaborates_for_every_board(name, width, lanes, elements):
    this = board(name)
    top = BoardTop(this, Parity(width=width, lanes=lanes), elements=elements)
    platform = this.platform()
    platform.pipeline_hz = top.clock_hz
    options = {"script_after_read": "", "synth_opts": "", "script_after_synth": ""}
    plan = platform.prepare(top, "top", **options)
    rtlil = plan.files["top.il"]
    assert "\nmodule \\top.accelerator\n" in rtlil
    for port in ("uart_0__rx__io", "uart_0__tx__io", "led_0__io", "led_1__io"):
        assert port in rtlil


def test_properties():
    top = BoardTop(board("pynq"), Parity(width=1, lanes=8), elements=784, clock_hz=125_000_000)
    assert (top.clock_hz, top.baud, top.frame_bytes) == (125_000_000, 1_000_000, 98)


def test_constraints_reach_the_tools():
    """The pipeline's own frequency, not the oscillator's, is what place and route has to reach."""
    this = board("ulx3s")
    top = BoardTop(this, Parity(width=8, lanes=1), elements=4, clock_hz=80_000_000)
    plan = this.platform().prepare(top, "top")
    assert 'FREQUENCY NET "clock.pipeline_clk" 80000000.0 HZ;' in plan.files["top.lpf"]
    this = board("icebreaker")
    top = BoardTop(this, Parity(width=8, lanes=1), elements=4, clock_hz=24_000_000)
    plan = this.platform().prepare(top, "top")
    assert "set_frequency clock.pipeline_clk 24.0" in plan.files["top.pcf"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"clock_hz": 100_000_000}, PopstreamError, "pynq cannot make 100 MHz"),
        ({"baud": 50_000_000}, PopstreamError, "62.5 MHz clock cannot do 50000000 baud"),
    ],
)
def test_refuses_what_the_board_cannot_do(options, error, message):
    with pytest.raises(error, match=message):
        BoardTop(board("pynq"), Parity(width=8, lanes=1), elements=4, **options)


def test_refuses_too_many_classes():
    with pytest.raises(ValueError, match="class index must fit 8 bits, not 9"):
        BoardTop(board("pynq"), Parity(width=8, lanes=1, index_width=9), elements=4)
