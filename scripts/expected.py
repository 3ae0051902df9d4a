"""Makes the numbers that the headers print under Expected: each command there, on fresh seeds.

    python scripts/expected.py                    # all files
    python scripts/expected.py wgan_gp --jobs 4   # one file, four runs at a time

A finished run is not repeated and a broken one goes on, so the command can be given again at any time; after a
change of code, which it does not notice, delete the folder --out first. Writes
results/expected/runs.csv (one row per run), table.md (one sentence per command, as the headers quote it) and, of
the first seed, the film (points) or the last picture (images) of each file's first command for a data set.
"""

import ast
import csv
import hashlib
import importlib
import json
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import tyro

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "expected"
sys.path.insert(0, str(ROOT))
NUMBERS = ["coverage", "coverage_max", "js", "high_quality", "modes", "reverse_kl", "w1", "swd", "swd_exact"]


@dataclass
class Args:
    algos: tyro.conf.Positional[tuple[str, ...]] = ()
    """files of algos/ without .py; none for all"""
    seeds: tuple[int, ...] = (21, 22, 23, 24, 25)
    """seeds that no setting was chosen on"""
    jobs: int = 1
    """runs at a time"""
    data_root: str = "data"
    """folder of the data sets"""
    out: str = "runs/expected"
    """folder for the folders of the runs"""


def commands(file: Path) -> list[str]:
    """The commands under Expected in the header of a file of algos/."""
    expected = ast.get_docstring(ast.parse(file.read_text())).split("\nExpected")[1]
    return [command.strip() for command in re.findall(r"python (algos/.*)", expected)]


def settings(command: str) -> str:
    """A fingerprint of all arguments of a command but the seed and the places, so that stale results are noticed."""
    file, *words = shlex.split(command)
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    args = asdict(tyro.cli(module.Args, args=words))
    args = {
        name: value
        for name, value in args.items()
        if name not in ("seed", "data_root", "out", "device", "resume", "track")
    }
    return hashlib.sha256(json.dumps(args).encode()).hexdigest()[:8]


def run(command: str, seed: int, args: Args, picture: bool) -> dict | None:
    """The row of one run, or None if it failed. With picture, its film or last picture goes to the results."""
    folders = ROOT / args.out / re.sub(r"\W+", "-", command).strip("-")
    options = ["--seed", str(seed), "--data-root", args.data_root, "--out", str(folders), "--device", "cpu", "--resume"]
    print(f"python {command} --seed {seed}", flush=True)
    words = [sys.executable, *shlex.split(command), *options]
    one_core = os.environ | {"OMP_NUM_THREADS": "1"}
    ended = subprocess.run(words, cwd=ROOT, env=one_core, capture_output=True, text=True)
    if ended.returncode:
        print(f"failed: {command} --seed {seed}\n{ended.stderr}", file=sys.stderr)
        return None
    last = ended.stdout.splitlines()[-1]  # either way, it names the folder
    folder = Path(
        last.removeprefix("numbers, pictures and checkpoint: ").removesuffix(" is finished: nothing to resume")
    )
    result = json.loads((folder / "result.json").read_text())
    log = [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]
    if "coverage" in result:
        result["coverage_max"], file = max(row["coverage"] for row in log), folder / "training.gif"
    else:
        result["swd_exact"], file = result["exact_sampler"]["swd"], max((folder / "samples").glob("*.png"))
    if picture:
        shutil.copy(file, RESULTS / f"{folder.name.rpartition('-s')[0]}{file.suffix}")
    config = json.loads((folder / "config.json").read_text())
    row = {"command": command, "settings": settings(command), "seed": seed}
    row |= {name: result.get(name) for name in NUMBERS} | {"seconds": round(result["seconds"])}
    row |= {"device": config["device"], "torch": config["torch"]}
    return {name: round(value, 5) if isinstance(value, float) else value for name, value in row.items()}


def sentence(rows: list[dict]) -> str:
    """What a header says of one command: mean +- standard deviation over the seeds, and the median time."""

    def spread(name: str, digits: int) -> str:
        values = [float(row[name]) for row in rows]
        return f"{statistics.mean(values):.{digits}f} +- {statistics.stdev(values):.{digits}f}"

    seconds = statistics.median(float(row["seconds"]) for row in rows)
    end = f"{len(rows)} seeds, {seconds:.0f} s on one CPU core"
    if rows[0]["swd"]:
        exact = statistics.mean(float(row["swd_exact"]) for row in rows)
        return f"swd {spread('swd', 3)} (an exact sampler {exact:.3f}); {end}"
    best = statistics.mean(float(row["coverage_max"]) for row in rows)
    return (
        f"coverage {spread('coverage', 1)} (best on the way {best:.1f}), high_quality {spread('high_quality', 2)}, "
        f"w1 {spread('w1', 2)}; {end}"
    )


def main(args: Args) -> None:
    files = [ROOT / "algos" / f"{name}.py" for name in args.algos] or sorted((ROOT / "algos").glob("*.py"))
    if missing := [file.stem for file in files if not file.exists()]:
        raise SystemExit(f"no such file in algos/: {', '.join(missing)}")
    todo = []
    for file in files:
        shown = set()
        for command in commands(file):
            data = re.search(r"--dataset (\w+)|$", command)[1]
            todo += [(command, seed, args, seed == args.seeds[0] and data not in shown) for seed in args.seeds]
            shown.add(data)
    RESULTS.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(args.jobs) as pool:
        rows = [row for row in pool.map(lambda job: run(*job), todo) if row]
    if len(rows) < len(todo):
        raise SystemExit(f"{len(todo) - len(rows)} of {len(todo)} runs failed: nothing is written")
    path, done = RESULTS / "runs.csv", {row["command"] for row in rows}
    if path.exists():
        rows += [row for row in csv.DictReader(path.open()) if row["command"] not in done]
    rows.sort(key=lambda row: (row["command"], int(row["seed"])))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    lines = ["Made by `python scripts/expected.py`; mean +- standard deviation over the seeds.\n"]
    for command in sorted({row["command"] for row in rows}):
        lines.append(f"- `python {command}`: {sentence([row for row in rows if row['command'] == command])}")
    (RESULTS / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main(tyro.cli(Args))
