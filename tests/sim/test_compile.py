from dataclasses import replace

import pytest

from sim.compile import compile_model, log_end
from sw.errors import PopstreamError


def models_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("runtime-"))


def test_compiles_once(job, simulator, models):
    model = compile_model(job, simulator, models)
    before = model.stat()
    assert compile_model(replace(job, seed=5, latency_cycles=9), simulator, models) == model
    assert model.stat() == before
    assert (model / "design.v").read_text() == job.verilog


def test_fails_as_a_whole(job, simulator, tmp_path):
    broken = replace(job, verilog=job.verilog + "\nmodule broken(; endmodule\n")
    with pytest.raises(PopstreamError, match="does not compile 'pipeline'; its log ") as caught:
        compile_model(broken, simulator, tmp_path)
    assert "design.v" in str(caught.value)
    assert models_in(tmp_path) == ["failed.log"]


def test_log_end(tmp_path):
    (tmp_path / "log").write_text("\n".join(f"line {k}\n ** table" for k in range(50)))
    assert log_end(tmp_path / "log").splitlines() == [f"line {k}" for k in range(38, 50)]
    assert log_end(tmp_path / "none") == ""
