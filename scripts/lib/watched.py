"""Runs somebody's training script as it is, and keeps samples of its G at given seconds; for scripts/race.py.

Arguments: a folder for the samples; the names of G and of its optimiser in the script; train or eval, the mode in which
it draws its own pictures; the seconds; the number of samples; the script and its flags. Seconds count from the time in
the variable BEGIN, without those that the samples take.
"""

import copy
import os
import sys
import time
from pathlib import Path

import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook


def noise_of(G: nn.Module, n: int) -> torch.Tensor:
    """Noise of the shape that G's first layer takes."""
    first = next(m for m in G.modules() if isinstance(m, nn.Linear | nn.ConvTranspose2d))
    shape = (first.in_features,) if isinstance(first, nn.Linear) else (first.in_channels, 1, 1)
    return torch.randn(n, *shape)


@torch.no_grad()
def samples(G: nn.Module, n: int, mode: str) -> torch.Tensor:
    """n images, [n, C, H, W], uint8, in batches of 64, without a trace in G or in the random numbers."""
    with torch.random.fork_rng([]):
        G = copy.deepcopy(G).train(mode == "train")
        found = torch.cat([G(noise_of(G, 64)) for _ in range(-(-n // 64))])[:n]
    return found.add(1).mul(127.5).round().clamp(0, 255).byte()


if __name__ == "__main__":
    if len(sys.argv) < 8:
        print("this is a library; the command is: python scripts/race.py ../peers", file=sys.stderr)
        raise SystemExit(2)
    out, name, optimiser_name, mode, marks, n, script, *flags = sys.argv[1:]
    todo, spent, begin = sorted(map(float, marks.split())), 0.0, float(os.environ["BEGIN"])
    variables = {"__name__": "__main__", "__file__": script}

    def stepped(optimiser, *_) -> None:
        global spent
        now = time.time()
        if todo and now - begin - spent >= todo[0] and optimiser is variables.get(optimiser_name):
            todo.pop(0)
            torch.save(samples(variables[name], int(n), mode), Path(out, f"{now - begin - spent:.1f}.pt"))
            spent += time.time() - now
            if not todo:
                sys.exit(0)

    register_optimizer_step_post_hook(stepped)
    sys.argv = [script, *flags]
    sys.path.insert(0, str(Path(script).parent))
    exec(compile(Path(script).read_text(), script, "exec"), variables)
