"""Checks before anything is trained: every node must have the same cnnperf, torch and data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from cnnperf.catalog.registry import get_case, get_dataset
from cnnperf.catalog.specs import Case
from cnnperf.errors import UsageError
from cnnperf.record.metrics import ABSENT
from cnnperf.run.fleet.cluster import ANSWER_SECONDS, Cluster, ProcessLostError, RayNode, Ref
from cnnperf.run.fleet.node import DataFound, DataRequest, NodeFacts, code_sha256
from cnnperf.run.settings import RunSettings

SAME = ("cnnperf", "cnnperf_commit", "cnnperf_dirty", "torch", "cuda_runtime", "torchvision")
"""Fields of `Software` that nodes must share. Drivers may differ: that is often the question."""

HERE = "this machine"


def look_at(cluster: Cluster) -> dict[str, NodeFacts]:
    """Describe every node by its id.

    Raises:
        UsageError: there is no node to train on, or one lacks something or differs from the others.
    """
    nodes = cluster.nodes()
    if not nodes:
        raise UsageError(
            "the Ray cluster has no node with CPUs or GPUs to train on: start some with `ray start "
            "--address=HEAD:6379`"
        )
    asked = {node.id: cluster.ask(node, "look", node.gpus) for node in nodes}
    answers = _answers(cluster, nodes, asked)
    facts = {each: NodeFacts.model_validate_json(text) for each, text in answers.items()}
    for node in nodes:
        if missing := facts[node.id].missing:
            raise UsageError(
                f"{node.label}: training needs {', '.join(missing)}, which is not installed "
                "there: run `pip install 'cnnperf[train,fleet]'` there"
            )
    _check_same({node.label: facts[node.id] for node in nodes})
    return facts


def check_data(
    cluster: Cluster, nodes: Iterable[RayNode], case_ids: Iterable[str], settings: RunSettings
) -> None:
    """Check that every node has the data and packages of some cases.

    Raises:
        UsageError: one lacks some, or has other files than the rest.
    """
    cases = [case for case in map(get_case, case_ids) if isinstance(case, Case)]
    request = DataRequest(
        data_dir=str(settings.data_dir),
        datasets=tuple(get_dataset(name) for name in dict.fromkeys(c.dataset for c in cases)),
        engines=tuple(dict.fromkeys(case.engine for case in cases)),
    ).model_dump_json()
    nodes = list(nodes)
    asked = {node.id: cluster.ask(node, "find_data", request) for node in nodes}
    answers = _answers(cluster, nodes, asked)
    found = {node.label: DataFound.model_validate_json(answers[node.id]) for node in nodes}
    for label, each in found.items():
        if each.problem is not None:
            raise UsageError(f"{label}: {each.problem}")
    for name in {name for each in found.values() for name in each.digests}:
        digests = {label: each.digests.get(name) for label, each in found.items()}
        if (other := _minority(digests)) is not None:
            raise UsageError(
                f"{other}: data set {name} has other files there than on most nodes: copy them "
                "from a node that has the right ones"
            )


def first_answer(cluster: Cluster, ref: Ref, name: str, seconds: float = ANSWER_SECONDS) -> str:
    """Return what a node or device answers before anything is trained.

    Raises:
        UsageError: it does not answer; the sentence begins with its name.
    """
    try:
        return cluster.result(ref, seconds)
    except ProcessLostError as error:
        raise UsageError(
            f"{name}: lost before anything was trained ({error}): start Ray there again"
        ) from error
    except UsageError as error:
        raise UsageError(f"{name}: {error}") from error


def _answers(
    cluster: Cluster, nodes: Iterable[RayNode], asked: Mapping[str, Ref]
) -> dict[str, str]:
    found = {}
    for node in nodes:
        try:
            found[node.id] = first_answer(cluster, asked[node.id], node.label)
        except UsageError:
            raise
        except Exception as error:  # such as an older cnnperf, which has no such function
            raise UsageError(
                f"{node.label}: its cnnperf cannot answer ({type(error).__name__}: "
                f"{str(error).splitlines()[-1]}): install the same cnnperf there as here"
            ) from error
    return found


def _check_same(facts: Mapping[str, NodeFacts]) -> None:
    """Name the first node that differs from most, and from this machine if all agree."""
    for field in SAME:
        values = {label: getattr(each.software, field) for label, each in facts.items()}
        if (other := _minority(values)) is not None:
            most = Counter(values.values()).most_common(1)[0][0]
            name = field.replace("cnnperf_", "cnnperf's ").replace("cuda_runtime", "CUDA of torch")
            raise UsageError(
                f"{other} has {name} {_show(values[other])}, most nodes have {_show(most)}: "
                "install the same there"
            )
    code = {label: each.code_sha256 for label, each in facts.items()}
    if (other := _minority(code)) is not None:
        raise UsageError(
            f"{other} has other source files of cnnperf than most nodes: install the same there"
        )
    if code_sha256() not in code.values():
        version = next(iter(facts.values())).software.cnnperf
        raise UsageError(
            f"{HERE} has other source files of cnnperf than the nodes, which have {version}: "
            "install the same here"
        )


def _minority(values: Mapping[str, object]) -> str | None:
    """Return the first name whose value is not the commonest; None if all agree."""
    if len(set(values.values())) < 2:
        return None
    most = Counter(values.values()).most_common(1)[0][0]
    return next(name for name, value in values.items() if value != most)


def _show(value: object) -> str:
    return ABSENT if value is None else str(value)[:40]
