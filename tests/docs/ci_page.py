"""The blocks of docs/ci.md: the workflow, the script, and the shorter ones."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

DOC = Path(__file__).parents[2] / "docs" / "ci.md"
TEXT = DOC.read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
"""Language and content of each block."""


def block(language: str, beginning: str) -> str:
    """Return the only block in `language` that starts with `beginning`."""
    (found,) = (text for kind, text in BLOCKS if kind == language and text.startswith(beginning))
    return found


WORKFLOW = block("yaml", "# .github/workflows/benchmarks.yml")
GITLAB = block("yaml", "# .gitlab-ci.yml")
SCRIPT = block("bash", "#!/usr/bin/env bash")
SHORT = [text for kind, text in BLOCKS if kind == "bash" and text != SCRIPT]
STEPS: dict[str, dict[str, Any]] = {
    step["name"]: step
    for step in yaml.safe_load(WORKFLOW)["jobs"]["benchmarks"]["steps"]
    if "name" in step
}
RUNS: dict[str, str] = {name: step["run"] for name, step in STEPS.items() if "run" in step}
