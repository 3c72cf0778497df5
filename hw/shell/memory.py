"""The memory shell: a pipeline whose frames and results are in a processor's memory. Wires only."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.shell.axi import MemoryPort, ProcessorPort
from hw.shell.bridge import ProcessorBridge
from hw.shell.engine import Engine
from hw.shell.identity import Identity
from hw.shell.registers import RegisterFile

__all__ = ["MemoryShell"]


class MemoryShell(wiring.Component):
    """A pipeline that a processor gives jobs to.

    All that a Zynq's programmable logic has beside the PS7 itself.

    Parameters
    ----------
    accelerator : Component
    identity : Identity
        As `Engine` has them.

    Members
    -------
    registers : In(ProcessorPort())
        Of `sw.host.registers`.
    memory : Out(MemoryPort())
    interrupt : Out(1)
        High while an enabled event has happened.
    busy, error : Out(1)
        As STATUS has them, for LEDs.

    Raises
    ------
    ValueError
        The accelerator's streams are not as the identity says.
    """

    def __init__(self, accelerator: wiring.Component, identity: Identity):
        self._engine = Engine(accelerator, identity)
        super().__init__(
            {
                "registers": In(ProcessorPort()),
                "memory": Out(MemoryPort()),
                "interrupt": Out(1),
                "busy": Out(1),
                "error": Out(1),
            }
        )

    @property
    def identity(self) -> Identity:
        return self._engine.identity

    def elaborate(self, platform):
        m = Module()

        m.submodules.bridge = bridge = ProcessorBridge()
        m.submodules.registers = registers = RegisterFile(self.identity)
        m.submodules.engine = engine = self._engine
        wiring.connect(m, wiring.flipped(self.registers), bridge.slave)
        wiring.connect(m, bridge.master, registers.bus)
        wiring.connect(m, engine.memory, wiring.flipped(self.memory))

        for name in ("source", "destination", "frames", "start", "reset"):
            m.d.comb += getattr(engine, name).eq(getattr(registers, name))
        for name in ("busy", "error", "queued", "cause", "done", "failed", "counters"):
            m.d.comb += getattr(registers, name).eq(getattr(engine, name))
        m.d.comb += [
            self.interrupt.eq(registers.interrupt),
            self.busy.eq(engine.busy),
            self.error.eq(engine.error),
        ]

        return m
