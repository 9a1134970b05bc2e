"""Thousands of comparisons of made-up runs: how often a rule cries wolf, and how often it sees one.

    python -m tests.compare.simulation > tables.md

prints the tables of docs/verdicts-evidence.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence

from tests.compare.simulated import (
    CASES,
    CHANGES,
    NOISES,
    REPEATS,
    RULES,
    Noise,
    clean,
    cnnperf,
    coverage,
    restless,
    run_alarms,
    share_non_inferior,
    share_non_inferior_counted,
    share_slower,
    t_finds,
    verdict_shares,
)


def percent(share: float) -> str:
    """For a table; 0 and 100 only where it is exactly that."""
    shown = f"{share * 100:.1f}"
    if share not in (0, 1) and shown in ("0.0", "100.0"):
        return "< 0.1" if share < 0.5 else "> 99.9"
    return "0" if share == 0 else "100" if share == 1 else shown


def show_change(change: float) -> str:
    """Of a time."""
    return f"{change * 100:+.0f} %" if change else "0"


def print_table(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """As markdown; all figures are per cent."""
    print(f"\n### {title}\n\n| {' | '.join(heads)} |\n|{'---|' * len(heads)}", flush=True)  # noqa: T201
    for row in rows:
        print(f"| {' | '.join(row)} |", flush=True)  # noqa: T201


def rule_tables(draws: int) -> None:
    """False alarms and power of every rule."""
    heads = ["rule", "n", *map(show_change, CHANGES)]
    for name, noise in NOISES.items():
        rows = (row for label in RULES for row in rule_rows(label, noise, draws))
        print_table(f"Called slower, {name}", heads, rows)


def rule_rows(label: str, noise: Noise, draws: int) -> list[list[str]]:
    """Of one rule, by repeats; a single one where it never says anything."""
    shares = {n: [share_slower(RULES[label], noise, n, c, draws) for c in CHANGES] for n in REPEATS}
    if not any(map(any, shares.values())):
        return [[label, "any", *map(percent, shares[REPEATS[0]])]]
    return [[label, str(n), *map(percent, shares[n])] for n in REPEATS]


def verdict_tables(draws: int) -> None:
    """What cnnperf says, and whether its intervals are what they claim."""
    said = ["same", "inconclusive", "slower", "faster"]
    rows: Iterable[Sequence[str]] = (
        [
            kind,
            str(n),
            show_change(change),
            *(percent(shares[name]) for name in said),
        ]
        for kind, noise in NOISES.items()
        for n in REPEATS
        for change in (0.0, 0.05)
        for shares in [verdict_shares(noise, n, change, draws)]
    )
    print_table("Verdicts of cnnperf", ["noise", "n", "change", *said], rows)
    rows = (
        [
            str(n),
            *(percent(coverage(noise, n, draws)) for noise in NOISES.values()),
            percent(coverage(clean, n, draws, new_noise=restless)),
        ]
        for n in REPEATS
    )
    print_table("Intervals that hold the truth", ["n", *NOISES, "new 3 x as noisy"], rows)


def rank_table(draws: int) -> None:
    """Why ranks decide where there are enough repeats for them."""
    rows = (
        [
            name,
            str(n),
            percent(t_finds(noise, n, 0.05, draws)),
            percent(share_slower(cnnperf, noise, n, 0.05, draws)),
        ]
        for name, noise in NOISES.items()
        for n in (8, 10, 14, 20)
    )
    print_table("+5 % found by means and by ranks", ["noise", "n", "Welch's t", "ranks"], rows)


def run_table(runs: int) -> None:
    """What correcting for many cases costs and what it saves."""
    kinds = {
        "no case changed": [0.0] * CASES,
        "all at +3 %": [0.03] * CASES,
        "one at +5 %": [0.05] + [0.0] * (CASES - 1),
        "one at +10 %": [0.10] + [0.0] * (CASES - 1),
    }
    rows = (
        [
            kind,
            str(n),
            *(
                percent(float(run_alarms(n, changes, runs, correct=correct).any(axis=1).mean()))
                for correct in (False, True)
            ),
        ]
        for kind, changes in kinds.items()
        for n in (3, 5, 8, 10)
    )
    print_table(f"Runs of {CASES} cases with an alarm", ["run", "n", "each alone", "Holm"], rows)


def accuracy_tables(draws: int) -> None:
    """Pairing, and non-inferiority."""
    rows: Iterable[Sequence[str]] = (
        [
            str(n),
            f"{correlation}",
            *(
                percent(
                    share_non_inferior(
                        n,
                        loss=0,
                        margin=0.005,
                        draws=draws,
                        correlation=correlation,
                        paired=paired,
                    )
                )
                for paired in (False, True)
            ),
        ]
        for n in (3, 5, 10)
        for correlation in (0.0, 0.5, 0.9)
    )
    print_table("Passed, no loss", ["n", "correlation", "independent", "paired"], rows)
    rows = (
        [
            str(n),
            f"{margin * 100:.1f}",
            *(
                percent(share_non_inferior(n, loss=loss, margin=margin, draws=draws))
                for loss in (0.0, margin / 2, margin, 2 * margin)
            ),
        ]
        for n in (3, 5, 10)
        for margin in (0.005, 0.01)
    )
    heads = ["n", "margin, points", "no loss", "half the margin", "the margin", "twice the margin"]
    print_table("Passed as not inferior, paired", heads, rows)


def counted_table(draws: int) -> None:
    """What half an image is good for where all accuracies are counts of images."""

    def cells(kind: str, n: int, images: int, margin: float) -> Iterable[str]:
        for loss, least_sd in ((1.0, 0.0), (1.0, 0.5), (0.5, 0.5), (0.0, 0.5)):
            share = share_non_inferior_counted(
                kind, n, images=images, margin_images=margin, loss=loss, draws=draws,
                least_sd=least_sd,
            )  # fmt: skip
            yield percent(share)

    rows = (
        [kind, f"{images:,}", str(n), f"{margin:g}", *cells(kind, n, images, margin)]
        for kind, images, margin in (
            ("binomial", 360, 10.8), ("binomial", 10_000, 50), ("one image", 360, 10.8),
            ("one image", 360, 10.3),
        )
        for n in (2, 3, 5, 10)
    )  # fmt: skip
    heads = ["what varies", "images", "n", "margin, images", "the margin, no least spread",
             "the margin", "half of it", "no loss"]  # fmt: skip
    print_table("Passed as not inferior, counted", heads, rows)


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--draws", type=int, default=4000, help="comparisons for each figure")
    draws = parser.parse_args().draws
    print(f"{draws:,} draws for each figure; all figures are per cent.")  # noqa: T201
    rule_tables(draws)
    verdict_tables(draws)
    rank_table(draws)
    run_table(draws // 2)
    accuracy_tables(draws)
    counted_table(draws)


if __name__ == "__main__":
    main()
