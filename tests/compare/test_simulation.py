"""How often verdicts are wrong and how often they see a change, over thousands of made-up runs.

Seeds are fixed. Shares are held to their bounds with four standard deviations of a binomial share
of so many draws, so that another order of random numbers would pass as well.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest

from tests.compare.simulated import (
    ALPHA,
    CASES,
    CHANGES,
    COUNTS,
    NOISES,
    REPEATS,
    RULES,
    clean,
    coverage,
    draw,
    outliers,
    restless,
    run_alarms,
    share_non_inferior,
    share_non_inferior_counted,
    share_slower,
    t_finds,
    two_modes,
    verdict_shares,
)
from tests.compare.simulation import percent

DRAWS = 1500
EVIDENCE_PAGE = Path(__file__).parents[2] / "docs" / "verdicts-evidence.md"


def slack(share: float, draws: int = DRAWS) -> float:
    """Four standard deviations of a share found in so many draws."""
    return 4 * math.sqrt(share * (1 - share) / draws)


@pytest.mark.parametrize("repeats", REPEATS)
@pytest.mark.parametrize("noise", NOISES)
def test_false_alarms_are_held_at_the_very_edge(noise: str, repeats: int) -> None:
    """Nothing is easier to mistake for a slowdown than a change of just the threshold: 2.5 %."""
    found = share_slower(RULES["cnnperf"], NOISES[noise], repeats, 0.03, DRAWS)
    assert found <= ALPHA + slack(ALPHA)


@pytest.mark.parametrize("repeats", REPEATS)
@pytest.mark.parametrize("noise", NOISES)
def test_false_alarms_are_rarer_where_nothing_changed(noise: str, repeats: int) -> None:
    """One in a hundred at most; two modes with 3 repeats come near it, when all draw apart."""
    found = share_slower(RULES["cnnperf"], NOISES[noise], repeats, 0, DRAWS)
    assert found <= 0.011 + (slack(0.011) if noise == "two modes" else 0)


@pytest.mark.parametrize("repeats", REPEATS)
@pytest.mark.parametrize("noise", NOISES)
def test_intervals_hold_their_level(noise: str, repeats: int) -> None:
    """95 % of them contain the truth, or more, whatever the noise."""
    assert coverage(NOISES[noise], repeats, DRAWS) >= 0.95 - slack(0.95)


@pytest.mark.parametrize("repeats", REPEATS)
def test_intervals_nearly_hold_their_level_when_one_side_is_noisier(repeats: int) -> None:
    """Ranks take both spreads for equal: at three times the other's, 2 points may be missing."""
    assert coverage(clean, repeats, DRAWS, new_noise=restless) >= 0.93 - slack(0.93)


def test_intervals_are_not_held_by_being_wide() -> None:
    """Of clean noise no more contain the truth than should, but for the steps of ranks."""
    for repeats in REPEATS:
        assert coverage(clean, repeats, DRAWS) <= 0.965 + slack(0.965)


@pytest.mark.parametrize(
    ("repeats", "five", "ten"),
    [(3, 0.30, 0.99), (5, 0.70, 0.99), (7, 0.85, 0.99), (10, 0.95, 0.99), (20, 0.99, 0.99)],
)
def test_slowdowns_are_found_in_clean_noise(repeats: int, five: float, ten: float) -> None:
    """More of +5 % with every repeat; +10 % nearly always."""
    rule = RULES["cnnperf"]
    assert share_slower(rule, clean, repeats, 0.05, DRAWS) >= five - slack(five)
    assert share_slower(rule, clean, repeats, 0.10, DRAWS) >= ten - slack(ten)


@pytest.mark.parametrize("repeats", [8, 10, 20])
def test_ranks_find_twice_as_much_among_outliers(repeats: int) -> None:
    """As Welch's t does with as many repeats, and hardly less in clean noise."""
    by_ranks = share_slower(RULES["cnnperf"], outliers, repeats, 0.05, DRAWS)
    assert by_ranks >= 2 * t_finds(outliers, repeats, 0.05, DRAWS)
    in_clean = share_slower(RULES["cnnperf"], clean, repeats, 0.05, DRAWS)
    assert in_clean >= t_finds(clean, repeats, 0.05, DRAWS) - 0.05


@pytest.mark.parametrize("repeats", [3, 5, 7, 10])
def test_two_modes_are_mostly_inconclusive(repeats: int) -> None:
    """The verdict says that it cannot tell, instead of guessing."""
    for change in (0, 0.05):
        assert verdict_shares(two_modes, repeats, change, DRAWS)["inconclusive"] >= 0.6


def test_no_change_is_called_the_same_given_enough_repeats() -> None:
    """A rule that always said inconclusive would never be wrong."""
    shares = [verdict_shares(clean, repeats, 0, DRAWS)["same"] for repeats in (3, 5, 10)]
    assert shares[0] >= 0.4
    assert shares[1] >= 0.9
    assert shares[2] >= 0.99


def test_faster_and_slower_are_found_alike() -> None:
    """Times are compared by ratio: 5 % longer is as far from nothing as its undoing is."""
    slower = verdict_shares(clean, 5, 0.05, DRAWS)["slower"]
    faster = verdict_shares(clean, 5, 1 / 1.05 - 1, DRAWS, seed=1)["faster"]
    assert faster == pytest.approx(slower, abs=2 * slack(slower))


# --- many cases ---------------------------------------------------------------------------------


def test_a_run_of_many_cases_cries_wolf_no_more_than_one_case() -> None:
    """All 16 cases at the very edge: 2.5 % of runs with Holm, one third of them without."""
    edge, runs = [0.03] * CASES, 600
    for repeats in (3, 8):
        corrected = run_alarms(repeats, edge, runs).any(axis=1).mean()
        assert corrected <= ALPHA + slack(ALPHA, runs)
        assert run_alarms(repeats, edge, runs, correct=False).any(axis=1).mean() > 0.2


def test_one_slow_case_of_many_is_found_and_no_other_is_blamed() -> None:
    """Correcting costs power, not direction."""
    changes, runs = [0.10] + [0.0] * (CASES - 1), 300
    alarms = run_alarms(5, changes, runs)
    assert alarms[:, 0].mean() >= 0.99 - slack(0.99, runs)
    assert alarms[:, 1:].sum() == 0


# --- accuracy -----------------------------------------------------------------------------------


@pytest.mark.parametrize("repeats", [3, 5, 10])
@pytest.mark.parametrize("paired", [True, False])
def test_a_loss_of_the_margin_hardly_ever_passes(repeats: int, paired: bool) -> None:
    """One time in twenty: what a one-sided bound of 95 % promises."""
    passed = share_non_inferior(repeats, loss=0.005, margin=0.005, draws=DRAWS, paired=paired)
    assert passed <= 0.05 + slack(0.05)
    assert share_non_inferior(repeats, loss=0.01, margin=0.005, draws=DRAWS, paired=paired) < 0.005


@pytest.mark.parametrize("repeats", [2, 3, 5, 10])
@pytest.mark.parametrize("margin_images", [10.1, 10.3, 10.5, 10.8, 11.0])
@pytest.mark.parametrize("kind", COUNTS)
def test_a_loss_of_the_margin_hardly_ever_passes_where_images_are_counted(
    kind: str, margin_images: float, repeats: int
) -> None:
    """Of 360 images, however much of the margin is a fraction of one; half a point is granted."""
    passed = share_non_inferior_counted(
        kind, repeats, images=360, margin_images=margin_images, loss=1, draws=DRAWS
    )
    assert passed <= 0.055 + slack(0.05)


def test_without_a_least_spread_equal_counts_would_pass() -> None:
    """Three times ten images less, where 10.3 are lost on average and 10.3 are the margin."""
    passed = share_non_inferior_counted(
        "one image", 3, images=360, margin_images=10.3, loss=1, draws=DRAWS, least_sd=0
    )
    assert passed > 0.3


@pytest.mark.parametrize(("repeats", "least"), [(3, 0.9), (5, 0.99), (10, 0.99)])
def test_no_loss_passes_a_margin_of_a_point(repeats: int, least: float) -> None:
    """Otherwise nobody would leave the gate on."""
    assert share_non_inferior(repeats, loss=0, margin=0.01, draws=DRAWS) >= least - slack(least)


def test_pairing_pays_where_a_seed_decides_a_part_and_costs_where_it_does_not() -> None:
    """With 3 repeats: the reason why accuracies are paired by seed, and times are not."""

    def passed(correlation: float, paired: bool) -> float:
        return share_non_inferior(
            3, loss=0, margin=0.005, draws=DRAWS, correlation=correlation, paired=paired
        )

    assert passed(0.9, paired=True) > passed(0.9, paired=False) + 0.1
    assert passed(0.5, paired=True) > passed(0.5, paired=False)
    assert passed(0.0, paired=True) < passed(0.0, paired=False)


# --- the rules of others ------------------------------------------------------------------------


def test_a_threshold_without_certainty_is_a_coin_flip_at_the_threshold() -> None:
    """pytest-benchmark's, for any number of repeats; and outliers set it off."""
    rule = RULES["pytest-benchmark, mean:5%"]
    for repeats in REPEATS:
        found = share_slower(rule, clean, repeats, 0.05, DRAWS)
        assert found == pytest.approx(0.5, abs=slack(0.5) + 0.02)
    assert share_slower(rule, outliers, 3, 0, DRAWS) > 0.1


def test_asvs_rule_cannot_fire_below_seven_against_seven() -> None:
    """Not even when all takes twice as long."""
    rule = RULES["asv, p < 0.002 and 10 %"]
    assert share_slower(rule, clean, 6, 1.0, 50) == 0
    assert share_slower(rule, clean, 7, 1.0, 50) == 1


def test_large_thresholds_see_large_changes_only() -> None:
    """TorchBench's 7 % and github-action-benchmark's 200 %, on both sides of each."""
    torchbench, action = RULES["TorchBench, 7 %"], RULES["github-action-benchmark, 200 %"]
    assert share_slower(torchbench, clean, 5, 0.05, DRAWS) < 0.03
    assert share_slower(torchbench, clean, 5, 0.09, DRAWS) > 0.9
    assert share_slower(action, clean, 5, 0.9, 100) == 0
    assert share_slower(action, clean, 5, 1.1, 100) == 1


# --- what is drawn ------------------------------------------------------------------------------


def test_noise_is_what_it_is_called() -> None:
    """1 % about 1; a tenth 20 % above it; half of them 6 % above it."""
    rng = np.random.default_rng(0)
    drawn = {name: noise(rng, (40_000,)) for name, noise in NOISES.items()}
    assert drawn["clean"].mean() == pytest.approx(1, abs=4 * 0.01 / 200)
    assert drawn["clean"].std() == pytest.approx(0.01, rel=0.03)
    assert (drawn["outliers"] > 1.1).mean() == pytest.approx(0.1, abs=slack(0.1, 40_000))
    assert (drawn["two modes"] > 1.03).mean() == pytest.approx(0.5, abs=0.02)
    assert (abs(drawn["two modes"] - 1.03) < 0.01).mean() < 0.05


def test_every_rule_sees_the_same_times() -> None:
    """Otherwise they could not be compared."""
    once, again = draw(outliers, 5, 3), draw(outliers, 5, 3)
    assert all((one == other).all() for one, other in zip(once, again, strict=True))
    assert not (once[0] == once[1]).any()


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0"), (1, "100"), (0.0001, "< 0.1"), (0.99999, "> 99.9"), (0.123, "12.3")],
)
def test_a_table_says_never_only_of_what_never_happened(share: float, shown: str) -> None:
    """One in 4,000 is not none."""
    assert percent(share) == shown


@pytest.mark.parametrize("label", RULES)
def test_the_page_on_verdicts_shows_what_is_measured_here(label: str) -> None:
    """Its rows of n = 5 in clean noise, within the spread of the draws made here."""
    page = EVIDENCE_PAGE.read_text(encoding="utf-8").partition("Called slower, clean")[2]
    row = re.search(rf"^\| {re.escape(label)} \| (?:5|any) \|(.*)\|$", page, re.MULTILINE)
    assert row, label
    shown = [float(re.sub("[<> ]", "", cell)) / 100 for cell in row[1].split("|")]
    assert len(shown) == len(CHANGES)
    for change, there in zip(CHANGES, shown, strict=True):
        found = share_slower(RULES[label], clean, 5, change, DRAWS, seed=2)
        assert found == pytest.approx(there, abs=slack(max(there, 0.01)) + 0.01)
