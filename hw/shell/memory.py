"""The memory shell: a pipeline whose frames and results are in a processor's memory. Wires only."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.shell.axi import MemoryPort, ProcessorPort, ReadPort
from hw.shell.bridge import ProcessorBridge
from hw.shell.engine import Engine
from hw.shell.identity import Identity
from hw.shell.registers import RegisterFile
from hw.shell.weights import PATIENCE_CYCLES

__all__ = ["MemoryShell"]


class MemoryShell(wiring.Component):
    """A pipeline that a processor gives jobs to.

    All that a Zynq's programmable logic has beside the PS7 itself.

    Parameters
    ----------
    accelerator : Component
    identity : Identity
    patience_cycles : int
        As `Engine` has them.

    Members
    -------
    registers : In(ProcessorPort())
        Of `sw.host.registers`.
    memory : Out(MemoryPort())
    weights_memory : Out(ReadPort())
        Only where the identity has weights.
    interrupt : Out(1)
        High while an enabled event has happened.
    busy, error : Out(1)
        As STATUS has them, for LEDs.

    Raises
    ------
    ValueError
        The accelerator's streams are not as the identity says.
    """

    def __init__(
        self,
        accelerator: wiring.Component,
        identity: Identity,
        *,
        patience_cycles: int = PATIENCE_CYCLES,
    ):
        self._engine = Engine(accelerator, identity, patience_cycles=patience_cycles)
        reads = {"weights_memory": Out(ReadPort())} if identity.weight_words else {}
        super().__init__(
            {
                "registers": In(ProcessorPort()),
                "memory": Out(MemoryPort()),
                **reads,
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

        told = ["source", "destination", "frames", "start", "reset"]
        if self.identity.weight_words:
            wiring.connect(m, engine.weights_memory, wiring.flipped(self.weights_memory))
            told.append("weights")
        for name in told:
            m.d.comb += getattr(engine, name).eq(getattr(registers, name))
        for name in ("busy", "error", "queued", "cause", "done", "failed", "counters"):
            m.d.comb += getattr(registers, name).eq(getattr(engine, name))
        m.d.comb += [
            self.interrupt.eq(registers.interrupt),
            self.busy.eq(engine.busy),
            self.error.eq(engine.error),
        ]

        return m
