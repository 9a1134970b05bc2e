"""Tables of the suites on a page: what two runs of the same cases look like."""

from __future__ import annotations

from cnnperf.record.schema import Record
from tests.examples import example_case, example_case_record, example_record, example_repeat
from tests.report.page_parts import page_of, table_of, values_of


def _peers(*rates: float) -> Record:
    """An engine `plain` in two groups with these images per second."""
    cases = [
        example_case(model, name="peers").model_copy(update={"engine": "plain", "suite": "peers"})
        for model in ("modified_vgg", "modified_resnet")
    ]
    return example_record(
        *(
            example_case_record(case, repeats=[example_repeat(images_per_second=rate)])
            for case, rate in zip(cases, rates, strict=True)
        )
    )


def test_base_and_new_of_one_group_are_beside_each_other() -> None:
    """The first group of both runs, then the second."""
    rows = values_of(table_of(page_of(_peers(1.0, 2.0), _peers(3.0, 4.0)), "table-peers"))
    assert [(row["run"], row["images_per_second"]) for row in rows] == [
        ("base", 1.0), ("new", 3.0), ("base", 2.0), ("new", 4.0)
    ]  # fmt: skip
