"""One run in several processes (gloo, on CPUs): the same gradients as one, the same weights in all, and resume."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from conftest import ALGOS, ROOT, script
from test_resume import contents, same

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]

# All algorithms in float64, in one launch. With "shares" three updates, in which every process takes its part of the
# samples that one process would draw; else its own. Each process writes what was trained and what it draws next.
CODE = """
import importlib, sys, torch
import torch.distributed as dist
sys.path.insert(0, "{root}")
from common import metrics, processes
from common.processes import RANK, WORLD
from common.run import Run

names, shares, out = sys.argv[1].split(","), sys.argv[2] == "shares", sys.argv[3]
batch = 16 // WORLD
torch.set_default_dtype(torch.float64)


def part(draw, size_at):
    def patched(*words, **options):
        words = list(words)
        whole = size_at == 1 or isinstance(words[size_at], tuple)
        size = list(words[size_at]) if whole else list(words)
        if size[0] != batch:
            return draw(*words, **options)
        size[0] *= WORLD
        if whole:
            words[size_at] = tuple(size)
        else:
            words = size
        return draw(*words, **options)[RANK * batch : (RANK + 1) * batch]

    return patched


def like(x):
    return torch.randn(*x.shape)


if shares:
    torch.randn, torch.rand, torch.randint = part(torch.randn, 0), part(torch.rand, 0), part(torch.randint, 1)
    torch.randn_like = like
    Run._seed = lambda self, step: None
steps, seen, trained = Run.steps, [], dict()
processes.disconnect = lambda: None
metrics.wasserstein = lambda x, y: 0.0  # slow, and not of interest here


def kept(self, **state):
    trained.update(state)
    return steps(self, **state)


Run.steps = kept
for name in names:
    module = importlib.import_module("algos." + name)
    more = dict(minibatch_discrimination=False) if name == "dual_d_selu" else dict()
    more |= dict(noise="uniform") if name == "dragan" and not shares else dict()
    count = 3 if shares else 20
    trained.clear()
    args = module.Args(steps=count, log_every=count, width=8, batch_size=16, out=out, device="cpu", lr=1e-3, **more)
    module.train(args)
    state = {{k: v if torch.is_tensor(v) else v.state_dict() for k, v in trained.items()}}
    torch.save([state, torch.randn(5)], f"{{out}}/{{name}}-{{RANK}}.pt")
if WORLD > 1:
    dist.destroy_process_group()
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """trained(processes, kind): {algorithm: [(state, next random numbers) of each process]}, all of one launch."""
    done = {}

    def run(count, kind):
        if (count, kind) not in done:
            out = tmp_path_factory.mktemp(f"{kind}{count}")
            (out / "code.py").write_text(CODE.format(root=ROOT))
            words = [sys.executable] if count == 1 else LAUNCH
            words = [*words, out / "code.py", ",".join(ALGOS), kind, out]
            ended = subprocess.run([*map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=300)
            assert ended.returncode == 0, ended.stderr
            done[count, kind] = {
                name: [torch.load(out / f"{name}-{rank}.pt") for rank in range(count)] for name in ALGOS
            }
        return done[count, kind]

    return run


def leaves(state):
    return [x for x in torch.utils._pytree.tree_leaves(state) if isinstance(x, torch.Tensor) and x.is_floating_point()]


def test_two_halves_of_a_batch_give_the_gradients_of_the_whole(trained):
    """In every file: after three updates the weights and the means of gradients are those of one process."""
    alone, together = trained(1, "shares"), trained(2, "shares")
    for name in ALGOS:  # not a test for each: two workers of pytest would launch everything twice
        ((one, _),), ((two, _), _) = alone[name], together[name]
        assert one.keys() == two.keys()
        for whole, half in zip(leaves(one), leaves(two), strict=True):
            assert torch.allclose(whole, half, rtol=1e-9, atol=1e-13), name
        assert all(x.abs().max() > 0 for x in leaves(one["g_opt"]) if x.numel() > 1), name


def test_processes_keep_the_same_weights_and_draw_other_samples(trained):
    for name, ((first, a), (second, b)) in trained(2, "own").items():
        assert same(first, second) and not torch.equal(a, b), name


def launch(*words, **options):
    return subprocess.Popen(
        [*LAUNCH, *map(str, words)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )


def finish(process):
    out = process.communicate(timeout=120)[0]
    return process.returncode, out


WORDS = "algos/nsgan.py --width 8 --steps 600 --checkpoint-every 100 --log-every 50 --device cpu --resume".split()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an unbroken run in two processes."""
    out = tmp_path_factory.mktemp("whole")
    status, said = finish(launch(*WORDS, "--out", out))
    assert status == 0 and said.count("600 steps on cpu") == 1, said
    return out / "nsgan-ring-s1"


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_broken_run_ends_cleanly_and_resumes_exactly(end, whole, tmp_path):
    """SIGTERM to all, as a cluster does; SIGKILL to one process, which ends the others too."""
    process = launch(*WORDS, "--out", tmp_path, start_new_session=True)
    folder = tmp_path / "nsgan-ring-s1"
    limit = time.monotonic() + 90
    while not (folder / "checkpoint.pt").exists():
        assert time.monotonic() < limit and process.poll() is None
        time.sleep(0.02)
    workers = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True).stdout.split()
    for worker in workers if end == signal.SIGTERM else workers[-1:]:
        os.kill(int(worker), end)
    if end == signal.SIGTERM:
        process.terminate()
    status, said = finish(process)
    assert status != 0 and not (folder / "result.json").exists(), said
    assert "stopped after step" in said if end == signal.SIGTERM else "Signal 9 (SIGKILL)" in said
    if end == signal.SIGTERM:
        assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] % 10 == 0
        return
    status, said = finish(launch(*WORDS, "--out", tmp_path))
    assert status == 0 and said.count("resumed after step") == 1, said
    assert same(contents(folder), contents(whole))


def test_finished_run_ends_all_processes_at_once(whole):
    status, said = finish(launch(*WORDS, "--out", whole.parent))
    assert status == 0 and said.count("is finished: nothing to resume") == 1, said


def test_rows_and_pictures_are_written_once(whole):
    rows = [json.loads(row)["step"] for row in (whole / "metrics.jsonl").read_text().splitlines()]
    assert rows == list(range(50, 650, 50)) and len(list((whole / "samples").iterdir())) == 12
    assert len(torch.load(whole / "checkpoint.pt", weights_only=True)["rng"]) == 2


def test_another_number_of_processes_goes_on(whole, tmp_path):
    """From two to one, with new random numbers: the same start, another end."""
    folder = tmp_path / "nsgan-ring-s1"
    shutil.copytree(whole, folder)
    (folder / "result.json").unlink()
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)
    torch.save(saved | {"step": 500}, folder / "checkpoint.pt")
    ended = script(*WORDS, "--out", tmp_path)
    assert ended.returncode == 0 and "resumed after step 500" in ended.stdout, ended.stderr
    assert len(torch.load(folder / "checkpoint.pt", weights_only=True)["rng"]) == 1


def test_missing_data_is_one_message(tmp_path):
    status, said = finish(
        launch("algos/nsgan.py", "--dataset", "folder", "--data-root", tmp_path / "no", "--device", "cpu")
    )
    assert status != 0 and said.count("no folder of images at") == 1, said


def test_batch_that_cannot_be_shared_is_refused(tmp_path):
    status, said = finish(launch("algos/nsgan.py", "--batch-size", 33, "--out", tmp_path))
    assert status != 0 and "--batch-size 33: must be divisible by the 2 processes" in said


def test_readme_counts_the_weights_that_are_sent():
    """The README's table: weights of both networks, and the megabytes of gradients of one update with five of D."""
    text = (ROOT / "README.md").read_text()
    for size in (32, 64):
        G = ALGOS["wgan_gp"].Generator(64, (3, size, size), 128)
        D = ALGOS["wgan_gp"].Discriminator((3, size, size), 128)
        g, d = (sum(p.numel() for p in network.parameters()) for network in (G, D))
        row = next(line for line in text.splitlines() if line.startswith(f"| {size}x{size} "))
        assert f"| {g / 1e6:.1f} M, {d / 1e6:.1f} M |" in row and f"| {4 * (g + 5 * d) / 1e6:.0f} MB |" in row
        megabytes = 4 * (g + 5 * d) / 1e6
        for count, rate, cell in [(8, 300e3, -3), (1000, 40e3, -2)]:
            milliseconds = 2 * (count - 1) / count * megabytes / rate * 1e3
            assert f"{milliseconds:.{1 if count == 8 else 0}f} ms" == row.split("|")[cell].strip()
