"""Each header's Expected quotes, word for word, what scripts/expected.py measured and results/ keeps."""

import csv

import pytest
from conftest import FILES, ROOT, load_script

expected = load_script("expected")
ROWS = list(csv.DictReader((ROOT / "results" / "expected" / "runs.csv").open()))
COMMANDS = [(file, command) for file in FILES for command in expected.commands(file)]


@pytest.mark.parametrize(("file", "command"), COMMANDS, ids=[command for _, command in COMMANDS])
def test_header_and_readme_quote_the_results(file, command):
    rows = [row for row in ROWS if row["command"] == command]
    assert len({row["seed"] for row in rows}) == len(rows) >= 5
    assert {row["settings"] for row in rows} == {expected.settings(command)}  # the defaults have not changed since
    sentence = expected.sentence(rows)
    assert f"python {command} {sentence}" in " ".join(file.read_text().split())
    assert f"| `python {command}` | {sentence} |" in (ROOT / "README.md").read_text().splitlines()


def test_every_file_has_a_command_and_every_result_one():
    assert {file for file, _ in COMMANDS} == set(FILES)
    assert {row["command"] for row in ROWS} == {command for _, command in COMMANDS}


def test_the_main_command_covers_all_modes_on_every_seed():
    """What the README promises first: 8 of 8 modes, and at least 0.85 of the samples sharp."""
    rows = [row for row in ROWS if row["command"] == "algos/wgan_gp.py --lambda 10"]
    assert all(row["coverage"] == row["modes"] == "8" and float(row["high_quality"]) >= 0.85 for row in rows)
