"""WGAN, the Wasserstein GAN with weight clipping.

Paper       Arjovsky et al. 2017, Wasserstein GAN, algorithm 1, arXiv 1701.07875
Objective   D minimises E D(G(z)) - E D(x) with every weight in [-c, c]. D(x) is a critic value, high = real: no logit,
            and without a scale or a zero of its own.
            G minimises -E D(G(z))
Remedies    Vanishing gradient, mode collapse. The slope of a clipped critic is bounded, so it still shows G the way
            when it is trained to its best. E D(x) - E D(G(z)) is at most a multiple of W1, the mean distance that
            samples have to move to become the data, and W1 charges for missing modes
            (python scripts/pathologies/divergences.py).
Changes     PRESETS, Args.clip, clip_weights, discriminator_loss, generator_loss, train.networks, train.discriminator,
            no Args.beta1, no Args.beta2
Pitfalls    Clip after every step of D, biases too: the official code clips before it, and its weights exceed c in G's
            step. -d_loss falls as G learns, but its scale depends on c, depth and width: compare it within a run only.
            Clipping does not stop circling about an equilibrium (python scripts/pathologies/dirac.py).
            Deviations: c 0.1 (the paper: 0.01); lr 2e-3, falling to zero (5e-5); one update of D to one of G, on the
            ring five (five). The official code has bursts of 100. --steps 5400 is sharper on the ring (results/longer).
Expected    python algos/wgan.py
            success 9 of 25: coverage 8.0 of 8, sharp 0.45; 18 s each on one CPU core
            python algos/wgan.py --dataset digits
            success 10 of 10: FID 1.49 by a small classifier; 30 s each on one CPU core
"""

import os
import sys
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn as nn
from torch import Tensor

PRESET: Any = None  # a default that --dataset decides:
PRESETS = {  # from results/search, the learning rate of images from results/search-mnist
    "ring": dict(steps=2700, d_steps=5, batch_size=128, lr=2e-3, z_dim=2, width=64, clip=0.1),
    "grid": dict(steps=23200, d_steps=1, batch_size=128, lr=2e-3, z_dim=2, width=128, clip=0.1),
    "digits": dict(steps=3100, d_steps=1, batch_size=64, lr=2e-3, z_dim=16, width=32, clip=0.1),
    "images": dict(steps=11400, d_steps=1, batch_size=64, lr=2e-3, z_dim=64, width=32, clip=0.1),
}


@dataclass
class Args:
    # the run: the same in every file
    dataset: Literal["ring", "grid", "digits", "stacked_digits", "mnist", "fashion_mnist", "stacked_mnist", "cifar10",
                     "cifar100", "celeba", "folder"] = "ring"  # fmt: skip
    """data to learn; ring and grid are points in the plane, folder is your own images in and below --data-root"""
    data_root: str = "data"
    """folder of the data sets, downloaded into it if they are not there"""
    image_size: int = 32
    """height and width that images are brought to, a power of two from 8; digits stay 8x8"""
    seed: int = 1
    """seed of the weights, the data and the noise"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, ..."""
    graph: bool = True
    """on a GPU each update is one CUDA graph; --no-graph runs it line by line"""
    amp: bool = True
    """images have bfloat16 inside the networks, where the processor can; --no-amp: float32 everywhere"""
    lr_decay: bool = True
    """the learning rate falls linearly to zero over the run; --no-lr-decay keeps it constant"""
    log_every: int = 200
    """generator updates between two rows of the log, each with a picture"""
    checkpoint_every: int = 1000
    """generator updates between two checkpoints"""
    out: str = "runs"
    """where runs are written, each into a folder of its own"""
    resume: bool = False
    """go on with the newest unfinished run of the same command, or start it"""
    track: bool = False
    """copy numbers and pictures to Weights & Biases"""
    quiet: bool = False
    """print nothing but errors"""

    # the algorithm
    steps: int = PRESET
    """generator updates"""
    d_steps: int = PRESET
    """discriminator updates per generator update"""
    batch_size: int = PRESET
    """real samples in an update, and as many generated ones"""
    lr: float = PRESET
    """learning rate of both optimisers"""
    z_dim: int = PRESET
    """dimension of the noise z"""
    width: int = PRESET
    """points: units of each hidden layer; images: channels of the layer next to the pixels, doubled at each halving"""
    clip: float = PRESET
    """largest absolute value of a weight of D, the paper's c"""

    def __post_init__(self):
        for name, value in PRESETS.get(self.dataset.removeprefix("stacked_"), PRESETS["images"]).items():
            if getattr(self, name) is PRESET:
                setattr(self, name, value)


def layers_of(shape: tuple[int, ...]) -> tuple[int, tuple[int, int, int]]:
    """The height of images [C, H, W], and kernel, stride and padding of all layers but the one next to the pixels."""
    if shape[1:] not in [(2**n, 2**n) for n in range(3, 12)]:
        raise ValueError(f"images of {shape[1]}x{shape[2]}: height and width must be the same power of two, 8 or more")
    return (shape[1], (4, 2, 1)) if shape[1] > 8 else (16, (3, 1, 1))  # 8x8: as many layers as 16x16, one keeps 4x4


class Generator(nn.Module):
    """Maps noise z [B, z_dim] to samples [B, *shape]: an MLP for points, a DCGAN for images in [-1, 1]."""

    def __init__(self, z_dim: int, shape: tuple[int, ...], width: int):
        super().__init__()
        if len(shape) == 1:
            layers = [nn.Linear(z_dim, width), nn.ReLU()]
            layers += [nn.Linear(width, width), nn.ReLU()]
            layers += [nn.Linear(width, width), nn.ReLU()]
            layers += [nn.Linear(width, *shape)]  # [B, 2]
        else:
            channels, (size, inner) = shape[0], layers_of(shape)
            w = width * size // 8  # 4 * width for 32x32
            layers = [nn.Unflatten(1, (z_dim, 1, 1)), nn.ConvTranspose2d(z_dim, w, 4, bias=False)]  # [B, 4w, 4, 4]
            while w > width:
                layers += [nn.BatchNorm2d(w), nn.ReLU()]
                layers += [nn.ConvTranspose2d(w, w // 2, *inner, bias=False)]  # [B, 2w, 8, 8], [B, w, 16, 16]
                w //= 2
            layers += [nn.BatchNorm2d(w), nn.ReLU()]
            layers += [nn.ConvTranspose2d(w, channels, 4, 2, 1), nn.Tanh()]  # [B, C, 32, 32]
        self.net = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)


class Discriminator(nn.Module):
    """Maps samples [B, *shape] to scores [B], high = real, each regardless of the rest of the batch."""

    def __init__(self, shape: tuple[int, ...], width: int):
        super().__init__()
        if len(shape) == 1:
            layers = [nn.Linear(*shape, width), nn.ReLU()]
            layers += [nn.Linear(width, width), nn.ReLU()]
            layers += [nn.Linear(width, width), nn.ReLU()]
            layers += [nn.Linear(width, 1)]  # [B, 1]
        else:
            channels, (size, inner), w = shape[0], layers_of(shape), width
            layers = [nn.Conv2d(channels, w, 4, 2, 1), nn.LeakyReLU(0.2)]  # [B, w, 16, 16]
            while size > 8:
                layers += [nn.Conv2d(w, 2 * w, *inner), nn.LeakyReLU(0.2)]  # [B, 2w, 8, 8], [B, 4w, 4, 4]
                w, size = 2 * w, size // 2
            layers += [nn.Conv2d(w, 1, 4), nn.Flatten()]  # [B, 1]
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(1)


@torch.no_grad()
def clip_weights(D: nn.Module, c: float) -> None:
    """Brings every weight and bias of D into [-c, c], in place: algorithm 1, line 7."""
    for weight in D.parameters():
        weight.clamp_(-c, c)


def discriminator_loss(d_real: Tensor, d_fake: Tensor) -> Tensor:
    """-E D(x) + E D(G(z)), from critic values [B]: minus the estimate of W1, up to a factor."""
    return d_fake.mean() - d_real.mean()


def generator_loss(d_fake: Tensor) -> Tensor:
    """-E D(G(z)), from critic values [B]."""
    return -d_fake.mean()


def train(args: Args, data=None) -> dict:
    """Trains as args say, on `data` if given. Returns the last measurements, and the run's folder."""
    from common.run import Run

    # setup
    run = Run(__file__, args, data)
    data = run.data

    # networks
    G = run.prepare(Generator(args.z_dim, data.shape, args.width))
    D = run.prepare(Discriminator(data.shape, args.width))
    lr = torch.tensor(args.lr, device=run.device)  # a tensor, for a CUDA graph to see it fall
    rmsprop = {"lr": lr, "capturable": run.device.type == "cuda"}  # algorithm 1: no momentum; a CPU refuses capturable
    g_opt = torch.optim.RMSprop(G.parameters(), **rmsprop)
    d_opt = torch.optim.RMSprop(D.parameters(), **rmsprop)
    clip_weights(D, args.clip)

    # discriminator
    def d_step():
        real = data.sample(run.batch_size)  # this process's share of --batch-size
        with torch.no_grad():
            fake = G(torch.randn(run.batch_size, args.z_dim, device=run.device))
        d_real, d_fake = D(real), D(fake)
        d_loss = discriminator_loss(d_real, d_fake)
        d_opt.zero_grad()
        d_loss.backward()
        d_opt.step()
        clip_weights(D, args.clip)
        return {"d_loss": d_loss, "d_real": d_real, "d_fake": d_fake}

    # generator
    def g_step():
        fake = G(torch.randn(run.batch_size, args.z_dim, device=run.device))
        g_loss = generator_loss(D(fake))
        g_opt.zero_grad()
        g_loss.backward(inputs=[*G.parameters()])  # only G learns
        g_opt.step()
        return {"g_loss": g_loss}

    # update
    def update():
        for _ in range(args.d_steps):
            numbers = d_step()
        return numbers | g_step()

    # loop
    update = run.graph(update)  # one CUDA graph, where that can be
    for step in run.steps(G=G, D=D, g_opt=g_opt, d_opt=d_opt):
        if args.lr_decay:
            lr.fill_(args.lr * (1 - (step - 1) / args.steps))
        numbers = update()
        run.log(step, numbers, G)
    return run.finish(G)


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    try:
        from common.args import main
    except ModuleNotFoundError as missing:
        sys.exit(f"{missing}: to train, copy common/ beside this file, and pip install -r requirements.txt")
    main(Args, train, __doc__)
