"""Devices beside their peers: verdicts, causes, and how often they are wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from cnnperf.cli.commands import app
from cnnperf.compare.fleet.devices import load_devices
from cnnperf.compare.fleet.judge import FleetRules, judge_fleet
from cnnperf.compare.fleet.verdicts import Fleet, JudgedDevice
from cnnperf.errors import UsageError
from cnnperf.record.anonymous import anonymous_name
from cnnperf.record.schema import Record
from tests.compare.fleet.fleets import devices_of, fleet_of, with_gpu, with_host, write_fleet
from tests.compare.fleet.simulation import Scenario, rates
from tests.examples import example_record, failed_case_record


def judged(records: dict[str, Record], *, hosts: bool = False, **rules: Any) -> Fleet:
    """The verdicts on some records."""
    return judge_fleet(devices_of(records, hosts=hosts), FleetRules(**rules))


def device(fleet: Fleet, name: str) -> JudgedDevice:
    """The verdict on one device."""
    return next(each for each in fleet.devices if each.name == name)


def of_verdict(fleet: Fleet, verdict: str) -> list[str]:
    """Names of devices with a verdict, worst first."""
    return [each.name for each in fleet.devices if each.verdict == verdict]


def test_a_healthy_fleet_raises_no_alarm() -> None:
    """Or hardly ever, whatever the devices differ by: in one fleet of twenty."""
    for between in (0.0, 0.003, 0.08):
        fleets = [judged(fleet_of(between=between, seed=seed)) for seed in range(20)]
        assert sum(fleet.exit_code for fleet in fleets) <= 3


def test_a_slow_device_is_found_with_its_ratio() -> None:
    """And only that one; a fast one is named, but does not fail."""
    fleet = judged(fleet_of(effects={3: -0.08, 5: 0.08}))
    assert (of_verdict(fleet, "slow"), of_verdict(fleet, "fast")) == (
        ["node0-gpu3"],
        ["node0-gpu5"],
    )
    (figure,) = device(fleet, "node0-gpu3").figures
    assert figure.low < figure.ratio < figure.high
    assert figure.ratio == pytest.approx(0.92, abs=0.03)
    assert fleet.devices[0].name == "node0-gpu3"
    assert fleet.exit_code == 1
    assert fleet.summary == "40 devices: 1 slow, 1 fast, 38 normal"


def test_times_are_judged_as_speeds() -> None:
    """A longer time is slower, with the same ratio."""
    records = fleet_of(effects={3: -0.08})
    by_time = device(judged(records, metric="train_seconds"), "node0-gpu3")
    by_rate = device(judged(records), "node0-gpu3")
    assert by_time.verdict == "slow"
    assert by_time.figures[0].ratio == pytest.approx(by_rate.figures[0].ratio)
    assert by_time.figures[0].value == pytest.approx(20 / by_rate.figures[0].ratio, rel=0.02)


def test_a_third_of_bad_devices_does_not_hide_them() -> None:
    """The others stay normal."""
    fleet = judged(fleet_of(60, dict.fromkeys(range(18), -0.15)))
    assert len(of_verdict(fleet, "slow")) == 18
    assert of_verdict(fleet, "fast") == []


def test_all_cards_of_a_node_are_a_cause() -> None:
    """The label that slow devices share is named before anything of the card itself."""
    effects = dict.fromkeys(range(32, 40), -0.1) | {3: -0.1}
    fleet = judged(fleet_of(effects=effects), hosts=True)
    assert device(fleet, "node4-gpu2").causes[0] == "host node4: 8 of its 8 devices are slow"
    assert device(fleet, "node0-gpu3").causes == ()


def test_hosts_are_known_from_the_records(tmp_path: Path) -> None:
    """Without --labels, which win where they say something else; `--anonymous` hashes names."""
    effects = dict.fromkeys(range(32, 40), -0.1)
    records = {
        name: with_host(record, name.partition("-")[0], index=int(name[-1]))
        for name, record in fleet_of(effects=effects).items()
    }
    folder = write_fleet(tmp_path / "fleet", records)
    devices = load_devices(folder)
    assert devices[0].labels == {"host": "node0", "card": "0"}
    slow = [each for each in judge_fleet(devices).devices if each.verdict == "slow"]
    assert len(slow) == 8
    assert all(each.causes[0] == "host node4: 8 of its 8 devices are slow" for each in slow)
    labels = tmp_path / "labels.csv"
    labels.write_text("device,host\nnode0-gpu0,blade1\n")
    assert load_devices(folder, labels)[0].labels == {"host": "blade1", "card": "0"}
    code, output, _ = run(str(folder), "--anonymous", "--format", "json")
    assert code == 1
    assert "node" not in output
    host = anonymous_name("node4")
    assert f"host {host}: 8 of its 8 devices are slow" in output
    assert f'"{host}-gpu0"' in output


def test_what_tells_a_slow_card_from_its_peers_is_a_cause() -> None:
    """With both figures; what normal cards differ in is none."""
    records = fleet_of(effects={3: -0.1})
    records = {
        name: with_gpu(record, pcie_width=4 if name == "node0-gpu3" else 16, vbios=f"v{name[-1]}")
        for name, record in records.items()
    }
    causes = device(judged(records), "node0-gpu3").causes
    assert causes == ("PCIe lanes 4, not 16 as most of its peers",)


def test_noise_leaves_a_device_undecided_with_the_repeats_that_settle_it() -> None:
    """With so many more trainings of the same kind it is called slow."""
    found = []
    for seed in range(20):
        records = fleet_of(effects={3: -0.05}, between=0.005, within=0.04, repeats=3, seed=seed)
        found += [device(judged(records), "node0-gpu3")]
    undecided = [each for each in found if each.verdict == "undecided"]
    assert undecided
    needed = max(each.figures[0].repeats_needed or 0 for each in undecided)
    assert 3 < needed < 1000
    records = fleet_of(effects={3: -0.05}, between=0.005, within=0.04, repeats=needed, seed=1)
    assert device(judged(records), "node0-gpu3").verdict == "slow"
    assert judged(fleet_of(between=0.005), strict=True).exit_code == 0


def test_failed_alone_and_other_kinds() -> None:
    """A failed case fails its device; another GPU model has peers of its own, or none."""
    records = fleet_of(20)
    records["node9-gpu0"] = example_record(failed_case_record("Xid 79"))
    records |= {
        f"other{number}": with_gpu(record, name="NVIDIA A100")
        for number, record in enumerate(fleet_of(3, {0: -1.0}).values())
    }
    fleet = judged(records)
    failed = device(fleet, "node9-gpu0")
    assert failed.verdict == "failed"
    assert failed.reason == "modified_resnet-mnist-28-eager failed: Xid 79"
    assert len(of_verdict(fleet, "alone")) == 3
    assert device(fleet, "other0").reason == "2 peers of its kind; 4 are needed"


def test_another_driver_is_no_other_kind() -> None:
    """It may be the cause, so its devices stay among their peers."""
    records = fleet_of(effects={3: -0.1})
    record = records["node0-gpu3"]
    software = record.environment.software.model_copy(update={"driver": "535.1"})
    old = {name: each.environment.software for name, each in records.items()}
    records = {
        name: each.model_copy(
            update={
                "environment": each.environment.model_copy(
                    update={
                        "software": software
                        if name == "node0-gpu3"
                        else old[name].model_copy(update={"driver": "580.2"})
                    }
                )
            }
        )
        for name, each in records.items()
    }
    found = device(judged(records), "node0-gpu3")
    assert found.verdict == "slow"
    assert found.causes == ("driver 535.1, not 580.2 as most of its peers",)


def with_losses(record: Record, losses: list[float]) -> Record:
    """The record of a deterministic training with these losses."""
    case = record.cases[0]
    settings = case.repeats[0].settings
    assert settings is not None
    repeats = [
        repeat.model_copy(
            update={
                "step_losses": losses,
                "settings": settings.model_copy(update={"deterministic_algorithms": True}),
            }
        )
        for repeat in case.repeats
    ]
    return record.model_copy(update={"cases": [case.model_copy(update={"repeats": repeats})]})


def test_the_minority_with_other_losses_computes_wrongly() -> None:
    """One flipped bit in one loss is enough; the first step that differs is named."""
    right = [2.5, 2.25, 2.125]
    flipped = [2.5, 2.2500000000000004, 2.125]
    records = {name: with_losses(record, right) for name, record in fleet_of(10).items()}
    records["node0-gpu7"] = with_losses(records["node0-gpu7"], flipped)
    fleet = judged(records)
    assert of_verdict(fleet, "wrong") == ["node0-gpu7"]
    assert device(fleet, "node0-gpu7").reason == (
        "modified_vgg-mnist-28-eager, seed 0: the loss of step 2 is 2.2500000000000004, 2.25 on 9 "
        "of 10 devices"
    )
    assert fleet.exit_code == 1


def test_two_that_differ_do_not_tell_who_is_wrong() -> None:
    """Three votes are needed, and a majority."""
    two = {name: with_losses(record, [1.0]) for name, record in fleet_of(2).items()}
    two["node0-gpu1"] = with_losses(two["node0-gpu1"], [2.0])
    assert of_verdict(judged(two), "wrong") == []


def test_false_discoveries_are_held() -> None:
    """On twenty simulated fleets of 1,000 devices, ten of them 5 % slow."""
    found = rates(Scenario(between=1.0, within=0.3, slowdown=5.0), fleets=20)["cnnperf"]
    assert found.found > 90
    assert found.false_discoveries < 10
    none = rates(Scenario(between=8.0, within=2.0, slowdown=0.0), fleets=20)["cnnperf"]
    assert none.false_alarms < 0.05


# --- files and the command ------------------------------------------------------------------------


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code and both outputs of `cnnperf fleet judge`."""
    found = CliRunner().invoke(app, ["fleet", "judge", *arguments])
    return found.exit_code, found.stdout, found.stderr


def test_the_command_shows_what_needs_attention(tmp_path: Path) -> None:
    """Worst first, with causes; normal devices are counted."""
    folder = write_fleet(tmp_path / "fleet", fleet_of(effects={3: -0.1, 33: -0.1, 34: -0.1}))
    labels = tmp_path / "labels.csv"
    rows = [f"node{n // 8}-gpu{n % 8},node{n // 8},r{n // 36}" for n in range(40)]
    labels.write_text("\n".join(["device,host,rack", *rows]))
    code, output, _ = run(str(folder), "--labels", str(labels))
    assert code == 1
    assert output.rstrip().endswith("40 devices: 3 slow, 37 normal")
    assert "not shown: 37 normal devices (--all)" in output
    code, output, _ = run(str(folder), "--format", "json")
    content = json.loads(output)
    assert [each["verdict"] for each in content["devices"][:4]] == ["slow"] * 3 + ["normal"]
    code, output, _ = run(str(folder), "--format", "junit", "-o", str(tmp_path / "fleet.xml"))
    assert (code, output) == (1, "40 devices: 3 slow, 37 normal\n")
    suite = ElementTree.parse(tmp_path / "fleet.xml").getroot().find("testsuite")  # noqa: S314
    assert suite is not None
    assert (suite.get("tests"), suite.get("failures")) == ("40", "3")
    assert "| `node0-gpu3` | **slow** |" in run(str(folder), "--format", "markdown")[1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: None, "is no folder: expected one with a record a device"),
        (lambda folder: folder.mkdir(), "has no record: put one a device there"),
        (lambda folder: write_fleet(folder, fleet_of(3)) / "x.json", None),
    ],
)
def test_a_folder_without_records_is_one_sentence(
    tmp_path: Path, make: Any, message: str | None
) -> None:
    """The problem, then the fix."""
    make(tmp_path / "fleet")
    code, _, error = run(str(tmp_path / "fleet"))
    assert code == (0 if message is None else 2)
    assert (message or "") in error


def test_wrong_labels_and_copies_are_refused(tmp_path: Path) -> None:
    """A label of a device that is not there, and a card that is there twice."""
    records = fleet_of(6)
    folder = write_fleet(tmp_path / "fleet", records)
    labels = tmp_path / "labels.csv"
    labels.write_text("device,host\nnode0-gpu9,a\n")
    with pytest.raises(UsageError, match=r"there is no device 'node0-gpu9' \(did you mean 'node0"):
        load_devices(folder, labels)
    labels.write_text("name,host\n")
    with pytest.raises(UsageError, match="has no column `device`"):
        load_devices(folder, labels)
    twice = {name: with_gpu(records["node0-gpu0"], uuid_sha256="a" * 16) for name in ("a", "b")}
    write_fleet(tmp_path / "twice", twice)
    with pytest.raises(UsageError, match="a and b are records of one GPU"):
        load_devices(tmp_path / "twice")


def test_a_metric_that_is_no_speed_is_refused(tmp_path: Path) -> None:
    """With those that are possible."""
    write_fleet(tmp_path, fleet_of(2))
    code, _, error = run(str(tmp_path), "--metric", "test_accuracy")
    assert code == 2
    assert "there is no metric 'test_accuracy'" in error


# --- fleet against fleet, device against fleet ----------------------------------------------------


def test_two_fleets_are_compared_over_devices(tmp_path: Path) -> None:
    """Many trainings of few cards do not make a change certain; many cards do."""
    few = [
        write_fleet(tmp_path / f"few{n}", fleet_of(4, between=0.04, seed=n, repeats=50))
        for n in (0, 1)
    ]
    found = run_compare(*map(str, few))
    assert {each["n_base"] for each in metrics_of(found)} == {4}
    assert found["cases"][0]["metrics"]["images_per_second"]["verdict"] == "inconclusive"
    slower = dict.fromkeys(range(60), -0.06)
    many = [
        write_fleet(tmp_path / f"many{n}", fleet_of(60, slower if n else None, seed=n))
        for n in (0, 1)
    ]
    metric = run_compare(*map(str, many))["cases"][0]["metrics"]["images_per_second"]
    assert (metric["verdict"], metric["n_new"]) == ("slower", 60)
    assert metric["low"] < 0.942 < metric["high"]


def run_compare(*arguments: str) -> dict[str, Any]:
    """What `cnnperf compare` says as JSON."""
    found = CliRunner().invoke(app, ["compare", *arguments, "--format", "json"])
    content: dict[str, Any] = json.loads(found.stdout)
    return content


def metrics_of(comparison: dict[str, Any]) -> list[dict[str, Any]]:
    """The verdicts on all metrics of all cases."""
    return [each for case in comparison["cases"] for each in case["metrics"].values()]


def test_a_figure_that_a_training_lacks_is_lacking_on_its_device(tmp_path: Path) -> None:
    """A mean of the others would hide it."""
    records = fleet_of(6)
    repeats = records["node0-gpu2"].cases[0].repeats
    repeats[1] = repeats[1].model_copy(
        update={"metrics": repeats[1].metrics.model_copy(update={"images_per_second": None})}
    )
    base = write_fleet(tmp_path / "base", fleet_of(6))
    new = write_fleet(tmp_path / "new", records)
    metric = run_compare(str(base), str(new))["cases"][0]["metrics"]["images_per_second"]
    assert (metric["verdict"], metric["reason"]) == (
        "missing",
        "1 of 6 trainings of new lack this figure",
    )


def test_a_device_is_placed_among_others(tmp_path: Path) -> None:
    """Its percentile, with an interval that holds the truth; too few others are refused."""
    records = fleet_of(101, between=0.05, seed=7)
    speeds = {
        name: sum(each.metrics.images_per_second or 0 for each in record.cases[0].repeats)
        for name, record in records.items()
    }
    middle = sorted(speeds, key=lambda name: speeds[name])[70]
    folder = write_fleet(tmp_path / "fleet", records)
    found = CliRunner().invoke(
        app, ["fleet", "place", str(folder / f"{middle}.json"), "--reference", str(folder)]
    )
    text = " ".join(found.stdout.split())
    assert found.exit_code == 0
    assert "faster than 70 % of 100 devices (" in text
    low, high = (int(part) for part in text.split("devices (")[1].split(" %)")[0].split(" to "))
    assert low < 70 < high
    assert high - low < 40
    few = write_fleet(tmp_path / "few", fleet_of(3))
    refused = CliRunner().invoke(
        app, ["fleet", "place", str(folder / f"{middle}.json"), "--reference", str(few)]
    )
    assert refused.exit_code == 2
    assert "fewer than four devices of this kind" in refused.stderr
