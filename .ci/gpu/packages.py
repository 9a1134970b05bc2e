"""Give a Python with torch the packages of cnnperf, from wheels and without installing anything."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from words import DONE, FAILED, ROOT, USAGE, say

NOT_FOR_TRAINING = {"altair", "duckdb", "jinja2", "ruptures", "vl-convert-python"}
"""Packages for pages and histories, which are made elsewhere."""
WITH_TORCH = {"scipy"}
"""Large packages that a machine for training has."""
FOR_TESTS = ("pytest-timeout>=2.3",)


def download_wheels(folder: Path, python_version: str) -> int:
    """Download the wheels that a machine with torch may lack, for Linux on x86-64."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        requirement
        for requirement in project["dependencies"]
        if re.split(r"[\s<>=!~\[;]", requirement)[0] not in NOT_FOR_TRAINING | WITH_TORCH
    ]
    abi = "cp" + python_version.replace(".", "")
    platforms = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    done = subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check",
            "--dest", str(folder), "--only-binary=:all:", "--python-version", python_version,
            "--implementation", "cp", f"--abi={abi}", "--abi=abi3", "--abi=none",
            *(f"--platform={name}" for name in platforms), *wanted, *FOR_TESTS,
        ],
        check=False,
    )  # fmt: skip
    if done.returncode:
        return say("pip could not download the wheels: see its error above", FAILED)
    sizes = [path.stat().st_size for path in folder.glob("*.whl")]
    return say(f"{folder}: {len(sizes)} wheels, {sum(sizes) / 2**20:.1f} MiB", DONE)


def make_environment(scratch: Path, wheels: Path, commit: str | None) -> dict[str, str]:
    """Return variables for a process that imports cnnperf and its packages before installed ones.

    A wheel is a zip file: unpacked into a folder on the path, it works as if installed. cnnperf
    itself runs from this checkout; only the entry point of its pytest plugin is written here.
    """
    scratch.mkdir()
    for wheel in sorted(wheels.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(scratch)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    about = scratch / f"cnnperf-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: cnnperf\nVersion: {project['version']}\n"
    )
    (about / "entry_points.txt").write_text("[pytest11]\ncnnperf = cnnperf.pytest_plugin.plugin\n")
    path = [str(scratch), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTHONUNBUFFERED": "1"}
    environ.pop("PYTEST_ADDOPTS", None)
    return environ | ({"CNNPERF_COMMIT": commit} if commit else {})


def folder_name(environ: dict[str, str], device: str) -> str:
    """Return cnnperf's name of this hardware and stack, the folder of its records."""
    code = (
        "import sys; from cnnperf.machine.names import folder_here; print(folder_here(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, device], env=environ, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        say(done.stderr.strip())
        sys.exit(
            say("cannot import cnnperf (error above): run `wheels` first, where there is network, "
                f"with --python-version {sys.version_info.major}.{sys.version_info.minor}", USAGE)
        )  # fmt: skip
    return done.stdout.strip()
