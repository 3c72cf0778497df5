"""The schedule for CCU2C: every half evaluated as the hardware does, counts compared."""

import re
from itertools import pairwise

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module, Signal

from hw.cores.compressor import Atom, Chain, Level
from hw.cores.compressor_ecp5 import draw, luts, rows, schedule

WIDTHS = [*range(1, 41), 64, 96, 100, 128, 255, 256, 1000, 1024]


def run_row(row, lanes, nodes):
    """A row of CCU2C: `lanes` are pairs of arrays of bits, `nodes` gets what is made."""
    carry = np.zeros_like(lanes[0][0]) ^ 1  # what comes in by the first carry must not matter
    for half in row:
        inputs = [bit for lane in half.lanes for bit in lanes[lane]]
        inputs += [nodes[node] for node in half.nodes]
        inputs += [np.ones_like(carry)] * (4 - len(inputs))
        f = half.init >> sum(bit << k for k, bit in enumerate(inputs)) & 1
        g = half.init >> sum(bit << k for k, bit in enumerate(inputs[:2])) & 1
        if half.made is not None:
            assert half.made not in nodes
            nodes[half.made] = f ^ carry
        carry = np.where(f, carry, g)


def run(tree, activations, weights):
    """The counts of matches of arrays of bits, shape (samples, lanes)."""
    lanes = [(1 - a, w) for a, w in zip(activations.T, weights.T, strict=True)]
    nodes = {}
    for level in tree.levels:
        made = {}
        for counter in level.counters:
            if len(counter.lanes) == 1:
                made[counter.made[0]] = lanes[counter.lanes[0]][0] ^ lanes[counter.lanes[0]][1]
        for row in rows(level):
            assert len(row) % 2 == 0
            before = dict(nodes)
            run_row(row, lanes, before)
            made |= {node: bits for node, bits in before.items() if node not in nodes}
        nodes |= made
    bits = [nodes[node] << k for k, node in enumerate(tree.result) if node is not None]
    return sum(bits)


@pytest.mark.parametrize("width", WIDTHS)
def test_counts_matches(width):
    rng = np.random.default_rng(width)
    if width <= 6:
        every = np.arange(1 << 2 * width)
        activations = every[:, None] >> np.arange(width) & 1
        weights = every[:, None] >> np.arange(width, 2 * width) & 1
    else:
        share = rng.random((300, 1))  # of matches, from none to all
        share[:2] = [[0], [1]]
        activations = rng.integers(0, 2, (300, width))
        weights = activations ^ (rng.random((300, width)) >= share)
    counts = (activations == weights).sum(axis=1)
    assert (run(schedule(width), activations, weights) == counts).all()


@pytest.mark.parametrize("width", WIDTHS)
def test_each_node_is_made_once_and_used_once(width):
    tree = schedule(width)
    made, used = [], [node for node in tree.result if node is not None]
    for level in tree.levels:
        made += [node for item in (*level.counters, *level.chains) for node in item.made]
        for chain in level.chains:
            used += [] if chain.carry is None else [chain.carry]
            used += [node for atom in chain.atoms for node in atom.low + atom.high]
    made = [node for node in made if node is not None]
    assert sorted(made) == sorted(used) == list(range(len(tree.weights)))
    assert sorted(lane for c in tree.levels[0].counters for lane in c.lanes) == list(range(width))


@pytest.mark.parametrize("atom", [(1,), (2,), (3, 0), (3, 1), (4, 0), (2, 1), (0,)])
def test_chains_add(atom):
    """One atom with a carry, between others; each combination of bits."""
    if atom == (2, 1):
        atoms = (Atom((), (1, 2), (), False), Atom((), (3,), (), False))
    else:
        low = tuple(range(1, 1 + atom[0]))
        high = tuple(range(5, 5 + (atom[1] if len(atom) > 1 else 0)))
        atoms = (Atom((), low, high, len(atom) > 1),)
    places = sum(a.positions for a in atoms)
    made = tuple(range(10, 11 + places))
    other = Chain(0, 8, (Atom((), (9,), (), False),), (20, 21))
    chain = Chain(0, 0, atoms, made)
    every = np.arange(1 << 10)
    nodes = {node: every >> node & 1 for node in range(10)}
    (row,) = rows(
        Level(chains=(other, chain, Chain(0, None, (Atom((), (7,), (), False),), (30, 31))))
    )
    taken = [0]
    weight = {0: 1}
    here = 0
    for each in atoms:
        for nodes_taken, k in ((each.low, here), (each.high, here + 1)):
            taken += nodes_taken
            weight |= {node: 1 << k for node in nodes_taken}
        here += each.positions
    total = sum(nodes[node] * weight[node] for node in taken)
    run_row(row, [(every, every)], nodes)
    assert (sum(nodes[node] << k for k, node in enumerate(made)) == total).all()
    assert (nodes[20] + 2 * nodes[21] == nodes[8] + nodes[9]).all()
    assert (nodes[30] + 2 * nodes[31] == nodes[7]).all()


def test_luts():
    """Halves of CCU2C, and those of one lane; the bound says how many bits have to go."""
    assert luts(schedule(64)) <= 1.75 * 64
    assert luts(schedule(128)) <= 1.75 * 128
    for width in WIDTHS:
        assert luts(schedule(width)) >= width - width.bit_length()


def test_rows_are_short():
    for width in WIDTHS:
        for level in schedule(width).levels:
            longest = max((chain.positions for chain in level.chains), default=0)
            assert all(len(row) <= max(14, longest + 3) for row in rows(level))


@pytest.mark.parametrize("width", [7, 32])
def test_draws_what_is_scheduled(width):
    """A cell for two halves of all words, the carries of a row wired through, its ends marked."""
    words = 3
    m, tree = Module(), schedule(width)
    i, w = (Signal(width * words, name=name) for name in "iw")
    nodes = {node: Signal(words, name=f"node_{node}") for node in range(len(tree.weights))}
    for level in tree.levels:
        draw(m, level, nodes, lambda lane: (i.word_select(lane, words), w.word_select(lane, words)))
    text = rtlil.convert(m, ports=[i, w, *nodes.values()], emit_src=False)
    found = re.findall(r"cell \\POPSTREAM_CCU2C .*?\n(.*?)\n  end\n", text, re.DOTALL)
    expected = [row for level in tree.levels for row in rows(level)]
    assert 2 * len(found) == sum(map(len, expected))
    cells = iter(found)
    for row in expected:
        drawn = [next(cells) for _ in row[::2]]
        wires = [dict(re.findall(r"connect \\(\S+) (.*)", cell)) for cell in drawn]
        assert "CIN" not in wires[0]
        for before, after in pairwise(wires):
            assert after["CIN"].split()[0] == before["COUT"].split()[0]
        ends = [re.findall(r"\\(?:FIRST|LAST) (\d+)", cell) for cell in drawn]
        last = len(drawn) - 1
        assert ends == [[str(int(k == 0)), str(int(k == last))] for k in range(len(drawn))]
    inits = [int(bits, 2) for bits in re.findall(r"INIT[01] 16'(\d+)", text)]
    assert inits == [half.init for row in expected for half in row]


def test_bad_width():
    with pytest.raises(ValueError, match="Width must be at least 1, not 0"):
        schedule(0)
