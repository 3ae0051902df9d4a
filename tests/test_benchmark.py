"""scripts/benchmark.py, its suites and its variants: what is run, what a table says of it, what becomes of failures."""

import csv
import json
import math
import random
import runpy
import shlex
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import ALGOS, HANGS, ROOT, quick_settings, script

from common.args import RunError, parse
from scripts import benchmark
from scripts.lib import statistics as of_runs
from scripts.lib import suites, variants
from scripts.lib.inside import inside
from scripts.lib.suites import Row, Suite

# suites and variants ------------------------------------------------------------------------------------------------


def test_every_row_is_a_command_of_its_own():
    for name, suite in suites.SUITES.items():
        found = [quick_settings(row.command()) for row in suite.rows]
        for row, settings in zip(suite.rows, found, strict=True):
            assert settings["dataset"] == row.dataset and not {*settings} & {*suites.PLACES}, f"{name}: {row.label}"
        commands = [(row.algo, row.change, settings) for row, settings in zip(suite.rows, found, strict=True)]
        twice = [row.label for row, command in zip(suite.rows, commands, strict=True) if commands.count(command) > 1]
        assert not twice, f"{name}: {twice} are the same command"
        labels = [(row.label, row.dataset) for row in suite.rows]
        assert len({*labels}) == len(labels), f"{name}: a label stands twice"


def test_quick_settings_are_those_that_the_parser_finds():
    for name, suite in suites.SUITES.items():
        for row in random.Random(name).sample(suite.rows, min(3, len(suite.rows))):
            assert quick_settings(row.command()) == suites.settings(row.command()), row.command()


def test_settings_are_those_of_the_data_set_and_then_of_the_flags():
    """As --dataset fills them in, whatever stands first; places and options that are off are left out."""
    command = "algos/nsgan.py --lr 5e-4 --dataset mnist --seed 3 --out x --device cpu --resume --quiet"
    args = ALGOS["nsgan"].Args(dataset="mnist")
    wanted = suites.deciding(vars(args)) | {"lr": 5e-4}
    assert suites.settings(command) == wanted and "track" not in wanted and args.z_dim == wanted["z_dim"] == 64
    assert suites.settings_key(command) == suites.settings_key("algos/nsgan.py --dataset mnist --lr 0.0005")
    assert suites.settings_key(command) != suites.settings_key("algos/nsgan.py --dataset mnist")
    for dataset in ("ring", "mnist"):  # points have no bfloat16 to switch off
        keys = [suites.settings_key(f"algos/nsgan.py --dataset {dataset}{flag}") for flag in ("", " --no-amp")]
        assert (keys[0] == keys[1]) == (dataset == "ring")


def test_quick_is_all_files_at_their_defaults():
    for data in ("ring", "grid"):
        rows = [row for row in suites.QUICK.rows if row.dataset == data]
        assert {row.algo for row in rows} == set(ALGOS)
        for row in rows:
            assert row.seeds == suites.SEEDS.get((row.algo, data), 10) and row.seeds in range(5, 31, 5)
            default = ALGOS[row.algo].Args(dataset=data)
            assert suites.settings(row.command()) == suites.deciding(vars(default)), row.command()


def test_budget_replaces_flags():
    row = Row("x", "nsgan", {"steps": "100", "no-lr-decay": "", "lr": "1e-3"})
    assert row.command(("steps=5", "width=8")) == "algos/nsgan.py --steps 5 --no-lr-decay --lr 1e-3 --width 8"
    assert row.slug() != row.slug(("steps=5",))


def changed(algo, change, **args):
    """The local variables of train() of the changed file when the loop would begin."""
    return inside(variants.module_of(f"runs/{algo}-{change}.py"), **args)


def layers(network, kind):
    return [layer for layer in network.modules() if isinstance(layer, kind)]


@pytest.mark.parametrize(("change", "unit"), [("leaky", torch.nn.LeakyReLU), ("tanh", torch.nn.Tanh)])
@pytest.mark.parametrize("algo", ["nsgan", "gan", "pacgan", "unrolled"])
def test_units_change_in_both_networks(algo, change, unit):
    local = changed(algo, change)
    for network in (local["G"], local["D"]):
        assert len(layers(network, unit)) == 3 and not layers(network, torch.nn.ReLU)


@pytest.mark.parametrize("algo", ["nsgan", "gan", "pacgan", "unrolled"])
def test_initialisations_have_their_scale(algo):
    for network in (local := changed(algo, "he", width=256))["G"], local["D"]:
        for layer in layers(network, torch.nn.Linear)[1:3]:
            assert layer.weight.std().item() == pytest.approx((2 / layer.in_features) ** 0.5, rel=0.02)
            assert not layer.bias.any()
    for network in (local := changed(algo, "orthogonal"))["G"], local["D"]:
        for layer in layers(network, torch.nn.Linear)[1:3]:
            assert torch.allclose(layer.weight @ layer.weight.T, 2 * torch.eye(64), atol=1e-5)


@pytest.mark.parametrize(("m", "size"), [(1, 405_201), (2, 407_201), (3, 409_201), (4, 411_201)])
def test_networks_of_pacgan_have_as_many_weights_as_in_its_code(m, size):
    local = changed("pacgan", "pacgan_networks", packing=m, batch_size=100 * m)
    count = [sum(p.numel() for p in local[name].parameters()) for name in "GD"]
    assert count == [484_802, size]
    assert local["D"].net[2].weight.std().item() == pytest.approx(0.02, rel=0.02)
    x = torch.randn(7, 20)
    assert torch.equal(local["D"].net[1](x)[:, 1], x[:, 1::4].max(1).values)


@pytest.mark.parametrize(
    ("algo", "change", "channels"),
    [
        ("unrolled", "quarter_d", [2, 4, 8, 1]),
        ("pacgan", "quarter_d_of_packs", [2, 4, 8, 1]),
        ("unrolled", "half_d", [4, 8, 16, 1]),
    ],
)
def test_small_d_has_the_channels_of_the_paper(tiny_images, algo, change, channels):
    local = changed(algo, change, **tiny_images | {"width": 16, "image_size": 32})
    assert [layer.out_channels for layer in layers(local["D"], torch.nn.Conv2d)] == channels
    assert [layer.out_channels for layer in layers(local["G"], torch.nn.ConvTranspose2d)] == [64, 32, 16, 3]


def test_ablations_of_dual_d_selu_are_what_the_suite_calls_them():
    """Which of D1 and D2 has SELU units, residual blocks and minibatch discrimination; the other parts stay."""
    module = ALGOS["dual_d_selu"]
    parts = {"selu": torch.nn.SELU, "resblock": module.Residual, "minibatch": module.MinibatchDiscrimination}

    def found(change):
        local = inside(variants.module_of(f"runs/dual_d_selu-{change}.py") if change else module)
        kinds = {name: kind.__name__ for name, kind in parts.items()}
        names = [{type(layer).__name__ for layer in local[D].modules()} for D in ("D1", "D2")]
        return {name: [kind in these for these in names] for name, kind in kinds.items()}

    paper = {"selu": [False, True], "resblock": [True, False], "minibatch": [True, False]}
    for change, differs in [
        ("", {}),
        ("no_selu", {"selu": [False, False]}),
        ("both_selu", {"selu": [True, True]}),
        ("no_resblock", {"resblock": [False, False]}),
        ("both_minibatch_discrimination", {"minibatch": [True, True]}),
    ]:
        assert found(change) == paper | differs, change


def test_losses_of_dual_d_selus_ablations():
    """Hinge: max(0, 1 - D1(x)) + max(0, 1 + D1(G(z))) and the same of D2 with the roles swapped. WGAN-GP's penalty."""
    hinge, both = (variants.module_of(f"runs/dual_d_selu-{name}.py") for name in ("hinge", "hinge_gradient_penalty"))
    real, fake = torch.tensor([-2.0, 3.0]), torch.tensor([0.5, -4.0])
    assert hinge.discriminator_loss(real, fake).item() == pytest.approx(3 / 2 + 1.5 / 2)
    assert hinge.generator_loss(real, fake).item() == pytest.approx(-1.75 - 0.5)
    losses = []
    for module in (hinge, both):
        local = inside(module)
        with torch.no_grad():  # D1 and D2 are constant: a slope of 0 costs 10 each
            for D in (local["D1"], local["D2"]):
                D.net[-1].weight.zero_()
                D.net[-1].bias.zero_()
        losses.append(local["d_step"]()["d_loss"].item())
    assert losses == pytest.approx([4, 24])


def test_a_library_run_as_a_command_names_one(capsys):
    for file in sorted((ROOT / "scripts" / "lib").glob("*.py")):
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(file), run_name="__main__")
        said, errors = capsys.readouterr()
        assert not said and not errors, file.name
        assert "library" in ended.value.code and "scripts/" in ended.value.code, file.name
    ended = script("scripts/lib/statistics.py")  # beside it, `import statistics` finds itself
    assert ended.returncode == 1 and ended.stderr.count("\n") == 1


def test_a_change_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="tanh does not fit"):
        variants.changed("print('no network here')", "tanh")


# statistics ---------------------------------------------------------------------------------------------------------


def test_a_cell_never_has_an_interval_without_width():
    rows = [row_of(coverage=value, modes=value, high_quality=0.5) for value in (8, 8, 7, 8)]
    assert of_runs.cell(rows[:2], "modes") == "8.0" and of_runs.cell([], "modes") == "-"
    mean, low, high = of_runs.interval([8.0, 8, 7, 8])
    assert mean == 7.75 and 7 <= low < mean < high <= 8
    assert of_runs.cell(rows, "modes") == f"7.8 [{low:.1f}, {high:.1f}]"
    assert of_runs.cell(rows, "success") == "3 of 4 [0.19, 0.99]" and of_runs.cell(rows[:2], "success")[:6] == "2 of 2"
    assert of_runs.interval([8.0] * 5) == (8, 8, 8)
    rows = [row_of(high_quality=value) for value in (0.9001, 0.9002, 0.9003)]
    assert of_runs.cell(rows, "high_quality") == "0.90"


def test_a_cell_says_of_how_few_of_the_finished_runs_it_is():
    """A column that came later: a mean of two runs must not stand beside n = 3. A diverged run has no distance."""
    rows = [row_of(w1="0.25"), row_of(w1="0.25"), row_of(w1="")]
    assert of_runs.cell(rows, "w1") == "0.25 (n = 2)" and of_runs.cell(rows[:2], "w1") == "0.25"
    assert of_runs.cell([*rows[:2], row_of(status="diverged: at once", w1="")], "w1") == "0.25"


def test_interval_holds_the_mean_as_often_as_it_says():
    """Nine of ten times with ten values."""
    x = torch.randn(500, 10, generator=torch.Generator().manual_seed(0)).tolist()
    hit = [low <= 0 <= high for _, low, high in map(of_runs.interval, x)]
    assert 0.86 < statistics.mean(hit) < 0.94


def row_of(label="a", status="finished", **numbers):
    row = {"label": label, "dataset": "ring", "command": "algos/nsgan.py", "steps": "8000", "status": status}
    return row | {"device": "x86_64"} | {name: str(number) for name, number in numbers.items()}


def test_table_counts_a_diverged_run_as_nothing_covered_and_a_failed_one_not_at_all():
    suite = Suite("Title", "About.", [Row("a", "nsgan", seeds=5, published="what the paper says")])
    good = row_of(coverage=8, modes=8, high_quality=0.9, w1=0.5, seconds=20)
    rows = [good, good | {"coverage": "6"}, row_of(status="diverged: at once"), row_of(status="failed: no disk")]
    text = benchmark.page("x", suite, rows)
    assert "| 4 of 5, 1 diverged, 1 failed |" in text and "what the paper says" in text and "8,000" in text
    assert "| 1 of 3 [0.01, 0.91] |" in text and "| 4.7 [0.0, " in text and "| 0.50 |" in text.replace("  ", "")
    assert of_runs.values_of(rows, "high_quality") == [0.9, 0.9, 0] and of_runs.values_of(rows, "w1") == [0.5, 0.5]
    assert of_runs.values_of(rows, "sure_modes") == [0]  # of the one that diverged
    assert "one CPU core" in text and "A fraction" not in text


def test_no_sharp_sample_is_the_worst_reverse_kl():
    rows = [row_of(reverse_kl=0.5), row_of(reverse_kl=""), row_of(status="diverged: x"), row_of(status="failed: x")]
    assert of_runs.values_of(rows, "reverse_kl") == pytest.approx([0.5, 2.0794415, 2.0794415])


# how runs end -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "errors", "said", "goes_on"),
    [
        (0, "", "finished", True),
        (130, "", "interrupted: the same command goes on", True),
        (-15, "", "interrupted: the same command goes on", True),
        (-9, "", "failed: exit status -9", False),  # out of memory
        (1, "a warning\nTraceback (most recent call last):\n  x\nValueError: y\n", "failed: ValueError: y", False),
        (1, "warning\na on b diverged by step 3: g nan\ntry", "diverged: a on b diverged by step 3: g nan", False),
    ],
)
def test_outcome_of_a_run(status, errors, said, goes_on):
    assert benchmark.outcome(status, errors) == (said, goes_on)


# running ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A suite of four rows, one of which fails and one diverges, its arguments, and where its results go."""
    flags = {"steps": "4", "log-every": "2", "width": "4", "lr": "1e-3"}
    rows = [
        Row("good", "nsgan", flags, 2),
        Row("changed", "nsgan", flags, 1, "tanh"),
        Row("bad", "gan", flags | {"lr": "7"}, 1),
        Row("diverging", "nsgan", flags, 1, "explodes"),
    ]
    infinite = [("return F.softplus(-d_fake).mean()", "return d_fake.mean() / 0")]
    monkeypatch.setitem(variants.CHANGES, "explodes", infinite)
    monkeypatch.setitem(benchmark.SUITES, "tiny", Suite("Title", "Of tests.", rows))
    args = benchmark.Args(("tiny",), out=str(tmp_path / "runs"), device="cpu", jobs=2)
    return args, tmp_path / "results"


def test_suite_runs_once_and_failures_are_rows(tiny, capsys, monkeypatch):
    args, results = tiny
    jobs = benchmark.jobs_of(benchmark.SUITES["tiny"], args)
    assert [(job.row.label, job.seed) for job in jobs] == [
        ("good", 41), ("changed", 41), ("bad", 41), ("diverging", 41), ("good", 42),
    ]  # fmt: skip
    in_this_process([jobs[0], jobs[4]])
    benchmark.run_all(jobs, 2)
    said = capsys.readouterr().out
    assert "[3/3]" in said and "--lr 7.0: must be greater than 0 and at most 1" in said
    benchmark.write("tiny", jobs, results)
    rows = list(csv.DictReader((results / "runs.csv").open()))
    assert [row["status"].split(":")[0] for row in rows[:5]] == [*["finished"] * 3, "failed", "diverged"]
    folder = jobs[0].folder()
    result = json.loads((folder / "result.json").read_text())
    assert float(rows[0]["w1"]) == pytest.approx(result["w1"], rel=1e-5)
    assert int(rows[0]["coverage"]) == result["coverage"] <= int(rows[0]["coverage_max"])
    assert [sum(row["label"] == control for row in rows) for control in benchmark.CONTROLS] == [10, 10]
    assert (results / "table.md").read_text() == benchmark.page("tiny", benchmark.SUITES["tiny"], rows, results)
    assert json.loads((results / "environment.json").read_text())["runs"] == 3
    said = capsys.readouterr().out
    for name in ("samples.png", "curves-ring.png"):
        assert (results / name).stat().st_size > 2000 and f"{results / name}\n" in said
        assert f"]({name})" in (results / "table.md").read_text()
    with monkeypatch.context() as patch:  # seconds above the updates: of the run's own speed
        patch.setattr(benchmark, "save", lambda figure, path: shown.append(figure))
        shown = []
        benchmark.draw_curves({jobs[0].row: [(jobs[0], folder)]}, results)
    shown[0].draw_without_rendering()
    below = shown[0].axes[0]
    speed = below.get_xlim()[1] / below.child_axes[0].get_xlim()[1]
    assert speed == pytest.approx(result["step"] / result["seconds"], rel=1e-6)
    monkeypatch.setattr(subprocess, "Popen", None)  # the second time there is nothing to run
    capsys.readouterr()
    benchmark.run_all(jobs, 2)
    said = capsys.readouterr().out
    assert "failed: " in said and f"rm {jobs[2].failure}" in said and "diverged: " in said
    config = folder / "config.json"  # as another default would have written it: the run is stale
    config.write_text(config.read_text().replace('"lr": 0.001', '"lr": 0.002'))
    assert jobs[0].folder() is None and jobs[1].folder()


def in_this_process(jobs, at_a_time=1):
    """In place of run_all, whose processes take seconds to start."""
    for job in jobs:
        if not job.folder():
            args = parse(ALGOS[job.row.algo].Args, words=shlex.split(job.line())[3:])
            ALGOS[job.row.algo].train(replace(args, out=str(job.folders)))


def test_results_that_were_not_run_here_are_not_lost(tiny, capsys, monkeypatch):
    """With fewer seeds, or another budget, the table goes below --out."""
    args, results = tiny
    monkeypatch.setattr(benchmark, "run_all", in_this_process)
    benchmark.SUITES["tiny"].rows[:] = [Row("good", "nsgan", {"steps": "2", "width": "4"}, 2)]
    jobs = benchmark.jobs_of(benchmark.SUITES["tiny"], args)
    benchmark.run_all(jobs, 2)
    benchmark.write("tiny", jobs, results)
    before = {file.name: file.read_bytes() for file in results.iterdir()}
    shorter = benchmark.jobs_of(benchmark.SUITES["tiny"], replace(args, budget=("steps=3",)))
    for other in (jobs[:1], shorter[:1]):
        benchmark.run_all(other, 2)
        capsys.readouterr()
        benchmark.write("tiny", other, results)
        said, elsewhere = capsys.readouterr().out, ROOT / args.out / "results" / "tiny"
        assert f"runs that are not among these and is left as it is; these: {elsewhere}" in said
        assert {file.name: file.read_bytes() for file in results.iterdir()} == before
        assert len(suites.read("tiny", elsewhere)) == len(other) + 20
    assert "--budget steps=3" in (elsewhere / "table.md").read_text()
    (results / "table.md").unlink()
    benchmark.write("tiny", jobs, results)
    assert (results / "table.md").read_bytes() == before["table.md"]


def test_adding_runs_only_what_has_no_row(tiny, capsys, monkeypatch):
    """--add: the rows stay to the letter; those with other settings than the suite has today are run again."""
    args, results = tiny
    rows = benchmark.SUITES["tiny"].rows
    rows[:] = [
        Row(name, "nsgan", {"steps": "2", "width": "4", "lr": lr}) for name, lr in [("a", "1e-3"), ("b", "2e-3")]
    ]
    rows[:] = [replace(row, seeds=1) for row in rows]
    monkeypatch.setattr(benchmark, "ROOT", results.parent)
    monkeypatch.setattr(benchmark, "run_all", in_this_process)
    results = results / "tiny"
    monkeypatch.setattr(benchmark, "read", lambda name, folder=None: suites.read(name, folder or results))
    benchmark.main(args)
    first = suites.read("tiny", results)
    assert [row["label"] for row in first[:2]] == ["a", "b"] and (results / "samples.png").exists()

    rows[:] = [replace(rows[0], seeds=2), replace(rows[1], flags=rows[1].flags | {"lr": "3e-3"})]
    added = replace(args, add=True, out=str(results.parent / "other"))
    benchmark.main(replace(added, dry_run=True))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("OMP_NUM_THREADS")]
    assert ["--lr 3e-3 --seed 41" in lines[0], "--lr 1e-3 --seed 42" in lines[1], len(lines)] == [True, True, 2]
    benchmark.main(added)
    said, second = capsys.readouterr().out, suites.read("tiny", results)
    assert "1 rows of runs.csv leave it" in said and "the pictures of ring stay" in said
    assert second[0] == first[0] and [row["seed"] for row in second[:3]] == ["41", "42", "41"]
    assert "--lr 3e-3" in second[2]["command"] and json.loads((results / "environment.json").read_text())["runs"] == 3


def test_the_film_of_a_file_is_that_of_its_median_run(tmp_path, monkeypatch):
    """By w1, of ten the fifth: neither the luckiest nor the first."""
    row, jobs = Row("gan", "gan", {}, 10), []
    for seed, w1 in enumerate([9, 3, 1, 7, 5, 2, 8, 4, 6, 0]):
        (folder := tmp_path / f"gan-ring-s{seed}").mkdir()
        (folder / "result.json").write_text(json.dumps({"w1": w1}))
        (folder / "training.gif").write_text(f"w1 {w1}")
        jobs.append(SimpleNamespace(row=row, folder=lambda folder=folder: folder))
    monkeypatch.setitem(benchmark.SUITES, "quick", Suite("Title", "Of tests.", [row]))
    for name in ("draw_samples", "draw_curves"):
        monkeypatch.setattr(benchmark, name, lambda *_: None)
    benchmark.draw("quick", jobs, tmp_path, "ring")
    assert (tmp_path / "gan-ring.gif").read_text() == "w1 4"


@pytest.mark.parametrize("name", ["ring", "grid"])
def test_uniform_noise_covers_all_modes_without_being_sharp(name):
    """In a square of side 2 e the K discs of radius 3 sd hold K pi (3 sd)^2 / (2 e)^2 of uniform samples."""
    found = benchmark.controls(name, None)
    assert benchmark.controls(name, None) is found  # w1 of 20 samples takes seconds
    data = benchmark.load_data(name)
    edge = data.modes.abs().max().item() + 3 * data.std
    share = len(data.modes) * math.pi * (3 * data.std) ** 2 / (2 * edge) ** 2
    noise = found["uniform noise"]
    assert statistics.mean(row["high_quality"] for row in noise) == pytest.approx(share, rel=0.2)
    assert all(row["coverage"] == len(data.modes) for row in noise)
    exact = statistics.mean(row["high_quality"] for row in found["exact sampler"])
    assert exact == pytest.approx(1 - math.exp(-4.5), abs=0.003)


def test_the_page_says_with_which_budget_it_was_made():
    suite = Suite("Title", "About.", [Row("a", "nsgan", {"steps": "90000", "lr": "1e-4"}), Row("b", "gan")])
    runs = [
        {"label": row.label, "dataset": "ring", "command": row.command(budget), "steps": "900", "seed": "41"}
        | {"status": "finished", "coverage": "8", "high_quality": "0.9", "seconds": "1", "device": "x86_64"}
        for row, budget in [(suite.rows[0], ("steps=900", "no-lr-decay=")), (suite.rows[1], ())]
    ]
    assert suites.budget(suite, runs) == {"no-lr-decay": "", "steps": "900"}
    assert suites.budget(suite, runs[1:]) == {}
    page = benchmark.page("x", suite, runs)
    assert "Made by `python scripts/benchmark.py x --budget no-lr-decay= steps=900`" in page
    assert "**A fraction of this protocol: 900 updates of G, with no-lr-decay.**" in page
    assert "fraction" not in benchmark.page("x", suite, runs[1:])


def test_numbers_of_images_are_of_the_runs_own_samples(tiny, tiny_images, monkeypatch):
    """With a data set of 40 images and a classifier that looks at the brightness: real ones, and a run of 2 steps."""

    class Bright(torch.nn.Module):
        def features(self, x):
            return x.float().mean((2, 3)) / 128 - 1

        def last(self, features):
            return 20 * features[:, :2]

        def forward(self, x):
            return self.last(self.features(x))

    args, results = tiny
    flags = {"dataset": "folder", "image-size": "16", "width": "8", "batch-size": "16", "steps": "2", "log-every": "1"}
    monkeypatch.setitem(benchmark.SUITES, "tiny", Suite("Title", "About.", [Row("images", "nsgan", flags, 1)]))
    args.data_root = tiny_images["data_root"]
    data = benchmark.load_data("folder", args.data_root, 16, torch.device("cpu"))
    images, net = data.images[torch.randint(40, (300,))].view(-1, 3, 16, 16), Bright()
    benchmark.metrics.register("bright", net, images, False, torch.device("cpu"))
    monkeypatch.setattr(benchmark, "IMAGES", 300)
    monkeypatch.setenv("XDG_CACHE_HOME", str(results))
    monkeypatch.setattr(benchmark, "image_set", lambda *_: (images, images.flip(0), False, net, "bright"))
    jobs = benchmark.jobs_of(benchmark.SUITES["tiny"], args)
    in_this_process(jobs)
    benchmark.write("tiny", jobs, results)
    run, real, ten = csv.DictReader((results / "runs.csv").open())
    assert real["label"] == "exact sampler" and float(real["distance"]) == pytest.approx(1)
    ones = images.flip(0)[:10].repeat(30, 1, 1, 1).flatten(1).double()  # the others, of which there are ten now
    expected = torch.cdist(ones, ones).sum() / torch.cdist(*[images.flatten(1).double()] * 2).sum()
    assert ten["label"] == "ten images, repeated" and float(ten["distance"]) == pytest.approx(expected.item(), rel=1e-4)
    assert float(ten["recall"]) < 0.5 < float(real["recall"])
    samples = benchmark.Trained(jobs[0].folder(), torch.device("cpu"))
    samples = samples.sample(samples.latents(300, 1)).flatten(1).double()
    expected = torch.cdist(samples, samples).sum() / torch.cdist(*[images.flatten(1).double()] * 2).sum()
    assert float(run["distance"]) == pytest.approx(expected.item(), rel=1e-4)
    assert float(run["swd"]) > 0 and 1 <= float(run["is"]) <= 2 and float(run["fid"]) > float(real["fid"]) >= -1e-6
    assert (results / "samples.png").exists() and not (results / "curves-folder.png").exists()


def test_all_digits_are_the_reference_and_an_exact_sampler_draws_from_them(monkeypatch):
    class Net(torch.nn.Module):
        def features(self, x):
            return x.flatten(1).float()

        def last(self, features):
            return features[:, :10]

    monkeypatch.setattr(benchmark.metrics, "train_classifier", lambda *_: (Net(), 1.0, "net"))
    real, others, stacked, *_ = benchmark.image_set.__wrapped__("digits", "data", torch.device("cpu"))
    assert len(real) == 1797 and len(others) == benchmark.IMAGES and not stacked
    assert len({*map(tuple, others.flatten(1).tolist())} - {*map(tuple, real.flatten(1).tolist())}) == 0
    assert len(others.flatten(1).unique(dim=0)) > 1700  # each of them was drawn 5.6 times on average


def test_an_interrupted_run_goes_on_and_is_no_failure(tiny):
    args, _ = tiny
    row = Row("long", "nsgan", {"steps": "1000", "checkpoint-every": "50", "log-every": "250", "width": "4"}, 1)
    job = benchmark.Job(row, 41, args)
    code = (
        "from scripts import benchmark; from scripts.lib import suites; "
        f"job = benchmark.Job(suites.{row!r}, 41, benchmark.{args!r}); benchmark.run_all([job], 1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    while not list(job.folders.glob("*/checkpoint.pt")):
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    assert "the same command goes on" in process.communicate(timeout=HANGS)[1]
    assert job.folder() is None and not job.failure.exists()
    (folder,) = job.folders.iterdir()
    step = torch.load(folder / "checkpoint.pt", weights_only=True)["step"]
    assert 0 < step < 1000
    in_this_process([job])
    assert job.folder() == folder and list(job.folders.iterdir()) == [folder]


def test_dry_run_prints_commands_that_a_shell_takes(tmp_path, capsys):
    out = tmp_path / "a folder"
    words = {"seeds": 1, "out": str(out), "device": "cpu", "budget": ("steps=2", "width=4")}
    benchmark.main(benchmark.Args(("stabilisers",), dry_run=True, **words))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(suites.STABILISERS.rows) and not out.exists()
    assert all(line.startswith("OMP_NUM_THREADS=1 python ") and line.endswith("--resume") for line in lines)
    (noise,) = [line for line in lines if "noise" in line and "grid" not in line]
    pipe = ["xargs", "-d", "\n", "-n", "1", "sh", "-c"]  # as the header has it
    command = noise.replace("python", sys.executable, 1) + "\n"
    ended = subprocess.run(pipe, input=command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0 and f"numbers, pictures and checkpoint: {out}" in ended.stdout, ended.stderr


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ({"suites": ("nonsense",)}, "no such suite: nonsense"),
        ({"suites": ()}, "which suite"),
        ({"suites": ("quick",), "jobs": 0}, "--jobs must be 1 or more"),
        ({"suites": ("quick",), "budget": ("steps",)}, "--budget like steps=1000"),
        ({"suites": ("quick",), "device": "cuda:99"}, "--device cuda:99: not on this machine"),
        ({"suites": ("dual-d-ablations",), "data_root": "/dev/null/none"}, "/dev/null/none"),
    ],
)
def test_bad_input_is_one_message(args, said, tmp_path):
    with pytest.raises(RunError, match=said):
        benchmark.main(benchmark.Args(**args | {"out": str(tmp_path)}))
    assert not list(tmp_path.iterdir())


# what is committed --------------------------------------------------------------------------------------------------

COMMITTED = [name for name in suites.SUITES if suites.read(name)]


@pytest.mark.parametrize("name", COMMITTED)
def test_committed_runs_have_todays_settings_and_each_seed_once(name, monkeypatch):
    """That the tables are those of the runs: tests/test_report.py."""
    monkeypatch.setattr(suites, "settings", quick_settings)
    rows = suites.read(name)
    for command in {row["command"] for row in rows if row["command"]}:
        keys = {row["settings"] for row in rows if row["command"] == command}
        assert keys == {suites.settings_key(command)}, f"{command} has other defaults now"
    seeds = [(row["label"], row["dataset"], row["seed"]) for row in rows]
    assert len(set(seeds)) == len(seeds)


def test_quick_is_committed_in_full():
    rows = suites.read("quick")
    for row in suites.QUICK.rows:
        these = [r for r in rows if (r["label"], r["dataset"]) == (row.label, row.dataset)]
        assert len(these) == row.seeds and {r["command"] for r in these} == {row.command()}


def test_what_is_committed_is_a_suite_and_no_fraction_of_its_protocol():
    folders = {path.parent.name for path in (ROOT / "results").glob("*/runs.csv")}
    assert folders == {*COMMITTED}
    for name in folders - {"search"}:
        assert not suites.budget(suites.SUITES[name], suites.read(name)), f"{name} is a fraction"


def test_profiles_are_shares_of_runs(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    shown, imshow = [], Axes.imshow
    monkeypatch.setattr(Axes, "imshow", lambda ax, x, **more: shown.append(x) or imshow(ax, x, **more))
    rows = [row_of("a", coverage=c, high_quality=q) for c, q in [(8, 0.95), (6, 0.5)]]
    rows += [row_of("b", coverage=2, high_quality=0.12), row_of("b", status="diverged: x")]
    benchmark.draw_profiles(rows, tmp_path / "profiles.png")
    modes, sharp = shown
    assert modes == [[1] * 6 + [0.5] * 2, [0.5] * 2 + [0] * 6]
    assert sharp == [[1] * 10 + [0.5] * 9 + [0], [0.5] * 3 + [0] * 17]  # more than 0, 0.05, ... 0.95
    assert (tmp_path / "profiles.png").stat().st_size > 5000


def test_baselines_have_the_settings_of_all_files():
    rows = suites.BASELINES.rows + suites.BASELINES_DIGITS.rows
    rows = {(row.label, row.dataset): suites.settings(row.command()) for row in rows}
    for algo, module in ALGOS.items():
        for data in ("ring", "grid", "digits"):
            found, args = rows[suites.pair_label(algo, data), data], module.Args(dataset=data)
            assert found["lr"] == args.lr and found.get("beta1", 0) == getattr(args, "beta1", 0), algo
            assert found["steps"] == ALGOS["nsgan"].Args(dataset=data).steps


def test_zero_centred_is_all_subsets_and_four_gammas():
    """Without any part r3gan.py is nsgan.py, and with R1 alone r1.py: in losses, not in random numbers."""
    for data in ("ring", "grid"):
        rows = [suites.settings(row.command()) for row in suites.ZERO_CENTRED.rows if row.dataset == data]
        parts = [tuple(row.get(name, 0) for name in ("pairing", "r1", "r2", "beta1")) for row in rows[:16]]
        assert len({*parts}) == 16 and {beta1 for *_, beta1 in parts} == {0, 0.5}
        assert [row["gamma"] for row in rows[16:]] == [0.01, 0.1, 1, 10]
    label = suites.parts_label(("pairing", "R1"), "0.5")
    (row,) = [row for row in suites.ZERO_CENTRED.rows if (row.label, row.dataset) == (label, "ring")]
    assert row.command() == "algos/r3gan.py --steps 4000 --lr 2e-3 --gamma 1 --beta1 0.5 --no-r2"


def test_new_suites_have_seeds_of_their_own():
    names = ("quick", "baselines", "baselines-digits", "zero-centred", "wgan-claims", "small-d", "dual-d-digits")
    these = [suites.SUITES[name] for name in names]
    spans = [range(suite.seed, suite.seed + max(row.seeds for row in suite.rows)) for suite in these]
    shared = {seed for i, a in enumerate(spans) for b in spans[:i] for seed in {*a} & {*b}}
    assert shared == {*range(61, 66)} and suites.SEARCH.seed == 101  # quick's last block: results/CLAIMS.md says so


def test_the_main_command_covers_all_modes_on_every_seed():
    """What the README promises first: 8 of 8 modes, and on average at least 0.85 of the samples sharp."""
    rows = [row for row in suites.read("quick") if (row["label"], row["dataset"]) == ("wgan_gp", "ring")]
    assert all(row["coverage"] == row["modes"] == "8" for row in rows)
    assert statistics.mean(float(row["high_quality"]) for row in rows) >= 0.85
