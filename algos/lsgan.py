"""LSGAN, the least-squares GAN.

Paper       Mao et al. 2017, Least Squares Generative Adversarial Networks, equation 2, arXiv 1611.04076
Objective   D minimises E (D(x) - b)^2 + E (D(G(z)) - a)^2; D(x) is a raw output, not a logit; high = real
            G minimises E (D(G(z)) - c)^2; a = 0, b = c = 1, the 0-1 coding
Remedies    The vanishing gradient, for a while: where D says fake, D(G(z)) is far from c, and the slope of the loss in
            D(G(z)) grows with that distance. But the best D is flat in x there, and G's gradient vanishes as gan.py's
            does (python scripts/pathologies.py vanishing-gradient). Not mode collapse.
Changes     Args.a, Args.b, Args.c, discriminator_loss, generator_loss, train.discriminator, train.generator
Pitfalls    No sigmoid before the square: it brings the flat ends back. Stay with the 0-1 coding: with the paper's
            other one, --a -1 --b 1 --c 0, the value at the best D is Pearson's chi-square of p_data + p_g and 2 p_g,
            but D is held fixed while G learns, and near p_g = p_data that gradient is far smaller and points away from
            chi-square's as often as not. That of the 0-1 coding has chi-square's direction there, and everywhere
            that of the divergence sum p_data phi(p_g / p_data), phi(r) = r - 2 log(1 + r) - 1 / (1 + r).
            D answers 1/2 where it cannot tell: d_loss 0.5, g_loss 0.25. They do not measure progress.
            Deviation: no factors 1/2, which Adam would not notice.
Expected    python algos/lsgan.py
            coverage 7.0 [6.3, 7.7] (best on the way 8.0), high_quality 0.88 [0.85, 0.91], w1 0.88 [0.54, 1.22]; 95%
            intervals over 10 seeds, 23 s on one CPU core
"""

import os
import sys
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn as nn
import tyro
from torch import Tensor


@dataclass
class Args:
    # the run: the same in every file
    dataset: Literal[
        "ring", "grid", "mnist", "fashion_mnist", "stacked_mnist", "cifar10", "cifar100", "celeba", "folder"
    ] = "ring"
    """data to learn; ring and grid are points in the plane, folder is your own images below --data-root"""
    data_root: str = "data"
    """folder of the data sets, downloaded into it if they are not there"""
    image_size: int = 32
    """images are brought to this height and width, a power of two"""
    seed: int = 1
    """seed of the weights, the data and the noise"""
    device: str = "auto"
    """auto (a GPU if there is one), cpu, cuda, cuda:1, ..."""
    graph: bool = True
    """on a GPU, replay each update as one CUDA graph"""
    amp: bool = False
    """for images: bfloat16 inside the networks; weights, losses and optimisers stay float32"""
    lr_decay: bool = True
    """let the learning rate fall linearly to zero over the run"""
    log_every: int = 200
    """generator updates between two rows of the log, each with a picture"""
    checkpoint_every: int = 1000
    """generator updates between two checkpoints"""
    out: str = "runs"
    """folder for the folders of the runs"""
    resume: bool = False
    """go on with the newest unfinished run of the same command"""
    track: bool = False
    """copy numbers and pictures to Weights & Biases"""

    # the algorithm
    steps: int = 8000
    """generator updates"""
    d_steps: int = 1
    """discriminator updates per generator update"""
    batch_size: int = 128
    """real samples, and as many generated ones, per update"""
    lr: float = 1e-3
    """learning rate of both optimisers"""
    beta1: float = 0.5
    """Adam's decay rate of the mean of the gradients"""
    beta2: float = 0.999
    """Adam's decay rate of the mean of their squares"""
    z_dim: int = 0
    """dimension of the noise z; 0: 2 for points, 64 for images"""
    width: int = 64
    """points: units of each hidden layer; images: channels at half size, doubled at each next halving"""
    a: float = 0.0
    """what D is to answer to generated samples"""
    b: float = 1.0
    """what D is to answer to real samples"""
    c: float = 1.0
    """what G wants D to answer to its samples"""


class Generator(nn.Module):
    """Maps noise z [B, z_dim] to samples [B, *shape]: an MLP for points, a DCGAN for images in [-1, 1]."""

    def __init__(self, z_dim: int, shape: tuple[int, ...], width: int):
        super().__init__()
        if len(shape) == 1:
            self.net = nn.Sequential(
                nn.Linear(z_dim, width),
                nn.ReLU(),
                nn.Linear(width, width),
                nn.ReLU(),
                nn.Linear(width, width),
                nn.ReLU(),
                nn.Linear(width, *shape),  # [B, 2]
            )
            return
        channels, size, _ = shape
        w = width * size // 8  # 4 * width for 32x32
        layers: list[nn.Module] = [nn.Unflatten(1, (z_dim, 1, 1))]
        layers += [nn.ConvTranspose2d(z_dim, w, 4, bias=False)]  # [B, 4w, 4, 4]
        while w > width:
            layers += [nn.BatchNorm2d(w), nn.ReLU()]
            layers += [nn.ConvTranspose2d(w, w // 2, 4, 2, 1, bias=False)]  # [B, 2w, 8, 8], [B, w, 16, 16]
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
            self.net = nn.Sequential(
                nn.Linear(*shape, width),
                nn.ReLU(),
                nn.Linear(width, width),
                nn.ReLU(),
                nn.Linear(width, width),
                nn.ReLU(),
                nn.Linear(width, 1),  # [B, 1]
            )
            return
        channels, size, _ = shape
        w = width
        layers = [nn.Conv2d(channels, w, 4, 2, 1), nn.LeakyReLU(0.2)]  # [B, w, 16, 16]
        while size > 8:
            layers += [nn.Conv2d(w, 2 * w, 4, 2, 1), nn.LeakyReLU(0.2)]  # [B, 2w, 8, 8], [B, 4w, 4, 4]
            w, size = 2 * w, size // 2
        layers += [nn.Conv2d(w, 1, 4), nn.Flatten()]  # [B, 1]
        self.net = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(1)


def discriminator_loss(d_real: Tensor, d_fake: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """E (D(x) - b)^2 + E (D(G(z)) - a)^2, from raw outputs [B]: equation 2 without its factor 1/2."""
    return (d_real - b).square().mean() + (d_fake - a).square().mean()


def generator_loss(d_fake: Tensor, c: float = 1.0) -> Tensor:
    """E (D(G(z)) - c)^2, from raw outputs [B]: equation 2 without its factor 1/2."""
    return (d_fake - c).square().mean()


def train(args: Args) -> dict[str, float]:
    """Trains as args say and returns the last measurements."""
    from common.data import load_data
    from common.metrics import evaluate
    from common.run import Run

    # setup
    run = Run(__file__, args)
    data = load_data(args.dataset, args.data_root, args.image_size, run.device)

    # networks
    z_dim = args.z_dim or (2 if data.shape == (2,) else 64)
    G = Generator(z_dim, data.shape, args.width).to(run.device, memory_format=torch.channels_last)
    D = Discriminator(data.shape, args.width).to(run.device, memory_format=torch.channels_last)
    run.autocast(G, D)  # with --amp
    lr = torch.tensor(args.lr, device=run.device)  # a tensor, for a CUDA graph to see it fall
    adam = {"lr": lr, "betas": (args.beta1, args.beta2), "fused": True, "capturable": True}
    g_opt = torch.optim.Adam(G.parameters(), **adam)
    d_opt = torch.optim.Adam(D.parameters(), **adam)
    n = 2500 if data.shape == (2,) else 1000  # samples per measurement, always from the same noise
    z_fixed = torch.randn(n, z_dim, device=run.device)

    # discriminator
    def d_step():
        real = data.sample(run.batch_size)
        with torch.no_grad():
            fake = G(torch.randn(run.batch_size, z_dim, device=run.device))
        d_real, d_fake = D(real), D(fake)
        d_loss = discriminator_loss(d_real, d_fake, args.a, args.b)
        d_opt.zero_grad()
        d_loss.backward()
        d_opt.step()
        return {"d_loss": d_loss, "d_real": d_real, "d_fake": d_fake}

    # generator
    def g_step():
        fake = G(torch.randn(run.batch_size, z_dim, device=run.device))
        g_loss = generator_loss(D(fake), args.c)
        g_opt.zero_grad()
        g_loss.backward(inputs=[*G.parameters()])  # only G learns
        g_opt.step()
        return {"g_loss": g_loss}

    # update
    def update():
        for _ in range(args.d_steps):
            numbers = d_step()
        return numbers | g_step()

    @torch.no_grad()
    def generate():
        G.eval()
        fake = torch.cat([G(z) for z in z_fixed.split(500)])
        G.train()
        return fake

    # loop
    update = run.graph(update) if data.on_device else update
    for step in run.steps(G=G, D=D, g_opt=g_opt, d_opt=d_opt):
        if args.lr_decay:
            lr.fill_(args.lr * (1 - (step - 1) / args.steps))
        numbers = update()

        # log
        if run.due(step):
            fake = generate()
            g_grad = nn.utils.get_total_norm([p.grad for p in G.parameters()])
            run.log(step, {**numbers, "g_grad": g_grad, **evaluate(data, fake)}, data, fake)
    return run.finish(evaluate(data, generate(), final=True), evaluate(data, data.sample(n), final=True))


if __name__ == "__main__":
    sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    train(tyro.cli(Args, description=__doc__.splitlines()[0]))
