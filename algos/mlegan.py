"""MLE-GAN, the GAN whose generator climbs the likelihood of the data.

Paper       Goodfellow 2014, On distinguishability criteria for estimating generative models, arXiv 1412.6515
Objective   D minimises -E log s(D(x)) - E log(1 - s(D(G(z)))); s is the sigmoid, D(x) a logit, high = real
            G minimises -E exp(D(G(z))): with the best D, exp(D) = p_data / p_g and G's gradient is that of
            KL(p_data || p_g), as in maximum likelihood
Remedies    Mode collapse, in theory: KL(p_data || p_g) is infinite if a mode is missing
            (python scripts/pathologies.py divergences exact-losses).
Changes     Args.lr, Args.max_logit, generator_loss, train.generator
Pitfalls    The minus: with +E exp(D(G(z))), as some notes have it, G runs from the data. With the best D the loss is
            -1 whatever G does: it says nothing.
            The guard: above max_logit exp goes on as its tangent, or it overflows. Its cost: only where p_g is above
            p_data / exp(max_logit) is the gradient still KL's, and a missing mode of mass p costs no more than
            p (max_logit + 2), not infinity (tests/test_losses.py).
            In practice it is fragile: few samples carry the gradient. Their logged share ess, (sum w)^2 / (B sum w^2)
            with w = exp(D), falls to 0.01 to 0.20 in the first 2,000 updates at nsgan.py's lr 1e-3, when modes are
            lost; at lr 3e-4 to 0.2 to 0.4, and all stay. --max-logit 0 caps w at 1, gives up KL's charge, keeps ess
            near 0.3 or more and seldom loses a mode. On seeds 101 and 102, --lr 1e-3 --max-logit 1 kept 5 and 5
            modes; lr 5e-4 kept 3 and 4, with a batch of 512 all 8; five steps of D to one of G did not help.
Expected    python algos/mlegan.py
            coverage 8.0 [8.0, 8.0] (best on the way 8.0), high_quality 0.33 [0.26, 0.41], w1 0.38 [0.32, 0.45]; 95%
            intervals over 10 seeds, 26 s on one CPU core
            python algos/mlegan.py --lr 1e-3
            coverage 3.0 [0.0, 6.6] (best on the way 8.0), high_quality 0.62 [0.12, 1.00], w1 2.13 [0.84, 3.42]; 95%
            intervals over 5 seeds, 27 s on one CPU core
            python algos/mlegan.py --lr 1e-3 --max-logit 0
            coverage 7.4 [5.7, 8.0] (best on the way 8.0), high_quality 0.83 [0.75, 0.92], w1 0.44 [0.06, 0.81]; 95%
            intervals over 5 seeds, 29 s on one CPU core
"""

import os
import sys
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn as nn
import torch.nn.functional as F
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
    lr: float = 3e-4
    """learning rate of both optimisers"""
    beta1: float = 0.5
    """Adam's decay rate of the mean of the gradients"""
    beta2: float = 0.999
    """Adam's decay rate of the mean of their squares"""
    z_dim: int = 0
    """dimension of the noise z; 0: 2 for points, 64 for images"""
    width: int = 64
    """points: units of each hidden layer; images: channels at half size, doubled at each next halving"""
    max_logit: float = 3.0
    """above this logit, exp goes on as a straight line: no sample weighs more than exp of it"""


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


def discriminator_loss(d_real: Tensor, d_fake: Tensor) -> Tensor:
    """-E log s(D(x)) - E log(1 - s(D(G(z)))) = E softplus(-D(x)) + E softplus(D(G(z))), from logits [B]."""
    return F.softplus(-d_real).mean() + F.softplus(d_fake).mean()


def generator_loss(d_fake: Tensor, max_logit: float = 3.0) -> Tensor:
    """-E exp(D(G(z))), from logits [B]; above max_logit exp goes on as its tangent."""
    d = d_fake.clamp(max=max_logit)
    return -(d.exp() * (1 + d_fake - d)).mean()


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
        d_loss = discriminator_loss(d_real, d_fake)
        d_opt.zero_grad()
        d_loss.backward()
        d_opt.step()
        return {"d_loss": d_loss, "d_real": d_real, "d_fake": d_fake}

    # generator
    def g_step():
        fake = G(torch.randn(run.batch_size, z_dim, device=run.device))
        d_fake = D(fake)
        g_loss = generator_loss(d_fake, args.max_logit)
        weight = d_fake.detach().clamp(max=args.max_logit).exp()
        ess = weight.sum().square() / weight.square().sum() / run.batch_size  # the share that carries the gradient
        g_opt.zero_grad()
        g_loss.backward(inputs=[*G.parameters()])  # only G learns
        g_opt.step()
        return {"g_loss": g_loss, "ess": ess}

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
