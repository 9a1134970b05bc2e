"""Which lines of a log CI servers obey, after their own sources and manuals."""

from __future__ import annotations

import re

GITHUB = (
    "internal-set-repo-path", "set-env", "set-output", "save-state", "add-mask", "add-path",
    "add-matcher", "remove-matcher", "warning", "error", "notice", "debug", "group", "endgroup",
    "echo", "stop-commands",
)  # fmt: skip
"""The commands that actions/runner registers (ActionCommandManager.cs and its extensions)."""


def obeyed(line: str) -> bool:
    """Return whether GitHub, Azure, TeamCity or GitLab would take a line for a command."""
    found = re.match(r"::([^ :]*)(?: .*?)?::", line.strip())  # ActionCommand.TryParseV2 trims
    if found and found[1].lower() in GITHUB:
        return True
    anywhere = re.search(r"##\[[^\]]+\]|##vso\[|##teamcity\[", line)  # ActionCommand.TryParse
    return bool(anywhere or re.match(r"section_(start|end):\d+:", line.strip()))
