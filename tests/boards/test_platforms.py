# amaranth: UnusedElaboratable=no
"""The boards' pins, against the makers' constraint files."""

import pytest
from amaranth.hdl import Module
from amaranth.lib import io, wiring

from boards.catalogue import BOARDS, board
from boards.xilinx import FLOWS, OpenXilinxPlatform


class Pads(wiring.Component):
    """Wires input pads to output pads, each a resource, its number and perhaps its field."""

    def __init__(self, inputs, outputs):
        self.inputs, self.outputs = inputs, outputs
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        ports = {}

        def port(resource, number, field=None):
            if (resource, number) not in ports:
                ports[resource, number] = platform.request(resource, number, dir="-")
            pads = ports[resource, number]
            return getattr(pads, field) if field else pads

        for index, name in enumerate(self.inputs):
            m.submodules[f"i{index}"] = source = io.Buffer("i", port(*name))
        for index, name in enumerate(self.outputs):
            m.submodules[f"o{index}"] = sink = io.Buffer("o", port(*name))
            m.d.comb += sink.o.eq(source.i)
        return m


def constraints(name, inputs, outputs) -> dict[tuple[str, str], str]:
    """The XDC of a 7-series board: value by property and port."""
    platform = board(name).platform()
    platform.pipeline_hz = 1_000_000
    options = {"script_after_read": "", "synth_opts": "", "script_after_synth": ""}
    text = platform.prepare(Pads(inputs, outputs), "top", **options).files["top.xdc"]
    words = [line.split() for line in text.splitlines() if line.startswith("set_property")]
    return {(line[1], line[4].strip("{}]")): line[2] for line in words}


@pytest.mark.parametrize("name", ["pynq", "arty_z7"])
def test_zynq_pins(name):
    """PYNQ-Z1_C.xdc, pynq-z2_v1.0.xdc and Arty-Z7-20-Master.xdc agree on these."""
    inputs = {"clk125": "H16", "switch": "M20 M19", "button": "D19 D20 L20 L19"}
    outputs = {"led": "R14 P14 N16 M14"}
    found = constraints(
        name,
        [(kind, n) for kind, pins in inputs.items() for n in range(len(pins.split()))],
        [(kind, n) for kind, pins in outputs.items() for n in range(len(pins.split()))],
    )
    for kind, pins in (inputs | outputs).items():
        for number, pin in enumerate(pins.split()):
            assert found["LOC", f"{kind}_{number}__io"] == pin
            assert found["IOSTANDARD", f"{kind}_{number}__io"] == "LVCMOS33"


@pytest.mark.parametrize("name", ["pynq", "arty_z7"])
def test_zynq_serial_link_is_on_pmod_ja(name):
    """JA2 transmits, JA3 receives and is pulled up."""
    found = constraints(name, [("uart", 0, "rx")], [("uart", 0, "tx")])
    assert found["LOC", "uart_0__tx__io"] == "Y19"
    assert found["LOC", "uart_0__rx__io"] == "Y16"
    assert found["PULLTYPE", "uart_0__rx__io"] == "PULLUP"
    assert ("PULLTYPE", "uart_0__tx__io") not in found


@pytest.mark.parametrize("name", ["pynq", "arty_z7"])
def test_zynq_rgb_leds(name):
    outputs = [("rgb_led", number, colour) for number in range(2) for colour in "rgb"]
    found = constraints(name, [("switch", 0)], outputs)
    for output, pin in zip(outputs, ["N15", "G17", "L15", "M15", "L14", "G14"], strict=True):
        resource, number, colour = output
        assert found["LOC", f"{resource}_{number}__{colour}__io"] == pin


@pytest.mark.parametrize(
    ("number", "pins"),
    [(0, "Y18 Y19 Y16 Y17 U18 U19 W18 W19"), (1, "W14 Y14 T11 T10 V16 W16 V12 W13")],
)
@pytest.mark.parametrize("name", ["pynq", "arty_z7"])
def test_zynq_pmods(name, number, pins):
    mapping = board(name).platform().connectors["pmod", number].mapping
    assert [mapping[str(pin)] for pin in (1, 2, 3, 4, 7, 8, 9, 10)] == pins.split()


@pytest.mark.parametrize("name", BOARDS)
def test_every_board_has_what_the_shell_asks_for(name):
    this = board(name).through("serial")
    platform = this.platform()
    assert platform.default_clk_frequency == this.shell.oscillator.hz
    for number in range(this.leds):
        platform.lookup("led", number)
    platform.lookup("uart", 0)


def test_catalogue_names_the_flows_that_there_are():
    assert board("pynq").flows == tuple(FLOWS)
    with pytest.raises(ValueError, match=r"Flow must be one of himbaechel, .* not 'ise'"):
        board("pynq").platform(flow="ise")
    assert isinstance(board("arty_z7").platform(flow="openxc7"), OpenXilinxPlatform)
