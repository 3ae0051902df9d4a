"""The updates inside train(): who learns, in which direction, from what, and without waiting for the device."""

import copy

import pytest
import torch
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


def weights(module):
    return torch.cat([p.detach().flatten().clone() for p in module.parameters()])


def test_discriminator_step_lowers_its_loss(local):
    """On the same real points, noise and eps, the loss is lower after the step; G is not touched."""
    G, D = weights(local["G"]), weights(local["D"])
    torch.manual_seed(7)
    before = local["d_step"]()
    torch.manual_seed(7)
    after = local["d_step"]()
    assert after["d_loss"].item() < before["d_loss"].item()
    assert torch.equal(weights(local["G"]), G) and not torch.equal(weights(local["D"]), D)


def test_generator_step_raises_the_score_of_its_samples(local):
    """D scores G's samples higher after the step, on the same noise; D, its gradients included, is not touched."""

    @torch.no_grad()
    def score():
        return local["D"](local["G"](local["z_fixed"][:512])).mean().item()

    G, D = weights(local["G"]), weights(local["D"])
    gradients = [p.grad.clone() for p in local["D"].parameters()]
    before = score()
    for _ in range(3):
        local["g_step"]()
    assert score() > before
    assert torch.equal(weights(local["D"]), D) and not torch.equal(weights(local["G"]), G)
    for parameter, gradient in zip(local["D"].parameters(), gradients, strict=True):
        assert torch.equal(parameter.grad, gradient)


def test_update_is_d_steps_of_the_discriminator_and_one_of_the_generator(local):
    def steps(opt):
        return {int(state["step"]) for state in opt.state.values()}

    assert steps(local["g_opt"]) == {20}
    assert steps(local["d_opt"]) == {20 * local["args"].d_steps}
    for opt, name in [(local["g_opt"], "G"), (local["d_opt"], "D")]:
        assert {id(p) for p in opt.param_groups[0]["params"]} == {id(p) for p in local[name].parameters()}


def test_each_update_draws_anew(local):
    first, second = local["update"](), local["update"]()
    assert not torch.equal(first["d_real"], second["d_real"])
    assert not torch.equal(first["d_fake"], second["d_fake"])


def test_learning_rate_is_the_tensor_of_both_optimisers(local):
    """Filling it changes the next update, as it must inside a captured graph: at zero nothing moves."""
    assert local["g_opt"].param_groups[0]["lr"] is local["d_opt"].param_groups[0]["lr"] is local["lr"]
    local["lr"].zero_()
    G, D = weights(local["G"]), weights(local["D"])
    local["update"]()
    assert torch.equal(weights(local["G"]), G) and torch.equal(weights(local["D"]), D)


def test_update_never_waits_for_the_device(local):
    """No number read by Python and no shape that depends on values: by dispatch, and on tensors without values."""
    seen = set()

    class Count(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.add(function._schema.name)
            return function(*args, **(kwargs or {}))

    with Count():
        local["update"]()
    assert "aten::_fused_adam_" in seen and not seen & WAITS  # fused: one kernel for all weights

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
