"""One run in several processes (gloo, on CPUs): the same gradients as one, the same weights in all, and resume."""

import json
import shutil
import subprocess
import sys

import pytest
import torch
from conftest import ALGOS, HANGS, KILLED, ROOT, contents, same

from common.args import parse

LAUNCH = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]

# All algorithms in float64, with a width of 8, without logs. First "shares": three updates, in which each process takes
# its part of the samples that one process would draw. Then, in several processes, "own": five updates with own samples.
# Each process writes what was trained and what it draws next.
CODE = """
import importlib, sys, torch
sys.path.insert(0, "{root}")
from common.processes import RANK, WORLD
from common.run import Run

out, names = sys.argv[1], sys.argv[2:]
batch = 16 // WORLD
torch.set_default_dtype(torch.float64)
randn, rand, randint, randn_like = torch.randn, torch.rand, torch.randint, torch.randn_like
seed, steps, log, finish = Run._seed, Run.steps, Run.log, Run.finish


def part(draw, size_at):
    def patched(*words, **options):
        words = list(words)
        whole = size_at == 1 or isinstance(words[size_at], tuple)
        size = list(words[size_at]) if whole else list(words)
        if not size or size[0] != batch:
            return draw(*words, **options)
        size[0] *= WORLD
        if whole:
            words[size_at] = tuple(size)
        else:
            words = size
        return draw(*words, **options)[RANK * batch : (RANK + 1) * batch]

    return patched


def shares():
    torch.randn, torch.rand, torch.randint = part(randn, 0), part(rand, 0), part(randint, 1)
    torch.randn_like = lambda x: torch.randn(*x.shape)
    Run._seed = lambda self, step: None


def own():
    torch.randn, torch.rand, torch.randint, torch.randn_like, Run._seed = randn, rand, randint, randn_like, seed


trained = dict()


def kept(self, **state):
    trained.update(state)
    return steps(self, **state)


Run.steps, Run.log, Run.finish = kept, lambda *_: None, lambda *_: dict()
try:
    for way, count in [(shares, 3), (own, 5)][:WORLD]:
        way()
        for name in names:
            module = importlib.import_module("algos." + name)
            more = dict(minibatch_discrimination=False) if name == "dual_d_selu" else dict()
            trained.clear()
            args = dict(steps=count, width=8, batch_size=16, out=out, device="cpu", lr=1e-3)
            module.train(module.Args(**args, quiet=True, **more))
            state = {{k: v if torch.is_tensor(v) else v.state_dict() for k, v in trained.items()}}
            torch.save([state, torch.randn(5)], f"{{out}}/{{name}}-{{way.__name__}}-{{RANK}}.pt")
finally:
    own()
    Run.steps, Run.log, Run.finish = steps, log, finish
    torch.set_default_dtype(torch.float32)
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """trained(processes, way): {algorithm: [(state, next random numbers) of each process]}, of one launch."""
    done = {}

    def run(count, way):
        if count not in done:
            done[count] = tmp_path_factory.mktemp(f"{count}")
            if count == 1:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(sys, "argv", ["", str(done[count]), *ALGOS])
                    exec(CODE.format(root=ROOT), {})
            else:
                launch_and_wait(CODE, done[count], *ALGOS)
        return {name: [torch.load(done[count] / f"{name}-{way}-{r}.pt") for r in range(count)] for name in ALGOS}

    return run


def launch_and_wait(code, out, *words):
    """What two processes say that run this code with these words."""
    (out / "code.py").write_text(code.format(root=ROOT))
    words = [*LAUNCH, out / "code.py", out, *words]
    ended = subprocess.run([*map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=HANGS)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def leaves(state):
    return [x for x in torch.utils._pytree.tree_leaves(state) if isinstance(x, torch.Tensor) and x.is_floating_point()]


WHOLE_BATCH = {"minibatch_discrimination"}  # D compares the samples of a batch: half of it is another D


def test_two_halves_of_a_batch_give_the_gradients_of_the_whole(trained):
    """In every file: after three updates the weights and the means of gradients are those of one process."""
    alone, together = trained(1, "shares"), trained(2, "shares")
    for name in (
        name for name in ALGOS if name not in WHOLE_BATCH
    ):  # not a test for each: two workers of pytest would launch everything twice
        ((one, _),), ((two, _), _) = alone[name], together[name]
        assert one.keys() == two.keys()
        for whole, half in zip(leaves(one), leaves(two), strict=True):
            assert torch.allclose(whole, half, rtol=1e-9, atol=1e-13), name
        assert all(x.abs().max() > 0 for x in leaves(one["g_opt"]) if x.numel() > 1), name


def test_processes_keep_the_same_weights_and_draw_other_samples(trained):
    for name, ((first, a), (second, b)) in trained(2, "own").items():
        assert same(first, second) and not torch.equal(a, b), name


WORDS = "--width 8 --steps 300 --checkpoint-every 100 --log-every 50 --device cpu --resume --out".split()

# A whole run, the same again, and bad input: what train() returns or raises in each process.
GUEST = """
import json, sys
sys.path.insert(0, "{root}")
from algos import nsgan
from common import metrics
from common.args import RunError, parse
from common.processes import RANK

metrics.wasserstein = lambda x, y: 0.0
out, words, said = sys.argv[1], sys.argv[2:], []
for more in ([], [], ["--batch-size", "33"], ["--dataset", "folder", "--data-root", out + "/nowhere"]):
    try:
        said.append(nsgan.train(parse(nsgan.Args, words=words + more)))
    except RunError as error:
        said.append(str(error))
open(f"{{out}}/said-{{RANK}}.json", "w").write(json.dumps(said))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of an unbroken run in two processes."""
    out = tmp_path_factory.mktemp("whole")
    (out / "printed").write_text(launch_and_wait(GUEST, out, *WORDS, out / "runs"))
    return out / "runs" / "nsgan-ring-s1"


def test_a_run_in_two_processes_is_a_good_guest(whole):
    """All get the result, also of a finished run, and bad input ends no process; one of them speaks."""
    first, second = (json.loads((whole.parents[1] / f"said-{rank}.json").read_text()) for rank in (0, 1))
    assert first[0] == first[1] == second[0] == second[1] and first[0]["step"] == 300
    assert first[2] == second[2] == "--batch-size 33: must be divisible by the 2 processes"
    assert first[3].startswith("no folder of images at") and second[3] == ""
    printed = (whole.parents[1] / "printed").read_text()
    assert printed.count("300 steps on cpu") == 1 and printed.count("is finished: nothing to resume") == 1


def test_rows_and_pictures_are_written_once(whole):
    rows = [json.loads(row)["step"] for row in (whole / "metrics.jsonl").read_text().splitlines()]
    assert rows == list(range(50, 350, 50)) and len(list((whole / "samples").iterdir())) == 6
    assert len(torch.load(whole / "checkpoint.pt", weights_only=True)["rng"]) == 2


# The last process sends itself SIGTERM in step 151, and torchrun, which hands it on
STOPPED = KILLED.replace(
    "os.kill(os.getpid(), signal.SIGKILL)", "[os.kill(i, 15) for i in (os.getpid(), os.getppid())]"
)


def launch(file, *words):
    words = [*LAUNCH, str(file), *map(str, words)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    return subprocess.Popen(words, cwd=ROOT, **pipes)


def finish(process):
    said = process.communicate(timeout=HANGS)[0]
    return process.returncode, said


def test_sigterm_to_all_ends_them_after_the_same_step_and_the_run_resumes_exactly(whole, tmp_path):
    """As a cluster sends it, to torchrun and its processes; here one sends it, and the other has it later or never."""
    (tmp_path / "stopped.py").write_text(STOPPED)
    folder = tmp_path / "nsgan-ring-s1"
    status, said = finish(launch(tmp_path / "stopped.py", *WORDS, tmp_path))
    assert status != 0 and not (folder / "result.json").exists() and "stopped after step 160" in said, said
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["step"] == 160
    status, said = finish(launch("algos/nsgan.py", *WORDS, tmp_path))
    assert status == 0 and said.count("resumed after step 160") == 1, said
    assert same(contents(folder), contents(whole))


def test_another_number_of_processes_goes_on(whole, tmp_path, capsys):
    """From two to one, with new random numbers: the same start, another end."""
    folder = tmp_path / "nsgan-ring-s1"
    shutil.copytree(whole, folder)
    (folder / "result.json").unlink()
    saved = torch.load(folder / "checkpoint.pt", weights_only=True)
    torch.save(saved | {"step": 200}, folder / "checkpoint.pt")
    assert ALGOS["nsgan"].train(parse(ALGOS["nsgan"].Args, words=[*WORDS, str(tmp_path)]))["folder"] == str(folder)
    assert "resumed after step 200" in capsys.readouterr().out
    assert len(torch.load(folder / "checkpoint.pt", weights_only=True)["rng"]) == 1


def test_the_page_counts_the_weights_that_are_sent():
    """The table: weights of both networks, and the megabytes of gradients of one update with five of D."""
    text = (ROOT / "scripts" / "README.md").read_text()
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
