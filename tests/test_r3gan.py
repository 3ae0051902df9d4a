"""R3GAN: pairs, not means; R1 and R2; each of the three can be left out; what its loss descends."""

import inspect
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from conftest import weights

from algos import nsgan, r1, r3gan
from scripts.lib.exact import random_pair
from scripts.lib.stage import kl

DOUBLE = {"dtype": torch.float64}
SWITCHES = list(itertools.product([False, True], repeat=3))  # pairing, r1, r2


def expectation(loss, d, p, q):
    """E loss(d(x), d(y)) of x ~ p and y ~ q, independent: the mean that a loss takes over a batch of pairs."""
    n = len(p)
    return sum(p[x] * q[y] * loss(d[x : x + 1], d[y : y + 1]) for x in range(n) for y in range(n))


# the loss


def test_losses_by_hand():
    d_real, d_fake = torch.tensor([0.0, 2.0]), torch.tensor([1.0, -1.0])
    d_loss = (math.log(1 + math.e) + math.log(1 + math.exp(-3))) / 2  # the pairs (0, 1) and (2, -1)
    g_loss = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(3))) / 2
    assert r3gan.discriminator_loss(d_real, d_fake).item() == pytest.approx(d_loss)
    assert r3gan.generator_loss(d_real, d_fake).item() == pytest.approx(g_loss)


def test_each_real_sample_meets_one_generated_sample():
    """Other pairs are another loss; with the relativistic average (RaGAN) only the batch's mean would count."""
    d_real, d_fake = torch.tensor([0.0, 2.0]), torch.tensor([1.0, -1.0])
    for loss in (r3gan.discriminator_loss, r3gan.generator_loss):
        assert not torch.isclose(loss(d_real, d_fake), loss(d_real, d_fake.flip(0)))
        each = [loss(d_real[i : i + 1], d_fake[i : i + 1]) for i in range(2)]
        torch.testing.assert_close(loss(d_real, d_fake), torch.stack(each).mean())


def test_only_the_difference_counts():
    """The paired loss does not change if D says c more of every sample, and D's last bias learns nothing from it."""
    d_real, d_fake = torch.randn(2, 8, generator=torch.Generator().manual_seed(0), **DOUBLE).requires_grad_()
    for loss in (r3gan.discriminator_loss, r3gan.generator_loss):
        torch.testing.assert_close(loss(d_real + 7, d_fake + 7), loss(d_real, d_fake))
        slopes = torch.autograd.grad(loss(d_real, d_fake), (d_real, d_fake))
        torch.testing.assert_close(*(slope.abs() for slope in slopes))
        assert not torch.isclose(loss(d_real + 7, d_fake + 7, False), loss(d_real, d_fake, False))


def test_without_pairing_the_losses_are_nsgan_s():
    d_real, d_fake = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(r3gan.discriminator_loss(d_real, d_fake, False), nsgan.discriminator_loss(d_real, d_fake))
    assert torch.equal(r3gan.generator_loss(d_real, d_fake, False), nsgan.generator_loss(d_fake))


def test_the_best_d_is_the_log_density_ratio():
    """D tells the pair (real, fake) from (fake, real): its loss is at best log 2 - JS between p q and q p."""
    for seed in range(10):
        p, theta = random_pair(seed)
        q = torch.softmax(theta.detach(), 0)
        d = ((p / q).log() + seed).requires_grad_()  # plus any constant
        value = expectation(r3gan.discriminator_loss, d, p, q)
        assert torch.autograd.grad(value, d)[0].abs().max() < 1e-12
        pq = torch.outer(p, q)
        torch.testing.assert_close(value.detach(), math.log(2) - kl(pq, (pq + pq.T) / 2))  # by symmetry this is JS


def test_pairing_charges_for_few_wrong_samples_what_nsgan_does():
    """Per mass e that G misses or makes too much of: the pairs' divergence over nsgan.py's tends to 1."""
    for e in (1e-3, 1e-5):
        whole, few = torch.tensor([1 - e * e, e * e], **DOUBLE), torch.tensor([1 - e, e], **DOUBLE)
        for p, q in [(few, whole), (whole, few)]:  # a mode is missing; samples where there are hardly any data
            pq, m = torch.outer(p, q), (p + q) / 2
            pairs, single = kl(q, p) - kl(pq, (pq + pq.T) / 2), kl(q, p) - kl(p, m) - kl(q, m)
            assert (pairs / single).item() == pytest.approx(1, abs=5 * e)


# the penalties


def test_the_penalty_is_r1_s():
    """tests/test_r1.py is about both copies."""
    assert inspect.getsource(r3gan.gradient_penalty) == inspect.getsource(r1.gradient_penalty)


@pytest.mark.parametrize("pairing, one, two", SWITCHES)
def test_eigenvalues_of_dirac_gan(pairing, one, two):
    """-c +- sqrt(c^2 - 1/4) with c = gamma / 2 for each penalty that is on: both together are as fast at half of gamma.

    All data are at 0, G's samples at theta, and D(x) = psi x (Mescheder et al. 2018): pairing changes nothing there.
    """
    for gamma in (0.2, 0.8, 3.0):

        def field(point, gamma=gamma):
            theta, psi = point.requires_grad_()
            real, fake = torch.zeros(4, 1, **DOUBLE), theta.expand(4, 1)
            x, y = real.clone().requires_grad_(), fake.detach().requires_grad_()
            d_real, d_fake = psi * x[:, 0], psi * y[:, 0]
            gp = one * r3gan.gradient_penalty(x, d_real) + two * r3gan.gradient_penalty(y, d_fake)
            d_loss = r3gan.discriminator_loss(d_real, d_fake, pairing) + gamma / 2 * gp
            (d_slope,) = torch.autograd.grad(d_loss, psi, create_graph=True)
            g_loss = r3gan.generator_loss(psi * real[:, 0], psi * fake[:, 0], pairing)
            (g_slope,) = torch.autograd.grad(g_loss, theta, create_graph=True)
            return -torch.stack([g_slope, d_slope])

        steps = 1e-5 * torch.eye(2, **DOUBLE)  # by differences: the penalty at fake is a constant to theta
        found = torch.linalg.eigvals(torch.stack([(field(s) - field(-s)).detach() / 2e-5 for s in steps], 1))
        c = gamma / 2 * (one + two)
        root = torch.sqrt(torch.tensor(c**2 - 1 / 4, dtype=torch.complex128))
        expected = torch.stack([-c - root, -c + root])
        order = [sorted(e.tolist(), key=lambda z: (round(z.real, 6), z.imag)) for e in (found, expected)]
        torch.testing.assert_close(*(torch.tensor(e) for e in order), atol=1e-8, rtol=1e-8)
        assert (found.real < -1e-6).all() == (one or two)


@pytest.mark.parametrize("pairing, one, two", SWITCHES)
def test_loss_of_d_is_the_sum_of_what_is_on(inside, monkeypatch, pairing, one, two):
    """R1 at the data, R2 at G's samples: gamma / 2 times each, and only D learns."""
    local, seen, penalty = inside(r3gan, gamma=3.0, seed=3, pairing=pairing, r1=one, r2=two), [], r3gan.gradient_penalty
    monkeypatch.setattr(r3gan, "gradient_penalty", lambda x, d: seen.append(x) or penalty(x, d))
    with torch.no_grad():
        local["G"].net[-1].bias.fill_(100)  # its samples are far from the data
    numbers = local["d_step"]()
    near = [torch.cdist(x.detach(), local["data"].modes).min().item() < 1 for x in seen]
    assert near == [True] * one + [False] * two
    d_loss = r3gan.discriminator_loss(numbers["d_real"], numbers["d_fake"], pairing)
    for name, on in (("r1", one), ("r2", two)):
        assert (name in numbers) == on
        d_loss = d_loss + 1.5 * numbers.get(name, 0)
    torch.testing.assert_close(numbers["d_loss"], d_loss)
    assert all(x.grad is None for x in seen) and all(p.grad is None for p in local["G"].parameters())


def test_without_pairing_and_r2_d_learns_as_in_r1(inside):
    common = {"seed": 3, "lr": 1e-3, "beta1": 0.5, "beta2": 0.999, "batch_size": 32, "width": 16, "gamma": 2.0}
    ours, theirs = inside(r3gan, pairing=False, r2=False, **common), inside(r1, **common)
    for local in (ours, theirs):
        torch.manual_seed(0)
        local["d_step"]()
    assert torch.equal(weights(ours["D"]), weights(theirs["D"]))


# the generator


def test_the_generator_meets_real_samples_of_its_own(inside, monkeypatch):
    local, drawn = inside(r3gan, seed=3), []
    sample = local["data"].sample
    monkeypatch.setattr(local["data"], "sample", lambda n: drawn.append(sample(n)) or drawn[-1])
    local["update"]()
    assert [len(x) for x in drawn] == [local["args"].batch_size] * 2 and not torch.equal(*drawn)


def test_the_generator_s_gradient_is_that_of_its_pairs(inside, monkeypatch):
    """Weighted by s(D(x) - D(G(z))): a sample that D takes for more real than its partner teaches G less."""
    local, outputs = inside(r3gan, seed=3), []
    loss = r3gan.generator_loss

    def kept(*words):
        outputs.extend(words[:2])
        words[1].retain_grad()
        return loss(*words)

    monkeypatch.setattr(r3gan, "generator_loss", kept)
    before = [p.grad for p in local["D"].parameters()]
    local["g_step"]()
    d_real, d_fake = outputs
    assert not d_real.requires_grad and [p.grad for p in local["D"].parameters()] == before
    (slope,) = torch.autograd.grad(loss(d_real, leaf := d_fake.detach().requires_grad_()), leaf)
    torch.testing.assert_close(slope, -torch.sigmoid(d_real - d_fake.detach()) / len(d_fake))
    torch.testing.assert_close(F.softplus(d_real - d_fake.detach()).mean(), loss(d_real, d_fake.detach()))
