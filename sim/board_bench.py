"""The bench that cocotb runs for a simulated board: it does what `sim.board` asks for.

A request is a tuple of a name and arguments; the answer is ``("result", value)`` or ``("error",
message)``. Between requests the simulation stands still. The Zynq's processor and memory are
cocotbext-axi's models, not ours; the far end of a serial line is a UART of its own.
"""

import fcntl
import json
import logging
import math
import mmap
import os
import random
import sys
import termios
import tty
import warnings
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from multiprocessing.connection import Client, Connection, wait
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import Event, First, SimTimeoutError, Timer, with_timeout
from cocotb.utils import get_sim_time

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from cocotbext.axi import (
        AxiBus,
        AxiMaster,
        AxiReadBus,
        AxiResp,
        AxiSlave,
        AxiSlaveRead,
    )

__all__ = ["SerialBoard", "ZynqBoard", "serve"]

# cocotbext-axi 0.1.28 still calls cocotb 2's functions by their old names.
warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"cocotbext\.axi")

STEPS = 2  # of simulated time to a clock cycle
RESET_CYCLES = 16
LOOK_CYCLES = 4096  # between two looks at whether the user is still there
REGISTER_CYCLES = 10_000  # far more than a register takes to answer
PROCESSOR_CYCLES = 16  # the least that a processor takes from one access to the next


class _Failure(Exception):
    """A request that cannot be done; the board goes on."""


class _Board:
    """What all boards have: a clock, a reset, and a user who may go away.

    Parameters
    ----------
    dut : cocotb handle
        The module ``popstream_board``.
    config : dict
        What `sim.board` wrote for the bench.
    user : Connection
        Whom the requests come from.
    """

    def __init__(self, dut, config: dict, user: Connection) -> None:
        self.dut, self.user = dut, user

    @property
    def requests(self) -> dict[str, Callable[..., Coroutine]]:
        """What can be asked for, by name."""
        return {"reset": self.reset, "run": self.run, "cycles": self.cycles}

    async def reset(self) -> None:
        """Resets the gateware."""
        self.dut.rst.value = 1
        await self.run(RESET_CYCLES)
        self.dut.rst.value = 0
        await self.run(RESET_CYCLES)

    async def run(self, cycles: int) -> None:
        """Lets the clock run."""
        while cycles > 0:
            await Timer(STEPS * min(cycles, LOOK_CYCLES), "step")
            cycles -= LOOK_CYCLES
            self._look()

    async def cycles(self) -> int:
        """Clock cycles so far."""
        return _now()

    async def next_request(self) -> tuple:
        """What the user asks for next; simulated time stands still meanwhile."""
        return self.user.recv()

    async def until(self, done: Callable[[], bool], event: Callable, cycles: int) -> bool:
        """Lets the clock run until something is done, for at most so many cycles."""
        end = _now() + cycles
        while not done():
            left = end - _now()
            if left <= 0:
                return False
            await First(event(), Timer(STEPS * min(left, LOOK_CYCLES), "step"))
            self._look()
        return True

    def _look(self) -> None:
        if self.user.poll():  # nobody asks again before he is answered: the user has gone
            raise EOFError


def _now() -> int:
    return math.ceil(get_sim_time("step") / STEPS)


class _Memory:
    """The board's memory: a range of addresses; elsewhere is none."""

    def __init__(self, start: int, size: int) -> None:
        self._start, self._bytes = start, mmap.mmap(-1, size)

    def __getitem__(self, part: slice) -> bytes:
        return self._bytes[self._place(part.start, part.stop - part.start)]

    def __setitem__(self, part: slice, data: bytes) -> None:
        self._bytes[self._place(part.start, len(data))] = data

    def _place(self, address: int, length: int) -> slice:
        offset = address - self._start
        if not 0 <= offset <= len(self._bytes) - length:
            raise IndexError(f"no memory at 0x{address:08X}")
        return slice(offset, offset + length)

    # What cocotbext-axi's slave wants of its target; an exception becomes SLVERR.

    async def read(self, address: int, length: int) -> bytes:
        return self[address : address + length]

    async def write(self, address: int, data: bytes) -> None:
        self[address : address + len(data)] = data


class _InterruptFile:
    """What stands for the interrupt's ``/dev/uio``: a terminal's two ends.

    As with the kernel's ``uio_pdrv_genirq``, a word written enables the interrupt; the next one can
    then be read, as a count, and disables it.
    """

    def __init__(self) -> None:
        self.file, self._other = os.openpty()
        self.path = os.ttyname(self._other)
        tty.setraw(self._other)
        # It must not become the terminal of the user's process, which may have none, so it is ours.
        os.setsid()
        fcntl.ioctl(self._other, termios.TIOCSCTTY)
        self._enabled, self._count = False, 0

    def enable(self) -> None:
        """Takes the word that was written."""
        self._enabled = os.read(self.file, 4) != bytes(4)

    def show(self, interrupt: bool) -> None:
        """Passes the interrupt on."""
        if interrupt and self._enabled:
            self._enabled, self._count = False, self._count + 1
            termios.tcflush(self._other, termios.TCIFLUSH)  # a count not read yet
            os.write(self.file, self._count.to_bytes(4, sys.byteorder))


class ZynqBoard(_Board):
    """A processor that reads and writes registers, a memory, and an interrupt."""

    def __init__(self, dut, config: dict, user: Connection) -> None:
        super().__init__(dut, config, user)
        self._memory = _Memory(*config["memory"])
        self._processor = AxiMaster(AxiBus.from_prefix(dut, "gp"), dut.clk, dut.rst)
        port = AxiSlave(AxiBus.from_prefix(dut, "hp"), dut.clk, dut.rst, target=self._memory)
        self._numbers = random.Random(config["seed"])
        self._interrupts = _InterruptFile()
        dut.gp_wid.value = 0
        reads, writes = ("ar", "r"), ("aw", "w", "b")
        sides = []
        for side in (self._processor, port):
            sides += [(side.write_if, writes), (side.read_if, reads)]
        if config["weights"]:
            bus = AxiReadBus.from_prefix(dut, "hp2")
            sides.append((AxiSlaveRead(bus, dut.clk, dut.rst, target=self._memory), reads))
        if config["stall"]:
            for side, channels in sides:
                for name in channels:
                    channel = getattr(side, f"{name}_channel")
                    channel.set_pause_generator(self._pauses(config["stall"]))

    @property
    def requests(self) -> dict[str, Callable[..., Coroutine]]:
        mine = self.read, self.write, self.load, self.store, self.wait, self.interrupt_file
        return super().requests | {method.__name__: method for method in mine}

    async def read(self, address: int) -> int:
        """The register's value."""
        answer = await self._register(self._processor.read(address, 4), address)
        return int.from_bytes(answer.data, "little")

    async def write(self, address: int, value: int) -> None:
        """Writes a register."""
        data = value.to_bytes(4, "little")
        number = self._numbers.randrange(1 << len(self.dut.gp_wid))
        self.dut.gp_wid.value = number  # of AXI3, which the model does not know
        await self._register(self._processor.write(address, data, awid=number), address)

    async def load(self, address: int, length: int) -> bytes:
        """What the memory holds; takes no simulated time."""
        return self._memory[address : address + length]

    async def store(self, address: int, data: bytes) -> None:
        """Changes what the memory holds; takes no simulated time."""
        self._memory[address : address + len(data)] = data

    async def wait(self, cycles: int) -> bool:
        """Whether the interrupt is high, or becomes so within so many cycles."""
        interrupt = self.dut.interrupt
        return await self.until(
            lambda: bool(interrupt.value), lambda: interrupt.rising_edge, cycles
        )

    async def interrupt_file(self) -> str:
        """The path of what stands for the interrupt's device."""
        return self._interrupts.path

    async def next_request(self) -> tuple:
        file = self._interrupts.file
        while True:
            self._interrupts.show(bool(self.dut.interrupt.value))
            ready = wait([self.user, file])
            if file in ready:
                self._interrupts.enable()
            if self.user in ready:
                return self.user.recv()

    async def _register(self, access: Coroutine, address: int):
        try:
            answer = await with_timeout(access, STEPS * REGISTER_CYCLES, "step")
        except SimTimeoutError:
            raise _Failure(
                f"the register at 0x{address:08X} does not answer for {REGISTER_CYCLES} cycles"
            ) from None
        if answer.resp != AxiResp.OKAY:
            raise _Failure(f"the register at 0x{address:08X} answers {answer.resp.name}")
        await self.run(PROCESSOR_CYCLES)
        return answer

    def _pauses(self, chance: float) -> Iterator[bool]:
        while True:
            yield self._numbers.random() < chance


class SerialBoard(_Board):
    """The far end of a serial line: 8N1, with a clock of its own."""

    def __init__(self, dut, config: dict, user: Connection) -> None:
        super().__init__(dut, config, user)
        self._bit = STEPS * config["clock_hz"] / config["baud"]  # in steps, not a whole number
        self._sending, self._received = deque(), bytearray()
        self._patience = config["patience_cycles"]
        self._lively = -self._patience  # unless it is spoken to, a board is silent
        self._arrived, self._due = Event(), Event()
        dut.rx.value = 1
        cocotb.start_soon(self._send())
        cocotb.start_soon(self._receive())

    @property
    def requests(self) -> dict[str, Callable[..., Coroutine]]:
        mine = (self.send, self.receive, self.waiting, self.forget)
        return super().requests | {method.__name__: method for method in mine}

    async def send(self, data: bytes) -> None:
        """Puts bytes into the queue of what the line carries as time passes."""
        self._sending.extend(data)
        self._lively = _now()
        self._due.set()

    async def receive(self, length: int, cycles: int) -> bytes:
        """As many bytes as come within so many cycles.

        Where the line has been silent for as long as the patience lasts, it stays so: the rest of
        the time is left out.
        """
        end = _now() + cycles
        while len(self._received) < length:
            left = min(end, self._lively + self._patience) - _now()
            if left <= 0:
                break
            await self.until(lambda: len(self._received) >= length, self._arrived.wait, left)
        data = bytes(self._received[:length])
        del self._received[:length]
        return data

    async def waiting(self) -> int:
        """How many bytes have been received and not been asked for."""
        return len(self._received)

    async def forget(self) -> None:
        """Forgets what was received."""
        self._received.clear()

    async def _send(self) -> None:
        line = self.dut.rx
        while True:
            while not self._sending:
                self._due.clear()
                await self._due.wait()
            bits = 0x200 | self._sending.popleft() << 1  # start bit 0, stop bit 1
            for number in range(10):
                line.value = bits >> number & 1
                await self._steps(number * self._bit, (number + 1) * self._bit)
            self._lively = _now()

    async def _receive(self) -> None:
        line = self.dut.tx
        while True:
            await line.falling_edge
            bits, begin = 0, 0.0
            for number in range(10):
                middle = (number + 0.5) * self._bit
                await self._steps(begin, middle)
                bits |= int(line.value) << number
                begin = middle
            if bits & 1 or not bits >> 9:
                raise AssertionError(f"the line carries no start or no stop bit: {bits:010b}")
            self._received.append(bits >> 1 & 0xFF)
            self._lively = _now()
            self._arrived.set()
            self._arrived.clear()

    async def _steps(self, begin: float, end: float) -> None:
        await Timer(round(end) - round(begin), "step")


@cocotb.test()
async def serve(dut) -> None:
    """Answers requests until there is nobody who could ask."""
    logging.getLogger("cocotb").setLevel(logging.WARNING)  # each burst would be a line
    config = json.loads(Path("board.json").read_text())
    with Client(config["socket"], "AF_UNIX") as user:
        dut.rst.value = 0
        board = {"zynq": ZynqBoard, "serial": SerialBoard}[config["shell"]](dut, config, user)
        await Timer(1, "step")
        Clock(dut.clk, STEPS, "step", impl="gpi").start()
        await Timer(1, "step")  # from here on, a whole number of cycles ends at a falling edge
        await board.reset()
        requests = board.requests
        user.send(("result", os.getpid()))
        with suppress(EOFError, ConnectionError):
            while True:
                name, *arguments = await board.next_request()
                try:
                    answer = "result", await requests[name](*arguments)
                except _Failure as failure:
                    answer = "error", str(failure)
                user.send(answer)
