r"""The tables: algorithms x data sets x seeds, each run an ordinary command of an algorithm's file.

    python scripts/benchmark.py quick --jobs 2                    # all files on the ring and the grid
    python scripts/benchmark.py quick --add                       # only what has no row in results/quick/runs.csv yet
    python scripts/benchmark.py pacgan --budget steps=4000        # a paper's protocol at a fraction of its budget
    python scripts/benchmark.py networks --dry-run | xargs -d '\n' -n 1 -P 8 sh -c    # the same runs by other means

Runs go to --out. What is finished there is not repeated, what was interrupted goes on, and what failed stays failed
until you delete the file that says so. A change of code is not noticed, only one of arguments: take another --out,
and do not start two at once on one --out.
Then the suite's folder in results/ is written from all that is there: runs.csv (one row per run, failed ones too),
table.md (success and means with 95 % intervals, beside published numbers, an exact sampler's and uniform noise's),
environment.json and, for each data set whose runs are all in --out, pictures of samples and of numbers over time.
What is in results/ already and was not run here is not lost: the folder is written below --out then, or, with --add,
those rows stay and only what has no row is run. `python scripts/report.py` puts the numbers into the README, the
headers and results/CLAIMS.md.
"""

import json
import math
import operator
import os
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import textwrap
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import tyro
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common.args import RunError
from common.data import load_data
from common.metrics import evaluate
from common.run import pick_device, read_json
from scripts.lib import image_metrics as metrics
from scripts.lib import search
from scripts.lib.command import command
from scripts.lib.headers import ALGOS
from scripts.lib.statistics import MODES, MODES_OF_POINTS, cell, columns_of, interval, values_of
from scripts.lib.suites import (
    CONTROLS,
    EXACT,
    NOISE,
    REPEATED,
    ROOT,
    SUITES,
    Row,
    Suite,
    budget,
    deciding,
    read,
    settings,
    settings_key,
)
from scripts.lib.tables import table, where, write_rows
from scripts.lib.trained import Trained, fingerprint
from scripts.lib.variants import file_of, module_of

POINTS = ["coverage", "coverage_max", "modes", "high_quality", "js", "reverse_kl", "w1"]
IMAGES = 10_000  # samples for the numbers of images


@dataclass
class Args:
    suites: tyro.conf.Positional[tuple[str, ...]]
    """names of suites in scripts/lib/suites.py: quick, networks, ..."""
    jobs: int = 1
    """runs at a time, each with one thread on a CPU; on a GPU several share it"""
    seeds: int = 0
    """at most so many seeds per row; 0: as many as the suite says"""
    budget: tuple[str, ...] = ()
    """flags that all rows get instead of their own, to run a fraction of a protocol: steps=1000 width=16"""
    add: bool = False
    """run only what is no row of the suite's runs.csv in results/ yet, and add it to these rows"""
    dry_run: bool = False
    """print the commands and run nothing"""
    data_root: str = "data"
    """folder of the data sets; relative paths start at the root of the repository, here and in --out"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, ..."""
    out: str = "runs/benchmark"
    """where the folders of the runs are written"""


@dataclass(frozen=True)
class Job:
    """One run: a row, a seed and where it goes."""

    row: Row
    seed: int
    args: Args

    @property
    def command(self) -> str:
        return self.row.command(self.args.budget)

    @property
    def out(self) -> Path:
        """Where its folder goes: relative to the root of the repository, as is --data-root."""
        return Path(self.args.out) / self.row.slug(self.args.budget)

    @property
    def folders(self) -> Path:
        return ROOT / self.out

    @property
    def failure(self) -> Path:
        return self.folders / f"s{self.seed}-{settings_key(self.command)}.failed"

    def line(self) -> str:
        """The whole command, with one thread; given again it goes on, or says that it is finished."""
        places = ["--data-root", self.args.data_root, "--out", str(self.out), "--device", self.args.device]
        return f"OMP_NUM_THREADS=1 python {self.command} --seed {self.seed} {shlex.join(places)} --resume"

    @property
    def key(self) -> tuple:
        """By what its row is found in runs.csv."""
        return self.row.label, self.row.dataset, settings_key(self.command), str(self.seed)

    def folder(self) -> Path | None:
        """The folder of this run if it is finished, with the arguments that the command has today."""
        wanted = settings(self.command)
        for folder in sorted(self.folders.glob(f"*-s{self.seed}*")):
            args = read_json(folder / "config.json").get("args", {})
            same = deciding(args) == wanted and args["seed"] == self.seed
            if same and (folder / "result.json").exists():
                return folder
        return None


# running ------------------------------------------------------------------------------------------------------------


def jobs_of(suite: Suite, args: Args) -> list[Job]:
    """All runs, the first seed of all rows first."""
    most = max(row.seeds for row in suite.rows)
    return [Job(row, suite.seed + i, args) for i in range(most) for row in suite.rows if i < row.seeds]


def outcome(status: int, errors: str) -> tuple[str, bool]:
    """How a run ended, in words, and whether it may go on: after Ctrl-C or SIGTERM, not after a crash."""
    lines = [line for line in errors.splitlines() if line.strip()] or [f"exit status {status}"]
    if status == 0:
        return "finished", True
    if status in (130, 143, -signal.SIGINT, -signal.SIGTERM):
        return "interrupted: the same command goes on", True
    diverged = [line for line in lines if " diverged by step " in line]
    return f"diverged: {diverged[0]}" if diverged else f"failed: {lines[-1]}", False


def run_all(jobs: list[Job], at_a_time: int) -> None:
    """Runs what is not finished and has not failed. Ctrl-C and SIGTERM end it: the runs keep what they have done."""
    todo = {job.line(): job for job in jobs if not job.failure.exists() and not job.folder()}
    for job in {job.line(): job for job in jobs if job.failure.exists()}.values():
        print(f"{job.failure.read_text().splitlines()[0]}\n  to run it again: rm {job.failure}")
    pick_device(jobs[0].args.device)  # one message if there is no such device, or no data
    for dataset in {job.row.dataset for job in todo.values()}:
        load_data(dataset, str(ROOT / jobs[0].args.data_root), 32, torch.device("cpu"))
    running: set[subprocess.Popen] = set()
    done, stopped = 0, False

    def run(job: Job) -> None:
        nonlocal done
        if stopped:
            return
        if job.row.change:
            file_of(job.row.algo, job.row.change)
        words = [sys.executable, *shlex.split(job.line())[2:]]
        threads = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            words, cwd=ROOT, env=threads, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        running.add(process)
        if stopped:  # since
            process.terminate()
        _, errors = process.communicate()
        running.discard(process)
        done += 1
        ended, goes_on = outcome(process.returncode, errors)
        if not goes_on:
            job.failure.parent.mkdir(parents=True, exist_ok=True)
            job.failure.write_text(f"{ended}\n\n{job.line()}\n{errors}")
        print(f"[{done}/{len(todo)}] {job.command} --seed {job.seed}: {ended}", flush=True)

    def stop(*_):
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGTERM, stop)
    with ThreadPoolExecutor(at_a_time) as pool:
        try:
            list(pool.map(run, todo.values()))
        except KeyboardInterrupt:
            stopped = True
            for process in list(running):
                process.terminate()  # it writes a checkpoint and ends
            pool.shutdown(cancel_futures=True)
            print("interrupted: the same command goes on from here", file=sys.stderr)
            raise
        finally:
            signal.signal(signal.SIGTERM, old)


# measuring ----------------------------------------------------------------------------------------------------------


def measure_images(images: Tensor, real: Tensor, stacked: bool, net, name: str, device: torch.device) -> dict:
    """Numbers of images [n, C, S, S], uint8, those of scripts/evaluate.py by a classifier; no distance of stacks."""
    pairs = min(metrics.PAIRS, len(images), len(real))
    numbers = metrics.pair_statistics(images[:pairs].to(device), real[:pairs].to(device))
    if stacked:
        digits = metrics.predict(net, images.flatten(0, 1)[:, None], device)
        return numbers | metrics.stacked_statistics(digits.view(-1, 3, 10))
    numbers |= metrics.class_statistics(metrics.predict(net, images, device))
    return numbers | metrics.fidelity(images, real, name, name, device)


@cache
def image_set(dataset: str, root: str, device: torch.device):
    """At most 10,000 images of a data set (stacked: 26,000), others, whether stacked, a classifier and its name.

    Of the digits the others are drawn from all, with replacement, as for a G that knows the data by heart.
    """
    data = load_data(dataset, str(ROOT / root), 32, torch.device("cpu"))
    stacked, size = data.stack > 1, data.shape[-1]
    real, others = metrics.real_images(data, metrics.STACKED if stacked else IMAGES, 1)
    if not len(others):
        others = real[torch.randint(len(real), (IMAGES,), generator=torch.Generator().manual_seed(1))]
    net, _, key = metrics.train_classifier(dataset.removeprefix("stacked_"), str(ROOT / root), size, device)
    name = f"classifier-{key}-{fingerprint(real.numpy().tobytes())}"
    if not stacked:
        metrics.register(name, net, real, stacked, device)
    return real, others, stacked, net, name


def of_images(job: Job, folder: Path) -> dict:
    """The numbers of a run's images, kept in its folder."""
    device = metrics.exact_device(job.args.device)
    real, _, stacked, net, name = image_set(job.row.dataset, job.args.data_root, device)
    run = Trained(folder, device, module_of(job.command))
    key = {"checkpoint": run.fingerprint, "classifier and reference": name}
    key |= {"code": fingerprint((ROOT / "scripts" / "lib" / "image_metrics.py").read_text()), "device": device.type}
    latents = run.latents(metrics.STACKED if stacked else IMAGES)
    return metrics.remembered(
        folder / "benchmark.json", key, lambda: measure_images(run.sample(latents), real, stacked, net, name, device)
    )


def finished(job: Job, folder: Path) -> dict:
    """The numbers of a finished run."""
    result, config = json.loads((folder / "result.json").read_text()), read_json(folder / "config.json")
    numbers = {name: result[name] for name in (*POINTS, "swd") if name in result}
    if "coverage" in result:
        log = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
        numbers["coverage_max"] = max(row["coverage"] for row in log)
    else:
        numbers |= of_images(job, folder)
    return numbers | {"seconds": round(result["seconds"]), "device": config["device"], "torch": config["torch"]}


@cache
def controls_of_points(dataset: str) -> dict[str, list[dict]]:
    """The numbers of ten times 2,500 points: of the data themselves, and uniform in the square around the modes."""
    data, found = load_data(dataset), {name: [] for name in CONTROLS}
    edge = data.modes.abs().max() + 3 * data.std
    for seed in range(10):
        torch.manual_seed(seed)
        samples = {EXACT: data.sample(2500), NOISE: edge * (2 * torch.rand(2500, 2) - 1)}
        for name, points in samples.items():
            found[name].append(evaluate(data, points, final=True))
    return found


def controls(dataset: str, args: Args) -> dict[str, list[dict]]:
    """The numbers of samples that no run made: of the data, and of uniform noise or of ten images again and again."""
    if dataset in MODES_OF_POINTS:
        return controls_of_points(dataset)
    device = metrics.exact_device(args.device)
    real, others, stacked, net, name = image_set(dataset, args.data_root, device)
    found = {EXACT: others, REPEATED: others[torch.arange(len(others)) % 10]}
    return {label: [measure_images(images, real, stacked, net, name, device)] for label, images in found.items()}


def collect(suite: Suite, jobs: list[Job], before: list[dict]) -> list[dict]:
    """One row for each run that finished or failed, here or before, and those of the controls."""
    rows, known = [], runs_of(before)
    for row in suite.rows:
        for job in (job for job in jobs if job.row is row):
            this = {"label": row.label, "dataset": row.dataset, "command": job.command}
            this |= {"settings": settings_key(job.command), "steps": settings(job.command)["steps"], "seed": job.seed}
            if folder := job.folder():
                rows.append(this | {"status": "finished"} | finished(job, folder))
            elif job.failure.exists():
                rows.append(this | {"status": job.failure.read_text().splitlines()[0]})
            elif job.key in known:
                rows.append(known[job.key] | this)
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        for label, found in controls(dataset, jobs[0].args).items():
            for seed, numbers in enumerate(found):
                rows.append({"label": label, "dataset": dataset, "seed": seed, "status": "finished", **numbers})
    return rows


# tables -------------------------------------------------------------------------------------------------------------


def page(name: str, suite: Suite, rows: list[dict], folder: Path | None = None) -> str:
    """table.md, from the rows of runs.csv and the pictures that are in the folder, by default the suite's."""
    if name == "search":
        how = search.__doc__.split("\n\n", 1)[1].strip()
        about = f"Made by `python scripts/benchmark.py search`. {suite.about}"
        lines = [f"# {name}: {suite.title}", "", about, "", "```", how, "```", ""]
        return "\n".join(lines + search.page([row for row in rows if row["command"]], ALGOS))
    planned = {(row.label, row.dataset): row for row in suite.rows}
    command = ["python", "scripts/benchmark.py", name]
    if instead := budget(suite, rows):
        command += ["--budget", *(f"{flag}={value}" for flag, value in instead.items())]
    lines = [f"# {name}: {suite.title}", "", f"Made by `{' '.join(command)}`. {suite.about}", ""]
    if instead:
        steps = sorted({f"{int(row['steps']):,}" for row in rows if row["steps"]})
        others = [f"{flag} {value}".strip() for flag, value in instead.items() if flag not in ("steps", "log-every")]
        others = f", with {', '.join(others)}" if others else ""
        lines += [f"**A fraction of this protocol: {', '.join(steps)} updates of G{others}.**", ""]
    lines += [
        "`success`: the runs that learned the data, see [how to read the numbers](../README.md#how-to-read-the-numbers)"
        ", and the exact 95 % interval of their rate. Else each cell is the mean over n seeds and its 95 % interval by "
        "the bootstrap; none where all seeds agree to the last digit shown. A diverged run counts as covering nothing, "
        f"its distances are left out. `seconds`: median, {where(rows)} for each run, others running beside it.",
        "",
    ]
    for dataset in dict.fromkeys(row["dataset"] for row in rows):
        here = [row for row in rows if row["dataset"] == dataset]
        columns = [column for column in columns_of(dataset) if values_of(here, column)]
        cells = []
        for label in dict.fromkeys(row["label"] for row in here):
            these = [row for row in here if row["label"] == label]
            row, seconds = planned.get((label, dataset)), values_of(these, "seconds")
            n = f"{len(these)} of {row.seeds}" if row and len(these) < row.seeds else str(len(these))
            bad = Counter(row["status"].split(":")[0] for row in these if row["status"] != "finished")
            n += "".join(f", {count} {how}" for how, count in bad.items())
            cells.append([label, n, *(cell(these, column) for column in columns)])
            cells[-1] += [f"{statistics.median(seconds):.0f}" if seconds else "-", row.published if row else ""]
        head = ["", "n", *columns, "seconds", "published"]
        if not any(line[-1] for line in cells):
            cells, head = [line[:-1] for line in cells], head[:-1]
        steps = sorted({int(row["steps"]) for row in here if row["steps"]})
        lines += [f"## {dataset}", "", *table(head, cells), f"Updates of G: {', '.join(f'{n:,}' for n in steps)}."]
        lines += [""]
        for picture, what in {
            f"samples-{dataset}.png": "samples of the first seed of each row",
            "samples.png": "samples of the first seed of each row",
            f"curves-{dataset}.png": "modes covered and sharp samples over the updates, mean and interval",
        }.items():
            if ((folder or ROOT / "results" / name) / picture).exists():
                lines += [f"![{what}]({picture})", ""]
    return "\n".join(lines)


# pictures -----------------------------------------------------------------------------------------------------------


def panels(count: int, width: float, height: float, columns: int):
    """A figure with so many axes, and lines of `columns`."""
    from matplotlib.figure import Figure

    columns = min(columns, count)
    lines = math.ceil(count / columns)
    figure = Figure(figsize=(width * columns, height * lines))
    axes = figure.subplots(lines, columns, squeeze=False)
    for ax in axes.flat[count:]:
        ax.axis("off")
    return figure, axes.flat[:count]


def save(figure, path: Path) -> None:
    from PIL import Image

    figure.tight_layout()
    figure.savefig(path, dpi=100)
    few = Image.open(path).convert("RGB").quantize(64, Image.Quantize.FASTOCTREE)  # which keeps rare colours
    few.save(path, optimize=True)  # a third of the size
    print(path)


def draw_samples(runs: dict[Row, list[tuple[Job, Path]]], path: Path) -> None:
    """The last picture of each row's first finished seed, in lines of up to six."""
    from PIL import Image

    figure, axes = panels(len(runs), 2.6, 2.9, 6)
    for ax, (row, ((_, folder), *_)) in zip(axes, runs.items(), strict=True):
        ax.set(xticks=[], yticks=[])
        ax.set_title(textwrap.fill(row.label, 28), fontsize=9)
        picture = Image.open(max((folder / "samples").glob("*.png")))
        width, height = picture.size
        ax.imshow(picture.crop((0, height - width, width, height)), cmap="gray")  # without the headline of points
    save(figure, path)


def draw_curves(runs: dict[Row, list[tuple[Job, Path]]], path: Path) -> None:
    """Modes found and sharp samples over updates and seconds: mean over the seeds with its 95 % interval."""
    figure, axes = panels(len(runs), 2.6, 2.2, 4)
    for ax, (row, finished) in zip(axes, runs.items(), strict=True):
        count = MODES[row.dataset]
        logs = [[json.loads(line) for line in (f / "metrics.jsonl").read_text().splitlines()] for _, f in finished]
        steps = [entry["step"] for entry in logs[0]]
        for name, scale, color in [("coverage", count, "seagreen"), ("high_quality", 1, "darkorange")]:
            spread = [interval([log[i][name] / scale for log in logs]) for i in range(len(steps))]
            mean, low, high = zip(*spread, strict=True)
            ax.plot(steps, mean, color=color, label=f"{name} / {scale}" if scale > 1 else name)
            ax.fill_between(steps, low, high, color=color, alpha=0.25, linewidth=0)
        seconds = statistics.median(json.loads((f / "result.json").read_text())["seconds"] for _, f in finished)
        ax.set_title(f"{row.label} (n = {len(logs)})", fontsize=9)
        ax.set(ylim=(0, 1.05), xlim=(0, None))
        rate = steps[-1] / seconds
        above = ax.secondary_xaxis("top", functions=(lambda x, rate=rate: x / rate, lambda x, rate=rate: x * rate))
        for axis, label in ((ax, "updates of G"), (above, "seconds")):
            axis.set_xlabel(label, fontsize=7)
            axis.tick_params(labelsize=7)
    axes[0].legend(fontsize=7, loc="lower right")
    save(figure, path)


def draw_profiles(rows: list[dict], path: Path) -> None:
    """Of each label the share of its runs that cover at least m modes, and that are sharper than s: points only."""
    from matplotlib.figure import Figure

    labels = [*dict.fromkeys(row["label"] for row in rows)]
    sets = [*dict.fromkeys(row["dataset"] for row in rows)]
    figure = Figure(figsize=(3 + 4 * len(sets), 0.6 + 0.22 * len(labels)))
    axes = figure.subplots(1, 2 * len(sets), sharey=True, squeeze=False)[0]
    ticks = [(data, name) for data in sets for name in ("coverage", "high_quality")]
    for ax, (data, name) in zip(axes, ticks, strict=True):
        levels = [*range(1, MODES[data] + 1)] if name == "coverage" else [i / 20 for i in range(20)]
        runs = [values_of([r for r in rows if (r["label"], r["dataset"]) == (label, data)], name) for label in labels]
        above = operator.ge if name == "coverage" else operator.gt
        shares = [[statistics.mean(above(v, level) for v in values) for level in levels] for values in runs]
        shown = ax.imshow(shares, vmin=0, vmax=1, aspect="auto", cmap="viridis")
        ax.set_title(f"{data}: {'at least so many modes' if name == 'coverage' else 'sharper than'}", fontsize=8)
        ax.set_yticks(range(len(labels)), labels, fontsize=7)
        step = max(1, len(levels) // 8)
        ax.set_xticks(range(0, len(levels), step), [f"{level:g}" for level in levels[::step]], fontsize=7)
    figure.colorbar(shown, ax=axes, label="share of the runs", fraction=0.02, pad=0.01)
    figure.savefig(path, dpi=100, bbox_inches="tight")
    print(path)


def draw(name: str, jobs: list[Job], folder: Path, dataset: str) -> None:
    """The pictures of a suite on one data set: samples, of points the curves, of `quick` on the ring the films."""
    runs: dict[Row, list[tuple[Job, Path]]] = {row: [] for row in SUITES[name].rows if row.dataset == dataset}
    for job in jobs:
        if job.row in runs and (path := job.folder()):
            runs[job.row].append((job, path))
    runs = {row: these for row, these in runs.items() if these}
    several = len({row.dataset for row in SUITES[name].rows}) > 1
    draw_samples(runs, folder / (f"samples-{dataset}.png" if several else "samples.png"))
    if dataset in MODES_OF_POINTS:
        draw_curves(runs, folder / f"curves-{dataset}.png")
    for row, these in runs.items() if (name, dataset) == ("quick", "ring") else ():  # the median run, no lucky one
        ranked = sorted(these, key=lambda run: json.loads((run[1] / "result.json").read_text())["w1"])
        film = ranked[(len(ranked) - 1) // 2][1] / "training.gif"
        print(shutil.copy(film, folder / f"{row.algo}-ring.gif"))


# the command --------------------------------------------------------------------------------------------------------


def rounded(value):
    return float(f"{value:.6g}") if isinstance(value, float) else value


def write(name: str, jobs: list[Job], folder: Path) -> None:
    """runs.csv, table.md, environment.json and the pictures of a suite."""
    suite, before = SUITES[name], read(name, folder)
    rows = collect(suite, jobs, before if jobs[0].args.add else [])
    if not runs_of(rows):
        print(f"{name}: no run has ended, nothing is written")
        return
    gone = runs_of(before).keys() - runs_of(rows).keys()
    today = {(row.label, row.dataset, settings_key(row.command())) for row in suite.rows}
    if lost := [key for key in gone if key[:3] in today]:
        old, folder = folder, ROOT / jobs[0].args.out / "results" / name
        print(f"{old} has {len(lost)} runs that are not among these and is left as it is; these: {folder}")
    elif gone:
        print(f"{name}: {len(gone)} rows of runs.csv leave it, as their settings are no longer those of the suite")
    folder.mkdir(parents=True, exist_ok=True)
    kept = [{column: rounded(value) for column, value in row.items() if column != "classes"} for row in rows]
    write_rows(folder / "runs.csv", kept)
    here = {job.key: path for job in jobs if (path := job.folder())}
    configs = [read_json(path / "config.json") for path in here.values()]
    ended = {key: row for key, row in runs_of(rows).items() if row["status"] == "finished"}
    old = {} if ended.keys() <= here.keys() else read_json(folder / "environment.json")
    made = {
        key: sorted({*old.get(key, []), *(str(config.get(key)) for config in configs)})
        for key in ("python", "torch", "device", "threads", "git")
    }
    (folder / "environment.json").write_text(json.dumps({"runs": len(ended)} | made, indent=2) + "\n")
    for dataset in dict.fromkeys(dataset for _, dataset, *_ in ended if name != "search"):  # which has 900 runs
        if {key for key in ended if key[1] == dataset} <= here.keys():
            draw(name, jobs, folder, dataset)
        else:
            print(f"{name}: the pictures of {dataset} stay, for some runs are rows of runs.csv only, without a folder")
    if name == "quick":
        draw_profiles([row for row in read(name, folder) if row["dataset"] in MODES_OF_POINTS], folder / "profiles.png")
    (folder / "table.md").write_text(page(name, suite, read(name, folder), folder))
    print((folder / "table.md").read_text())


def runs_of(rows: list[dict]) -> dict[tuple, dict]:
    """The rows of runs.csv that a run made, by Job.key."""
    made = [row for row in rows if row.get("settings")]
    return {(row["label"], row["dataset"], row["settings"], str(row["seed"])): row for row in made}


def main(args: Args) -> None:
    if unknown := [name for name in args.suites if name not in SUITES]:
        raise RunError(f"no such suite: {', '.join(unknown)}; there are {', '.join(SUITES)}")
    if not args.suites:
        raise RunError(f"which suite? there are {', '.join(SUITES)}")
    if args.jobs < 1 or args.seeds < 0 or not all("=" in flag for flag in args.budget):
        raise RunError("--jobs must be 1 or more, --seeds not negative, --budget like steps=1000 width=16")
    jobs = {name: jobs_of(SUITES[name], args) for name in args.suites}
    most = args.seeds or 1000
    everything = []
    for name, these in jobs.items():
        known = runs_of(read(name)) if args.add else {}
        wanted = [job for job in these if job.seed < SUITES[name].seed + most]
        everything += [job for job in wanted if not known or job.key not in known]  # a key takes a while
    if args.dry_run:
        for job in {job.line(): job for job in everything}.values():
            if job.row.change:
                file_of(job.row.algo, job.row.change)
            print(job.line())
        return
    if everything:
        run_all(everything, args.jobs)
    for name, these in jobs.items():  # of all that is there, also of seeds that were not asked for now
        write(name, these, ROOT / "results" / name)


if __name__ == "__main__":
    command(main, Args, __doc__)
