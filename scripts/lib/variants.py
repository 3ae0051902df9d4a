"""Small changes to the files of algos/, for comparisons that no flag makes: networks, initialisation, stabilisers,
a paper's ablations, and the slower lines that most implementations have.

A change is a list of (old text, new text); a file with a change is written below runs/ and is an ordinary command:
`file_of("nsgan", "tanh")` makes runs/nsgan-tanh.py, and `diff algos/nsgan.py runs/nsgan-tanh.py` shows the change.
"""

import importlib
import os
import shlex
import sys
import types
from functools import cache
from pathlib import Path

if __name__ == "__main__":
    raise SystemExit("this is a library; the command that runs variants is: python scripts/benchmark.py")

from scripts.lib.headers import ROOT

LR = "    lr = torch.tensor(args.lr, device=run.device)"  # the line after the networks

Change = list[tuple[str, str]]


def initialised(weight: str) -> Change:
    """Linear layers of G and D with these weights, and zero biases."""
    loop = f"""    for layer in (*G.modules(), *D.modules()):
        if isinstance(layer, nn.Linear):
            {weight}
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
"""
    return [(LR, loop + LR)]


def layers(first: str, hidden: str, last: str) -> str:
    """The lines with the layers of one of the files' networks for points, two hidden layers after the first."""
    return "\n            ".join(
        [f"            layers = [{first}]", *2 * [f"layers += [{hidden}]"], f"layers += [{last}]"]
    )


# The networks of PacGAN's code for points (Lin et al. 2018): G with batch norm, D with maxout units of 5 pieces
NORMED = "nn.Linear(400, 400, bias=False), nn.BatchNorm1d(400), nn.ReLU()"
MAXOUT = """class Maxout(nn.Module):
    \"\"\"The largest of 5 pieces: [B, 5 n] to [B, n] (Goodfellow et al. 2013, arXiv 1302.4389).\"\"\"

    def forward(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (5, -1)).amax(1)


class Discriminator(nn.Module):"""
PACGAN: Change = [
    (
        layers("nn.Linear(z_dim, width), nn.ReLU()", "nn.Linear(width, width), nn.ReLU()", "nn.Linear(width, *shape)"),
        layers(NORMED.replace("400, 400", "z_dim, 400"), NORMED, f"{NORMED}, nn.Linear(400, *shape)"),
    ),
    (
        layers("nn.Linear(*shape, width), nn.ReLU()", "nn.Linear(width, width), nn.ReLU()", "nn.Linear(width, 1)"),
        layers("nn.Linear(*shape, 1000), Maxout()", "nn.Linear(200, 1000), Maxout()", "nn.Linear(200, 1)"),
    ),
    ("class Discriminator(nn.Module):", MAXOUT),
    *initialised("nn.init.normal_(layer.weight, std=0.02)"),
]

FAKE = "fake = G(torch.randn(run.batch_size, args.z_dim, device=run.device))"

# The ablations of dual-D SELU's tables 2 and 3 (Zhang, Li & Yu 2018)
HINGE: Change = [
    (
        "return F.softplus(-d_real).mean() + F.softplus(d_fake).mean()",
        "return F.relu(1 - d_real).mean() + F.relu(1 + d_fake).mean()",
    ),
    ("return F.softplus(-d1_fake).mean() - F.softplus(-d2_fake).mean()", "return d2_fake.mean() - d1_fake.mean()"),
]
GRADIENT_PENALTY: Change = [  # WGAN-GP's, of weight 10, on both
    (
        "    from common.run import Run\n",
        "    from algos.wgan_gp import gradient_penalty\n    from common.run import Run\n",
    ),
    (
        "discriminator_loss(d2_fake, d2_real)  # D2: high = fake\n",
        "discriminator_loss(d2_fake, d2_real)  # D2: high = fake\n"
        "        d_loss = d_loss + 10 * (gradient_penalty(D1, real, fake) + gradient_penalty(D2, real, fake))\n",
    ),
]
DUAL_D: dict[str, Change] = {
    "no_selu": [("args.width, selu=True)", "args.width)")],
    "both_selu": [("args.width, resblock=True", "args.width, selu=True, resblock=True")],
    "no_resblock": [("resblock=True, ", "")],
    "both_minibatch_discrimination": [("args.width, selu=True)", "args.width, selu=True, minibatch=True)")],
    "hinge": HINGE,
    "gradient_penalty": GRADIENT_PENALTY,
    "hinge_gradient_penalty": [*HINGE, *GRADIENT_PENALTY],
}

# Lines that most implementations have where the files have faster ones
COMMON: dict[str, Change] = {
    "dataloader": [
        (
            "    data = run.data\n",
            "    from scripts.lib.loader import Loader\n\n    data = run.data = Loader(run.data)\n",
        )
    ],
    "item": [
        (
            "    # loop\n",
            "    # loop\n    whole = update\n\n    def update():\n"
            "        return {name: number.mean().item() for name, number in whole().items()}\n\n",
        )
    ],
    "graph_through_g": [
        (f"        with torch.no_grad():\n            {FAKE}", f"        {FAKE}.detach()"),
    ],
    "d_gradients": [("g_loss.backward(inputs=[*G.parameters()])", "g_loss.backward()")],
    "plain_adam": [
        ('{"lr": lr, "betas"', '{"lr": args.lr, "betas"'),
        (', "fused": True, "capturable": True', ""),
        (
            "        numbers = update()\n",
            "        for group in (*g_opt.param_groups, *d_opt.param_groups):\n"
            '            group["lr"] = lr.item()\n        numbers = update()\n',
        ),
    ],
    "channels_first": [
        (
            "    # networks\n",
            "    # networks\n    prepare = run.prepare\n"
            "    run.prepare = lambda network: prepare(network).to(memory_format=torch.contiguous_format)\n",
        )
    ],
}

# Stabilisers that are no algorithms of their own: algos/README.md shows them as diffs
G_LINE = "    G = run.prepare(Generator(args.z_dim, data.shape, args.width))\n"
D_OPT = "    d_opt = torch.optim.Adam(D.parameters(), **adam)\n"
RECIPES: dict[str, Change] = {
    "noise": [
        (
            f"{LR}  # a tensor, for a CUDA graph to see it fall\n",
            f"{LR}  # a tensor, for a CUDA graph to see it fall\n"
            "    D.register_forward_pre_hook("
            "lambda _, x: (x[0] + 0.5 * lr / args.lr * torch.randn_like(x[0]), *x[1:]))\n",
        )
    ],
    "weight_decay": [(D_OPT, "    d_opt = torch.optim.Adam(D.parameters(), weight_decay=1e-3, **adam)\n")],
    "d_lr": [
        (
            D_OPT,
            '    d_lr = 2 * lr\n    d_opt = torch.optim.Adam(D.parameters(), **(adam | {"lr": d_lr}))\n',
        ),
        ("        numbers = update()\n", "        d_lr.copy_(2 * lr)\n        numbers = update()\n"),
    ],
    "smoothing": [
        (
            "    return F.softplus(-d_real).mean() + F.softplus(d_fake).mean()\n",
            "    return F.softplus(-d_real).mean() + 0.1 * d_real.mean() + F.softplus(d_fake).mean()\n",
        )
    ],
    "average": [
        (
            G_LINE,
            f"{G_LINE}    G_ema = run.prepare(Generator(args.z_dim, data.shape, args.width))\n"
            "    G_ema.load_state_dict(G.state_dict())\n",
        ),
        (
            "        g_opt.step()\n",
            "        g_opt.step()\n"
            "        with torch.no_grad():\n"
            "            for mean, now in zip(G_ema.parameters(), G.parameters(), strict=True):\n"
            "                mean.lerp_(now, 0.001)\n"
            "                mean.grad = now.grad  # for the log\n"
            "            for mean, now in zip(G_ema.buffers(), G.buffers(), strict=True):\n"
            "                mean.copy_(now)  # of batch norm\n",
        ),
        ("run.steps(G=G, ", "run.steps(G=G_ema, G_now=G, "),
        (
            "        run.log(step, numbers, G)\n    return run.finish(G)\n",
            "        run.log(step, numbers, G_ema)\n    return run.finish(G_ema)\n",
        ),
    ],
    "history": [
        (
            LR,
            "    def weights(network):\n"
            "        return torch.cat([p.flatten() for p in network.parameters()])\n\n"
            "    n, G_past, D_past = torch.ones((), device=run.device), weights(G).detach(), weights(D).detach()\n"
            + LR,
        ),
        (
            "        d_opt.zero_grad()\n",
            "        d_loss = d_loss + 0.01 * (weights(D) - D_past).square().sum()\n        d_opt.zero_grad()\n",
        ),
        (
            "        g_opt.zero_grad()\n",
            "        g_loss = g_loss + 0.01 * (weights(G) - G_past).square().sum()\n        g_opt.zero_grad()\n",
        ),
        (
            "        return numbers | g_step()\n",
            "        numbers = numbers | g_step()\n"
            "        n.add_(1)\n"
            "        G_past.lerp_(weights(G).detach(), 1 / n)  # the mean of n weights\n"
            "        D_past.lerp_(weights(D).detach(), 1 / n)\n"
            "        return numbers\n",
        ),
        ("run.steps(G=G, ", "run.steps(n=n, G_past=G_past, D_past=D_past, G=G, "),
    ],
}
# G's loss is that of gan.py: as the table of some lecture notes has it for DRAGAN, and as the code of minibatch
# discrimination's authors
SATURATING: Change = [("    return F.softplus(-d_fake).mean()\n", "    return -F.softplus(d_fake).mean()\n")]

CHANGES: dict[str, Change] = {
    **COMMON,
    **RECIPES,
    "saturating": SATURATING,
    **DUAL_D,
    "common": [pair for change in COMMON.values() for pair in change],
    # units of the hidden layers for points, in G and in D
    "leaky": [("width), nn.ReLU()]", "width), nn.LeakyReLU(0.2)]")],
    "tanh": [("width), nn.ReLU()]", "width), nn.Tanh()]")],
    # initialisation of both; PyTorch's own is uniform, of standard deviation 1 / sqrt(3 n) for n inputs
    "he": initialised('nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")'),
    "orthogonal": initialised("nn.init.orthogonal_(layer.weight, gain=2**0.5)"),
    "pacgan_networks": PACGAN,
    # one pass of G for both players, as most implementations have it where D makes one update to one of G
    "one_pass": [
        (
            f"        with torch.no_grad():\n            {FAKE}",
            f"        G.drawn = {FAKE[7:]}\n        fake = G.drawn.detach()",
        ),
        (f"        {FAKE}", "        fake = G.drawn"),
    ],
    # a small D: with --width 16, G 64-32-16 and D 2-4-8 or 4-8-16, as PacGAN's code has Metz et al.'s 2017 experiment
    "quarter_d": [("Discriminator(data.shape, args.width)", "Discriminator(data.shape, args.width // 8)")],
    "quarter_d_of_packs": [("Discriminator(packed, args.width)", "Discriminator(packed, args.width // 8)")],
    "half_d": [("Discriminator(data.shape, args.width)", "Discriminator(data.shape, args.width // 4)")],
}


def changed(text: str, name: str) -> str:
    """The text of a file after a change. Raises ValueError if there is nothing to change."""
    for old, new in CHANGES[name]:
        if old not in text:
            raise ValueError(f"{name} does not fit: there is no\n{old}")
        text = text.replace(old, new)
    return text


def file_of(algo: str, change: str = "") -> Path:
    """The file of algos/, or with this change the one below runs/, from where it finds common/; it is written first."""
    source = ROOT / "algos" / f"{algo}.py"
    if not change:
        return source
    path = ROOT / "runs" / f"{algo}-{change}.py"
    path.parent.mkdir(exist_ok=True)
    text = changed(source.read_text(), change)
    if not path.exists() or path.read_text() != text:
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        temporary.write_text(text)
        os.replace(temporary, path)  # another process may be reading it
    return path


def module_with(algo: str, changes: list[str], path: Path | None = None):
    """A new module: a file of algos/ with these changes, as if it stood there or at `path`."""
    path = path or ROOT / "algos" / f"{algo}.py"
    module = types.ModuleType("_".join(["changed", algo, *changes]))
    module.__file__ = str(path)
    text = (ROOT / "algos" / f"{algo}.py").read_text()
    for change in changes:
        text = changed(text, change)
    sys.modules[module.__name__] = module  # dataclasses look there
    exec(compile(text, path, "exec"), module.__dict__)
    return module


@cache
def module_of(command: str):
    """The module of the file that a command starts with, of algos/ or a variant, which is written first."""
    file = shlex.split(command)[0].removesuffix(".py")
    if file.startswith("algos/"):
        return importlib.import_module(file.replace("/", "."))
    algo, change = Path(file).name.split("-", 1)
    return module_with(algo, [change], file_of(algo, change))
