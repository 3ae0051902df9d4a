"""The auto-encoder's error, and the balance that k keeps."""

import pytest
import torch
from conftest import ALGOS
from torch import nn

from scripts.lib.inside import inside

began = ALGOS["began"]


@pytest.mark.parametrize("shape", [(2,), (3, 16, 16)])
def test_error_is_the_mean_over_each_samples_numbers(shape):
    """A mean: with a sum over 3072 pixels, lambda_k = 0.001 would act like 3."""
    D = began.Discriminator(shape, 8)
    for parameter in D.parameters():
        nn.init.zeros_(parameter)
    x = torch.randn(4, *shape)
    torch.testing.assert_close(D(x), x.abs().flatten(1).mean(dim=1))
    D.net = nn.Identity()
    assert D(x).tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("shape", [(2,), (1, 16, 16)])
def test_gradient_goes_through_both_sides_of_the_error(shape):
    """|x - AE(x)| changes with x and with AE(x): finite differences know no detach."""
    torch.manual_seed(0)
    D = began.Discriminator(shape, 4).double()
    for parameter in D.parameters():
        parameter.data *= 2  # a livelier AE
    x = torch.randn(2, *shape, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(D, x, fast_mode=True)
    (slope,) = torch.autograd.grad(D(x).sum(), x)
    (outer,) = torch.autograd.grad((x - D.net(x).detach()).abs().flatten(1).mean(dim=1).sum(), x)
    assert (slope - outer).norm() > 0.05 * slope.norm()  # so that leaving one out would show


def test_balance_and_measure_of_convergence():
    """Section 3.4: k moves by gamma L(x) - L(G(z)), M = L(x) + |gamma L(x) - L(G(z))|."""
    real, fake = torch.tensor([0.4, 0.6]), torch.tensor([0.1, 0.3], requires_grad=True)
    direction, M = began.balance(real, fake, 0.7)
    assert direction.item() == pytest.approx(0.15) and M.item() == pytest.approx(0.65)
    assert not direction.requires_grad and not M.requires_grad
    assert began.balance(real, fake, 0.1)[0].item() == pytest.approx(-0.15)


def test_k_goes_where_the_errors_have_the_ratio_gamma():
    """Where D lets L(G) grow with k, as 0.2 + 0.6 k at L(x) = 1, the fixed point for gamma 0.5 is k = 0.5."""
    k = torch.tensor(0.0)
    for _ in range(2000):
        k.add_(0.02 * began.balance(torch.ones(1), 0.2 + 0.6 * k.view(1), 0.5)[0]).clamp_(0, 1)
    assert k.item() == pytest.approx(0.5, abs=1e-4)


def test_k_is_updated_from_the_same_batch_and_stays_in_0_1():
    local = inside(began, width=16, lambda_k=0.3, gamma=0.7)
    k, seen = local["k"], []
    for _ in range(30):
        before = k.clone()
        numbers = local["update"]()
        moved = before + 0.3 * (0.7 * numbers["d_real"].mean() - numbers["d_fake"].mean())
        torch.testing.assert_close(k, moved.detach().clamp(0, 1))
        torch.testing.assert_close(numbers["g_loss"], numbers["d_fake"].mean())
        seen.append(k.item())
    assert max(seen) > 0.05

    for gamma, bound in [(0.0, 0.0), (100.0, 1.0)]:
        local = inside(began, width=16, lambda_k=10.0, gamma=gamma)
        for _ in range(5):
            local["update"]()
        assert local["k"].item() == bound


def test_losses_are_mean_errors_and_d_weighs_those_of_the_generated_samples_by_k():
    real, fake = torch.tensor([0.4, 0.6]), torch.tensor([0.1, 0.3])
    assert began.discriminator_loss(real, fake, torch.tensor(0.5)).item() == pytest.approx(0.4)
    assert began.generator_loss(fake).item() == pytest.approx(0.2)


def test_d_step_weighs_by_the_k_of_the_moment():
    local = inside(began, width=8)
    for k in (0.0, 0.3):
        local["k"].fill_(k)
        numbers = local["d_step"]()
        expected = numbers["d_real"].mean() - k * numbers["d_fake"].mean()
        torch.testing.assert_close(numbers["d_loss"], expected)


@pytest.mark.parametrize("shape", [(2,), (1, 32, 32)])
def test_decoder_is_the_generators_network(shape):
    decoder = began.Discriminator(shape, 8, 5).net[-1]
    assert str(decoder) == str(began.Generator(5, shape, 8))
    assert not any(isinstance(m, nn.BatchNorm2d | nn.BatchNorm1d) for m in decoder.modules())


def test_a_decoder_that_answers_black_can_still_learn():
    torch.manual_seed(0)
    D = began.Discriminator((1, 8, 8), 8, 5)
    last = D.net[-1].net[-1]
    nn.init.constant_(last.bias, -6.0)  # every pixel far below black, -1, where a tanh would be flat
    x = torch.full((4, 1, 8, 8), -1.0)
    x[:, :, 2:5, 2:5] = 1
    D(x).mean().backward()
    assert last.bias.grad.item() == pytest.approx(-1)  # all pixels ask for more, each with the weight 1 / 64
