"""Verdicts, steps and notes as sentences, shared by every output."""

from collections.abc import Sequence


def capitalised(text: str) -> str:
    """Start a sentence; other capitals stay.

    >>> capitalised("energy of the device, from NVML")
    'Energy of the device, from NVML'
    """
    return text[:1].upper() + text[1:]


def counted(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "case"), counted(2000, "case")
    ('1 case', '2,000 cases')
    """
    return f"{number:,} {noun}{'s' * (number != 1)}"


def some(texts: Sequence[str], most: int) -> str:
    """List the first texts, and how many more there are."""
    more = f" and {len(texts) - most:,} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
