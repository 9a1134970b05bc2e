"""Example comparisons for tests: plain functions, every figure in them chosen by hand."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from cnnperf.compare.verdicts import (
    CaseVerdicts,
    Comparison,
    Contamination,
    Drift,
    EnvironmentChange,
    MetricVerdict,
    Verdict,
)

CASE = "modified_vgg-mnist-28-eager"

HOSTILE = (
    "](https://evil.example/x) ![img](https://evil.example/y.png) [a][b]",
    "<img src=x onerror=alert(1)><script>alert(1)</script><!-- ",
    "@everyone look at #1 and owner/repo#2 and GH-3, mail me@evil.example",
    "https://evil.example www.evil.example ftp://evil.example //evil.example",
    "| new | cells | here |",
    "back\\| slash \\\\| and `tick ``two ```three` \\",
    "# heading",
    "1. list",
    "- list",
    "> quote",
    "**bold** _it_ ~~gone~~ $x^2$ :tada:",
    "a word _it_ and __this__",
    "a word :tada: and C:x",
    "&lt;b&gt; &#64;everyone &commat;everyone",
    "two\n\nlines\r\n::error::three\u2028four\x1b[31mred\x00\ufffe\u202e",
    "::error title=x::y ##[error]z %0A::warning::w",
    "title=a,b:c::d",
    "]]> </failure><testcase/> \" ' &amp;",
    "`",
    "``",
    "\\",
    "",
    " ",
    "x" * 5000,
)
"""Texts that want to be more than text, one for every trick."""


def hostile_text() -> st.SearchStrategy[str]:
    """Anything that may stand in a record, and what is known to hurt more often than not."""
    anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
    marks = st.text("`\\|@#<>[]()!*_~:$&%.,;/\n\r \u200bahtpsw1", max_size=30)
    known = st.sampled_from(HOSTILE)
    return st.one_of(anything, marks, known, st.builds("{}{}{}".format, marks, known, marks))


def example_metric(verdict: Verdict = "slower", **fields: Any) -> MetricVerdict:
    """A training's time, 5.2 % longer, unless told otherwise."""
    return MetricVerdict(
        **{
            "verdict": verdict,
            "gates": True,
            "base": 20.0,
            "new": 21.04,
            "n_base": 5,
            "n_new": 5,
            "ratio": 1.052,
            "low": 1.031,
            "high": 1.074,
            "threshold": 0.03,
            "p_value": 0.004,
            **fields,
        }
    )


def example_accuracy(verdict: Verdict = "inconclusive", **fields: Any) -> MetricVerdict:
    """An accuracy of which too little is known, unless told otherwise."""
    return example_metric(
        verdict,
        **{
            "base": 0.9899,
            "new": 0.9868,
            "ratio": None,
            "difference": -0.0031,
            "low": -0.0112,
            "high": 0.0050,
            "threshold": 0.005,
            "paired": True,
            "repeats_needed": 4 if verdict == "inconclusive" else None,
            **fields,
        },
    )


def example_same(**fields: Any) -> MetricVerdict:
    """A rate that has not changed."""
    return example_metric(
        "same",
        **{
            "base": 24_000.0,
            "new": 24_010.0,
            "ratio": 1.0004,
            "low": 0.995,
            "high": 1.006,
            "rules_out_regression": True,
            **fields,
        },
    )


def example_case(
    case_id: str = CASE, metrics: dict[str, MetricVerdict] | None = None, **fields: Any
) -> CaseVerdicts:
    """A case that is slower and otherwise not to be told, unless told otherwise."""
    found = {
        "images_per_second": example_same(),
        "train_seconds": example_metric(),
        "test_accuracy": example_accuracy(),
    }
    metrics = found if metrics is None else metrics
    return CaseVerdicts(**{"id": case_id, "verdict": "slower", "metrics": metrics, **fields})


def whole_case(
    case_id: str, verdict: Verdict = "missing", reason: str | None = "base has it, new has not"
) -> CaseVerdicts:
    """A case that was judged without its metrics."""
    return CaseVerdicts(id=case_id, verdict=verdict, reason=reason)


def example_comparison(*cases: CaseVerdicts, **fields: Any) -> Comparison:
    """Something of everything, unless told otherwise."""
    return Comparison(
        **{
            "verdict": "regression",
            "exit_code": 1,
            "summary": "regression: 1 failed, 1 missing, 1 slower of 5 cases",
            "base_files": ("base.json",),
            "new_files": ("new.json", "more.json"),
            "cases": cases or _cases(),
            "new_cases": ("resnet18-mnist-28-eager",),
            "environment_changes": (
                EnvironmentChange(field="software.torch", base="2.14.1", new="2.15.0"),
                EnvironmentChange(
                    field="hardware.gpu.name", base="NVIDIA A100", new="NVIDIA H200", forbids=True
                ),
            ),
            "notes": ("new was interrupted: not every planned training was done",),
            **fields,
        }
    )


def _cases() -> tuple[CaseVerdicts, ...]:
    return (
        example_case(
            contamination=Contamination(base=1, new=2, kinds=("throttled", "busy_cpu")),
            drift=(Drift(seed=0, steps=100),),
        ),
        whole_case("modified_resnet-mnist-28-eager"),
        whole_case("vgg16-mnist-224-eager", "failed", "new failed: killed by SIGKILL"),
        example_case(
            "modified_vgg-cifar10-28-eager",
            {
                "train_seconds": example_metric("faster", ratio=0.9, low=0.88, high=0.93),
                "peak_memory_bytes": example_metric("worse", gates=False, base=2.0**30, new=2**31),
                "test_accuracy": example_accuracy("shortened", reason="shortened trainings"),
            },
            verdict="faster",
        ),
        whole_case("resnet34-mnist-224-eager", "not comparable", "the recipes differ"),
    )


def hostile_comparison(text: str) -> Comparison:
    """A comparison with this text wherever a record may put one; as many lines as any other."""
    return example_comparison(
        example_case(
            text,
            {"train_seconds": example_metric(reason=text), "test_accuracy": example_accuracy()},
            contamination=Contamination(base=1, kinds=(text,), dropped=True),
            drift=(Drift(seed=1, steps=2, first_difference_step=1, base_loss=1.0, new_loss=2.0),),
        ),
        whole_case(text + "2", "failed", text),
        example_case(text + "3", {"train_seconds": example_same(reason=text)}, verdict="same"),
        summary=text,
        base_files=(text,),
        new_files=(text, text),
        new_cases=(text,),
        notes=(text,),
        environment_changes=(EnvironmentChange(field=text, base=text, new=text),),
    )
