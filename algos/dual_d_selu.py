"""Dual-D SELU, the GAN with two opposed discriminators: minibatch discrimination in one, SELU in the other.

Paper       Zhang, Li & Yu 2018, On the Convergence and Mode Collapse of GAN, SIGGRAPH Asia Technical Briefs,
            doi 10.1145/3283254.3283282; minibatch discrimination: Salimans et al. 2016, section 3.2, arXiv 1606.03498
Objective   D1 minimises -E log s(D1(x)) - E log(1 - s(D1(G(z)))), high = real; D2 the same with the roles swapped
            G minimises -E log s(D1(G(z))) + E log s(D2(G(z))): with the best D1 and D2, its gradient is that of
            KL(p_g || p_data); s is the sigmoid, D1 and D2 are logits
Remedies    The vanishing gradient, by that loss. Mode collapse, the paper says, by minibatch discrimination: the loss
            itself, KL(p_g || p_data), hardly charges for missing modes (python scripts/pathologies.py exact-losses).
Changes     Args.steps, Args.lr, Args.loss, Args.minibatch_discrimination, Args.both_minibatch_discrimination,
            Args.selu, Args.both_selu, Args.resblock, Args.gradient_penalty, MinibatchDiscrimination, Residual,
            Discriminator, gradient_penalty, discriminator1_loss, discriminator2_loss, generator_loss, train.networks,
            train.discriminator, train.generator, train.loop, no discriminator_loss
Pitfalls    Equation 5 has log(-D), undefined for D in (0, 1]. Only -log D1(G(z)), as in G's loss above, gives the
            paper's equations 9 and 10; as D1's own objective it would be unbounded, so both D are trained on plain
            cross-entropy. With --loss eq6, the paper's equation 6, G descends 4 JS: there D2 adds nothing.
            At D2 = 1 - D1, G's loss is minus D1's logit: in theory, one discriminator would do.
            The rows of tables 2 and 3: --no-minibatch-discrimination --both-minibatch-discrimination --no-selu
            --both-selu --no-resblock --loss hinge --gradient-penalty. The networks are ours (the supplement was not at
            hand): no batch norm, 8 kernels of 4 dimensions (100 of 5 in Salimans et al.'s code), WGAN-GP's penalty.
            The loss alone keeps the ring, below; in 400 updates on MNIST it drew few digits (results/dual-d-ablations).
Expected    python algos/dual_d_selu.py
            coverage 8.0 [8.0, 8.0] (best on the way 8.0), high_quality 0.93 [0.90, 0.95], w1 0.17 [0.13, 0.21]; 95%
            intervals over 10 seeds, 75 s on one CPU core
            python algos/dual_d_selu.py --no-minibatch-discrimination
            coverage 8.0 [8.0, 8.0] (best on the way 8.0), high_quality 0.91 [0.89, 0.94], w1 0.37 [0.02, 0.73]; 95%
            intervals over 5 seeds, 26 s on one CPU core
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
    steps: int = 5000
    """generator updates"""
    d_steps: int = 1
    """discriminator updates per generator update"""
    batch_size: int = 128
    """real samples, and as many generated ones, per update"""
    lr: float = 2e-3
    """learning rate of both optimisers"""
    beta1: float = 0.5
    """Adam's decay rate of the mean of the gradients"""
    beta2: float = 0.999
    """Adam's decay rate of the mean of their squares"""
    z_dim: int = 0
    """dimension of the noise z; 0: 2 for points, 64 for images"""
    width: int = 64
    """points: units of each hidden layer; images: channels at half size, doubled at each next halving"""
    loss: Literal["paper", "eq6", "hinge"] = "paper"
    """the paper's loss (equation 5), its equation 6, or the hinge loss"""
    minibatch_discrimination: bool = True
    """D1 compares the samples of a batch"""
    both_minibatch_discrimination: bool = False
    """and so does D2"""
    selu: bool = True
    """D2 has SELU units and LeCun's initialisation, else leaky ReLU"""
    both_selu: bool = False
    """and so has D1"""
    resblock: bool = True
    """D1 has residual blocks"""
    gradient_penalty: bool = False
    """WGAN-GP's gradient penalty, of weight 10, on both discriminators"""


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


class MinibatchDiscrimination(nn.Module):
    """Appends to features [B, F] how close each sample is to the others: [B, F + kernels].

    o_ik = sum over j != i of exp(-|M_ik - M_jk|_1) with M = features T: Salimans et al. 2016, section 3.2.
    """

    def __init__(self, features: int, kernels: int = 8, dim: int = 4):
        super().__init__()
        self.T = nn.Parameter(torch.randn(features, kernels, dim) / features**0.5)

    def forward(self, x: Tensor) -> Tensor:
        M = torch.einsum("bf,fkd->bkd", x, self.T)
        distance = sum((m[:, None] - m[None]).abs() for m in M.unbind(dim=2))  # [B, B, kernels]
        return torch.cat([x, torch.exp(-distance).sum(dim=1) - 1], dim=1)  # without itself, exp(0)


class Residual(nn.Sequential):
    """x + f(x)."""

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class Discriminator(nn.Module):
    """Maps samples [B, *shape] to logits [B]: D1 (high = real) or D2 (high = fake)."""

    def __init__(
        self, shape: tuple[int, ...], width: int, selu: bool = False, resblock: bool = False, minibatch: bool = False
    ):
        super().__init__()
        act = nn.SELU() if selu else nn.LeakyReLU(0.2)
        block = Residual if resblock else nn.Sequential
        if len(shape) == 1:
            layers, features = [nn.Linear(*shape, width), act], width
            layers += [block(nn.Linear(width, width), act)]
            layers += [block(nn.Linear(width, width), act)]  # [B, width]
        else:
            channels, size, _ = shape
            w = width
            layers = [nn.Conv2d(channels, w, 4, 2, 1), act]  # [B, w, 16, 16]
            while size > 8:
                layers += [block(nn.Conv2d(w, w, 3, 1, 1), act)]
                layers += [nn.Conv2d(w, 2 * w, 4, 2, 1), act]  # [B, 2w, 8, 8], [B, 4w, 4, 4]
                w, size = 2 * w, size // 2
            layers, features = [*layers, nn.Flatten()], 16 * w  # [B, 4w * 4 * 4]
        if minibatch:
            layers, features = [*layers, MinibatchDiscrimination(features)], features + 8
        self.net = nn.Sequential(*layers, nn.Linear(features, 1))  # [B, 1]
        if selu:
            for module in self.net.modules():
                if isinstance(module, nn.Linear | nn.Conv2d):  # LeCun's: variance 1 / inputs
                    nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x).squeeze(1)


def gradient_penalty(D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """E (|grad_x D(x_hat)|_2 - 1)^2 at x_hat = eps x + (1 - eps) G(z), eps ~ U[0, 1], for samples [B, ...].

    One eps and one norm, over all dimensions, for each sample. With minibatch discrimination the slope counts what a
    sample does to the logits of the others, too.
    """
    eps = torch.rand(len(real), *[1] * (real.dim() - 1), device=real.device)
    x_hat = (eps * real + (1 - eps) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(D(x_hat).sum(), x_hat, create_graph=True)
    return (slope.flatten(1).norm(dim=1) - 1).square().mean()


def discriminator1_loss(d1_real: Tensor, d1_fake: Tensor, loss: str = "paper") -> Tensor:
    """-E log s(D1(x)) - E log(1 - s(D1(G(z)))), from logits [B]; or the hinge loss."""
    if loss == "hinge":
        return F.relu(1 - d1_real).mean() + F.relu(1 + d1_fake).mean()
    return F.softplus(-d1_real).mean() + F.softplus(d1_fake).mean()


def discriminator2_loss(d2_real: Tensor, d2_fake: Tensor, loss: str = "paper") -> Tensor:
    """D1's loss with the roles swapped: -E log(1 - s(D2(x))) - E log s(D2(G(z)))."""
    return discriminator1_loss(d2_fake, d2_real, loss)


def generator_loss(d1_fake: Tensor, d2_fake: Tensor, loss: str = "paper") -> Tensor:
    """-E log s(D1(G(z))) + E log s(D2(G(z))), from logits [B]; eq6: E log(1 - s(D1)) + E log s(D2); or hinge."""
    if loss == "hinge":
        return d2_fake.mean() - d1_fake.mean()
    if loss == "eq6":
        return -F.softplus(d1_fake).mean() - F.softplus(-d2_fake).mean()
    return F.softplus(-d1_fake).mean() - F.softplus(-d2_fake).mean()


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
    D1 = Discriminator(data.shape, args.width, args.both_selu, args.resblock, args.minibatch_discrimination)
    D2 = Discriminator(data.shape, args.width, args.selu, minibatch=args.both_minibatch_discrimination)
    D1, D2 = (D.to(run.device, memory_format=torch.channels_last) for D in (D1, D2))
    run.autocast(G, D1, D2)  # with --amp
    lr = torch.tensor(args.lr, device=run.device)  # a tensor, for a CUDA graph to see it fall
    adam = {"lr": lr, "betas": (args.beta1, args.beta2), "fused": True, "capturable": True}
    g_opt = torch.optim.Adam(G.parameters(), **adam)
    d_opt = torch.optim.Adam([*D1.parameters(), *D2.parameters()], **adam)
    n = 2500 if data.shape == (2,) else 1000  # samples per measurement, always from the same noise
    z_fixed = torch.randn(n, z_dim, device=run.device)

    # discriminator
    def d_step():
        real = data.sample(run.batch_size)
        with torch.no_grad():
            fake = G(torch.randn(run.batch_size, z_dim, device=run.device))
        d1_real, d1_fake, d2_real, d2_fake = D1(real), D1(fake), D2(real), D2(fake)
        d_loss = discriminator1_loss(d1_real, d1_fake, args.loss) + discriminator2_loss(d2_real, d2_fake, args.loss)
        if args.gradient_penalty:
            d_loss = d_loss + 10 * (gradient_penalty(D1, real, fake) + gradient_penalty(D2, real, fake))
        d_opt.zero_grad()
        d_loss.backward()
        d_opt.step()
        return {"d_loss": d_loss, "d1_real": d1_real, "d1_fake": d1_fake, "d2_real": d2_real, "d2_fake": d2_fake}

    # generator
    def g_step():
        fake = G(torch.randn(run.batch_size, z_dim, device=run.device))
        g_loss = generator_loss(D1(fake), D2(fake), args.loss)
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
    for step in run.steps(G=G, D1=D1, D2=D2, g_opt=g_opt, d_opt=d_opt):
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
