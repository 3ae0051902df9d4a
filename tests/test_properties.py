"""What holds for all inputs, tried on inputs that hypothesis makes: always the same ones, so that no run is by luck."""

import dataclasses
import math
import typing

import pytest
import torch
from conftest import ALGOS
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.args import RunError, check, parse
from common.data import Cloud, Images
from common.metrics import mode_statistics
from scripts.lib.loader import Loader

pack = ALGOS["pacgan"].pack


def tries(n):
    return settings(derandomize=True, max_examples=n, deadline=None, database=None)


# --- the command line and the settings

NUMBERS = {int: st.integers(1, 2**31), float: st.floats(1e-6, 1e6)}
NAMED = {  # what check() allows of each
    **dict.fromkeys(("beta1", "beta2"), st.floats(0, 0.999)),
    **dict.fromkeys(("a", "b", "c"), st.floats(-1e6, 1e6)),
    "lr": st.floats(1e-9, 1),
    "image_size": st.sampled_from([8, 16, 32, 64, 1024]),
    **dict.fromkeys(("out", "data_root"), st.text("aZ0 /._=ü猫'\"$*", min_size=1)),
}


def values(algo):
    """Some of the flags of a file, each with a value: {name: value}, in any order."""
    kinds, all_of = typing.get_type_hints(algo.Args), {}
    for name, kind in kinds.items():
        some = st.sampled_from(typing.get_args(kind) or [False, True])
        all_of[name] = NAMED.get(name, NUMBERS.get(kind, some))
        if name in algo.PRESETS["ring"]:  # also what another data set has
            all_of[name] |= st.sampled_from([row[name] for row in algo.PRESETS.values()])
    all_of["device"] = st.just("cuda:1")
    some = st.lists(st.sampled_from([*kinds]), unique=True, max_size=8)
    return some.flatmap(lambda names: st.fixed_dictionaries({name: all_of[name] for name in names}))


def words(flags, default, joined):
    """The flags as words of a command line; a switch is there only where it is not as by default."""
    for name, value in flags.items():
        flag = name.strip("_").replace("_", "-")
        if isinstance(value, bool):
            yield from [f"--no-{flag}" if not value else f"--{flag}"] if value != getattr(default, name) else []
        else:
            yield from [f"--{flag}={value}"] if joined else [f"--{flag}", str(value)]


@pytest.mark.parametrize("name", ALGOS)
@tries(3)
@given(data=st.data(), joined=st.booleans())
def test_the_command_line_gives_what_python_gives(name, data, joined):
    """Whatever is given stays, in any order; the rest is the data set's; and all of it can be run."""
    algo = ALGOS[name]
    flags = data.draw(values(algo))
    args = parse(algo.Args, words=[*words(flags, algo.Args(), joined)])
    assert args == algo.Args(**flags)
    row = algo.PRESETS.get(args.dataset.removeprefix("stacked_"), algo.PRESETS["images"])
    for field in dataclasses.fields(args):
        expected = flags.get(field.name, row.get(field.name, field.default))
        assert getattr(args, field.name) == expected and expected is not algo.PRESET
    check(args)


@tries(40)
@given(st.integers(0, 5), st.integers(1, 5), st.integers(1, 3), st.sampled_from([(2,), (1, 4, 4), (3, 2, 5)]))
def test_a_pack_is_whole_samples_in_their_order(packs, m, n, shape):
    """So nothing is lost or used twice; packs of packs are larger packs; the layout in memory does not matter."""
    x = torch.randn(packs * m * n, *shape)
    packed = pack(x, m)
    assert packed.shape == (packs * n, m * shape[0], *shape[1:])
    for i in range(packs * n):
        assert torch.equal(packed[i], torch.cat([*x[i * m : i * m + m]]))
    assert torch.equal(pack(packed, n), pack(x, m * n))
    if len(shape) == 3:  # as G makes them on a GPU
        assert torch.equal(pack(x.to(memory_format=torch.channels_last), m), packed)
    if m > 1:
        with pytest.raises(ValueError, match=f"{len(x) + 1} samples cannot be packed by {m}"):
            pack(torch.randn(len(x) + 1, *shape), m)


COUNTS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=9)


@tries(60)
@given(COUNTS.filter(lambda counts: sum(map(sum, counts))), st.floats(0.01, 10), st.integers(0, 2**31))
@example([(5, 0), (0, 0), (0, 0)], 1.0, 0)  # collapse to one mode
@example([(0, 3), (0, 1)], 1.0, 0)  # nothing is sharp
@example([(1, 0), (9, 0), (10, 0), (20, 0)], 1.0, 0)  # a tenth of the fair share, just
def test_modes_are_counted_as_by_hand(counts, std, seed):
    """counts: of each mode the samples 2.9 std from it, and those at 3.1, in any direction, order and unit."""
    k, total, generator = len(counts), sum(map(sum, counts)), torch.Generator().manual_seed(seed)
    modes = std * torch.stack([20 * torch.arange(k), torch.arange(k) % 2], 1)
    centre = modes.repeat_interleave(torch.tensor([sum(c) for c in counts]), 0)
    radius = std * torch.tensor([r for c in counts for r in [2.9] * c[0] + [3.1] * c[1]])
    angle = 2 * math.pi * torch.rand(total, generator=generator)
    points = centre + radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    found = mode_statistics(points[torch.randperm(total, generator=generator)], modes, std)
    share, sharp = [sum(c) / total for c in counts], [c[0] for c in counts]
    assert found["coverage"] == sum(10 * k * sum(c) >= total for c in counts)
    assert found["modes"] == sum(s > 0 for s in sharp) <= k
    assert found["high_quality"] == pytest.approx(sum(sharp) / total)

    def kl(p, q):
        return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a)

    middle = [(s + 1 / k) / 2 for s in share]
    assert found["js"] == pytest.approx((kl(share, middle) + kl([1 / k] * k, middle)) / 2, abs=1e-9)
    if any(sharp):
        assert found["reverse_kl"] == pytest.approx(kl([s / sum(sharp) for s in sharp], [1 / k] * k), abs=1e-9)
    else:
        assert found["reverse_kl"] is None


@tries(15)
@given(st.integers(1, 25), st.integers(1, 30), st.booleans())
def test_a_loader_draws_each_sample_at_most_once_in_a_pass(rows, n, images):
    """As the data are, in another order in each pass; a batch that is larger than the data is refused."""
    if images:
        data = Images(torch.randint(256, (rows, 3, 16, 16), dtype=torch.uint8), torch.device("cpu"))
        loader, every = Loader(data), data.images / 127.5 - 1
    else:
        data = Cloud(torch.arange(2.0 * rows).view(rows, 2))
        loader, every = Loader(data), data.points
        loader.rows = every  # instead of 100,000 of them
    if n > rows:
        with pytest.raises(RunError, match=f"a batch of {n} is larger than the {rows} samples"):
            loader.sample(n)
        return
    passes = [torch.cat([loader.sample(n) for _ in range(rows // n)]) for _ in range(3)]
    for drawn in passes:
        assert drawn.dtype == torch.float32 and drawn.shape == (rows // n * n, *data.shape)
        distance = torch.cdist(drawn.flatten(1), every.flatten(1))
        assert distance.min(1).values.max() < 1e-4 and len({*distance.argmin(1).tolist()}) == len(drawn)
    if rows > 9 and n > 4:
        assert not (torch.equal(passes[0], passes[1]) and torch.equal(passes[1], passes[2]))
