"""Why a device may be slow: what its record says that those of its healthy peers do not.

The ladder goes from what certainly slows a device to what only tells it from others. Each rung is a
sentence with both figures, so that a reader can judge it.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from cnnperf.compare.fleet.devices import HOST, FleetDevice
from cnnperf.compare.fleet.signs import CLOCK, POWER, TEMPERATURE, Signs, usual
from cnnperf.compare.fleet.verdicts import Figure, JudgedDevice, JudgedHost

CLOCK_SHARE = 0.02
"""A clock that is lower by more than this is worth a sentence."""

HOTTER_CELSIUS = 8.0

LIMITED_SHARE = 0.1
"""Share of the time, beyond that of the peers, for which a limit is a cause."""

MANY = 0.5
"""Share of the devices with one label that must be slow before the label is a cause."""

HOST_SHARE = 0.25
"""Part of a device's difference that its host must explain before it is a cause."""

MAX_CAUSES = 4

Verdicts = Mapping[str, str]


def find_causes(
    devices: Sequence[FleetDevice], judged: Sequence[JudgedDevice], hosts: Sequence[JudgedHost]
) -> dict[str, tuple[str, ...]]:
    """Return the likely causes of every slow device, the likeliest first."""
    verdicts = {each.name: each.verdict for each in judged}
    worst = {each.name: min(each.figures, key=lambda f: f.ratio) for each in judged if each.figures}
    by_host = {(host.name, figure.case): figure for host in hosts for figure in host.figures}
    bad = [device for device in devices if verdicts[device.name] in ("slow", "undecided")]
    good: dict[object, list[Signs]] = {}
    for device in devices:
        if verdicts[device.name] in ("normal", "fast"):
            good.setdefault(device.kind, []).append(device.signs)
    peers = {kind: Usual.of(signs) for kind, signs in good.items()}
    nobody = Usual.of([])
    shared = _shared_labels(devices, verdicts)
    found = {}
    for device in bad:
        figure = worst[device.name]
        host = by_host.get((device.labels.get(HOST, ""), figure.case))
        reasons = [
            *_of_host(device, figure, host),
            *_of_labels(device, shared, without={HOST} if host is not None else set()),
            *_of_device(device.signs, peers.get(device.kind, nobody)),
        ]
        found[device.name] = tuple(reasons[:MAX_CAUSES])
    return found


def _of_host(device: FleetDevice, figure: Figure, host: Figure | None) -> Iterable[str]:
    """Yield the host's part of the difference, if it is one, with the card's own."""
    if host is None or figure.card is None or host.high >= 1:
        return
    if 1 - host.ratio >= HOST_SHARE * (1 - figure.ratio):
        own = slower(figure.card.ratio, figure.card.low, figure.card.high)
        yield (
            f"host {device.labels[HOST]}: its {host.n} cards are "
            f"{slower(host.ratio, host.low, host.high)}; the card itself is {own}"
        )


def slower(ratio: float, low: float, high: float) -> str:
    """Return how much slower a ratio of speeds is, with its interval.

    >>> slower(0.959, 0.95, 0.968)
    '4.1 % slower (3.2 to 5.0 %)'
    >>> slower(1.002, 0.99, 1.014)
    '0.2 % faster (-1.0 to 1.4 %)'
    """
    sign, word = (1, "faster") if ratio > 1 else (-1, "slower")
    ends = sorted(100 * sign * (end - 1) for end in (low, high))
    return f"{100 * sign * (ratio - 1):.1f} % {word} ({ends[0]:.1f} to {ends[1]:.1f} %)"


def _shared_labels(
    devices: Sequence[FleetDevice], verdicts: Verdicts
) -> dict[tuple[str, str], tuple[int, int]]:
    """Return, by label and value, slow devices and all of them where most are slow."""
    every = Counter(label for device in devices for label in device.labels.items())
    slow = Counter(
        label
        for device in devices
        if verdicts[device.name] == "slow"
        for label in device.labels.items()
    )
    share = sum(verdict == "slow" for verdict in verdicts.values()) / max(1, len(verdicts))
    return {
        label: (slow[label], count)
        for label, count in every.items()
        if slow[label] > 1 and slow[label] / count > max(MANY, 2 * share)
    }


def _of_labels(
    device: FleetDevice, shared: Mapping[tuple[str, str], tuple[int, int]], without: set[str]
) -> Iterable[str]:
    for label in device.labels.items():
        if label in shared and label[0] not in without:
            slow, count = shared[label]
            name, value = label
            yield f"{name} {value}: {slow} of its {count} devices are slow"


@dataclass(frozen=True, kw_only=True)
class Usual:
    """The usual signs of the healthy devices of one kind."""

    peers: int
    identity: dict[str, object]
    levels: dict[str, float]
    limits: dict[str, float]
    errors: dict[str, float]
    warnings: dict[str, float]
    with_xids: int

    @classmethod
    def of(cls, peers: Sequence[Signs]) -> Usual:
        """Return what most of some devices have, and medians."""
        names = dict.fromkeys(name for each in peers for name in each.identity)
        return cls(
            peers=len(peers),
            identity={name: usual([each.identity.get(name) for each in peers]) for name in names},
            levels=_medians([each.levels for each in peers]),
            limits=_medians([each.limits for each in peers], absent=0.0),
            errors=_medians([each.errors for each in peers]),
            warnings=_medians([each.warnings for each in peers], absent=0.0),
            with_xids=sum(bool(each.xids) for each in peers),
        )


def _medians(
    values: Sequence[Mapping[str, float]], absent: float | None = None
) -> dict[str, float]:
    """Return the median by name; where a device lacks a name, `absent` counts, if given."""
    found: dict[str, float] = {}
    for name in dict.fromkeys(name for each in values for name in each):
        known = [each.get(name, absent) for each in values]
        found[name] = statistics.median(each for each in known if each is not None)
    return found


def _of_device(own: Signs, peers: Usual) -> Iterable[str]:
    for reason, share in sorted(own.limits.items(), key=lambda each: -each[1]):
        other = peers.limits.get(reason, 0.0)
        if share > other + LIMITED_SHARE:
            yield f"clocks limited by {reason} {share:.0%} of the time ({other:.0%} in peers)"
    for name, unit in ((POWER, "W"), (CLOCK, "MHz")):
        level, most = own.levels.get(name), peers.levels.get(name)
        if level is not None and most is not None and level < (1 - CLOCK_SHARE) * most:
            yield f"{name} {level:,.0f} {unit}, {most:,.0f} {unit} in its peers"
    if own.xids:
        numbers = ", ".join(map(str, sorted(own.xids)))
        others = f"{peers.with_xids:,} of {peers.peers:,} peers had any"
        yield f"Xid {numbers} during its trainings; {others}"
    for name, count in own.errors.items():
        if count > 2 * (other := peers.errors.get(name, 0.0)):
            yield f"{name}: {count:,}, {other:,.0f} in its peers"
    for name, value in own.identity.items():
        common = peers.identity.get(name)
        if common is not None and value is not None and value != common:
            yield f"{name} {value}, not {common} as most of its peers"
    level, most = own.levels.get(TEMPERATURE), peers.levels.get(TEMPERATURE)
    if level is not None and most is not None and level > most + HOTTER_CELSIUS:
        yield f"temperature {level:.0f} °C, {most:.0f} °C in its peers"
    for kind, share in sorted(own.warnings.items()):
        other = peers.warnings.get(kind, 0.0)
        if share > other + MANY and kind != "throttled":  # which has a rung of its own
            yield f"warning {kind} in {share:.0%} of its trainings ({other:.0%} in peers)"
