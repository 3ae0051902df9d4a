"""Packing: whole samples, none lost, only a wider first layer, and why it works."""

import sys

import pytest
import torch
from conftest import ALGOS, contents, same

from common.args import main
from scripts.lib.inside import inside

pacgan = ALGOS["pacgan"]


def test_gradient_reaches_every_sample():
    x = torch.randn(6, 1, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad((pacgan.pack(x, 3) ** 2).sum(), x)
    torch.testing.assert_close(gradient, 2 * x)


def test_an_indivisible_batch_is_refused(tmp_path, monkeypatch):
    """In Python by ValueError, on the command line in one line, before anything is written."""
    with pytest.raises(ValueError, match="7 samples cannot be packed by 2"):
        pacgan.pack(torch.randn(7, 2), 2)
    words = ["pacgan.py", "--batch-size", "7", "--out", str(tmp_path / "runs"), "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as end:
        main(pacgan.Args, pacgan.train, pacgan.__doc__)
    assert end.value.code == "--packing 2 does not divide the 7 samples of a batch"
    assert not list(tmp_path.rglob("*.*"))


@pytest.mark.parametrize("images", [False, True])
def test_only_the_first_layer_grows(images):
    data, options = None, {"width": 8}
    if images:
        data, options = torch.randint(256, (20, 1, 16, 16), dtype=torch.uint8), {"width": 8, "dataset": "folder"}
    shapes = []
    for m in (1, 4):
        local = inside(pacgan, data, packing=m, batch_size=16, **options)
        shapes.append([p.shape for p in local["D"].parameters()])
        numbers = local["update"]()
        assert len(numbers["d_real"]) == len(numbers["d_fake"]) == 16 // m  # one label a pack
    assert [a == b for a, b in zip(*shapes, strict=True)] == [False] + [True] * (len(shapes[0]) - 1)
    assert shapes[1][0][1] == 4 * shapes[0][0][1]


def test_packs_of_one_are_nsgan_bit_for_bit(tmp_path):
    for name, options in [("pacgan", {"packing": 1}), ("nsgan", {})]:
        common = {
            "steps": 20,
            "log_every": 20,
            "width": 16,
            "lr": 1e-3,
            "beta1": 0.5,
            "quiet": True,
            "device": "cpu",
            "out": str(tmp_path),
        }
        ALGOS[name].train(ALGOS[name].Args(**common, **options))
    (one, log_one), (two, log_two) = (contents(tmp_path / f"{name}-ring-s1") for name in ("pacgan", "nsgan"))
    assert one.pop("algo") != two.pop("algo") and same(one, two) and log_one == log_two
