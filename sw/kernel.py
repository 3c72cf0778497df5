"""The golden model's inner loop, compiled for the processor at hand by numba (`popstream[speed]`).

Sixteen vectors of eight 64-bit words count at a time: four windows, each against four times eight
neurons. That keeps every count in a register, and loads a weight once for four windows. On a
processor with 512-bit registers and a population count of 64-bit lanes, what is left is three
instructions for 512 synapses; elsewhere LLVM makes of it what it can.

numba knows no vectors of fixed length; the first half of this file teaches it one.
"""

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

__all__ = ["BLOCK", "count_bits", "count_sums"]

LANES = 8
BLOCK = 4 * LANES  #: neurons that are counted together

_VECTOR = ir.VectorType(ir.IntType(64), LANES)


class _Vector(types.Type):
    def __init__(self):
        super().__init__(name="popstream_vector")


_vector = _Vector()


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager, kind):
        super().__init__(manager, kind, _VECTOR)


def _address(context, builder, kind, array, index, target):
    """Where an element of a one-dimensional array is, as a pointer to `target`."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), target.as_pointer())


@intrinsic
def _zero(typing):
    def generate(context, builder, signature, arguments):
        return ir.Constant(_VECTOR, [0] * LANES)

    return _vector(), generate


@intrinsic
def _load(typing, array, index):
    """Eight 64-bit elements from `index` on."""

    def generate(context, builder, signature, arguments):
        place = _address(context, builder, signature.args[0], *arguments, _VECTOR)
        return builder.load(place, align=8)

    return _vector(array, types.intp), generate


@intrinsic
def _spread(typing, word):
    """A word in every lane."""

    def generate(context, builder, signature, arguments):
        none = ir.Constant(_VECTOR, ir.Undefined)
        first = builder.insert_element(none, arguments[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(
            first, none, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        )

    return _vector(types.uint64), generate


@intrinsic
def _count(typing, sums, weights, words):
    """sums + popcount(weights ^ words), in each lane."""

    def generate(context, builder, signature, arguments):
        sums, weights, words = arguments
        ones = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(_VECTOR, [_VECTOR]), f"llvm.ctpop.v{LANES}i64"
        )
        return builder.add(sums, builder.call(ones, [builder.xor(weights, words)]))

    return _vector(_vector, _vector, _vector), generate


@intrinsic
def _double(typing, sums):
    def generate(context, builder, signature, arguments):
        return builder.add(arguments[0], arguments[0])

    return _vector(_vector), generate


@intrinsic
def _store_sums(typing, array, index, sums):
    """Eight int32 elements from `index` on."""

    def generate(context, builder, signature, arguments):
        narrow = ir.VectorType(ir.IntType(32), LANES)
        place = _address(context, builder, signature.args[0], *arguments[:2], narrow)
        builder.store(builder.trunc(arguments[2], narrow), place, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, _vector), generate


@intrinsic
def _store_bits(typing, array, index, sums, limits):
    """One byte at `index`: a bit for each lane, 1 where the sum is at most its limit."""

    def generate(context, builder, signature, arguments):
        array, index, sums, limits = arguments
        place = _address(context, builder, signature.args[0], array, index, ir.IntType(8))
        bits = builder.icmp_signed("<=", sums, limits)
        builder.store(builder.bitcast(bits, ir.IntType(LANES)), place)
        return context.get_dummy_value()

    return types.void(array, types.intp, _vector, _vector), generate


@njit(nogil=True, cache=True)
def _block(x, planes, plane, r0, r1, r2, r3, taps, weights, at):
    """Differing bits of four windows that begin at r0..r3, against the 32 neurons at `at`."""
    a0 = a1 = a2 = a3 = _zero()
    b0 = b1 = b2 = b3 = _zero()
    c0 = c1 = c2 = c3 = _zero()
    d0 = d1 = d2 = d3 = _zero()
    for number in range(planes):  # from the highest bit on
        offset = (planes - 1 - number) * plane
        if number:
            a0, a1, a2, a3 = _double(a0), _double(a1), _double(a2), _double(a3)
            b0, b1, b2, b3 = _double(b0), _double(b1), _double(b2), _double(b3)
            c0, c1, c2, c3 = _double(c0), _double(c1), _double(c2), _double(c3)
            d0, d1, d2, d3 = _double(d0), _double(d1), _double(d2), _double(d3)
        for k in range(len(taps)):
            tap = offset + taps[k]
            w0 = _load(weights, at + k * BLOCK)
            w1 = _load(weights, at + k * BLOCK + LANES)
            w2 = _load(weights, at + k * BLOCK + 2 * LANES)
            w3 = _load(weights, at + k * BLOCK + 3 * LANES)
            word = _spread(x[r0 + tap])
            a0, a1 = _count(a0, w0, word), _count(a1, w1, word)
            a2, a3 = _count(a2, w2, word), _count(a3, w3, word)
            word = _spread(x[r1 + tap])
            b0, b1 = _count(b0, w0, word), _count(b1, w1, word)
            b2, b3 = _count(b2, w2, word), _count(b3, w3, word)
            word = _spread(x[r2 + tap])
            c0, c1 = _count(c0, w0, word), _count(c1, w1, word)
            c2, c3 = _count(c2, w2, word), _count(c3, w3, word)
            word = _spread(x[r3 + tap])
            d0, d1 = _count(d0, w0, word), _count(d1, w1, word)
            d2, d3 = _count(d2, w2, word), _count(d3, w3, word)
    return (a0, a1, a2, a3), (b0, b1, b2, b3), (c0, c1, c2, c3), (d0, d1, d2, d3)


@njit(nogil=True, cache=True)
def count_sums(x, planes, plane, starts, taps, weights, out):
    """Differing bits of every window and neuron, those of plane b counted 2^b times.

    Parameters
    ----------
    x : array of uint64, flat
        Packed elements.
    planes, plane : int
        Bit planes, and words from one to the next.
    starts : array of int64, (windows,)
        Where each window begins in the lowest plane.
    taps : array of int64, (words,)
        Where the words of a window are, from there.
    weights : array of uint64, flat
        Of each `BLOCK` neurons, for each word, theirs.
    out : array of int32, (windows, neurons)
        Neurons rounded up to a multiple of `BLOCK`.
    """
    windows, neurons = out.shape
    sums = out.reshape(-1)
    for first in range(0, neurons, BLOCK):
        for r0 in range(0, windows, 4):
            r1, r2, r3 = (
                min(r0 + 1, windows - 1),
                min(r0 + 2, windows - 1),
                min(r0 + 3, windows - 1),
            )
            begin = starts[r0], starts[r1], starts[r2], starts[r3]
            a, b, c, d = _block(x, planes, plane, *begin, taps, weights, first * len(taps))
            _keep_sums(sums, r0 * neurons + first, a)
            _keep_sums(sums, r1 * neurons + first, b)
            _keep_sums(sums, r2 * neurons + first, c)
            _keep_sums(sums, r3 * neurons + first, d)


@njit(nogil=True, cache=True)
def _keep_sums(out, at, sums):
    _store_sums(out, at, sums[0])
    _store_sums(out, at + LANES, sums[1])
    _store_sums(out, at + 2 * LANES, sums[2])
    _store_sums(out, at + 3 * LANES, sums[3])


@njit(nogil=True, cache=True)
def count_bits(x, planes, plane, starts, taps, weights, limits, classes, out):
    """Bits, packed: 1 where no more than the limit differ. Parameters as of `count_sums`, and

    limits : array of int64, (classes, neurons)
        Neurons rounded up to a multiple of `BLOCK`.
    classes : array of int64, (windows,)
        Which limits are a window's.
    out : array of uint8, (windows, bytes)
        Of whole 64-bit words.
    """
    windows, width = out.shape
    neurons = limits.shape[1]
    bits, flat = out.reshape(-1), limits.reshape(-1)
    for first in range(0, neurons, BLOCK):
        for r0 in range(0, windows, 4):
            r1, r2, r3 = (
                min(r0 + 1, windows - 1),
                min(r0 + 2, windows - 1),
                min(r0 + 3, windows - 1),
            )
            begin = starts[r0], starts[r1], starts[r2], starts[r3]
            a, b, c, d = _block(x, planes, plane, *begin, taps, weights, first * len(taps))
            byte = first // LANES
            _keep_bits(bits, r0 * width + byte, a, flat, classes[r0] * neurons + first)
            _keep_bits(bits, r1 * width + byte, b, flat, classes[r1] * neurons + first)
            _keep_bits(bits, r2 * width + byte, c, flat, classes[r2] * neurons + first)
            _keep_bits(bits, r3 * width + byte, d, flat, classes[r3] * neurons + first)


@njit(nogil=True, cache=True)
def _keep_bits(out, at, sums, limits, limit):
    _store_bits(out, at, sums[0], _load(limits, limit))
    _store_bits(out, at + 1, sums[1], _load(limits, limit + LANES))
    _store_bits(out, at + 2, sums[2], _load(limits, limit + 2 * LANES))
    _store_bits(out, at + 3, sums[3], _load(limits, limit + 3 * LANES))
