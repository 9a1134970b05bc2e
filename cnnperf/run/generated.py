"""The inputs of `cnnperf kernels`: which cases, and the code that torch generates for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from cnnperf.catalog.registry import get_case, get_dataset, get_model, input_channels, select_cases
from cnnperf.catalog.specs import Case
from cnnperf.errors import UsageError
from cnnperf.record.messages import GPU, GeneratedStep
from cnnperf.run.floors_inputs import with_floors
from cnnperf.run.plan import choose_tier, probe_job
from cnnperf.run.session import missing_packages
from cnnperf.run.settings import settings_from
from cnnperf.run.worker_process import probe


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
    cases: Sequence[Case], gpu: GPU, modules: Sequence[str], show: Callable[[str], None]
) -> dict[str, GeneratedStep]:
    """Return the generated step of each case, by id; `show` is told what is being done.

    Each case has a worker of its own, because the compiler's state would change the next one.

    Raises:
        UsageError: a package is missing, or torch cannot generate the code of a case.
    """
    missing = missing_packages()
    if missing:
        raise UsageError(
            f"kernels need {', '.join(missing)} to generate code: pip install 'cnnperf[train]'"
        )
    settings = settings_from({"device": "cpu"}, modules)
    found = {}
    for number, case in enumerate(cases, start=1):
        show(f"generating the code of {case.id} ({number} of {len(cases)}) ...")
        job = probe_job(settings, [case], measure_peak=False)
        generated = probe(job.model_copy(update={"gpu": gpu})).generated
        assert generated is not None
        found[case.id] = generated
    return found
