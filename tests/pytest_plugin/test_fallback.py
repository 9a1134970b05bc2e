"""A case whose engine fell back on CUDA fails after its first training, unless that is allowed."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from cnnperf.record.environment import Settings
from cnnperf.run.repeat import check_fallback
from cnnperf.run.worker_process import WorkerError
from tests.examples import example_flag, example_repeat
from tests.fake_python import fake_python
from tests.pytest_plugin.project import Project

FAST = "modified_vgg-digits-28-brief-fast"
SELECT = ("-k", "modified_vgg-digits-28-brief", "--cnnperf-tier=smoke", "--cnnperf-repeats=2")


def _python(project: Project, kind: str) -> str:
    warnings = {"modified_vgg-fast": (kind,)}
    made = fake_python(project.folder, f"python-{kind}", warnings=warnings, device="cuda:0")
    return f"--cnnperf-python={made}"


def test_fallback_on_cuda_fails_the_case_and_the_last_line_says_so(project: Project) -> None:
    """Its first training is kept, the second is not made; the other engine's case passes."""
    done = project.run(*SELECT, _python(project, "not_captured"))
    assert done.returncode == 1, done.stdout
    assert "1 failed, 1 passed" in done.stdout
    eager, fast = sorted(project.record().cases, key=lambda case: case.engine)
    assert (eager.outcome, fast.outcome, fast.id) == ("passed", "failed", FAST)
    assert fast.error is not None
    assert (fast.error.kind, fast.error.seed) == ("fallback", 0)
    assert fast.error.message == "engine fast fell back (not_captured): the compiler is missing"
    assert [repeat.seed for repeat in fast.repeats] == [0]
    ours = done.stdout.partition("short test summary")[0].strip().splitlines()
    (line,) = (line for line in ours if line.startswith("fell back: "))
    assert line.startswith(f"fell back: {FAST}: ")
    assert line.endswith("or accept it with --cnnperf-allow-fallback")
    assert ours[-2] == line, "only the heading of pytest's own summary is below it"


@pytest.mark.parametrize(
    ("kind", "device", "refused"),
    [
        ("not_compiled", "cuda:0", True),
        ("not_captured", "cuda:0", True),
        ("no_bfloat16", "cuda:0", True),
        ("evaluation_not_captured", "cuda:0", True),
        ("not_compiled", "cpu", False),
        ("not_capturable", "cuda:0", False),
        ("busy_cpu", "cuda:0", False),
    ],
)
def test_only_a_failure_of_the_machine_on_cuda_is_a_fallback(
    kind: str, device: str, refused: bool
) -> None:
    """A CPU has nothing to lose, and a recipe that no machine can capture is no failure of one."""
    changes = {"warnings": [example_flag(kind)], "settings": Settings(device=device)}
    repeat = example_repeat().model_copy(update=changes)
    with pytest.raises(WorkerError, match=kind) if refused else nullcontext():
        check_fallback(repeat)


def test_fallback_is_trained_again_when_resumed_unless_it_is_allowed(project: Project) -> None:
    """The cause may be gone: here it is, and the other case is taken over."""
    assert project.run(*SELECT, _python(project, "not_captured")).returncode == 1
    (journal,) = project.journals()
    kept = journal.read_bytes()
    resume = f"--cnnperf-resume={journal}"
    again = project.run(*SELECT, _python(project, "busy_cpu"), resume)
    assert again.returncode == 0, again.stdout
    told = " ".join(again.stdout.split())
    assert f"1 training ({FAST} seed 0) trained again: engine fast fell back" in told
    assert "2 trainings (modified_vgg-digits-28-brief-eager seed 0" in told
    (fast,) = (case for case in project.record().cases if case.engine == "fast")
    kinds = [[flag.kind for flag in repeat.warnings] for repeat in fast.repeats]
    assert ["not_captured" in each for each in kinds] == [False, False]

    journal.write_bytes(kept)
    allowed = project.run(
        *SELECT, _python(project, "not_captured"), resume, "--cnnperf-allow-fallback"
    )
    assert allowed.returncode == 0, allowed.stdout
    log = (project.folder / "log.txt").read_text()
    assert log.count("python-not_captured modified_vgg-fast") == 2, "one before, one after"
    assert "fell back" not in allowed.stdout
