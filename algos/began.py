"""BEGAN, the GAN whose discriminator is an auto-encoder, in boundary equilibrium.

Paper       Berthelot et al. 2017, BEGAN: Boundary Equilibrium Generative Adversarial Networks, section 3,
            arXiv 1703.10717
Objective   D encodes and decodes; L(x) = |x - AE(x)|, a mean over x's numbers, low = real. D minimises
            E L(x) - k E L(G(z)).
            G minimises E L(G(z)); after each update k += lambda_k (gamma L(x) - L(G(z))), kept in [0, 1]
Remedies    A discriminator that wins, vanishing gradient. k holds E L(G(z)) at gamma E L(x), so that neither player
            runs away. An error |x - AE(x)| has no flat end, as the loss of gan.py has
            (python scripts/pathologies/vanishing_gradient.py). Not mode collapse: G only has to match a mean error, and
            a few points can do that.
Changes     PRESETS, Args.code_dim, Args.gamma, Args.lambda_k, Generator, Discriminator, balance, discriminator_loss,
            generator_loss, train.networks, train.discriminator, train.generator, train.update, train.loop
Pitfalls    A mean over a sample's numbers, not a sum: lambda_k is relative to it. No detach on either side of
            |G(z) - AE(G(z))|. Watch k: while it is 0 D learns from real samples alone, and G may draw grey. No tanh at
            the end: it is flat at black, each pixel's median on MNIST, and D then decoded all to black.
            Deviations from public code: lambda_k 0.1 (0.001) and gamma 0.9 (0.5), for short runs; batch 128 or 64 (16),
            lr 5e-4 or 2e-3 (8e-5), falling to zero. It finds no modes of points, and learns no images here.
Expected    python algos/began.py
            success 0 of 25: coverage 2.5 of 8, sharp 0.27; 26 s each on one CPU core
            python algos/began.py --dataset digits
            success 0 of 10: FID 63.86 by a small classifier; 36 s each on one CPU core
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
    "ring": dict(steps=5500, d_steps=1, batch_size=128, lr=5e-4, beta1=0.0, beta2=0.999, z_dim=2, width=64,
                 code_dim=1),
    "grid": dict(steps=7400, d_steps=1, batch_size=128, lr=5e-4, beta1=0.0, beta2=0.999, z_dim=2, width=128,
                 code_dim=1),
    "digits": dict(steps=1800, d_steps=1, batch_size=64, lr=5e-4, beta1=0.0, beta2=0.999, z_dim=16, width=32,
                   code_dim=64),
    "images": dict(steps=4800, d_steps=1, batch_size=64, lr=2e-3, beta1=0.0, beta2=0.999, z_dim=64, width=32,
                   code_dim=64),
}  # fmt: skip


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
    beta1: float = PRESET
    """Adam's decay rate of the mean of the gradients"""
    beta2: float = PRESET
    """Adam's decay rate of the mean of the squared gradients"""
    z_dim: int = PRESET
    """dimension of the noise z"""
    width: int = PRESET
    """points: units of each hidden layer; images: channels of the layer next to the pixels, doubled at each halving"""
    code_dim: int = PRESET
    """dimension of the auto-encoder's code"""
    gamma: float = 0.9
    """diversity ratio: k holds the error of generated samples at this multiple of the error of real ones"""
    lambda_k: float = 0.1
    """learning rate of k, the weight of the generated samples in D's loss"""

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
    """Maps noise z [B, z_dim] to samples [B, *shape]. D has one of its own, which decodes codes (section 3.5)."""

    def __init__(self, z_dim: int, shape: tuple[int, ...], width: int):
        super().__init__()
        if len(shape) == 1:
            layers = [nn.Linear(z_dim, width), nn.ELU()]
            layers += [nn.Linear(width, width), nn.ELU()]
            layers += [nn.Linear(width, width), nn.ELU()]
            layers += [nn.Linear(width, *shape)]  # [B, 2]
        else:
            channels, (size, inner) = shape[0], layers_of(shape)
            w = width * size // 8  # 4 * width for 32x32
            layers = [nn.Linear(z_dim, 16 * w), nn.Unflatten(1, (w, 4, 4))]  # [B, 4w, 4, 4]
            while w > width:
                layers += [nn.Upsample(scale_factor=inner[1])]
                layers += [nn.Conv2d(w, w // 2, 3, 1, 1), nn.ELU()]  # [B, 2w, 8, 8], [B, w, 16, 16]
                w //= 2
            layers += [nn.Upsample(scale_factor=2)]
            layers += [nn.Conv2d(w, channels, 3, 1, 1)]  # [B, C, 32, 32]; no tanh, which is flat at black
        self.net = nn.Sequential(*layers)

    def forward(self, z: Tensor) -> Tensor:
        return self.net(z)


class Discriminator(nn.Module):
    """Maps samples [B, *shape] to the mean absolute errors [B] of their auto-encoding; low = real."""

    def __init__(self, shape: tuple[int, ...], width: int, code_dim: int = 64):
        super().__init__()
        if len(shape) == 1:
            layers = [nn.Linear(*shape, width), nn.ELU()]
            layers += [nn.Linear(width, width), nn.ELU()]
            layers += [nn.Linear(width, width), nn.ELU()]
            layers += [nn.Linear(width, code_dim)]  # [B, code_dim]
        else:
            channels, (size, inner), w = shape[0], layers_of(shape), width
            layers = [nn.Conv2d(channels, w, 4, 2, 1), nn.ELU()]  # [B, w, 16, 16]
            while size > 8:
                layers += [nn.Conv2d(w, 2 * w, *inner), nn.ELU()]  # [B, 2w, 8, 8], [B, 4w, 4, 4]
                w, size = 2 * w, size // 2
            layers += [nn.Flatten(), nn.Linear(16 * w, code_dim)]  # [B, code_dim]
        self.net = nn.Sequential(*layers, Generator(code_dim, shape, width))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.net(x)).abs().flatten(1).mean(dim=1)


def balance(d_real: Tensor, d_fake: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """gamma L(x) - L(G(z)), which moves k, and the measure of convergence M: section 3.4, from errors [B]."""
    real, fake = d_real.detach().mean(), d_fake.detach().mean()
    return gamma * real - fake, real + (gamma * real - fake).abs()


def discriminator_loss(d_real: Tensor, d_fake: Tensor, k: Tensor) -> Tensor:
    """E L(x) - k E L(G(z)), from errors [B] and k in [0, 1]."""
    return d_real.mean() - k * d_fake.mean()


def generator_loss(d_fake: Tensor) -> Tensor:
    """E L(G(z)), from errors [B]."""
    return d_fake.mean()


def train(args: Args, data=None) -> dict:
    """Trains as args say, on `data` if given. Returns the last measurements, and the run's folder."""
    from common.run import Run

    # setup
    run = Run(__file__, args, data)
    data = run.data

    # networks
    G = run.prepare(Generator(args.z_dim, data.shape, args.width))
    D = run.prepare(Discriminator(data.shape, args.width, args.code_dim))
    lr = torch.tensor(args.lr, device=run.device)  # a tensor, for a CUDA graph to see it fall
    adam = {"lr": lr, "betas": (args.beta1, args.beta2), "fused": True, "capturable": True}  # one kernel; fits a graph
    g_opt = torch.optim.Adam(G.parameters(), **adam)
    d_opt = torch.optim.Adam(D.parameters(), **adam)
    k = torch.zeros((), device=run.device)

    # discriminator
    def d_step():
        real = data.sample(run.batch_size)  # this process's share of --batch-size
        with torch.no_grad():
            fake = G(torch.randn(run.batch_size, args.z_dim, device=run.device))
        d_real, d_fake = D(real), D(fake)
        d_loss = discriminator_loss(d_real, d_fake, k)
        d_opt.zero_grad()
        d_loss.backward()
        d_opt.step()
        return {"d_loss": d_loss, "d_real": d_real, "d_fake": d_fake}

    # generator
    def g_step():
        fake = G(torch.randn(run.batch_size, args.z_dim, device=run.device))
        d_fake = D(fake)  # G learns through both sides of |G(z) - AE(G(z))|
        g_loss = generator_loss(d_fake)
        g_opt.zero_grad()
        g_loss.backward(inputs=[*G.parameters()])  # only G learns
        g_opt.step()
        return {"g_loss": g_loss, "d_fake": d_fake}

    # update
    def update():
        for _ in range(args.d_steps):
            numbers = d_step()
        numbers |= g_step()
        surplus, M = balance(run.mean(numbers["d_real"]), run.mean(numbers["d_fake"]), args.gamma)
        k.add_(args.lambda_k * surplus).clamp_(0, 1)
        return numbers | {"k": k, "M": M}

    # loop
    update = run.graph(update)  # one CUDA graph, where that can be
    for step in run.steps(G=G, D=D, g_opt=g_opt, d_opt=d_opt, k=k):
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
