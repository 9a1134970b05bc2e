"""Settings of the project's own tests; the benchmarks take as long as they take."""

from __future__ import annotations

import importlib.util
import os
import signal
import threading

import pytest

from cnnperf.catalog import registry

if os.environ.pop("PYTEST_XDIST_WORKER", None) is not None:
    # A pytest that a test starts is no worker of this one, which pytest-benchmark would believe.
    # And tests that train side by side must not fight for cores: torch's threads spin as they wait.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

if threading.current_thread() is threading.main_thread() and (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):
    # A shell's background job ignores Ctrl-C, and so would every process that a test starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

LIMIT_SECONDS = 1200
"""For a test that names no limit of its own: what hangs must fail, not hold up everybody.

It is the only limit of most tests. One on each process that a test starts would have to be longer
than that process takes on a machine that does something else too, which nobody knows.
"""

LONGEST_FIRST = ("training/test_accuracy.py", "pytest_plugin/", "training/")
"""Of two processes that share the tests, none shall wait in the end for what the other began last.

`make test` hands out whole files (--dist=loadfile), so that what a file's tests share is made once,
and in this order (--no-loadscope-reorder).
"""

REQUIRE_CUDA = "CNNPERF_REQUIRE_CUDA"
"""Set to 1, it makes a test that needs a GPU fail where there is none: a green run then means
something. `python3 .ci/gpu tests` sets it."""


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker by which `-m cuda` selects, and hold no generated example to a time."""
    if importlib.util.find_spec("hypothesis") is not None:  # a bare machine with a GPU has none
        from hypothesis import HealthCheck, settings

        settings.register_profile(
            "cnnperf",
            deadline=None,
            # The one is about time, too; the other about files that every example writes anew.
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        )
        settings.load_profile("cnnperf")
    config.addinivalue_line("markers", "cuda: needs an NVIDIA GPU; skipped, with that reason, else")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Give a test its time limit; pytest calls this for tests of this folder only."""
    if item.get_closest_marker("timeout") is None:
        item.add_marker(pytest.mark.timeout(LIMIT_SECONDS))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; the rest stays in its order."""
    items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    place = f"{item.path.parent.name}/{item.path.name}"
    return next(
        (rank for rank, start in enumerate(LONGEST_FIRST) if place.startswith(start)),
        len(LONGEST_FIRST),
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("cuda") is None or _has_cuda():
        return
    if os.environ.get(REQUIRE_CUDA) == "1":
        pytest.fail(f"torch finds no NVIDIA GPU, and {REQUIRE_CUDA}=1", pytrace=False)
    pytest.skip("needs an NVIDIA GPU")


def _has_cuda() -> bool:
    """Asked only for a test that needs it: torch takes its time to be imported."""
    torch = pytest.importorskip("torch", reason="training needs the extra `train`")
    return bool(torch.cuda.is_available())


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove what a test registers after it: another test may use the same names."""
    for name in ("_models", "_datasets", "_cases", "_unchanged"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
