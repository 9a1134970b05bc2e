"""How many trainings of each device find a slow one among a thousand?

    python -m tests.compare.fleet.planning              # the table of docs/fleets.md, some minutes

For each spread and each slowdown, the least number of trainings with which the judge finds 80 and
95 % of the slow devices, on average over simulated fleets of 1,000 devices of which ten are slow.
"""

from __future__ import annotations

from dataclasses import replace

from tests.compare.fleet.simulation import Scenario, rates

REPEATS = (1, 2, 3, 5, 8, 12, 20, 30, 50)
FLEETS = 20
POWERS = (80, 95)
SPREADS = ((0.3, 0.3), (1.0, 0.3), (2.0, 0.3), (1.0, 2.0), (4.0, 2.0), (8.0, 2.0))
SLOWDOWNS = (1.0, 2.0, 3.0, 5.0)


def needed(scenario: Scenario) -> dict[int, str]:
    """Return the least number of trainings by the share of slow devices that is to be found."""
    found: dict[int, str] = {}
    best = 0.0
    for repeats in REPEATS:
        best = rates(replace(scenario, repeats=repeats), FLEETS)["cnnperf"].found
        for power in POWERS:
            if best >= power:
                found.setdefault(power, str(repeats))
        if len(found) == len(POWERS):
            break
    return {power: found.get(power, f"never ({best:.0f} % with {REPEATS[-1]})") for power in POWERS}


def main() -> None:
    """Print the table in Markdown."""
    heads = [f"{slowdown:g} % slower" for slowdown in SLOWDOWNS]
    print("| between cards, between trainings |", " | ".join(heads), "|")  # noqa: T201
    print("| --- |" + " --- |" * len(heads))  # noqa: T201
    for between, within in SPREADS:
        cells = []
        for slowdown in SLOWDOWNS:
            scenario = Scenario(between=between, within=within, slowdown=slowdown)
            least = needed(scenario)
            cells.append(" / ".join(dict.fromkeys(least.values())))
        print(f"| {between:g} %, {within:g} % |", " | ".join(cells), "|", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
