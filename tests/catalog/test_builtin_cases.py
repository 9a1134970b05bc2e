"""The cases that come with cnnperf: tiers, recipes, ids."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from pydantic import ValidationError

from cnnperf.catalog.engines import ENGINES, OWN_ENGINES
from cnnperf.catalog.registry import (
    all_cases,
    all_datasets,
    get_case,
    get_dataset,
    get_model,
    register_case,
    register_dataset,
)
from cnnperf.catalog.specs import Augmentation, Case, Recipe, Tier
from tests.examples import example_case

STUDY_ROWS = {
    ("vgg16", "mnist", 224),
    ("resnet34", "mnist", 224),
    ("modified_vgg", "mnist", 28),
    ("modified_resnet", "mnist", 28),
    ("modified_vgg", "cifar10", 28),
}
"""The study's table of results."""


def test_smoke_tier_has_all_four_models_on_digits() -> None:
    """The modified ones through both engines; minutes on two cores, without a download."""
    cases = all_cases("smoke")
    assert [case.engine for case in cases].count("fast") == 2
    assert len(cases) == 6
    assert {case.dataset for case in cases} == {"digits"}
    assert {case.model for case in cases} == {"vgg16", "resnet34", "modified_vgg"} | {
        "modified_resnet"
    }
    assert not any(get_dataset(case.dataset).files for case in cases)


def test_standard_tier_is_the_study() -> None:
    """Its five rows, each by its recipe: 10 epochs, batch 128, Adam at 0.001, cross-entropy."""
    cases = all_cases("standard")
    assert len(cases) == len(STUDY_ROWS) * len(OWN_ENGINES)
    assert {(case.model, case.dataset, case.resolution) for case in cases} == STUDY_ROWS
    assert {case.recipe for case in cases} == {
        Recipe(
            name="report",
            epochs=10,
            batch_size=128,
            optimizer="adam",
            learning_rate=0.001,
            loss="cross_entropy",
        )
    }


def test_augmented_recipe_differs_from_the_studys_only_in_augmentation() -> None:
    """So that a difference in accuracy is the augmentation's: at 10 epochs and at 30."""
    case = "modified_vgg-cifar10-28-{}fast"
    trained = {name: get_case(case.format(name)).recipe for name in ("", "augmented-")}
    longer = {name: get_case(case.format(f"{name}30-")).recipe for name in ("report", "augmented")}
    report, augmented = trained.values()
    assert augmented.augmentation is not None
    assert report.augmentation is None
    plain = {"name": "report", "augmentation": None}
    assert augmented.model_copy(update=plain) == report
    assert longer["report"].model_copy(update={"name": "report", "epochs": 10}) == report
    assert longer["augmented"].model_copy(update={"name": "augmented", "epochs": 10}) == augmented
    assert {recipe.epochs for recipe in longer.values()} == {30}


@pytest.mark.parametrize("model", ["modified_vgg", "modified_resnet"])
def test_augmented_recipe_has_all_four_changes_of_the_study(model: str) -> None:
    """Rotation, scaling, cropping, elastic deformation; both engines, in the full tier alone."""
    for engine in OWN_ENGINES:
        case = get_case(f"{model}-cifar10-28-augmented-{engine}")
        assert case.recipe.augmentation is not None
        assert all(strength > 0 for _, strength in case.recipe.augmentation)
        assert case.tiers == ("full",)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rotation_degrees": -1},
        {"rotation_degrees": 181},
        {"scale_fraction": 1},
        {"scale_fraction": -0.1},
        {"crop_shift_pixels": -1},
        {"crop_shift_pixels": float("inf")},
        {"elastic_alpha_pixels": float("nan")},
        {"elastic_sigma_pixels": 0},
        {"rotation": 15},
    ],
    ids=str,
)
def test_impossible_augmentation_is_refused(wrong: dict[str, float]) -> None:
    """When it is written down: an image cannot shrink to nothing, nor a blur have no width."""
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        Augmentation.model_validate(wrong)


def test_full_tier_holds_every_case() -> None:
    """Whatever the other tiers run."""
    assert all_cases("full") == all_cases()
    assert set(all_cases("smoke")) | set(all_cases("standard")) < set(all_cases("full"))


def test_every_case_has_a_tier_and_a_unique_id() -> None:
    """Ids name cases everywhere."""
    ids = [case.id for case in all_cases()]
    assert len(ids) == len(set(ids))
    assert all(case.tiers and set(case.tiers) <= set(get_args(Tier)) for case in all_cases())


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.id)
def test_id_is_model_data_set_resolution_recipe_engine_variant_devices(case: Case) -> None:
    """The study's recipe is left out, and so are a variant and devices that are None."""
    engines = "|".join(ENGINES)
    assert re.fullmatch(
        rf"[a-z0-9_]+-[a-z0-9]+-\d+(-[a-z0-9]+)?-({engines})(-[a-z0-9_]+)?(-[0-9a-z_]+)?", case.id
    )
    recipe = [] if case.recipe.name == "report" else [case.recipe.name]
    variant = [] if case.variant is None else [case.variant]
    parts = [case.model, case.dataset, str(case.resolution), *recipe, case.engine, *variant]
    if case.devices is not None:
        weak = "_weak" if case.scaling == "weak" else ""
        parts.append("1device" if case.devices == 1 else f"{case.devices}devices{weak}")
    assert case.id.split("-") == parts
    assert get_case(case.id) is case


@pytest.mark.parametrize("case", all_cases(), ids=lambda case: case.id)
def test_builtin_case_passes_the_checks_of_registering(case: Case) -> None:
    """The rules for users' cases hold for built-in ones."""
    assert register_case(case) == case
    assert case.resolution == get_model(case.model).resolution


@pytest.mark.parametrize("name", ENGINES)
def test_engine_of_the_list_is_accepted(name: str) -> None:
    """The list is the only place that names engines."""
    case = example_case().model_copy(update={"engine": name})
    assert Case.model_validate(case.model_dump()).engine == name


def test_unknown_engine_gets_the_nearest_name() -> None:
    """The message lists all engines."""
    wrong = {**example_case().model_dump(), "engine": "eagre"}
    with pytest.raises(ValidationError, match=r"no engine 'eagre' \(did you mean 'eager'\?\)"):
        Case.model_validate(wrong)


def test_data_sets_are_listed_in_order_of_registration() -> None:
    """The user's come last."""
    mine = get_dataset("mnist").model_copy(update={"name": "mine"})
    register_dataset(mine)
    assert [spec.name for spec in all_datasets()][-1] == "mine"
