"""The design that goes onto a Zynq: the processor's ports around a memory shell, clock, LEDs.

Source: Xilinx UG585 (Zynq-7000 TRM), chapters 5 (interconnect), 7 (interrupts), 25 (clocks).
"""

from amaranth.hdl import Cat, ClockDomain, ClockSignal, Const, Instance, Module, ResetSignal, Signal
from amaranth.lib import io, wiring
from amaranth.lib.cdc import FFSynchronizer

from boards.catalogue import Board
from hw.shell.axi import wires
from hw.shell.memory import MemoryShell

__all__ = ["ZynqTop"]

_INTERRUPTS = 20  # IRQF2P's width; ours is its lowest, number 61 of the interrupt controller


class ZynqTop(wiring.Component):
    """A memory shell on a Zynq.

    FCLK0 clocks everything, and FCLK_RESET0_N resets it. M_AXI_GP0 reaches the registers (anywhere
    from 0x4000_0000 to 0x7FFF_FFFF), S_AXI_HP0 serves the memory, the interrupt is IRQF2P[0].
    Pads of the processor alone (DDR, MIO, clock) are left to it.

    Weights, if there are any, come through S_AXI_HP2. HP0 and HP1 share a port of the memory's
    controller, HP2 and HP3 another one: so weights and frames need no arbiter of ours, and each
    have a word a cycle until the memory itself binds.

    The first LED blinks about once a second while the clock runs, the second is on while the shell
    is busy, the third after an error, the fourth while an interrupt waits.

    Parameters
    ----------
    board : Board
    shell : MemoryShell
    clock_hz : int or None
        FCLK0, as software has to set it; None means the board's default.

    Raises
    ------
    PopstreamError
        A clock that FCLK0 cannot be.
    """

    def __init__(self, board: Board, shell: MemoryShell, *, clock_hz: int | None = None):
        self._board, self._shell = board, shell
        self._clock = board.clock(clock_hz)
        super().__init__({})

    @property
    def clock_hz(self) -> int:
        return self._clock.hz

    @property
    def pipeline(self) -> str:
        """Where the accelerator is, as a path below the top."""
        return "shell.engine.accelerator"

    def elaborate(self, platform):
        m = Module()

        m.submodules.shell = shell = self._shell
        fclk, reset_n, clk = Signal(4), Signal(4), Signal(attrs={"keep": 1}, name="pipeline_clk")
        pins = {}
        if shell.identity.weight_words:
            pins = {
                "i_SAXIHP2ACLK": clk,
                "i_SAXIHP2RDISSUECAP1EN": Const(0),
                **_pins("SAXIHP2", shell.weights_memory, processor="i"),
                **{f"i_SAXIHP2{pin}": Const(0) for pin in ("AWVALID", "WVALID", "BREADY")},
            }
        m.submodules.ps7 = Instance(
            "PS7",
            o_FCLKCLK=fclk,
            o_FCLKRESETN=reset_n,
            i_IRQF2P=Cat(shell.interrupt, Const(0, _INTERRUPTS - 1)),
            i_MAXIGP0ACLK=clk,
            **_pins("MAXIGP0", shell.registers, processor="o"),
            i_SAXIHP0ACLK=clk,
            i_SAXIHP0RDISSUECAP1EN=Const(0),
            i_SAXIHP0WRISSUECAP1EN=Const(0),
            **_pins("SAXIHP0", shell.memory, processor="i"),
            **pins,
        )

        m.submodules.bufg = Instance("BUFG", i_I=fclk[0], o_O=clk)
        platform.add_clock_constraint(clk, self._clock.hz)
        m.domains.sync = ClockDomain()
        m.d.comb += ClockSignal().eq(clk)
        # The processor's reset has nothing to do with its clock; here it begins and ends with it.
        m.domains.always = ClockDomain(reset_less=True, local=True)
        m.d.comb += ClockSignal("always").eq(clk)
        m.submodules.reset = FFSynchronizer(
            ~reset_n[0], ResetSignal(), o_domain="always", init=1, stages=3
        )

        second = Signal(range(self._clock.hz))
        m.d.sync += second.eq(second + 1)
        lights = [second[-1], shell.busy, shell.error, shell.interrupt]
        for number, light in enumerate(lights[: self._board.leds]):
            led = io.Buffer("o", platform.request("led", number, dir="-"))
            m.submodules[f"led{number}"] = led
            m.d.sync += led.o.eq(light)

        return m


def _pins(prefix: str, port, *, processor: str) -> dict:
    """The PS7's pins of a port; `processor` says which way those go that its master drives."""
    other = {"o": "i", "i": "o"}
    return {
        f"{processor if way == 'o' else other[processor]}_{prefix}{name.upper()}": value
        for name, (way, value) in wires(port).items()
    }
