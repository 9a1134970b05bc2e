"""`--cnnperf-devices` in real runs: one record, two nodes by torchrun, and what is refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cnnperf.record.loading import load_record
from tests.pytest_plugin.project import Project

pytest.importorskip("torch", reason="training needs the extra `train`")

CASE = "good-tiny-8-two-eager"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A folder with the tiny cases."""
    return Project(tmp_path)


def test_cases_are_spread_and_compared_with_one_device(project: Project) -> None:
    """A case with more devices than this machine has is skipped and says so."""
    many = 10 * (os.cpu_count() or 1)
    run = project.run(
        "--cnnperf-devices", f"1,2,{many}", "-k", "good and two", "--cnnperf-repeats=2"
    )
    assert run.returncode == 0, run.stdout
    record = project.record()
    one, two, lacking = record.cases
    assert [case.id for case in record.cases] == [
        f"{CASE}-1device", f"{CASE}-2devices", f"{CASE}-{many}devices"
    ]  # fmt: skip
    assert lacking.outcome == "skipped"
    assert lacking.error is not None
    assert lacking.error.message.startswith(f"{many} devices cannot share a batch of 16 images")
    for repeat, reference in zip(two.repeats, one.repeats, strict=True):
        rates = [each.metrics.images_per_second or 0.0 for each in (repeat, reference)]
        assert repeat.metrics.scaling_efficiency == pytest.approx(rates[0] / rates[1] / 2)
        assert repeat.group is not None
        assert [each.rank for each in repeat.group.ranks] == [0, 1]
        assert repeat.settings is not None
        assert repeat.settings.torch_threads == 1
        assert len({each.worker_pid for each in repeat.group.ranks}) == 2
    assert "speed-up" in run.stdout


def test_torchrun_trains_on_two_nodes(project: Project) -> None:
    """Two nodes at two loopback addresses; each writes a record, and one device is the first's."""
    with socket.socket() as free:
        free.bind(("127.0.0.2", 0))
        port = free.getsockname()[1]
    runs = []
    for node in range(2):
        launch = [
            sys.executable, "-m", "torch.distributed.run", "--nnodes=2", f"--node-rank={node}",
            "--nproc-per-node=1", "--master-addr=127.0.0.2", f"--master-port={port}",
            f"--local-addr=127.0.0.{2 + node}", *project.command()[1:],
            "--cnnperf-devices=1,2", "-k", "good and two",
        ]  # fmt: skip
        runs.append(
            subprocess.Popen(
                launch, cwd=project.folder, env=project.environment(), text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )
        )  # fmt: skip
    outputs = [run.communicate()[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], "\n".join(outputs)
    first = project.record()
    second = load_record(project.json_path.with_name("run-node1.json"))
    assert [case.outcome for case in first.cases] == ["passed", "passed"]
    assert [case.outcome for case in second.cases] == ["skipped", "passed"]
    groups = [record.cases[1].repeats[0].group for record in (first, second)]
    assert groups[0] is not None
    assert groups[0] == groups[1]
    assert groups[0].nodes == groups[0].devices == 2
    epochs = [record.cases[1].repeats[0].epochs for record in (first, second)]
    assert [each.train_loss for each in epochs[0]] == [each.train_loss for each in epochs[1]]


def test_several_processes_on_a_node_are_refused(project: Project) -> None:
    """`torchrun --nproc-per-node=8 -m pytest` would train everything eight times."""
    variables = {
        "GROUP_WORLD_SIZE": "1", "GROUP_RANK": "0", "LOCAL_WORLD_SIZE": "8",
        "MASTER_ADDR": "localhost", "MASTER_PORT": "29500",
    }  # fmt: skip
    run = project.run("-k", "good and two", **variables)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "start one on each node, as torchrun --nproc-per-node=1 does" in run.stdout
    assert "Traceback" not in run.stdout
