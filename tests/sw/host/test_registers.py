"""sw.host.registers: a map that makes sense, and its page."""

import subprocess
import sys
from pathlib import Path

import pytest

from sw.host.registers import (
    BATCHES,
    BYTES,
    CONTROL,
    COUNTERS,
    IDENTITY,
    MAP,
    Cause,
    document,
    register,
)

ROOT = Path(__file__).parents[3]


def test_page_is_of_this_map():
    page = (ROOT / "doc/registers.md").read_text(encoding="utf-8")
    assert page == document(), "python -m sw.host.registers > doc/registers.md"


def test_command_prints_the_page():
    command = [sys.executable, "-m", "sw.host.registers"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert printed == document()


def test_page_names_everything():
    page = document()
    for entry in MAP:
        assert f"| 0x{entry.address:02X} | `{entry.name}` |" in page
        for field in entry.fields:
            assert f"`{entry.name}.{field.name}`" in page
    for cause in Cause:
        assert f"{cause:d}: {cause.text}" in page


def test_addresses_are_words_of_the_map_and_names_are_unique():
    addresses = [entry.address for entry in MAP]
    assert addresses == sorted(set(addresses))
    assert all(address % 4 == 0 for address in addresses)
    assert BYTES & (BYTES - 1) == 0 and addresses[-1] + 4 <= BYTES
    assert len({entry.name for entry in MAP}) == len(MAP)


@pytest.mark.parametrize("section", [IDENTITY, CONTROL, COUNTERS, BATCHES])
def test_sections_have_no_gap(section):
    """The serial link answers with a section's words one after the other."""
    first = section[0].address
    assert [entry.address for entry in section] == [first + 4 * n for n in range(len(section))]


@pytest.mark.parametrize("entry", MAP, ids=lambda entry: entry.name)
def test_fields_are_within_the_word_and_apart(entry):
    taken = 0
    for field in entry.fields:
        assert field.width >= 1 and field.low >= 0 and field.low + field.width <= 32
        assert not taken & field.mask
        taken |= field.mask
    assert len({field.name for field in entry.fields}) == len(entry.fields)


def test_access_is_one_of_four():
    assert all(entry.access == "constant" for entry in IDENTITY)
    assert {entry.access for entry in CONTROL} == {"act", "read", "write"}
    assert all(entry.access == "read" for entry in COUNTERS)
    assert {entry.access for entry in BATCHES} == {"constant", "read", "write"}


def test_cause_fits_its_field():
    field = register("STATUS").field("cause")
    assert max(Cause) < 1 << field.width


def test_field_takes_its_bits_from_a_word():
    field = register("STATUS").field("queued")
    assert (field.mask, field.of(0xFFFFFF3F)) == (0xF0, 3)
    with pytest.raises(KeyError, match="STATUS has no field 'quued'"):
        register("STATUS").field("quued")
    with pytest.raises(KeyError):
        register("STATU")
