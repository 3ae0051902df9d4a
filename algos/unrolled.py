"""Unrolled GAN, whose generator looks K updates of the discriminator ahead.

Paper       Metz et al. 2017, Unrolled Generative Adversarial Networks, section 2, arXiv 1611.02163
Objective   D minimises -E log s(D(x)) - E log(1 - s(D(G(z)))); s is the sigmoid, D(x) a logit, high = real
            G minimises E log s(D_K(x)) + E log(1 - s(D_K(G(z)))), D_K = D after K more updates on these samples
Remedies    Mode collapse and oscillation: if G moves all samples to one mode, D answers within these K steps, and
            that answer is part of G's gradient (python scripts/pathologies.py oscillation minimax-or-maximin).
Changes     Args.steps, Args.unroll_steps, unroll, generator_loss, train.generator
Pitfalls    The gradient goes through D's K steps. K ordinary steps of a copy of D are not that: if G has x, D has y
            and f = xy, in steps of eta, the slope is then y + K eta x, not y + 2 K eta x. The fakes are not detached;
            D, its gradients and its Adam stay as they are. G's loss is the whole value, which saturates, real term
            included: D_K depends on G. On the ring K = 0 (gan.py's loss) found as many modes in a fifth of the time.
Expected    python algos/unrolled.py
            coverage 7.6 [6.7, 8.0] (best on the way 8.0), high_quality 0.73 [0.69, 0.77], w1 0.45 [0.22, 0.69]; 95%
            intervals over 10 seeds, 55 s on one CPU core
            python algos/unrolled.py --unroll-steps 0
            coverage 8.0 [8.0, 8.0] (best on the way 8.0), high_quality 0.62 [0.47, 0.76], w1 0.40 [0.16, 0.64]; 95%
            intervals over 5 seeds, 10 s on one CPU core
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
from torch.func import functional_call


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
    steps: int = 3000
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
    unroll_steps: int = 5
    """discriminator updates that G looks ahead, the paper's K"""


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


def unroll(D: nn.Module, d_opt: torch.optim.Adam, real: Tensor, fake: Tensor, steps: int, mean=lambda grad: grad):
    """D's weights {name: weight} after `steps` more updates by its Adam on this batch, functions of fake: section 2.2.

    D and d_opt stay as they are. The root is of v + eps^2, as v's has no finite slope at 0. mean: over the processes.
    """
    shapes = {name: p.shape for name, p in D.named_parameters()}
    state = [d_opt.state[p] for p in D.parameters()]
    group, t = d_opt.param_groups[0], state[0]["step"]
    (beta1, beta2), lr, eps = group["betas"], group["lr"], group["eps"]
    w = torch.cat([p.flatten() for p in D.parameters()])  # all weights as one vector: few and short operations
    m = torch.cat([s["exp_avg"].flatten() for s in state])
    v = torch.cat([s["exp_avg_sq"].flatten() for s in state])

    def named(w):  # that vector as {name: weight}, for functional_call
        parts = w.split([shape.numel() for shape in shapes.values()])
        return {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)}

    for _ in range(steps):
        d_real, d_fake = functional_call(D, named(w), torch.cat([real, fake])).chunk(2)
        (grad,) = torch.autograd.grad(discriminator_loss(d_real, d_fake), w, create_graph=True)
        grad, t = mean(grad), t + 1
        m = beta1 * m + (1 - beta1) * grad
        v = beta2 * v + (1 - beta2) * grad.square()
        w = w - lr * (m / (1 - beta1**t)) / (v / (1 - beta2**t) + eps**2).sqrt()
    return named(w)


def discriminator_loss(d_real: Tensor, d_fake: Tensor) -> Tensor:
    """-E log s(D(x)) - E log(1 - s(D(G(z)))) = E softplus(-D(x)) + E softplus(D(G(z))), from logits [B]."""
    return F.softplus(-d_real).mean() + F.softplus(d_fake).mean()


def generator_loss(d_real: Tensor, d_fake: Tensor) -> Tensor:
    """E log s(D(x)) + E log(1 - s(D(G(z)))), from logits [B]: the value of the game, as G moves the unrolled D."""
    return -discriminator_loss(d_real, d_fake)


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
