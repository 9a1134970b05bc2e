"""Why a device may be slow: what its record says that those of its healthy peers do not.

The ladder goes from what certainly slows a device to what only tells it from others. Each rung is a
sentence with both figures, so that a reader can judge it.
"""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from cnnperf.compare.fleet.devices import HOST, FleetDevice
from cnnperf.compare.fleet.verdicts import Figure, JudgedDevice, JudgedHost
from cnnperf.record.schema import Repeat

CLOCK_SHARE = 0.02
"""A clock that is lower by more than this is worth a sentence."""

HOTTER_CELSIUS = 8.0

MANY = 0.5
"""Share of the devices with one label that must be slow before the label is a cause."""

HOST_SHARE = 0.25
"""Part of a device's difference that its host must explain before it is a cause."""

MAX_CAUSES = 4

Verdicts = Mapping[str, str]
Read = Callable[[FleetDevice], object]


def find_causes(
    devices: Sequence[FleetDevice], judged: Sequence[JudgedDevice], hosts: Sequence[JudgedHost]
) -> dict[str, tuple[str, ...]]:
    """Return the likely causes of every slow device, the likeliest first."""
    verdicts = {each.name: each.verdict for each in judged}
    worst = {each.name: min(each.figures, key=lambda f: f.ratio) for each in judged if each.figures}
    by_host = {(host.name, figure.case): figure for host in hosts for figure in host.figures}
    bad = [device for device in devices if verdicts[device.name] in ("slow", "undecided")]
    good = [device for device in devices if verdicts[device.name] in ("normal", "fast")]
    shared = _shared_labels(devices, verdicts)
    found = {}
    for device in bad:
        figure = worst[device.name]
        host = by_host.get((device.labels.get(HOST, ""), figure.case))
        reasons = [
            *_of_host(device, figure, host),
            *_of_labels(device, shared, without={HOST} if host is not None else set()),
            *_of_device(device, good),
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


def _of_device(device: FleetDevice, peers: Sequence[FleetDevice]) -> Iterable[str]:
    yield from _throttled(device, peers)
    yield from _lower(device, peers, "power limit", _of_state("power_limit_watts"), "W")
    yield from _lower(device, peers, "SM clock", _of_during("sm_clock_median_mhz"), "MHz")
    yield from _xid_errors(device, peers)
    for name, count in ERRORS.items():
        own_count, usual_count = count(device), _usual_count(count, peers)
        if own_count is not None and own_count > 2 * usual_count:
            yield f"{name}: {own_count:,}, {usual_count:,.0f} in its peers"
    for name, read in IDENTITY.items():
        usual = _usual([read(peer) for peer in peers])
        own = read(device)
        if usual is not None and own is not None and own != usual:
            yield f"{name} {own}, not {usual} as most of its peers"
    yield from _hotter(device, peers)
    yield from _disturbed(device, peers)


def _gpu(field: str) -> Read:
    return lambda device: getattr(device.environment.hardware.gpu, field, None)


def _software(field: str) -> Read:
    return lambda device: getattr(device.environment.software, field)


def _setting(field: str) -> Read:
    """Read a setting of the process that trained."""

    def read(device: FleetDevice) -> object:
        found = [getattr(repeat.settings, field, None) for repeat in _repeats(device)]
        return found[0] if found else None

    return read


def _link(field: str) -> Read:
    """Read the PCIe link under load, which is not always the best that it could be."""

    def read(device: FleetDevice) -> object:
        found = [getattr(repeat.state.during, field, None) for repeat in _repeats(device)]
        return _usual([each for each in found if each is not None])

    return read


IDENTITY: dict[str, Read] = {
    "PCIe lanes under load": _link("pcie_width"),
    "PCIe generation under load": _link("pcie_generation"),
    "PCIe lanes": _gpu("pcie_width"),
    "PCIe generation": _gpu("pcie_generation"),
    "NVLink links": _gpu("nvlink_links"),
    "CPU quota in cores": _setting("cpu_quota_cores"),
    "threads of torch": _setting("torch_threads"),
    "environment variables": _setting("variables"),
    "tracers": _setting("tracers"),
    "driver": _software("driver"),
    "VBIOS": _gpu("vbios"),
    "kernel": _software("kernel"),
    "cnnperf": _software("cnnperf"),
}
"""What devices of one kind usually have in common, the likeliest causes first."""


def _repeats(device: FleetDevice) -> list[Repeat]:
    return [repeat for case in device.record.cases for repeat in case.repeats]


def _usual(values: Sequence[object]) -> object:
    """Return what most peers have; None where they differ."""
    known = {repr(value): value for value in values}
    counts = Counter(map(repr, values))
    if not counts:
        return None
    text, count = counts.most_common(1)[0]
    return known[text] if count > sum(counts.values()) / 2 else None


Count = Callable[[FleetDevice], int | None]


def _growth(field: str) -> Count:
    """Count errors from the start to the end of each training; None where none was counted."""

    def count(device: FleetDevice) -> int | None:
        grown = []
        for state in (repeat.state for repeat in _repeats(device)):
            before, after = (
                getattr(each.health, field, None) if each is not None else None
                for each in (state.before, state.after)
            )
            if before is not None and after is not None:
                grown.append(max(0, after - before))
        return sum(grown) if grown else None

    return count


def _so_far(*fields: str) -> Count:
    """Read what the last training's counters show together."""

    def count(device: FleetDevice) -> int | None:
        states = [repeat.state.after for repeat in _repeats(device) if repeat.state.after]
        health = states[-1].health if states else None
        known = [value for name in fields if (value := getattr(health, name, None)) is not None]
        return sum(known) if known else None

    return count


ERRORS: dict[str, Count] = {
    "uncorrected ECC errors during its trainings": _growth("ecc_uncorrected"),
    "NVLink errors during its trainings": _growth("nvlink_errors"),
    "corrected ECC errors during its trainings": _growth("ecc_corrected"),
    "failed remappings of memory rows": _so_far("remapping_failed"),
    "memory rows waiting for a reset to be remapped": _so_far("remapping_pending"),
    "remapped memory rows": _so_far("remapped_rows_correctable", "remapped_rows_uncorrectable"),
    "retired memory pages": _so_far("retired_pages"),
    "uncorrected ECC errors in its life": _so_far("ecc_uncorrected_lifetime"),
}
"""What a healthy card has none of, the gravest first."""


def _usual_count(count: Count, peers: Sequence[FleetDevice]) -> float:
    known = [value for peer in peers if (value := count(peer)) is not None]
    return statistics.median(known) if known else 0.0


def _xid_errors(device: FleetDevice, peers: Sequence[FleetDevice]) -> Iterable[str]:
    own = _xids(device)
    if own:
        others = sum(bool(_xids(peer)) for peer in peers)
        numbers = ", ".join(map(str, sorted(own)))
        yield f"Xid {numbers} during its trainings; {others:,} of {len(peers):,} peers had any"


def _xids(device: FleetDevice) -> set[int]:
    during = [repeat.state.during for repeat in _repeats(device)]
    return {number for each in during if each and each.xid_errors for number in each.xid_errors}


def _of_state(field: str) -> Callable[[FleetDevice], list[float]]:
    def read(device: FleetDevice) -> list[float]:
        states = (repeat.state.before for repeat in _repeats(device))
        found = (getattr(state.device, field, None) for state in states if state is not None)
        return [value for value in found if value is not None]

    return read


def _of_during(field: str) -> Callable[[FleetDevice], list[float]]:
    def read(device: FleetDevice) -> list[float]:
        found = (getattr(repeat.state.during, field, None) for repeat in _repeats(device))
        return [value for value in found if value is not None]

    return read


def _medians(
    device: FleetDevice,
    peers: Sequence[FleetDevice],
    read: Callable[[FleetDevice], list[float]],
) -> tuple[float, float] | None:
    own = read(device)
    others = [statistics.median(values) for peer in peers if (values := read(peer))]
    return (statistics.median(own), statistics.median(others)) if own and others else None


def _lower(
    device: FleetDevice,
    peers: Sequence[FleetDevice],
    name: str,
    read: Callable[[FleetDevice], list[float]],
    unit: str,
) -> Iterable[str]:
    found = _medians(device, peers, read)
    if found is not None and found[0] < (1 - CLOCK_SHARE) * found[1]:
        yield f"{name} {found[0]:,.0f} {unit}, {found[1]:,.0f} {unit} in its peers"


def _hotter(device: FleetDevice, peers: Sequence[FleetDevice]) -> Iterable[str]:
    found = _medians(device, peers, _of_during("temperature_max_celsius"))
    if found is not None and found[0] > found[1] + HOTTER_CELSIUS:
        yield f"temperature {found[0]:.0f} °C, {found[1]:.0f} °C in its peers"


def _throttled(device: FleetDevice, peers: Sequence[FleetDevice]) -> Iterable[str]:
    """Yield each reason that limited the clocks for longer than in the peers."""
    own, others = _throttle_shares(device), [_throttle_shares(peer) for peer in peers]
    for reason in sorted(own, key=lambda name: -own[name]):
        usual = statistics.median(each.get(reason, 0.0) for each in others) if others else 0.0
        if own[reason] > usual + 0.1:
            yield f"clocks limited by {reason} {own[reason]:.0%} of the time ({usual:.0%} in peers)"


def _throttle_shares(device: FleetDevice) -> dict[str, float]:
    during = [repeat.state.during for repeat in _repeats(device)]
    shares = [each.throttle_shares for each in during if each and each.throttle_shares]
    names = {name for share in shares for name in share}
    found = {name: statistics.fmean(share.get(name, 0.0) for share in shares) for name in names}
    stopped = [
        each.cpu_throttled_periods / each.cpu_periods
        for each in during
        if each and each.cpu_periods and each.cpu_throttled_periods is not None
    ]
    return found | ({"a CPU quota": statistics.fmean(stopped)} if stopped else {})


def _disturbed(device: FleetDevice, peers: Sequence[FleetDevice]) -> Iterable[str]:
    """Yield each kind of warning that its repeats have more often than those of the peers."""
    own, others = _warned(device), [_warned(peer) for peer in peers]
    for kind, share in sorted(own.items()):
        usual = statistics.median(each.get(kind, 0.0) for each in others) if others else 0.0
        if share > usual + MANY and kind != "throttled":  # which has a rung of its own
            yield f"warning {kind} in {share:.0%} of its trainings ({usual:.0%} in peers)"


def _warned(device: FleetDevice) -> dict[str, float]:
    repeats = _repeats(device)
    counts = Counter(kind for each in repeats for kind in {flag.kind for flag in each.warnings})
    return {kind: count / len(repeats) for kind, count in counts.items()}
