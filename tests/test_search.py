"""The search: the same space and seconds for every file, its criterion, and that the rows of digits are its best."""

import shlex

import pytest
from conftest import ALGOS

from scripts import benchmark
from scripts.lib import search, suites
from scripts.lib.statistics import success, values_of


@pytest.mark.parametrize("name", ALGOS)
def test_every_file_has_twelve_settings_and_the_same_seconds(name):
    settings = search.settings_of(name)
    assert len({tuple(s.items()) for s in settings}) == 12 and {s["lr"] for s in settings} == set(search.LR)
    assert all(len({s[axis] for s in settings}) <= 3 for axis in settings[0])
    for dataset, seconds in search.SECONDS.items():
        rate = search.RATES[dataset][name]
        for setting in settings:
            spent = [search.updates(name, dataset, setting) / r for r in (rate if isinstance(rate, tuple) else [rate])]
            assert any(abs(s - seconds) <= 50 / 16 + 0.01 for s in spent)  # rounded to hundreds, at 16 a second or more
    if isinstance(search.RATES["ring"][name], tuple):  # the dearer value has fewer updates
        own = [*settings[0]][-1]
        cheap = min(settings, key=lambda s: float(s[own]))
        dear = max(settings, key=lambda s: float(s[own]))
        assert search.updates(name, "ring", dear) < search.updates(name, "ring", cheap)


def test_the_suite_is_all_files_with_all_settings_on_its_own_seed(capsys):
    rows = suites.SEARCH.rows
    assert len(rows) == 12 * len(ALGOS) * len(search.RATES) and suites.SEARCH.seed < suites.FIRST_SEED + 1000
    assert suites.SEARCH.seed not in range(suites.FIRST_SEED, suites.FIRST_SEED + 30)  # of the tables
    benchmark.main(benchmark.Args(suites=("search",), seeds=1, dry_run=True))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(rows) and all(f" --seed {search.SEED} " in line for line in lines)
    for row in rows:
        words = shlex.split(row.command())
        for flag, value in search.values({"label": row.label}).items():
            assert words[words.index(f"--{flag}") + 1] == value


def test_goal_and_best():
    ring = {"dataset": "ring", "status": "finished", "coverage": "8", "high_quality": "0.5", "w1": "0.3"}
    assert search.reached(ring) and not search.reached(ring | {"high_quality": "0.49"})
    assert not search.reached(ring | {"coverage": "7"}) and not search.reached(ring | {"status": "diverged: at 3"})
    digits = {"dataset": "digits", "status": "finished", "fid": "2.0", "missing": "0"}
    assert search.reached(digits) and not search.reached(digits | {"fid": "2.01"})
    assert not search.reached(digits | {"missing": "1"})
    stacked = {"dataset": "stacked_digits", "status": "finished", "modes": "900", "unsure": "0.5"}
    assert success(stacked) and not success(stacked | {"modes": "899"}) and not success(stacked | {"unsure": "0.51"})
    diverged, failed = ({"status": status} for status in ("diverged: at 3", "failed: no disk"))
    assert success(ring | diverged) is False and success(ring | failed) is None and not search.reached(ring | failed)
    assert success({"dataset": "celeba", "status": "finished"}) is None  # no goal
    assert values_of([ring, ring | diverged, ring | failed, stacked], "success") == [1, 0, 1]
    rows = [ring | {"command": "algos/gan.py", "w1": w, "status": s} for w, s in
            [("0.4", "finished"), ("", "diverged: at 3"), ("0.2", "finished")]]  # fmt: skip
    assert [row["w1"] for row in search.searched(rows, "gan", "ring")] == ["0.2", "0.4", ""]
    assert search.searched(rows, "nsgan", "ring") == []


@pytest.mark.parametrize("name", ALGOS)
def test_settings_of_digits_are_the_best_that_was_found(name):
    """With the file's own default of what PRESETS has not: a paper's weight."""
    row, default = ALGOS[name].PRESETS["digits"], ALGOS[name].Args(dataset="digits")
    rows = search.searched([r for r in suites.read("search") if r["command"]], name, "digits")
    assert len(rows) == 12

    def fields(run):
        names = {flag: {"lambda": "lambda_"}.get(flag, flag.replace("-", "_")) for flag in search.values(run)}
        return {names[flag]: float(value) for flag, value in search.values(run).items()}

    allowed = [r for r in rows if all(n in row or getattr(default, n) == v for n, v in fields(r).items())]
    assert {n: row[n] for n in fields(allowed[0]) if n in row} == {
        n: v for n, v in fields(allowed[0]).items() if n in row
    }
