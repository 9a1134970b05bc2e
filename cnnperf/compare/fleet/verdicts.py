"""The verdicts on a fleet, which `cnnperf.compare.fleet.judge` makes and outputs read."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from cnnperf.compare.verdicts import Model

DeviceVerdict = Literal["wrong", "failed", "slow", "undecided", "fast", "normal", "alone"]
"""Verdict on a device, the most important to read first. `alone`: it has too few peers."""

SEVERITY: tuple[DeviceVerdict, ...] = get_args(DeviceVerdict)
CONFIDENCE = 0.95

BAD: frozenset[DeviceVerdict] = frozenset({"wrong", "failed", "slow"})


class CardRatio(Model):
    """What is left of a device's ratio without its host's: the card beside the host's cards."""

    ratio: float
    low: float
    """End of the 95 % interval of the ratio; so is `high`."""
    high: float


class Figure(Model):
    """One case on one device, beside its peers; or on one host, beside the other hosts."""

    case: str
    metric: str
    verdict: DeviceVerdict
    n: int
    """Trainings of the device; cards of the host."""
    value: float
    """Geometric mean of the trainings; median of the cards."""
    ratio: float
    """To the centre of the healthy devices; below 1 is slower."""
    low: float
    """End of the 95 % interval of the ratio; so is `high`."""
    high: float
    p_value: float
    """Chance that a healthy device looks as slow, adjusted for the whole fleet."""
    repeats_needed: int | None = None
    """Trainings that would settle an undecided verdict; None if a thousand would not."""
    card: CardRatio | None = None
    """None of a host, and of a device whose host is unknown or has too few cards."""


class JudgedDevice(Model):
    """One device."""

    name: str
    labels: dict[str, str] = Field(default_factory=dict)
    verdict: DeviceVerdict
    figures: tuple[Figure, ...] = ()
    reason: str | None = None
    """One clause, where it was not judged by its figures."""
    causes: tuple[str, ...] = ()
    """Likely causes with their evidence, the likeliest first."""


class JudgedHost(Model):
    """One host with several cards: the median of its cards beside that of other hosts."""

    name: str
    verdict: DeviceVerdict
    """`alone`: there are too few hosts to tell what hosts differ by."""
    figures: tuple[Figure, ...]


class Peers(Model):
    """Devices of one kind that trained one case."""

    case: str
    metric: str
    devices: int
    healthy: int
    """Devices that count as healthy; their centre and spread are what others are judged by."""
    centre: float
    between_percent: float
    """Standard deviation between healthy devices, in percent."""
    within_percent: float
    """Standard deviation between trainings of one device, in percent."""


class Fleet(Model):
    """A fleet, judged."""

    exit_code: int
    summary: str
    devices: tuple[JudgedDevice, ...]
    """Worst first."""
    hosts: tuple[JudgedHost, ...] = ()
    """Worst first."""
    peers: tuple[Peers, ...]
    notes: tuple[str, ...] = ()
