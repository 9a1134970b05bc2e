"""Remove the names of hosts and people from a record, so that it can be published.

    pytest benchmarks --cnnperf-anonymous --benchmark-json=run.json
    cnnperf export run.json --to anonymous -o public.json

A host keeps a name that stays the same, a hash, so that two cards of one host are still known as
such. Whoever guesses the name of a host can check the guess: a hash hides a name only from those
who do not know it.
"""

from __future__ import annotations

import getpass
import hashlib
import json
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

M = TypeVar("M", bound=BaseModel)

HASHED = re.compile(r"(host|device)-[0-9a-f]{8}")

HOMES = re.compile(r"(?<![\w.~-])(/(?:home|Users)/[^/\s:;,'\"]+|/root(?![\w.-]))")
"""A home folder on Linux and macOS, whoever's it is."""

FREE_TEXT = ("command", "message", "traceback")
"""Fields that may name the host in a sentence."""


def anonymous_name(name: str, kind: str = "host") -> str:
    """Return a name that is the same for the same host everywhere; a hashed one stays.

    >>> anonymous_name("node7"), anonymous_name(anonymous_name("node7"))
    ('host-9be35e6e', 'host-9be35e6e')
    """
    if HASHED.fullmatch(name):
        return name
    return f"{kind}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def anonymous(model: M, host: str | None = None) -> M:
    """Return a copy of a record, or of a part of one, without names of hosts, users and homes.

    `host` is the host's name where the part itself does not have it.
    """
    content = model.model_dump(mode="json")
    host = _host_of(content) or host
    return type(model).model_validate_json(json.dumps(_cleaned(content, "", host)))


def _host_of(content: Any) -> str | None:
    """Return the first `hardware.host`, at any depth."""
    if not isinstance(content, dict):
        return None
    hardware = content.get("hardware")
    if isinstance(hardware, dict) and hardware.get("host"):
        return str(hardware["host"])
    return next(filter(None, map(_host_of, content.values())), None)


def _cleaned(value: Any, field: str, host: str | None) -> Any:
    if isinstance(value, dict):
        return {name: _cleaned(each, name, host) for name, each in value.items()}
    if isinstance(value, list):
        return [_cleaned(each, field, host) for each in value]
    if not isinstance(value, str):
        return value
    if field == "host":
        return anonymous_name(value)
    text = _without_homes(value)
    return without_host(text, host) if host and field in FREE_TEXT else text


def without_host(text: str, host: str) -> str:
    """Replace a host's full name, and its first part, by the hashed name."""
    names = sorted({host, host.partition(".")[0]}, key=len, reverse=True)
    pattern = "|".join(map(re.escape, names))
    return re.sub(rf"(?<![\w-])({pattern})(?![\w])", anonymous_name(host), text)


def _without_homes(text: str) -> str:
    """Replace home folders by `~`, and the user's name in other paths by `user`."""
    if "/" not in text:
        return text
    own = str(Path.home())
    text = re.sub(re.escape(own) + r"(?![\w.-])", "~", text) if len(own) > 1 else text
    text = HOMES.sub("~", text)
    with suppress(OSError, KeyError):  # a user without an entry, as in a container
        user = re.escape(getpass.getuser())
        text = re.sub(rf"(?<=/){user}(?![\w.-])", "user", text)
    return text
