"""Unrolled GAN, whose generator looks K updates of the discriminator ahead.

Paper       Metz et al. 2017, Unrolled Generative Adversarial Networks, section 2, arXiv 1611.02163
Objective   D minimises -E log s(D(x)) - E log(1 - s(D(G(z)))); s is the sigmoid, D(x) a logit, high = real
            G minimises E log s(D_K(x)) + E log(1 - s(D_K(G(z)))), D_K = D after K more updates on these samples
Remedies    Mode collapse, oscillation. If all samples go to one mode, D answers within K updates, and G foresees it
            (python scripts/pathologies/oscillation.py). But K = 0 kept as many modes (results/unrolled-k, five seeds).
Changes     PRESETS, Args.unroll_steps, unroll, generator_loss, train.generator
Pitfalls    Training a copy of D for K steps is not unrolling: for f = xy (G plays x, D plays y, step size eta) it gives
            the slope y + K eta x; the true one, through all K steps, is y + 2 K eta x. G's loss is the saturating one.
            Deviations (official notebook): ReLU (tanh), z of 2 dimensions (256), batch 128 (512), lr 5e-4 or 2e-3 to
            zero (D 1e-4, G 1e-3), Adam's root of v + eps^2, few updates (25,000): 2,800 are sharper (results/longer).
Expected    python algos/unrolled.py
            success 0 of 25: coverage 8.0 of 8, sharp 0.33; 18 s each on one CPU core
            python algos/unrolled.py --dataset digits
            success 0 of 10: FID 7.13 by a small classifier; 26 s each on one CPU core
"""

import os
import sys
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

PRESET: Any = None  # a default that --dataset decides:
PRESETS = {  # from results/search, the learning rate of images from results/search-mnist
    "ring": dict(steps=1400, d_steps=1, batch_size=128, lr=5e-4, beta1=0.0, beta2=0.999, z_dim=2, width=64),
    "grid": dict(steps=1900, d_steps=1, batch_size=128, lr=5e-4, beta1=0.5, beta2=0.999, z_dim=2, width=128),
    "digits": dict(steps=400, d_steps=1, batch_size=64, lr=2e-3, beta1=0.5, beta2=0.999, z_dim=16, width=32),
    "images": dict(steps=500, d_steps=1, batch_size=64, lr=2e-3, beta1=0.5, beta2=0.999, z_dim=64, width=32),
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
    unroll_steps: int = 5
    """discriminator updates that G looks ahead, the paper's K"""

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


def unroll(D: nn.Module, d_opt: torch.optim.Adam, real: Tensor, fake: Tensor, steps: int, mean=lambda grad: grad):
    """D's weights {name: weight} after `steps` more updates by its Adam on this batch, functions of fake: section 2.2.

    D and d_opt, plain Adam, stay as they are. Roots are of v + eps^2: v's has no slope at 0. mean: over the processes.
    """
    if not d_opt.state:
        raise ValueError("unroll goes on from the averages of D's Adam: make a first step with it before")
    adam, state = d_opt.param_groups[0], [d_opt.state[p] for p in D.parameters()]
    (beta1, beta2), lr, eps, t = adam["betas"], adam["lr"], adam["eps"], state[0]["step"]
    w = torch.cat([p.flatten() for p in D.parameters()])  # all weights as one vector: few and short operations
    m, v = (torch.cat([s[name].flatten() for s in state]) for name in ("exp_avg", "exp_avg_sq"))

    def named(w):  # that vector as {name: weight}, for functional_call
        parts = w.split([p.numel() for p in D.parameters()])
        return {name: part.view_as(p) for (name, p), part in zip(D.named_parameters(), parts, strict=True)}

    for _ in range(steps):
        d_real, d_fake = functional_call(D, named(w), torch.cat([real, fake])).chunk(2)
        (grad,) = torch.autograd.grad(discriminator_loss(d_real, d_fake), w, create_graph=True)  # G sees through it
        grad, t = mean(grad), t + 1
        m, v = beta1 * m + (1 - beta1) * grad, beta2 * v + (1 - beta2) * grad.square()
        w = w - lr * (m / (1 - beta1**t)) / (v / (1 - beta2**t) + eps**2).sqrt()
    return named(w)


def discriminator_loss(d_real: Tensor, d_fake: Tensor) -> Tensor:
    """-E log s(D(x)) - E log(1 - s(D(G(z)))) = E softplus(-D(x)) + E softplus(D(G(z))), from logits [B]."""
    return F.softplus(-d_real).mean() + F.softplus(d_fake).mean()


def generator_loss(d_real: Tensor, d_fake: Tensor) -> Tensor:
    """E log s(D(x)) + E log(1 - s(D(G(z)))), from logits [B]: the value of the game, as G moves the unrolled D."""
    return -discriminator_loss(d_real, d_fake)


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
        real = data.sample(run.batch_size)  # this process's share of --batch-size
        with torch.no_grad():
            fake = G(torch.randn(run.batch_size, args.z_dim, device=run.device))
        d_real, d_fake = D(real), D(fake)
        d_loss = discriminator_loss(d_real, d_fake)
        d_opt.zero_grad()
        d_loss.backward()
        d_opt.step()
        return {"d_loss": d_loss, "d_real": d_real, "d_fake": d_fake}

    # generator
    def g_step():
        fake = G(torch.randn(run.batch_size, args.z_dim, device=run.device))
        real = data.sample(run.batch_size)
        weights = unroll(D, d_opt, real, fake, args.unroll_steps, mean=run.mean)
        g_loss = generator_loss(functional_call(D, weights, real), functional_call(D, weights, fake))
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
