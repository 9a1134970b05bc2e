"""Commands whose modules are imported only when they are asked for.

What `cnnperf ab` or `cnnperf report` need is then no cost of `cnnperf compare`. Only a help of all
commands asks for all of them.
"""

from __future__ import annotations

import importlib
from collections import UserDict
from typing import Any

import typer
from typer.core import TyperGroup

MODULES = {
    "compare": "cnnperf.cli.compare",
    "ab": "cnnperf.cli.ab",
    "calibrate": "cnnperf.cli.calibrate",
    "export": "cnnperf.cli.compare",
    "floors": "cnnperf.cli.floors",
    "report": "cnnperf.cli.report",
    "history": "cnnperf.cli.history",
    "results": "cnnperf.cli.results",
}
"""Where each command's function lies; it has the command's name."""


class LaterGroup(TyperGroup):
    """The commands that typer was given, and behind them those of `MODULES`."""

    def __init__(self, *, commands: dict[str, Any], **attributes: Any) -> None:
        super().__init__(commands=commands, **attributes)
        self.commands = _Commands({**commands, **MODULES})


class _Commands(UserDict[str, Any]):
    """Commands by name; a module's name becomes a command on first use."""

    def __getitem__(self, name: str) -> Any:
        found = super().__getitem__(name)
        if isinstance(found, str):
            found = self[name] = _command(getattr(importlib.import_module(found), name))
        return found


def _command(function: Any) -> Any:
    """A function as typer makes a command of it."""
    app = typer.Typer(add_completion=False)
    app.command()(function)
    return typer.main.get_command(app)
