"""The command line, from model to synthesis, and what it says of every mistake."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hw import build
from sw import zoo
from sw.artefact import load, save
from sw.network import Dense, Network

ARGS = ["--board", "icebreaker"]


def run(capsys, *args, output):
    status = build.main([*args, "--output", str(output)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The default model for icebreaker, to a bitstream where the tools are."""
    output = tmp_path_factory.mktemp("build")
    status = build.main([*ARGS, "--frames", "20", "--output", str(output)])
    (folder,) = (path for path in output.iterdir() if path.name.startswith("icebreaker-"))
    return status, output, folder


def test_the_main_job(built):
    status, _, folder = built
    assert status == 0
    report = json.loads((folder / "report.json").read_text())
    assert report["model"]["name"] == "digits-tiny"
    assert {stage["stage"]: stage["status"] for stage in report["stages"]} == dict.fromkeys(
        build.STAGES, "done"
    )
    simulation = report["simulation"]
    assert simulation["frames"] == 20
    assert simulation["cycles_per_frame"] == report["cycles_per_frame"]
    assert simulation["latency_cycles"] == report["latency_cycles"]
    netlist = report["netlist"]
    assert netlist["frames"] == 20 and netlist["accuracy"] == simulation["accuracy"]
    assert netlist["cycles_per_frame"] == report["cycles_per_frame"]
    assert netlist["latency_cycles"] == report["latency_cycles"]
    assert 1 <= report["depth"]["levels"] <= len(report["depth"]["longest_path"]) - 2
    assert report["placement"]["met"] and report["placement"]["fmax_mhz"] > 12
    assert report["used"]["luts"] <= 5280
    assert (folder / "top.bin").stat().st_size > 100_000
    assert (folder / report["archive"]).exists()
    deployed = folder / "deploy"
    assert (deployed / "top.bin").read_bytes() == (folder / "top.bin").read_bytes()
    assert load(deployed / "model.safetensors").digest == report["model"]["digest"]
    assert report["port"]["shell"] == "serial"
    assert 0 < report["split"]["own_share"] < 1


def test_the_page_stands_alone(built):
    page = (built[2] / "report.html").read_text()
    assert "digits-tiny on iCEBreaker" in page and "20</b>images simulated" in page
    assert "20 of the images went through the synthesised netlist" in page
    assert "Fmax is missing" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_nothing_is_done_twice(built, capsys):
    _, output, folder = built
    before = (folder / "top.bin").stat().st_mtime_ns
    status, out, _ = run(capsys, *ARGS, "--frames", "20", output=output)
    assert status == 0 and out.count("done before") == 5
    assert (folder / "top.bin").stat().st_mtime_ns == before


def test_changed_gateware_is_simulated_again(built, capsys):
    _, output, folder = built
    stages = json.loads((folder / "stages.json").read_text())
    stages["simulate"]["key"][0] = "of other Verilog"
    (folder / "stages.json").write_text(json.dumps(stages))
    _, out, _ = run(capsys, *ARGS, "--frames", "20", output=output)
    assert "20 images bit-exact" in out and out.count("done before") == 4


def test_a_failure_does_not_show_the_last_success(built, monkeypatch, capsys):
    from sim import runner
    from sw.errors import PopstreamError

    def fail(*_, **__):
        raise PopstreamError("hidden0 differs")

    _, output, folder = built
    kept = (folder / "stages.json").read_text()
    with monkeypatch.context() as patch:
        patch.setattr(runner, "simulate", fail)
        status, _, err = run(capsys, *ARGS, "--frames", "21", output=output)
    report = json.loads((folder / "report.json").read_text())
    assert status == 1 and "hidden0 differs" in err
    assert report["simulation"] is None
    assert {s["stage"]: s["status"] for s in report["stages"]}["simulate"] == "not done"
    (folder / "stages.json").write_text(kept)


def test_a_wrong_netlist_fails_the_build(built, monkeypatch, capsys):
    from hw import netlist

    def wrong(*args):
        """Every pixel inverted."""
        return right(*args).replace("(i__payload)", "(~i__payload)", 1)

    _, output, folder = built
    kept = (folder / "stages.json").read_text()
    right = netlist.netlist
    with monkeypatch.context() as patch:
        patch.setattr(netlist, "netlist", wrong)
        status, _, err = run(
            capsys, *ARGS, "--frames", "20", "--seed", "2", "--until", "netlist", output=output
        )
    report = json.loads((folder / "report.json").read_text())
    assert status == 1 and "in the synthesised netlist: " in err
    assert report["simulation"] and report["netlist"] is None
    (folder / "stages.json").write_text(kept)


@pytest.mark.parametrize(
    ("args", "model", "board", "why"),
    [
        ([], "digits-tiny", "icebreaker", None),
        (["--no-netlist"], "digits-tiny", "icebreaker", "--no-netlist"),
        (["--fill", "0.9"], "mnist-sfc", "ulx3s", r"takes about \d+ min; --netlist asks for it"),
        (["--fill", "0.9", "--netlist"], "mnist-sfc", "ulx3s", None),
        (["--fill", "0.9", "--until", "netlist"], "mnist-sfc", "ulx3s", None),
        (["--fill", "0.9"], "mnist-sfc", "pynq", None),
    ],
)
def test_when_the_netlist_is_simulated(args, model, board, why):
    import re

    this = build.Build(
        build.parser().parse_args(["--board", board, "--model", model, *args]), print
    )
    this.load()
    this.choose_plan()
    found = this.netlist_unwanted()
    assert found == why or re.fullmatch(why, found)


def test_damaged_records_are_made_again(built, capsys):
    _, output, folder = built
    (folder / "stages.json").write_text("[1, 2]")
    status, out, _ = run(capsys, *ARGS, "--frames", "20", "--until", "simulate", output=output)
    assert status == 0 and "20 images bit-exact" in out


def test_equal_inputs_give_equal_bytes(built, tmp_path):
    _, _, folder = built
    build.main([*ARGS, "--until", "gateware", "--output", str(tmp_path)])
    again = tmp_path / folder.name
    for name in ("accelerator.v", "plan.json", "top.il"):
        assert (again / name).read_bytes() == (folder / name).read_bytes()


def test_a_plan_file_can_be_used_again(built, tmp_path, capsys):
    _, _, folder = built
    status, _, _ = run(
        capsys, *ARGS, "--plan", str(folder / "plan.json"), "--until", "gateware", output=tmp_path
    )
    assert status == 0 and (tmp_path / folder.name).is_dir()


@pytest.mark.parametrize("board", ["pynq", "arty_z7", "ulx3s"])
@pytest.mark.parametrize("input", ["pixels", "bits"])
def test_gateware_for_every_board(board, input, tmp_path, capsys):
    status, _, err = run(
        capsys,
        *("--board", board, "--input", input, "--fill", "0.06", "--until", "gateware"),
        output=tmp_path,
    )
    assert status == 0, err
    (folder,) = tmp_path.iterdir()
    assert (folder / "accelerator.v").exists() and (folder / f"{folder.name}.zip").exists()


def wrong_model(tmp_path, change):
    """digits-tiny with one number changed."""
    model = load(zoo.path("digits-tiny"))
    nodes = list(model.network.nodes)
    index = next(i for i, node in enumerate(nodes) if node.name == "hidden1")
    node = nodes[index]
    weights, thresholds = node.weights.copy(), node.thresholds.copy()
    change(weights, thresholds)
    nodes[index] = Dense(node.name, node.inputs, weights, thresholds)
    return Network(nodes, model.network.classes)


def flip_weights(weights, thresholds):
    weights[7] ^= 1


def move_threshold(weights, thresholds):
    thresholds[7] = 0 if thresholds[7] > 5 else 65


@pytest.mark.parametrize("change", [flip_weights, move_threshold])
def test_a_wrong_number_fails_the_build(change, tmp_path, monkeypatch, capsys):
    """The golden model keeps the true network while the gateware gets a wrong one."""
    from sw import golden

    wrong = wrong_model(tmp_path, change)
    model = load(zoo.path("digits-tiny"))
    save(tmp_path / "wrong.safetensors", wrong, model.card, model.samples)
    trace = golden.trace
    monkeypatch.setattr(golden, "trace", lambda _, frames: trace(model.network, frames))
    status, _, err = run(
        capsys, *ARGS, "--model", str(tmp_path / "wrong.safetensors"), output=tmp_path / "b"
    )
    assert status == 1
    assert "hidden1" in err and "frame" in err and "neuron 7" in err


def test_a_wrong_cycle_fails_the_build(tmp_path, monkeypatch, capsys):
    from dataclasses import replace

    from hw import plan

    predict = plan.predict

    def late(*args):
        cycles = predict(*args)
        return replace(cycles, latency=cycles.latency + 1)

    monkeypatch.setattr(plan, "predict", late)
    status, _, err = run(capsys, *ARGS, "--until", "simulate", output=tmp_path)
    assert status == 1 and "latency" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--board", "pinq"], "unknown board 'pinq'; known: .*did you mean 'pynq'"),
        (["--board", "pynq", "--model", "mnist-sfd"], "unknown model .*did you mean 'mnist-sfc'"),
        (["--board", "pynq", "--model", "no/file.safetensors"], "there is no model file"),
        (["--board", "icebreaker", "--model", "mnist-sfc"], "does not fit icebreaker.*block RAMs"),
        (["--board", "ulx3s", "--clock", "33.3"], r"cannot make 33\.3 MHz.*nearest"),
        (["--board", "pynq", "--fill", "2"], "over 0 and at most 1, not 2"),
        (["--board", "pynq", "--target-fps", "1e12"], "more than one a cycle"),
        (["--board", "pynq", "--frames", "none"], "--frames must be at least 1, or 'all'"),
        (["--board", "pynq", "--frames", "-3"], "--frames must be at least 1, or 'all'"),
        (["--board", "ulx3s", "--flow", "vivado"], "vivado"),
        (["--board", "ulx3s", "--shell", "zynq"], "unknown shell for ulx3s 'zynq'; known: serial"),
        (["--board", "pynq", "--baud", "9600"], "pynq's shell 'zynq' has no serial line"),
        (["--board", "pynq", "--plan", "nowhere.json"], "cannot read the plan nowhere.json"),
        (["--board", "pynq", "--batch", "0"], "a batch must be of 1..256 frames, not 0"),
        (["--board", "pynq", "--batch", "2", "--fill", "0.5"], "--batch is for layers that share"),
        (["--board", "ulx3s", "--share"], "only the zynq shell reaches any"),
    ],
)
def test_mistakes_are_one_line(args, message, tmp_path, capsys):
    import re

    status, _, err = run(capsys, *args, "--until", "simulate", output=tmp_path)
    assert status == 1
    assert re.search(message, err) and "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


def test_unwritable_folder(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    status, _, err = run(capsys, *ARGS, output=tmp_path / "file")
    assert status == 1 and "cannot make" in err and "Not a directory" in err


def test_damaged_model(tmp_path, capsys):
    data = zoo.path("digits-tiny").read_bytes()
    (tmp_path / "m.safetensors").write_bytes(data[:-5])
    status, _, err = run(capsys, *ARGS, "--model", str(tmp_path / "m.safetensors"), output=tmp_path)
    assert status == 1 and "not a readable safetensors file" in err


def test_a_network_without_a_class(tmp_path, capsys):
    model = load(zoo.path("digits-tiny"))
    network = Network(model.network.nodes[:-1])
    save(tmp_path / "scores.safetensors", network, model.card, model.samples)
    status, _, err = run(
        capsys, *ARGS, "--model", str(tmp_path / "scores.safetensors"), output=tmp_path
    )
    assert status == 1 and "ends in 'scores'" in err and "build it with --results scores" in err


def test_scores_instead_of_labels(tmp_path, capsys):
    """Of a network with an argmax, and of one without: the same gateware."""
    model = load(zoo.path("digits-tiny"))
    network = Network(model.network.nodes[:-1])
    save(tmp_path / "scores.safetensors", network, model.card, model.samples)
    right = float((model.samples.answers[:5, 0] == model.samples.labels[:5]).mean())
    found = []
    for name in ("digits-tiny", str(tmp_path / "scores.safetensors")):
        args = [*ARGS, "--model", name, "--results", "scores", "--until", "simulate"]
        status, out, err = run(capsys, *args, "--frames", "5", output=tmp_path / "build")
        assert status == 0, err
        assert "5 images bit-exact in every layer" in out
        (folder,) = (tmp_path / "build").glob(f"icebreaker-{Path(name).stem}-*")
        found.append((folder / "accelerator.v").read_text())
        report = json.loads((folder / "report.json").read_text())
        assert report["layers"][-1]["name"] == "scores"
        assert report["simulation"]["accuracy"] == right
    assert found[0] == found[1]


def test_nothing_to_deploy(tmp_path, capsys):
    args = ["--board", "pynq", "--until", "gateware", "--deploy", "me@board"]
    status, _, err = run(capsys, *args, output=tmp_path)
    assert status == 1 and "nothing to deploy to me@board: there is no bitstream" in err


def test_missing_tool_is_one_line_and_the_rest_is_done(tmp_path, monkeypatch, capsys):
    from sim import runner
    from sw.errors import MissingTool

    def none():
        raise MissingTool("no simulator here; install one")

    monkeypatch.setattr(runner, "find_simulator", none)
    status, out, _ = run(capsys, *ARGS, "--frames", "2", output=tmp_path)
    assert status == 0 and "not done: no simulator here; install one" in out
    (folder,) = (path for path in tmp_path.iterdir() if path.name.startswith("icebreaker"))
    assert (folder / "top.bin").exists()
    stages = {s["stage"]: s for s in json.loads((folder / "report.json").read_text())["stages"]}
    assert stages["simulate"]["why"] == "no simulator here; install one"

    status, _, err = run(capsys, *ARGS, "--frames", "2", "--until", "bitstream", output=tmp_path)
    assert status == 1 and err == "error: no simulator here; install one\n"


def test_a_failing_tool_shows_its_log(tmp_path, monkeypatch, capsys):
    tool = tmp_path / "yosys"
    tool.write_text(
        "#!/bin/sh\necho broken pipe dream\ncase $1 in -V|--version) ;; *) exit 3;; esac\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("YOSYS", str(tool))
    status, _, err = run(capsys, *ARGS, "--frames", "1", output=tmp_path / "b")
    assert status == 1 and "broken pipe dream" in err and "synthesise.log" in err


def test_help_is_quick():
    command = [sys.executable, "-m", "hw.build", "--help"]
    best = min(_seconds(command) for _ in range(3))
    assert best < 1


def _seconds(command):
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2])
    return time.monotonic() - began


def test_interrupt_keeps_what_is_finished(tmp_path, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("sim.runner.simulate", stop)
    status, _, err = run(capsys, *ARGS, output=tmp_path)
    assert status == 130 and "finished stages are kept in" in err
    (folder,) = tmp_path.iterdir()
    assert (folder / "accelerator.v").exists()


def test_full_test_set_needs_the_data(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("POPSTREAM_DATA", str(tmp_path / "empty"))
    monkeypatch.setattr("urllib.request.urlopen", _no_network)
    status, _, err = run(
        capsys,
        *("--board", "pynq", "--model", "mnist-tfc", "--frames", "all", "--until", "simulate"),
        output=tmp_path,
    )
    assert status == 1 and "mnist" in err and len(err.strip().splitlines()) == 1


def _no_network(*_, **__):
    raise OSError("no network")
