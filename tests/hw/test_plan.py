# amaranth: UnusedElaboratable=no
import json
import time

import pytest

from boards.catalogue import board
from hw import plan
from hw.pipeline import Matrix, PlanError
from hw.resources import brams
from sw import zoo
from sw.artefact import load

PYNQ, ULX3S, ICEBREAKER = board("pynq"), board("ulx3s"), board("icebreaker")


@pytest.fixture(scope="module")
def sfc():
    return load(zoo.path("mnist-sfc")).network


@pytest.fixture(scope="module")
def tiny():
    return load(zoo.path("digits-tiny")).network


@pytest.mark.parametrize("cycles", [1, 7, 14, 100, 784, 1000, 10**6])
def test_a_plan_keeps_its_pace(sfc, cycles):
    made = plan.choose(sfc, PYNQ, PYNQ.clock_hz, cycles)
    assert made.cycles.per_frame <= cycles
    folds = [stage.fold for stage in made.stages if isinstance(stage, Matrix)]
    assert made.cycles.per_frame == max(*folds, made.input_beats)


def test_target(sfc):
    made = plan.meet(sfc, PYNQ, 100_000_000, 300_000)
    assert made.frames_per_second >= 300_000
    slower = plan.meet(sfc, PYNQ, 100_000_000, 30_000)
    assert slower.resources.luts < made.resources.luts


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("target", [PYNQ, ULX3S])
def test_share(sfc, target, share):
    made = plan.fill(sfc, target, target.clock_hz, share)
    assert max(made.shares.values()) <= share
    tighter = plan.choose(sfc, target, target.clock_hz, made.cycles.per_frame * 9 // 10)
    assert max(tighter.shares.values()) > 0.9 * share  # nothing much faster would fit


def test_the_default_model_fits_every_board(tiny):
    for target in (PYNQ, board("arty_z7"), ULX3S, ICEBREAKER):
        plan.fill(tiny, target, target.clock_hz, 0.35).check()


def test_refusals_have_numbers(sfc):
    with pytest.raises(PlanError, match=r"does not fit icebreaker.*about [\d,]+ of 5,280 LUTs"):
        plan.fill(sfc, ICEBREAKER, ICEBREAKER.clock_hz, 1.0)
    lfc = load(zoo.path("mnist-lfc")).network
    with pytest.raises(PlanError, match=r"30 block RAMs hold 122,880 of its 2,910,208 bits of"):
        plan.fill(lfc, ICEBREAKER, ICEBREAKER.clock_hz, 1.0)
    missed = r"30,000,000 frames .* of 53,200 LUTs.*; the fastest that fits does [\d,]+$"
    with pytest.raises(plan.TargetError, match=missed) as refusal:
        plan.meet(sfc, PYNQ, 62_500_000, 30e6)
    nearest = refusal.value.nearest
    assert nearest == plan.fastest(sfc, PYNQ, 62_500_000)
    assert f"does {nearest.frames_per_second:,.0f}" in str(refusal.value)
    with pytest.raises(PlanError, match=r"more than one a cycle at 62\.5 MHz"):
        plan.meet(sfc, PYNQ, 62_500_000, 63e6)
    with pytest.raises(PlanError, match="must be more than 0 frames a second, not -1"):
        plan.meet(sfc, PYNQ, 62_500_000, -1)
    with pytest.raises(PlanError, match=r"over 0 and at most 1, not 1\.5"):
        plan.fill(sfc, PYNQ, 62_500_000, 1.5)


def test_search_is_quick(sfc):
    began = time.process_time()
    plan.fill(sfc, PYNQ, PYNQ.clock_hz, 0.5)
    assert time.process_time() - began < 5


def test_json_round_trip(sfc, tmp_path):
    made = plan.fill(sfc, PYNQ, PYNQ.clock_hz, 0.25)
    (tmp_path / "plan.json").write_text(made.to_json())
    assert plan.from_json(tmp_path / "plan.json", sfc, PYNQ, PYNQ.clock_hz) == made


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p.update(format=2), "a plan has format 1"),
        (lambda p: p.pop("layers"), "not a plan .*layers"),
        (lambda p: p.update(colour="red"), "not a plan .*colour"),
        (lambda p: p.update(input="words"), "input must be 'pixels' or 'bits', not 'words'"),
        (lambda p: p.update(input_lanes=0), r"input_lanes must be in 1\.\.784, not 0"),
        (lambda p: p["layers"].pop("hidden1"), "hidden1: the plan says nothing"),
        (lambda p: p["layers"].update(hidden9=p["layers"]["hidden1"]), "no layer 'hidden9'"),
        (lambda p: p["layers"]["hidden0"].update(inputs_per_beat=785), r"1\.\.784, not 785"),
        (lambda p: p["layers"]["hidden0"].update(neurons_per_beat=2.5), "must be whole numbers"),
        (lambda p: p["layers"]["hidden0"].update(logic_bits=True), "must be whole numbers"),
        (
            lambda p: p["layers"]["scores"].update(
                inputs_per_beat=16, neurons_per_beat=3, logic_bits=49
            ),
            r"scores: logic_bits must be in 0\.\.48, not 49",
        ),
        (
            lambda p: p["layers"]["scores"].update(
                inputs_per_beat=15, neurons_per_beat=10, storage="table"
            ),
            "scores: a table has at most 16 words, not 18",
        ),
        (
            lambda p: p["layers"]["hidden0"].update(storage="tape"),
            "storage must be table, logic or block",
        ),
        (
            lambda p: p["layers"]["hidden0"].update(accumulators="ram"),
            "hidden0: accumulators must be logic or dsp",
        ),
        (
            lambda p: p["layers"]["scores"].update(
                inputs_per_beat=256, neurons_per_beat=2, accumulators="dsp", storage="logic"
            ),
            "scores: counts all synapses at once; accumulators must be logic",
        ),
        (
            lambda p: p["layers"]["hidden0"].update(stages=99),
            r"stages must be in",
        ),
        (
            lambda p: [
                f.update(inputs_per_beat=256, neurons_per_beat=256, stages=0, storage="logic")
                for name, f in p["layers"].items()
                if name != "scores"
            ],
            "does not fit pynq: it needs about .* of 53,200 LUTs",
        ),
    ],
)
def test_bad_files(sfc, tmp_path, change, message):
    fields = json.loads(plan.fill(sfc, PYNQ, PYNQ.clock_hz, 0.25).to_json())
    change(fields)
    (tmp_path / "plan.json").write_text(json.dumps(fields))
    with pytest.raises(PlanError, match=message):
        plan.from_json(tmp_path / "plan.json", sfc, PYNQ, PYNQ.clock_hz)


def test_unreadable_files(sfc, tmp_path):
    with pytest.raises(PlanError, match=r"cannot read the plan .*nowhere"):
        plan.from_json(tmp_path / "nowhere", sfc, PYNQ, PYNQ.clock_hz)
    (tmp_path / "plan.json").write_text("{")
    with pytest.raises(PlanError, match="not JSON"):
        plan.from_json(tmp_path / "plan.json", sfc, PYNQ, PYNQ.clock_hz)


@pytest.mark.parametrize(
    ("target", "width", "depth", "expected"),
    [
        (PYNQ, 72, 512, 1),
        (PYNQ, 36, 512, 0.5),
        (PYNQ, 18, 1024, 0.5),
        (PYNQ, 2048, 32, 28.5),
        (PYNQ, 1, 32768, 1),
        (ULX3S, 36, 512, 1),
        (ULX3S, 37, 512, 2),
        (ICEBREAKER, 16, 256, 1),
        (ICEBREAKER, 8, 512, 1),
    ],
)
def test_block_ram_shapes(target, width, depth, expected):
    assert brams(target, width, depth) == expected
