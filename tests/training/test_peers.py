"""The peers, compared with a loop written here."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from torch import nn  # noqa: E402

from cnnperf.catalog.engines import ENGINES, EngineSpec  # noqa: E402  # noqa: E402
from cnnperf.catalog.specs import Augmentation, Case, Recipe  # noqa: E402  # noqa: E402
from cnnperf.errors import NotInstalledError, UsageError  # noqa: E402
from cnnperf.models import build_model, model_sha256  # noqa: E402
from cnnperf.training.engines import Engine, TrainPhase, engine_class  # noqa: E402
from cnnperf.training.evaluation import NaNLossError  # noqa: E402
from cnnperf.training.loop import TrainingLog, TrainingRecorder  # noqa: E402

CPU = torch.device("cpu")

FLOAT32 = ["plain", "lightning", "accelerate"]
BFLOAT16 = ["amp", "lightning_bf16", "accelerate_bf16"]
PEERS = [*FLOAT32, *BFLOAT16, "timm"]

SEED = 5

Batch = tuple[torch.Tensor, torch.Tensor]


@pytest.fixture(autouse=True)
def _forget_accelerator() -> Iterator[None]:
    """Accelerate keeps its precision and device for the life of a process."""
    yield
    if "accelerate" in sys.modules:
        from accelerate.state import AcceleratorState

        AcceleratorState._reset_state(reset_partial_state=True)


def peer_case(engine: str, **recipe: object) -> Case:
    """A small case; timm's only models are the large ones, so its images are a bit larger."""
    model, pixels = ("resnet34", 32) if engine == "timm" else ("modified_vgg", 28)
    content = {"name": "test", "epochs": 2, "batch_size": 8, **recipe}
    return Case.model_validate(
        {"model": model, "dataset": "digits", "resolution": pixels, "engine": engine,
         "recipe": Recipe.model_validate(content)}
    )  # fmt: skip


def prepared(name: str, **recipe: object) -> Engine:
    """An engine that is ready to train on digits."""
    if (package := ENGINES[name].package) is not None:
        pytest.importorskip(package, reason="needs the extra `peers`")
    case = peer_case(name, **recipe)
    engine = engine_class(name)(case=case, seed=SEED, device=CPU, data_dir=".")
    engine.prepare()
    engine.load_data()
    return engine


def same_batches(case: Case, sizes: tuple[int, ...] = (8, 8, 4)) -> list[Batch]:
    """Noise with labels, the same whenever it is asked for."""
    generator = torch.Generator().manual_seed(0)
    pixels, channels = case.resolution, 3 if case.model == "resnet34" else 1
    return [
        (torch.randn(size, channels, pixels, pixels, generator=generator),
         torch.randint(0, 10, (size,), generator=generator))
        for size in sizes
    ]  # fmt: skip


class Watched:
    """A loss function that keeps what it was asked."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.losses: list[float] = []
        self.labels: list[int] = []
        self.modes: set[bool] = set()
        engine.loss_function = self

    def __call__(self, logits_BK: torch.Tensor, labels_B: torch.Tensor) -> torch.Tensor:
        loss = nn.functional.cross_entropy(logits_BK, labels_B)
        self.losses.append(float(loss.detach()))
        self.labels += labels_B.tolist()
        self.modes.add(self.engine.model.training)
        return loss


def train_on(
    batches: list[Batch], name: str, **recipe: object
) -> tuple[Engine, TrainingLog, Watched]:
    """Train an engine on these batches in every epoch; they are its validation images too."""
    engine = prepared(name, **recipe)
    engine.train_loader = engine.val_loader = batches
    watched = Watched(engine)
    course = TrainingRecorder(engine, lambda message: None)
    engine.train(course)
    return engine, course.stop(), watched


def plain_losses(
    batches: list[Batch], model: Callable[[], nn.Module], epochs: int, *, bfloat16: bool
) -> list[float]:
    """The same training as anybody would write it by hand."""
    torch.manual_seed(SEED)
    net = model()
    if bfloat16:
        net = net.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    torch.manual_seed(SEED)
    losses = []
    for _ in range(epochs):
        for images, labels in batches:
            if bfloat16:
                images = images.to(memory_format=torch.channels_last)
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
                loss = nn.functional.cross_entropy(net(images), labels)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


def modified_vgg() -> nn.Module:
    """The model of most cases here."""
    return build_model("modified_vgg", in_channels=1)


# --- what is learned ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", FLOAT32)
def test_float32_peer_has_the_losses_of_a_plain_loop(name: str) -> None:
    """Over two epochs, with a validation between them that must leave no trace."""
    batches = same_batches(peer_case(name))
    _, _, watched = train_on(batches, name)
    expected = plain_losses(batches, modified_vgg, epochs=2, bfloat16=False)
    assert watched.losses == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", BFLOAT16)
def test_bfloat16_peer_has_the_losses_of_an_autocast_loop(name: str) -> None:
    """And not float32's: the precision is really on. The first steps, before rounding grows."""
    batches = same_batches(peer_case(name))
    engine, _, watched = train_on(batches, name, epochs=1)
    expected = plain_losses(batches, modified_vgg, epochs=1, bfloat16=True)
    in_float32 = plain_losses(batches, modified_vgg, epochs=1, bfloat16=False)
    assert watched.losses == pytest.approx(expected, rel=1e-3)
    assert watched.losses[0] != pytest.approx(in_float32[0], rel=1e-6)
    assert engine.precision == "bfloat16"
    assert engine.settings["autocast_dtype"] == "bfloat16"
    assert engine.settings["channels_last"] is True


def test_timms_losses_are_those_of_timms_model() -> None:
    """In the loop of `amp`."""
    timm = pytest.importorskip("timm", reason="needs the extra `peers`")
    batches = same_batches(peer_case("timm"))
    _, _, watched = train_on(batches, "timm", epochs=1)
    expected = plain_losses(
        batches, lambda: timm.create_model("resnet34", num_classes=10), epochs=1, bfloat16=True
    )
    assert watched.losses == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", ["lightning", "accelerate"])
def test_a_peer_sees_the_images_in_eagers_order(name: str) -> None:
    """The same split in the same batches: its loader is the one that `eager` has."""
    labels = {}
    for each in ("eager", name):
        engine = prepared(each, batch_size=64, max_steps=2)
        watched = Watched(engine)
        engine.train(TrainingRecorder(engine, lambda message: None))
        labels[each] = watched.labels
    assert len(labels[name]) == 128
    assert labels[name] == labels["eager"]


def test_the_plain_loader_gives_every_image_once_and_in_another_order_each_time() -> None:
    """DataLoader's `shuffle` works so."""
    engine = prepared("plain", batch_size=128)
    first, second = (
        torch.cat([labels for _, labels in engine.train_loader]).tolist() for _ in range(2)
    )
    assert sorted(first) == sorted(second) == sorted(engine.splits.train.labels_N.tolist())
    assert first != second


@pytest.mark.parametrize("name", ["lightning", "accelerate"])
def test_a_peer_augments_where_the_recipe_says_so(name: str) -> None:
    """The losses are others; the images that were handed in are not changed."""
    batches = same_batches(peer_case(name))
    strength = Augmentation(rotation_degrees=90)
    _, _, as_they_are = train_on(batches, name, epochs=1)
    _, _, turned = train_on(batches, name, epochs=1, augmentation=strength)
    assert turned.losses[0] != pytest.approx(as_they_are.losses[0], rel=1e-6)
    assert torch.equal(batches[0][0], same_batches(peer_case(name))[0][0])


# --- the course ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PEERS)
def test_every_epoch_is_trained_in_train_mode_and_validated(name: str) -> None:
    """Three epochs of three batches of 8, 8 and 4 images; the mean loss weighs them so."""
    batches = same_batches(peer_case(name))
    _, log, watched = train_on(batches, name, epochs=3)
    assert watched.modes == {True}
    assert [phase.images for phase in log.phases] == [20, 20, 20]
    assert [len(phase.step_seconds) for phase in log.phases] == [3, 3, 3]
    for epoch, phase in enumerate(log.phases):
        losses = watched.losses[3 * epoch : 3 * epoch + 3]
        expected = sum(loss * size for loss, size in zip(losses, (8, 8, 4), strict=True)) / 20
        assert phase.mean_loss == pytest.approx(expected, rel=1e-5)
        assert sum(phase.step_seconds) <= phase.seconds
        assert 0 <= phase.data_wait_seconds <= phase.seconds
    assert all(epoch.val_loss is not None for epoch in log.epochs)
    assert log.phase_seconds < log.train_seconds


@pytest.mark.parametrize("name", PEERS)
def test_max_steps_bounds_the_whole_training(name: str) -> None:
    """Five steps are an epoch of three and two of the next; such a sample is not validated."""
    _, log, watched = train_on(same_batches(peer_case(name)), name, epochs=4, max_steps=5)
    assert [len(phase.step_seconds) for phase in log.phases] == [3, 2]
    assert [phase.images for phase in log.phases] == [20, 16]
    assert len(watched.losses) == 5
    assert [epoch.val_loss for epoch in log.epochs] == [None, None]


class OneEpoch(TrainingRecorder):
    """A handler that stops after one epoch."""

    def finish_epoch(self, phase: TrainPhase) -> bool:
        """Always the last."""
        super().finish_epoch(phase)
        return False


@pytest.mark.parametrize("name", PEERS)
def test_peer_stops_when_the_handler_says_so(name: str) -> None:
    """Its recipe has more epochs."""
    engine = prepared(name, epochs=3)
    engine.train_loader = engine.val_loader = same_batches(engine.case)
    watched = Watched(engine)
    engine.train(OneEpoch(engine, lambda message: None))
    assert len(watched.losses) == 3


@pytest.mark.parametrize("name", PEERS)
def test_a_loss_that_is_no_number_ends_the_training(name: str) -> None:
    """It names the step, whoever's loop it is."""
    engine = prepared(name)
    batches = same_batches(engine.case)
    batches[1][0].fill_(float("nan"))
    engine.train_loader = engine.val_loader = batches
    with pytest.raises(NaNLossError, match="epoch 1, step 2"):
        engine.train(TrainingRecorder(engine, lambda message: None))


@pytest.mark.parametrize("name", PEERS)
def test_progress_is_shown(name: str) -> None:
    """At least once an epoch, with the step and a loss."""
    engine = prepared(name)
    engine.train_loader = engine.val_loader = same_batches(engine.case)
    said: list[object] = []
    engine.train(TrainingRecorder(engine, said.append))
    training = [message for message in said if getattr(message, "phase", None) == "train"]
    assert {message.epoch for message in training} == {1, 2}
    assert all(message.step >= 1 and message.loss > 0 for message in training)


@pytest.mark.parametrize("name", PEERS)
def test_preparing_a_peer_changes_neither_model_nor_optimizer(name: str) -> None:
    """After the warm-up the weights are a fresh model's; afterwards a profile's steps are taken."""
    engine = prepared(name)
    torch.manual_seed(SEED)
    if name == "timm":
        fresh = pytest.importorskip("timm").create_model("resnet34", num_classes=10)
    else:
        fresh = modified_vgg()
    ours, theirs = engine.model.state_dict(), fresh.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
    assert engine.model_sha256 == model_sha256(fresh)
    engine.train_step(4)
    assert not all(torch.equal(ours[key], theirs[key]) for key in theirs)


# --- Lightning ----------------------------------------------------------------------------------


def test_lightning_is_quiet_and_leaves_no_files(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Its banners, its advice, its folders of logs."""
    batches = same_batches(peer_case("lightning"))
    with contextlib.chdir(tmp_path):
        train_on(batches, "lightning")
    assert capfd.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def test_lightning_says_where_it_cannot_train() -> None:
    """It has no Intel GPUs."""
    pytest.importorskip("lightning", reason="needs the extra `peers`")
    engine = engine_class("lightning")(
        case=peer_case("lightning"), seed=0, device=torch.device("xpu", 0), data_dir="."
    )
    with pytest.raises(UsageError, match="Lightning cannot train on xpu"):
        engine.prepare()


# --- Accelerate ---------------------------------------------------------------------------------


def test_accelerate_is_held_to_the_runs_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that sends it elsewhere would make a CPU's time pass for a GPU's."""
    pytest.importorskip("accelerate", reason="needs the extra `peers`")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    engine = engine_class("accelerate")(
        case=peer_case("accelerate"), seed=0, device=torch.device("cuda", 0), data_dir="."
    )
    with pytest.raises(UsageError, match=r"Accelerate chose the device cpu, .* cuda:0: unset"):
        engine.prepare()


# --- timm ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["vgg16", "resnet34"])
def test_timms_model_equals_ours_except_for_names(name: str) -> None:
    """With our weights, in the order of the layers, it gives our logits; dropout is equal too."""
    pytest.importorskip("timm", reason="needs the extra `peers`")
    from cnnperf.training.engines.peers.plain import timm_model

    torch.manual_seed(0)
    ours = build_model(name, resolution=32).eval()
    with torch.device("meta"):
        theirs = timm_model(name, num_classes=10, in_channels=3)
    theirs = theirs.to_empty(device="cpu").eval()
    with torch.no_grad():
        for target, source in zip(
            theirs.state_dict().values(), ours.state_dict().values(), strict=True
        ):
            target.copy_(source.reshape(target.shape))
        images = torch.randn(2, 3, 32, 32)
        torch.testing.assert_close(theirs(images), ours(images), rtol=1e-4, atol=1e-5)
    dropped = [[m.p for m in net.modules() if isinstance(m, nn.Dropout) and m.p]
               for net in (ours, theirs)]  # fmt: skip
    assert dropped[0] == dropped[1]
    assert model_sha256(theirs) != model_sha256(ours)


def test_timm_says_which_models_it_has() -> None:
    """The modified ones are the report's own."""
    pytest.importorskip("timm", reason="needs the extra `peers`")
    case = peer_case("timm").model_copy(update={"model": "modified_vgg", "resolution": 28})
    engine = engine_class("timm")(case=case, seed=0, device=CPU, data_dir=".")
    with pytest.raises(UsageError, match=r"no model modified_vgg: .* trains resnet34 and vgg16$"):
        engine.prepare()


# --- engines by name ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", ENGINES)
def test_engine_name_gives_its_class(name: str) -> None:
    """Every name that a case can have."""
    if (package := ENGINES[name].package) is not None:
        pytest.importorskip(package, reason="needs the extra `peers`")
    assert issubclass(engine_class(name), Engine)


def test_an_engine_without_its_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In one sentence."""
    absent = EngineSpec(ENGINES["plain"].path, "a_package_that_nobody_has")
    monkeypatch.setitem(ENGINES, "plain", absent)
    with pytest.raises(NotInstalledError) as caught:
        engine_class("plain")
    assert str(caught.value) == (
        "engine plain needs a_package_that_nobody_has: pip install 'cnnperf[peers]'"
    )
