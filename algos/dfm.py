"""DFM, denoising feature matching: a denoiser of real features tells G where its samples' features should be.

Paper       Warde-Farley & Bengio 2017, Improving Generative Adversarial Networks with Denoising Feature Matching, ICLR,
            openreview S1X7nhsxl
Objective   D minimises -E log s(D(x)) - E log(1 - s(D(G(z)))); s is the sigmoid, D(x) a logit, high = real
            f(x) are the features of D's last hidden layer. The denoiser r minimises E |r(f(x) + n) - f(x)|^2 for real x
            and noise n ~ N(0, I); the best r moves a noisy f(x) to where the features of real samples are denser.
            G minimises -E log s(D(G(z))) + 0.03 E |f - r(f)|^2 / F, f = f(G(z)) of F numbers; r(f) is a constant.
Remedies    None that is seen here. The paper wants to draw G to all of the data, and not only to where D is fooled. But
            r moves each sample to what is near it: a mode without samples attracts none. As before, a missing mode
            costs little (python scripts/pathologies/exact_losses.py).
Changes     PRESETS, Args.denoising, Discriminator, denoiser, denoiser_loss, generator_loss, train.networks,
            train.discriminator, train.generator, train.loop
Pitfalls    G's gradient goes through f alone, D learns nothing from r, and r sees noise in training only. Noise of sd 1
            has no meaning without a scale of the features: here each sample's have mean 0 and variance 1 (layer norm).
            Deviations: the layer norm for a batch norm in D, three layers in r for ten, features after the activation,
            and lr 2e-3 or 8e-3, falling to zero.
Expected    python algos/dfm.py
            success 5 of 20: coverage 5.6 of 8, sharp 0.94; 20 s each on one CPU core
            python algos/dfm.py --dataset digits
            success 5 of 10: FID 2.04 by a small classifier; 32 s each on one CPU core
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
    "ring": dict(steps=6100, d_steps=1, batch_size=128, lr=2e-3, beta1=0.5, beta2=0.999, z_dim=2, width=64),
    "grid": dict(steps=8200, d_steps=1, batch_size=128, lr=8e-3, beta1=0.5, beta2=0.999, z_dim=2, width=128),
    "digits": dict(steps=1100, d_steps=1, batch_size=64, lr=8e-3, beta1=0.0, beta2=0.999, z_dim=16, width=32),
    "images": dict(steps=4400, d_steps=1, batch_size=64, lr=2e-3, beta1=0.0, beta2=0.999, z_dim=64, width=32),
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
    denoising: float = 0.03
    """weight of the distance between features and denoised features in G's loss, the paper's lambda times F"""
    z_dim: int = PRESET
    """dimension of the noise z"""
    width: int = PRESET
    """points: units of each hidden layer; images: channels of the layer next to the pixels, doubled at each halving"""

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
    """Maps samples [B, *shape] to scores [B], high = real, or to [B, 1 + F]: scores and the features behind them."""

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
            layers += [nn.Flatten(), nn.Linear(16 * w, 1)]  # [B, 1]
        self.net, self.score = nn.Sequential(*layers[:-1]), layers[-1]

    def forward(self, x: Tensor, features: bool = False) -> Tensor:
        f = self.net(x)
        d = self.score(f)
        return torch.cat([d, F.layer_norm(f, f.shape[1:])], dim=1) if features else d.squeeze(1)


def denoiser(n: int) -> nn.Sequential:
    """r: maps features [B, n] with noise to its guess of those without."""
    return nn.Sequential(nn.Linear(n, n), nn.LeakyReLU(0.2), nn.Linear(n, n), nn.LeakyReLU(0.2), nn.Linear(n, n))


def discriminator_loss(d_real: Tensor, d_fake: Tensor) -> Tensor:
    """-E log s(D(x)) - E log(1 - s(D(G(z)))) = E softplus(-D(x)) + E softplus(D(G(z))), from logits [B]."""
    return F.softplus(-d_real).mean() + F.softplus(d_fake).mean()


def denoiser_loss(r: nn.Module, f_real: Tensor) -> Tensor:
    """E |r(f + n) - f|^2, n ~ N(0, I), from features f [B, F] of real samples; a mean over F, too."""
    return (r(f_real + torch.randn_like(f_real)) - f_real).square().mean()


def generator_loss(d_fake: Tensor, f_fake: Tensor, denoised: Tensor, weight: float = 0.03) -> Tensor:
    """E softplus(-D(G(z))) + weight E |f - r(f)|^2, from logits, features and r(f), [B, F]; a mean over F, too."""
    return F.softplus(-d_fake).mean() + weight * (f_fake - denoised).square().mean()


def train(args: Args, data=None) -> dict:
    """Trains as args say, on `data` if given. Returns the last measurements, and the run's folder."""
    from common.run import Run

    # setup
    run = Run(__file__, args, data)
    data = run.data

    # networks
    G = run.prepare(Generator(args.z_dim, data.shape, args.width))
    D = run.prepare(Discriminator(data.shape, args.width))
    r = run.prepare(denoiser(D.score.in_features))
    lr = torch.tensor(args.lr, device=run.device)  # a tensor, for a CUDA graph to see it fall
    adam = {"lr": lr, "betas": (args.beta1, args.beta2), "fused": True, "capturable": True}  # one kernel; fits a graph
    g_opt = torch.optim.Adam(G.parameters(), **adam)
    d_opt = torch.optim.Adam(D.parameters(), **adam)
    r_opt = torch.optim.Adam(r.parameters(), **adam)

    # discriminator
    def d_step():
        real = data.sample(run.batch_size)  # this process's share of --batch-size
        with torch.no_grad():
            fake = G(torch.randn(run.batch_size, args.z_dim, device=run.device))
        d_real, f_real = D(real, True).tensor_split([1], dim=1)
        d_fake = D(fake)
        d_loss = discriminator_loss(d_real, d_fake)
        r_loss = denoiser_loss(r, f_real.detach())  # D does not learn from the denoiser
        d_opt.zero_grad()
        r_opt.zero_grad()
        (d_loss + r_loss).backward()  # they share no weights
        d_opt.step()
        r_opt.step()
        return {"d_loss": d_loss, "d_real": d_real, "d_fake": d_fake, "r_loss": r_loss}

    # generator
    def g_step():
        fake = G(torch.randn(run.batch_size, args.z_dim, device=run.device))
        d_fake, f_fake = D(fake, True).tensor_split([1], dim=1)
        with torch.no_grad():
            denoised = r(f_fake)  # a constant: the gradient reaches G through the features alone
        g_loss = generator_loss(d_fake, f_fake, denoised, args.denoising)
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
    for step in run.steps(G=G, D=D, r=r, g_opt=g_opt, d_opt=d_opt, r_opt=r_opt):
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
