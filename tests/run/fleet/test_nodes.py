"""What a fleet run knows of its nodes: GPUs, names, differences."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cnnperf.errors import UsageError
from cnnperf.record.anonymous import anonymous_name
from cnnperf.record.environment import Software
from cnnperf.record.messages import Device
from cnnperf.run.fleet.checks import _check_same
from cnnperf.run.fleet.cluster import Cluster, RayNode
from cnnperf.run.fleet.devices import find_devices
from cnnperf.run.fleet.node import Card, NodeFacts, code_sha256, find_cards
from cnnperf.run.fleet.opening import check_folder
from tests.machine.conftest import install_nvml
from tests.machine.fake_nvml import InstallNvml, fake_gpu, mig_gpu

__all__ = ["install_nvml"]

CARDS = tuple(Card(visible=f"GPU-{number}", label=f"gpu{number}") for number in range(2))


def node(label: str, name: str = "a") -> RayNode:
    return RayNode(id=name, host=label, label=label, gpus=0)


def facts(*, cards: tuple[Card, ...] = (), code: str = "", **software: str) -> NodeFacts:
    return NodeFacts(
        software=Software(**{"torch": "2.14.1", "cnnperf": "0.2.0", **software}),
        code_sha256=code or code_sha256(),
        cards=cards,
    )


def names(
    *nodes: tuple[RayNode, NodeFacts], asked: Device = "auto", anon: bool = False
) -> list[str]:
    known = {each.id: found for each, found in nodes}
    found = find_devices([each for each, _ in nodes], known, asked, is_anonymous=anon)
    return [device.name for each in found for device in each.devices]


def test_every_gpu_is_a_device_and_a_node_without_one_is_its_cpu() -> None:
    """`--device` chooses one kind."""
    nodes = [(node("node7", "a"), facts(cards=CARDS)), (node("node8", "b"), facts())]
    assert names(*nodes) == ["node7-gpu0", "node7-gpu1", "node8-cpu"]
    assert names(*nodes, asked="cuda") == ["node7-gpu0", "node7-gpu1"]
    assert names(*nodes, asked="cpu") == ["node7-cpu", "node8-cpu"]
    with pytest.raises(UsageError, match="no node of the Ray cluster has an NVIDIA GPU"):
        names(nodes[1], asked="cuda")


def test_two_ray_nodes_of_one_host_are_told_apart() -> None:
    """And an anonymous run names no host."""
    nodes = [(node("node7", "a"), facts()), (node("node7", "b"), facts())]
    assert names(*nodes) == ["node7-1-cpu", "node7-2-cpu"]
    assert names(nodes[0], anon=True) == [f"{anonymous_name('node7')}-cpu"]


def test_the_cards_of_a_node_are_those_that_it_shows(install_nvml: InstallNvml) -> None:
    """A Slurm job sees some GPUs of its host; a slice of a GPU is a device of its own."""
    gpus = [fake_gpu(0), fake_gpu(1), mig_gpu(2)]
    install_nvml(*gpus)
    assert [card.label for card in find_cards(None)] == ["gpu0", "gpu1", "gpu2-mig0", "gpu2-mig1"]
    assert list(find_cards(gpus[1].uuid)) == [Card(visible=gpus[1].uuid, label="gpu1")]
    assert list(find_cards("")) == []
    slices = [card.visible for card in find_cards("2")]
    assert slices == [piece.uuid for piece in gpus[2].slices]


def test_without_nvml_ray_counts_the_gpus(install_nvml: InstallNvml) -> None:
    """They are known by their numbers then."""
    install_nvml()
    assert [card.visible for card in find_cards(None, 2)] == ["0", "1"]
    assert [card.visible for card in find_cards("3,5", 2)] == ["3", "5"]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (facts(torch="2.13.0"), "node3 has torch 2.13.0, most nodes have 2.14.1: install the same"),
        (facts(cnnperf="0.1.0"), "node3 has cnnperf 0.1.0, most nodes have 0.2.0"),
        (facts(cnnperf_commit="a" * 40), "node3 has cnnperf's commit aaaa"),
        (facts(code="b" * 64), "node3 has other source files of cnnperf than most nodes"),
    ],
)
def test_the_node_that_differs_is_named(other: NodeFacts, message: str) -> None:
    """With what it has, what most have, and the fix."""
    with pytest.raises(UsageError, match=message):
        _check_same({"node1": facts(), "node2": facts(), "node3": other, "node4": facts()})
    _check_same({"node1": facts(driver="580"), "node2": facts(driver="590")})


def test_nodes_with_another_cnnperf_than_here_are_refused() -> None:
    """They could not read what this machine sends."""
    with pytest.raises(UsageError, match="this machine has other source files of cnnperf than"):
        _check_same({"node1": facts(code="c" * 64), "node2": facts(code="c" * 64)})


def test_a_folder_of_another_fleet_run_is_not_mixed_with(tmp_path: Path) -> None:
    """Continuing has to be asked for, and needs something to continue."""
    with pytest.raises(UsageError, match="has no stopped fleet run to resume"):
        check_folder(tmp_path, resume=True)
    (tmp_path / "node7-cpu.json").write_text("{}")
    with pytest.raises(UsageError, match=r"has records already, such as node7-cpu.json: continue"):
        check_folder(tmp_path, resume=False)


def test_without_ray_the_package_to_install_is_named(tmp_path: Path) -> None:
    """Exit code 2, before anything else happens."""
    code = "import sys; sys.modules['ray'] = None; from cnnperf.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "fleet", "run", "-o", str(tmp_path / "fleet")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "`pip install 'cnnperf[fleet]'`" in done.stderr
    assert not (tmp_path / "fleet").exists()


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("ray://127.0.0.1:1", "Connection refused"),
        ("127.0.0.1:1", "Connection refused"),
        ("head", "expected auto, local, ray://HOST:PORT or HOST:PORT"),
    ],
)
def test_a_cluster_that_is_not_there_is_one_sentence(address: str, reason: str) -> None:
    """At once: Ray itself would try for minutes."""
    pytest.importorskip("ray", reason="a fleet run needs the extra `fleet`")
    with pytest.raises(UsageError, match=f"no Ray cluster at --address {address} .*{reason}"):
        Cluster(address).__enter__()
