"""A record without the names of hosts and people: they are gone, and all else is there."""

from __future__ import annotations

import json

import pytest

from cnnperf.record.anonymous import anonymous, anonymous_name
from cnnperf.record.environment import Flag
from cnnperf.record.schema import CaseError, Record
from tests.examples import example_case_record, example_environment, example_record, example_repeat


@pytest.fixture
def record() -> Record:
    """A record of host node7.lab, whose user is alice."""
    flag = Flag(kind="other", message="node7 was busy; see /Users/alice/log")
    error = CaseError(
        kind="exception",
        message="no file /home/alice/data on node7.lab",
        traceback='File "/home/alice/x.py", line 1\nFile "/root/y.py"\nconnect node7.lab:80',
    )
    case = example_case_record(
        outcome="failed",
        error=error,
        repeats=[example_repeat(0).model_copy(update={"warnings": [flag]})],
    )
    environment = example_environment(host="node7.lab")
    return example_record(
        case, environment=environment, command="pytest --confcutdir=/home/alice/b --tb=short"
    )


def test_no_name_is_left(record: Record) -> None:
    """Of host, user and home folders, wherever a sentence or a path has them."""
    found = anonymous(record)
    text = found.model_dump_json()
    for name in ("node7", "alice", "/home", "/Users", "/root"):
        assert name in record.model_dump_json()
        assert name not in text
    host = anonymous_name("node7.lab")
    assert found.environment.hardware.host == host
    error = found.cases[0].error
    assert error is not None
    assert error.message == f"no file ~/data on {host}"
    assert error.traceback == f'File "~/x.py", line 1\nFile "~/y.py"\nconnect {host}:80'
    assert found.command == "pytest --confcutdir=~/b --tb=short"


def test_everything_else_stays(record: Record) -> None:
    """Ids, figures and fingerprints are what a comparison needs."""
    found = anonymous(record)
    blank = {"host", "command", "error", "warnings"}

    def rest(of: Record) -> object:
        def without(value: object) -> object:
            if isinstance(value, dict):
                return {name: without(each) for name, each in value.items() if name not in blank}
            return [without(each) for each in value] if isinstance(value, list) else value

        return without(json.loads(of.model_dump_json()))

    assert rest(found) == rest(record)
    assert found.cases[0].fingerprint == record.cases[0].fingerprint
    assert anonymous(found) == found


def test_one_host_has_one_hash() -> None:
    """So that the cards of a slow host are still found, in any record and at any time."""
    one, other = (
        anonymous(example_record(environment=example_environment(host=host))).environment.hardware
        for host in ("node7", "node8")
    )
    assert one.host == anonymous_name("node7") == "host-9be35e6e"
    assert one.host != other.host
