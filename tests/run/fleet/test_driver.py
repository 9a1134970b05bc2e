"""What a fleet run does with answers and losses; its nodes are scripted, its records are real."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from cnnperf.record.loading import load_record
from cnnperf.record.messages import ProbeResult, TrainJob
from cnnperf.record.numerics import NumericsTraining
from cnnperf.record.schema import CaseError
from cnnperf.run.fleet import driver, node
from cnnperf.run.fleet.cluster import ProcessLostError, RayNode
from cnnperf.run.fleet.driver import FleetRun
from cnnperf.run.fleet.node import Begun, Card, Trained
from cnnperf.run.fleet.opening import open_fleet
from cnnperf.run.fleet.progress import FleetDisplay
from cnnperf.run.settings import settings_from
from tests.examples import example_environment, example_flag, example_repeat
from tests.run.fleet.clusters import CASE

Answer = Callable[[str, int], str]
"""What a device answers to a training with this seed; it may raise."""


def trained(device: str, seed: int) -> str:
    """A training that works."""
    return Trained(repeat=example_repeat(seed)).model_dump_json()


class ScriptedCluster:
    """Nodes of one CPU that answer at once; `steps` has the trainings under way at each wait."""

    def __init__(self, *labels: str, answer: Answer = trained) -> None:
        self.alive = [RayNode(id=each, host=each, label=each, gpus=0) for each in labels]
        self.answer = answer
        self.is_lost = False
        self.order: list[tuple[str, int]] = []
        self.steps: list[int] = []
        self.checked: list[int] = []
        """Seeds of the trainings before which numerics are checked."""
        self.environment = example_environment()
        self._numbers = itertools.count()
        self._answers: dict[int, Callable[[], str]] = {}

    def nodes(self) -> list[RayNode]:
        return self.alive

    def ask(self, _node: RayNode, function: str, *arguments: Any) -> int:
        return self._later(lambda: getattr(node, function)(*arguments))

    def agent(self, ray_node: RayNode, visible: str | None) -> Any:
        def begin(device: str, _job: str, _timeout: float | None) -> int:
            probed = ProbeResult(device="cpu", environment=self.environment)
            return self._later(lambda: Begun(probed=probed).model_dump_json())

        def train(job: str, _hardware: str, _timeout: float | None) -> int:
            asked = TrainJob.model_validate_json(job)
            seed = asked.seed
            self.checked += [seed] * asked.check_numerics
            self.order.append((ray_node.label, seed))
            return self._later(lambda: self.answer(ray_node.label, seed))

        return SimpleNamespace(
            begin=SimpleNamespace(remote=begin), train=SimpleNamespace(remote=train)
        )

    def _later(self, answer: Callable[[], str]) -> int:
        number = next(self._numbers)
        self._answers[number] = answer
        return number

    def end(self, agent: Any) -> None:
        pass

    def wait(self, refs: list[int], seconds: float) -> list[int]:
        self.steps.append(len(refs))
        return refs

    def result(self, ref: int, seconds: float = 1.0) -> str:
        return self._answers[ref]()


def fleet_on(
    cluster: Any,
    folder: Path,
    repeats: int = 3,
    *,
    check_numerics: bool = False,
    allow_fallback: bool = False,
    **options: bool,
) -> tuple[FleetRun, Any]:
    """A fleet run of the small case, and what it prints."""
    printed = io.StringIO()
    display = FleetDisplay(Console(file=printed, width=500))
    given = {"tier": "full", "check_numerics": check_numerics, "allow_fallback": allow_fallback}
    settings = settings_from(given, (), repeats=repeats)
    return open_fleet(cluster, settings, CASE, folder, display, **options), printed


@pytest.fixture(autouse=True)
def _without_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(driver, "RETRY_SECONDS", 0.01)
    monkeypatch.setattr(driver, "RETURN_SECONDS", 0.5)


def seeds_of(folder: Path, device: str) -> list[int]:
    record = load_record(folder / f"{device}.json")
    return sorted(repeat.seed for case in record.cases for repeat in case.repeats)


def test_every_answer_is_kept_and_the_journals_go(tmp_path: Path) -> None:
    """Nodes train side by side, each of them one at a time."""
    fleet, _ = fleet_on(ScriptedCluster("a", "b"), tmp_path)
    fleet.train()
    fleet.close()
    assert seeds_of(tmp_path, "a-cpu") == seeds_of(tmp_path, "b-cpu") == [0, 1, 2]
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}
    assert (fleet.left, fleet.is_complete) == (0, True)


def test_numerics_are_checked_before_the_first_training_of_each_device(tmp_path: Path) -> None:
    """Losses and weights are kept in the record."""
    found = NumericsTraining(seed=0, step_losses=[2.5, 2.25], weights_sha256="a" * 64)

    def answer(_device: str, seed: int) -> str:
        numerics = (found, found) if seed == 0 else ()
        return Trained(repeat=example_repeat(seed), numerics=numerics).model_dump_json()

    cluster = ScriptedCluster("a", "b", answer=answer)
    fleet, _ = fleet_on(cluster, tmp_path, check_numerics=True)
    fleet.train()
    fleet.close()
    assert cluster.checked == [0, 0]
    for device in ("a-cpu", "b-cpu"):
        (case,) = load_record(tmp_path / f"{device}.json").cases
        assert case.numerics == [found, found]


def test_together_all_devices_of_a_node_train_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alone, one after another."""
    cards = [Card(visible=f"GPU-{n}", label=f"gpu{n}") for n in range(4)]
    monkeypatch.setattr(node, "find_cards", lambda *_: cards)
    for together, expected in ((False, [1] * 12), (True, [4] * 3)):
        cluster = ScriptedCluster("a")
        fleet, _ = fleet_on(cluster, tmp_path / str(together), together=together)
        fleet.train()
        fleet.close()
        assert cluster.steps == expected
        assert seeds_of(tmp_path / str(together), "a-gpu3") == [0, 1, 2]


def test_a_training_that_fails_ends_its_case_on_its_device_only(tmp_path: Path) -> None:
    """Its journal stays, so that `--resume` can try again."""

    def answer(device: str, seed: int) -> str:
        if (device, seed) == ("b", 1):
            error = CaseError(kind="nan_loss", message="loss is NaN in step 3")
            return Trained(error=error).model_dump_json()
        return trained(device, seed)

    fleet, printed = fleet_on(ScriptedCluster("a", "b", answer=answer), tmp_path)
    fleet.train()
    fleet.close()
    assert seeds_of(tmp_path, "a-cpu") == [0, 1, 2]
    (case,) = load_record(tmp_path / "b-cpu.json").cases
    assert (case.outcome, len(case.repeats)) == ("failed", 1)
    assert case.error is not None
    assert (case.error.kind, case.error.seed) == ("nan_loss", 1)
    assert f"b-cpu: {CASE} FAILED: loss is NaN in step 3" in printed.getvalue()
    assert fleet.left == 0
    assert [*tmp_path.glob("b-cpu-*.journal.jsonl")]


@pytest.mark.parametrize("allowed", [False, True])
def test_fallback_ends_its_case_on_its_device_unless_allowed(tmp_path: Path, allowed: bool) -> None:
    """Its first training is kept; the other device trains all."""

    def answer(device: str, seed: int) -> str:
        flags = [example_flag("not_compiled")] if device == "b" else []
        repeat = example_repeat(seed).model_copy(update={"warnings": flags})
        return Trained(repeat=repeat).model_dump_json()

    cluster = ScriptedCluster("a", "b", answer=answer)
    fleet, _ = fleet_on(cluster, tmp_path, allow_fallback=allowed)
    fleet.train()
    fleet.close()
    assert seeds_of(tmp_path, "a-cpu") == [0, 1, 2]
    (case,) = load_record(tmp_path / "b-cpu.json").cases
    assert (case.outcome, len(case.repeats)) == (("passed", 3) if allowed else ("failed", 1))
    assert (case.error and case.error.kind) == (None if allowed else "fallback")


def test_a_training_that_takes_its_process_along_is_tried_three_times(tmp_path: Path) -> None:
    """Then it fails, and the other devices go on."""

    def answer(device: str, seed: int) -> str:
        if (device, seed) == ("b", 1):
            raise ProcessLostError("its process ended")
        return trained(device, seed)

    cluster = ScriptedCluster("a", "b", answer=answer)
    fleet, printed = fleet_on(cluster, tmp_path)
    fleet.train()
    fleet.close()
    assert cluster.order.count(("b", 1)) == driver.MAX_LOSSES
    (case,) = load_record(tmp_path / "b-cpu.json").cases
    assert case.error is not None
    assert case.error.message == "lost 3 times while it trained (its process ended)"
    assert printed.getvalue().count("b: back again") == driver.MAX_LOSSES
    assert seeds_of(tmp_path, "a-cpu") == [0, 1, 2]


@pytest.mark.parametrize(("seed", "outcome"), [(2, "failed"), (3, "passed")])
def test_three_repeats_of_a_node_that_is_gone_are_enough(
    tmp_path: Path, seed: int, outcome: str
) -> None:
    """The record is marked as interrupted then, and the rest is left for `--resume`."""

    def answer(device: str, number: int) -> str:
        if (device, number) == ("b", seed):
            cluster.alive = [each for each in cluster.alive if each.label != "b"]
            raise ProcessLostError("the node died or is unreachable")
        return trained(device, number)

    cluster = ScriptedCluster("a", "b", answer=answer)
    fleet, printed = fleet_on(cluster, tmp_path, repeats=5)
    fleet.train()
    fleet.close()
    record = load_record(tmp_path / "b-cpu.json")
    assert (record.cases[0].outcome, len(record.cases[0].repeats)) == (outcome, seed)
    assert record.interrupted == (outcome == "passed")
    assert fleet.left == 5 - seed
    assert "b: given up: the node died or is unreachable, and it did not" in printed.getvalue()
    again, _ = fleet_on(ScriptedCluster("a", "b"), tmp_path, repeats=5, resume=True)
    assert again.taken_over == 5 + seed
    again.train()
    again.close()
    assert seeds_of(tmp_path, "b-cpu") == [0, 1, 2, 3, 4]


def test_a_node_that_comes_back_as_another_one_is_not_used(tmp_path: Path) -> None:
    """Its record would mix two machines."""

    def answer(device: str, seed: int) -> str:
        if seed == 1:
            cluster.environment = example_environment(cpu_model="another")
            raise ProcessLostError("the node died or is unreachable")
        return trained(device, seed)

    cluster = ScriptedCluster("a", answer=answer)
    fleet, printed = fleet_on(cluster, tmp_path)
    fleet.train()
    fleet.close()
    assert "a: given up: it came back with other hardware or software (a-cpu)" in printed.getvalue()
    assert seeds_of(tmp_path, "a-cpu") == [0]


def test_another_card_of_the_same_kind_does_not_continue_a_record(tmp_path: Path) -> None:
    """A record of a fleet is that of one card."""

    def gpu(uuid: str) -> Any:
        card = example_environment().hardware.gpu
        assert card is not None
        return example_environment(gpu=card.model_copy(update={"uuid_sha256": uuid}))

    def stop(device: str, seed: int) -> str:
        if seed == 1:
            raise KeyboardInterrupt
        return trained(device, seed)

    cluster = ScriptedCluster("a", answer=stop)
    cluster.environment = gpu("a" * 16)
    fleet, _ = fleet_on(cluster, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fleet.train()
    fleet.close()
    cluster = ScriptedCluster("a")
    cluster.environment = gpu("b" * 16)
    again, printed = fleet_on(cluster, tmp_path, resume=True)
    assert "a-cpu: another card than before" in printed.getvalue()
    assert again.taken_over == 0
    again.close()
