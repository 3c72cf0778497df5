"""AXI ports as streams, and as the separate wires that other people's models and the PS7 have.

An AXI channel is a stream: valid, ready, and a payload that is held until its transfer. `wires`
gives a port's signals by their names in the specification (``araddr``, ``wlast``), with what our
ports leave out (sizes, burst types, caches) filled in.

Sources: Arm IHI 0022 (AMBA AXI and ACE Protocol Specification, AXI3, AXI4 and AXI4-Lite); Xilinx
UG585 chapter 5 (the PS7's ports are AXI3: bursts of at most 16 beats).
"""

from amaranth.hdl import Const, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = [
    "BURST_BEATS",
    "LitePort",
    "MemoryPort",
    "ProcessorPort",
    "ReadPort",
    "Response",
    "wires",
]

BURST_BEATS = 16  # the most that AXI3's four bits of length can say
ID_WIDTH = 12  # of M_AXI_GP0


class Response(enum.Enum, shape=2):
    """What a transfer is answered with."""

    OKAY = 0
    EXOKAY = 1
    SLVERR = 2
    DECERR = 3


def _channels(master: dict, slave: dict) -> dict:
    """Members of a port: channels that the master drives, and those that it is answered on."""
    return {
        **{name: Out(stream.Signature(data.StructLayout(f))) for name, f in master.items()},
        **{name: In(stream.Signature(data.StructLayout(f))) for name, f in slave.items()},
    }


class MemoryPort(wiring.Signature):
    """A master of 64-bit memory, such as S_AXI_HP0 takes.

    INCR bursts of 1..16 whole words; one ID, so everything is answered in order.

    Members
    -------
    ar, aw : Out(stream of address (32 bits), length (4 bits, beats less one))
    w : Out(stream of data (64), strobes (8), last (1))
    r : In(stream of data (64), response (2), last (1))
    b : In(stream of response (2))
    """

    def __init__(self):
        burst = {"address": 32, "length": 4}
        super().__init__(
            _channels(
                {"ar": burst, "aw": burst, "w": {"data": 64, "strobes": 8, "last": 1}},
                {"r": {"data": 64, "response": 2, "last": 1}, "b": {"response": 2}},
            )
        )


class ReadPort(wiring.Signature):
    """A master of 64-bit memory that only reads: what a `MemoryPort` has for that.

    Members
    -------
    ar : Out(stream of address (32 bits), length (4 bits, beats less one))
    r : In(stream of data (64), response (2), last (1))
    """

    def __init__(self):
        members = MemoryPort().members
        super().__init__({name: members[name] for name in ("ar", "r")})


class LitePort(wiring.Signature):
    """An AXI4-Lite master of 32-bit registers.

    Parameters
    ----------
    address_width : int
        Bits of a byte address.

    Members
    -------
    ar, aw : Out(stream of address)
    w : Out(stream of data (32), strobes (4))
    r : In(stream of data (32), response (2))
    b : In(stream of response (2))
    """

    def __init__(self, address_width: int):
        address = {"address": address_width}
        super().__init__(
            _channels(
                {"ar": address, "aw": address, "w": {"data": 32, "strobes": 4}},
                {"r": {"data": 32, "response": 2}, "b": {"response": 2}},
            )
        )


class ProcessorPort(wiring.Signature):
    """A processor as AXI3 master of 32-bit registers, such as M_AXI_GP0.

    Members
    -------
    ar, aw : Out(stream of id (12), address (32), length (4), size (2), burst (2))
    w : Out(stream of id (12), data (32), strobes (4), last (1))
    r : In(stream of id (12), data (32), response (2), last (1))
    b : In(stream of id (12), response (2))
    """

    def __init__(self):
        id = {"id": ID_WIDTH}
        burst = {**id, "address": 32, "length": 4, "size": 2, "burst": 2}
        super().__init__(
            _channels(
                {"ar": burst, "aw": burst, "w": {**id, "data": 32, "strobes": 4, "last": 1}},
                {"r": {**id, "data": 32, "response": 2, "last": 1}, "b": {**id, "response": 2}},
            )
        )


# Our fields under the specification's names, after the channel's letters.
_NAMES = {"address": "addr", "length": "len", "strobes": "strb", "response": "resp"}
# What ports to memory leave out. Cache: normal memory, bufferable, as UG585 wants of the HP ports'
# masters; size: 8 bytes; burst: INCR.
_FIXED = {"id": (0, 6), "size": (3, 2), "burst": (1, 2), "lock": (0, 2), "cache": (3, 4)}
_FIXED |= {"prot": (0, 3), "qos": (0, 4)}


def wires(port) -> dict[str, tuple[str, Value]]:
    """A port's signals by their names in the specification, in lower case.

    Parameters
    ----------
    port : interface object
        Of one of the signatures above, or flipped.

    Returns
    -------
    dict from name to (direction, value)
        "o" where the master drives it, else "i". Of a `MemoryPort` or a `ReadPort` this includes
        constants for what it leaves out, its ID of 6 bits among them.
    """
    found = {}
    signature = port.signature
    if isinstance(signature, wiring.FlippedSignature):
        signature = signature.flip()
    channels = [name for name in ("ar", "aw", "w", "r", "b") if name in signature.members]
    for channel in channels:
        beats = getattr(port, channel)
        forth, back = ("o", "i") if channel in ("ar", "aw", "w") else ("i", "o")
        found[f"{channel}valid"] = forth, beats.valid
        found[f"{channel}ready"] = back, beats.ready
        for name, _ in beats.payload.shape():
            found[channel + _NAMES.get(name, name)] = forth, Value.cast(beats.payload[name])
    if isinstance(signature, (MemoryPort, ReadPort)):
        for channel in ("ar", "aw"):
            if channel in channels:
                found |= {channel + name: ("o", Const(*fixed)) for name, fixed in _FIXED.items()}
        if "w" in channels:
            found["wid"] = "o", Const(0, 6)
    return found
