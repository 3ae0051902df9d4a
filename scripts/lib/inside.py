"""The one way into a run: what train() has built when its loop would begin."""

import sys
import tempfile
from collections.abc import Iterator
from unittest import mock

if __name__ == "__main__":
    raise SystemExit("this is a library; the command that uses it is: python scripts/speed.py updates")

import torch

from common.device import settings
from common.run import Run


class Reached(BaseException):
    """The loop would begin now. No Exception, so that nothing on the way takes it for an error."""


def inside(module, data=None, **args) -> dict:
    """The local variables of an algorithm's train() when its loop would begin: G, D, g_opt, d_step, update, ...

    module: of algos/, or one like it. data: as for train(). args: of its Args; the device is the CPU by default.
    Nothing is written. Raises RunError as train() does.
    """

    def steps(self, **state):
        raise Reached(dict(sys._getframe(1).f_locals))

    with tempfile.TemporaryDirectory() as out, mock.patch.object(Run, "steps", steps):
        try:
            module.train(module.Args(**{"device": "cpu", "out": out} | args), data)
        except Reached as reached:
            return reached.args[0]
    raise AssertionError(f"{module.__name__}.train() never called run.steps()")


def settings_of(local: dict):
    """A context: PyTorch's global settings (threads, TF32, deterministic cuDNN) as this run has them in its loop."""
    return settings(local["run"].device, local["run"].points)


def updates(local: dict) -> Iterator[int]:
    """Makes the updates of `inside(...)` as the file's own loop does, the same bit for bit, and yields after each.

    Then local["run"].z [n, z_dim] is the noise of all measurements. What is drawn between two updates changes the run.
    """
    args, run = local["args"], local["run"]
    run.z = torch.randn(2500 if run.points else 1000, args.z_dim, device=run.device)  # as run.steps() does at first
    with settings_of(local):
        for step in range(1, args.steps + 1):
            if args.lr_decay:
                local["lr"].fill_(args.lr * (1 - (step - 1) / args.steps))
            local["update"]()
            yield step
