"""A run stops if a GPU is present but torch would train on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cnnperf.errors import UsageError
from cnnperf.record.journal import choose_paths, read_journal
from cnnperf.record.messages import ProbeResult
from cnnperf.run import session
from cnnperf.run.plan import make_plan
from cnnperf.run.session import RunSession
from cnnperf.run.settings import settings_from
from tests.examples import example_environment

CASE = "modified_vgg-digits-28-brief-eager"


def _look(
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    *,
    accelerator: str | None = "1 NVIDIA GPU",
    found: str = "cpu",
    case_ids: tuple[str, ...] = (CASE,),
    **given: Any,
) -> RunSession:
    """Start a run whose worker finds this device on a machine with this accelerator."""
    probed = ProbeResult(device=found, environment=example_environment(gpu=None))
    monkeypatch.setattr(session, "finds_accelerator", lambda: accelerator)
    monkeypatch.setattr(session, "probe", lambda *_, **__: probed)
    settings = settings_from(given, ())
    plan = make_plan(case_ids, settings, "smoke")
    run = RunSession(settings, "smoke", plan, choose_paths(folder / "run.json", folder))
    try:
        run.look_at_machine()
    finally:
        run.journal.close()
    return run


def test_gpu_that_torch_cannot_use_stops_the_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The message names the GPU and the ways out; CUDA_VISIBLE_DEVICES is not set, so not named."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with pytest.raises(
        UsageError, match=r"1 NVIDIA GPU found, but torch 2\.15\.0 cannot use it"
    ) as e:
        _look(monkeypatch, tmp_path)
    assert "CUDA_VISIBLE_DEVICES" not in str(e.value)
    assert "--cnnperf-device=cpu" in str(e.value)


def test_variable_that_may_hide_the_gpu_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another build of torch would not help if the variable hides the GPU."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with pytest.raises(UsageError, match="check that CUDA_VISIBLE_DEVICES=7 names a present GPU"):
        _look(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    "allowed",
    [{"device": "cpu"}, {"accelerator": None}, {"found": "cuda"}, {"case_ids": ()}],
    ids=["cpu requested", "no GPU", "GPU used", "nothing to train"],
)
def test_run_starts_if_no_gpu_is_left_unused_by_mistake(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, allowed: dict[str, Any]
) -> None:
    """The journal then has its first line."""
    run = _look(monkeypatch, tmp_path, **allowed)
    header, _ = read_journal(run.paths.journal)
    assert header.tier == "smoke"
