"""Deterministic trainings: the same losses to the last bit, and all of them in the result."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch import nn  # noqa: E402

from cnnperf.catalog.specs import Case  # noqa: E402
from cnnperf.compare.drift import drift  # noqa: E402
from cnnperf.record.messages import TrainJob  # noqa: E402
from cnnperf.record.schema import Repeat  # noqa: E402
from cnnperf.run.repeat import RepeatRun  # noqa: E402
from cnnperf.run.worker_process import WorkerError  # noqa: E402
from cnnperf.training.engines import Engine  # noqa: E402
from cnnperf.training.engines.eager import EagerEngine  # noqa: E402
from cnnperf.training.engines.fast.engine import FastEngine  # noqa: E402
from cnnperf.training.loop import run_training  # noqa: E402
from cnnperf.training.worker.channel import failed_message  # noqa: E402
from cnnperf.training.worker.device import CUBLAS_VARIABLE, be_deterministic  # noqa: E402
from tests.training.conftest import USER_MODULE, MakeJob  # noqa: E402

CPU = torch.device("cpu")

IMAGES_PER_STEP = [128] * 8 + [126]
"""Training images of digits per epoch: 1,150."""

ENGINES: dict[str, type[Engine]] = {"eager": EagerEngine, "fast": FastEngine}


def digits_case(engine: str = "eager", **recipe: object) -> Case:
    """The modified VGG on digits: convolutions, batch norm and dropout."""
    values = {"name": "report", "epochs": 2, **recipe}
    return Case.model_validate(
        {"model": "modified_vgg", "dataset": "digits", "resolution": 28, "recipe": values,
         "engine": engine, "precision": "float32", "compile": "off"}
    )  # fmt: skip


def train(job: TrainJob) -> Repeat:
    """One real repeat in a worker."""
    with RepeatRun(job) as run:
        run.prepare()
        run.train()
        return run.finish()


@pytest.fixture(scope="module", params=ENGINES)
def twins(request: pytest.FixtureRequest) -> tuple[Repeat, Repeat]:
    """Two trainings with one seed, each in a process of its own."""
    job = TrainJob(
        case=digits_case(request.param), seed=3, device="cpu", data_dir=".", deterministic=True
    )
    return train(job), train(job)


def test_two_trainings_with_one_seed_have_identical_losses(twins: tuple[Repeat, Repeat]) -> None:
    """One for each of 18 steps, in two processes."""
    first, second = twins
    assert first.step_losses is not None
    assert second.step_losses is not None
    assert len(first.step_losses) == first.steps == 2 * len(IMAGES_PER_STEP)
    assert first.worker_pid != second.worker_pid
    assert drift(3, first.step_losses, second.step_losses).first_difference_step is None
    assert first.step_losses[0] > first.step_losses[-1]
    assert first.metrics.test_loss == second.metrics.test_loss


def test_mean_of_step_losses_is_the_epochs_training_loss(
    twins: tuple[Repeat, Repeat],
) -> None:
    """Each batch weighs as much as it has images; the last one has fewer."""
    losses = twins[0].step_losses or []
    steps = len(IMAGES_PER_STEP)
    for epoch in twins[0].epochs:
        own = losses[(epoch.epoch - 1) * steps : epoch.epoch * steps]
        total = sum(loss * images for loss, images in zip(own, IMAGES_PER_STEP, strict=True))
        assert total / sum(IMAGES_PER_STEP) == pytest.approx(epoch.train_loss, rel=1e-12)


def test_deterministic_run_records_its_settings(twins: tuple[Repeat, Repeat]) -> None:
    """Torch reports the settings after training."""
    settings = twins[0].settings
    assert settings is not None
    assert settings.deterministic_algorithms is True
    assert settings.cudnn_deterministic is True
    assert settings.cudnn_benchmark is False


def test_step_losses_stay_float32_in_json(twins: tuple[Repeat, Repeat]) -> None:
    """Between worker and parent they went through JSON already; once more changes no bit."""
    losses = twins[0].step_losses or []
    assert torch.tensor(losses, dtype=torch.float32).tolist() == losses
    assert Repeat.model_validate_json(twins[0].model_dump_json()).step_losses == losses


UNSURE = """
import torch
from torch import nn

from cnnperf import ModelSpec, register_model

register_model(ModelSpec(name="unsure", builder="unsure:build", resolution=8, channels=(1,)))


class Unsure(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)

    def forward(self, images):
        ones = torch.zeros(10).put_(torch.arange(10), torch.ones(10))
        return self.layer(images.flatten(1)) * ones


def build(*, num_classes, in_channels, resolution):
    return Unsure()
"""
"""A model with an operation of which torch has no deterministic form."""


def test_nondeterministic_operation_fails_with_one_sentence(
    make_job: MakeJob, tmp_path: Path
) -> None:
    """It names the operation and what can be done, and not torch's switch, which nobody set."""
    (tmp_path / "unsure.py").write_text(UNSURE)
    job = make_job("unsure").model_copy(
        update={
            "deterministic": True,
            "modules": ("tiny_cases", "unsure"),
            "python_path": (str(USER_MODULE), str(tmp_path)),
        }
    )
    with pytest.raises(WorkerError) as caught:
        train(job)
    assert caught.value.kind == "exception"
    assert str(caught.value) == (
        "put_ has no deterministic implementation on this device: exclude the case with -k, "
        "choose another --cnnperf-device, or omit --cnnperf-deterministic"
    )
    assert "put_(torch.arange(10)" in (caught.value.traceback or "")


# --- in this process ----------------------------------------------------------------------------


@pytest.fixture
def deterministic(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process as a worker's, and back again."""
    cudnn = torch.backends.cudnn
    monkeypatch.setenv(CUBLAS_VARIABLE, "")
    before = torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, cudnn.benchmark
    cudnn.benchmark = True
    be_deterministic()
    yield
    torch.use_deterministic_algorithms(before[0])
    cudnn.deterministic, cudnn.benchmark = before[1:]


def losses_of(
    engine: str = "eager",
    seed: int = 3,
    change: Callable[[Engine], object] = lambda _: None,
    **recipe: object,
) -> list[float]:
    """Losses of the first four steps of digits; `change` is made to the engine before them."""
    case = digits_case(engine, **{"max_steps": 4, "batch_size": 32, **recipe})
    made = ENGINES[engine](case=case, seed=seed, device=CPU, data_dir=".")
    made.prepare()
    change(made)
    return run_training(made, lambda _: None).step_losses


def round_from_step_3(engine: Engine) -> None:
    """Let the logits be bfloat16's from the third step on, as a changed library might."""
    steps = 0

    def rounded(_module: nn.Module, _inputs: object, logits_BK: torch.Tensor) -> torch.Tensor:
        nonlocal steps
        steps += 1
        return logits_BK.bfloat16().float() if steps >= 3 else logits_BK

    engine.model.register_forward_hook(rounded)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("altered", "first_step"),
    [
        ({}, None),
        ({"seed": 4}, 1),
        ({"learning_rate": 1.001e-3}, 2),
        ({"change": round_from_step_3}, 3),
        ({"batch_size": 31}, 1),
    ],
    ids=["nothing", "seed", "learning rate", "precision of step 3", "batch"],
)
def test_changed_training_differs_from_its_first_changed_step(
    engine: str, altered: dict[str, object], first_step: int | None
) -> None:
    """The first loss is the fresh weights', so another learning rate shows at the second."""
    found = drift(3, losses_of(engine), losses_of(engine, **altered))  # type: ignore[arg-type]
    assert found.steps == 4
    assert found.first_difference_step == first_step


@pytest.mark.usefixtures("deterministic")
def test_deterministic_process_switches_cudnns_benchmark_off() -> None:
    """The benchmark may choose another algorithm each time."""
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark


@pytest.mark.usefixtures("deterministic")
def test_cublas_workspace_is_the_one_that_torch_requires() -> None:
    """One of the two values in torch's notes on reproducibility; else CUDA products raise."""
    assert os.environ[CUBLAS_VARIABLE] in (":4096:8", ":16:8")


@pytest.mark.usefixtures("deterministic")
def test_torchs_message_contains_the_expected_phrase() -> None:
    """A real exception of this torch becomes the sentence, with its traceback."""
    with pytest.raises(RuntimeError) as caught:
        torch.zeros(2).put_(torch.tensor([0]), torch.ones(1))
    failed = failed_message(caught.value)
    assert failed.message.startswith("put_ has no deterministic implementation on this device: ")
    assert failed.traceback is not None


@pytest.mark.cuda
@pytest.mark.parametrize("engine", ENGINES)
def test_on_cuda_losses_are_identical_too(engine: str) -> None:
    """In two processes; `fast` captures its steps, and lets cuDNN try nothing out."""
    job = TrainJob(
        case=digits_case(engine), seed=3, device="cuda", data_dir=".", deterministic=True
    )
    first, second = train(job), train(job)
    assert drift(3, first.step_losses or [], second.step_losses or []) == drift(
        3, first.step_losses or [], first.step_losses or []
    )
    assert len(first.step_losses or []) == first.steps
    assert first.settings is not None
    assert first.settings.cudnn_benchmark is False
