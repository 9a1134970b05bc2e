"""Host and card apart, on fleets whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from cnnperf.compare.fleet.devices import HOST, FleetDevice
from cnnperf.compare.fleet.hosts import _median_share
from cnnperf.compare.fleet.judge import judge_fleet
from cnnperf.compare.fleet.verdicts import Fleet, JudgedHost
from cnnperf.record.schema import Record
from tests.compare.fleet.attribution import JUDGES, rates
from tests.compare.fleet.fleets import NODE, fleet_of


def judged(records: dict[str, Record]) -> Fleet:
    """The verdicts on a fleet whose hosts are known."""
    devices = [
        FleetDevice(name=name, record=record, labels={HOST: name.partition("-")[0]})
        for name, record in records.items()
    ]
    return judge_fleet(devices)


def host(fleet: Fleet, name: str) -> JudgedHost:
    """The verdict on one host."""
    return next(each for each in fleet.hosts if each.name == name)


def test_slow_host_explains_its_cards_and_the_bad_card_in_it() -> None:
    """All cards of node4 are 8 % slower, one of them 10 % more; one of node0 is slow by itself."""
    effects = dict.fromkeys(range(32, 40), -0.08) | {35: -0.18, 3: -0.1}
    fleet = judged(fleet_of(80, effects, between=0.005))
    assert [each.name for each in fleet.hosts if each.verdict == "slow"] == ["node4"]
    assert fleet.summary == "80 devices: 9 slow, 71 normal; 1 of 10 hosts slow"
    (of_host,) = host(fleet, "node4").figures
    assert of_host.low < np.exp(-0.08) < of_host.high
    assert of_host.n == NODE
    found = {each.name: each for each in fleet.devices}
    for name, truth in (("node4-gpu1", 1.0), ("node4-gpu3", np.exp(-0.1)), ("node0-gpu3", 0.9048)):
        (figure,) = found[name].figures
        assert figure.card is not None
        assert figure.card.low < truth < figure.card.high
    assert found["node4-gpu1"].verdict == "slow"
    assert found["node4-gpu1"].causes[0].startswith("host node4: its 8 cards are 7.")
    assert "; the card itself is " in found["node4-gpu1"].causes[0]
    assert found["node0-gpu3"].causes == ()


def test_host_is_found_whose_cards_are_each_within_the_spread() -> None:
    """Eight cards that are 2.5 % slower together say more than one; the exit code says it."""
    fleet = judged(fleet_of(320, dict.fromkeys(range(32, 40), -0.025), between=0.01, seed=3))
    assert [each.name for each in fleet.hosts if each.verdict == "slow"] == ["node4"]
    assert sum(each.verdict == "slow" for each in fleet.devices) < NODE / 2
    assert fleet.exit_code == 1
    assert fleet.summary.endswith("; 1 of 40 hosts slow")


def test_few_hosts_have_effects_but_no_verdict() -> None:
    """Four hosts do not tell what healthy hosts differ by; two cards not which one is bad."""
    fleet = judged(fleet_of(32, dict.fromkeys(range(8), -0.1)))
    assert {each.verdict for each in fleet.hosts} == {"alone"}
    assert fleet.devices[0].causes[0].startswith("host node0: its 8 cards are ")
    pairs = {name: each for name, each in fleet_of(80).items() if name.endswith(("gpu0", "gpu1"))}
    assert judged(pairs).hosts == ()


def test_healthy_hosts_raise_no_alarm() -> None:
    """Hardly ever: in one fleet of twenty, devices and hosts together."""
    fleets = [judged(fleet_of(80, seed=seed)) for seed in range(40)]
    assert sum(fleet.exit_code for fleet in fleets) <= 6


def test_variance_of_a_median_is_the_drawn_one() -> None:
    """Of normal values."""
    rng = np.random.default_rng(0)
    for count in (3, 4, 8, 16):
        drawn = np.median(rng.normal(size=(200_000, count)), axis=1).var()
        assert 0.97 < _median_share(np.array([count]))[0] / drawn < 1.17


def test_median_blames_the_right_one_where_others_do_not() -> None:
    """A mean blames a host for its bad card, a shrunken effect the cards for their bad host."""
    found = {name: rates(judge, 20) for name, judge in JUDGES.items()}
    assert found["median"].card_error_percent < 0.6 < found["mean"].card_error_percent
    assert found["median"].host_error_percent < 1.0 < found["shrunken"].host_error_percent
    assert found["median"].host_error_percent == pytest.approx(0.5, abs=0.3)
