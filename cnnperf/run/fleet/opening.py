"""The start of a fleet run: look at the nodes, take every device, and open a record for each.

Whatever would make it fail is found before anything is trained.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from cnnperf.catalog.registry import change_cases, select_cases
from cnnperf.catalog.specs import Tier
from cnnperf.compare.comparability import some
from cnnperf.errors import UsageError
from cnnperf.record.journal import SUFFIX, best_journal, choose_paths, read_journal
from cnnperf.record.messages import ProbeResult
from cnnperf.run.fleet.checks import check_data, first_answer, look_at
from cnnperf.run.fleet.cluster import Cluster
from cnnperf.run.fleet.devices import FleetDevice, FleetNode, card_of, find_devices
from cnnperf.run.fleet.driver import FleetRun, begin_device
from cnnperf.run.fleet.node import Begun
from cnnperf.run.fleet.order import draw_order
from cnnperf.run.fleet.progress import FleetDisplay
from cnnperf.run.header import format_estimate
from cnnperf.run.plan import choose_tier, make_plan
from cnnperf.run.session import RunSession
from cnnperf.run.settings import RunSettings

MAX_NAMED = 6
"""Most devices that a line names."""


def check_folder(folder: Path, *, resume: bool) -> None:
    """Check that a folder has a fleet run to resume, or none.

    Raises:
        UsageError: it is the other way round.
    """
    files = [path for kind in ("*.json", f"*{SUFFIX}") for path in folder.glob(kind)]
    if files and not resume:
        raise UsageError(
            f"{folder} has records already, such as {files[0].name}: continue that fleet run with "
            "--resume, or choose another folder with -o"
        )
    if resume and not any(path.name.endswith(SUFFIX) for path in files):
        raise UsageError(
            f"{folder} has no stopped fleet run to resume: expected the folder of its -o, with a "
            f"journal a device such as node7-gpu3-20260101-120000{SUFFIX}"
        )


def open_fleet(
    cluster: Cluster,
    settings: RunSettings,
    expression: str | None,
    folder: Path,
    display: FleetDisplay,
    *,
    together: bool = False,
    resume: bool = False,
) -> FleetRun:
    """Return a fleet run that is ready to train; the caller closes it.

    Raises:
        UsageError: a node lacks something or differs, a device is in use, nothing is selected, or
            the records cannot be written. Nothing is left behind.
    """
    display.say(f"looking at {count_of(cluster.nodes(), 'node')} ...")
    facts = look_at(cluster)
    found = [node for node in cluster.nodes() if node.id in facts]
    nodes = find_devices(found, facts, settings.device, is_anonymous=settings.anonymous)
    has_gpu = any(device.kind == "cuda" for node in nodes for device in node.devices)
    tier, _ = choose_tier(replace(settings, device="cuda" if has_gpu else "cpu"))
    change_cases(settings.set)
    case_ids = select_cases(expression, tier)
    check_data(cluster, [node.ray for node in nodes if node.ray], case_ids, settings)
    devices = [device for node in nodes for device in node.devices]
    display.say(
        f"taking {count_of(devices, 'device')} and building each model once on each: "
        f"{some([device.name for device in devices], MAX_NAMED)}"
    )
    fleet = FleetRun(cluster, nodes, settings, case_ids, folder, display)
    try:
        probed = _take_devices(fleet)
        with ExitStack() as undo:
            for node in nodes:
                _open_node(node, probed, fleet, tier, undo, together=together, resume=resume)
            undo.pop_all()
        display.say(_describe_work(fleet, tier, together=together))
    except BaseException:
        fleet.end_agents()
        raise
    return fleet


def _describe_work(fleet: FleetRun, tier: Tier, *, together: bool) -> str:
    """Return text such as `tier smoke; 2 cases, 30 trainings, roughly 5 min; ...`."""
    trainings = fleet.planned - fleet.taken_over
    text = f"tier {tier}; {count_of(fleet.case_ids, 'case')}, {trainings:,} trainings"
    if seconds := fleet.seconds_left():
        text += f", roughly {format_estimate(seconds)}"
    if fleet.taken_over:
        text += f"; {fleet.taken_over:,} taken over from the stopped run"
    alone = "one device of a node at a time"
    return f"{text}; {'all devices of a node together' if together else alone}"


def _take_devices(fleet: FleetRun) -> dict[str, ProbeResult]:
    """Hold and probe every device; return the probes by the device's name."""
    begun = [
        (device, begin_device(fleet, device, node.ray))
        for node in fleet.nodes
        for device in node.devices
        if node.ray is not None
    ]
    probed = {}
    for device, ref in begun:
        text = first_answer(fleet.cluster, ref, device.name, seconds=900)
        answer = Begun.model_validate_json(text)
        if answer.probed is None:
            raise UsageError(f"{device.name}: {answer.problem}")
        probed[device.name] = answer.probed
    return probed


def _open_node(
    node: FleetNode,
    probed: dict[str, ProbeResult],
    fleet: FleetRun,
    tier: Tier,
    undo: ExitStack,
    *,
    together: bool,
    resume: bool,
) -> None:
    """Open the sessions of a node's devices and draw the order of their trainings."""
    for device in node.devices:
        session = _open_session(device, probed[device.name], fleet, tier, resume=resume)
        if session is None:
            continue
        undo.callback(session.journal.discard)
        device.session = session
        session.start(probed[device.name])
        if session.resumed is not None:
            fleet.note_resumed(device)
        for planned in session.plan.cases.values():
            session.begin(planned)
    names = [device.name for device in node.devices if device.session is not None]
    repeats = fleet.settings.repeats_in(tier)
    seed = f"{fleet.settings.seed} {node.label}"
    steps = draw_order(names, fleet.case_ids, repeats, seed=seed, together=together)
    node.steps = deque(steps)


def _open_session(
    device: FleetDevice, probed: ProbeResult, fleet: FleetRun, tier: Tier, *, resume: bool
) -> RunSession | None:
    """Open a device's record and journal; None if a resumed run has nothing left to do there.

    Journals are removed only when a whole fleet run is complete, so a record without one is whole.
    """
    paths = choose_paths(fleet.folder / f"{device.name}.json", fleet.folder)
    if resume and paths.record.exists() and not paths.older_journals:
        return None
    card = card_of(probed.environment)
    own = [
        path for path in paths.older_journals if card_of(read_journal(path)[0].environment) == card
    ]
    if len(own) < len(paths.older_journals):
        fleet.display.say(
            f"{device.name}: another card than before, so it is trained from the start"
        )
    settings = replace(fleet.settings, device=device.kind, resume=best_journal(own))
    plan = make_plan(fleet.case_ids, settings, tier, elsewhere=True)
    return RunSession(settings, tier, plan, paths)


def count_of(things: Sequence[object], noun: str) -> str:
    """Return text such as `2 nodes`."""
    return f"{len(things):,} {noun}{'s' * (len(things) != 1)}"
