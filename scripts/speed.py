"""How fast training is: beside the same updates written the common way, and beside the limits of the device.

    python scripts/speed.py updates                                      every file, points and images
    python scripts/speed.py updates --algos nsgan wgan_gp --datasets grid 32x32 --batch-sizes 64
    python scripts/speed.py ablation                                     what each trick gains, alone
    python scripts/speed.py result --data-root data                      seconds from Enter to a good generator

Times are of blocks of updates, the ways of writing them in turn, and medians over the rounds; on a CPU the time of the
process (with OMP_NUM_THREADS=1 that of one core, however busy the others are). Results go to results/speed/<device>/.
"""

import csv
import importlib.util
import itertools
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from unittest import mock

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler is not to report that there is no GPU

import torch
import tyro
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
import common.data  # noqa: E402
from common.data import Images  # noqa: E402
from common.run import Run, environment, pick_device  # noqa: E402
from scripts.suites import ALGOS, FIRST_SEED  # noqa: E402
from scripts.tables import table  # noqa: E402
from scripts.variants import change, changed, variant  # noqa: E402


@dataclass
class Args:
    what: tyro.conf.Positional[Literal["updates", "ablation", "result"]]
    """updates: every file beside the common way; ablation: each trick alone; result: time until a target is met"""
    algos: tuple[str, ...] = tuple(ALGOS)
    """files of algos/"""
    datasets: tuple[str, ...] = ("grid", "32x32", "64x64")
    """grid (points, --width 128), or colour images of this size, random ones: their content costs no time"""
    batch_sizes: tuple[int, ...] = (64, 256)
    """samples per update"""
    rounds: int = 7
    """blocks per way of writing; the median counts"""
    seeds: int = 3
    """runs for each time to a result"""
    data_root: str = "data"
    """folder of the data sets, for `result`"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, ..."""


# the common way -----------------------------------------------------------------------------------------------------

HABITS = {  # what most implementations write instead of the files' lines: changes of scripts/variants.py
    "dataloader": "a DataLoader",
    "item": ".item() in every update",
    "graph_through_g": "a graph through G in D's step",
    "d_gradients": "D's gradients in G's step",
    "plain_adam": "Adam as PyTorch sets it",
    "channels_first": "channels first",
}


class Loader:
    """Samples from a DataLoader, shuffled, each converted on its own as torchvision's ToTensor and Normalize do."""

    on_device = True

    def __init__(self, data):
        from torchvision.transforms import v2

        self.data, self.shape, self.batches, self.device = data, data.shape, {}, pick_device("cpu")
        if isinstance(data, Images):
            self.device = data.device
            to_unit = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])]
            transform, rows = v2.Compose(to_unit), data.images.cpu()
            self.set = [(row, transform) for row in rows]
        else:
            self.device = data.modes.device
            self.set = [(row, None) for row in data.sample(100_000).cpu()]

    def __len__(self) -> int:
        return len(self.set)

    def __getitem__(self, index: int) -> Tensor:
        row, transform = self.set[index]
        return transform(row) if transform else row

    def sample(self, n: int) -> Tensor:
        if n not in self.batches:
            loader = torch.utils.data.DataLoader(self, batch_size=n, shuffle=True, drop_last=True)
            self.batches[n] = itertools.chain.from_iterable(itertools.repeat(loader))
        return next(self.batches[n]).to(self.device)

    def __getattr__(self, name: str):  # modes and std of the points
        return getattr(self.data, name)


def loader(*place) -> Loader:
    """Like load_data, for the files that `dataloader` has changed."""
    return Loader(common.data.load_data(*place))


def habits(algo: str) -> list[str]:
    """Those that a file can take up: wgan.py has no Adam."""
    text = (ROOT / "algos" / f"{algo}.py").read_text()
    return [name for name in HABITS if change(name)[0][0] in text]


def inside(algo: str, changes: list[str] = (), **args) -> dict:
    """The local variables of a file's train() when its loop would begin: update, G, D, g_opt, ...; with these changes.

    args: as for the file. The data set "32x32" is 10,000 random colour images of this size.
    """
    path = ROOT / "algos" / f"{algo}.py"
    text = path.read_text()
    for name in changes:
        text = changed(text, name)
    module = importlib.util.module_from_spec(importlib.util.spec_from_file_location(f"speed_{algo}", path))
    sys.modules[module.__name__] = module  # dataclasses look there
    exec(compile(text, path, "exec"), module.__dict__)
    size = args["dataset"].partition("x")[0]
    if size.isdigit():
        args |= {"dataset": "folder", "image_size": int(size)}

    def load_data(name, root, image_size, device):
        if name != "folder":
            return original(name, root, image_size, device)
        return Images(torch.randint(256, (10_000, 3, image_size, image_size), dtype=torch.uint8), device)

    class Reached(BaseException):
        pass

    def steps(self, **state):
        raise Reached(sys._getframe(1).f_locals)

    original = common.data.load_data
    with (
        tempfile.TemporaryDirectory() as out,
        mock.patch.object(Run, "steps", steps),
        mock.patch.object(common.data, "load_data", load_data),
    ):
        try:
            module.train(module.Args(**args, out=out))
        except Reached as reached:
            return reached.args[0]
    raise AssertionError(f"{algo}.py did not reach its loop")


# counting and measuring ---------------------------------------------------------------------------------------------


class Count(TorchDispatchMode):
    """Floating-point operations of products and convolutions, and launches: operations that are no mere views."""

    def __init__(self):
        super().__init__()
        self.flops, self.launches = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if count := flop_registry.get(function._overloadpacket):
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        self.launches += not function.is_view
        return out


def clock(device: torch.device) -> float:
    """Seconds: on a GPU after all its work, on a CPU of this process alone."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def seconds(ways: dict[str, Callable], device: torch.device, rounds: int, block: float = 0.2) -> dict[str, list[float]]:
    """Seconds per call of each function, once per round, in turn; a round's block of calls takes about `block`."""
    calls = {}
    for name, way in ways.items():
        for _ in range(5 if device.type == "cuda" else 1):  # libraries initialise, a CUDA graph is captured
            way()
        begin = clock(device)
        way()
        calls[name] = max(1, round(block / max(clock(device) - begin, 1e-6)))
    times = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            begin = clock(device)
            for _ in range(calls[name]):
                way()
            times[name].append((clock(device) - begin) / calls[name])
    return times


def limits(device: torch.device) -> dict[str, float]:
    """What the device can do: products per second in float32 (on a GPU TF32) and bfloat16, bytes, launches."""
    size = 8192 if device.type == "cuda" else 1024
    found = {}
    torch.set_float32_matmul_precision("high")
    for name, dtype in [("float32", torch.float32), ("bfloat16", torch.bfloat16)]:
        a = torch.randn(size, size, device=device, dtype=dtype)
        x = torch.randn(64, 128, 32, 32, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        w = torch.randn(128, 128, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        ways = {"product": lambda a=a: a @ a, "convolution": lambda x=x, w=w: torch.conv2d(x, w, padding=1)}
        flops = {"product": 2 * size**3, "convolution": 2 * x.numel() * 128 * 9}
        with torch.no_grad():
            times = seconds(ways, device, 5)
        found[name] = max(flops[way] / min(times[way]) for way in ways)
    large, one = torch.zeros(2**26, device=device), torch.zeros(1, device=device)
    found["bandwidth"] = 3 * large.nbytes / min(seconds({"": lambda: large.add_(large)}, device, 5)[""])

    def launch(n: int = 1000):
        for _ in range(n):
            one.add_(1)

    found["launch"] = min(seconds({"": launch}, device, 5)[""]) / 1000
    if device.type == "cuda":
        graph = torch.cuda.CUDAGraph()
        launch(3)
        with torch.cuda.graph(graph):
            launch()
        found["launch in a graph"] = min(seconds({"": graph.replay}, device, 5)[""]) / 1000
    return found


def learning(local: dict) -> list[torch.optim.Optimizer]:
    return [local["g_opt"], local["d_opt"]]


def memory(local: dict, device: torch.device) -> int:
    """Bytes of weights and optimisers, and at most in use beside them during an update. Without data and libraries."""
    weights = [p for opt in learning(local) for group in opt.param_groups for p in group["params"]]
    state = [s for opt in learning(local) for values in opt.state.values() for s in values.values()]
    kept = sum(tensor.nbytes for tensor in [*weights, *state] if isinstance(tensor, Tensor))
    for weight in weights:
        weight.grad = None
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        local["update"]()
        return kept + torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        local["update"]()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    used = itertools.accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return kept + max(used)


def floor(local: dict, limit: dict[str, float], amp: bool = False) -> dict[str, float]:
    """Counts of one update and the least seconds it can take: its products, Adam's traffic and its launches.

    On a CPU they come after one another, on a GPU at the same time. Adam reads four numbers per weight and writes
    three. On a GPU the launches are those of a graph.
    """
    with Count() as count:
        local["update"]()
    weights = {"g_opt": 1, "d_opt": local["args"].d_steps}
    size = sum(n * p.nbytes for name, n in weights.items() for g in local[name].param_groups for p in g["params"])
    rate = limit["bfloat16" if amp else "float32"]
    parts = [count.flops / rate, 7 * size / limit["bandwidth"]]
    parts += [count.launches * limit.get("launch in a graph", limit["launch"])]
    least = max(parts) if "launch in a graph" in limit else sum(parts)
    return {"gflop": count.flops / 1e9, "launches": count.launches, "floor": least}


# updates and ablation -----------------------------------------------------------------------------------------------


def settings(dataset: str, batch_size: int, device: torch.device) -> dict:
    points = {"width": 128} if dataset == "grid" else {}
    return {"dataset": dataset, "batch_size": batch_size, "device": str(device), "graph": False, **points}


def measure(algo: str, dataset: str, batch_size: int, device: torch.device, limit: dict, rounds: int) -> dict:
    """One row of `updates`: seconds per update of each way, and what the device would need at least."""
    args = settings(dataset, batch_size, device)
    locals_ = {
        "common": inside(algo, habits(algo), **args),
        "eager": inside(algo, **args),
        "amp": inside(algo, **args | {"amp": True}),
    }
    ways = {name: local["update"] for name, local in locals_.items()}
    if device.type == "cuda":
        for name, amp in [("graph", False), ("graph, amp", True)]:
            ways[name] = inside(algo, **args | {"graph": True, "amp": amp})["update"]
    times = seconds(ways, device, rounds)
    row = {"algo": algo, "dataset": dataset, "batch_size": batch_size}
    row |= {f"{way} ms": 1e3 * statistics.median(times[way]) for way in ways}
    for way in list(ways)[1:]:  # round by round, so that what slows a whole round down has no part in it
        row[f"{way} ratio"] = statistics.median(a / b for a, b in zip(times["common"], times[way], strict=True))
    row |= floor(locals_["eager"], limit)
    row["MB"] = memory(locals_["eager"], device) / 1e6
    row["amp MB"] = memory(locals_["amp"], device) / 1e6
    return row


def ablate(algo: str, dataset: str, batch_size: int, device: torch.device, rounds: int) -> dict:
    """One row of `ablation`: the time with one habit taken up, over the time of the file as it is."""
    args = settings(dataset, batch_size, device)
    ways = {"": inside(algo, **args)["update"]}
    ways |= {HABITS[name]: inside(algo, [name], **args)["update"] for name in habits(algo)}
    if device.type == "cuda":
        ways["a CUDA graph"] = inside(algo, **args | {"graph": True})["update"]
    times = seconds(ways, device, rounds)
    row = {"algo": algo, "dataset": dataset, "batch_size": batch_size}
    for habit in list(ways)[1:]:
        row[habit] = statistics.median(a / b for a, b in zip(times[habit], times[""], strict=True))
    return row


# time to a result ---------------------------------------------------------------------------------------------------

RING = "8 of 8 modes, 0.85 sharp"
TARGETS: dict[str, Callable[[dict], bool]] = {
    RING: lambda row: row["coverage"] == 8 and row["high_quality"] >= 0.85,
    "25 of 25 modes": lambda row: row["coverage"] == 25,
    "sliced Wasserstein distance 0.05": lambda row: row["swd"] <= 0.05,
}
SWD = "sliced Wasserstein distance 0.05"
RUNS = [  # target, command, change of scripts/variants.py, what differs from the files as they are
    (RING, "wgan_gp --lambda 10", "", ""),
    (RING, "wgan_gp --lambda 10 --d-steps 5", "", "five updates of D to one of G"),
    (RING, "wgan_gp --lambda 10 --lr 3e-3", "", "learning rate 3e-3"),
    (RING, "wgan_gp --lambda 10 --batch-size 128", "", "batch of 128"),
    (RING, "wgan_gp --lambda 10 --d-steps 5 --lr 3e-3 --batch-size 128 --steps 6000", "", "all three, 6,000 updates"),
    (RING, "wgan_gp --lambda 10", "common", "the common way"),
    ("25 of 25 modes", "pacgan --dataset grid --width 128", "", ""),
    ("25 of 25 modes", "pacgan --dataset grid --width 128", "common", "the common way"),
    (SWD, "nsgan --dataset fashion_mnist --width 32 --batch-size 64 --lr 2e-3 --steps 1000 --log-every 50", "", ""),
]


def until(target: str, command: str, change: str, seed: int, args: Args) -> float | None:
    """Seconds from the start of a run to the first logged row that meets the target; None if none does."""
    algo, *flags = command.split()
    file = variant(algo, change) if change else ROOT / "algos" / f"{algo}.py"
    with tempfile.TemporaryDirectory() as out:
        words = [sys.executable, file, *flags, "--seed", seed, "--data-root", args.data_root, "--device", args.device]
        begin = time.perf_counter()
        process = subprocess.Popen([*map(str, words), "--out", out], stdout=subprocess.DEVNULL)
        running = True
        while running:
            time.sleep(0.05)
            running = process.poll() is None
            for log in Path(out).glob("*/metrics.jsonl"):
                rows = [json.loads(row) for row in log.read_text().splitlines(keepends=True) if row.endswith("\n")]
                if any(TARGETS[target](row) for row in rows):
                    process.kill()
                    process.wait()
                    return time.perf_counter() - begin
    if process.returncode:
        raise SystemExit(f"{command} ended with code {process.returncode}")
    return None


# pages --------------------------------------------------------------------------------------------------------------


def device_name(device: torch.device) -> str:
    """As its maker calls it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {torch.get_num_threads()} thread"


def read(path: Path) -> list[dict]:
    with path.open() as file:
        return list(csv.DictReader(file))


def keep(path: Path, rows: list[dict]) -> list[dict]:
    """Adds rows to a CSV file, or renews those of the same first three columns; returns all of the file, as text."""
    old = read(path) if path.exists() else []
    text = [{name: f"{v:.4g}" if isinstance(v, float) else str(v) for name, v in row.items()} for row in rows]
    merged = {tuple(row.values())[:3]: row for row in [*old, *text]}
    columns = dict.fromkeys(name for row in merged.values() for name in row)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(merged.values())
    return read(path)


def updates_page(rows: list[dict]) -> list[str]:
    """A table for each data set and batch size: the times, the ratios, the floor."""
    lines = []
    for dataset, batch in dict.fromkeys((row["dataset"], row["batch_size"]) for row in rows):
        these = [row for row in rows if (row["dataset"], row["batch_size"]) == (dataset, batch)]
        ways = [way for way in ("eager", "amp", "graph", "graph, amp") if these[0].get(f"{way} ms")]
        head = ["file", "common way, ms", "as it is, ms", *(f"{way}, times as fast" for way in ways)]
        head += ["samples per second", "GFLOP", "launches", "floor, ms", "of the floor", "MB", "MB, amp"]
        best = "graph" if "graph" in ways else "eager"
        cells = []
        for row in these:
            ms, floor = float(row[f"{best} ms"]), 1e3 * float(row["floor"])
            cells.append(
                [f"`{row['algo']}.py`", float(row["common ms"]), ms, *(float(row[f"{w} ratio"]) for w in ways)]
            )
            cells[-1] += [f"{1e3 * int(batch) / ms:.0f}", float(row["gflop"]), row["launches"], floor]
            cells[-1] += [f"{floor / ms:.0%}", f"{float(row['MB']):.0f}", f"{float(row['amp MB']):.0f}"]
        lines += [f"## {dataset}, batch of {batch}", "", *table(head, cells)]
    return lines


def ablation_page(rows: list[dict]) -> list[str]:
    names = [name for name in rows[0] if name not in ("algo", "dataset", "batch_size")]
    cells = [[f"`{r['algo']}.py`", r["dataset"], r["batch_size"], *(r[n] or "-" for n in names)] for r in rows]
    return table(["file", "data", "batch", *names], cells)


def result_page(rows: list[dict]) -> list[str]:
    cells = []
    for row in rows:
        times = [float(s) for s in row["seconds"].split() if s != "-"]
        middle = f"{statistics.median(times):.0f}" if len(times) == len(row["seconds"].split()) else "-"
        cells.append([row["target"], f"`{row['command']}`", row["change"], middle, row["seconds"]])
    return table(["target", "command", "change", "median, s", "seconds of each seed"], cells)


ABOUT = {
    "updates": """One update of G with its updates of D. "Common way": the file with a DataLoader, `.item()` in every
update, a graph through G in D's step, D's gradients in G's step, Adam as PyTorch sets it by default, channels first.
"As it is": the file ({best}); "times as fast": than the common way, median over the rounds; amp: `--amp`, products and
convolutions in bfloat16. "Samples per second": of data, per update. Floor: the least time by the operations of its
products and convolutions, Adam's traffic and the launches of its operations, {rule}. MB: weights, optimisers and the
most that an update needs beside them, without data and libraries.""",
    "ablation": """The time of an update with one habit of the common way taken up, over the time of the file as it is:
what each trick gains by itself.""",
    "result": """Seconds from pressing Enter, imports included, to the first logged row that meets the target; "-": it
was not met until the end. Seeds from {seed} on; the settings were chosen on others.""",
}


def main(args: Args) -> None:
    device = pick_device(args.device)
    name = device_name(device)
    folder = ROOT / "results" / "speed" / re.sub(r"\W+", "-", name.lower()).strip("-")
    unknown = {*args.algos} - {*ALGOS} | {d for d in args.datasets if d != "grid" and not re.fullmatch(r"(\d+)x\1", d)}
    if unknown or args.rounds < 1 or args.seeds < 1 or min(args.batch_sizes, default=0) < 2:
        raise SystemExit(f"there is no {', '.join(unknown)}" if unknown else "numbers must be positive")
    limit = limits(device) if args.what == "updates" else {}
    cases = list(itertools.product(args.datasets, args.batch_sizes, args.algos)) if args.what != "result" else RUNS
    for case in tqdm(cases):
        if args.what == "result":
            target, command, change, about = case
            times = [until(target, command, change, FIRST_SEED + i, args) for i in range(args.seeds)]
            row = {"target": target, "command": command, "change": about}
            row |= {"seconds": " ".join(f"{s:.1f}" if s else "-" for s in times)}
        elif args.what == "updates":
            row = measure(case[2], case[0], case[1], device, limit, args.rounds)
        else:
            row = ablate(case[2], case[0], case[1], device, args.rounds)
        rows = keep(folder / f"{args.what}.csv", [row])
    about = ABOUT[args.what].format(
        best="with a CUDA graph" if device.type == "cuda" else "eager",
        rule="the greatest of the three" if device.type == "cuda" else "one after another",
        seed=FIRST_SEED,
    )
    made = environment(device)
    facts = f"{name}; torch {made['torch']}, Python {made['python']}, revision {made['git']}."
    if limit:
        facts += (
            f" Measured: {limit['float32'] / 1e9:.0f} GFLOP/s in float32, {limit['bfloat16'] / 1e9:.0f} in bfloat16, "
            f"{limit['bandwidth'] / 1e9:.1f} GB/s, "
            + ", ".join(f"{1e6 * limit[k]:.2g} us per {k}" for k in limit if k.startswith("launch"))
            + "."
        )
    page = {"updates": updates_page, "ablation": ablation_page, "result": result_page}[args.what](rows)
    text = [f"# Speed: {args.what}", "", f"    python scripts/speed.py {args.what}", "", facts, "", about, "", *page]
    (folder / f"{args.what}.md").write_text("\n".join(text).rstrip() + "\n")
    print("\n".join(text))


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__.splitlines()[0]))
