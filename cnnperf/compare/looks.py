"""Looks at a growing comparison: when to evaluate it, and at which confidence.

Evaluating five times at 95 % confidence, and stopping at the first result, is wrong far more often
than once in twenty. So the looks share the error of a single test equally: of five looks, each has
a fifth of it.

    looks = Looks(20)
    looks.schedule, looks.confidence                         # (3, 5, 8, 12, 20), 0.99

This needs no assumption about how the looks depend on each other (Bonferroni): a false alarm at any
of K looks is at most K times as likely as at one. Cases may also stop at different looks and still
be adjusted for each other (Holm): with m cases in which nothing has changed, the first false alarm
needs a p-value of at most alpha / K / m, and there are at most K * m of them. Boundaries for normal
data (Pocock, O'Brien and Fleming) would ask a little less of each look, but hold only roughly for
three values, for ranks, and with an outlier.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_LOOK = 3
"""Repeats a side at the first look: with two, an interval is too wide to be useful."""

GROWTH = 1.6
"""Ratio of repeats from look to look: larger steps save error, smaller ones save repeats."""

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Looks:
    """The looks at a comparison with a largest number of repeats a side, fixed beforehand."""

    max_repeats: int
    overall_confidence: float = CONFIDENCE
    """Confidence of all looks together."""

    @property
    def schedule(self) -> tuple[int, ...]:
        """Return the repeats a side at each look; the last look has all of them.

        >>> Looks(10).schedule, Looks(2).schedule
        ((4, 6, 10), (2,))
        """
        looks = [self.max_repeats]
        while (earlier := self.max_repeats / GROWTH ** len(looks)) >= FIRST_LOOK:
            looks.append(round(earlier))
        return tuple(reversed(looks))

    @property
    def confidence(self) -> float:
        """Return the two-sided confidence of the intervals at each look."""
        return 1 - (1 - self.overall_confidence) / len(self.schedule)
