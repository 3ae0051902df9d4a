"""The common way computes what the files compute, only slower; and what scripts/speed.py counts is right."""

import json
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from conftest import ALGOS, ROOT, discriminators, weights

from common.args import RunError
from common.data import load_data
from scripts import jax_scan, peers, race, speed
from scripts.lib import timing
from scripts.lib.inside import inside
from scripts.lib.loader import Loader
from scripts.lib.variants import module_with

CPU = torch.device("cpu")


def opened(algo="nsgan", changes=(), **args):
    """On the CPU and the ring, if nothing else is said."""
    return speed.opened(algo, changes, **{"dataset": "ring", "batch_size": 8, "width": 8, "device": "cpu"} | args)


# wgan.py has no Adam; cramer.py draws two batches of fakes at a time
UNFIT = {"wgan": {"plain_adam"}, "cramer": {"graph_through_g"}}


@pytest.mark.parametrize("name", ALGOS)
def test_every_habit_fits_every_file(name):
    assert {*speed.HABITS} - {*speed.habits(name)} == UNFIT.get(name, set())


def test_float32_unless_bfloat16_is_asked_for(monkeypatch):
    """Ways and other people's scripts are compared in the same precision."""
    monkeypatch.setattr("common.run.has_bfloat16", lambda device: True)
    assert not opened(dataset="16x16")["run"].amp and opened(dataset="16x16", amp=True)["run"].amp


@pytest.mark.parametrize("dataset", ["ring", "16x16"])
@pytest.mark.parametrize("name", ALGOS)
def test_common_way_gives_the_same_losses_and_weights(name, dataset, monkeypatch):
    """Three updates from the same weights, samples and noise: none of the files' tricks changes what is learned."""
    monkeypatch.setattr(torch, "randn_like", lambda x: torch.randn(x.shape))  # else in the order of x's memory
    found = []
    changes = [habit for habit in speed.habits(name) if habit != "dataloader"]  # draws other samples
    for change in ([], changes):
        local = opened(name, change, dataset=dataset, batch_size=16, seed=5)
        for opt in (local["g_opt"], local["d_opt"]):
            if isinstance(opt, torch.optim.Adam):  # else it makes whole steps of rounding errors where a gradient is 0
                opt.param_groups[0]["eps"] = 1e-5
        torch.manual_seed(0)
        losses = [
            {k: torch.as_tensor(v).detach().mean().item() for k, v in local["update"]().items()} for _ in range(3)
        ]
        found.append((losses, [weights(module) for module in (local["G"], *discriminators(local))]))
    (ours, our_weights), (theirs, their_weights) = found
    for a, b in zip(ours, theirs, strict=True):
        assert a == pytest.approx(b, rel=1e-3, abs=1e-4)
    for a, b in zip(our_weights, their_weights, strict=True):
        assert (a - b).norm() < 1e-3 * a.norm()


@pytest.mark.parametrize("name", ["nsgan", "began"])
def test_common_way_trains_as_the_file_does(name, tmp_path):
    """Whole runs, as the learning rate falls in the loop: the same weights at the end."""
    found = []
    for changes in ([], [habit for habit in speed.habits(name) if habit != "dataloader"]):
        module = module_with(name, changes)
        args = {"steps": 40, "log_every": 40, "width": 8, "out": str(tmp_path), "device": "cpu"}
        folder = module.train(module.Args(**args))["folder"]
        found.append(torch.load(f"{folder}/checkpoint.pt", weights_only=True)["state"])
    ours, theirs = found
    for part in ("G", "D"):
        for weight, other in zip(ours[part].values(), theirs[part].values(), strict=True):
            assert (weight - other).norm() < 1e-3 * weight.norm()


def test_points_from_a_loader_keep_their_modes():
    data = load_data("grid")
    loader = Loader(data)
    assert loader.modes is data.modes and loader.std == data.std and not loader.on_device


def test_an_update_makes_only_the_necessary_products():
    """nsgan on points, by hand, for w units, noise of 2 dimensions, B samples: no gradient that nobody needs."""
    w, B = 16, 32
    local = opened(batch_size=B, width=w)
    with speed.Count() as count:
        local["update"]()
    G, D = 2 * w + 2 * w * w + w * 2, 2 * w + 2 * w * w + w  # multiply-adds of a forward pass per sample
    d_step = G + 2 * D + 2 * D + 2 * (D - 2 * w)  # forward of both; backward into weights, and into inputs but the data
    g_step = G + D + D + G + (G - 2 * w)  # forward; back through D into its inputs alone; G's weights and inputs
    assert count.flops == 2 * B * (d_step + g_step)
    common = opened(changes=["d_gradients"], batch_size=B, width=w)
    with speed.Count() as more:
        common["update"]()
    assert more.flops == count.flops + 2 * B * D  # D's weights, whose gradient nobody uses


def test_launches_are_what_computes():
    a = torch.zeros(4, 4)
    with speed.Count() as count, torch.profiler.record_function("name"):
        torch.empty_like((a.view(16)[2:].t() + 1).mul_(2))
    assert count.launches == 2


def test_seconds_are_of_a_block_without_the_first_calls(monkeypatch):
    now, costs = [0.0], iter([9.0, 0.05] + [0.1] * 4)  # the second call says that a block of 0.2 s is four
    monkeypatch.setattr(timing, "clock", lambda device: now[0])
    assert timing.seconds(lambda: now.__setitem__(0, now[0] + next(costs)), CPU, block=0.2) == pytest.approx(0.1)
    assert next(costs, None) is None


def test_ways_are_compared_round_by_round_each_made_anew(monkeypatch):
    made = []
    cost = {"slow": iter([1.0, 4.0, 3.0]), "fast": iter([0.5, 1.0, 3.0])}
    run = SimpleNamespace(device=CPU, points=True)
    monkeypatch.setattr(
        speed, "opened", lambda algo, changes, **args: made.append(args["way"]) or {"update": args["way"], "run": run}
    )
    monkeypatch.setattr(speed, "seconds", lambda way, device: next(cost[way]))
    times = speed.compare("nsgan", {name: ([], {"way": name}) for name in cost}, CPU, 3)
    assert made == ["slow", "fast"] * 3
    assert speed.ratio(times, "slow", "fast") == 2  # the median of 2, 4 and 1


def test_floor_adds_up_the_three_costs_on_a_cpu():
    local = opened()
    local["update"]()  # the first one also makes the optimisers' state
    limit = {"float32": 1e9, "bfloat16": 2e9, "bandwidth": 1e9, "launch": 1e-6}
    row = speed.floor(local, limit)
    weights = sum(p.numel() for module in (local["G"], local["D"]) for p in module.parameters())
    expected = 1e3 * (row["gflop"] + 7 * 4 * weights / 1e9 + row["launches"] * 1e-6)
    assert row["floor ms"] == pytest.approx(expected)
    assert row["amp floor ms"] == pytest.approx(expected - 1e3 * row["gflop"] / 2)
    in_graph = speed.floor(local, limit | {"launch in a graph": 1.0})  # on a GPU at the same time: the longest counts
    assert in_graph["floor ms"] == 1e3 * in_graph["launches"]


def test_traffic_is_that_of_the_optimiser():
    limit = {"float32": 1e30, "bfloat16": 1e30, "bandwidth": 1.0, "launch": 0.0}
    for name, numbers in [("wgan_gp", 7), ("wgan", 5)]:  # Adam keeps two numbers per weight, RMSProp one
        local = opened(name)
        G, D = (sum(p.numel() for p in local[net].parameters()) for net in "GD")
        expected = 1e3 * numbers * 4 * (G + local["args"].d_steps * D)
        assert speed.floor(local, limit)["floor ms"] == pytest.approx(expected)


def test_memory_counts_weights_optimisers_and_the_largest_need_of_an_update(monkeypatch):
    local = opened(width=64)
    local["update"]()
    weights = 4 * sum(p.numel() for module in (local["G"], local["D"]) for p in module.parameters())

    def update():  # needs 1 MB and 2 MB at a time, then 1 MB
        a, b = torch.zeros(2**18), torch.zeros(2**19)
        del a, b
        torch.zeros(2**18)

    steps = 4 * 2 * 8  # a number per tensor of weights
    used = speed.memory(local | {"update": update}, CPU)
    assert used == pytest.approx(3 * weights + steps + 3 * 2**20, rel=1e-3)


def test_rows_are_kept_and_renewed(tmp_path):
    path = tmp_path / "rows.csv"
    timing.keep(path, [{"algo": "a", "dataset": "grid", "batch_size": 64, "x": 1.0}], CPU)
    timing.keep(path, [{"algo": "b", "dataset": "grid", "batch_size": 64, "x": 2.0, "y": 3}], CPU)
    rows = timing.keep(path, [{"algo": "a", "dataset": "grid", "batch_size": 64, "x": 1 / 3}], CPU)
    assert [(row["algo"], row["x"], row["y"]) for row in rows] == [("a", "0.3333", ""), ("b", "2", "3")]
    assert {row["torch"] for row in rows} == {torch.__version__}


def test_until_is_the_time_to_the_first_row_that_meets_the_target(monkeypatch):
    monkeypatch.setitem(speed.TARGETS, "target", lambda row: row["step"] == 2)
    command, args = "nsgan --steps 3 --log-every 1 --width 4", speed.Args("result", device="cpu")
    assert speed.until("target", command, "common", 1, args) is not None


def test_a_target_that_no_row_meets_has_no_time(monkeypatch):
    monkeypatch.setattr(speed.sys, "executable", "true")  # ends at once, without a row
    args = speed.Args("result", device="cpu")
    assert speed.until(speed.RING, "nsgan", "", 1, args) is None
    monkeypatch.setattr(speed.sys, "executable", "false")
    with pytest.raises(RunError, match="nsgan ended with code 1"):
        speed.until(speed.RING, "nsgan", "", 1, args)


def test_updates_and_ablation_of_one_file(tmp_path, monkeypatch, capsys):
    """Each way runs once; the times are made up, so that the ratios and floors are known."""
    limit = {"float32": 1e11, "bfloat16": 2e11, "bandwidth": 1e10, "launch": 1e-6}
    cost = {"common": 6e-3, "eager": 4e-3, "amp": 3e-3, "": 4e-3}
    ran, compare = [], speed.compare

    def compared(algo, ways, device, rounds):
        ran.extend(ways)
        assert {*compare(algo, ways, device, rounds)} == {*ways}
        return {name: [cost.get(name, 5e-3)] for name in ways}

    monkeypatch.setattr(timing, "RESULTS", tmp_path)
    monkeypatch.setattr(speed, "limits", lambda device: limit)
    monkeypatch.setattr(speed, "seconds", lambda update, device: update() and 1.0)
    monkeypatch.setattr(speed, "compare", compared)
    for what in ("updates", "ablation"):
        speed.main(speed.Args(what, ("nsgan", "wgan"), ("grid", "16x16"), (8,), rounds=1, device="cpu"))
    assert ran[:10] == 2 * ["common", "eager"] + 2 * ["common", "eager", "amp"]
    (folder,) = tmp_path.iterdir()
    rows = {(row["algo"], row["dataset"]): row for row in timing.read_rows(folder / "updates.csv")}
    assert len(rows) == 4 and json.loads((folder / "limits.json").read_text())["launch"] == 1e-6
    for (_, dataset), row in rows.items():
        assert (row["common ms"], row["eager ms"], row["eager ratio"]) == ("6", "4", "1.5")
        assert row["amp ratio"] == ("" if dataset == "grid" else "2")  # bfloat16 is too coarse for points
        assert float(row["floor ms"]) > float(row["launches"]) * 1e-3 and float(row["eager MB"]) > 0
    rows = timing.read_rows(folder / "ablation.csv")
    names = list(speed.HABITS.values())
    assert [[row[name] for name in names] for row in rows] == 2 * [
        ["1.25"] * 6,
        ["" if name[:4] == "Adam" else "1.25" for name in names],
    ]
    assert "`wgan.py`" in (folder / "updates.md").read_text() and "`wgan.py`" in (folder / "ablation.md").read_text()


def test_times_to_a_result_are_written_one_by_one_and_what_fails_is_left_out(tmp_path, monkeypatch, capsys):
    def until(target, command, change, seed, args):
        if target == speed.FASHION:
            raise RunError("nsgan ended with code 1")
        if target == speed.GRID and seed > speed.FIRST_SEED:
            raise KeyboardInterrupt
        return 2.0 if target == speed.RING else None

    monkeypatch.setattr(timing, "RESULTS", tmp_path)
    monkeypatch.setattr(speed, "until", until)
    with pytest.raises(KeyboardInterrupt):
        speed.main(speed.Args("result", seeds=2, device="cpu"))
    (folder,) = tmp_path.iterdir()
    rows = timing.read_rows(folder / "result.csv")
    assert [row["seconds"] for row in rows] == ["- -", "- -", *["2.0 2.0"] * 6, "-", "-"]
    assert speed.FASHION not in (folder / "result.md").read_text() and speed.RING in (folder / "result.md").read_text()
    assert "left out: nsgan ended with code 1" in capsys.readouterr().err


def test_limits_are_of_the_operations_that_are_made_and_float32_is_without_tf32(monkeypatch):
    """With made-up times of a second. TF32 has one flag for products and one for convolutions; both are put back."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    flags, counted, known = [], [], {}

    def seconds(way, device):
        flags.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
        if way not in known:  # each is asked for five times
            with speed.Count() as count:
                way()
            known[way] = count.flops, count.launches
        counted.append(known[way])
        return 1.0

    monkeypatch.setattr(speed, "seconds", seconds)
    found = speed.limits(CPU)
    assert flags[0] == ("highest", False)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before == flags[-1]
    assert found["float32"] == max(flops for flops, _ in counted[:10])
    assert found["bfloat16"] == max(flops for flops, _ in counted[10:20])
    assert found["bandwidth"] == 3 * 4 * 2**26  # reads two vectors and writes one
    assert found["launch"] == 1 / counted[25][1]


def test_every_target_has_a_command_and_every_command_is_one():
    assert {target for target, *_ in speed.RUNS} == {*speed.TARGETS}
    for _, command, change, _ in speed.RUNS:
        assert change in ("", "common") and (ROOT / "algos" / f"{command.split()[0]}.py").exists()


def test_pages_are_of_the_committed_rows():
    pages = {"updates": speed.updates_page, "ablation": speed.ablation_page, "result": speed.result_page}
    pages |= {"peers": peers.page, "race": race.page, "jax": jax_scan.page}
    for path in (ROOT / "results" / "speed").glob("*/*.csv"):
        lines = pages[path.stem](timing.read_rows(path))
        assert "\n".join(lines).strip() in path.with_suffix(".md").read_text(), path


def test_jax_is_compared_only_if_it_computes_the_same():
    """Losses and gradients of one batch, those of the penalty too; a wrong weight of it is noticed."""
    jax, scan = pytest.importorskip("jax"), jax_scan
    for algo in ("nsgan", "wgan_gp"):
        scan.must_agree(jax, algo, inside(ALGOS[algo], dataset="grid"))
    honest = scan.losses_of
    with mock.patch.object(scan, "losses_of", lambda jax, algo, weight: honest(jax, algo, 2 * weight)):
        with pytest.raises(RunError, match="another loss"):
            scan.must_agree(jax, "wgan_gp", inside(ALGOS["wgan_gp"], dataset="grid"))
