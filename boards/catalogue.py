"""What every supported board has: its part, budget, clocks and serial link.

Plain data, without Amaranth, so that a command line or a planner reads it at once; the gateware's
view of a board (pins, buffers, tools) is the platform that :meth:`Board.platform` imports when
asked.

Sources: Xilinx DS190 (xc7z020), Lattice FPGA-DS-02012 (LFE5U-85F) and FPGA-DS-02008 (iCE40UP5K).
"""

from dataclasses import dataclass, replace
from importlib import import_module

from boards.clocks import Clock, Divider, Oscillator, PllEcp5, PllIce40, Processor
from sw.errors import PopstreamError, unknown

__all__ = ["BOARDS", "Board", "Shell", "board"]


@dataclass(frozen=True)
class Shell:
    """One of the ways to reach a pipeline on a board.

    Attributes
    ----------
    name : str
        ``"zynq"``: the processor's memory and registers; ``"serial"``: a serial line.
    oscillator : Oscillator
        What the pipeline's clock is made from.
    clock_hz : int
        The pipeline's clock where nobody asks for another.
    suggested_clocks_hz : tuple of int
        Clocks worth trying, ascending; :meth:`Board.clock` accepts every exact frequency.
    where : str
        Where the user finds it.
    baud : int
        The serial line's bits per second where nobody asks for others; 0 where there is none.
    """

    name: str
    oscillator: Oscillator
    clock_hz: int
    suggested_clocks_hz: tuple[int, ...]
    where: str
    baud: int = 0


@dataclass(frozen=True)
class Board:
    """One board: everything a plan, a build or a report has to know about it.

    Attributes
    ----------
    name : str
        What the user writes after ``--board``.
    title : str
        What is printed on the box.
    part : str
        The FPGA, as its tools name it.
    family : str
        ``"xc7"``, ``"ecp5"`` or ``"ice40"``; decides synthesis and the shape of memories.
    luts, ffs, dsps : int
        Look-up tables, flip-flops and multiplier blocks of the part.
    lut_inputs : int
        Inputs of one of these look-up tables: 6 or 4.
    brams : int
        Block RAMs of the part, in units of ``bram``.
    bram : str
        What one block RAM is, with its capacity.
    bram_width, bram_depth : int
        Bits a word and words of one block RAM in its widest shape with one read port.
    spare_memory : str
        Other memory on the chip that no block RAM figure counts; empty where there is none.
    shells : tuple of Shell
        The ways to reach a pipeline; the first is the one that is used. :meth:`through` takes
        another.
    leds : int
        User LEDs that the shell may use.
    flows : tuple of str
        The ways to place, route and pack, in the order of preference: ``"nextpnr"``, or on 7-series
        ``"himbaechel"``, ``"openxc7"`` and ``"vivado"``.
    pip_flow : bool
        Whether every tool up to the bitstream installs with pip.
    bitstream_suffix : str
        What the bitstream's name ends in.
    loader_options : tuple of str
        What openFPGALoader has to be told to load this board: its volatile memory, except the
        iCEBreaker's flash.
    platform_class : str
        ``module:Class`` of the Amaranth platform.
    """

    name: str
    title: str
    part: str
    family: str
    luts: int
    lut_inputs: int
    ffs: int
    brams: int
    bram: str
    bram_width: int
    bram_depth: int
    dsps: int
    shells: tuple[Shell, ...]
    leds: int
    flows: tuple[str, ...]
    pip_flow: bool
    bitstream_suffix: str
    loader_options: tuple[str, ...]
    platform_class: str
    spare_memory: str = ""

    @property
    def shell(self) -> Shell:
        """The shell that is used."""
        return self.shells[0]

    @property
    def clock_hz(self) -> int:
        """The pipeline's clock where nobody asks for another."""
        return self.shell.clock_hz

    @property
    def baud(self) -> int:
        """The serial line's bits per second; 0 where the shell has none."""
        return self.shell.baud

    def through(self, name: str | None) -> "Board":
        """This board with another of its shells; None means the one it has.

        Raises
        ------
        PopstreamError
            It has no such shell.
        """
        if name is None:
            return self
        for shell in self.shells:
            if shell.name == name:
                others = tuple(other for other in self.shells if other is not shell)
                return replace(self, shells=(shell, *others))
        raise unknown(f"shell for {self.name}", name, [shell.name for shell in self.shells])

    @property
    def bram_bits(self) -> int:
        """Bits of one block RAM."""
        return self.bram_width * self.bram_depth

    def at(self, baud: int) -> "Board":
        """This board with another speed of its serial line.

        Raises
        ------
        PopstreamError
            Its shell has no serial line.
        """
        if not self.baud:
            raise PopstreamError(f"{self.name}'s shell {self.shell.name!r} has no serial line")
        return replace(self, shells=(replace(self.shell, baud=baud), *self.shells[1:]))

    def clock(self, clock_hz: int | None = None) -> Clock:
        """How the pipeline's clock is made.

        Parameters
        ----------
        clock_hz : int or None
            Wanted frequency in hertz; None means the board's default.

        Raises
        ------
        PopstreamError
            The board cannot make exactly this frequency; the message names the nearest ones.
        """
        clock_hz = self.clock_hz if clock_hz is None else clock_hz
        source = self.shell.oscillator
        if clock := source.find(clock_hz):
            return clock
        near = " or ".join(f"{hz / 1e6:.9g} MHz" for hz in source.nearest(clock_hz))
        raise PopstreamError(
            f"{self.name} cannot make {clock_hz / 1e6:.9g} MHz from {source.hz / 1e6:g} MHz; "
            f"nearest: {near}"
        )

    def platform(self, **options):
        """A fresh Amaranth platform; one serves one build.

        Parameters
        ----------
        **options
            Handed to the platform's class.
        """
        module, name = self.platform_class.split(":")
        return getattr(import_module(module), name)(**options)


_BAUD = 1_000_000

_XC7Z020 = {
    "part": "xc7z020clg400-1",
    "family": "xc7",
    "luts": 53_200,
    "lut_inputs": 6,
    "ffs": 106_400,
    "brams": 140,
    "bram": "RAMB36 (36 kbit)",
    "bram_width": 72,
    "bram_depth": 512,
    "dsps": 220,
    "shells": (
        Shell(
            name="zynq",
            oscillator=Processor(1_000_000_000),
            clock_hz=100_000_000,
            suggested_clocks_hz=(50_000_000, 100_000_000, 125_000_000, 200_000_000),
            where="the processor: registers at M_AXI_GP0, memory through S_AXI_HP0",
        ),
        Shell(
            name="serial",
            # Dividing by flip-flops, because MMCM and PLL are not safe in the open place and route.
            oscillator=Divider(125_000_000),
            clock_hz=62_500_000,
            suggested_clocks_hz=(31_250_000, 62_500_000, 125_000_000),
            where="PMOD JA: pin 2 transmits, pin 3 receives, pin 5 is ground",
            baud=_BAUD,
        ),
    ),
    "leds": 4,
    "flows": ("himbaechel", "openxc7", "vivado"),
    "pip_flow": False,
    "bitstream_suffix": ".bit",
}

BOARDS: dict[str, Board] = {
    board.name: board
    for board in (
        Board(
            name="pynq",
            title="PYNQ-Z1 and PYNQ-Z2",
            platform_class="boards.pynq:PynqPlatform",
            loader_options=("--board", "pynq_z2"),
            **_XC7Z020,
        ),
        Board(
            name="arty_z7",
            title="Arty Z7-20",
            platform_class="boards.arty_z7:ArtyZ7Platform",
            loader_options=("--board", "arty_z7_20"),
            **_XC7Z020,
        ),
        Board(
            name="ulx3s",
            title="ULX3S with an 85F",
            part="LFE5U-85F-6BG381C",
            family="ecp5",
            luts=83_640,
            lut_inputs=4,
            ffs=83_640,
            brams=208,
            bram="EBR (18 kbit)",
            bram_width=36,
            bram_depth=512,
            dsps=156,
            shells=(
                Shell(
                    name="serial",
                    oscillator=PllEcp5(25_000_000),
                    clock_hz=100_000_000,
                    suggested_clocks_hz=(25_000_000, 50_000_000, 80_000_000, 100_000_000),
                    where="the board's own USB serial port (FT231X)",
                    baud=_BAUD,
                ),
            ),
            leds=8,
            flows=("nextpnr",),
            pip_flow=True,
            bitstream_suffix=".bit",
            loader_options=("--board", "ulx3s"),
            platform_class="boards.ulx3s:Ulx3sPlatform",
        ),
        Board(
            name="icebreaker",
            title="iCEBreaker",
            part="iCE40UP5K-SG48",
            family="ice40",
            luts=5_280,
            lut_inputs=4,
            ffs=5_280,
            brams=30,
            bram="EBR (4 kbit)",
            bram_width=16,
            bram_depth=256,
            spare_memory="4 SPRAM of 256 kbit",
            dsps=8,
            shells=(
                Shell(
                    name="serial",
                    oscillator=PllIce40(12_000_000),
                    clock_hz=12_000_000,
                    suggested_clocks_hz=(12_000_000, 18_000_000, 24_000_000),
                    where="the board's own USB serial port (FT2232H, second channel)",
                    baud=_BAUD,
                ),
            ),
            leds=2,
            flows=("nextpnr",),
            pip_flow=True,
            bitstream_suffix=".bin",
            # As the board is jumpered, USB reaches the flash and not the FPGA's own memory.
            loader_options=("--board", "ice40_generic", "--write-flash"),
            platform_class="amaranth_boards.icebreaker:ICEBreakerPlatform",
        ),
    )
}


def board(name: str) -> Board:
    """The board of this name.

    Raises
    ------
    PopstreamError
        There is none; the message lists them and suggests the nearest.
    """
    try:
        return BOARDS[name]
    except KeyError:
        raise unknown("board", name, BOARDS) from None
