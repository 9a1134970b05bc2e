"""When to look at a growing comparison, and how sure each look must be.

Torch-free, plain arithmetic. Who looks five times at 95 % certainty, and stops at the first look
that says something, is wrong far more often than once in twenty. So the looks share the error of a
single test, equally: each has a fifth of it where there are five.

    looks = Looks(20)
    looks.schedule, looks.confidence                         # (3, 5, 8, 12, 20), 0.99

That this holds needs no assumption about how the looks depend on each other (Bonferroni): a false
alarm at any of K looks is at most K times as likely as at one. Nor does it matter that cases stop
at different looks and are corrected for each other (Holm) all the same: with m cases in which
nothing has changed, the first false alarm needs a p-value of at most alpha / K / m, and there are
at most K * m of them. A boundary for normal data (Pocock, O'Brien and Fleming) would ask a little
less of each look, and hold only roughly for three values, for ranks, and with an outlier.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST_LOOK = 3
"""Repeats a side: with two, an interval says next to nothing."""

GROWTH = 1.6
"""From look to look: fewer, larger steps save error; more, smaller ones save repeats."""

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Looks:
    """The looks at a comparison of up to so many repeats a side, fixed before the first."""

    max_repeats: int
    overall_confidence: float = CONFIDENCE
    """Of all looks together: that of one test after a fixed number of repeats."""

    @property
    def schedule(self) -> tuple[int, ...]:
        """Repeats a side at each look; the last look is at all of them.

        >>> Looks(10).schedule, Looks(2).schedule
        ((4, 6, 10), (2,))
        """
        looks = [self.max_repeats]
        while (earlier := self.max_repeats / GROWTH ** len(looks)) >= FIRST_LOOK:
            looks.append(round(earlier))
        return tuple(reversed(looks))

    @property
    def confidence(self) -> float:
        """Of the intervals at each look, two-sided."""
        return 1 - (1 - self.overall_confidence) / len(self.schedule)
