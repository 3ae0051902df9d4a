"""The updates inside train(): who learns, in which direction, from what, and without waiting for the device."""

import copy
import inspect
import re
import sys

import pytest
import torch
from conftest import ALGOS, discriminators, same, weights
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from common.metrics import evaluate
from scripts.lib.inside import inside

WAITS = {"aten::_local_scalar_dense", "aten::item", "aten::nonzero", "aten::is_nonzero", "aten::equal"}
UPDATES = 5


@pytest.fixture(scope="module", params=[(name, kind) for name in ALGOS for kind in ("points", "images")], ids="-".join)
def trained(request):
    """The local variables of train() at a small learning rate, after some updates: made once for each file and kind."""
    name, kind = request.param
    data, options = None, {"width": 32}
    if kind == "images":
        data = torch.randint(256, (40, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
        options = {"dataset": "folder", "width": 8, "batch_size": 16}
    local = inside(ALGOS[name], data, lr=1e-4, seed=3, **options)
    torch.manual_seed(0)
    for _ in range(UPDATES):
        local["update"]()
    return local


@pytest.fixture
def local(trained):
    """Those, put back as they were after the test: modules, optimisers, tensors, random state."""
    torch.manual_seed(1)
    stateful = [x for x in trained.values() if isinstance(x, torch.nn.Module | torch.optim.Optimizer)]
    before = copy.deepcopy([x.state_dict() for x in stateful])
    tensors = [(x, x.clone()) for x in trained.values() if isinstance(x, torch.Tensor)]
    yield trained
    for x, state in zip(stateful, before, strict=True):
        rates = [group["lr"] for group in getattr(x, "param_groups", [])]
        x.load_state_dict(state)
        for group, rate in zip(getattr(x, "param_groups", []), rates, strict=True):
            group["lr"] = rate  # the caller's tensor, not a copy
    for x, value in tensors:
        x.copy_(value)


def module_of(local):
    return ALGOS[local["run"].algo]


def test_update_is_d_steps_of_the_discriminator_and_one_of_the_generator(local):
    def steps(opt):
        return {int(state["step"]) for state in opt.state.values()}

    assert steps(local["g_opt"]) == {UPDATES}
    assert steps(local["d_opt"]) == {UPDATES * local["args"].d_steps}
    for opt, modules in [(local["g_opt"], [local["G"]]), (local["d_opt"], discriminators(local))]:
        learning = [p for module in modules for p in module.parameters()]
        assert [id(p) for p in opt.param_groups[0]["params"]] == [id(p) for p in learning]


def test_d_makes_its_steps_before_the_one_of_g(algo):
    """--d-steps of them; then G's step meets the D of the moment."""
    local, seen = inside(algo, width=8, batch_size=16, d_steps=3), []
    for name in ("d_opt", "g_opt"):
        local[name].register_step_pre_hook(lambda *_, name=name: seen.append(name))
    local["update"]()
    assert seen == ["d_opt"] * 3 + ["g_opt"]


@pytest.mark.parametrize("name", ["d2gan", "dual_d_selu"])
def test_each_of_two_discriminators_judges_both_batches(name, monkeypatch):
    """What d_step calls d1_real is D1's answer to the real samples, and so on."""
    local, batches, seen = inside(ALGOS[name], width=8, batch_size=16), [], []
    sample = local["data"].sample
    monkeypatch.setattr(local["data"], "sample", lambda n: batches.append(sample(n)) or batches[-1])
    for i in (1, 2):
        local[f"D{i}"].register_forward_hook(lambda _, inputs, answer, i=i: seen.append((i, inputs[0], answer)))
    numbers = local["d_step"]()
    assert len(batches) == 1 and len(seen) == 4
    for i, x, answer in seen:
        assert torch.equal(numbers[f"d{i}_real" if torch.equal(x, batches[0]) else f"d{i}_fake"], answer)


def test_discriminator_step_lowers_its_loss(local):
    """On the same real samples, noise and eps, the loss is lower after the step; G is not touched."""
    G, D = weights(local["G"]), [weights(D) for D in discriminators(local)]
    gradients = [p.grad.clone() for p in local["G"].parameters()]
    torch.manual_seed(7)
    before = local["d_step"]()
    torch.manual_seed(7)
    after = local["d_step"]()
    assert after["d_loss"].item() < before["d_loss"].item()
    assert torch.equal(weights(local["G"]), G)
    assert all(torch.equal(p.grad, old) for p, old in zip(local["G"].parameters(), gradients, strict=True))
    assert not any(torch.equal(weights(new), old) for new, old in zip(discriminators(local), D, strict=True))


def test_generator_step_raises_the_score_of_its_samples(local):
    """D scores G's samples higher after the step, on the same noise; D, its gradients included, is not touched.

    Higher is more real: for BEGAN a smaller error, for two discriminators the way that G's loss adds them up. Where G's
    loss is not one of D's scores, but of its features, it is lower on the same samples.
    """
    module, z = module_of(local), torch.randn(512, local["args"].z_dim)
    required = [p.name for p in inspect.signature(module.generator_loss).parameters.values() if p.default is p.empty]
    of_scores = all(re.match(r"d\d?_", name) for name in required)
    losses = []

    @torch.no_grad()
    def score():
        fake = local["G"](z)
        scores = [D(module.pack(fake, 2) if hasattr(module, "pack") else fake) for D in discriminators(local)]
        if len(scores) == 2:
            return -module.generator_loss(*scores).item()
        return (-1 if "k" in local else 1) * scores[0].mean().item()

    G, D = weights(local["G"]), [weights(D) for D in discriminators(local)]
    opt = copy.deepcopy(local["d_opt"].state_dict())
    gradients = [p.grad.clone() for D in discriminators(local) for p in D.parameters()]
    before = score()
    for _ in range(3):
        torch.manual_seed(7)
        losses.append(local["g_step"]()["g_loss"].item())
    assert losses[2] < losses[0] and (score() > before or not of_scores)
    assert all(torch.equal(weights(new), old) for new, old in zip(discriminators(local), D, strict=True))
    assert not torch.equal(weights(local["G"]), G)
    parameters = [p for D in discriminators(local) for p in D.parameters()]
    assert all(torch.equal(p.grad, old) for p, old in zip(parameters, gradients, strict=True))
    assert same(opt, local["d_opt"].state_dict())


def test_gradients_are_of_one_batch_alone(local):
    """Of the same batch twice, with weights that stand still, they are as large as of it once."""
    local["lr"].zero_()
    for step, optimisers in (("d_step", {"d_opt", "r_opt"}), ("g_step", {"g_opt"})):
        learning = [p for name in optimisers & local.keys() for p in local[name].param_groups[0]["params"]]
        norms = []
        for _ in range(2):
            torch.manual_seed(0)
            local[step]()
            norms.append(torch.nn.utils.get_total_norm([p.grad for p in learning]).item())
        assert norms[1] == pytest.approx(norms[0], rel=0.2)  # the norm of sngan.py moves


def test_every_noise_is_drawn_anew(local):
    """Between updates, and for G's step after D's: all that G is given, and all that is logged, differ."""
    given = []
    hook = local["G"].register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    first, second = local["update"](), local["update"]()
    hook.remove()
    assert len(given) >= 2 * (local["args"].d_steps + 1)
    assert len(torch.unique(torch.cat(given), dim=0)) == sum(map(len, given))
    assert torch.cat(given).mean().abs() < 0.2 and abs(torch.cat(given).std() - 1) < 0.2  # N(0, I)
    drawn = [name for name in first if name.endswith(("_real", "_fake"))]
    assert len(drawn) >= 2 and not any(torch.equal(first[name], second[name]) for name in drawn)


def test_learning_rate_is_the_tensor_of_both_optimisers(local):
    """Filling it changes the next update, as it must inside a captured graph: at zero nothing moves."""
    assert local["g_opt"].param_groups[0]["lr"] is local["d_opt"].param_groups[0]["lr"] is local["lr"]
    local["lr"].zero_()
    modules = [local["G"], *discriminators(local)]
    before = [weights(module) for module in modules]
    local["update"]()
    assert all(torch.equal(weights(module), old) for module, old in zip(modules, before, strict=True))


def test_update_never_waits_for_the_device(local, monkeypatch):
    """No number read by Python and no shape that depends on values: by dispatch, and on tensors without values."""
    seen = set()
    for opt in (local["g_opt"], local["d_opt"]):
        if isinstance(opt, torch.optim.RMSprop):  # the way it takes on a GPU
            module = sys.modules[torch.optim.RMSprop.__module__]
            monkeypatch.setattr(module, "_get_capturable_supported_devices", lambda: ["cpu"])
            opt.param_groups[0].update(foreach=True, capturable=True)

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.add(function._schema.name)
            return function(*args, **(kwargs or {}))

    with Count():
        local["update"]()
    assert seen & {"aten::_fused_adam_", "aten::_foreach_addcdiv_"}  # one kernel for all weights, or a few
    assert not seen & WAITS

    data = copy.copy(local["data"])
    with Count(), pytest.raises(AssertionError):  # the counter does see what it is to see
        data.sample(2).sum().item()
        assert not seen & WAITS
    with FakeTensorMode(allow_non_fake_inputs=True):
        local["update"]()


def test_measuring_does_not_disturb_training(local):
    """Samples and their measurement leave the random state, the weights and batch norm's statistics alone."""
    run, G = local["run"], local["G"]
    run.z = torch.randn(600, local["args"].z_dim)
    state, before = torch.get_rng_state(), copy.deepcopy(G.state_dict())
    fake = run._samples(G)
    numbers = evaluate(local["data"], fake)
    assert torch.equal(torch.get_rng_state(), state) and G.training and not fake.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(before.values(), G.state_dict().values(), strict=True))
    assert evaluate(local["data"], run._samples(G)) == numbers
