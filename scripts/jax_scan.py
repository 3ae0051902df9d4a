"""How fast points could be: our updates beside the same ones, a thousand of them compiled by JAX into one program.

    pip install jax && python scripts/jax_scan.py

An update of points is a hundred small operations, and to launch one takes longer than its sums. `jax.lax.scan` inside
`jax.jit` launches a thousand updates at once. Both start from the same weights, and must agree on the losses and
gradients of one batch. Then they are timed in turn, on one core, and each makes a whole run with the settings of the
file, whose samples are measured. Results go to results/speed/<device>/.
"""

import os
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and jax: both on one core
os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_PLATFORMS"] = "cpu"

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from common.args import RunError
from common.metrics import evaluate
from scripts.lib.command import command
from scripts.lib.inside import inside, settings_of, updates
from scripts.lib.tables import table
from scripts.lib.timing import folder_of, keep, ratio, seconds, write_page
from scripts.lib.variants import module_of
from scripts.speed import Count, limits

CPU, SCANNED = torch.device("cpu"), 1000
TIMES = {"torch": "ours, us", "products": "of it products", "launches": "launches", "jax": "by JAX, us"}
ABOUT = """JAX {jax}. Microseconds of an update on one core. Of ours, what its matrix products need at the rate at which
the core multiplies large matrices, and its launches ({launches}) at the time of the cheapest one; the rest is Python,
autograd, and matrices too small for that rate. JAX's is one program for {scanned:,} updates: what a CUDA graph is on a
GPU. Last the samples of one whole run each, with the settings of the file; they have other random numbers, so this
shows that both learn, and not which is better."""


@dataclass
class Args:
    rounds: int = 7
    """how often both are timed, in turn; the median counts"""


def losses_of(jax, algo: str, weight: float):
    """D(x), the loss of D for (D's weights, real, fake, eps) and that of G for (G's weights, D's weights, z)."""
    import jax.numpy as jnp

    def mlp(layers, x):
        for w, b in layers[:-1]:
            x = jax.nn.relu(x @ w + b)
        return x @ layers[-1][0] + layers[-1][1]

    def score(d, x):
        return mlp(d, x)[:, 0]

    def of_d(d, real, fake, eps):
        if algo == "nsgan":
            return jax.nn.softplus(-score(d, real)).mean() + jax.nn.softplus(score(d, fake)).mean()
        slope = jax.grad(lambda x: score(d, x).sum())(eps * real + (1 - eps) * fake)
        penalty = jnp.square(jnp.linalg.norm(slope, axis=1) - 1).mean()
        return score(d, fake).mean() - score(d, real).mean() + weight * penalty

    def of_g(g, d, z):
        logits = score(d, mlp(g, z))
        return jax.nn.softplus(-logits).mean() if algo == "nsgan" else -logits.mean()

    return mlp, of_d, of_g


def layers_of(jax, network) -> list:
    """The weights of a torch MLP, as JAX multiplies them: [in, out]."""
    linear = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear)]
    return [tuple(jax.numpy.asarray(p.detach().numpy().T.copy()) for p in (at.weight, at.bias)) for at in linear]


def scan_of(jax, algo: str, local: dict):
    """A function that makes SCANNED updates of a state, as algos/<algo>.py does, and the state to begin with."""
    jnp, args, tree = jax.numpy, local["args"], jax.tree.map
    mlp, of_d, of_g = losses_of(jax, algo, getattr(args, "lambda_", 0.0))
    modes, std = jnp.asarray(local["data"].modes.numpy()), local["data"].std
    b1, b2, n = args.beta1, args.beta2, args.batch_size

    def adam(weights, grads, moments, t, lr):
        m = tree(lambda m, g: b1 * m + (1 - b1) * g, moments[0], grads)
        v = tree(lambda v, g: b2 * v + (1 - b2) * g * g, moments[1], grads)
        scale = lr / (1 - b1**t)

        def step(w, m, v):
            return w - scale * m / (jnp.sqrt(v / (1 - b2**t)) + 1e-8)

        return tree(step, weights, m, v), (m, v)

    def update(state, _):
        g, d, of_g_opt, of_d_opt, t, key = state
        lr = args.lr * (1 - t / args.steps) if args.lr_decay else args.lr
        for i in range(args.d_steps):
            key, *keys = jax.random.split(key, 5)
            real = modes[jax.random.randint(keys[0], (n,), 0, len(modes))] + std * jax.random.normal(keys[1], (n, 2))
            fake = mlp(g, jax.random.normal(keys[2], (n, args.z_dim)))
            grads = jax.grad(of_d)(d, real, fake, jax.random.uniform(keys[3], (n, 1)))
            d, of_d_opt = adam(d, grads, of_d_opt, t * args.d_steps + i + 1, lr)
        key, noise = jax.random.split(key)
        g, of_g_opt = adam(g, jax.grad(of_g)(g, d, jax.random.normal(noise, (n, args.z_dim))), of_g_opt, t + 1, lr)
        return (g, d, of_g_opt, of_d_opt, t + 1, key), None

    g, d = (layers_of(jax, local[name]) for name in "GD")
    zeros = [tree(jnp.zeros_like, x) for x in (g, d)]
    begin = (g, d, (zeros[0], zeros[0]), (zeros[1], zeros[1]), jnp.zeros(()), jax.random.key(0))
    return jax.jit(lambda state: jax.lax.scan(update, state, length=SCANNED)[0]), begin, mlp


def must_agree(jax, algo: str, local: dict) -> None:
    """RunError if JAX has another loss, or another gradient in D or G, on one batch."""
    module, G, D = module_of(f"algos/{algo}.py"), local["G"], local["D"]
    weight = getattr(local["args"], "lambda_", 0.0)
    _, of_d, of_g = losses_of(jax, algo, weight)
    real, z = local["data"].sample(64), torch.randn(64, local["args"].z_dim)
    fake = G(z).detach()
    torch.manual_seed(0)
    penalty = weight * module.gradient_penalty(D, real, fake) if weight else 0.0
    torch.manual_seed(0)
    eps = torch.rand(64, 1)
    d_loss, g_loss = module.discriminator_loss(D(real), D(fake)) + penalty, module.generator_loss(D(G(z)))
    g, d = (layers_of(jax, network) for network in (G, D))
    theirs = jax.value_and_grad(of_d)(d, *(x.numpy() for x in (real, fake, eps)))
    theirs = [theirs, jax.value_and_grad(of_g)(g, d, z.numpy())]
    for loss, network, (value, grads) in zip((d_loss, g_loss), (D, G), theirs, strict=True):
        ours = torch.autograd.grad(loss, [*network.parameters()], retain_graph=True, allow_unused=True)
        pairs = zip(ours, jax.tree.leaves(grads), strict=True)
        worst = max(abs(a.numpy().T - b).max() for a, b in pairs if a is not None)
        if abs(loss.item() - value) > 1e-4 or worst > 1e-4:
            raise RunError(f"{algo}: JAX computes another loss or gradient ({loss.item()}, {value}, {worst})")


def compared(jax, algo: str, rounds: int, limit: dict) -> dict:
    """A row: times of both, what ours consist of, and what both generators draw after a whole run."""
    local = inside(module_of(f"algos/{algo}.py"), dataset="grid", seed=1)
    must_agree(jax, algo, local)
    scan, state, mlp = scan_of(jax, algo, local)
    times, args = {"torch": [], "jax": []}, local["args"]
    for _ in range(rounds):
        with settings_of(local):
            times["torch"].append(seconds(local["update"], CPU))
        times["jax"].append(seconds(lambda: jax.block_until_ready(scan(state)), CPU) / SCANNED)
    after = inside(module_of(f"algos/{algo}.py"), dataset="grid", seed=1)
    for _ in updates(after):
        pass
    for _ in range(0, args.steps, SCANNED):
        state = scan(state)
    z = torch.randn(2500, args.z_dim)
    with torch.no_grad():
        drawn = {"torch": after["G"](z), "jax": torch.tensor(jax.device_get(mlp(state[0], z.numpy())))}
    with Count() as count, settings_of(local):
        local["update"]()
    row = {"algo": algo, "jax": jax.__version__, "batch_size": args.batch_size}
    row |= {f"{name} us": 1e6 * statistics.median(t) for name, t in times.items()}
    row |= {"ratio": ratio(times, "torch", "jax"), "products us": 1e6 * count.flops / limit["float32"]}
    row |= {"launches": count.launches, "launches us": 1e6 * count.launches * limit["launch"]}
    for name, samples in drawn.items():
        found = evaluate(local["data"], samples)
        row |= {f"{name} {key}": found[key] for key in ("coverage", "high_quality")}
    return row


def page(rows: list[dict]) -> list[str]:
    cells = []
    for row in rows:
        rate = 1e6 / float(row["torch us"])
        line = [f"`{row['algo']}.py`", f"{rate:.0f}", *(f"{float(row[f'{k} us']):.0f}" for k in TIMES)]
        line += [f"{float(row['ratio']):.1f}"]
        cells.append(
            line + [f"{row[f'{k} coverage']}, {float(row[f'{k} high_quality']):.2f}" for k in ("torch", "jax")]
        )
    head = ["grid", "updates a second", *TIMES.values(), "times as fast", "modes and sharp, ours", "by JAX"]
    launches = " and ".join(row["launches"] for row in rows)
    return [ABOUT.format(jax=rows[0]["jax"], launches=launches, scanned=SCANNED), "", *table(head, cells)]


def main(args: Args) -> None:
    try:
        import jax
    except ModuleNotFoundError:
        raise RunError("this command alone needs JAX: pip install jax") from None
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    folder, limit = folder_of(CPU), limits(CPU)
    rows = [compared(jax, algo, args.rounds, limit) for algo in ("nsgan", "wgan_gp")]
    rows = keep(folder / "jax.csv", rows, CPU)
    write_page(folder / "jax.md", "points, beside JAX", "jax_scan.py", CPU, rows, page(rows))
    print((folder / "jax.md").read_text())


if __name__ == "__main__":
    command(main, Args, __doc__)
