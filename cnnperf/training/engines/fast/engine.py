"""The `fast` engine: the same training, as close to the hardware's limit as possible.

Data, split, batch size, optimizer and metrics are those of `eager`. The execution differs:

- the data set is on the device as bytes, resized once, and a batch is a gather;
- convolutions and matrix products use bfloat16 if a short trial shows that it is faster;
- tensors are channels last, and Adam is one fused kernel;
- a grey image for a three-channel model is convolved once (`fold_grey_input`);
- forward pass and loss are compiled, and on CUDA whole steps are captured as graphs;
- evaluation uses large batches, and nothing waits for the device within an epoch.

Shapes: B images of a batch, K steps of a graph, S steps of an epoch, N images of a split, M images
of a chunk, C channels, H W pixels.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from cnnperf.catalog.switches import is_on
from cnnperf.errors import UsageError
from cnnperf.training.clock import synchronize
from cnnperf.training.engines.base import (
    SMALL_RESOLUTION,
    Batch,
    Block,
    SplitName,
    channels_last,
)
from cnnperf.training.engines.fast import fallbacks
from cnnperf.training.engines.fast.compilation import (
    cache_state,
    compile_forward_loss,
    compile_once,
)
from cnnperf.training.engines.fast.device_data import DeviceData
from cnnperf.training.engines.fast.graphs import (
    DDP_WARMUP_STEPS,
    WARMUP_STEPS,
    GraphedPrediction,
    GraphedSteps,
    RowsStep,
    Snapshot,
    capture_prediction,
    capture_steps,
    new_pool,
    reset_optimizer,
)
from cnnperf.training.engines.fast.lean_convolutions import fold_grey_input
from cnnperf.training.engines.fast.trials import ChoosingEngine
from cnnperf.training.engines.fast.working_copies import (
    attach_copies,
    copies_of,
    detach_copies,
    refresh_copies,
    writing_copies,
)
from cnnperf.training.recipe import build_optimizer

GRAPH_STEPS = 25
"""Steps of one graph for small images: 15 replays make an epoch of 375 steps."""


class FastEngine(ChoosingEngine):
    """The mathematics of `eager` at the device's speed; see the module's docstring."""

    # --- before the clock starts ------------------------------------------------------------

    def place(self, model: nn.Module) -> nn.Module:
        """Move to the device, channels last; take one channel if all three would be equal."""
        if self.channels == 3 and self.dataset.channels == 1:
            fold_grey_input(model)
            self.fed_channels = 1
        self.look_at(model)
        self.settings["channels_last"] = True
        return model.to(self.device).to(memory_format=torch.channels_last)

    def build_optimizer(self, model: nn.Module) -> torch.optim.Optimizer:
        """Create the optimizer, fused where possible; on CUDA, one that graphs can hold."""
        on_cuda = self.device.type == "cuda"
        rate = None
        if on_cuda and self.recipe.schedule is not None:
            rate = torch.tensor(self.recipe.learning_rate, device=self.device)
        made = build_optimizer(
            self.recipe,
            model.parameters(),
            learning_rate=rate,
            fused=self.device.type in ("cpu", "cuda", "xpu"),
            capturable=on_cuda,
        )
        copies = copies_of(model)
        return writing_copies(made, copies, compiled=True) if copies else made

    def warm_up(self) -> None:
        """Choose the execution by trials on copies, compile, capture, then restore the model."""
        self._compiled = None
        self._graphs: list[GraphedSteps] = []
        self._predictions: dict[torch.Size, GraphedPrediction] = {}
        if self.device.type == "cuda":
            # All batches but the last have one shape. A trial may choose other kernels each time.
            torch.backends.cudnn.benchmark = not torch.are_deterministic_algorithms_enabled()
            if is_on("limit"):
                torch.backends.cudnn.benchmark_limit = 0  # try all algorithms
        step_seconds = self._choose_precision()
        self.data = DeviceData(
            self.dataset,
            resolution=self.case.resolution,
            channels=self.fed_channels,
            batch_size=self.recipe.batch_size,
            device=self.device,
            seed=self.seed,
            ranks=self.ranks,
            ready_dtype=self._ready_dtype(),
        )
        self.flags.extend(self.data.flags)
        start = time.perf_counter()
        if self._is_to_be_compiled(step_seconds):
            if self.copies_weights(self.device):
                attach_copies(self.model, self.layers_to_copy, torch.bfloat16)
                self.optimizer = self.build_optimizer(self.model)
            with self._undone():
                self._compile()
            self.optimizer = self.build_optimizer(self.model)
        if self._can_capture():
            with self._undone() as copied_bytes:
                self._capture()
            self.captured_peak_bytes = max(0, self.captured_peak_bytes - copied_bytes)
            reset_optimizer(self.optimizer)
        if self._compiled is not None or self._graphs:
            self.compile_seconds = time.perf_counter() - start
        if self.device.type == "cuda":
            with self._undone():
                self._prepare_evaluation()
                self._rehearse()
            if self._graphs:
                reset_optimizer(self.optimizer)
            else:
                self.optimizer = self.build_optimizer(self.model)

    @contextmanager
    def _undone(self) -> Iterator[int]:
        """Restore the model's memory after training on noise; yield the bytes of the copy."""
        self.data.fill_with_noise()
        snapshot = Snapshot(self.model)
        yield snapshot.bytes
        snapshot.restore()
        refresh_copies(self.model)
        self.optimizer.zero_grad(set_to_none=True)

    def _prepare_evaluation(self) -> None:
        """Compile and capture the evaluation of whole batches; let cuDNN choose all its kernels."""
        self.model.eval()
        plain = predict = super().predict
        if self._compiled is not None and is_on("evaluation"):
            compiled = compile_once(self.model.forward, self.compile_options(self.device))

            def predict(images_BCHW: torch.Tensor) -> torch.Tensor:
                with self.autocast():
                    logits_BK: torch.Tensor = compiled(images_BCHW)
                return logits_BK

        with torch.inference_mode():
            for images_BCHW, _ in self.data.noise_for_evaluation():
                plain(images_BCHW)
                if not self._graphs or not is_on("evaluation"):
                    continue
                try:
                    graph = capture_prediction(predict, images_BCHW, self._pool)
                except Exception as error:
                    self.flags.append(fallbacks.fell_back("evaluation_not_captured", error))
                    break
                self._predictions[images_BCHW.shape] = graph
        synchronize(self.device)

    def predict(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the logits (B, K) of a batch of evaluation, by its graph if there is one."""
        graph = self._predictions.get(images_BCHW.shape)
        return super().predict(images_BCHW) if graph is None else graph.replay(images_BCHW)

    def _rehearse(self) -> None:
        """Do what would happen on the clock for the first time: upload graphs, allocate memory."""
        self.data.rehearse()
        rows_M = next(self.data.shuffled_chunks())
        shapes = [(each.steps, each.batch_size) for each in self._graphs]
        self.model.train()
        losses = torch.zeros(GRAPH_STEPS, device=self.device)
        for steps, size in shapes or [(1, self.own_batch_size)]:
            rows_KB = rows_M[: steps * size].view(steps, size)
            losses[:steps] = self._train_rows(rows_KB)
        losses.tolist()
        if self.data.train.is_whole:
            self.evaluate("validation")
        self.data.restart()

    def noise(self, size: int) -> Batch:
        """Return a batch of noise, channels last."""
        return channels_last(super().noise(size))

    def step_alone(self) -> Callable[[], object]:
        """Return a step of this rank without the others, as one graph if training has graphs."""
        if not self._graphs:
            return super().step_alone()
        batch = self.noise(self.own_batch_size)
        self.model.train()
        graph = self._graph_of(lambda _: self.step(batch), steps=1, batch_size=self.own_batch_size)
        rows_1B = torch.arange(self.own_batch_size, device=self.device).view(1, -1)
        return lambda: (graph.replay(rows_1B), batch)  # keeps the memory that the graph reads

    # --- compiling and capturing ------------------------------------------------------------

    def _compile(self) -> None:
        """Compile for this rank's batch size; on failure, continue without, with a warning.

        Raises:
            UsageError: compilation fails with --cnnperf-compile=on.
        """
        model = self.model if self.shared_model is None else self.shared_model
        options = self.compile_options(self.device)
        self._compiled = compile_forward_loss(model, self.loss_function, options)
        self._compiled_batch_size = self.own_batch_size
        self.model.train()
        try:
            # Use a gathered batch as in training: other strides would compile again.
            rows_B = torch.arange(self._compiled_batch_size, device=self.device)
            self._step_on_rows(rows_B % self.data.train.chunk_images)
            synchronize(self.device)
            self.settings |= {"compile_mode": "default", "compile_cache": cache_state()}
        except Exception as error:
            self._compiled = None
            detach_copies(self.model)
            if self.case.compile == "on":
                raise UsageError(
                    f"{self.case.id} cannot be compiled ({fallbacks.first_line(error)}): install "
                    "a C++ compiler, exclude the case with -k, or use --cnnperf-compile=auto"
                ) from error
            self.flags.append(fallbacks.fell_back("not_compiled", error))

    def _can_capture(self) -> bool:
        """Return whether to capture: only CUDA has graphs, and they need a whole batch.

        A recipe whose steps differ, or whose optimizer cannot be set back, is noted and launched.
        """
        if self.device.type != "cuda" or self.recipe.batch_size > self.data.train.chunk_images:
            return False
        reason = fallbacks.why_not_captured(self.recipe)
        if reason is not None:
            self.flags.append(fallbacks.not_capturable(reason))
        return reason is None

    def _capture(self) -> None:
        """Capture whole steps; on failure, continue with launches, with a warning.

        A graph holds addresses; the images there may change, as they do with chunks. The short
        batch at the end of an epoch has its own graph.
        """
        self._pool = new_pool()
        small = self.case.resolution <= SMALL_RESOLUTION
        schedule = self.recipe.schedule
        by_step = schedule is not None and schedule.per == "step"  # the host sets each step's rate
        size = self.recipe.batch_size
        rest = 0 if self.recipe.drop_last else len(self.data.train) % size
        whole_steps = min(len(self.data.train) // size, self.recipe.max_steps or sys.maxsize)
        at_once = min(GRAPH_STEPS, whole_steps) if small and not by_step else 1
        shapes = [(steps, size) for steps in sorted({1, at_once})]
        if rest:
            shapes.append((1, rest))
        self.model.train()
        problem: Exception | None = None
        try:
            for steps, batch_images in shapes:
                size = max(1, self.weigh(batch_images))
                graph = self._graph_of(self._step_on_rows, steps=steps, batch_size=size)
                self._graphs.append(graph)
                self.captured_peak_bytes = max(self.captured_peak_bytes, graph.peak_bytes)
            self.settings["cuda_graph_steps"] = max(steps for steps, _ in shapes)
        except Exception as error:
            problem = error
        if self.ranks.slowest(float(problem is not None)):  # all ranks replay, or none does
            self._graphs, self.captured_peak_bytes = [], 0
            self.settings.pop("cuda_graph_steps", None)
            self.optimizer.zero_grad(set_to_none=True)
            self.flags.append(
                fallbacks.not_captured("another rank failed")
                if problem is None
                else fallbacks.fell_back("not_captured", problem)
            )

    def _graph_of(self, step: RowsStep, *, steps: int, batch_size: int) -> GraphedSteps:
        return capture_steps(
            step,
            forget_gradients=self.optimizer.zero_grad,
            steps=steps,
            batch_size=batch_size,
            device=self.device,
            pool=self._pool,
            warmup_steps=DDP_WARMUP_STEPS if self.ranks else WARMUP_STEPS,
        )

    def _step_on_rows(self, rows_B: torch.Tensor) -> torch.Tensor:
        return self.step(self.data.train.batch(rows_B))

    def forward_loss(self, images_BCHW: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of a batch; only whole batches use the compiled function."""
        if self._compiled is not None and len(labels_B) == self._compiled_batch_size:
            return self._compiled(images_BCHW, labels_B)
        return super().forward_loss(images_BCHW, labels_B)

    def autocast(self) -> AbstractContextManager[Any]:
        """Return autocast without its weight cache, whose copies would be stale in a graph."""
        if self.autocast_dtype is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast_dtype, cache_enabled=False)

    # --- the data ---------------------------------------------------------------------------

    def load_data(self) -> None:
        """Read the data set, copy it to the device, and resize it there."""
        self.splits = self.read_splits()
        self.data.fill(self.splits, self.dataset)

    def train_batches(self) -> Iterator[Batch]:
        """Gather batches on the device."""
        for rows_M in self.data.shuffled_chunks():
            for rows_B in torch.split(rows_M, self.recipe.batch_size):
                yield self.data.train.batch(self._own(rows_B))

    def _own(self, rows: torch.Tensor) -> torch.Tensor:
        """Return this rank's rows of one batch (B) or several (K, B); at least one a batch."""
        if self.ranks.size == 1:
            return rows
        part = self.ranks.share(rows.shape[-1])
        return rows[..., part if part.start < part.stop else slice(1)]

    def evaluation_batches(self, split: SplitName) -> Iterator[Batch]:
        """Yield large batches; test images are copied to the device only now."""
        return self.data.evaluation_batches(split)

    # --- training ---------------------------------------------------------------------------

    def train_blocks(self, steps: int) -> Iterator[Block]:
        """Train the first steps of an epoch, graph by graph if there are graphs."""
        if not self._graphs:
            yield from super().train_blocks(steps)
            return
        waited = self.waiting_time(self.data.shuffled_chunks())
        while steps > 0 and (rows_M := next(waited, None)) is not None:
            self.data_wait_seconds = waited.seconds
            for rows_KB in self._graph_sized(rows_M, steps):
                images = self.weigh(rows_KB.shape[1])
                losses_K = self._train_rows(self._own(rows_KB))
                self.learning_rate.after_update()
                yield losses_K, [images] * len(rows_KB)
                steps -= len(rows_KB)

    def _graph_sized(self, rows_M: torch.Tensor, steps: int) -> Iterator[torch.Tensor]:
        """Split a chunk into rows (K, B): the largest graphs that fit, then the short batch."""
        size = self.recipe.batch_size
        whole = min(steps, len(rows_M) // size)
        rows_SB = rows_M[: whole * size].view(whole, size)
        done, own = 0, self.own_batch_size
        for length in sorted({g.steps for g in self._graphs if g.batch_size == own}, reverse=True):
            while whole - done >= length:
                yield rows_SB[done : done + length]
                done += length
        if steps > whole and len(rows_M) > whole * size:
            yield rows_M[whole * size :].view(1, -1)

    def _train_rows(self, rows_KB: torch.Tensor) -> torch.Tensor:
        for graph in self._graphs:
            if rows_KB.shape == (graph.steps, graph.batch_size):
                return graph.replay(rows_KB)
        return self._step_on_rows(rows_KB[0]).view(1)

    def train_step(self, batch_size: int | None = None) -> None:
        """Take one step on noise, with the one-step graph if there is one."""
        if self._graphs and batch_size in (None, self.own_batch_size):
            rows_B = torch.arange(self.own_batch_size, device=self.device)
            self._graphs[0].replay(rows_B.view(1, -1))
        else:
            super().train_step(batch_size)
