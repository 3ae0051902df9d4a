"""What only a GPU can show: the captured update does what the plain one does. Skipped where there is none."""

import contextlib
import gc
import math
from types import SimpleNamespace

import pytest
import torch
from conftest import ALGOS, break_at, contents, discriminators, same, weights

from common.data import Cloud, Images, Points, fixed_sample
from common.device import captured
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


POINTS = torch.randn(100, 2, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randint(256, (40, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
OBJECT = SimpleNamespace(shape=(2,), sample=lambda n: torch.randn(n, 2))
ON_GPU = SimpleNamespace(shape=(2,), sample=lambda n: torch.randn(n, 2, device="cuda"), on_device=True)
OWN = [  # data on the host; the settings; whether an update can be a graph
    (POINTS, "ring", True), (IMAGES, "folder", True),
    (Points(POINTS, 0.1), "ring", True), (Cloud(POINTS), "ring", True),
    (Images(IMAGES, torch.device("cpu")), "folder", True), (OBJECT, "ring", False), (ON_GPU, "ring", True),
]  # fmt: skip


@gpu
@pytest.mark.parametrize(("own", "dataset", "graph"), OWN)
def test_own_data_from_the_host_are_trained_on_resumed_and_graphed(own, dataset, graph, inside, tmp_path, monkeypatch):
    nsgan = ALGOS["nsgan"]
    options = {"device": "cuda", "dataset": dataset, "width": 8, "batch_size": 16}
    local = inside(nsgan, own, **options)
    assert local["data"].sample(3).device.type == "cuda"
    assert (local["update"].__name__ == "__next__") == graph
    options |= {"steps": 12, "checkpoint_every": 5, "log_every": 4}
    nsgan.train(nsgan.Args(**options, out=str(tmp_path / "whole")), own)
    break_at(8, nsgan, nsgan.Args(**options, out=str(tmp_path / "broken")), monkeypatch, own)
    nsgan.train(nsgan.Args(**options, out=str(tmp_path / "broken"), resume=True), own)
    assert same(*(contents(tmp_path / name / "nsgan-own-s1") for name in ("whole", "broken")))


@gpu
@pytest.mark.parametrize("name", ["points", "images"])
def test_a_fixed_sample_on_a_gpu_leaves_its_random_numbers_alone(name):
    """Also between the replays of a graph that draws from the same generator."""
    cuda = torch.device("cuda", 0)
    data = Points(POINTS.to(cuda), 0.1) if name == "points" else Images(IMAGES, cuda)
    torch.manual_seed(0)
    first, expected, on_host = fixed_sample(data, 50), torch.randn(5, device=cuda), torch.randn(5)
    torch.manual_seed(0)
    assert torch.equal(torch.randn(5, device=cuda), expected) and torch.equal(torch.randn(5), on_host)
    assert first.device == cuda and torch.equal(fixed_sample(data, 50), first)

    def drawn(between):
        torch.manual_seed(0)
        update, seen = captured(lambda: {"x": data.sample(20)}), []
        for _ in range(8):
            seen.append(update()["x"].clone())
            between()
        return torch.stack(seen)

    assert torch.equal(drawn(lambda: fixed_sample(data, 50)), drawn(lambda: None))
    assert torch.equal(fixed_sample(data, 50), first)


@gpu
@pytest.mark.parametrize("amp", [False, True])
def test_prepared_networks_are_on_the_device_and_channels_last(amp, algo, inside, tiny_images):
    local = inside(algo, device="cuda", amp=amp, **tiny_images)
    networks = [local["G"], *discriminators(local)]
    for network in networks:
        assert all(p.device.type == "cuda" and p.dtype == torch.float32 for p in network.parameters())
        kernels = [p for p in network.parameters() if p.dim() == 4]
        assert kernels and all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    fake = local["G"](torch.randn(4, 64, device="cuda"))
    assert fake.shape == (4, 3, 16, 16) and fake.dtype == torch.float32 and fake.device.type == "cuda"


@gpu
def test_precision_is_put_back_after_a_run(tmp_path):
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.deterministic
    for own, dataset in ((POINTS, "ring"), (IMAGES, "folder")):
        options = {"steps": 2, "width": 8, "batch_size": 8, "device": "cuda", "out": str(tmp_path)}
        ALGOS["nsgan"].train(ALGOS["nsgan"].Args(dataset=dataset, **options), own)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.deterministic) == before


@gpu
def test_speed_is_measured(tmp_path, monkeypatch):
    from scripts import speed
    from scripts.lib import timing

    monkeypatch.setattr(timing, "RESULTS", tmp_path)
    for what in ("updates", "ablation"):
        speed.main(speed.Args(what, ("nsgan", "wgan"), ("grid", "16x16"), (8,), rounds=1, device="cuda"))
    monkeypatch.setitem(speed.TARGETS, "target", lambda row: row["step"] == 20)
    command = "nsgan --steps 30 --log-every 10 --width 4"
    assert speed.until("target", command, "common", 1, speed.Args("result", device="cuda")) > 0


# --- on a CPU that claims to be a GPU, as far as capturing goes


@pytest.fixture
def claimed(monkeypatch):
    """Run.graph as on a GPU."""
    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "Stream", object)
    original = Run.graph

    def graph(run, update):
        run.device = torch.device("cuda")
        update = original(run, update)
        run.device = torch.device("cpu")
        return update

    monkeypatch.setattr(Run, "graph", graph)


def test_the_loop_calls_the_graph(algo, inside, claimed):
    assert inside(algo, width=8)["update"].__qualname__ == "generator.__next__"


def test_there_is_no_graph_if_told_so_or_if_data_come_from_the_host(inside, claimed, monkeypatch):
    nsgan, plain = ALGOS["nsgan"], "train.<locals>.update"
    assert inside(nsgan, width=8, graph=False)["update"].__qualname__ == plain
    assert inside(nsgan, OBJECT, width=8)["update"].__qualname__ == plain
    images = Images(IMAGES, torch.device("cpu"))
    images.on_device = False  # as they are where the GPU's memory is too small
    assert inside(nsgan, images, dataset="folder", width=8)["update"].__qualname__ == plain
    assert inside(nsgan, IMAGES, dataset="folder", width=8)["update"].__qualname__ != plain
    run = inside(nsgan, width=8)["run"]
    monkeypatch.setattr("common.run.WORLD", 2)
    assert run.graph(plain) is plain


def test_without_a_gpu_there_is_no_graph(inside):
    assert inside(ALGOS["nsgan"], width=8)["update"].__qualname__ == "train.<locals>.update"


def test_each_call_is_one_update(monkeypatch):
    """Three calls run, the fourth captures (which computes nothing) on their stream and replays, later ones replay."""
    done, warm_ups = [], []

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

    def update():
        done.append("update")
        return {"d_loss": torch.ones(1, requires_grad=True) * 2}

    graphed = captured(update)
    outputs = [graphed() for _ in range(6)]
    assert done == ["update"] * 3 + ["replay"] * 3
    assert outputs[4] is outputs[5] and not outputs[5]["d_loss"].requires_grad
