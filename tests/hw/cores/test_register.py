# amaranth: UnusedElaboratable=no
import pytest
from amaranth.back import rtlil
from amaranth.sim import Simulator

from hw.cores.register import Register


def test_register_gives_its_input_a_cycle_later():
    register = Register(width=8)
    seen = []

    async def bench(ctx):
        for value in (3, 200, 7):
            ctx.set(register.i, value)
            await ctx.tick()
            seen.append(ctx.get(register.o))

    simulator = Simulator(register)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
    assert seen == [3, 200, 7]


@pytest.mark.parametrize(
    "family, cell", [("xc7", "FDRE"), ("ecp5", "TRELLIS_FF"), ("ice40", "SB_DFF")]
)
def test_a_flip_flop_a_bit_is_instantiated(family, cell):
    text = rtlil.convert(Register(width=5, family=family), platform=object())
    assert text.count(f"cell \\{cell} ") == 5


def test_register_rejects():
    with pytest.raises(ValueError, match=r"^Width must be at least 1, not 0$"):
        Register(width=0)
    with pytest.raises(ValueError, match=r"^Family must be one of generic, xc7, .*, not 'xc6'$"):
        Register(width=1, family="xc6")
