"""A peer's script is stopped after each update of its G, and our file trains copies of its networks."""

import sys
import threading
from pathlib import Path

import pytest
import torch
from conftest import load_script, weights
from torch import nn

from common.args import RunError

peers = load_script("peers")
speed = sys.modules["scripts.speed"]

SCRIPT = """
import argparse
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from helper import seen

seen.append(1)
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=1000)
args = parser.parse_args()
generator = nn.Sequential(nn.Linear(4, 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)))
discriminator = nn.Sequential(nn.Flatten(), nn.Linear(784, 1), nn.Sigmoid())
data = datasets.MNIST("../../data", download=True, transform=transforms.ToTensor())
loader = DataLoader(data, batch_size=8, num_workers=4)
assert loader.num_workers == 0
optimizer_G, optimizer_D = (torch.optim.SGD(net.parameters(), lr=0.1) for net in (generator, discriminator))
updates = {"D": 0, "G": 0}
generator.updates = updates
for _ in range(args.epochs):
    for i, (x, _) in enumerate(loader):
        assert x.shape[1:] == (1, 28, 28) and len(seen) == 1
        optimizer_D.zero_grad()
        (-discriminator(x).log().mean()).backward()
        optimizer_D.step()
        updates["D"] += 1
        if i % 2:
            optimizer_G.zero_grad()
            (-discriminator(generator(torch.randn(8, 4))).log().mean()).backward()
            updates["G"] += 1
            optimizer_G.step()
            print("an update")
            open("picture", "w").close()
        if i == 5:
            break
"""
NAMES = ("generator", "discriminator", "optimizer_G")


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "peer" / "train.py"
    path.parent.mkdir()
    path.write_text(SCRIPT)
    (path.parent / "helper.py").write_text("seen = []\n")
    return path


def test_each_call_is_one_update_of_g_with_its_updates_of_d(script, capsys):
    before, here = threading.active_count(), Path.cwd()
    for _ in range(2):  # the second time its modules are new
        with peers.running(script, [], NAMES) as (update, G, _):
            assert G.updates == {"D": 2, "G": 1}
            was = weights(G).clone()
            for n in (2, 3, 4, 5):
                update()
                assert G.updates == {"D": 2 * n, "G": n}
            assert not torch.equal(was, weights(G))
            assert Path.cwd() != here and Path("picture").exists()
        assert G.updates == {"D": 10, "G": 5}  # it went no further
        assert threading.active_count() == before and Path.cwd() == here and "helper" not in sys.modules
    assert capsys.readouterr() == ("", "")
    assert sorted(p.name for p in script.parent.iterdir() if p.name != "__pycache__") == ["helper.py", "train.py"]


def test_our_optimisers_do_not_count_as_the_script_s(script):
    with peers.running(script, [], NAMES) as (_, G, _):
        ours = torch.optim.SGD(G.parameters(), lr=0.0)
        ours.step()
        assert G.updates == {"D": 2, "G": 1}


@pytest.mark.parametrize(
    ("flags", "change", "message"),
    [
        (["--epochs", "1"], ("", ""), "train.py ended"),
        (["--wrong", "1"], ("", ""), "train.py failed: SystemExit: 2"),
        ([], ('updates["D"] += 1', "undefined"), "train.py failed: NameError: name 'undefined' is not defined"),
    ],
)
def test_a_script_that_ends_or_fails_says_so(script, flags, change, message):
    script.write_text(SCRIPT.replace(*change) if change[0] else SCRIPT)
    before, here = threading.active_count(), Path.cwd()
    with pytest.raises(RunError, match=message), peers.running(script, flags, NAMES) as (update, *_):
        for _ in range(10):
            update()
    assert threading.active_count() == before and Path.cwd() == here


def test_borrowed_networks_are_copies_that_give_logits():
    D = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(9, 1), nn.Sigmoid()))
    G = nn.Sequential(nn.ConvTranspose2d(4, 1, 3), nn.Tanh())
    x, z = torch.randn(5, 1, 3, 3), torch.randn(5, 4)
    borrowed = peers.Borrowed(D), peers.Borrowed(G, (4, 1, 1))
    torch.testing.assert_close(borrowed[0](x), torch.logit(D(x)).flatten())
    torch.testing.assert_close(borrowed[1](z), G(z[:, :, None, None]))
    with torch.no_grad():
        for parameter in borrowed[0].parameters():
            parameter.zero_()
    assert D(x).std() > 0


def test_our_file_trains_the_copies(script):
    case = peers.Case("train.py", "", "wgan_gp", (1, 28, 28), (4,), d_steps=2)
    with peers.running(script, [], NAMES) as (_, G, D):
        before = weights(G).clone(), weights(D).clone()
        update = peers.ours(case, G, D, torch.device("cpu"))["update"]
        numbers = update()
        assert numbers["d_real"].shape == (64,)
        assert torch.equal(before[0], weights(G)) and torch.equal(before[1], weights(D))


def networks():
    torch.manual_seed(0)
    G = peers.Borrowed(nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 1024), nn.Unflatten(1, (1, 32, 32))))
    D = peers.Borrowed(nn.Sequential(nn.Flatten(), nn.Linear(1024, 16), nn.ReLU(), nn.Linear(16, 1)))
    G.noise = (4,)
    return G, D


@pytest.mark.parametrize("algo", ["nsgan", "lsgan"])
def test_one_pass_gives_both_players_the_same_samples(algo):
    args = {"dataset": "32x32x1", "batch_size": 8, "z_dim": 4, "device": "cpu"}
    found = {}
    for name, changes in [("new", []), ("same", ["one_pass"])]:
        local = speed.opened(algo, changes, networks=networks(), **args)
        passes, samples = [], []
        local["G"].register_forward_hook(lambda *a, passes=passes: passes.append(a[2].detach()))
        local["D"].register_forward_pre_hook(lambda _, x, samples=samples: samples.append(x[0].detach()))
        torch.manual_seed(1)
        local["update"]()
        _, of_d, of_g = samples
        assert len(passes) == (2 if name == "new" else 1)
        assert torch.equal(of_d, of_g) == (name == "same")
        found[name] = weights(local["G"]), weights(local["D"])
        assert all(p.grad.abs().sum() > 0 for p in local["G"].parameters())
    assert torch.equal(found["new"][1], found["same"][1])  # D's update is the same
    assert not torch.equal(found["new"][0], found["same"][0])


def test_settings_of_a_script_are_its_own(script):
    """It sets cudnn.benchmark, and never sees the deterministic mode of our runs, which do not see benchmark."""
    cudnn = torch.backends.cudnn
    checks = "assert not torch.backends.cudnn.deterministic and torch.backends.cudnn.benchmark"
    text = SCRIPT.replace("parser =", "torch.backends.cudnn.benchmark = True\nparser =").replace(
        "    for i", f"    {checks}\n    for i"
    )
    script.write_text(text)
    before = peers.global_flags()
    cudnn.deterministic = True
    try:
        with peers.running(script, [], NAMES) as (update, *_):
            for _ in range(8):  # more than one epoch
                update()
                assert cudnn.deterministic and not cudnn.benchmark
    finally:
        peers.set_global_flags(before)


def test_measures_and_writes_the_page(script, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(peers, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(peers, "device_name", lambda device: "a core")
    cases = [
        peers.Case("peer/train.py", "", "nsgan", (1, 28, 28), (4,), one_pass=True),
        peers.Case("peer/train.py", "--epochs 999", "wgan", (1, 28, 28), (4,), d_steps=2),
    ]
    monkeypatch.setattr(peers, "CASES", cases)
    cost = {"theirs": 8e-3, "ours": 4e-3, "amp": 2e-3, "one pass": 5e-3, "one pass, amp": 1e-3}

    def seconds(ways, *_, block):
        for way in ways.values():
            way()
        return {name: [cost[name]] for name in ways}

    monkeypatch.setattr(peers, "seconds", seconds)
    peers.main(peers.Args(str(tmp_path), rounds=1, device="cpu"))
    rows = speed.read_rows(tmp_path / "results" / "a-core" / "peers.csv")
    assert [row["one pass ratio"] for row in rows] == ["1.6", ""]
    for row in rows:
        assert (row["theirs ms"], row["ours ms"], row["ours ratio"], row["amp ratio"]) == ("8", "4", "2", "4")
    text = (tmp_path / "results" / "a-core" / "peers.md").read_text()
    assert "`peer/train.py --epochs 999`" in text
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(RunError, match="--device cpu: the scripts take a GPU"):
        peers.main(peers.Args(str(tmp_path), device="cpu"))
    monkeypatch.undo()
    with pytest.raises(RunError, match="not there: .*nowhere"):
        peers.main(peers.Args(str(tmp_path / "nowhere")))
