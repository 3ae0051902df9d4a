"""Batches as most implementations draw them: from a DataLoader. scripts/speed.py measures what that costs."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

if __name__ == "__main__":
    raise SystemExit("this is a library; the command that measures its cost is: python scripts/speed.py ablation")

from common.args import RunError
from common.data import Images


class Loader:
    """Samples of `data` from a DataLoader in this process, shuffled: data for train(args, data=Loader(data)).

    Images are converted one by one by torchvision. Of points the 100,000 that are drawn first are the data set.
    """

    on_device = False

    def __init__(self, data):
        self.data, self.shape, self.batches = data, data.shape, {}
        self.rows, self.transform, self.device = rows_of(data)
        if hasattr(data, "modes"):
            self.modes, self.std = data.modes, data.std

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Tensor:
        return self.transform(self.rows[index])

    def sample(self, n: int) -> Tensor:
        """The next batch [n, *shape] of a pass through all samples, on the device of the data."""
        if n > len(self):  # else there would be no batch, and no end of passes
            raise RunError(f"a batch of {n} is larger than the {len(self)} samples of a DataLoader's pass")
        if n not in self.batches:
            loader = torch.utils.data.DataLoader(self, batch_size=n, shuffle=True, drop_last=True)
            self.batches[n] = itertools.chain.from_iterable(itertools.repeat(loader))
        return next(self.batches[n]).to(self.device)


def rows_of(data) -> tuple[Tensor, Callable[[Tensor], Tensor], torch.device]:
    """All samples on the CPU, what makes a sample of a row, and the device of the data."""
    if not isinstance(data, Images):
        points = data.sample(100_000)
        return points.cpu(), lambda row: row, points.device
    from torchvision.transforms import v2

    to_unit = [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])]
    return data.images.cpu(), v2.Compose(to_unit), data.device
