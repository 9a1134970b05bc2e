"""What differs between two sides, and whether it forbids a comparison.

Fingerprints of a case must be equal: trainings of different things have no ratio. Environments may
differ in minor fields, and in others only if --across allows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cnnperf.compare.verdicts import Across, EnvironmentChange
from cnnperf.record.environment import Environment, Settings
from cnnperf.record.fingerprint import Fingerprint
from cnnperf.record.metrics import ABSENT, format_bytes
from cnnperf.record.schema import CaseRecord

FORBIDDING: dict[str, Across] = {
    "hardware.gpu.name": "hardware",
    "hardware.gpu.memory_bytes": "hardware",
    "hardware.gpu.sm_count": "hardware",
    "hardware.gpu.mig_enabled": "hardware",
    "hardware.cpu_model": "hardware",
    "hardware.cpu_logical_cores": "hardware",
    "hardware.cpu_flags": "hardware",
    "settings.device": "hardware",
    "software.driver": "software",
    "software.cuda_runtime": "software",
    "software.cudnn": "software",
    "software.cublas": "software",
    "software.triton": "software",
    "software.torch": "software",
    "software.torchvision": "software",
    "software.python": "software",
}
"""Fields that change times by themselves, and what --across calls them.

A virtual machine often names only the family of its processor, so its instructions count too.
"""

UNCOMPARED = (
    "hardware.host",
    "hardware.gpu.index",
    "hardware.gpu.pcie_address",
    "hardware.matmul_flops_per_second",
)
"""Fields that name a place, or are measured and so never equal."""

SHORT_HASH = 12


def fingerprint_difference(
    base: Fingerprint, new: Fingerprint, across: frozenset[Across] = frozenset()
) -> str | None:
    """Return the first difference between two fingerprints as a clause; None if they agree.

    Across hardware the precision may differ, because devices support different ones.
    """
    first, second = _facts(base), _facts(new)
    for name in first | second:
        if name == "precision" and "hardware" in across:
            continue
        if first.get(name) != second.get(name):
            return f"{name} {_show(first.get(name))} against {_show(second.get(name))}"
    return None


def _facts(fingerprint: Fingerprint) -> dict[str, Any]:
    """Return a fingerprint's fields by readable names."""
    if fingerprint.loop is not None:
        loop = fingerprint.loop.model_dump()
        return {"model": short_hash(fingerprint.model_sha256), **loop.pop("settings"), **loop}
    recipe = fingerprint.recipe.model_dump() if fingerprint.recipe is not None else {}
    augmentation = recipe.pop("augmentation", None) or {}
    return {
        "model": short_hash(fingerprint.model_sha256),
        "data": short_hash(fingerprint.dataset_sha256),
        "resolution": fingerprint.resolution,
        "precision": fingerprint.precision,
        "schedule": "none",
        **{name.replace("_", " "): value for name, value in recipe.items()},
        **{str(part): live for part, live in fingerprint.overrides.items()},
        "augmentation": "some" if augmentation else "none",
        **{f"augmentation {name}".replace("_", " "): value for name, value in augmentation.items()},
    }


def short_hash(digest: str | None) -> str:
    """Return the first characters of a digest."""
    return digest[:SHORT_HASH] if digest else ABSENT


def some(names: Sequence[object], most: int = 1) -> str:
    """Return the first names and how many more there are, as in `a, b and 2 more`."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(map(str, names[:most])) + more


def environment_changes(
    base: Sequence[Environment], new: Sequence[Environment], across: frozenset[Across]
) -> list[EnvironmentChange]:
    """Return every field in which the environments differ, forbidding ones first."""
    first, second = _values(base), _values(new)
    changes = []
    for field in first | second:
        one, other = first.get(field, []), second.get(field, [])
        if _differs(field, one, other):
            shown = _show_all(one, field), _show_all(other, field)
            changes.append(_change(field, field, shown, across))
    return sorted(changes, key=lambda change: not change.forbids)


def settings_changes(
    base: Iterable[CaseRecord], new: dict[str, CaseRecord], across: frozenset[Across]
) -> list[EnvironmentChange]:
    """Return settings of the trainings that differ, for cases that both sides have."""
    found: dict[tuple[str, tuple[str, str]], list[str]] = {}
    both = 0
    for case in base:
        first = _settings_values(case)
        second = _settings_values(new[case.id]) if case.id in new else {}
        both += bool(first and second)
        for field in first | second if first and second else ():
            one, other = first.get(field, []), second.get(field, [])
            if _differs(field, one, other):
                shown = _show_all(one), _show_all(other)
                found.setdefault((field, shown), []).append(case.id)
    return [
        _change(field, field if len(ids) == both else f"{field} of {some(ids)}", shown, across)
        for (field, shown), ids in found.items()
    ]


def _differs(field: str, base: list[Any], new: list[Any]) -> bool:
    """Return whether the sides differ, or files of one side differ in a forbidding field."""
    return base != new or (field in FORBIDDING and len(base) > 1)


def _settings_values(case: CaseRecord) -> dict[str, list[Any]]:
    settings = _different(repeat.settings for repeat in case.repeats)
    return _values([Environment(settings=each) for each in settings])


def _different(settings: Iterable[Settings | None]) -> list[Settings]:
    """Return each object once: all repeats of a file usually share one."""
    return list({id(each): each for each in settings if each is not None}.values())


def _values(environments: Sequence[Environment]) -> dict[str, list[Any]]:
    """Return the distinct values of each field."""
    flat = [dict(_flatten(environment.model_dump())) for environment in environments]
    fields = dict.fromkeys(field for one in flat for field in one)
    return {field: _distinct(one.get(field) for one in flat) for field in fields}


def _flatten(content: dict[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for name, value in content.items():
        field = prefix + name
        if field in UNCOMPARED:
            continue
        if isinstance(value, dict):
            yield from _flatten(value, f"{field}.")
        elif value is not None:
            yield field, value


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Sort the values, so that two sides can be compared."""
    unique = {repr(value): value for value in values}
    return [unique[key] for key in sorted(unique)]


def _change(
    field: str, name: str, shown: tuple[str, str], across: frozenset[Across]
) -> EnvironmentChange:
    forbids = FORBIDDING.get(field) not in (None, *across)
    return EnvironmentChange(field=name, base=shown[0], new=shown[1], forbids=forbids)


def _show_all(values: list[Any], field: str = "") -> str:
    return ", ".join(_show(value, field) for value in values) or ABSENT


def _show(value: Any, field: str = "") -> str:
    if value is None:
        return ABSENT
    if field.endswith("_bytes") and isinstance(value, int):
        return format_bytes(value)
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    if field.endswith("_commit"):
        return str(value)[:SHORT_HASH]
    return str(value)
