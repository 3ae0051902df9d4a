"""What only a GPU can show: the captured update does what the plain one does. Skipped where there is none."""

import contextlib
import gc
import math

import pytest
import torch
from conftest import ALGOS, break_at, discriminators, weights
from test_resume import contents, same

from common.metrics import evaluate
from common.run import Run

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.fixture(params=["points", "images"])
def options(request, tiny_images):
    return {"device": "cuda", "seed": 5, **(tiny_images if request.param == "images" else {"width": 32})}


@gpu
@pytest.mark.parametrize("amp", [False, True])
def test_graph_equals_eager(algo, inside, options, amp):
    """From the same state, with the same random numbers: the same losses and weights after 20 updates.

    With --amp after 6, three of them replays, as bfloat16 turns the last digit into the third.
    """
    if amp and "dataset" not in options:
        pytest.skip("--amp is for images")
    results, n, rel = [], 6 if amp else 20, 2e-2 if amp else 1e-3
    for graph in (False, True):
        local = inside(algo, graph=graph, amp=amp, **options)
        torch.manual_seed(0)
        losses = [{k: v.mean().item() for k, v in local["update"]().items()} for _ in range(n)]
        results.append((losses, weights(local["G"]), torch.cat([weights(D) for D in discriminators(local)])))
    (plain, G, D), (captured, G2, D2) = results
    for one, two in zip(plain, captured, strict=True):
        assert one == pytest.approx(two, rel=rel, abs=rel / 10)
    torch.testing.assert_close(G2, G, rtol=rel, atol=rel / 10)
    torch.testing.assert_close(D2, D, rtol=rel, atol=rel / 10)


@gpu
def test_replays_draw_anew_and_see_the_learning_rate(algo, inside, options):
    local = inside(algo, **options)
    update = local["update"]
    real = next(name for name in update() if name.endswith("_real"))
    seen = [update()[real].clone() for _ in range(8)]
    assert all(not torch.equal(a, b) for a, b in zip(seen, seen[1:], strict=False))
    before = weights(local["G"])
    update()
    assert not torch.equal(weights(local["G"]), before)
    local["lr"].zero_()
    before = weights(local["G"])
    update()
    assert torch.equal(weights(local["G"]), before)


@gpu
def test_resume_is_exact_inside_a_graphed_run(algo, options, tmp_path, monkeypatch):
    options |= {"steps": 24, "checkpoint_every": 10, "log_every": 8}
    algo.train(algo.Args(**options, out=str(tmp_path / "whole")))
    break_at(17, algo, algo.Args(**options, out=str(tmp_path / "broken")), monkeypatch)
    algo.train(algo.Args(**options, out=str(tmp_path / "broken"), resume=True))
    (whole,), (broken,) = [list((tmp_path / name).iterdir()) for name in ("whole", "broken")]
    assert same(contents(whole), contents(broken))


@gpu
@pytest.mark.parametrize("name", ["ring", "grid"])
def test_an_exact_sampler_scores_the_same_on_a_gpu(inside, name):
    """No TF32 in the distances: 0.989 of the samples are within 3 sd."""
    local = inside(ALGOS["nsgan"], device="cuda", dataset=name)
    numbers = evaluate(local["data"], local["data"].sample(100_000))
    assert numbers["high_quality"] == pytest.approx(1 - math.exp(-4.5), abs=0.003)


@gpu
def test_speed_is_measured(tmp_path, monkeypatch):
    from scripts import speed

    monkeypatch.setattr(speed, "RESULTS", tmp_path)
    for what in ("updates", "ablation"):
        speed.main(speed.Args(what, ("nsgan", "wgan"), ("grid", "16x16"), (8,), rounds=1, device="cuda"))
    monkeypatch.setitem(speed.TARGETS, "target", lambda row: row["step"] == 20)
    command = "nsgan --steps 30 --log-every 10 --width 4"
    assert speed.until("target", command, "common", 1, speed.Args("result", device="cuda")) > 0


@pytest.mark.parametrize("graph", [True, False])
def test_the_loop_calls_the_graph_unless_told_otherwise(graph, algo, inside, monkeypatch):
    """On a CPU that claims to be a GPU, as far as capturing goes."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "Stream", object)
    original = Run.graph

    def captured(run, update):
        run.device = torch.device("cuda")
        update = original(run, update)
        run.device = torch.device("cpu")
        return update

    monkeypatch.setattr(Run, "graph", captured)
    update = inside(algo, graph=graph, width=8)["update"]
    assert update.__qualname__ == ("Run.graph.<locals>.replay" if graph else "train.<locals>.update")


def test_each_call_is_one_update(monkeypatch, inside):
    """Three calls run, the fourth captures (which computes nothing) on their stream and replays, later ones replay."""
    local = inside(ALGOS["nsgan"], width=8)
    run, done, warm_ups = local["run"], [], []

    class Graph:
        def replay(self):
            done.append("replay")

    class Stream:
        def wait_stream(self, other):
            pass

    @contextlib.contextmanager
    def capture(graph, stream):
        assert done.pop() == "collected" and stream in warm_ups
        yield
        assert done.pop() == "update"  # recorded, not run

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: contextlib.nullcontext(warm_ups.append(stream)))
    monkeypatch.setattr(gc, "collect", lambda: done.append("collected"))
    monkeypatch.setattr(torch.cuda, "graph", capture)
    run.device = torch.device("cuda")

    def update():
        done.append("update")
        return {"d_loss": torch.ones(1, requires_grad=True) * 2}

    graphed = run.graph(update)
    outputs = [graphed() for _ in range(6)]
    assert done == ["update"] * 3 + ["replay"] * 3
    assert outputs[4] is outputs[5] and not outputs[5]["d_loss"].requires_grad
