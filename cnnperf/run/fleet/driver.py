"""The run of a fleet: hand each node its trainings, keep what comes back, outlive lost nodes."""

from __future__ import annotations

import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from cnnperf.catalog.registry import get_case
from cnnperf.errors import UsageError, printable
from cnnperf.record.benchmark_json import write_benchmark_json
from cnnperf.record.messages import ProbeResult
from cnnperf.record.schema import CaseError
from cnnperf.run.fleet.cluster import Cluster, ProcessLostError, RayNode, Ref
from cnnperf.run.fleet.devices import FleetDevice, FleetNode, card_of, describe_task
from cnnperf.run.fleet.node import Begun, Trained
from cnnperf.run.fleet.order import Training
from cnnperf.run.fleet.progress import FleetDisplay
from cnnperf.run.plan import AnyPlanned, estimate_repeat_seconds, job_of, plan_digest, probe_job
from cnnperf.run.settings import RunSettings
from cnnperf.run.worker_process import WorkerError

POLL_SECONDS = 1.0

RETRY_SECONDS = 2.0
"""Time between two tries to take the devices of a lost node again."""

RETURN_SECONDS = 60.0
"""How long a lost node is waited for once all others are done."""

MAX_LOSSES = 3
"""A training that is lost so often is to blame itself, and fails its case."""

ENOUGH = 3
"""Repeats of a case on a lost device that are worth keeping: three have a standard deviation. With
fewer, the case counts as failed there."""


class HeadLostError(Exception):
    """The head of the Ray cluster no longer answers."""


def begin_device(fleet: FleetRun, device: FleetDevice, node: RayNode) -> Ref:
    """Start a device's agent, which takes the device and probes it."""
    settings = fleet.settings
    job = probe_job(
        settings,
        [get_case(case_id) for case_id in fleet.case_ids],
        deterministic=settings.deterministic,
    )
    job = job.model_copy(update={"device": device.kind})
    visible = None if device.card is None else device.card.visible
    device.agent = fleet.cluster.agent(node, visible)
    key = visible or device.name
    return device.agent.begin.remote(key, job.model_dump_json(), settings.timeout)


class FleetRun:
    """A fleet run whose devices have been found; `cnnperf.run.fleet.opening` makes it ready."""

    def __init__(
        self,
        cluster: Cluster,
        nodes: Sequence[FleetNode],
        settings: RunSettings,
        case_ids: Sequence[str],
        folder: Path,
        display: FleetDisplay,
    ) -> None:
        self.cluster, self.nodes = cluster, nodes
        self.settings, self.case_ids = settings, case_ids
        self.folder, self.display = folder, display
        self.taken_over = 0
        """Trainings that the journals of a resumed run had."""
        self._seconds: dict[str, list[float]] = defaultdict(list)
        """Times of trainings by case, their processes included."""
        self._started: dict[Ref, float] = {}
        self._losses: Counter[Training] = Counter()
        self._last_kept_at = time.monotonic()

    # --- what is there ------------------------------------------------------------------------

    @property
    def devices(self) -> list[FleetDevice]:
        """The devices that have a record in this run."""
        return [each for node in self.nodes for each in node.devices if each.session is not None]

    @property
    def planned(self) -> int:
        """Number of trainings of the whole fleet run."""
        return sum(device.run.plan.trainings for device in self.devices)

    @property
    def done(self) -> int:
        """Number of finished trainings, those of a resumed run included."""
        return sum(len(c.repeats) for device in self.devices for c in device.run.cases.values())

    @property
    def left(self) -> int:
        """Number of trainings that another call has still to make."""
        return sum(
            each.run.plan.trainings - sum(len(case.repeats) for case in each.run.cases.values())
            if node.is_given_up
            else each.run.left
            for node in self.nodes
            for each in node.devices
            if each.session is not None
        )

    def failures(self) -> list[str]:
        """Return each failed case as one clause."""
        return [
            f"{device.name}: {case.id}: {case.error.message if case.error else 'failed'}"
            for device in self.devices
            for case in device.run.cases.values()
            if case.outcome == "failed"
        ]

    def note_resumed(self, device: FleetDevice) -> None:
        """Count what a device's journal saves, and say what it does not."""
        resumed = device.run.resumed
        assert resumed is not None
        self.taken_over += len(resumed.fitting)
        if resumed.changed or resumed.unplanned:
            for line in resumed.report()[1:]:
                self.display.say(f"{device.name}: {line.strip()}")

    # --- the loop -----------------------------------------------------------------------------

    def train(self) -> None:
        """Train everything that is left.

        Raises:
            HeadLostError: Ray's head is gone; what is finished is in the journals.
            UsageError: a journal cannot be written.
        """
        for device in self.devices:
            for planned in device.run.plan.cases.values():
                self._end_if_complete(device, planned)
        while any(node.is_busy for node in self.nodes):
            if self.cluster.is_lost:
                raise HeadLostError
            for node in self.nodes:
                self._advance(node)
            owners = {ref: node for node in self.nodes for ref in node.running}
            if not owners:
                time.sleep(POLL_SECONDS)
            for ref in self.cluster.wait(list(owners), POLL_SECONDS) if owners else ():
                if ref in owners[ref].running:  # else lost together with another one
                    self._take(owners[ref], ref)
            running = [describe_task(task) for node in self.nodes for task in node.running.values()]
            self.display.update(self.done, self.planned, running, self.seconds_left)
        self.display.close()

    def _advance(self, node: FleetNode) -> None:
        """Start what a node does next, if it does nothing."""
        if node.running or not node.is_busy:
            return
        if node.ray is None:
            self._wait_for(node)
            return
        while node.steps:
            step = [training for training in node.steps.popleft() if self._is_due(node, training)]
            for training in step:
                device = node.device(training.device)
                run = device.run
                planned = run.plan.cases[training.case_id]
                hardware = run.probed.environment.hardware
                peaks = hardware.matmul_flops_per_second or {}
                seed = planned.first_seed + training.index
                job = job_of(planned, seed, run.settings, peaks).model_dump_json()
                ref = device.agent.train.remote(
                    job, hardware.model_dump_json(), self.settings.timeout
                )
                node.running[ref] = training
                self._started[ref] = time.monotonic()
            if step:
                return

    def _is_due(self, node: FleetNode, training: Training) -> bool:
        run = node.device(training.device).run
        seed = run.plan.cases[training.case_id].first_seed + training.index
        case = run.cases[training.case_id]
        done = any(repeat.seed == seed for repeat in case.repeats)
        return not done and case.outcome == "passed"

    def _take(self, node: FleetNode, ref: Ref) -> None:
        """Keep what an agent has returned."""
        task = node.running.pop(ref)
        started = self._started.pop(ref, None)
        try:
            text = self.cluster.result(ref)
        except ProcessLostError as error:
            node.running[ref] = task
            self._lose(node, str(error))
            return
        except Exception as error:
            reason = printable(f"{type(error).__name__}: {error}")
            if isinstance(task, FleetDevice):
                self._give_up(node, f"it came back, but {reason}")
            else:
                self._fail(node, task, CaseError(kind="exception", message=reason))
            return
        if isinstance(task, FleetDevice):
            self._take_again(node, task, Begun.model_validate_json(text))
            return
        if started is not None:
            self._seconds[task.case_id].append(time.monotonic() - started)
        self._keep(node, task, Trained.model_validate_json(text))

    def _keep(self, node: FleetNode, training: Training, trained: Trained) -> None:
        device = node.device(training.device)
        planned = device.run.plan.cases[training.case_id]
        if trained.repeat is None:
            error = trained.error or CaseError(kind="protocol", message="an empty answer")
            seed = planned.first_seed + training.index
            self._fail(node, training, error.model_copy(update={"seed": seed}))
            return
        device.run.cases[planned.id].numerics += trained.numerics
        device.run.keep(planned, trained.repeat)
        self._last_kept_at = time.monotonic()
        try:
            device.run.check(trained.repeat)
        except WorkerError as error:
            self._fail(node, training, error.as_case_error())
        else:
            self._end_if_complete(device, planned)

    def _fail(self, node: FleetNode, training: Training, error: CaseError) -> None:
        device = node.device(training.device)
        device.run.fail(device.run.plan.cases[training.case_id], error)
        self.display.say(f"{device.name}: {training.case_id} FAILED: {error.message}")
        self._write_if_done(device)

    def _end_if_complete(self, device: FleetDevice, planned: AnyPlanned) -> None:
        if len(device.run.cases[planned.id].repeats) == planned.repeats:
            device.run.finish(planned)
            self._write_if_done(device)

    def _write_if_done(self, device: FleetDevice) -> None:
        """Write the record of a device that has nothing left to do, while others still train."""
        if not device.run.left:
            write_benchmark_json(device.run.record, device.run.paths.record)

    # --- lost nodes ---------------------------------------------------------------------------

    def _lose(self, node: FleetNode, reason: str) -> None:
        """Put back what a node was doing, until it is there again."""
        lost = [task for task in node.running.values() if isinstance(task, Training)]
        was_there = node.ray is not None
        self._end_agents_of(node)
        node.running.clear()
        node.ray = node.candidate = None
        node.retry_at = time.monotonic() + RETRY_SECONDS
        if was_there:
            node.lost_at, node.reason = time.monotonic(), reason
            self.display.say(
                f"{node.label}: lost ({reason}); what was under way there is trained again if it "
                "comes back"
            )
        self._losses.update(lost)
        for training in lost:
            if self._losses[training] >= MAX_LOSSES:
                message = f"lost {MAX_LOSSES} times while it trained ({reason})"
                self._fail(node, training, CaseError(kind="killed", message=message))
        if lost:
            node.steps.appendleft(tuple(lost))

    def _wait_for(self, node: FleetNode) -> None:
        """Take the devices of a lost node as soon as it is back; give it up after a while."""
        now = time.monotonic()
        if now < node.retry_at:
            return
        others_train = any(other.running for other in self.nodes)
        if not others_train and now - max(node.lost_at, self._last_kept_at) > RETURN_SECONDS:
            self._give_up(node, f"{node.reason}, and it did not come back")
            return
        used = {each.id for other in self.nodes for each in (other.ray, other.candidate) if each}
        back = (each for each in self.cluster.nodes() if each.label == node.base)
        node.candidate = next((each for each in back if each.id not in used), None)
        if node.candidate is not None:
            for device in node.devices:
                node.running[begin_device(self, device, node.candidate)] = device

    def _take_again(self, node: FleetNode, device: FleetDevice, begun: Begun) -> None:
        if begun.probed is None:
            self._give_up(node, f"it came back, but {device.name}: {begun.problem}")
        elif not self._is_same(device, begun.probed):
            self._give_up(node, f"it came back with other hardware or software ({device.name})")
        elif not node.running:
            node.ray, node.candidate = node.candidate, None
            self.display.say(f"{node.label}: back again")

    def _is_same(self, device: FleetDevice, probed: ProbeResult) -> bool:
        run = device.run
        return card_of(run.probed.environment) == card_of(probed.environment) and all(
            plan_digest(planned, run.probed) == plan_digest(planned, probed)
            for planned in run.plan.cases.values()
        )

    def _give_up(self, node: FleetNode, reason: str) -> None:
        """Name what a node leaves undone; a case with too few repeats counts as failed there."""
        self.display.say(f"{node.label}: given up: {reason}")
        node.is_given_up = True
        node.running.clear()
        self._end_agents_of(node)
        for device in node.devices:
            if device.session is None:
                continue
            for planned in device.run.plan.cases.values():
                case = device.run.cases[planned.id]
                done = len(case.repeats)
                if case.outcome == "passed" and done < min(ENOUGH, planned.repeats):
                    message = f"{node.label} was lost: {reason}; {done} of {planned.repeats} done"
                    device.run.fail(planned, CaseError(kind="killed", message=message))

    # --- the end ------------------------------------------------------------------------------

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left and nothing failed, so that no journal is needed."""
        return not self.left and not self.failures()

    def _end_agents_of(self, node: FleetNode) -> None:
        for device in node.devices:
            if device.agent is not None:
                self.cluster.end(device.agent)
                device.agent = None

    def end_agents(self) -> None:
        """End every agent, and with it what it trains; the devices are free then."""
        if not self.cluster.is_lost:
            for node in self.nodes:
                self._end_agents_of(node)

    def close(self) -> None:
        """Write every record; delete the journals if the fleet run is complete.

        Raises:
            UsageError: a record cannot be written; the journals stay.
        """
        self.display.close()
        self.end_agents()
        problem: UsageError | None = None
        for device in self.devices:
            if not device.run.record.cases:
                continue
            try:
                write_benchmark_json(device.run.record, device.run.paths.record)
            except UsageError as error:
                problem = problem or error
        complete = problem is None and self.is_complete
        for device in self.devices:
            if not complete:
                device.run.journal.close()
                continue
            device.run.journal.discard()
            device.run.drop_resumed()
            resumed = device.run.resumed
            if resumed is None or not (resumed.changed or resumed.unplanned):
                for path in device.run.paths.older_journals:
                    with suppress(OSError):
                        path.unlink(missing_ok=True)
        if problem is not None:
            raise UsageError(
                f"{problem}; the journals in {self.folder} have every finished training: free some "
                "space and continue with --resume"
            ) from problem

    def seconds_left(self) -> float | None:
        """Estimate the time left, that of the node with the most; None if a cost is unknown."""
        totals = [0.0]
        for node in self.nodes:
            due = [next((t for t in step if self._is_due(node, t)), None) for step in node.steps]
            running = [task for task in node.running.values() if isinstance(task, Training)][:1]
            expected = [self._expected_seconds(node, each) for each in [*due, *running] if each]
            known = [seconds for seconds in expected if seconds is not None]
            if len(known) < len(expected):
                return None
            totals.append(sum(known))
        return max(totals)

    def _expected_seconds(self, node: FleetNode, training: Training) -> float | None:
        """Return the mean time of a case so far; before, the estimate from its cost."""
        if found := self._seconds.get(training.case_id):
            return statistics.fmean(found)
        run = node.device(training.device).run
        return estimate_repeat_seconds(run.plan.cases[training.case_id], run.probed)
