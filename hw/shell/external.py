"""A component whose Verilog is written elsewhere."""

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

__all__ = ["External"]


class External(wiring.Component):
    """An instance of another component's Verilog, with that component's ports.

    Parameters
    ----------
    component : Component
        What `amaranth.back.verilog` made a module of; it has a clock and a reset.
    name : str
        The module's name.
    """

    def __init__(self, component: wiring.Component, name: str):
        self._name = name
        super().__init__(component.signature)

    def elaborate(self, platform):
        m = Module()
        pins = {"i_clk": ClockSignal(), "i_rst": ResetSignal()}
        for path, member, value in self.signature.flatten(self):
            way = "o" if member.flow is Out else "i"
            pins[f"{way}_{'__'.join(map(str, path))}"] = Value.cast(value)
        m.submodules.instance = Instance(self._name, **pins)
        return m
