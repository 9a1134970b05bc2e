"""Interpreters whose worker measures nothing: it says at once what a test wants to be measured.

To the parent they are processes like any other, started and ended by the real code; only torch and
the time it takes are missing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from cnnperf.record.messages import ProbeResult
from tests.examples import example_environment

SOURCE = """\
import json, math, os, random, sys, time

messages = os.fdopen(int(sys.argv[-1]), "w")

plan = json.loads({plan!r})
job = json.loads(sys.stdin.readline())


def say(kind, **fields):
    print(json.dumps({{"kind": kind, **fields}}), file=messages, flush=True)


if "refusal" in plan:
    say("failed", error="start", message=plan["refusal"])
elif job["kind"] == "probe":
    print(json.dumps(plan["probe"]), file=messages, flush=True)
else:
    case = "-".join([job["case"]["model"], job["case"]["engine"]])
    with open(plan["log"], "a+") as log:
        log.write(f"{{plan['name']}} {{case}} {{job['seed']}}\\n")
        log.seek(0)
        number = len(log.readlines())
    say("ready", at=time.monotonic(), startup_seconds=0.0, import_seconds=0.0, device="cpu")
    sys.stdin.readline()
    start = time.monotonic()
    while number > plan["free"] and not os.path.exists(plan["go_on"]):
        time.sleep(0.02)
    say("trained", at=time.monotonic(), seconds=time.monotonic() - start)
    if case in plan["failing"]:
        say("failed", error="exception", message="the cat sat on the keyboard")
        sys.exit(1)
    draw = random.Random(f"{{plan['name']}} {{case}} {{job['seed']}}")
    noise = plan["noise"].get(case, 0.0)
    seconds = 10 * plan["slower"].get(case, 1.0) * math.exp(draw.gauss(0, noise))
    say("result", repeat={{
        "seed": job["seed"],
        "metrics": {{
            "train_seconds": seconds,
            "images_per_second": 1e4 / seconds,
            "test_accuracy": 0.98,
            "test_f1_macro": 0.98,
            "peak_memory_bytes": 1000,
        }},
        "steps": 10,
        "settings": {{"device": plan["device"]}},
        "warnings": [
            {{"kind": kind, "message": "the compiler is missing"}}
            for kind in plan["warnings"].get(case, ())
        ],
        "model_sha256": "a" * 64,
        "dataset_sha256": "b" * 64,
    }})
"""


def fake_python(
    folder: Path,
    name: str,
    *,
    slower: dict[str, float] | None = None,
    noise: dict[str, float] | None = None,
    failing: tuple[str, ...] = (),
    free: int = sys.maxsize,
    warnings: dict[str, tuple[str, ...]] | None = None,
    device: str = "cpu",
    **more: Any,
) -> str:
    """An interpreter whose trainings take 10 seconds by their own account.

    Args:
        folder: where it is put; `log.txt` there gets a line for every training that is begun.
        name: of its file, and in the log.
        slower: factor of a case's time; a case is `<model>-<engine>` here.
        noise: standard deviation of the logarithm of a case's time.
        failing: cases whose trainings fail.
        free: how many trainings go through; each further one waits until there is a file `go-on`.
        warnings: kinds of flags that a case's trainings raise.
        device: where they say that they trained; the machine is a CPU all the same.
        more: `refusal`, a sentence with which it refuses to do anything.
    """
    probe = ProbeResult(device="cpu", environment=example_environment(gpu=None))
    plan = {
        "name": name,
        "probe": probe.model_dump(mode="json"),
        "log": str(folder / "log.txt"),
        "slower": slower or {},
        "noise": noise or {},
        "failing": failing,
        "free": free,
        "warnings": warnings or {},
        "device": device,
        "go_on": str(folder / "go-on"),
        **more,
    }
    path = folder / name
    path.write_text(f"#!{sys.executable} -IS\n{SOURCE.format(plan=json.dumps(plan))}")
    path.chmod(0o755)
    return str(path)
