"""The import rules of the package, read from its source; docs/design.md gives the reasons."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import cnnperf

PACKAGE = Path(cnnperf.__file__).parent

MAY_IMPORT = {
    "errors": set[str](),
    "catalog": {"errors"},
    "record": {"errors", "catalog"},
    "machine": {"errors", "catalog", "record"},
    "compare": {"errors", "catalog", "record", "machine"},
    "run": {"errors", "catalog", "record", "machine", "compare"},
    "report": {"errors", "catalog", "record", "machine", "compare"},
    "cli": {"errors", "catalog", "record", "machine", "compare", "run", "report"},
    "pytest_plugin": {"errors", "catalog", "record", "machine", "compare", "run", "report"},
    "models": {"errors", "catalog", "record"},
    "training": {"errors", "catalog", "record", "machine", "models"},
}
"""What each entry of the package root may import, besides itself."""

TORCH_FOLDERS = {"models", "training"}

NEED_TORCH = {"torch", "torchvision", "sklearn", "lightning", "accelerate", "timm"}
"""Packages of the extras `train` and `peers`."""

MAX_ROOT_ENTRIES = 12


class Import(NamedTuple):
    """One import, and the line on which it stands."""

    path: Path
    line: int
    module: str

    @property
    def entry(self) -> str:
        """The importing entry of the package root."""
        return self.path.relative_to(PACKAGE).parts[0].removesuffix(".py")

    def __str__(self) -> str:
        return f"{self.path.relative_to(PACKAGE.parent)}:{self.line} imports {self.module}"


def imports_of(path: Path, source: str) -> Iterator[Import]:
    """Every import of a file, wherever it stands: `importlib.import_module("...")` counts too."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (Import(path, node.lineno, alias.name) for alias in names)
            case ast.ImportFrom(module=module, level=0):
                yield from (
                    Import(path, node.lineno, f"{module}.{alias.name}") for alias in node.names
                )
            case ast.Call(
                func=ast.Name(id="import_module") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(module)), *_],
            ):
                yield Import(path, node.lineno, module)


def package_imports() -> list[Import]:
    """Every import of the package."""
    return [
        found
        for path in sorted(PACKAGE.rglob("*.py"))
        for found in imports_of(path, path.read_text(encoding="utf-8"))
    ]


def violations(imports: list[Import]) -> list[str]:
    """The imports that break a rule, as sentences with file and line."""
    broken = []
    for found in sorted(imports):
        if found.entry == "__init__":  # public names, loaded when they are used
            continue
        top, _, rest = found.module.partition(".")
        target = rest.partition(".")[0]
        is_own = top != "cnnperf" or target in ("", found.entry) or target not in MAY_IMPORT
        if top in NEED_TORCH and found.entry not in TORCH_FOLDERS:
            broken.append(f"{found}: only {' and '.join(sorted(TORCH_FOLDERS))} may")
        elif not is_own and target not in MAY_IMPORT[found.entry]:
            broken.append(f"{found}: {found.entry} may not import {target}")
    return broken


def circles(imports: list[Import]) -> list[str]:
    """Modules that import each other in a loop, each with the imports that make it."""
    files = {_module_name(path): path for path in PACKAGE.rglob("*.py")}
    arrows: dict[str, dict[str, Import]] = {name: {} for name in files}
    for found in imports:
        name = found.module if found.module in files else found.module.rpartition(".")[0]
        if name in files and name != _module_name(found.path):
            arrows[_module_name(found.path)][name] = found
    return [
        f"{arrows[name][other]}, which imports it in turn"
        for name in sorted(files)
        for other in arrows[name]
        if name in _reachable(other, arrows)
    ]


def _module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _reachable(start: str, arrows: dict[str, dict[str, Import]]) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        waiting += [other for other in arrows[name] if other not in seen]
        seen.update(arrows[name])
    return seen


def test_imports_point_down_and_torch_stays_in_its_folders() -> None:
    """The message names the line that breaks the rule."""
    assert violations(package_imports()) == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions count: they would hide a circle, not remove it."""
    assert circles(package_imports()) == []


def test_the_package_root_has_few_entries_each_with_a_rule() -> None:
    """A new entry needs a rule of its own."""
    entries = {
        path.name.removesuffix(".py")
        for path in PACKAGE.iterdir()
        if path.name not in ("py.typed", "__pycache__")
    }
    assert entries == {"__init__", *MAY_IMPORT}
    assert len(entries) <= MAX_ROOT_ENTRIES


def test_a_forbidden_import_is_reported_with_file_and_line() -> None:
    """The check itself can fail, in each of the forms that an import takes."""
    source = (
        "import torch\n"
        "def f():\n"
        "    from cnnperf.run import session\n"
        "    from cnnperf.record.schema import Record\n"
        "    importlib.import_module('torchvision.models')\n"
    )
    found = list(imports_of(PACKAGE / "report" / "page.py", source))
    assert violations(found) == [
        "cnnperf/report/page.py:1 imports torch: only models and training may",
        "cnnperf/report/page.py:3 imports cnnperf.run.session: report may not import run",
        "cnnperf/report/page.py:5 imports torchvision.models: only models and training may",
    ]
