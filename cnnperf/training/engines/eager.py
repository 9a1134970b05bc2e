"""The `eager` engine: the recipe as a careful PyTorch user would write it.

It uses torchvision's transforms image by image, a DataLoader, float32, no compilation, and torch's
defaults for everything else. It is the reference for the speed-up of the `fast` engine.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch.utils.data import DataLoader

from cnnperf.training.clock import synchronize
from cnnperf.training.data import Split, build_loader, build_transform, choose_workers
from cnnperf.training.engines.base import Batch, Engine, SplitName

WARMUP_STEPS = 3
WARMUP_STEPS_CPU = 1
WARMUP_BATCH_CPU = 8
"""On a CPU, warm-up only loads kernels: a batch of 128 at 224 pixels would take minutes."""


class EagerEngine(Engine):
    """Plain PyTorch with a DataLoader; see the module's docstring."""

    def warm_up(self) -> None:
        """Take a few steps at the recipe's batch size; on a CPU, one small step."""
        on_cpu = self.device.type == "cpu"
        batch_size = min(self.recipe.batch_size, WARMUP_BATCH_CPU if on_cpu else 1 << 30)
        with self.on_a_copy():
            for _ in range(WARMUP_STEPS_CPU if on_cpu else WARMUP_STEPS):
                self.train_step(batch_size)
            synchronize(self.device)

    def load_data(self) -> None:
        """Read the data set and create the loaders."""
        self.splits = self.read_splits()
        chosen = self.case.workers
        self.workers = choose_workers(self.device.type) if chosen is None else chosen
        self.settings["dataloader_workers"] = self.workers
        self.train_loader = self.loader(self.splits.train, shuffle=True)
        self.val_loader = self.loader(self.splits.val, shuffle=False)

    def loader(self, split: Split, *, shuffle: bool) -> DataLoader[Batch]:
        """Create a loader of a split, with transforms image by image."""
        return build_loader(
            split,
            build_transform(self.dataset, resolution=self.case.resolution, channels=self.channels),
            batch_size=self.recipe.batch_size,
            shuffle=shuffle,
            drop_last=shuffle and self.recipe.drop_last,
            seed=self.seed,
            workers=self.workers,
            device_type=self.device.type,
        )

    def steps_per_epoch(self) -> int:
        """Return the number of batches of the loader, which a subclass may replace."""
        loader = getattr(self, "train_loader", None)
        return super().steps_per_epoch() if loader is None else len(loader)

    def train_batches(self) -> Iterator[Batch]:
        """Yield the DataLoader's batches; its workers start with the first request.

        Their start counts as waiting for data.
        """
        for batch in self.train_loader:
            yield self.to_device(batch)

    def evaluation_batches(self, split: SplitName) -> Iterator[Batch]:
        """Yield batches of the recipe's size."""
        is_test = split == "test"
        loader = self.loader(self.splits.test, shuffle=False) if is_test else self.val_loader
        return map(self.to_device, loader)

    def to_device(self, batch: Batch) -> Batch:
        """Copy a batch to the device, without waiting if its memory is pinned."""
        images_BCHW, labels_B = batch
        return (
            images_BCHW.to(self.device, non_blocking=True),
            labels_B.to(self.device, non_blocking=True),
        )
