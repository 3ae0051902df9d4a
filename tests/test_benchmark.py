"""scripts/benchmark.py, its suites and its variants: what is run, what a table says of it, what becomes of failures."""

import csv
import json
import signal
import statistics
import subprocess
import sys
import time

import pytest
import torch
from conftest import ALGOS, ROOT, script
from scipy import stats

from scripts import benchmark, suites, variants
from scripts.suites import Row, Suite

ROWS = [(name, row) for name, suite in suites.SUITES.items() for row in suite.rows]


# suites and variants ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{name}: {row.label}, {row.dataset}" for name, row in ROWS])
def test_row_is_a_command_of_its_own(name, row):
    args = benchmark.settings(row.command())
    assert args["dataset"] == row.dataset
    same = [r for r in suites.SUITES[name].rows if (r.algo, r.change) == (row.algo, row.change)]
    assert sum(benchmark.settings(r.command()) == args for r in same) == 1
    assert sum((r.label, r.dataset) == (row.label, row.dataset) for r in suites.SUITES[name].rows) == 1


def test_quick_is_all_files_at_their_defaults():
    for data, seeds in [("ring", 10), ("grid", 5)]:
        rows = [row for row in suites.QUICK.rows if row.dataset == data]
        assert {row.algo for row in rows} == set(ALGOS) and {row.seeds for row in rows} == {seeds}
        for row in rows:
            default = ALGOS[row.algo].Args()
            differs = {k for k, v in benchmark.settings(row.command()).items() if v != getattr(default, k)}
            assert differs == ({"dataset", "width"} if data == "grid" else set())


def test_budget_replaces_flags():
    row = Row("x", "nsgan", {"steps": "100", "no-lr-decay": "", "lr": "1e-3"})
    assert row.command(("steps=5", "width=8")) == "algos/nsgan.py --steps 5 --no-lr-decay --lr 1e-3 --width 8"
    assert row.slug() != row.slug(("steps=5",))


@pytest.fixture
def changed(inside, monkeypatch):
    """changed(algo, change, **args): the local variables of train() of the changed file when the loop would begin."""

    def run(algo, change, **args):
        return inside(benchmark.module_of(f"runs/{algo}-{change}.py"), **args)

    return run


def layers(network, kind):
    return [layer for layer in network.modules() if isinstance(layer, kind)]


@pytest.mark.parametrize(("change", "unit"), [("leaky", torch.nn.LeakyReLU), ("tanh", torch.nn.Tanh)])
@pytest.mark.parametrize("algo", ["nsgan", "gan", "pacgan", "unrolled"])
def test_units_change_in_both_networks(changed, algo, change, unit):
    local = changed(algo, change)
    for network in (local["G"], local["D"]):
        assert len(layers(network, unit)) == 3 and not layers(network, torch.nn.ReLU)


@pytest.mark.parametrize("algo", ["nsgan", "gan", "pacgan", "unrolled"])
def test_initialisations_have_their_scale(changed, algo):
    for network in (local := changed(algo, "he", width=256))["G"], local["D"]:
        for layer in layers(network, torch.nn.Linear)[1:3]:
            assert layer.weight.std().item() == pytest.approx((2 / layer.in_features) ** 0.5, rel=0.02)
            assert not layer.bias.any()
    for network in (local := changed(algo, "orthogonal"))["G"], local["D"]:
        for layer in layers(network, torch.nn.Linear)[1:3]:
            assert torch.allclose(layer.weight @ layer.weight.T, 2 * torch.eye(64), atol=1e-5)


@pytest.mark.parametrize(("m", "size"), [(1, 405_201), (2, 407_201), (3, 409_201), (4, 411_201)])
def test_networks_of_pacgan_have_as_many_weights_as_in_its_code(changed, m, size):
    local = changed("pacgan", "pacgan_networks", packing=m, batch_size=100 * m)
    count = [sum(p.numel() for p in local[name].parameters()) for name in "GD"]
    assert count == [484_802, size]
    assert local["D"].net[2].weight.std().item() == pytest.approx(0.02, rel=0.02)
    x = torch.randn(7, 20)
    assert torch.equal(local["D"].net[1](x)[:, 1], x[:, 5:10].max(1).values)


@pytest.mark.parametrize(("change", "channels"), [("quarter_d", [2, 4, 8, 1]), ("half_d", [4, 8, 16, 1])])
def test_small_d_has_the_channels_of_the_paper(changed, tiny_images, change, channels):
    local = changed("unrolled", change, **tiny_images | {"width": 16, "image_size": 32})
    assert [layer.out_channels for layer in layers(local["D"], torch.nn.Conv2d)] == channels
    assert [layer.out_channels for layer in layers(local["G"], torch.nn.ConvTranspose2d)] == [64, 32, 16, 3]


def test_a_change_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="tanh does not fit"):
        variants.changed("print('no network here')", "tanh")


# statistics ---------------------------------------------------------------------------------------------------------


def test_interval_is_students():
    values = [7.0, 8, 6, 8, 3]
    low, high = stats.t.interval(0.95, 4, loc=statistics.mean(values), scale=stats.sem(values))
    mean, half = benchmark.interval(values)
    assert (mean - half, mean + half) == pytest.approx((low, high))
    assert benchmark.interval([8.0] * 5) == (8.0, 0.0)
    rows = [{"dataset": "ring", "status": "finished", "modes": value} for value in ("8", "7")]
    assert benchmark.cell(rows[:1], "modes") == "8.0" and benchmark.cell([], "modes") == "-"
    assert benchmark.cell(rows, "modes") == "7.5 [1.1, 8.0]"  # at most 8: there are no more


def test_interval_holds_the_mean_95_times_of_100():
    x = torch.randn(4000, 5, generator=torch.Generator().manual_seed(0)).tolist()
    hit = [abs(mean) <= half for mean, half in map(benchmark.interval, x)]
    assert 0.94 < statistics.mean(hit) < 0.96


def test_table_counts_a_failed_run_as_nothing_covered():
    suite = Suite("Title", "About.", [Row("a", "nsgan", published="what the paper says")])
    row = {"label": "a", "dataset": "ring", "command": "algos/nsgan.py", "steps": "8000", "status": "finished"}
    row |= {"coverage": "8", "modes": "8", "high_quality": "0.9", "js": "0.01", "reverse_kl": "", "w1": "0.5"}
    row |= {"seconds": "20"}
    failed = dict.fromkeys(row, "") | {"label": "a", "dataset": "ring", "steps": "8000", "status": "failed: diverged"}
    text = benchmark.page("x", suite, [row, row | {"coverage": "6"}, failed])
    assert "3 (1 failed)" in text and "what the paper says" in text and "8,000" in text
    assert f"4.7 [{max(0, 14 / 3 - 10.34):.1f}, 8.0]" in text  # of 8, 6, 0, cut at what is possible
    assert "| 0.50 [0.50, 0.50] |" in text


# running ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A suite of three rows, one of which fails, its arguments, and where its results go."""
    flags = {"steps": "4", "log-every": "2", "width": "4"}
    rows = [
        Row("good", "nsgan", flags, 2),
        Row("changed", "nsgan", flags, 1, "tanh"),
        Row("bad", "gan", flags | {"lr": "7"}, 1),
    ]
    monkeypatch.setitem(benchmark.SUITES, "tiny", Suite("Title", "Of tests.", rows))
    args = benchmark.Args(("tiny",), out=str(tmp_path / "runs"), device="cpu", jobs=2)
    monkeypatch.setattr(benchmark, "ROOT", ROOT)
    return args, tmp_path / "results"


def test_suite_runs_once_and_failures_are_rows(tiny, capsys, monkeypatch):
    args, results = tiny
    jobs = benchmark.jobs_of(benchmark.SUITES["tiny"], args)
    assert [(job.row.label, job.seed) for job in jobs] == [("good", 41), ("changed", 41), ("bad", 41), ("good", 42)]
    benchmark.run_all(jobs, 2)
    said = capsys.readouterr().out
    assert "[4/4]" in said and "--lr 7.0: must be greater than 0 and at most 1" in said
    benchmark.write("tiny", jobs, results)
    rows = list(csv.DictReader((results / "runs.csv").open()))
    assert [row["status"].split(":")[0] for row in rows[:4]] == ["finished", "finished", "finished", "failed"]
    folder = jobs[0].folder()
    result = json.loads((folder / "result.json").read_text())
    assert float(rows[0]["w1"]) == pytest.approx(result["w1"], rel=1e-5)
    assert int(rows[0]["coverage"]) == result["coverage"] <= int(rows[0]["coverage_max"])
    assert sum(row["label"] == "exact sampler" for row in rows) == 10
    assert (results / "table.md").read_text() == benchmark.page("tiny", benchmark.SUITES["tiny"], rows)
    assert json.loads((results / "environment.json").read_text())["runs"] == 3
    for name in ("samples.png", "curves-ring.png"):
        assert (results / name).stat().st_size > 5000
    monkeypatch.setattr(subprocess, "Popen", None)  # the second time there is nothing to run
    capsys.readouterr()
    benchmark.run_all(jobs, 2)
    said = capsys.readouterr().out
    assert "failed before" in said and f"rm {jobs[2].failure}" in said


def test_other_defaults_make_a_run_stale(tiny):
    args, _ = tiny
    (job,) = [job for job in benchmark.jobs_of(benchmark.SUITES["tiny"], args) if job.row.label == "changed"]
    benchmark.run_all([job], 1)
    config = job.folder() / "config.json"
    config.write_text(config.read_text().replace('"lr": 0.001', '"lr": 0.002'))
    assert job.folder() is None


def test_an_interrupted_run_goes_on_and_is_no_failure(tiny):
    args, _ = tiny
    row = Row("long", "nsgan", {"steps": "3000", "checkpoint-every": "50", "log-every": "50", "width": "4"}, 1)
    job = benchmark.Job(row, 41, args)
    code = (
        "from scripts import benchmark, suites; "
        f"job = benchmark.Job(suites.{row!r}, 41, benchmark.{args!r}); benchmark.run_all([job], 1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    for _ in range(600):
        if list(job.folders.glob("*/checkpoint.pt")):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert "the same command goes on" in process.communicate(timeout=60)[1]
    assert job.folder() is None and not job.failure.exists()
    (folder,) = job.folders.iterdir()
    step = torch.load(folder / "checkpoint.pt", weights_only=True)["step"]
    assert 0 < step < 3000
    benchmark.run_all([job], 1)
    assert job.folder() == folder and list(job.folders.iterdir()) == [folder]


def test_dry_run_prints_commands_that_a_shell_takes(tmp_path):
    out = tmp_path / "a folder"
    words = ["stabilisers", "--dry-run", "--seeds", 1, "--out", out, "--device", "cpu"]
    words += ["--budget", "steps=2", "width=4"]
    printed = script("scripts/benchmark.py", *words)
    assert printed.returncode == 0, printed.stderr
    lines = printed.stdout.splitlines()
    assert len(lines) == len(suites.STABILISERS.rows) and not out.exists()
    assert all(line.startswith("python ") and line.endswith("--resume") for line in lines)
    (noise,) = [line for line in lines if "noise" in line and "grid" not in line]
    ended = subprocess.run(
        noise.replace("python", sys.executable, 1), shell=True, cwd=ROOT, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    again = subprocess.run(
        noise.replace("python", sys.executable, 1), shell=True, cwd=ROOT, capture_output=True, text=True
    )
    assert "is finished: nothing to resume" in again.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nonsense"], "no such suite: nonsense"),
        ([], "which suite"),
        (["quick", "--jobs", 0], "--jobs must be 1 or more"),
        (["quick", "--budget", "steps"], "--budget like steps=1000"),
    ],
)
def test_bad_input_is_one_message(words, said):
    ended = script("scripts/benchmark.py", *words)
    assert ended.returncode == 1 and said in ended.stderr and "Traceback" not in ended.stderr


# what is committed --------------------------------------------------------------------------------------------------

COMMITTED = [name for name in suites.SUITES if benchmark.read(name)]


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_table_is_that_of_the_committed_runs(name):
    rows = benchmark.read(name)
    assert (ROOT / "results" / name / "table.md").read_text() == benchmark.page(name, suites.SUITES[name], rows)
    for command in {row["command"] for row in rows if row["command"]}:
        keys = {row["settings"] for row in rows if row["command"] == command}
        assert keys == {benchmark.settings_key(command)}, f"{command} has other defaults now"
    seeds = [(row["label"], row["dataset"], row["seed"]) for row in rows]
    assert len(set(seeds)) == len(seeds)


def test_quick_is_committed_in_full():
    rows = benchmark.read("quick")
    for row in suites.QUICK.rows:
        assert sum(r["label"] == row.label and r["dataset"] == row.dataset for r in rows) == row.seeds


def test_the_main_command_covers_all_modes_on_every_seed():
    """What the README promises first: 8 of 8 modes, and on average at least 0.85 of the samples sharp."""
    rows = [row for row in benchmark.read("quick") if (row["label"], row["dataset"]) == ("wgan_gp", "ring")]
    assert all(row["coverage"] == row["modes"] == "8" for row in rows)
    assert statistics.mean(float(row["high_quality"]) for row in rows) >= 0.85
