"""R3GAN, the GAN whose discriminator compares a real and a generated sample, with a penalty on its slope at both.

Paper       Huang, Gokaslan, Kuleshov & Tompkin 2024, The GAN is dead; long live the GAN! A Modern GAN Baseline,
            arXiv 2501.05441
Objective   D minimises -E log s(D(x) - D(G(z))) + gamma / 2 (E |grad D(x)|_2^2 + E |grad D(G(z))|_2^2); s is the
            sigmoid, D(x) a score, high = real, of which only differences count
            G minimises -E log s(D(G(z)) - D(x)), with other x than D
Remedies    Oscillation, mode collapse. R1 and R2, the two penalties, pull D flat at the data and at the samples, as in
            r1.py, and end the circling. Pairing alone does not (python scripts/pathologies/dirac.py). The pairing asks
            of a sample to look more real than its partner, not than a fixed threshold. With the best D, G descends
            KL(p_g || p_data) minus the JS of the pairs (x, G(z)) and (G(z), x): it charges a few missing or bad samples
            as nsgan.py's loss does. --no-pairing, --no-r1, --no-r2: each part alone (results/zero-centred).
Changes     PRESETS, Args.gamma, Args.pairing, Args.r1, Args.r2, gradient_penalty, discriminator_loss, generator_loss,
            train.discriminator, train.generator
Pitfalls    Pairs, not means: D(x) - E D(G(z)) would be another loss (RaGAN). G's step needs real samples of its own.
            gamma has the data's units squared. d_real and d_fake have no zero: look at their difference, 0 at the end.
            Deviations: the networks of nsgan.py; a constant gamma of 1 and beta2; lr 2e-3 or 8e-3, falling to zero; no
            augmentation; no average of G's weights.
Expected    python algos/r3gan.py
            success 25 of 25: coverage 8.0 of 8, sharp 0.90; 17 s each on one CPU core
            python algos/r3gan.py --dataset digits
            success 10 of 10: FID 1.56 by a small classifier; 26 s each on one CPU core
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
    "ring": dict(steps=6200, d_steps=1, batch_size=128, lr=2e-3, beta1=0.0, beta2=0.999, z_dim=2, width=64),
    "grid": dict(steps=8700, d_steps=1, batch_size=128, lr=2e-3, beta1=0.0, beta2=0.999, z_dim=2, width=128),
    "digits": dict(steps=1900, d_steps=1, batch_size=64, lr=8e-3, beta1=0.0, beta2=0.999, z_dim=16, width=32),
    "images": dict(steps=6600, d_steps=1, batch_size=64, lr=2e-3, beta1=0.0, beta2=0.999, z_dim=64, width=32),
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
    gamma: float = 1.0
    """weight of the gradient penalty, times two"""
    pairing: bool = True
    """D scores each real sample against a generated one; --no-pairing: each by itself, as in nsgan.py"""
    r1: bool = True
    """penalty on D's slope at the real samples; --no-r1 leaves it out"""
    r2: bool = True
    """penalty on D's slope at the generated samples; --no-r2 leaves it out"""

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


def gradient_penalty(x: Tensor, d: Tensor) -> Tensor:
    """E |grad_x D(x)|_2^2 from samples x [B, ...] that require a gradient and d = D(x) [B], each of its own x alone."""
    (slope,) = torch.autograd.grad(d.sum(), x, create_graph=True)  # the penalty's own gradient goes through this one
    return slope.square().flatten(1).sum(1).mean()  # squares over all of a sample, not per pixel; no root


def discriminator_loss(d_real: Tensor, d_fake: Tensor, pairing: bool = True) -> Tensor:
    """-E log s(D(x) - D(G(z))) = E softplus(D(G(z)) - D(x)), from logits [B] in pairs; pairing off: nsgan.py's loss."""
    if not pairing:
        return F.softplus(-d_real).mean() + F.softplus(d_fake).mean()
    return F.softplus(d_fake - d_real).mean()


def generator_loss(d_real: Tensor, d_fake: Tensor, pairing: bool = True) -> Tensor:
    """-E log s(D(G(z)) - D(x)) = E softplus(D(x) - D(G(z))), from logits [B] in pairs; pairing off: nsgan.py's loss."""
    return F.softplus(d_real - d_fake if pairing else -d_fake).mean()


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
    adam = {"lr": lr, "betas": (args.beta1, args.beta2), "fused": True, "capturable": True}  # one kernel; fits a graph
    g_opt = torch.optim.Adam(G.parameters(), **adam)
    d_opt = torch.optim.Adam(D.parameters(), **adam)

    # discriminator
    def d_step():
        real = data.sample(run.batch_size).requires_grad_()  # for R1
        with torch.no_grad():
            fake = G(torch.randn(run.batch_size, args.z_dim, device=run.device))
        fake.requires_grad_()  # for R2
        d_real, d_fake = D(real), D(fake)
        penalties = {"r1": gradient_penalty(real, d_real)} if args.r1 else {}
        penalties |= {"r2": gradient_penalty(fake, d_fake)} if args.r2 else {}
        d_loss = discriminator_loss(d_real, d_fake, args.pairing) + args.gamma / 2 * sum(penalties.values())
        d_opt.zero_grad()
        d_loss.backward(inputs=[*D.parameters()])  # only D learns, and the samples need no gradient
        d_opt.step()
        return {"d_loss": d_loss, "d_real": d_real, "d_fake": d_fake, **penalties}

    # generator
    def g_step():
        fake = G(torch.randn(run.batch_size, args.z_dim, device=run.device))
        with torch.no_grad():  # to G the scores of the real samples are constants
            d_real = D(data.sample(run.batch_size))  # real samples that D did not learn from a moment ago
        g_loss = generator_loss(d_real, D(fake), args.pairing)
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
