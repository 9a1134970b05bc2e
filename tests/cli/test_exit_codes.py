"""Exit codes of real processes whose output nobody reads, has no room, or that are interrupted.

0, 1, 3 and 4 are verdicts: none of them may come about by accident.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnnperf.report.formats.comparison import Format
from cnnperf.report.terminal.console import EXIT_INTERRUPTED, EXIT_NO_READER
from tests.commands import run_cnnperf, sentence_of
from tests.examples import (
    example_case,
    example_case_record,
    example_record,
    example_repeat,
    plain_terminal,
    write_record,
)

FULL = Path("/dev/full")


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    plain_terminal(monkeypatch)


def _write(path: Path, factor: float) -> str:
    times = [factor * time for time in (10.0, 10.05, 9.95)]
    repeats = [
        example_repeat(seed, time, images_per_second=480_000 / time)
        for seed, time in enumerate(times)
    ]
    record = example_record(example_case_record(repeats=repeats))
    return str(write_record(path, json.loads(record.model_dump_json())))


@pytest.fixture
def base(tmp_path: Path) -> str:
    """Steady repeats."""
    return _write(tmp_path / "base.json", 1.0)


@pytest.fixture
def slower(tmp_path: Path) -> str:
    """The same, a fifth slower."""
    return _write(tmp_path / "slower.json", 1.2)


def _without_reader(*arguments: str) -> tuple[int, str]:
    """Exit code and what is said, of a command whose reader has gone before it writes."""
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "cnnperf.cli", *arguments],
            stdout=write, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    finally:
        os.close(write)
    return done.returncode, done.stderr


def _onto_a_full_disk(*arguments: str) -> tuple[int, str]:
    with FULL.open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "cnnperf.cli", *arguments],
            stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.parametrize("form", Format)
def test_a_reader_that_stops_early_changes_no_verdict(base: str, slower: str, form: Format) -> None:
    """It neither makes a regression nor hides one: `cnnperf compare ... | head -1`."""
    assert _without_reader("compare", base, base, "-f", form) == (0, "")
    assert _without_reader("compare", base, slower, "-f", form) == (1, "")


@pytest.mark.parametrize("arguments", [["list"], ["--help"], ["compare", "-h"], ["schema"]])
def test_without_a_reader_other_commands_end_as_by_sigpipe(arguments: list[str]) -> None:
    """As a shell has it of `cat` and `ls`; silently."""
    assert _without_reader(*arguments) == (EXIT_NO_READER, "")


def test_export_without_a_reader_fails(base: str) -> None:
    """What was to be read is not there."""
    assert _without_reader("export", base, "--to", "bencher") == (EXIT_NO_READER, "")


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("form", Format)
def test_a_full_disk_is_a_sentence(base: str, slower: str, form: Format) -> None:
    """And neither verdict: what was to be kept is lost."""
    expected = (2, "cnnperf: the output cannot be written: No space left on device\n")
    for new in (base, slower):
        assert _onto_a_full_disk("compare", base, new, "-f", form) == expected
    assert _onto_a_full_disk("export", base, "--to", "bencher") == expected
    assert _onto_a_full_disk("--help") == expected


INTERRUPTED = """
import os, signal, sys
from cnnperf import cli
from cnnperf.report.terminal import console
from cnnperf.compare import inputs as side

def load_side(paths, lean):
    os.kill(os.getpid(), signal.SIGINT)

side.load_side = load_side
sys.argv = ["cnnperf", *sys.argv[1:]]
cli.main()
"""
"""Somebody presses Ctrl-C while the records are read."""


def test_ctrl_c_exits_with_130(base: str) -> None:
    """Whatever the records would have come to."""
    command = [sys.executable, "-c", INTERRUPTED, "compare", base, base]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (EXIT_INTERRUPTED, "", "")


def test_bad_usage_exits_with_2_without_a_reader(base: str) -> None:
    """Whoever reads it."""
    assert _without_reader("compare", base, "none.json")[0] == 2
    assert run_cnnperf("compare", base).returncode == 2


def test_a_closed_standard_output_changes_no_verdict(base: str, slower: str) -> None:
    """As `>&-` leaves it: Python then has none at all."""
    for new, code in ((base, 0), (slower, 1)):
        command = f'"$0" -m cnnperf.cli compare "{base}" "{new}" >&-'
        done = subprocess.run(["sh", "-c", command, sys.executable], check=False)
        assert done.returncode == code


# --- errors of cnnperf itself, and terminals that cannot show a character ------------------------

EXIT_INTERNAL = 70


def _environment(**variables: str) -> dict[str, str]:
    return {**os.environ, **variables}


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
@pytest.mark.parametrize(
    "command", [("compare", "{base}", "{slower}"), ("history", "{folder}"), ("list",), ("--help",)]
)
def test_a_terminal_without_unicode_gets_ascii(
    base: str, slower: str, tmp_path: Path, command: tuple[str, ...], variables: dict[str, str]
) -> None:
    """The verdict's exit code is that of any other terminal, and no character is an escape."""
    words = [word.format(base=base, slower=slower, folder=tmp_path) for word in command]
    plain = run_cnnperf(*words, env=_environment(PYTHONIOENCODING="utf-8"))
    shown = run_cnnperf(*words, env=_environment(**variables))
    assert shown.returncode == plain.returncode, shown.stderr
    assert shown.stdout.isascii() or variables.get("PYTHONIOENCODING") == "latin-1"
    assert "\\u" not in shown.stdout
    assert "Traceback" not in shown.stderr
    assert len(shown.stdout.splitlines()) == len(plain.stdout.splitlines())


def _break(tmp_path: Path, raised: str) -> dict[str, str]:
    """Environment of a process in which reading a record raises."""
    (tmp_path / "sitecustomize.py").write_text(
        "import cnnperf.record.loading as loading\n"
        "def broken(*arguments, **options):\n"
        f"    raise {raised}\n"
        "loading.load_record = broken\n"
    )
    return _environment(PYTHONPATH=str(tmp_path))


@pytest.mark.parametrize(
    ("raised", "sentence"),
    [
        ("KeyError('oops')", "internal error: KeyError: 'oops'"),
        ("MemoryError", "not enough memory"),
        ("RecursionError('deep')", "internal error: RecursionError: deep"),
        ("AssertionError", "internal error: AssertionError"),
        ("SystemError('bad\\nline')", "internal error: SystemError: bad line"),
    ],
)
def test_an_error_of_cnnperf_has_no_verdicts_code(
    base: str, slower: str, tmp_path: Path, raised: str, sentence: str
) -> None:
    """One sentence and exit code 70; the traceback only if it is asked for."""
    environment = _break(tmp_path, raised)
    for command in (("compare", base, slower), ("export", base, "--to", "bencher")):
        done = run_cnnperf(*command, env=environment)
        assert done.returncode == EXIT_INTERNAL
        assert done.stderr == f"cnnperf: {sentence} (CNNPERF_TRACEBACK=1 shows the traceback)\n"
        told = run_cnnperf(*command, env={**environment, "CNNPERF_TRACEBACK": "1"})
        assert told.returncode == EXIT_INTERNAL
        assert told.stderr.startswith("Traceback")


def test_a_command_that_cannot_be_imported_has_no_verdicts_code(tmp_path: Path) -> None:
    """As after a broken installation of a package."""
    (tmp_path / "typer.py").write_text("raise RuntimeError('broken')\n")
    done = run_cnnperf("list", env=_environment(PYTHONPATH=str(tmp_path)))
    assert done.returncode == EXIT_INTERNAL
    assert done.stderr.startswith("cnnperf: internal error: RuntimeError: broken")


def test_a_file_that_needs_too_much_is_named(base: str, tmp_path: Path) -> None:
    """Nested tables that end Python's recursion, and a record larger than the memory."""
    deep, large = tmp_path / "deep.toml", tmp_path / "large.json"
    deep.write_text("a=" + "{a=" * 5000)
    done = run_cnnperf("compare", base, base, "--config", str(deep))
    assert done.returncode == 2
    assert done.stderr == f"cnnperf: {deep} is nested too deeply: nothing that cnnperf reads is\n"
    large.write_text('{"cnnperf": [' + "[[],[]]," * 4_000_000 + "0]}")
    limited = (
        "import resource, sys\n"
        "from cnnperf.cli import commands, main\n"
        "import cnnperf.cli.compare, cnnperf.compare.judge, cnnperf.record.loading\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 200 * 2**20,) * 2)\n"
        "sys.argv = ['cnnperf', 'compare', sys.argv[1], sys.argv[1]]\n"
        "main()\n"
    )
    if not Path("/proc/self/statm").exists():
        pytest.skip("the size of a process is read from /proc")
    done = subprocess.run(
        [sys.executable, "-c", limited, str(large)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "large.json needs more memory than there is" in done.stderr


# --- names and keys that do not exist ------------------------------------------------------------


def test_a_mistyped_case_has_three_similar_ones() -> None:
    """Not all 140."""
    done = run_cnnperf("floors", "vgg16-mnst-224-eagr")
    assert done.returncode == 2
    assert "similar ones: vgg16-mnist-224-eager, " in done.stderr
    assert "`cnnperf list` shows all" in done.stderr
    assert len(done.stderr) < 300


def test_a_mistyped_key_of_a_threshold_suggests_the_one_that_is_meant(
    base: str, tmp_path: Path
) -> None:
    """Whatever its name is, it is rarely `gate` that is meant."""
    config = tmp_path / "cnnperf.toml"
    for key, meant in (("relative", "threshold"), ("treshold", "threshold"), ("gates", "gate")):
        config.write_text(f"[metrics.train_seconds]\n{key} = 0.1\n")
        done = run_cnnperf("compare", base, base, cwd=tmp_path)
        assert done.returncode == 2
        assert f"there is no key '{key}' (did you mean '{meant}'?)" in done.stderr


def test_compare_selects_cases_as_pytest_does(base: str, slower: str) -> None:
    """After a run with -k, the same two files give the same verdict."""
    assert run_cnnperf("compare", base, slower, "-k", "vgg").returncode == 1
    done = run_cnnperf("compare", base, slower, "-k", "resnet")
    assert done.returncode == 2
    assert "-k 'resnet' matches no case; possible: modified_vgg" in done.stderr


def test_compare_of_a_part_reads_the_thresholds_of_the_rest(tmp_path: Path) -> None:
    """A user's own case that -k leaves out is no unknown one."""
    own = example_case("modified_vgg", "mnist", 33)
    cases = [example_case_record(), example_case_record(own)]
    body = json.loads(example_record(*cases).model_dump_json())
    record = str(write_record(tmp_path / "own.json", body))
    (tmp_path / "cnnperf.toml").write_text(f'[cases."{own.id}".train_seconds]\nthreshold = 0.1\n')
    done = run_cnnperf("compare", record, record, "-k", "not 33", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert own.id not in done.stdout


@pytest.mark.parametrize("code", [0, 1, 3])
def test_a_module_that_quits_passes_no_gate(
    base: str, slower: str, tmp_path: Path, code: int
) -> None:
    """Its exit code would be taken for a verdict."""
    (tmp_path / "quits.py").write_text(f"import sys\nsys.exit({code})\n")
    done = run_cnnperf("compare", base, slower, "--module", "quits", cwd=tmp_path)
    assert sentence_of(done).startswith(
        f"cnnperf: --module: quits cannot be imported (SystemExit: {code}; "
    )
