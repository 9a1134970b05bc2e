"""The `eager` engine: the recipe as a careful user of PyTorch would write it.

Torch half. torchvision's transforms image by image, a DataLoader, float32, no compiling, and
torch's own defaults for everything else. What the `fast` engine gains is measured against this.
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
"""A CPU needs its kernels loaded, not its clocks raised; a 224-pixel batch of 128 takes minutes."""


class EagerEngine(Engine):
    """Plain PyTorch; see the module's text."""

    def warm_up(self) -> None:
        """A few steps of the recipe's batch; on a CPU one small one."""
        on_cpu = self.device.type == "cpu"
        batch_size = min(self.recipe.batch_size, WARMUP_BATCH_CPU if on_cpu else 1 << 30)
        with self.on_a_copy():
            for _ in range(WARMUP_STEPS_CPU if on_cpu else WARMUP_STEPS):
                self.train_step(batch_size)
            synchronize(self.device)

    def load_data(self) -> None:
        """Read the data set and set up the loaders."""
        self.splits = self.read_splits()
        self.workers = choose_workers(self.device.type)
        self.settings["dataloader_workers"] = self.workers
        self.train_loader = self.loader(self.splits.train, shuffle=True)
        self.val_loader = self.loader(self.splits.val, shuffle=False)

    def loader(self, split: Split, *, shuffle: bool) -> DataLoader[Batch]:
        """Batches of a split, transformed image by image."""
        return build_loader(
            split,
            build_transform(self.dataset, resolution=self.case.resolution, channels=self.channels),
            batch_size=self.recipe.batch_size,
            shuffle=shuffle,
            seed=self.seed,
            workers=self.workers,
            device_type=self.device.type,
        )

    def steps_per_epoch(self) -> int:
        """Batches of the training split, the last of which may be short."""
        return len(self.train_loader)

    def train_batches(self) -> Iterator[Batch]:
        """As the DataLoader hands them out; its workers start when the first is asked for.

        That is time spent waiting for data, which counts from there on.
        """
        for batch in self.train_loader:
            yield self.to_device(batch)

    def evaluation_batches(self, split: SplitName) -> Iterator[Batch]:
        """In the recipe's batches."""
        loader = (
            self.val_loader
            if split == "validation"
            else self.loader(self.splits.test, shuffle=False)
        )
        return map(self.to_device, loader)

    def to_device(self, batch: Batch) -> Batch:
        """Copy a batch there, without waiting where its memory is pinned."""
        images_BCHW, labels_B = batch
        return (
            images_BCHW.to(self.device, non_blocking=True),
            labels_B.to(self.device, non_blocking=True),
        )
