"""How fast training is: beside the same updates written the common way, and beside the limits of the device.

    python scripts/speed.py updates                                      every file, points and images
    python scripts/speed.py updates --algos nsgan wgan_gp --datasets grid 32x32 --batch-sizes 64
    python scripts/speed.py ablation                                     what each trick gains, alone
    python scripts/speed.py result --data-root data                      seconds from Enter to a good generator

Times of updates are of blocks, the ways of writing them in turn, and medians over the rounds; on a CPU they are the
process's own, on one core, which busy neighbours disturb less. Results go to results/speed/<device>/.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: times of one core
os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler is not to report that there is no GPU

import torch
import torch.nn as nn
import tyro
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common.args import RunError, check
from common.data import Images
from common.device import pick_device
from scripts.lib.command import command
from scripts.lib.headers import ALGOS
from scripts.lib.inside import inside, settings_of
from scripts.lib.suites import FIRST_SEED, ROOT
from scripts.lib.tables import is_number, short, table, two_decimals
from scripts.lib.timing import (
    PROVENANCE,
    device_name,
    folder_of,
    keep,
    provenance,
    ratio,
    seconds,
    write_page,
)
from scripts.lib.variants import CHANGES, file_of, module_with


@dataclass
class Args:
    what: tyro.conf.Positional[Literal["updates", "ablation", "result"]]
    """updates: every file beside the common way; ablation: each trick alone; result: time until a target is met"""
    algos: tuple[Literal[tuple(ALGOS)], ...] = tuple(ALGOS)
    """files of algos/, without .py"""
    datasets: tuple[Literal["grid", "16x16", "32x32", "64x64", "128x128"], ...] = ("grid", "32x32", "64x64")
    """grid (points), or colour images of this size, with random pixels, as their content costs no time"""
    batch_sizes: tuple[int, ...] = (64, 256)
    """real samples per update of the discriminator"""
    rounds: int = 7
    """how often each way of writing is timed, in turn; the median counts"""
    seeds: int = 3
    """for `result`: number of runs, each with another seed, for each time to a result"""
    data_root: str = "data"
    """folder of the data sets, for `result`"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, ..."""


# the common way -----------------------------------------------------------------------------------------------------

HABITS = {  # what most implementations write instead of the files' lines: changes of scripts/lib/variants.py
    "dataloader": "a DataLoader",
    "item": ".item() in every update",
    "graph_through_g": "a graph through G in D's step",
    "d_gradients": "D's gradients in G's step",
    "plain_adam": "Adam as PyTorch sets it",
    "channels_first": "channels first",
}


def habits(algo: str) -> list[str]:
    """Those that a file can take up: wgan.py has no Adam."""
    text = (ROOT / "algos" / f"{algo}.py").read_text()
    return [name for name in HABITS if CHANGES[name][0][0] in text]


@cache
def noise(size: int, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)  # its own, as weights and samples come from the common one
    return torch.randint(256, (10_000, channels, size, size), dtype=torch.uint8, generator=generator)


def opened(algo: str, changes: list[str] = (), networks: tuple[nn.Module, nn.Module] | None = None, **args) -> dict:
    """The local variables of train() when its loop would begin: update, G, D, g_opt, ...

    changes: of scripts/lib/variants.py. networks: G and D in place of the file's. args: of the file, in float32 if amp
    is not given. The data set "32x32" is 10,000 random colour images of this size, "28x28x1" are grey ones.
    """
    module, data, args = module_with(algo, changes), None, {"amp": False} | args
    if networks:
        module.Generator, module.Discriminator = (lambda *_, network=network: network for network in networks)
    if args["dataset"][0].isdigit():
        size, _, *channels = map(int, args["dataset"].split("x"))
        data = Images(noise(size, *channels), torch.device(args["device"]))
        args |= {"dataset": "folder"}  # the settings for images
    return inside(module, data, **args)


# counting and measuring ---------------------------------------------------------------------------------------------


class Count(TorchDispatchMode):
    """Floating-point operations of products and convolutions, and launches: operations that compute something."""

    def __init__(self):
        super().__init__()
        self.flops, self.launches = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if count := flop_registry.get(function._overloadpacket):
            self.flops += count(*args, **(kwargs or {}), out_val=out)
        name = function.name()
        idle = function.is_view or "empty" in name or name == "aten::_unsafe_view" or not name.startswith("aten::")
        self.launches += not idle
        return out


def limits(device: torch.device) -> dict[str, float]:
    """What the device can do: floating-point operations per second in each precision, bytes, seconds per launch."""

    def least(way: Callable) -> float:
        return min(seconds(way, device) for _ in range(5))

    cuda, found = device.type == "cuda", {}
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    kinds = {"float32": ("highest", torch.float32), "bfloat16": ("highest", torch.bfloat16)}
    size = 8192 if cuda else 1024
    for name, (precision, dtype) in (kinds | ({"TF32": ("high", torch.float32)} if cuda else {})).items():
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = precision == "high"
        a = torch.randn(size, size, device=device, dtype=dtype)
        x = torch.randn(64, 128, 32, 32, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        w = torch.randn(128, 128, 3, 3, device=device, dtype=dtype).to(memory_format=torch.channels_last)
        product = 2 * size**3 / least(lambda a=a: a @ a)
        convolution = 2 * x.numel() * 128 * 9 / least(lambda x=x, w=w: torch.conv2d(x, w, padding=1))
        found[name] = max(product, convolution)
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]
    large, other, one = (torch.zeros(n, device=device) for n in (2**26, 2**26, 1))
    found["bandwidth"] = 3 * large.nbytes / least(lambda: large.add_(other))

    def launch():
        for _ in range(1000):
            one.add_(1)

    found["launch"] = least(launch) / 1000
    if cuda:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            launch()
        found["launch in a graph"] = least(graph.replay) / 1000
    return found


def memory(local: dict, device: torch.device) -> int:
    """Bytes of weights and optimisers, and at most in use beside them during an update. Without data and libraries."""
    opts = (local["g_opt"], local["d_opt"])
    weights = [p for opt in opts for group in opt.param_groups for p in group["params"]]
    state = [s for opt in opts for values in opt.state.values() for s in values.values()]
    kept = sum(tensor.nbytes for tensor in [*weights, *state] if isinstance(tensor, Tensor))
    for weight in weights:
        weight.grad = None
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        with settings_of(local):
            local["update"]()
        return kept + torch.cuda.max_memory_allocated(device) - before
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        local["update"]()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    used = itertools.accumulate(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))
    return kept + max(used)


def floor(local: dict, limit: dict[str, float]) -> dict[str, float]:
    """Counts of one update, and the least milliseconds it can take: products, optimisers' traffic, launches.

    On a CPU they come after one another, on a GPU at the same time, and the launches are those of a graph. An
    optimiser reads and writes a weight and its own numbers of it (Adam two, RMSProp one), and reads the gradient.
    """
    with Count() as count:
        local["update"]()
    traffic = 0
    for opt, times in [(local["g_opt"], 1), (local["d_opt"], local["args"].d_steps)]:
        of_its_own = 2 if isinstance(opt, torch.optim.Adam) else 1
        traffic += times * (3 + 2 * of_its_own) * sum(p.nbytes for g in opt.param_groups for p in g["params"])
    row = {"gflop": count.flops / 1e9, "launches": count.launches}
    plain = "float32" if local["args"].dataset in ("ring", "grid") or "TF32" not in limit else "TF32"
    for name, precision in [("floor ms", plain), ("amp floor ms", "bfloat16")]:
        parts = [count.flops / limit[precision], traffic / limit["bandwidth"]]
        parts += [count.launches * limit.get("launch in a graph", limit["launch"])]
        row[name] = 1e3 * (max(parts) if "launch in a graph" in limit else sum(parts))
    return row


# updates and ablation -----------------------------------------------------------------------------------------------


def compare(algo: str, ways: dict[str, tuple[list[str], dict]], device: torch.device, rounds: int) -> dict:
    """Seconds per update of each way, a list of changes and arguments; once per round, in turn.

    Each is made anew in each round: where its weights come to lie in memory alone can make a tenth.
    """
    times = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (changes, args) in ways.items():
            local = opened(algo, changes, **args)
            with settings_of(local):
                times[name].append(seconds(local["update"], device))
    return times


def warm(algo: str, args: dict) -> dict:
    """As opened, after one update: the optimisers have their state."""
    local = opened(algo, **args)
    with settings_of(local):
        local["update"]()
    return local


def updated(algo: str, args: dict, device: torch.device, rounds: int, limit: dict) -> dict:
    """A row of `updates`: milliseconds per update of each way, and what the device would need at least."""
    names = ["eager", "amp", *(["graph", "graph amp"] if device.type == "cuda" else [])]
    names = [name for name in names if args["dataset"] != "grid" or "amp" not in name]
    ways = {"common": (habits(algo), args)}
    ways |= {name: ([], args | {"graph": "graph" in name, "amp": "amp" in name}) for name in names}
    times = compare(algo, ways, device, rounds)
    eager = warm(algo, args)
    row = {"d_steps": eager["args"].d_steps} | {f"{way} ms": 1e3 * statistics.median(times[way]) for way in ways}
    row |= {f"{way} ratio": ratio(times, "common", way) for way in ways if way != "common"}
    row |= floor(eager, limit) | {"eager MB": memory(eager, device) / 1e6}
    return row | ({"amp MB": memory(warm(algo, args | {"amp": True}), device) / 1e6} if "amp" in ways else {})


def ablated(algo: str, args: dict, device: torch.device, rounds: int) -> dict:
    """A row of `ablation`: the time with one habit taken up, over that of the file; of both the eager update."""
    ways = {"": ([], args)} | {name: ([name], args) for name in habits(algo)}
    if device.type == "cuda":
        ways["graph"] = ([], args | {"graph": True})
    times = compare(algo, ways, device, rounds)
    row = {HABITS[name]: ratio(times, name, "") for name in habits(algo)}
    return row | ({"no CUDA graph": ratio(times, "", "graph")} if "graph" in ways else {})


def rows_of_updates(args: Args, device: torch.device, limit: dict) -> Iterator[dict]:
    """The rows of `updates`; of `ablation` if there are no limits."""
    for dataset, batch_size, algo in tqdm([*itertools.product(args.datasets, args.batch_sizes, args.algos)]):
        settings = {"dataset": dataset, "batch_size": batch_size, "device": str(device), "graph": False}
        if limit:
            found = updated(algo, settings, device, args.rounds, limit)
        else:
            found = ablated(algo, settings, device, args.rounds)
        yield {"algo": algo, "dataset": dataset, "batch_size": batch_size} | found


# time to a result ---------------------------------------------------------------------------------------------------

FIRST, RING, GRID = "the first update", "8 of 8 modes, 0.85 sharp", "25 of 25 modes"
FASHION, END = "sliced Wasserstein distance 0.1", "the end of 5,000 updates"
TARGETS: dict[str, Callable[[dict], bool]] = {
    FIRST: lambda row: True,
    RING: lambda row: row["coverage"] == 8 and row["high_quality"] >= 0.85,
    GRID: lambda row: row["coverage"] == 25,
    FASHION: lambda row: row["swd"] <= 0.1,
    END: lambda row: row["step"] == 5000,
}
RUNS = [  # target, command, change of scripts/lib/variants.py, what differs from the files as they are
    (FIRST, "wgan_gp --lambda 10 --log-every 1", "", ""),
    (END, "wgan_gp --lambda 10", "", ""),
    (RING, "wgan_gp --lambda 10", "", ""),
    (RING, "wgan_gp --lambda 10 --d-steps 5", "", "five updates of D to one of G"),
    (RING, "wgan_gp --lambda 10 --lr 3e-3", "", "learning rate 3e-3"),
    (RING, "wgan_gp --lambda 10 --batch-size 128", "", "batch of 128"),
    (RING, "wgan_gp --lambda 10 --d-steps 5 --lr 3e-3 --batch-size 128 --steps 6000", "", "all three, 6,000 updates"),
    (RING, "wgan_gp --lambda 10", "common", "the common way"),
    (GRID, "pacgan --dataset grid --width 128", "", ""),
    (GRID, "pacgan --dataset grid --width 128", "common", "the common way"),
    (FASHION, "nsgan --dataset fashion_mnist --width 32 --batch-size 64 --lr 2e-3 --steps 1000 --log-every 50", "", ""),
]


def until(target: str, command: str, change: str, seed: int, args: Args) -> float | None:
    """Seconds from the start of a run to the first logged row that meets the target; None if none does."""
    algo, *flags = command.split()
    file = file_of(algo, change)
    with tempfile.TemporaryDirectory() as out:
        words = [sys.executable, file, *flags, "--seed", seed, "--data-root", args.data_root, "--device", args.device]
        begin, running = time.perf_counter(), True
        process = subprocess.Popen([*map(str, words), "--out", out], stdout=subprocess.DEVNULL)
        try:
            while running:
                time.sleep(0.05)
                running = process.poll() is None
                for log in Path(out).glob("*/metrics.jsonl"):
                    rows = [json.loads(r) for r in log.read_text().splitlines(keepends=True) if r.endswith("\n")]
                    if any(TARGETS[target](row) for row in rows):
                        return time.perf_counter() - begin
        finally:
            process.kill()
            process.wait()
    if process.returncode:
        raise RunError(f"{command} ended with code {process.returncode}")
    return None


def rows_of_result(args: Args, *_) -> Iterator[dict]:
    """Each row again after each seed. A command that fails is left out."""
    times = {case: [] for case in RUNS}
    for seed, case in tqdm([*itertools.product(range(args.seeds), RUNS)]):
        try:
            times[case].append(until(*case[:3], FIRST_SEED + seed, args))
        except RunError as error:  # its data are not here, say; it has told why
            print(f"left out: {error}", file=sys.stderr)
            continue
        found = " ".join(f"{s:.1f}" if s else "-" for s in times[case])
        yield {"target": case[0], "command": case[1], "change": case[3], "seconds": found}


# pages --------------------------------------------------------------------------------------------------------------


def updates_page(rows: list[dict]) -> list[str]:
    """A table for each data set and batch size: the times, the ratios, the floor."""
    lines = []
    for dataset, batch in dict.fromkeys((row["dataset"], row["batch_size"]) for row in rows):
        these = [row for row in rows if (row["dataset"], row["batch_size"]) == (dataset, batch)]
        ways = [way for way in ("eager", "amp", "graph", "graph amp") if these[0].get(f"{way} ms")]
        plain = "graph" if "graph" in ways else "eager"
        amp = {"eager": "amp", "graph": "graph amp"}[plain]
        head = ["file", "common way, ms", *(f"{way}, ms" for way in ways), *(f"{way}, times as fast" for way in ways)]
        head += ["updates per second", "samples per second", "GFLOP", "launches", f"floor over {plain}"]
        head += [f"floor over {amp}", "MB", "MB, amp"] if amp in ways else ["MB"]
        cells = []
        for row in these:
            number = {name: float(value) for name, value in row.items() if is_number(value) and value}
            line = [f"`{row['algo']}.py`", short(number["common ms"]), *(short(number[f"{way} ms"]) for way in ways)]
            line += [f"{number[f'{way} ratio']:.2f}" for way in ways]
            per_second = 1e3 / number[f"{plain} ms"]
            line += [per_second, f"{per_second * int(batch) * int(row['d_steps']):.0f}"]
            line += [number["gflop"], row["launches"], f"{number['floor ms'] / number[f'{plain} ms']:.2f}"]
            if amp in ways:
                line += [f"{number['amp floor ms'] / number[f'{amp} ms']:.2f}"]
            cells.append([*line, *(f"{number[f'{way} MB']:.0f}" for way in ("eager", "amp") if f"{way} MB" in number)])
        lines += [f"## {dataset}, batch of {batch}", "", *table(head, cells)]
    return lines


def ablation_page(rows: list[dict]) -> list[str]:
    names = [name for name in rows[0] if name not in ("algo", "dataset", "batch_size", *PROVENANCE)]
    cells = [[f"`{row['algo']}.py`", row["dataset"], row["batch_size"]] for row in rows]
    for row, line in zip(rows, cells, strict=True):
        line += [two_decimals(row[name]) for name in names]
    return table(["file", "data", "batch", *names], cells)


def result_page(rows: list[dict]) -> list[str]:
    cells = []
    for row in rows:
        times = row["seconds"].split()
        middle = "-" if "-" in times else f"{statistics.median(map(float, times)):.0f}"
        cells.append([row["target"], f"`algos/{row['command'].replace(' ', '.py ', 1)}`", row["change"], middle])
        cells[-1] += [row["seconds"]]
    return table(["target", "command", "change", "median, s", "of each seed"], cells)


ABOUT = {
    "updates": """One update of G with its updates of D. Common way: the file with a DataLoader (in the main process),
`.item()` in every update, a graph through G in D's step, D's gradients in G's step, Adam as PyTorch sets it by default,
channels first; like the files it draws new samples of G for G's step. Eager: the file without a CUDA graph; amp:
images in bfloat16. Times as fast: than the common way, median over the rounds. Samples per second: real ones, of
D's updates. Floor: the least time by the operations of products and convolutions, the optimisers' traffic and the
launches, {rule}; "floor over" is the share of it in the time. MB: weights, optimisers and the most that an
eager update needs beside them, without data{workspace}.""",
    "ablation": """The time of an eager update with one habit of the common way taken up, over that of the file: what
each trick gains by itself. Some hundredths are noise.""",
    "result": """Wall-clock seconds from pressing Enter, imports included, to the first logged row that meets the target
(later rows may miss it again); "-": no row did. Seeds from {seed} on; the settings were chosen on others. The seeds one
after another, the rows in turn; other programs on the machine lengthen these times.""",
}


def main(args: Args) -> None:
    check(args)
    device, what, text = pick_device(args.device), args.what, []
    folder, limit = folder_of(device), limits(device) if what == "updates" else {}
    about = ABOUT[what].format(
        rule="the greatest of the three" if device.type == "cuda" else "one after another",
        workspace=", with cuDNN's workspace" if device.type == "cuda" else "",
        seed=FIRST_SEED,
    )
    if limit:
        facts = {"device": device_name(device)} | provenance(device) | limit
        (folder / "limits.json").write_text(json.dumps(facts, indent=2) + "\n")
        gflops = (f"{limit[k] / 1e9:,.0f} GFLOP/s in {k}" for k in limit if k[-1].isdigit())
        about += f" Measured: {', '.join(gflops)}, {limit['bandwidth'] / 1e9:,.0f} GB/s"
        about += "".join(f", {1e6 * limit[k]:.2g} us per {k}" for k in limit if k.startswith("launch")) + "."
    pages = {"updates": updates_page, "ablation": ablation_page, "result": result_page}
    for row in (rows_of_result if what == "result" else rows_of_updates)(args, device, limit):
        rows = keep(folder / f"{what}.csv", [row], device)  # now, so that nothing is lost if the command is stopped
        text = [about, "", *pages[what](rows)]
        write_page(folder / f"{what}.md", what, f"speed.py {what}", device, rows, text)
    print("\n".join(text), f"written to {folder}", sep="\n")


if __name__ == "__main__":
    command(main, Args, __doc__)
