"""Looking up models, data sets and cases, the built-in tiers, and users' additions."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cnnperf.catalog.registry import (
    all_cases,
    get_case,
    get_dataset,
    get_model,
    import_modules,
    input_channels,
    register_case,
    register_dataset,
    register_model,
)
from cnnperf.catalog.specs import ModelSpec
from cnnperf.errors import UsageError, one_of, printable
from tests.examples import example_case

STUDY_ROWS = {
    ("vgg16", "mnist", 224),
    ("resnet34", "mnist", 224),
    ("modified_vgg", "mnist", 28),
    ("modified_resnet", "mnist", 28),
    ("modified_vgg", "cifar10", 28),
}
"""The study's table of results."""


# --- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("find", "wrong", "near"),
    [(get_model, "vgg61", "vgg16"), (get_dataset, "minst", "mnist")],
)
def test_misspelt_name_gets_the_nearest_name_and_all_names(
    find: Callable[[str], object], wrong: str, near: str
) -> None:
    """The message has a guess and every possible name."""
    with pytest.raises(UsageError, match=f"{wrong!r} \\(did you mean {near!r}\\?\\)") as caught:
        find(wrong)
    assert "possible: " in str(caught.value)


def test_misspelt_case_gets_the_three_nearest_ids() -> None:
    """All of them would be a wall."""
    near = r"similar ones: modified_vgg-mnist-28-eager, [\w-]+, [\w-]+; `cnnperf list` shows all$"
    with pytest.raises(UsageError, match=near):
        get_case("modified_vgg-mnist-28-eagre")
    with pytest.raises(UsageError, match=r"^there is no case '%%%'; `cnnperf list` shows all$"):
        get_case("%%%")


def test_name_like_no_other_gets_no_guess() -> None:
    """A wrong hint is worse than none."""
    assert "did you mean" not in one_of("model", "qqqq", ["vgg16"])
    assert one_of("model", "qqqq", []).endswith("possible: none")


def test_printable_text_is_one_line_without_control_characters() -> None:
    """Escape sequences, bells and bidirectional overrides are shown, not obeyed."""
    assert printable("a\n  b\tc") == "a b c"
    assert printable("\x1b[31m\x07\x9b\u202e") == "\\x1b[31m\\x07\\x9b\\u202e"
    assert printable("98.99 % — ±4 %") == "98.99 % — ±4 %"


@pytest.mark.parametrize("name", ["a-b", "a b", "", "a/b", "vgg\n"])
def test_name_that_would_break_an_id_is_refused(name: str) -> None:
    """Ids are divided by dashes, and are used in file names and on command lines."""
    with pytest.raises(UsageError, match="String should match pattern"):
        ModelSpec(name=name, builder="my.module:build", resolution=28)


@pytest.mark.parametrize("path", ["my.module", "my.module:", ":build", "my module:build"])
def test_builder_without_module_or_function_is_refused(path: str) -> None:
    """The worker imports it; a slip is found where it is registered."""
    with pytest.raises(UsageError, match="String should match pattern"):
        ModelSpec(name="mine", builder=path, resolution=28)


# --- registering --------------------------------------------------------------------------------


def test_registered_model_and_case_are_found() -> None:
    """A user's case is found like a built-in one."""
    model = register_model(ModelSpec(name="mine", builder="my.module:build", resolution=28))
    case = register_case(example_case("mine"))
    assert get_model("mine") is model
    assert get_case("mine-mnist-28-eager") is case
    assert case in all_cases("standard")


def test_same_description_registered_twice_changes_nothing() -> None:
    """A module can be imported again, under another name for instance."""
    before = len(all_cases())
    register_model(get_model("vgg16").model_copy())
    register_dataset(get_dataset("mnist").model_copy())
    register_case(get_case("vgg16-mnist-224-eager").model_copy())
    assert len(all_cases()) == before


def test_other_description_under_a_known_name_is_refused() -> None:
    """Two runs of one name must mean the same."""
    other = get_case("vgg16-mnist-224-eager").model_copy(update={"workers": 1})
    with pytest.raises(UsageError, match="case 'vgg16-mnist-224-eager' is registered already"):
        register_case(other)
    with pytest.raises(UsageError, match="model 'vgg16' is registered already"):
        register_model(get_model("vgg16").model_copy(update={"min_resolution": 1}))
    with pytest.raises(UsageError, match="data set 'mnist' is registered already"):
        register_dataset(get_dataset("mnist").model_copy(update={"train_images": 1}))


def test_a_builtin_case_may_get_other_tiers() -> None:
    """A tier only selects, so a project may run one of cnnperf's cases where it wants."""
    register_case(get_case("vgg16-mnist-224-eager").model_copy(update={"tiers": ("smoke",)}))
    assert "vgg16-mnist-224-eager" in {case.id for case in all_cases("smoke")}


def test_case_of_unknown_model_or_data_set_is_refused() -> None:
    """Found when it is registered, not after an hour."""
    with pytest.raises(UsageError, match="no model 'nothing'"):
        register_case(example_case("nothing"))
    with pytest.raises(UsageError, match="no data set 'nothing'"):
        register_case(example_case(dataset="nothing"))


def test_case_below_the_smallest_resolution_is_refused() -> None:
    """VGG16 halves its input five times, so that 31 pixels leave none."""
    with pytest.raises(UsageError, match="vgg16 needs 32 pixels a side or more, got 31"):
        register_case(example_case("vgg16", resolution=31))


def test_builtin_recipe_name_with_other_content_is_refused() -> None:
    """An id without a recipe's name means the study's recipe."""
    with pytest.raises(
        UsageError, match="recipe 'report' differs from cnnperf's own recipe of that name"
    ):
        register_case(example_case("vgg16", "digits", 64, epochs=3))
    assert register_case(example_case("vgg16", "digits", 64, name="mine", epochs=3))


# --- channels -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "dataset", "channels"),
    [
        ("vgg16", "mnist", 3),
        ("resnet34", "digits", 3),
        ("vgg16", "cifar10", 3),
        ("modified_vgg", "mnist", 1),
        ("modified_resnet", "synthetic", 1),
        ("modified_vgg", "cifar10", 3),
    ],
)
def test_input_channels_are_those_of_the_study(model: str, dataset: str, channels: int) -> None:
    """Three channels at 224 pixels; at 28 the data set's own."""
    assert input_channels(get_model(model), get_dataset(dataset)) == channels


@pytest.mark.parametrize(
    ("accepted", "dataset", "channels"),
    [((3, 1), "mnist", 3), ((2, 1), "mnist", 1), ((4, 3), "cifar10", 3)],
)
def test_only_grey_images_are_repeated_to_three_channels(
    accepted: tuple[int, ...], dataset: str, channels: int
) -> None:
    """Other numbers of channels are never repeated, whatever a model prefers."""
    model = ModelSpec(name="mine", builder="m:f", resolution=28, channels=accepted)
    assert input_channels(model, get_dataset(dataset)) == channels


@pytest.mark.parametrize(
    ("accepted", "dataset"), [((1,), "cifar10"), ((4,), "cifar10"), ((2,), "mnist")]
)
def test_images_with_unaccepted_channels_are_refused(
    accepted: tuple[int, ...], dataset: str
) -> None:
    """The message names the channels of both."""
    model = ModelSpec(name="mine", builder="m:f", resolution=28, channels=accepted)
    with pytest.raises(
        UsageError, match=f"data set {dataset} has . channels, but model mine accepts"
    ):
        input_channels(model, get_dataset(dataset))


# --- the user's modules -------------------------------------------------------------------------


def _module(folder: Path, name: str, content: str) -> tuple[str, list[str]]:
    (folder / f"{name}.py").write_text(content)
    return name, [str(folder)]


@pytest.fixture
def _own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.usefixtures("_own_path")
def test_users_module_registers_its_case(tmp_path: Path) -> None:
    """Named by the ini key, found below the given folder."""
    name, path = _module(
        tmp_path,
        "good_cases_9f3",
        "from cnnperf import Case, Recipe, register_case\n"
        "register_case(Case(model='vgg16', dataset='digits', resolution=64,"
        " recipe=Recipe(name='mine')))\n",
    )
    import_modules([name], path)
    assert get_case("vgg16-digits-64-mine-eager").tiers == ("full",)


@pytest.mark.usefixtures("_own_path")
@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("divides_9f3", "1 / 0\n", "ZeroDivisionError: division by zero"),
        ("needs_9f3", "import no_such_package_9f3\n", "No module named 'no_such_package_9f3'"),
        ("syntax_9f3", "x = 1\ndef f(:\n", "SyntaxError: invalid syntax (syntax_9f3.py, line 2)"),
        ("lines_9f3", "x = 1\nraise ValueError('two\\nlines')\n", "ValueError: two lines; "),
        ("place_9f3", "x = 1\nraise ValueError\n", "place_9f3.py, line 2)"),
        (
            "case_9f3",
            "from cnnperf import Case, Recipe\nCase(model='vgg16', dataset='mnist', "
            "resolution=0, recipe=Recipe(name='x'))\n",
            "case_9f3: Case: resolution: Input should be greater than 0, found 0",
        ),
        (
            "recipe_9f3",
            "from cnnperf import Recipe\nRecipe(name='x', epoch=3)\n",
            "recipe_9f3: Recipe: epoch: Extra inputs are not permitted, found 3",
        ),
        (
            "dataset_9f3",
            "from cnnperf import DatasetSpec\nDatasetSpec(name='x', loader='a:b', channels=1,\n"
            " resolution=8, train_images=1, val_images=1, test_images=1, mean=(0.1,), source='')\n",
            "dataset_9f3: DatasetSpec: give both mean and std, or neither to have them measured",
        ),
        (
            "names_9f3",
            "import cnnperf.catalog.registry as r\nr.get_model('vgg17')\n",
            "did you mean 'vgg16'",
        ),
    ],
)
def test_failing_users_module_gets_a_message_with_its_reason(
    tmp_path: Path, name: str, content: str, reason: str
) -> None:
    """It names the ini key, the module and what went wrong in it."""
    _, path = _module(tmp_path, name, content)
    with pytest.raises(UsageError, match=f"cnnperf_modules: {name}") as caught:
        import_modules([name], path)
    text = str(caught.value)
    assert reason in text
    assert "\n" not in text
    assert "pydantic" not in text


@pytest.mark.usefixtures("_own_path")
def test_named_module_of_the_users_folder_wins_over_an_installed_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only what is named, and only what registers a case from there; the rest hides nothing."""
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    installed, mine = tmp_path / "installed", tmp_path / "mine"
    for folder in (installed, mine):
        folder.mkdir()
        for name in ("both_9f3", "nets_9f3", "unnamed_9f3", "statistics"):
            (folder / f"{name}.py").write_text(f"place = {folder.name!r}\n")
    (mine / "both_9f3.py").write_text(
        "import statistics, unnamed_9f3\nfrom cnnperf import ModelSpec, register_model\n"
        "register_model(ModelSpec(name='m', builder='nets_9f3:b', resolution=8, channels=(1,)))\n"
        "place = 'mine'\n"
    )
    sys.path.append(str(installed))
    monkeypatch.delitem(sys.modules, "statistics", raising=False)
    import_modules(["both_9f3"], [str(mine)])
    places = [importlib.import_module(f"{name}_9f3").place for name in ("both", "nets", "unnamed")]
    assert places == ["mine", "mine", "installed"]
    assert hasattr(sys.modules["statistics"], "median")


def test_missing_module_gets_a_message_with_the_folder(tmp_path: Path) -> None:
    """The folder is named."""
    with pytest.raises(UsageError, match=re.escape(f"expected a module in {tmp_path}")):
        import_modules(["not_there_9f3"], [str(tmp_path)])
