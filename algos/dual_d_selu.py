"""Dual-D SELU, the GAN with two opposed discriminators: minibatch discrimination in one, SELU in the other.

Paper       Zhang, Li & Yu 2018, On the Convergence and Mode Collapse of GAN, doi 10.1145/3283254.3283282
Objective   D1 minimises -E log s(D1(x)) - E log(1 - s(D1(G(z)))), high = real; D2 the same with the roles swapped
            G minimises -E log s(D1(G(z))) + E log s(D2(G(z))); s is the sigmoid, D1 and D2 are logits. With the best D1
            and D2, G's gradient is that of KL(p_g || p_data).
Remedies    Vanishing gradient, mode collapse. Against the first the paper has that loss, and SELU in D2; against the
            second minibatch discrimination (Salimans et al. 2016, arXiv 1606.03498): D1 sees how close the samples of a
            batch are. The loss alone hardly charges for missing modes (python scripts/pathologies/exact_losses.py).
Changes     PRESETS, Args.minibatch_discrimination, MinibatchDiscrimination, Residual, Discriminator,
            generator_loss, train.networks, train.discriminator, train.generator, train.loop
Pitfalls    Equation 5 has log(-D), undefined for D in (0, 1]. Read as -log D1(G(z)), with log(1 - D2(x)), it gives
            equations 9 and 10 and theorem 3. As D1's own objective it would be unbounded, so both D learn by
            cross-entropy. The networks are ours, as the supplement was not at hand: no batch norm, 8 kernels of 4
            dimensions. The paper's ablations are changes in scripts/lib/variants.py.
Expected    python algos/dual_d_selu.py
            success 18 of 20: coverage 8.0 of 8, sharp 0.83; 17 s each on one CPU core
            python algos/dual_d_selu.py --dataset digits
            success 0 of 10: FID 3.04 by a small classifier; 30 s each on one CPU core
"""

import os
import sys
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

PRESET: Any = None  # a default that --dataset decides:
PRESETS = {  # from results/search, the learning rate of images from results/search-mnist
    "ring": dict(steps=1700, d_steps=1, batch_size=128, lr=8e-3, beta1=0.0, beta2=0.999, z_dim=2, width=64),
    "grid": dict(steps=2900, d_steps=1, batch_size=128, lr=8e-3, beta1=0.5, beta2=0.999, z_dim=2, width=128),
    "digits": dict(steps=1300, d_steps=1, batch_size=64, lr=5e-4, beta1=0.5, beta2=0.999, z_dim=16, width=32),
    "images": dict(steps=4600, d_steps=1, batch_size=64, lr=2e-3, beta1=0.5, beta2=0.999, z_dim=64, width=32),
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
    beta1: float = PRESET
    """Adam's decay rate of the mean of the gradients"""
    beta2: float = PRESET
    """Adam's decay rate of the mean of the squared gradients"""
    z_dim: int = PRESET
    """dimension of the noise z"""
    width: int = PRESET
    """points: units of each hidden layer; images: channels of the layer next to the pixels, doubled at each halving"""
    minibatch_discrimination: bool = True
    """D1 compares the samples of a batch; --no-minibatch-discrimination leaves that out"""

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


class MinibatchDiscrimination(nn.Module):
    """Features x [B, F] to [B, F + kernels]: o_ik = sum over j != i of exp(-|M_ik - M_jk|_1), M = x T, is appended."""

    def __init__(self, features: int, kernels: int = 8, dim: int = 4):
        super().__init__()
        self.T = nn.Parameter(torch.randn(features, kernels, dim) / features**0.5)

    def forward(self, x: Tensor) -> Tensor:
        M = torch.einsum("bf,fkd->bkd", x, self.T)
        distance = sum((m[:, None] - m[None]).abs() for m in M.unbind(dim=2))  # [B, B, kernels]
        return torch.cat([x, torch.exp(-distance).sum(dim=1) - 1], dim=1)  # without itself, exp(0)


class Residual(nn.Sequential):  # x + f(x)
    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Discriminator(nn.Module):
    """Maps samples [B, *shape] to logits [B]: D1 (high = real) or D2 (high = fake)."""

    def __init__(self, shape: tuple[int, ...], width: int, selu=False, resblock=False, minibatch=False):
        super().__init__()
        act, block = nn.SELU() if selu else nn.LeakyReLU(0.2), Residual if resblock else nn.Sequential
        if len(shape) == 1:
            layers, features = [nn.Linear(*shape, width), act], width
            layers += [block(nn.Linear(width, width), act), block(nn.Linear(width, width), act)]  # [B, width]
        else:
            channels, (size, inner), w = shape[0], layers_of(shape), width
            layers = [nn.Conv2d(channels, w, 4, 2, 1), act]  # [B, w, 16, 16]
            while size > 8:
                layers += [block(nn.Conv2d(w, w, 3, 1, 1), act), nn.Conv2d(w, 2 * w, *inner), act]  # [B, 2w, 8, 8], ...
                w, size = 2 * w, size // 2
            layers, features = [*layers, nn.Flatten()], 16 * w  # [B, 4w * 4 * 4]
        layers += [MinibatchDiscrimination(features)] if minibatch else []
        self.net = nn.Sequential(*layers, nn.Linear(features + 8 * minibatch, 1))  # [B, 1]
        for module in self.net.modules() if selu else ():
            if isinstance(module, nn.Linear | nn.Conv2d):  # LeCun's start, which SELU needs: variance 1 / inputs
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(1)


def discriminator_loss(d_real: Tensor, d_fake: Tensor) -> Tensor:
    """-E log s(D(x)) - E log(1 - s(D(G(z)))) = E softplus(-D(x)) + E softplus(D(G(z))), from logits [B]."""
    return F.softplus(-d_real).mean() + F.softplus(d_fake).mean()


def generator_loss(d1_fake: Tensor, d2_fake: Tensor) -> Tensor:
    """-E log s(D1(G(z))) + E log s(D2(G(z))), from logits [B]: G is to look real to D1, and not fake to D2."""
    return F.softplus(-d1_fake).mean() - F.softplus(-d2_fake).mean()


def train(args: Args, data=None) -> dict:
    """Trains as args say, on `data` if given. Returns the last measurements, and the run's folder."""
    from common.run import Run

    # setup
    run = Run(__file__, args, data)
    data = run.data

    # networks
    G = run.prepare(Generator(args.z_dim, data.shape, args.width))
    D1 = run.prepare(Discriminator(data.shape, args.width, resblock=True, minibatch=args.minibatch_discrimination))
    D2 = run.prepare(Discriminator(data.shape, args.width, selu=True))
    lr = torch.tensor(args.lr, device=run.device)  # a tensor, for a CUDA graph to see it fall
    adam = {"lr": lr, "betas": (args.beta1, args.beta2), "fused": True, "capturable": True}  # one kernel; fits a graph
    g_opt = torch.optim.Adam(G.parameters(), **adam)
    d_opt = torch.optim.Adam([*D1.parameters(), *D2.parameters()], **adam)

    # discriminator
    def d_step():
        real = data.sample(run.batch_size)  # this process's share of --batch-size
        with torch.no_grad():
            fake = G(torch.randn(run.batch_size, args.z_dim, device=run.device))
        d1_real, d1_fake, d2_real, d2_fake = D1(real), D1(fake), D2(real), D2(fake)
        d_loss = discriminator_loss(d1_real, d1_fake) + discriminator_loss(d2_fake, d2_real)  # D2: high = fake
        d_opt.zero_grad()
        d_loss.backward()
        d_opt.step()
        return {"d_loss": d_loss, "d1_real": d1_real, "d1_fake": d1_fake, "d2_real": d2_real, "d2_fake": d2_fake}

    # generator
    def g_step():
        fake = G(torch.randn(run.batch_size, args.z_dim, device=run.device))
        g_loss = generator_loss(D1(fake), D2(fake))
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
    for step in run.steps(G=G, D1=D1, D2=D2, g_opt=g_opt, d_opt=d_opt):
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
