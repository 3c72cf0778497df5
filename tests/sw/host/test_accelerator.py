"""sw.host.accelerator and sw.host.memory, against a board in Python."""

import gc
import time
from dataclasses import replace

import numpy as np
import pytest

from sw import artefact, zoo
from sw.errors import PopstreamError
from sw.golden import trace
from sw.host import Accelerator
from sw.host.memory import BUFFERS, MemoryLink
from sw.host.registers import COUNTERS, Cause, register
from sw.host.totals import Totals
from sw.network import Argmax, Conv, Dense, Input, Network


@pytest.fixture
def opened(fake, tiny):
    """Opens a fake board of the smallest model; closes it afterwards."""
    accelerators = []

    def open_(*, path=tiny, timeout=0.3, batch=None, file=None, **what):
        device = fake(path, **what)
        options = {"weights": file, "timeout": timeout, "batch": batch}
        accelerators.append(Accelerator.open(device, model=path, **options))
        return accelerators[-1], device

    yield open_
    for accelerator in accelerators:
        accelerator.close()


@pytest.fixture
def samples(tiny):
    return artefact.load(tiny).samples


# Answers


@pytest.mark.parametrize("batch", [1, 7, 25, 50, 64])
@pytest.mark.parametrize("bits", [False, True])
@pytest.mark.parametrize(("scores", "number_bytes"), [(False, 1), (False, 4), (True, 2)])
def test_answers_are_the_golden_models(opened, tiny, samples, batch, bits, scores, number_bytes):
    accelerator, device = opened(bits=bits, scores=scores, number_bytes=number_bytes, batch=batch)
    labels = accelerator.infer(samples.inputs)
    assert labels.dtype == np.int64
    assert labels.tolist() == samples.answers[:, 0].tolist()
    assert device.deepest == (1 if batch >= 50 else BUFFERS)
    if scores:
        network = artefact.load(tiny).network
        found = accelerator.infer(samples.inputs, scores=True)
        assert found.dtype == np.int64
        assert np.array_equal(found, trace(network, samples.inputs)[network.output.inputs[0]])


@pytest.mark.parametrize("name", ["mnist-tfc", "fashion-sfc"])
@pytest.mark.parametrize("bits", [False, True])
def test_wider_pixels(opened, name, bits):
    accelerator, _ = opened(path=zoo.path(name), bits=bits)
    samples = accelerator.model.samples
    assert accelerator.infer(samples.inputs).tolist() == samples.answers[:, 0].tolist()


@pytest.mark.parametrize("bits", [1, 3, 8])
@pytest.mark.parametrize("signed", [False, True])
def test_pictures_of_several_channels(opened, tmp_path, bits, signed):
    """A convolution that takes integers of either sign."""
    rng = np.random.default_rng(0)
    node = Input("pixels", shape=(4, 3, 2), bits=bits, signed=signed)
    low, high = node.infer().low, node.infer().high
    network = Network(
        (
            node,
            Conv("conv", ("pixels",), rng.integers(0, 2, (5, 2, 2, 2)), [4 * high - 4 * low] * 5),
            Dense("scores", ("conv",), rng.integers(0, 2, (3, 30))),
            Argmax("label", ("scores",)),
        ),
        "abc",
    )
    images = rng.integers(low, high + 1, (20, 4, 3, 2), np.int8 if signed else np.uint8)
    card = artefact.Card("picture", "none", "none", 0.5, 0.5, 20)
    artefact.save(tmp_path / "m", network, card, artefact.Samples(images, np.zeros(20, np.uint8)))
    accelerator, _ = opened(path=tmp_path / "m")
    answers = accelerator.model.samples.answers[:, 0].tolist()
    assert len(set(answers)) > 1
    assert accelerator.infer(accelerator.model.samples.inputs).tolist() == answers
    assert accelerator.infer(images.astype(np.int64)).tolist() == answers
    if signed or bits < 8:
        with pytest.raises(
            PopstreamError, match=rf"frame 1 .* {low}\.\.{high}, but has {high + 1}"
        ):
            accelerator.infer(np.stack([images[0], np.full((4, 3, 2), high + 1)]))
        with pytest.raises(
            PopstreamError, match=rf"in {low}\.\.{high}, not float64.*numpy\.u?int8"
        ):
            accelerator.infer(images.astype(float))


def test_of_equal_scores_the_lowest_index_wins(opened):
    accelerator, device = opened(scores=True, number_bytes=2)
    row = np.array([3, 9, 1, 9, 0, 0, 0, 9, 2, 1], "<u2")
    device.compute = lambda data: row.tobytes() * len(data)
    assert accelerator.infer(np.zeros((2, 8, 8), np.uint8)).tolist() == [1, 1]


def test_one_frame_counts_as_one(opened, samples):
    accelerator, _ = opened()
    assert accelerator.infer(samples.inputs[0]).tolist() == samples.answers[0].tolist()


def test_no_frames(opened):
    accelerator, device = opened(scores=True)
    assert accelerator.infer(np.zeros((0, 8, 8), np.uint8)).shape == (0,)
    assert accelerator.infer(np.zeros((0, 8, 8), np.uint8), scores=True).shape == (0, 10)
    assert ("CONTROL", 1) not in device.log


@pytest.mark.parametrize("dtype", [np.int8, np.int64, np.uint32, ">i2"])
def test_any_integers_will_do(opened, samples, dtype):
    accelerator, _ = opened()
    labels = accelerator.infer(samples.inputs.astype(dtype))
    assert labels.tolist() == samples.answers[:, 0].tolist()
    assert accelerator.infer(samples.inputs[:3].tolist()).tolist() == labels[:3].tolist()


def test_frames_may_lie_as_they_like(opened, samples):
    accelerator, _ = opened()
    turned = np.asfortranarray(samples.inputs)[::-1]
    assert accelerator.infer(turned).tolist() == samples.answers[::-1, 0].tolist()


def test_booleans_are_black_and_one(opened, samples):
    accelerator, _ = opened()
    images = samples.inputs >= 8
    assert accelerator.infer(images).tolist() == accelerator.infer(images.astype(int)).tolist()


def test_progress(opened, samples):
    accelerator, _ = opened(batch=20)
    seen = []
    accelerator.infer(samples.inputs, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(20, 50), (40, 50), (50, 50)]


def test_next_batch_is_encoded_while_the_last_runs(opened, samples):
    accelerator, device = opened(batch=10)
    at_encoding = []
    encode = accelerator._encode
    accelerator._encode = lambda frames: at_encoding.append(len(device.jobs)) or encode(frames)
    accelerator.infer(samples.inputs)
    assert at_encoding == [0, 1, 2, 2, 2]


def test_buffers_are_used_again_and_given_back(opened, samples):
    accelerator, device = opened(batch=16)
    for _ in range(3):
        accelerator.infer(samples.inputs)
    # 16 frames twice, and the 2 that remain, whose turn is always the same.
    assert len(device.buffers) == 2 * BUFFERS + 2
    assert sum(len(buffer.array) for buffer in device.buffers) == 2 * (1024 + 16) + 128 + 8
    accelerator.close()
    assert not device.buffers
    assert device.log[-1] == ("close", None)


# Batches, and weights that the board reads

WEIGHTS = bytes(range(7, 247)) * 11


@pytest.fixture
def streamed(opened, tiny, tmp_path):
    """Opens a fake board that reads weights; they are beside the model file."""

    def open_(*, batch_frames=7, weights=WEIGHTS, file=WEIGHTS, **what):
        path = tmp_path / "model.safetensors"
        path.write_bytes(tiny.read_bytes())
        if file is not None:
            (tmp_path / "weights.bin").write_bytes(file)
        return opened(path=path, batch_frames=batch_frames, weights=weights, **what)

    return open_


@pytest.mark.parametrize("batch_frames", [1, 7, 64])
@pytest.mark.parametrize("batch", [None, 1, 14, 20, 50])
@pytest.mark.parametrize("weights", [WEIGHTS, b""], ids=["streamed", "resident"])
def test_last_batch_is_filled_up_with_zeros(streamed, samples, batch_frames, batch, weights):
    accelerator, device = streamed(batch_frames=batch_frames, batch=batch, weights=weights)
    seen, compute = [], device.compute
    device.compute = lambda data: seen.append(data.copy()) or compute(data)
    for _ in range(2):  # in buffers that have held other frames
        labels = accelerator.infer(samples.inputs)
        assert labels.tolist() == samples.answers[:, 0].tolist()
    jobs = [min(batch or 50, 50 - start) for start in range(0, 50, batch or 50)] * 2
    assert [len(data) for data in seen] == [-(-n // batch_frames) * batch_frames for n in jobs]
    assert not any(data[n:].any() for n, data in zip(jobs, seen, strict=True))
    frames = sum(map(len, seen))
    counters = accelerator.counters
    assert counters["FRAMES_DONE"] == frames
    assert counters["WORDS_READ"] == frames // batch_frames * len(weights) // 8


@pytest.mark.parametrize(("batch_frames", "frames"), [(1, 32768), (48, 32736), (40000, 40000)])
def test_a_job_is_of_whole_batches(streamed, batch_frames, frames):
    accelerator, _ = streamed(batch_frames=batch_frames)
    assert accelerator._batch == frames


def test_weights_are_given_back(streamed, samples):
    accelerator, device = streamed()
    accelerator.infer(samples.inputs)
    assert WEIGHTS in [buffer.memory[: len(WEIGHTS)].tobytes() for buffer in device.buffers]
    accelerator.close()
    assert not device.buffers and device.log[-1] == ("close", None)


def test_weights_are_still_there_after_an_error(streamed, samples):
    accelerator, device = streamed(cause=Cause.WEIGHTS_SLAVE)
    with pytest.raises(PopstreamError, match="answered a read of weights with SLVERR"):
        accelerator.infer(samples.inputs)
    device.cause = 0
    device.set("WEIGHTS", 0)  # as another program might leave it
    assert works(accelerator, samples)


def test_weights_of_another_file(streamed, opened, tiny, tmp_path):
    (tmp_path / "other.bin").write_bytes(WEIGHTS)
    accelerator, _ = opened(weights=WEIGHTS, batch_frames=2, file=tmp_path / "other.bin")
    assert accelerator.identity.weight_bytes == len(WEIGHTS)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            None,
            r"cannot read the weights .*weights\.bin: No such file.*; name the file .* weights=",
        ),
        (
            WEIGHTS[8:],
            r"weights\.bin has other weights .*: 2,632 bytes .*, not 2,640 of [0-9a-f]{8}",
        ),
        (WEIGHTS[::-1], r"weights\.bin has other weights .*: 2,640 bytes .*, not 2,640 of"),
    ],
)
def test_wrong_weights(fake, tiny, tmp_path, file, message):
    path = tmp_path / "model.safetensors"
    path.write_bytes(tiny.read_bytes())
    if file is not None:
        (tmp_path / "weights.bin").write_bytes(file)
    device = fake(path, batch_frames=2, weights=WEIGHTS)
    with pytest.raises(PopstreamError, match=message):
        Accelerator.open(device, model=path)
    assert device.log == [("close", None)]


def test_no_memory_for_weights(streamed):
    with pytest.raises(PopstreamError, match="no 2640 bytes of memory"):
        streamed(room=2000)


def test_starved_board_says_why(streamed, samples):
    """The gateware has given up, but waits for the memory's last words."""
    accelerator, device = streamed(stuck=True)
    cause = Cause.WEIGHTS_STARVED << register("STATUS").field("cause").low
    device.on_wait = lambda: device.set("STATUS", cause)
    with pytest.raises(PopstreamError, match=r"owes 56: the memory did not answer a read of wei"):
        accelerator.infer(samples.inputs)
    device.on_wait, device.stuck = None, False
    assert works(accelerator, samples)


def test_benchmark_tells_of_weights(streamed):
    accelerator, _ = streamed(batch=14)
    measured = accelerator.benchmark(seconds=0.02)
    batches = measured.counters["WORDS_READ"] / (len(WEIGHTS) / 8)
    assert batches * 7 == measured.images
    rate = batches * len(WEIGHTS) / measured.seconds
    assert measured.weights_bytes_per_second == pytest.approx(rate)
    jobs = measured.counters["JOBS_DONE"]
    starved = jobs * 500 / (100e6 * measured.seconds)
    assert measured.weights_starved_share == pytest.approx(starved)
    assert f"weights         {rate / 1e6:>15,.2f} MB/s" in str(measured)
    assert "of the time it waited for weights" in str(measured)


# Images that are refused


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 7, 8), np.uint8), r"digits-tiny takes frames of shape \(8, 8\).*\(2, 7, 8\)"),
        (np.zeros(64, np.uint8), r"or several: \(n, 8, 8\), not \(64,\)"),
        (np.uint8(3), r"not \(\)"),
        (np.zeros((2, 8, 8)), r"must be integers in 0\.\.31, not float64: scale them"),
        (np.zeros((2, 8, 8), "U1"), r"must be integers in 0\.\.31, not <U1"),
        (np.full((2, 8, 8), 32, np.uint8), r"frame 0 must be in 0\.\.31, but has 32"),
        (np.full((2, 8, 8), -1), r"frame 0 must be in 0\.\.31, but has -1"),
        ([[[1]], [[1, 2]]], "are no array of numbers"),
    ],
)
def test_wrong_images(opened, images, message):
    accelerator, device = opened()
    with pytest.raises(PopstreamError, match=message):
        accelerator.infer(images)
    assert ("CONTROL", 1) not in device.log


def test_wrong_frame_is_named(opened, samples):
    accelerator, _ = opened()
    images = samples.inputs.astype(np.int16)
    for worst in (300, -5):
        images[31, 7, 7] = worst
        with pytest.raises(PopstreamError, match=rf"frame 31 must be in .*, but has {worst}$"):
            accelerator.infer(images)


def test_scores_of_a_fabric_with_labels(opened, samples):
    accelerator, _ = opened()
    with pytest.raises(PopstreamError, match="labels only: build it with --results scores"):
        accelerator.infer(samples.inputs, scores=True)


# Opening


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"MAGIC": 0xDEADBEEF}, "no Popstream accelerator: MAGIC reads 0xDEADBEEF, not 0x53504F50"),
        ({"VERSION": 2}, "registers are of version 2, this library drives version 1"),
        ({"DIGEST_7": 0}, "another network than digits-tiny: its digest is .*, the model file's"),
        ({"FRAME_ELEMENTS": 65, "FRAME_BYTES": 65}, "takes frames of 65 elements of 5 bits, .* 64"),
        ({"FRAME_BITS": 6}, "takes frames of 64 elements of 6 bits, digits-tiny has 64 of 5"),
        ({"FRAME_BYTES": 63}, "description makes no sense"),
        ({"FRAME_BITS": 9}, "description makes no sense"),
        ({"RESULT_BYTES": 3}, "description makes no sense"),
        ({"RESULT_KIND": 2}, "description makes no sense"),
        ({"RESULT_ELEMENTS": 10}, "description makes no sense"),
        ({"FRAME_CYCLES": 0}, "description makes no sense"),
        ({"RESULT_KIND": 1, "RESULT_ELEMENTS": 9}, "yields 9 scores, digits-tiny has 10 classes"),
    ],
)
def test_another_fabric_is_refused(opened, fake, tiny, words, message):
    device = fake(tiny, identity=words)
    with pytest.raises(PopstreamError, match=message):
        Accelerator.open(device, model=tiny)
    # Nothing was written to whatever it is.
    assert device.log == [("close", None)]


def test_opening_sets_the_clock_and_resets(opened):
    accelerator, device = opened()
    assert device.log[:2] == [("clock", 100_000_000), ("CONTROL", 2)]
    assert ("ENABLE", 3) in device.log
    assert accelerator.clock_hz == accelerator.identity.clock_hz == 100_000_000
    assert accelerator.identity.digest == accelerator.model.digest


def test_clock_that_the_board_can_make(fake, tiny):
    device = fake(tiny)
    device.set_clock = lambda hz: hz // 2
    with Accelerator.open(device, model=tiny) as accelerator:
        assert accelerator.clock_hz == 50_000_000
        assert accelerator.benchmark(seconds=0.01).planned_images_per_second == 50e6 / 64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0}, "timeout must be over 0 s, not 0"),
        ({"timeout": float("nan")}, "timeout must be over 0 s, not nan"),
        ({"batch": 0}, r"batch must be in 1\.\.65535, not 0"),
        ({"batch": 65536}, r"batch must be in 1\.\.65535, not 65536"),
    ],
)
def test_wrong_options(fake, tiny, options, message):
    with pytest.raises(PopstreamError, match=message):
        Accelerator.open(fake(tiny), model=tiny, **options)


def test_model_of_the_current_folder(fake, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        PopstreamError, match=rf"no model file: {tmp_path} has no \*\.safetensors; .* model="
    ):
        Accelerator.open(fake(tiny))
    (tmp_path / "a.safetensors").write_bytes(tiny.read_bytes())
    with Accelerator.open(fake(tiny)) as accelerator:
        assert accelerator.model.name == "digits-tiny"
    (tmp_path / "b.safetensors").write_bytes(tiny.read_bytes())
    with pytest.raises(
        PopstreamError, match=r"which model file\? .* has a\.safetensors, b\.safeten"
    ):
        Accelerator.open(fake(tiny))


def test_closed(opened, samples):
    accelerator, device = opened()
    assert repr(accelerator) == "<Accelerator digits-tiny on fake>"
    accelerator.close()
    accelerator.close()
    assert device.log.count(("close", None)) == 1
    assert repr(accelerator) == "<Accelerator digits-tiny on closed>"
    for use in (
        lambda: accelerator.infer(samples.inputs),
        accelerator.benchmark,
        lambda: accelerator.counters,
        accelerator.reset,
    ):
        with pytest.raises(PopstreamError, match="the accelerator is closed"):
            use()


# What goes wrong


def works(accelerator, samples):
    labels = accelerator.infer(samples.inputs)
    return labels.tolist() == samples.answers[:, 0].tolist()


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause])
@pytest.mark.parametrize("after", [0, 2])
def test_cause_in_words_and_the_board_usable_again(opened, samples, cause, after):
    accelerator, device = opened(cause=cause, fails_after=after, batch=10)
    with pytest.raises(PopstreamError) as caught:
        accelerator.infer(samples.inputs)
    said = str(caught.value)
    assert cause.text in said
    assert f"(error, 0 queued; JOBS_DONE {after}, FRAMES_DONE {10 * after}, " in said
    assert "\n" not in said
    device.cause = 0
    assert works(accelerator, samples)


def test_unknown_cause(opened, samples):
    accelerator, _ = opened(cause=15)
    with pytest.raises(PopstreamError, match="gave up: cause 15, which is unknown"):
        accelerator.infer(samples.inputs)


def test_board_that_never_ends(opened, samples):
    accelerator, device = opened(stuck=True)
    began = time.monotonic()
    with pytest.raises(PopstreamError, match=r"no frame for 0\.3 s and owes 50 \(busy, 0 queued"):
        accelerator.infer(samples.inputs)
    assert 0.3 <= time.monotonic() - began < 2
    device.stuck = False
    assert works(accelerator, samples)


def test_slow_board_is_waited_for_while_it_answers(opened, samples):
    """Every wait takes a quarter of the timeout, a job nine of them."""
    accelerator, device = opened(slow=8, timeout=0.2)
    device.on_wait = lambda: time.sleep(0.05)
    assert works(accelerator, samples)


def test_lost_interrupts_only_cost_time(opened, samples):
    accelerator, _ = opened(deaf=True, batch=10)
    assert works(accelerator, samples)


def test_board_that_does_not_come_back(opened, samples):
    accelerator, device = opened(stuck=True)
    device.reset_stuck = True
    message = r"no frame for .*; and the accelerator's reset has not ended within 0\.3 s \(busy"
    with pytest.raises(PopstreamError, match=message):
        accelerator.infer(samples.inputs)
    # It is not believed to be well until it has been reset.
    with pytest.raises(PopstreamError, match="reset has not ended"):
        accelerator.infer(samples.inputs)
    device.reset_stuck = device.stuck = False
    assert works(accelerator, samples)


def test_memory_of_a_board_that_may_still_write_is_kept(fake, tiny, samples):
    device = fake(tiny, stuck=True)
    accelerator = Accelerator.open(device, model=tiny, timeout=0.05)
    device.reset_stuck = True
    with pytest.raises(PopstreamError, match="reset has not ended"):
        accelerator.infer(samples.inputs)
    kept = list(device.buffers)
    with pytest.raises(PopstreamError, match="reset has not ended"):
        accelerator.close()
    assert device.buffers == kept and device.log[-1] == ("close", None)


@pytest.mark.parametrize("accesses", range(1, 60, 7))
def test_device_that_is_gone(opened, samples, accesses):
    accelerator, device = opened(batch=10)
    device.gone_after = accesses
    with pytest.raises(PopstreamError, match=r"^lost the device fake: [^;]*Input/output error$"):
        accelerator.infer(samples.inputs)
    device.gone_after = None
    assert works(accelerator, samples)


@pytest.mark.parametrize("accesses", [0, 5, 22])
def test_device_that_is_gone_at_once(fake, tiny, accesses):
    with pytest.raises(PopstreamError, match="lost the device fake"):
        Accelerator.open(fake(tiny, gone_after=accesses), model=tiny)


@pytest.mark.parametrize("wait", [0, 3])
def test_interrupted_by_the_user(opened, samples, wait):
    accelerator, device = opened(batch=10)
    waits = iter(range(100))

    def interrupt():
        if next(waits) == wait:
            raise KeyboardInterrupt

    device.on_wait = interrupt
    with pytest.raises(KeyboardInterrupt):
        accelerator.infer(samples.inputs)
    assert not device.jobs and device.log[-2:] == [("CONTROL", 2), ("ENABLE", 3)]
    device.on_wait = None
    assert works(accelerator, samples)


def test_progress_that_raises_stops_the_board(opened, samples):
    accelerator, device = opened(batch=10)
    with pytest.raises(ZeroDivisionError):
        accelerator.infer(samples.inputs, progress=lambda done, total: 1 / 0)
    assert not device.jobs
    assert works(accelerator, samples)


def test_interrupted_where_the_reset_fails(opened, samples):
    accelerator, device = opened(timeout=0.05)

    def interrupt():
        device.reset_stuck = True
        raise KeyboardInterrupt

    device.on_wait = interrupt
    with pytest.raises(KeyboardInterrupt):
        accelerator.infer(samples.inputs)
    device.on_wait, device.reset_stuck = None, False
    assert works(accelerator, samples)


def test_another_programs_jobs_are_noticed(opened, samples):
    accelerator, device = opened(batch=10)
    device.on_wait = lambda: device.set("JOBS_DONE", 7)
    with pytest.raises(PopstreamError, match="answered what it was not asked, 2 jobs of 20 frames"):
        accelerator.infer(samples.inputs)


def test_registers_that_read_as_ones(opened, samples):
    """What a bus may answer whose other end is gone."""
    accelerator, device = opened()

    def ones():
        device.read = lambda address: 0xFFFF_FFFF

    device.on_wait = ones
    with pytest.raises(PopstreamError, match="gave up: cause 15, which is unknown"):
        accelerator.infer(samples.inputs)
    del device.read
    device.on_wait = None
    assert works(accelerator, samples)


def test_impossible_class(opened, samples):
    accelerator, device = opened()
    device.compute = lambda data: bytes([3] * 20 + [10] + [3] * 29)
    with pytest.raises(PopstreamError, match="answered frame 20 with class 10, but there are 10"):
        accelerator.infer(samples.inputs)


def test_no_memory(opened, samples):
    accelerator, device = opened(room=100)
    with pytest.raises(PopstreamError, match="no 4096 bytes of memory"):
        accelerator.infer(samples.inputs)
    device.room = 1 << 20
    assert works(accelerator, samples)


def test_error_within_with_is_not_hidden_by_closing(fake, tiny):
    device = fake(tiny)
    with (
        pytest.raises(PopstreamError, match="my own"),
        Accelerator.open(device, model=tiny, timeout=0.05) as accelerator,
    ):
        accelerator.infer(np.zeros((1, 8, 8), np.uint8))
        device.gone_after = 0
        accelerator._link._fresh = False
        raise PopstreamError("my own")


# Counters and benchmark


def test_counters(opened, samples):
    accelerator, _ = opened(batch=10)
    accelerator.infer(samples.inputs)
    counters = accelerator.counters
    assert list(counters) == [each.name for each in COUNTERS]
    assert counters["JOBS_DONE"] == 5 and counters["FRAMES_DONE"] == 50
    assert counters["CYCLES_BUSY"] == 5000 and counters["REJECTED"] == 0


def test_counters_do_not_wrap(opened, samples):
    accelerator, device = opened()
    for cycles in (3_000_000_000, 1_000_000_000, 4_294_967_295):
        device.set("CYCLES_BUSY", cycles)
        total = accelerator.counters["CYCLES_BUSY"]
    assert total == 3_000_000_000 + ((1_000_000_000 - 3_000_000_000) % 2**32) + 3_294_967_295


def test_totals_outlive_resets(opened, samples):
    accelerator, device = opened(batch=10)
    accelerator.infer(samples.inputs)
    device.stuck = True
    with pytest.raises(PopstreamError, match="no frame for"):
        accelerator.infer(samples.inputs)
    device.stuck = False
    accelerator.infer(samples.inputs)
    assert device.get("FRAMES_DONE") == 50
    assert accelerator.counters["FRAMES_DONE"] == 100


def test_jobs_go_on_where_their_counter_wraps(opened, samples):
    """As after 4,294,967,294 jobs."""
    accelerator, device = opened(batch=10)
    link = accelerator._link
    for name, count in (("JOBS_DONE", 2**32 - 2), ("FRAMES_DONE", 2**32 - 25)):
        device.set(name, count)
    link._jobs, link._frames = 2**32 - 2, 2**32 - 25
    assert works(accelerator, samples)
    assert device.get("JOBS_DONE") == 3 and device.get("FRAMES_DONE") == 25


def test_totals_of_wrapping_words():
    totals = Totals()
    words = {each.name: 0 for each in COUNTERS}
    totals.update(words | {"STALLS_IN": 2**32 - 1})
    totals.update(words | {"STALLS_IN": 4})
    assert totals.read()["STALLS_IN"] == 2**32 + 4
    totals.restart()
    totals.update(words | {"STALLS_IN": 4})
    assert totals.read()["STALLS_IN"] == 2**32 + 8


@pytest.mark.parametrize("given", [False, True])
def test_benchmark(opened, samples, given):
    accelerator, device = opened(batch=64, bits=True)
    device.on_wait = lambda: time.sleep(0.001)
    seen = []
    measured = accelerator.benchmark(
        samples.inputs[:3] if given else None,
        seconds=0.2,
        progress=lambda done, total: seen.append((done, total)),
    )
    assert measured.batch == 64 and measured.images % 64 == 0 and measured.images >= 128
    assert 0.2 <= measured.seconds < 5
    assert measured.images_per_second == measured.images / measured.seconds
    assert measured.in_bytes_per_second == measured.images_per_second * 8
    assert measured.out_bytes_per_second == measured.images_per_second
    assert measured.planned_images_per_second == 100e6 / 64
    assert 0.001 <= measured.latency_seconds < 0.1
    jobs = measured.images // 64
    assert measured.counters["JOBS_DONE"] == jobs
    assert measured.counters["CYCLES_BUSY"] == 1000 * jobs
    assert measured.busy_share == pytest.approx(jobs * 1e-5 / measured.seconds)
    assert measured.starved_share == pytest.approx(measured.busy_share / 4)
    assert measured.blocked_share == 0
    assert set(measured.spent) == {"encode", "copy in", "wait", "copy out", "decode"}
    assert 0.5 * measured.seconds < sum(measured.spent.values()) < measured.seconds * 1.01
    assert measured.spent["wait"] == max(measured.spent.values())
    assert seen[-1] == (0.2, 0.2) and seen == sorted(seen)
    text = str(measured)
    assert f"{measured.images_per_second:,.0f} images/s" in text
    assert "host: encode" in text and "fabric starved" in text


def test_benchmark_of_no_time_measures_one_batch(opened):
    accelerator, _ = opened(batch=4)
    measured = accelerator.benchmark(seconds=1e-9)
    assert measured.images == measured.batch and measured.images_per_second > 0


def test_benchmark_of_a_slow_board_ends(opened):
    """A board that takes 20 ms a job: no batch of 32,768 is tried on it."""
    accelerator, device = opened()
    device.on_wait = lambda: time.sleep(0.02)
    began = time.monotonic()
    measured = accelerator.benchmark(seconds=0.1)
    assert measured.batch < 32768 and time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("images", "seconds", "message"),
    [
        (np.zeros((0, 8, 8), np.uint8), 1, "needs at least one image"),
        (None, 0, "lasts over 0 s, not 0"),
        (None, float("nan"), "lasts over 0 s, not nan"),
        (None, float("inf"), "lasts over 0 s, not inf"),
    ],
)
def test_benchmarks_that_make_no_sense(opened, images, seconds, message):
    accelerator, _ = opened()
    with pytest.raises(PopstreamError, match=message):
        accelerator.benchmark(images, seconds=seconds)


# The link by itself


def test_batch_sizes(fake, tiny):
    link = MemoryLink(fake(tiny), timeout=1)
    assert link.batch(8, 1) == link.batch(98, 1) == 32768
    assert link.batch(784, 1) == 4096
    assert link.batch(1, 4000) == 1024
    assert link.batch(1 << 24, 1) == 1


def test_link_that_nobody_finishes_is_reset(fake, tiny):
    device = fake(tiny)
    link = MemoryLink(device, timeout=1)
    frames = np.zeros((3, 64), np.uint8)
    results = link.run(iter([frames] * 5), 1)
    assert len(next(results)) == 3
    del results
    gc.collect()
    assert not device.jobs and ("CONTROL", 2) in device.log


def test_largest_job(fake, tiny):
    device = replace(fake(tiny), compute=lambda data: bytes(len(data)))
    link = MemoryLink(device, timeout=1)
    (results,) = link.run(iter([np.zeros((65535, 64), np.uint8)]), 1)
    assert results == bytes(65535)
    assert device.get("FRAMES") == 65535
