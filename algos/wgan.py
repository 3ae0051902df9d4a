"""WGAN, the Wasserstein GAN with weight clipping.

Paper       Arjovsky et al. 2017, Wasserstein GAN, algorithm 1, arXiv 1701.07875
Objective   D minimises E D(G(z)) - E D(x) with every weight in [-c, c]; D(x) is a critic value, high = real, not a
            logit and without a scale or a zero of its own
            G minimises -E D(G(z))
Remedies    The vanishing gradient: a clipped critic has a bounded slope and may be trained to its best.
            Mode collapse: E D(x) - E D(G(z)) bounds a multiple of W1 from below, and W1 charges for missing modes
            (python scripts/pathologies.py divergences).
Changes     Args.steps, Args.d_steps, Args.lr, Args.clip, Args.bursts, clip_weights, discriminator_loss,
            generator_loss, train.networks, train.discriminator, train.loop, no Args.beta1, no Args.beta2
Pitfalls    Clip after every step of D, biases too: the official code clips before it, and its weights exceed c in G's
            step. -d_loss falls as G learns, but its scale depends on c, depth and width: compare it within a run
            only. Weights pile up at -c and c and leave a simple critic; wgan_gp.py bounds the slope without that.
            Clipping does not stop the circling about an equilibrium (results/pathologies/dirac.md).
            --bursts is in the official code, not in the paper's algorithm.
            Deviations: the paper's --clip 0.01 --lr 5e-5 is for images and long runs; for points in a minute c is 0.1
            and lr 3e-3, falling to zero: settings for the ring, which on the grid threw 3 of 5 runs out of the data.
Expected    python algos/wgan.py
            coverage 8.0 [8.0, 8.0] (best on the way 8.0), high_quality 0.76 [0.56, 0.96], w1 0.18 [0.09, 0.27]; 95%
            intervals over 10 seeds, 58 s on one CPU core
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
    steps: int = 6000
    """generator updates"""
    d_steps: int = 5
    """discriminator updates per generator update"""
    batch_size: int = 128
    """real samples, and as many generated ones, per update"""
    lr: float = 3e-3
    """learning rate of both optimisers"""
    z_dim: int = 0
    """dimension of the noise z; 0: 2 for points, 64 for images"""
    width: int = 64
    """points: units of each hidden layer; images: channels at half size, doubled at each next halving"""
    clip: float = 0.1
    """largest absolute value of a weight of D, the paper's c"""
    bursts: bool = False
    """100 discriminator updates at the first 25 generator updates and at every 500th, as the official code"""


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
    rmsprop = {"lr": lr, "capturable": run.device.type == "cuda"}
    g_opt = torch.optim.RMSprop(G.parameters(), **rmsprop)
    d_opt = torch.optim.RMSprop(D.parameters(), **rmsprop)
    clip_weights(D, args.clip)
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
        clip_weights(D, args.clip)
        return {"d_loss": d_loss, "d_real": d_real, "d_fake": d_fake}

    # generator
    def g_step():
        fake = G(torch.randn(run.batch_size, z_dim, device=run.device))
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
        if args.bursts and (step <= 25 or step % 500 == 1):
            for _ in range(100 - args.d_steps):
                d_step()
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
