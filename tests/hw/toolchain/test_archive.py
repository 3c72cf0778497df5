# amaranth: UnusedElaboratable=no
"""hw.toolchain.archive: a build to take to another machine."""

import zipfile

import pytest

from boards.catalogue import BOARDS
from hw.toolchain import write_archive
from sw.errors import PopstreamError


@pytest.mark.parametrize("name", BOARDS)
def test_archive_holds_the_plan_and_says_how_to_use_it(small, tmp_path, name):
    prepared = small(name)
    path = write_archive(prepared, tmp_path / "top.zip")
    with zipfile.ZipFile(path) as archive:
        names = {info.filename for info in archive.infolist()}
        readme = archive.read("top/README.txt").decode()
    assert names == {f"top/{file}" for file in (*prepared.files, "README.txt")}
    assert prepared.board.title in readme
    for script in (file for file in prepared.files if file.endswith(".sh")):
        assert f"sh {script}" in readme
    assert prepared.bitstream in readme
    assert max(map(len, readme.splitlines())) <= 100


def test_7_series_archive_has_a_script_for_every_flow(small, tmp_path):
    write_archive(small("pynq"), tmp_path / "top.zip")
    with zipfile.ZipFile(tmp_path / "top.zip") as archive:
        scripts = [name for name in archive.namelist() if name.endswith(".sh")]
        mode = archive.getinfo(scripts[0]).external_attr >> 16
    assert scripts == [
        "top/build_top_himbaechel.sh",
        "top/build_top_openxc7.sh",
        "top/build_top_vivado.sh",
    ]
    assert mode & 0o111


def test_equal_builds_give_equal_bytes(small, tmp_path):
    one = write_archive(small("pynq"), tmp_path / "one.zip")
    two = write_archive(small("pynq"), tmp_path / "two.zip")
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert {info.date_time[0] for info in archive.infolist()} == {1980}


def test_what_synthesis_made_is_taken_along(small, tmp_path):
    prepared = small("pynq")
    (tmp_path / "top.json").write_text("netlist")
    (tmp_path / "top.v").write_text("verilog")
    (tmp_path / "other.txt").write_text("no")
    write_archive(prepared, tmp_path / "top.zip", root=tmp_path)
    with zipfile.ZipFile(tmp_path / "top.zip") as archive:
        assert archive.read("top/top.json") == b"netlist"
        assert "top/top.v" in archive.namelist()
        assert "top/other.txt" not in archive.namelist()


def test_unwritable_folder_is_one_line_and_leaves_nothing(small, tmp_path):
    with pytest.raises(PopstreamError, match=r"cannot write .*none/top\.zip: No such file"):
        write_archive(small("icebreaker"), tmp_path / "none/top.zip")
    full = tmp_path / "top.zip"
    full.mkdir()
    (full / "file").write_text("")
    with pytest.raises(PopstreamError, match=r"cannot write .*top\.zip: "):
        write_archive(small("icebreaker"), full)
    assert [path.name for path in tmp_path.iterdir()] == ["top.zip"]
