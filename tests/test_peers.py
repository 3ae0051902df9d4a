"""A peer's script is visited after each update of its G, and our file trains copies of its networks."""

import sys
from dataclasses import asdict, replace

import pytest
import torch
from conftest import weights
from torch import nn

from common.args import RunError
from scripts import peers
from scripts.lib import foreign, timing

speed = sys.modules["scripts.speed"]

SCRIPT = """
import argparse
import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
import helper

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=1000)
args = parser.parse_args()
generator = nn.Sequential(nn.Linear(4, 784), nn.Tanh(), nn.Unflatten(1, (1, 28, 28)))
discriminator = nn.Sequential(nn.Flatten(), nn.Linear(784, 1), nn.Sigmoid())
data = datasets.MNIST("../../data", download=True, transform=transforms.ToTensor())
loader = DataLoader(data, batch_size=8, num_workers=4)
assert loader.num_workers == 0 and torch.get_num_threads() == 1
optimizer_G, optimizer_D = (torch.optim.SGD(net.parameters(), lr=0.1) for net in (generator, discriminator))
updates = {"D": 0, "G": 0}
for _ in range(args.epochs):
    for i, (x, _) in enumerate(loader):
        assert x.shape[1:] == (1, 28, 28)
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
            open("../../picture", "w").close()
        if i == 5:
            break
"""


@pytest.fixture
def case(tmp_path):
    """A case whose script is in a folder of its own."""
    (tmp_path / "peer").mkdir()
    (tmp_path / "peer" / "train.py").write_text(SCRIPT)
    (tmp_path / "peer" / "helper.py").write_text("seen = []")
    return peers.Case(foreign.Script("peer/train.py", noise=(4,)), "nsgan", (1, 28, 28), one_pass=True)


VISITOR = """
import torch
from scripts.peers import timed

def counting(found, case):  # three updates of G: how often each player was updated after each of them
    next(timed(found, case, "cpu"))  # its random images
    variables = yield
    for n in range(1, 4):
        torch.optim.SGD(variables["generator"].parameters(), lr=0.0).step()  # is not the script's
        found[n] = dict(variables["updates"])
        yield
"""


def test_a_visitor_goes_on_after_each_update_of_g(case, tmp_path, capfd, monkeypatch):
    (tmp_path / "visitor.py").write_text(VISITOR)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    found = foreign.run(case.script, tmp_path, "visitor:counting", asdict(case))
    assert found == {n: {"D": 2 * n, "G": n} for n in (1, 2, 3)}
    assert capfd.readouterr() == ("", "")
    names = {path.name for path in (tmp_path / "peer").iterdir()} - {"__pycache__"}
    assert names == {"helper.py", "train.py"}


@pytest.mark.parametrize(
    ("flags", "line", "message"),
    [
        ("--epochs 1", "parser.parse_args()", "train.py --epochs 1 failed: it ended too early"),
        ("--wrong 1", "parser.parse_args()", "error: unrecognized arguments: --wrong 1"),
        ("", "undefined", "failed: NameError: name 'undefined' is not defined"),
    ],
)
def test_a_script_that_ends_or_fails_says_so(case, tmp_path, flags, line, message, monkeypatch):
    (tmp_path / "visitor.py").write_text("def waiting(found):\n    yield\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    start = SCRIPT[SCRIPT.index("parser =") : SCRIPT.index("args =")]
    (tmp_path / "peer" / "train.py").write_text(f"import argparse\n{start}{line}\n")
    with pytest.raises(RunError, match=message):
        foreign.run(replace(case.script, flags=flags), tmp_path, "visitor:waiting")


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


def networks():
    torch.manual_seed(0)
    G = nn.Sequential(nn.Linear(4, 32), nn.ReLU(), nn.Linear(32, 784), nn.Unflatten(1, (1, 28, 28)))
    return G, nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 1))


@pytest.mark.parametrize("algo", ["nsgan", "lsgan"])
def test_one_pass_gives_both_players_of_our_file_the_same_samples(algo, case):
    found, given = {}, networks()
    for name, changes in [("new", []), ("same", ["one_pass"])]:
        local = peers.ours(replace(case, algo=algo), *given, "cpu", changes)
        passes, samples = [], []
        local["G"].register_forward_hook(lambda *a, passes=passes: passes.append(a[2].detach()))
        local["D"].register_forward_pre_hook(lambda _, x, samples=samples: samples.append(x[0].detach()))
        torch.manual_seed(1)
        assert local["update"]()["d_real"].shape == (peers.BATCH,)
        _, of_d, of_g = samples
        assert len(passes) == (2 if name == "new" else 1)
        assert torch.equal(of_d, of_g) == (name == "same")
        found[name] = weights(local["G"]), weights(local["D"])
        assert all(p.grad.abs().sum() > 0 for p in local["G"].parameters())
    assert torch.equal(found["new"][1], found["same"][1])  # D's update is the same
    assert not torch.equal(found["new"][0], found["same"][0])
    assert all(torch.equal(weights(a), weights(b)) for a, b in zip(given, networks(), strict=True))  # copies learn


def test_measures_and_writes_the_page(case, tmp_path, monkeypatch, capsys):
    """The first script really runs; then the times are made up."""
    monkeypatch.setattr(timing, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(timing, "device_name", lambda device: "a core")
    wgan = peers.Case(replace(case.script, flags="--epochs 999"), "wgan", (1, 28, 28), d_steps=2)
    monkeypatch.setattr(peers, "CASES", [case, wgan])
    cost = {"theirs": 8e-3, "ours": 4e-3, "amp": 2e-3, "one pass": 5e-3, "one pass, amp": 1e-3}
    really = foreign.run(case.script, tmp_path, "scripts.peers:timed", asdict(case), "cpu")
    assert really.keys() == cost.keys() and min(really.values()) > 0
    monkeypatch.setattr(
        foreign, "run", lambda script, *_: dict([*cost.items()][: 3 if "999" in script.flags else None])
    )
    peers.main(peers.Args(str(tmp_path), rounds=1))
    rows = timing.read_rows(tmp_path / "results" / "a-core" / "peers.csv")
    assert [row["one pass ratio"] for row in rows] == ["1.6", ""]
    for row in rows:
        assert (row["theirs ms"], row["ours ms"], row["ours ratio"], row["amp ratio"]) == ("8", "4", "2", "4")
    assert "`peer/train.py --epochs 999`" in (tmp_path / "results" / "a-core" / "peers.md").read_text()
    with pytest.raises(RunError, match="not there: .*nowhere"):
        peers.main(peers.Args(str(tmp_path / "nowhere")))
