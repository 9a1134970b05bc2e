"""Fleet runs on a real Ray cluster of three nodes: whole ones, and ones in which things die."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("ray", reason="a fleet run needs the extra `fleet`")
pytest.importorskip("torch", reason="training needs the extra `train`")

from cnnperf.compare.fleet.devices import load_devices
from cnnperf.record.loading import load_record
from cnnperf.record.schema import Record
from tests.commands import run_cnnperf
from tests.run.fleet.clusters import CASE, FleetCommand, LocalCluster, journaled

NODES = ("n0", "n1", "n2")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A cluster that outlives every test; nodes that a test adds are gone after it."""
    found = LocalCluster(*NODES)
    yield found
    found.shut_down()


def records_in(folder: Path) -> dict[str, Record]:
    """The records by the name of the node."""
    return {path.stem.split("-")[-2]: load_record(path) for path in folder.glob("*.json")}


def times_in(record: Record) -> dict[int, float]:
    """Something that no second training has in common with the first, by seed."""
    return {each.seed: each.metrics.train_seconds for c in record.cases for each in c.repeats}


def is_clean(folder: Path) -> bool:
    """Whether only records are left."""
    return {path.suffix for path in folder.iterdir()} == {".json"}


def test_every_device_leaves_a_record_and_nobody_else_trains_there(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    """A second fleet run is refused, in the same folder at once and elsewhere by the devices."""
    fleet = FleetCommand(cluster.address, tmp_path / "fleet", "--repeats=1", "--deterministic")
    fleet.wait_for(lambda: "tier full; 1 case, 3 trainings" in fleet.text)
    fleet.process.send_signal(signal.SIGSTOP)  # its agents hold the devices meanwhile
    same = FleetCommand(cluster.address, tmp_path / "fleet", "--resume")
    other = FleetCommand(cluster.address, tmp_path / "other")
    assert same.end() == 2
    assert f"{fleet.folder} is in use by process {fleet.process.pid}; wait until" in same.text
    assert other.end() == 2
    assert "-cpu: in use by another fleet run (process " in other.text
    assert not other.folder.exists()
    fleet.process.send_signal(signal.SIGCONT)
    assert fleet.end() == 0, fleet.text
    assert "3 of 3 trainings done on 3 devices" in fleet.text
    assert is_clean(fleet.folder)
    devices = load_devices(fleet.folder)
    host = devices[0].environment.hardware.host
    assert [each.name for each in devices] == [f"{host}-{name}-cpu" for name in NODES]
    assert all(each.labels == {"host": host, "card": "cpu"} for each in devices)
    for device in devices:
        (case,) = device.record.cases
        assert (case.id, case.outcome, device.record.interrupted) == (CASE, "passed", False)
        assert [repeat.seed for repeat in case.repeats] == [0]
        for repeat in case.repeats:  # Ray sets OMP_NUM_THREADS to 1
            assert repeat.settings is not None
            assert "OMP_NUM_THREADS" not in (repeat.settings.variables or {})
    judged = run_cnnperf("fleet", "judge", str(fleet.folder), "--format=json")
    assert judged.returncode == 0, judged.stderr
    assert len(json.loads(judged.stdout)["devices"]) == 3


def test_a_node_that_dies_loses_what_was_under_way_there(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    """One comes back and goes on; one does not, is named, and is trained by `--resume` later."""
    fleet = FleetCommand(cluster.address, tmp_path / "fleet", "--repeats=2")
    fleet.wait_for_repeats(1, "*-n1-cpu*")
    cluster.kill("n1")
    cluster.kill("n2")
    cluster.add("n1", wait=False)
    assert fleet.end() == 75, fleet.text
    for line in ("-n1: lost (", "-n1: back again", "-n2: lost (", "-n2: given up: "):
        assert line in fleet.text
    assert "and it did not come back" in fleet.text
    assert "trainings are left; continue with" in fleet.text
    assert fleet.text.rstrip().endswith("--resume")
    before = records_in(fleet.folder)
    assert [len(times_in(before[name])) for name in ("n0", "n1")] == [2, 2]
    (case,) = before["n2"].cases
    assert case.outcome == "failed"
    assert case.error is not None
    assert "n2 was lost" in case.error.message
    cluster.add("n2")
    again = FleetCommand(cluster.address, tmp_path / "fleet", "--repeats=2", "--resume")
    assert again.end() == 0, again.text
    after = records_in(fleet.folder)
    assert {name: len(times_in(record)) for name, record in after.items()} == dict.fromkeys(
        NODES, 2
    )
    for name, record in before.items():  # nothing finished was trained again
        assert times_in(record).items() <= times_in(after[name]).items()
    assert is_clean(fleet.folder)


def test_a_node_with_another_torch_is_refused(cluster: LocalCluster, tmp_path: Path) -> None:
    """Before anything trains; here a node finds the metadata of another torch first."""
    stub = tmp_path / "torch-2.0.0.dist-info"
    stub.mkdir()
    (stub / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 2.0.0\n")
    cluster.add("odd", PYTHONPATH=str(tmp_path))
    try:
        fleet = FleetCommand(cluster.address, tmp_path / "fleet")
        assert fleet.end() == 2
    finally:
        cluster.remove("odd")
    assert "-odd has torch 2.0.0, most nodes have 2." in fleet.text
    assert "install the same there" in fleet.text
    assert not fleet.folder.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hide a folder from a node")
def test_a_node_without_data_is_refused(cluster: LocalCluster, tmp_path: Path) -> None:
    """It is named with the file, before anything trains."""
    Image = pytest.importorskip("PIL.Image")
    for label in ("a", "b"):
        (tmp_path / "data" / "dots" / label).mkdir(parents=True)
        for number in range(8):
            Image.new("L", (8, 8)).save(tmp_path / "data" / "dots" / label / f"{number}.png")
    (tmp_path / "cnnperf.toml").write_text(
        '[datasets.dots]\nimages = "data/dots"\nchannels = 1\nresolution = 8\n'
        '[[cases]]\nmodel = "modified_vgg"\ndataset = "dots"\nresolution = 28\n'
    )
    start = 'mount -t tmpfs none "$1" && shift && exec "$@"'
    ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus=1",
           "--node-name=bare", f"--address={cluster.address}"]  # fmt: skip
    bare = subprocess.Popen(
        ["unshare", "--mount", "sh", "-c", start, "sh", str(tmp_path / "data"), *ray],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert bare.stdout is not None
        assert any("Ray runtime started" in line for line in bare.stdout)
        fleet = FleetCommand(cluster.address, tmp_path / "fleet", "-k", "dots", cwd=tmp_path)
        assert fleet.end() == 2
    finally:
        os.killpg(bare.pid, signal.SIGTERM)
        bare.wait()
    assert "-bare: data set dots: " in fleet.text
    assert "No such file" in fleet.text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small disk")
def test_a_full_disk_a_killed_command_and_a_lost_head_lose_nothing_finished(tmp_path: Path) -> None:
    """`--resume` goes on after each of them, in the end on another cluster with the same node."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=18m", "none", disk], check=True)
    folder = disk / "fleet"
    solo = LocalCluster("n0")
    try:
        arguments = (solo.address, folder, "--repeats=6")
        full = FleetCommand(*arguments, log=tmp_path)
        full.wait_for_repeats(1)
        _fill(disk / "filler")
        assert full.end() == 2, full.text
        assert "No space left on device" in full.text
        assert "--resume" in full.text
        assert "--cnnperf" not in full.text
        (disk / "filler").unlink()
        done = [journaled(folder)]

        killed = FleetCommand(*arguments, "--resume", log=tmp_path)
        killed.wait_for_repeats(done[-1] + 1)
        killed.process.kill()
        killed.process.wait()
        assert f"{done[-1]} taken over from the stopped run" in killed.text
        done.append(journaled(folder))

        headless = FleetCommand(*arguments, "--resume", log=tmp_path)
        headless.wait_for_repeats(done[-1] + 1)
        solo.kill_head()
        assert headless.end() == 75, headless.text
        assert f"{done[-1]} taken over from the stopped run" in headless.text
        assert "the head of the Ray cluster no longer answers" in headless.text
        done.append(journaled(folder))
        (stopped,) = records_in(folder).values()
        solo.shut_down()
        solo = LocalCluster("n0")

        last = FleetCommand(solo.address, folder, "--repeats=6", "--resume", log=tmp_path)
        assert last.end() == 0, last.text
        (record,) = records_in(folder).values()
        assert times_in(stopped).items() < times_in(record).items()
        assert sorted(times_in(record)) == [0, 1, 2, 3, 4, 5]
        assert 1 <= done[0] < done[1] < done[2] < 6
        assert is_clean(folder)
    finally:
        solo.shut_down()
        subprocess.run(["umount", "--lazy", disk], check=True)


def _fill(filler: Path) -> None:
    """Leave no byte free on the disk of a file."""
    with filler.open("wb", buffering=0) as file:
        for size in (2**16, 2**12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(b"x" * size)
