"""SQL for DuckDB, in the order of use.

Every file is read whole and parsed once; only the fields of `SHAPE` are kept, and a field that does
not fit is NULL. DuckDB's `read_json` has the same parser, but allocates megabytes per file and
takes 15 times as long for files of this size.

No query contains text of a file or user, hence the exceptions to S608: metric names are constants
of cnnperf, and paths are parameters.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import get_args

from cnnperf.record.schema import Version

SHAPE = {
    "cnnperf": {
        "schema_version": "BIGINT",
        "created": "VARCHAR",
        "interrupted": "BOOLEAN",
        "environment": "JSON",
        "cases": [
            {
                "id": "VARCHAR",
                "fingerprint": "JSON",
                "shortened": "BOOLEAN",
                "outcome": "VARCHAR",
                "quality": "JSON",
                "repeats": [
                    {
                        "seed": "UBIGINT",
                        "steps": "UBIGINT",
                        "worker_pid": "UBIGINT",
                        "settings": "JSON",
                        "warnings": [{"kind": "VARCHAR"}],
                        "quality": "JSON",
                        "metrics": {},
                    }
                ],
            }
        ],
    },
    "commit_info": {"id": "VARCHAR", "dirty": "BOOLEAN"},
}
"""The fields that are read, without the metrics."""

OTHERS = {
    "a calibration": ("hardware", "software", "cases", "created"),
    "a comparison": ("verdict", "exit_code", "summary", "base_files"),
    "the record's schema": ("$schema", "$defs", "properties"),
    "an environment": ("hardware", "software", "settings"),
    "a history": ("cnnperf_history",),
    "a profile's trace": ("traceEvents", "schemaVersion"),
}
"""Top-level keys of other files that cnnperf writes; these are skipped silently."""

LATEST_MICROSECONDS = 253_402_300_799_000_000
"""End of the year 9999, the last of Python's datetime."""

TEXT = f"ltrim(TRY(decode(content)), chr({0xFEFF}))"
"""A file's content without a byte order mark; NULL if it is not UTF-8."""

BODIES = f"""
CREATE OR REPLACE TEMP TABLE bodies AS
SELECT filename AS file, TRY(json_extract({TEXT}, ['$.cnnperf', '$.commit_info'])) AS parts
FROM read_blob($files)
"""  # noqa: S608
"""One row per file of `$files`, with the two parts that matter. Shaping these instead of the whole
file takes a third less time."""


def contents_of_bodies(metrics: Sequence[str]) -> str:
    """Select one row per file, in the form of `SHAPE`.

    Args:
        metrics: column names. They become part of the query, so they must be known ones.
    """
    shape = json.loads(json.dumps(SHAPE))
    fields = dict.fromkeys(["train_seconds", *metrics], "JSON")  # DOUBLE would also take "3.5"
    shape["cnnperf"]["cases"][0]["repeats"][0]["metrics"] = fields
    parts = ", ".join(
        f"{name} := TRY(json_transform(parts[{place}], '{json.dumps(part)}'))"
        for place, (name, part) in enumerate(shape.items(), start=1)
    )
    return f"SELECT file, struct_pack({parts}) AS content FROM bodies"  # noqa: S608


RECORDS = f"""
CREATE TEMP TABLE records AS
SELECT
    file,
    content.cnnperf AS record,
    content.commit_info AS commit_info,
    epoch_us(TRY_CAST(content.cnnperf.created AS TIMESTAMPTZ)) AS created,
    json_merge_patch(
        content.cnnperf.environment, '{{"hardware": {{"matmul_flops_per_second": null}}}}'
    ) AS environment
FROM contents
WHERE content.cnnperf.schema_version IN {get_args(Version)}
    AND regexp_matches(content.cnnperf.created, '\\d\\d:\\d\\d.*(Z|[+-]\\d\\d:?\\d\\d)$')
    AND epoch_us(TRY_CAST(content.cnnperf.created AS TIMESTAMPTZ))
        BETWEEN 0 AND {LATEST_MICROSECONDS}
    AND content.cnnperf.cases IS NOT NULL
    AND list_unique(list_transform(content.cnnperf.cases, lambda c: c.id))
        = len(content.cnnperf.cases)
    AND len(list_filter(
        content.cnnperf.cases,
        lambda c: c.outcome IS NULL OR len(list_filter(
            c.repeats,
            lambda r: regexp_matches(to_json(r.metrics)::VARCHAR, ':["tf\\[{{]')
                OR coalesce(TRY_CAST(r.metrics.train_seconds AS DOUBLE), -1)
                    NOT BETWEEN 0 AND 1e12
        )) > 0
    )) = 0
"""  # noqa: S608
"""The files that are valid records, as far as they are read: a metric is a number or null. The
environment loses its measured peaks, which differ in each run."""

FOREIGN = "SELECT file FROM contents ANTI JOIN records USING (file) ORDER BY file"
"""The files that are not records."""


def broken_files() -> str:
    """Select the files among `$files` that are none of `OTHERS`."""
    tests = " OR ".join(f"list_has_all(keys, {list(keys)})" for keys in OTHERS.values())
    return f"""
    SELECT filename FROM (
        SELECT filename, TRY(json_keys({TEXT})) AS keys FROM read_blob($files)
    )
    WHERE NOT coalesce({tests}, FALSE) ORDER BY filename
    """  # noqa: S608


REPEATS = """
CREATE TEMP TABLE repeats AS
SELECT
    file, created, hash(environment) AS environment, commit_info,
    coalesce(record.interrupted, FALSE) AS interrupted, entry.id AS case_id,
    hash(entry.fingerprint) AS fingerprint, coalesce(entry.shortened, FALSE) AS shortened,
    hash(repeat.settings) AS settings, hash(entry.quality) AS quality, repeat,
    row_number() OVER (
        PARTITION BY entry.id, hash(entry.fingerprint, repeat) ORDER BY created DESC, file
    ) AS copy
FROM (
    SELECT * EXCLUDE entry, entry, unnest(entry.repeats) AS repeat
    FROM (SELECT *, unnest(record.cases) AS entry FROM records)
    WHERE entry.outcome = 'passed'
)
"""
"""One row per training. If several files have the same training (a copy, or a resumed run), the one
in the newest file has `copy` 1: that file has all trainings of the case."""

TEXTS = """
SELECT DISTINCT hash(environment), environment FROM records
UNION SELECT DISTINCT hash(fingerprint), fingerprint
    FROM (SELECT unnest(record.cases).fingerprint AS fingerprint FROM records)
UNION SELECT DISTINCT hash(repeat.settings), repeat.settings FROM repeats
UNION SELECT DISTINCT hash(quality), quality
    FROM (SELECT unnest(record.cases).quality AS quality FROM records)
"""
"""The few distinct texts to which thousands of rows refer by hash."""

COPIES = "SELECT file FROM repeats GROUP BY file HAVING min(copy) > 1 ORDER BY file"
"""Files whose trainings are all in newer files."""

FAILURES = """
SELECT entry.id, entry.outcome, count(DISTINCT created), max_by(file, created)
FROM (SELECT file, created, unnest(record.cases) AS entry FROM records)
WHERE entry.outcome != 'passed'
GROUP BY ALL
ORDER BY ALL
"""
"""Cases that did not pass: how often, and the newest file."""


OWN = """
coalesce(
    list_transform(
        TRY(json_keys(repeat.quality)),
        lambda name: {
            'name': name,
            'value': TRY_CAST(json_extract(repeat.quality, '$."' || name || '"') AS DOUBLE)
        }
    ),
    []
)
"""
"""What a loop of the user's reported of a training, as a list of name and value."""


def points(metrics: Sequence[str]) -> str:
    """Select one row per case, metric and record: median, least and greatest of the trainings.

    What a loop of the user's reported has rows too, whether its case declares it or not.
    """
    pairs = ", ".join(
        f"{{'name': '{name}', 'value': TRY_CAST(repeat.metrics.{name} AS DOUBLE)}}"
        for name in metrics
    )
    return f"""
    SELECT
        case_id, metric.name, file, created, any_value(environment),
        any_value(commit_info.id), any_value(commit_info.dirty), any_value(fingerprint),
        any_value(shortened), max(repeat.steps), any_value(interrupted),
        list_sort(list(DISTINCT settings)),
        list_distinct(flatten(list(list_transform(repeat.warnings, lambda w: w.kind)))),
        any_value(quality), count(*), median(metric.value), min(metric.value), max(metric.value)
    FROM (
        SELECT *, unnest(list_concat([{pairs}], {OWN})) AS metric FROM repeats WHERE copy = 1
    )
    WHERE isfinite(metric.value) AND abs(metric.value) < 1e100
    GROUP BY case_id, metric.name, file, created
    ORDER BY case_id, metric.name, created, file
    """  # noqa: S608
