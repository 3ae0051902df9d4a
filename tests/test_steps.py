"""The updates inside train(): who learns, in which direction, from what, and without waiting for the device."""

import copy
import sys

import pytest
import torch
from conftest import discriminators, weights
from test_resume import same
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

WAITS = {"aten::_local_scalar_dense", "aten::item", "aten::nonzero", "aten::is_nonzero", "aten::equal"}


@pytest.fixture(params=["points", "images"])
def local(request, algo, inside, tiny_images):
    """The local variables of train() at a small learning rate, after some updates."""
    args = tiny_images if request.param == "images" else {"width": 32}
    local = inside(algo, lr=1e-4, seed=3, **args)
    torch.manual_seed(0)
    for _ in range(20):
        local["update"]()
    return local


def test_discriminator_step_lowers_its_loss(local):
    """On the same real points, noise and eps, the loss is lower after the step; G is not touched."""
    G, D = weights(local["G"]), [weights(D) for D in discriminators(local)]
    torch.manual_seed(7)
    before = local["d_step"]()
    torch.manual_seed(7)
    after = local["d_step"]()
    assert after["d_loss"].item() < before["d_loss"].item()
    assert torch.equal(weights(local["G"]), G)
    assert not any(torch.equal(weights(new), old) for new, old in zip(discriminators(local), D, strict=True))


def test_generator_step_raises_the_score_of_its_samples(algo, local):
    """D scores G's samples higher after the step, on the same noise; D, its gradients included, is not touched.

    Higher is more real: for BEGAN a smaller error, for two discriminators the way that G's loss adds them up.
    """

    @torch.no_grad()
    def score():
        fake = local["G"](local["z_fixed"][:512])
        scores = [D(algo.pack(fake, 2) if hasattr(algo, "pack") else fake) for D in discriminators(local)]
        if len(scores) == 2:
            return -algo.generator_loss(*scores).item()
        return (-1 if "k" in local else 1) * scores[0].mean().item()

    G, D = weights(local["G"]), [weights(D) for D in discriminators(local)]
    opt = copy.deepcopy(local["d_opt"].state_dict())
    gradients = [p.grad.clone() for D in discriminators(local) for p in D.parameters()]
    before = score()
    for _ in range(3):
        local["g_step"]()
    assert score() > before
    assert all(torch.equal(weights(new), old) for new, old in zip(discriminators(local), D, strict=True))
    assert not torch.equal(weights(local["G"]), G)
    parameters = [p for D in discriminators(local) for p in D.parameters()]
    assert all(torch.equal(p.grad, old) for p, old in zip(parameters, gradients, strict=True))
    assert same(opt, local["d_opt"].state_dict())


def test_update_is_d_steps_of_the_discriminator_and_one_of_the_generator(local):
    def steps(opt):
        return {int(state["step"]) for state in opt.state.values()}

    assert steps(local["g_opt"]) == {20}
    assert steps(local["d_opt"]) == {20 * local["args"].d_steps}
    for opt, modules in [(local["g_opt"], [local["G"]]), (local["d_opt"], discriminators(local))]:
        learning = [p for module in modules for p in module.parameters()]
        assert [id(p) for p in opt.param_groups[0]["params"]] == [id(p) for p in learning]


def test_each_update_draws_anew(local):
    first, second = local["update"](), local["update"]()
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
    """generate() and evaluate() leave the random state, the weights and batch norm's statistics alone."""
    from common.metrics import evaluate

    state, before = torch.get_rng_state(), copy.deepcopy(local["G"].state_dict())
    fake = local["generate"]()
    numbers = evaluate(local["data"], fake)
    assert torch.equal(torch.get_rng_state(), state) and local["G"].training and not fake.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(before.values(), local["G"].state_dict().values(), strict=True))
    assert evaluate(local["data"], local["generate"]()) == numbers
