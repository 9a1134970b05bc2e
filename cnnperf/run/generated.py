"""The inputs of `cnnperf kernels`: which cases, and the code that torch generates for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING

from cnnperf.catalog.registry import get_case, get_dataset, get_model, input_channels, select_cases
from cnnperf.catalog.specs import Case
from cnnperf.errors import UsageError
from cnnperf.run.floors_inputs import with_floors
from cnnperf.run.plan import choose_tier
from cnnperf.run.session import missing_packages
from cnnperf.run.settings import settings_from

if TYPE_CHECKING:
    from cnnperf.training.engines.fast.generated import GeneratedStep


def choose_compiled(ids: Sequence[str], expression: str | None, tier: str | None) -> list[Case]:
    """Return the given cases, else those of the tier, that `fast` trains; equal steps only once.

    Raises:
        UsageError: a case does not exist or `fast` does not train it; or none is left.
    """
    if ids and expression:
        raise UsageError("expected ids of cases or -k, not both")
    chosen = ids or select_cases(expression, choose_tier(settings_from({"tier": tier}, ()))[0])
    cases = [case for id_ in chosen if isinstance(case := get_case(id_), Case) or ids]
    compiled: dict[tuple[object, ...], Case] = {}
    for case in cases:
        if ids and with_floors(case).engine != "fast":
            raise UsageError(f"{case.id} is not compiled: choose a case of the engine fast")
        if isinstance(case, Case) and case.engine == "fast" and case.devices is None:
            compiled.setdefault(_what_decides(case), case)
    if not compiled:
        raise UsageError("no case of the engine fast was chosen: change -k or the tier")
    return list(compiled.values())


def _what_decides(case: Case) -> tuple[object, ...]:
    """Return what the generated code of a case's step depends on."""
    dataset = get_dataset(case.dataset)
    channels = dataset.channels, input_channels(get_model(case.model), dataset)
    size = case.recipe.batch_size, case.resolution, dataset.num_classes
    return case.model, channels, size, case.recipe.loss, case.precision


def generated_steps(
    cases: Sequence[Case], gpu: str, show: Callable[[str], None]
) -> dict[str, GeneratedStep]:
    """Return the generated step of each case, by id; `show` is told what is being done.

    Raises:
        UsageError: a package is missing, or torch cannot generate the code of a case.
    """
    missing = missing_packages() + ["triton"] * (find_spec("triton") is None)
    if missing:
        raise UsageError(
            f"kernels need {', '.join(missing)} to generate code: pip install 'cnnperf[train]' "
            "(triton comes with torch on Linux)"
        )
    from cnnperf.training.engines.fast.generated import GPUS, generate_step

    found = {}
    for number, case in enumerate(cases, start=1):
        show(f"generating the code of {case.id} ({number} of {len(cases)}) ...")
        try:
            found[case.id] = generate_step(case, GPUS[gpu])
        except Exception as error:
            first = f"{type(error).__name__}: {error}".strip().splitlines()[0]
            raise UsageError(
                f"torch cannot generate the code of {case.id} ({first[:200]}): leave it out, or "
                "use another version of torch"
            ) from error
    return found
