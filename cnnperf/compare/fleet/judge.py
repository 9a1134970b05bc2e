"""Judge every device of a fleet by its peers.

A device is slow if a healthy one would hardly look like it: its mean lies further below the centre
of its peers than the spread between healthy devices and the noise of its trainings explain. Those
p-values are held over the whole fleet by their false discovery rate (Benjamini and Hochberg 1995):
of the devices that are called slow, 5 % at most are healthy on average. Holm's correction, which
`compare` uses for a few cases, would keep the chance of even one false alarm among 8,000 devices at
5 %, and so find only devices that lie 4.5 standard deviations away. docs/fleets.md has how often
each is wrong.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from cnnperf.compare.fleet.causes import find_causes
from cnnperf.compare.fleet.devices import HOST, FleetDevice
from cnnperf.compare.fleet.hosts import host_group, with_card_ratios
from cnnperf.compare.fleet.numerics import find_wrong
from cnnperf.compare.fleet.population import (
    MIN_DEVICES,
    Floats,
    Group,
    describe_population,
    moderated_variances,
    slow_p_values,
)
from cnnperf.compare.fleet.verdicts import (
    BAD,
    SEVERITY,
    DeviceVerdict,
    Figure,
    Fleet,
    JudgedDevice,
    JudgedHost,
    Peers,
)
from cnnperf.compare.verdicts import EXIT_INCONCLUSIVE, EXIT_OK, EXIT_REGRESSION
from cnnperf.errors import UsageError
from cnnperf.record.metrics import METRICS

FALSE_DISCOVERY_RATE = 0.05

THRESHOLD = 0.01
"""Smallest change of a ratio that counts."""

MAX_REPEATS = 1000


@dataclass(frozen=True, kw_only=True)
class FleetRules:
    """How a fleet is judged."""

    metric: str = "images_per_second"
    threshold: float = THRESHOLD
    """Smallest change of a ratio that counts; nearer devices are normal, however certain it is."""
    false_discovery_rate: float = FALSE_DISCOVERY_RATE
    strict: bool = False
    """Whether an undecided device fails."""

    @property
    def is_rate(self) -> bool:
        """Whether more is faster; a time is turned, so that every ratio is one of speeds."""
        return METRICS[self.metric].better == "higher"

    def shown(self, log_speed: float) -> float:
        """Return the metric of a logarithm of a speed."""
        return math.exp(log_speed if self.is_rate else -log_speed)


def judge_fleet(devices: Sequence[FleetDevice], rules: FleetRules | None = None) -> Fleet:
    """Judge every device.

    Raises:
        UsageError: no device has a finished training with the metric.
    """
    rules = rules or FleetRules()
    groups, alone = groups_of(devices, rules)
    if not groups and not alone and not any(_failure(device) for device in devices):
        raise UsageError(f"no device has a finished training with {rules.metric}: choose --metric")
    wrong, numerics_notes = find_wrong(devices)
    hosts = {device.name: device.labels[HOST] for device in devices if HOST in device.labels}
    by_host = [host_group(group, hosts) for group in groups]
    host_groups = [each for each in by_host if each is not None]
    figures = judge_groups([*groups, *host_groups], rules)
    for group, split, own in zip(groups, by_host, figures, strict=False):
        if split is not None:
            own[:] = with_card_ratios(group, split, hosts, own)
    of_devices = _by_name(groups, figures[: len(groups)])
    judged_hosts = _hosts(_by_name(host_groups, figures[len(groups) :]))
    judged = [
        _device(device, of_devices.get(device.name, []), alone, wrong.get(device.name))
        for device in devices
    ]
    causes = find_causes(devices, judged, judged_hosts)
    judged = [each.model_copy(update={"causes": causes.get(each.name, ())}) for each in judged]
    judged.sort(key=lambda each: (SEVERITY.index(each.verdict), _worst(each), each.name))
    return Fleet(
        exit_code=_exit_code([*judged, *judged_hosts], rules),
        summary=_summary(judged, judged_hosts),
        devices=tuple(judged),
        hosts=tuple(judged_hosts),
        peers=tuple(_peers(group, rules) for group in groups),
        notes=(*_notes(groups, alone), *numerics_notes),
    )


def groups_of(
    devices: Sequence[FleetDevice], rules: FleetRules
) -> tuple[list[Group], dict[str, str]]:
    """Return the groups of peers, and the devices with too few of them, with the reason."""
    found: dict[tuple[object, ...], list[tuple[str, list[float]]]] = {}
    for device in devices:
        for case in device.record.cases:
            values = [value for value in case.values(rules.metric) if value > 0]
            if values and case.outcome == "passed":
                key = (case.id, *device.stack(case))
                sign = 1 if rules.is_rate else -1
                logs = [sign * math.log(value) for value in values]
                found.setdefault(key, []).append((device.name, logs))
    groups, alone = [], {}
    for key, members in found.items():
        if len(members) < MIN_DEVICES:
            reason = f"{len(members) - 1} peers of its kind; {MIN_DEVICES - 1} are needed"
            alone.update({name: reason for name, _ in members})
        else:
            groups.append(group_of(str(key[0]), members))
    return groups, alone


def group_of(case_id: str, members: Sequence[tuple[str, list[float]]]) -> Group:
    """Return the group of some devices by name and the logarithms of their speeds."""
    logs = [np.array(values) for _, values in members]
    counts_D = np.array([len(each) for each in logs], dtype=float)
    means_D = np.array([each.mean() for each in logs])
    variances_D = np.array([each.var(ddof=1) if len(each) > 1 else 0.0 for each in logs])
    variances_D, freedoms_D = moderated_variances(variances_D, counts_D - 1)
    errors_D = np.sqrt(variances_D / counts_D)
    return Group(
        case_id=case_id,
        names=tuple(name for name, _ in members),
        counts_D=counts_D,
        means_D=means_D,
        errors_D=errors_D,
        freedoms_D=freedoms_D,
        population=describe_population(means_D, errors_D),
    )


def judge_groups(groups: Sequence[Group], rules: FleetRules) -> list[list[Figure]]:
    """Judge all devices (or hosts) of all groups together; return the figures of each group."""
    if not groups:
        return []
    raw = [slow_p_values(each.effects, each.errors_D, each.population) for each in groups]
    fast = [slow_p_values(-each.effects, each.errors_D, each.population) for each in groups]
    slow_p, fast_p = (_adjusted(each) for each in (raw, fast))
    found = []
    start = 0
    for group in groups:
        part = slice(start, start + len(group.names))
        start = part.stop
        critical = _critical(slow_p[part], group, rules.false_discovery_rate)
        p_values = zip(slow_p[part], fast_p[part], strict=True)
        found.append(
            [_figure(group, place, pair, critical, rules) for place, pair in enumerate(p_values)]
        )
    return found


def _by_name(
    groups: Sequence[Group], figures: Sequence[Sequence[Figure]]
) -> dict[str, list[Figure]]:
    found: dict[str, list[Figure]] = {}
    for group, own in zip(groups, figures, strict=True):
        for name, figure in zip(group.names, own, strict=True):
            found.setdefault(name, []).append(figure)
    return found


def _hosts(figures: Mapping[str, Sequence[Figure]]) -> list[JudgedHost]:
    """Return the hosts, worst first; more trainings do not settle what few cards leave open."""
    settled = {"verdict": "normal", "repeats_needed": None}
    found = []
    for name, each in figures.items():
        shown = [f.model_copy(update=settled) if f.verdict == "undecided" else f for f in each]
        verdict = min((figure.verdict for figure in shown), key=SEVERITY.index)
        found.append(JudgedHost(name=name, verdict=verdict, figures=tuple(shown)))
    return sorted(found, key=lambda each: (SEVERITY.index(each.verdict), _worst(each), each.name))


def _adjusted(p_values: Sequence[Floats]) -> Floats:
    together: Floats = stats.false_discovery_control(np.concatenate(p_values))
    return together


def _critical(adjusted_D: Floats, group: Group, rate: float) -> float:
    """Return the standard deviations from which on a device of the group is called slow."""
    scale_D = np.hypot(group.population.between_sd, group.errors_D)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance_D = np.abs(group.effects) / scale_D
    called_D = (adjusted_D <= rate) & (group.effects < 0)
    if called_D.any():
        return float(np.min(distance_D[called_D]))
    return float(stats.t.isf(rate / len(group.names), group.population.freedom))


def _figure(
    group: Group, place: int, p_values: tuple[float, float], critical: float, rules: FleetRules
) -> Figure:
    effect = float(group.effects[place])
    counts = abs(math.expm1(effect)) > rules.threshold
    slow, fast = (p <= rules.false_discovery_rate and counts for p in p_values)
    needed: int | None = None
    verdict: DeviceVerdict = "normal" if math.isfinite(group.population.between_sd) else "alone"
    if slow and effect < 0:
        verdict = "slow"
    elif fast and effect > 0:
        verdict = "fast"
    elif counts and effect < 0 and -effect > critical * group.population.between_sd:
        # With less noise it would be called slow.
        verdict, needed = "undecided", _repeats_needed(group, place, critical)
    width = float(group.half_widths[place])
    return Figure(
        case=group.case_id,
        metric=rules.metric,
        verdict=verdict,
        n=int(group.counts_D[place]),
        value=rules.shown(float(group.means_D[place])),
        ratio=math.exp(effect),
        low=math.exp(effect - width),
        high=math.exp(effect + width),
        p_value=float(p_values[0]),
        repeats_needed=needed,
    )


def _repeats_needed(group: Group, place: int, critical: float) -> int | None:
    """Return the trainings with which the device would be called slow if it stays where it is."""
    room = float((group.effects[place] / critical) ** 2) - group.population.between_sd**2
    variance = float(group.errors_D[place] ** 2 * group.counts_D[place])
    if room <= 0 or variance / room > MAX_REPEATS:
        return None
    return max(int(group.counts_D[place]) + 1, math.ceil(variance / room))


def _failure(device: FleetDevice) -> str | None:
    failed = [case for case in device.record.cases if case.outcome == "failed"]
    if not failed:
        return None
    message = failed[0].error.message if failed[0].error is not None else "no reason is recorded"
    return f"{failed[0].id} failed: {message}"


def _device(
    device: FleetDevice, figures: list[Figure], alone: Mapping[str, str], wrong: str | None
) -> JudgedDevice:
    verdicts = [figure.verdict for figure in figures]
    reason = wrong or _failure(device)
    if wrong is not None:
        verdicts.append("wrong")
    elif reason is not None:
        verdicts.append("failed")
    if not verdicts:
        verdicts, reason = ["alone"], alone.get(device.name, "no finished training")
    return JudgedDevice(
        name=device.name,
        labels=device.labels,
        verdict=min(verdicts, key=SEVERITY.index),
        figures=tuple(figures),
        reason=reason,
    )


def _worst(device: JudgedDevice | JudgedHost) -> float:
    return min((figure.ratio for figure in device.figures), default=0.0)


def _summary(devices: Sequence[JudgedDevice], hosts: Sequence[JudgedHost]) -> str:
    counts = Counter(each.verdict for each in devices)
    shown = ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in SEVERITY if counts[verdict])
    slow = sum(host.verdict == "slow" for host in hosts)
    of_hosts = f"; {slow:,} of {len(hosts):,} hosts slow" if slow else ""
    return f"{len(devices):,} device{'s' * (len(devices) != 1)}: {shown}{of_hosts}"


def _exit_code(judged: Sequence[JudgedDevice | JudgedHost], rules: FleetRules) -> int:
    verdicts = {each.verdict for each in judged}
    if verdicts & BAD:
        return EXIT_REGRESSION
    return EXIT_INCONCLUSIVE if "undecided" in verdicts and rules.strict else EXIT_OK


def _peers(group: Group, rules: FleetRules) -> Peers:
    within = float(np.median(group.errors_D**2 * group.counts_D)) ** 0.5
    return Peers(
        case=group.case_id,
        metric=rules.metric,
        devices=len(group.names),
        healthy=group.population.healthy,
        centre=rules.shown(group.population.centre),
        between_percent=100 * group.population.between_sd,
        within_percent=100 * within,
    )


def _notes(groups: Sequence[Group], alone: Mapping[str, str]) -> list[str]:
    notes = []
    kinds = Counter(group.case_id for group in groups)
    if any(count > 1 for count in kinds.values()):
        notes.append("devices of another kind or stack are judged apart")
    if alone:
        notes.append(f"{len(alone):,} devices have too few peers to be judged")
    if any((group.counts_D < 2).all() for group in groups):
        notes.append("one training a device: noise and device cannot be told apart")
    return notes
