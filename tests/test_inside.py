"""The way into a run: the same updates as the file's own, bit for bit."""

import pytest
from conftest import same

from scripts.lib.inside import inside, updates
from scripts.lib.trained import Trained


@pytest.mark.parametrize("decay", [True, False])
def test_updates_are_those_of_the_run(algo, decay, tmp_path):
    args = {"steps": 3, "width": 8, "batch_size": 32, "lr_decay": decay, "seed": 5}
    result = algo.train(algo.Args(**args, device="cpu", out=str(tmp_path), quiet=True))
    local = inside(algo, **args)
    before = {name: p.clone() for name, p in local["G"].state_dict().items()}
    assert [*updates(local)] == [1, 2, 3]
    assert not same(before, dict(local["G"].state_dict()))
    run = Trained(result["folder"], "cpu")
    assert same(dict(run.G.state_dict()), dict(local["G"].state_dict()))
    assert local["run"].z.shape == (2500, 2)
