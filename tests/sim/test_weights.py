"""Designs that take weights beside their input."""

from dataclasses import replace

import numpy as np
import pytest
from amaranth.back import verilog
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sim.harness import render
from sim.job import Job, Stream, Weights
from sim.runner import simulate
from sw.errors import PopstreamError


class Adder(wiring.Component):
    """Adds the low bits of a word of weights to each beat."""

    i: In(stream.Signature(8))
    weights: In(stream.Signature(64))
    o: Out(stream.Signature(8))

    def elaborate(self, platform):
        m = Module()
        moves = ~self.o.valid | self.o.ready
        m.d.comb += [
            self.i.ready.eq(moves & self.weights.valid),
            self.weights.ready.eq(moves & self.i.valid),
        ]
        with m.If(moves):
            m.d.sync += self.o.valid.eq(self.i.valid & self.weights.valid)
            m.d.sync += self.o.payload.eq(self.i.payload + self.weights.payload)
        return m


WORDS = np.array([1 << 40 | 5, 1 << 63 | 7, 250], dtype="<u8")


@pytest.fixture(scope="module")
def job():
    beat = {"lanes": 1, "width": 8, "elements": 3}
    return Job(
        verilog=verilog.convert(Adder(), name="adder", emit_src=False),
        top="adder",
        input=Stream("x", **beat, port="i"),
        output=Stream("y", **beat),
        weights=Weights(WORDS.tobytes()),
        cycles_per_frame=3,
    )


def test_the_same_words_for_every_frame(job, models, simulator, tmp_path):
    x = np.random.default_rng(1).integers(0, 256, (40, 3))
    y = (x + WORDS.astype(int)) % 256
    result = simulate(job, x, {"y": y}, tmp_path, cache_dir=models, simulator=simulator)
    assert result.outputs.tolist() == y.tolist()


def test_no_such_port(job):
    weights = replace(job.weights, port="w")
    with pytest.raises(PopstreamError, match="module 'adder' has no port 'w__valid'"):
        render(replace(job, weights=weights))
