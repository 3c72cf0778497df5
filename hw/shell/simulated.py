"""A shell with plain wires at its border: the simulated board (`sim.board`) is built around it."""

from amaranth.back import verilog
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.shell.axi import wires
from hw.shell.identity import Identity
from hw.shell.serial import SerialAccelerator
from hw.toolchain.plan import plain_names

__all__ = ["SimulatedSerial", "SimulatedZynq", "shell_verilog"]


class SimulatedZynq(wiring.Component):
    """A memory shell without the PS7 around it.

    Parameters
    ----------
    shell : MemoryShell

    Members
    -------
    gp_araddr, ... : In or Out
        The processor's port to the registers, wire by wire; its names are those of `wires`.
    hp_araddr, ... : Out or In
        The shell's port to the memory, likewise.
    hp2_araddr, ... : Out or In
        Its port for weights, likewise, where it has one.
    interrupt : Out(1)
    """

    def __init__(self, shell: wiring.Component):
        self._shell = shell
        self._wires = {}
        members = {"interrupt": Out(1)}
        # Which way a wire goes that the port's master drives: the processor is outside.
        ports = [("gp", shell.registers, In), ("hp", shell.memory, Out)]
        if "weights_memory" in shell.signature.members:
            ports.append(("hp2", shell.weights_memory, Out))
        for prefix, port, way in ports:
            for name, (driver, value) in wires(port).items():
                self._wires[f"{prefix}_{name}"] = value
                flow = way if driver == "o" else way.flip()
                members[f"{prefix}_{name}"] = flow(len(value))
        super().__init__(members)

    def elaborate(self, platform):
        m = Module()

        m.submodules.shell = self._shell
        m.d.comb += self.interrupt.eq(self._shell.interrupt)
        for name, inner in self._wires.items():
            outer = getattr(self, name)
            inward = self.signature.members[name].flow is In
            m.d.comb += inner.eq(outer) if inward else outer.eq(inner)

        return m


class SimulatedSerial(wiring.Component):
    """An accelerator behind a serial line, with nothing else at its border.

    Parameters
    ----------
    accelerator, identity, divisor
        As `SerialAccelerator` takes them.

    Members
    -------
    rx, tx : In(1), Out(1)
    """

    def __init__(self, accelerator: wiring.Component, identity: Identity, *, divisor: int):
        self._serial = SerialAccelerator(accelerator, identity, divisor=divisor)
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()

        m.submodules.serial = self._serial
        m.d.comb += [self._serial.rx.eq(self.rx), self.tx.eq(self._serial.tx)]

        return m


def shell_verilog(shell: wiring.Component) -> str:
    """The Verilog of a simulated shell: its module is called ``shell``."""
    return plain_names(
        verilog.convert(shell, name="shell", emit_src=False, strip_internal_attrs=True)
    )
