"""A fake CI machine for the blocks of docs/ci.md, with prepared records and stub programs.

The stub for pytest copies a prepared record instead of training; `cnnperf` and bash are real.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from cnnperf.record.schema import Record
from tests.docs.ci_page import RUNS, WORKFLOW
from tests.examples import (
    example_case,
    example_case_record,
    example_environment,
    example_record,
    example_repeat,
    write_record,
)

NOISE = (0.000, 0.004, -0.003, 0.002, -0.002)
"""Relative noise of the times of five trainings."""


def ci_record(factor: float = 1.0, lost: float = 0.0, **changes: Any) -> Record:
    """Return a record of five trainings of about 20 s times `factor`, with `lost` less accuracy."""
    repeats = []
    for seed, noise in enumerate(NOISE):
        seconds = 20.0 * factor * (1 + noise)
        accuracy = 0.9899 - lost + noise / 10
        repeats.append(
            example_repeat(
                seed,
                seconds,
                images_per_second=480_000 / seconds,
                test_accuracy=accuracy,
                test_f1_macro=accuracy - 0.0001,
            )
        )
    return example_record(example_case_record(repeats=repeats), **changes)


@cache
def body_of(kind: str) -> str:
    """Return the JSON of a record of that kind: how it differs from the baseline."""
    environment = example_environment()
    software = environment.software.model_copy(update={"torch": "2.16.0"})
    found = {
        "base": ci_record,
        "same": lambda: ci_record(1.001),
        "slower": lambda: ci_record(1.2),
        "less accurate": lambda: ci_record(lost=0.02),
        "other torch": lambda: ci_record(
            environment=environment.model_copy(update={"software": software})
        ),
        "one training": lambda: example_record(),
        "vanished": lambda: example_record(
            example_case_record(example_case("modified_resnet"), ci_record().cases[0].repeats)
        ),
    }[kind]()
    return found.model_dump_json()


def lay(file: Path, kind: str) -> Path:
    """Write a record of that kind into `file`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    return write_record(file, json.loads(body_of(kind)))


def kind_of(file: Path) -> str | None:
    """Return the kind of the record in `file`; None if there is no file."""
    if not file.exists():
        return None
    record = Record.model_validate(json.loads(file.read_text())["cnnperf"])
    kinds = ("base", "same", "slower", "less accurate")
    (kind,) = (each for each in kinds if Record.model_validate_json(body_of(each)) == record)
    return kind


PYTEST = """
import os, shutil, sys
from pathlib import Path

Path(os.environ["STUB_LOG"]).open("a").write(" ".join(sys.argv[1:]) + "\\n")
assert sys.argv[1] == "benchmarks"
(target,) = [word.partition("=")[2] for word in sys.argv if word.startswith("--benchmark-json=")]
if "STUB_RECORD" in os.environ:
    shutil.copy(os.environ["STUB_RECORD"], target)
sys.exit(int(os.environ.get("STUB_CODE", "0")))
"""
"""Stub for pytest: logs its arguments and copies the prepared record to --benchmark-json."""

GH = """
import json, os, shutil, sys
from pathlib import Path

import jq

words = sys.argv[1:]
if "STUB_ARTIFACTS" not in os.environ:
    sys.exit("gh: HTTP 502")
if words[0] == "api":
    assert words[1] == "repos/me/mine/actions/artifacts?name=cnnperf-baseline&per_page=100"
    content = json.loads(Path(os.environ["STUB_ARTIFACTS"]).read_text())
    for found in jq.compile(words[words.index("--jq") + 1]).input_value(content).all():
        print(found)
else:
    assert words[:2] == ["run", "download"] and os.environ["GH_TOKEN"]
    assert words[words.index("--repo") + 1] == "me/mine"
    assert words[words.index("--name") + 1] == "cnnperf-baseline"
    folder = Path(os.environ["STUB_ARTIFACTS"]).parent / words[2]
    shutil.copytree(folder, words[words.index("--dir") + 1])
"""
"""Stub for the GitHub CLI, with a real implementation of its query language."""

CNNPERF = """
from cnnperf.cli import main

main()
"""


@dataclass
class Machine:
    """A folder with a checkout, and stub programs first on PATH."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Create the files and variables that a runner gives to a job."""
        self.work, programs = self.folder / "work", self.folder / "programs"
        self.summary, self.path = self.folder / "summary.md", self.folder / "path"
        self.log = self.folder / "log"
        programs.mkdir()
        (self.work / "benchmarks").mkdir(parents=True)
        (self.work / "benchmarks" / "requirements.txt").write_text("# nothing\n")
        for file in (self.summary, self.path, self.log):
            file.touch()
        for name, code in {"pytest": PYTEST, "gh": GH, "cnnperf": CNNPERF}.items():
            (programs / name).write_text(f"#!{sys.executable}{code}")
            (programs / name).chmod(0o755)
        self.environment = {
            **os.environ,
            "HOME": str(self.folder / "home"),
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "RUNNER_TEMP": str(self.folder / "temp"),
            "GITHUB_STEP_SUMMARY": str(self.summary),
            "GITHUB_PATH": str(self.path),
            "GITHUB_REPOSITORY": "me/mine",
            "GITHUB_EVENT_NAME": "schedule",
            "STUB_LOG": str(self.log),
            **{name: str(value) for name, value in yaml.safe_load(WORKFLOW)["env"].items()},
            **self.environment,
        }

    def run(self, text: str, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run bash with GitHub's options; folders that a step added to PATH come first."""
        file = self.folder / "block.sh"
        file.write_text(text)
        added = [*reversed(self.path.read_text().split()), self.environment["PATH"]]
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(file), *arguments],
            cwd=self.work,
            env={**self.environment, "PATH": os.pathsep.join(added), **more},
            capture_output=True,
            text=True,
            check=False,
        )

    def step(self, name: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a step of the workflow."""
        return self.run(RUNS[name], **more)

    def lay(self, name: str, kind: str) -> str:
        """Write a record, relative to the checkout, and return its path."""
        return str(lay(self.work / name, kind))
