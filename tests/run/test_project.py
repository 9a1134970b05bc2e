"""A project's own cases in TOML: found as pytest finds them, registered, and refused if wrong."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from cnnperf.catalog.registry import BUILTIN_IDS, all_cases, get_case, get_dataset, get_model
from cnnperf.errors import UsageError
from cnnperf.run.project import find_project, register_tables

TABLES = """
[recipes.cosine]
epochs = 5
batch_size = 64
optimizer = { name = "SGD", lr = 0.1, momentum = 0.9, weight_decay = 5e-4 }
schedule = { name = "CosineAnnealingLR", per = "step" }

[models.wide]
builder = "torchvision/resnet18"
arguments = { zero_init_residual = true }

[datasets.flowers]
images = "data/flowers"

[[cases]]
model = "wide"
dataset = "flowers"
resolution = 64
recipe = "cosine"
engines = ["eager", "fast"]
tiers = ["standard"]

[[cases]]
model = "modified_vgg"
dataset = "digits"
resolution = 28

[metrics.train_seconds]
threshold = 0.05
"""


def make_project(folder: Path, tables: str = TABLES) -> Path:
    """A folder with cnnperf.toml and ten images of two classes."""
    for name in ("rose", "tulip"):
        (folder / "data" / "flowers" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (9, 7)).save(folder / "data" / "flowers" / name / f"{number}.png")
    (folder / "cnnperf.toml").write_text(tables)
    return folder


def test_tables_become_cases(tmp_path: Path) -> None:
    """One case an engine; recipe, model and data set are those of the tables."""
    register_tables(make_project(tmp_path))
    case = get_case("wide-flowers-64-cosine-fast")
    assert case.recipe.learning_rate == 0.1
    assert case.recipe.schedule is not None
    assert (case.recipe.schedule.name, case.recipe.schedule.per) == ("CosineAnnealingLR", "step")
    assert case.tiers == ("standard",)
    assert get_model("wide").arguments == {"zero_init_residual": True}
    flowers = get_dataset("flowers")
    assert (flowers.train_images, flowers.val_images, flowers.test_images) == (14, 2, 4)
    assert flowers.arguments["folder"] == str(tmp_path / "data" / "flowers")
    register_tables(tmp_path)  # twice is harmless


def test_tables_may_stand_in_pyproject(tmp_path: Path) -> None:
    """Below tool.cnnperf, as the thresholds."""
    make_project(tmp_path, "")
    (tmp_path / "cnnperf.toml").unlink()
    within = re.sub(r"^(\[+)(\w)", r"\1tool.cnnperf.\2", TABLES, flags=re.MULTILINE)
    (tmp_path / "pyproject.toml").write_text(within)
    register_tables(tmp_path)
    assert get_case("wide-flowers-64-cosine-eager").model == "wide"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("epochs = 5", "epoch = 5", "recipes.cosine.epoch: Extra inputs are not permitted"),
        ("lr = 0.1", "lr = -0.1", "recipes.cosine.learning_rate: Input should be greater than 0"),
        ('recipe = "cosine"', 'recipe = "cosin"', "(did you mean 'cosine'?)"),
        ('dataset = "flowers"', 'dataset = "flower"', "(did you mean 'flowers'?)"),
        ('model = "wide"', 'model = "wild"', "(did you mean 'wide'?)"),
        ('images = "data/flowers"', 'images = "data/flower"', "there is no folder"),
        ('images = "data/flowers"', 'source = "x"', "expected one of images, arrays, huggingface"),
        ('engines = ["eager", "fast"]', 'engines = ["quick"]', "there is no engine 'quick'"),
        ("[[cases]]", "[[case]]", "there is no key 'case' (did you mean 'cases'?)"),
        (
            'images = "data/flowers"',
            'images = "data/flowers"\nmean = [0, 0, 0]\nstd = [0, 1, 1]',
            "std has a value",
        ),
        (
            'images = "data/flowers"',
            'loader = "a:b"',
            "[datasets.flowers]: channels: Field required (and 4 more)",
        ),
        (
            'images = "data/flowers"',
            'arrays = "a"\ncache = true',
            "cache belongs to images, not to",
        ),
        (
            'images = "data/flowers"',
            'images = "data/flowers"\nclasses = ["a", "b", "c"]\nnum_classes = 2',
            "classes has 3 names, but num_classes is 2",
        ),
        (
            'images = "data/flowers"',
            'pipeline = "a:b"\nnum_classes = 2\ntrain_images = 9\nval_images = 9\ntest_images = 9',
            "engine fast keeps the data on the device and cannot use the pipeline of data set",
        ),
        ("resolution = 64", "resolution = 0", "cases.0.resolution: Input should be greater than 0"),
    ],
)
def test_a_wrong_table_is_one_sentence(
    before: str, after: str, message: str, tmp_path: Path
) -> None:
    """It names the file and the place, and the nearest name."""
    assert before in TABLES
    make_project(tmp_path, TABLES.replace(before, after))
    with pytest.raises(UsageError) as caught:
        register_tables(tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / 'cnnperf.toml'}: ")
    assert message in text
    assert "\n" not in text
    assert "pydantic" not in text


def test_a_pipeline_is_trained_by_eager_unless_engines_are_named(tmp_path: Path) -> None:
    """`fast` is no default where it cannot be used; sizes that need no saying are left out."""
    pipeline = (
        'pipeline = "a:b"\nclasses = ["x", "y"]\ntrain_images = 9\nval_images = 9\ntest_images = 9'
    )
    tables = TABLES.replace('images = "data/flowers"', pipeline)
    register_tables(make_project(tmp_path, tables.replace('engines = ["eager", "fast"]\n', "")))
    assert get_case("wide-flowers-64-cosine-eager")
    with pytest.raises(UsageError, match="there is no case"):
        get_case("wide-flowers-64-cosine-fast")
    spec = get_dataset("flowers")
    assert (spec.num_classes, spec.channels, spec.resolution) == (2, 3, None)


def test_names_of_classes_are_those_of_the_folders(tmp_path: Path) -> None:
    """Unless the table has others, in the order of the labels."""
    register_tables(make_project(tmp_path))
    assert get_dataset("flowers").classes == ("rose", "tulip")
    own = TABLES.replace('images = "data/flowers"', 'images = "."\nclasses = ["R", "T"]')
    own = own.replace("flowers", "others").replace('images = "."', 'images = "data/flowers"')
    (tmp_path / "cnnperf.toml").write_text(own)
    register_tables(tmp_path)
    assert get_dataset("others").classes == ("R", "T")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pytest.ini", "[pytest]\ncnnperf_modules = mine more\npythonpath = src\n"),
        (
            "pyproject.toml",
            '[tool.pytest.ini_options]\ncnnperf_modules = ["mine", "more"]\npythonpath = ["src"]\n',
        ),
        ("setup.cfg", "[tool:pytest]\ncnnperf_modules = mine more\npythonpath = src\n"),
    ],
)
def test_the_project_is_found_as_by_pytest(name: str, text: str, tmp_path: Path) -> None:
    """From a folder below, in each file that pytest reads."""
    (tmp_path / name).write_text(text)
    below = tmp_path / "benchmarks"
    below.mkdir()
    found = find_project(below, ["another"])
    assert found.root == tmp_path
    assert found.modules == ("mine", "more", "another")
    assert found.python_path == (str(tmp_path), str(tmp_path / "src"))
    assert found.builtin_cases


def test_builtin_cases_can_be_left_out(tmp_path: Path) -> None:
    """Their models, data sets and recipes stay."""
    make_project(tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\ncnnperf_builtin_cases = false\n")
    find_project(tmp_path).register()
    assert {case.id for case in all_cases()} == {
        "wide-flowers-64-cosine-eager", "wide-flowers-64-cosine-fast",
        "modified_vgg-digits-28-eager", "modified_vgg-digits-28-fast",
    }  # fmt: skip
    assert get_model("vgg16").resolution == 224
    assert len(BUILTIN_IDS) > 100


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a module of this interpreter in a folder."""
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False
    )


def test_a_builder_beside_the_tables_needs_no_module(tmp_path: Path) -> None:
    """The worker finds functions that TOML names, and a loss of one's own."""
    pytest.importorskip("torch", reason="training needs the extra `train`")
    (tmp_path / "cnnperf.toml").write_text(
        '[models.mine]\nbuilder = "nets:build"\narguments = { width = 4 }\nchannels = [1]\n'
        '[recipes.own]\nepochs = 1\nloss = "nets:loss"\nbatch_size = 64\n'
        '[[cases]]\nmodel = "mine"\ndataset = "digits"\nresolution = 8\nrecipe = "own"\n'
    )
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n"
        "from torch.nn.functional import cross_entropy as loss\n"
        "def build(*, num_classes, in_channels, resolution, width):\n"
        "    inner = in_channels * resolution**2\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(inner, width), nn.ReLU(),\n"
        "                         nn.Linear(width, num_classes))\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\ncnnperf_builtin_cases = false\n")
    (tmp_path / "test_train.py").write_text(
        "def test_train(cnnperf_case, cnnperf_train):\n"
        "    assert cnnperf_train(cnnperf_case).outcome == 'passed'\n"
    )
    done = run(tmp_path, "pytest", "--benchmark-json=r.json", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    cases = json.loads((tmp_path / "r.json").read_text())["cnnperf"]["cases"]
    assert [case["id"] for case in cases] == ["mine-digits-8-own-eager", "mine-digits-8-own-fast"]
    assert all(case["fingerprint"]["overrides"] == {} for case in cases)


def test_a_project_in_toml_is_listed_and_trained(tmp_path: Path) -> None:
    """The same cases for the command line and for pytest, and a record of them."""
    pytest.importorskip("torch", reason="training needs the extra `train`")
    make_project(tmp_path, TABLES.replace('["standard"]', '["smoke"]').replace("= 5\n", "= 1\n", 1))
    (tmp_path / "pytest.ini").write_text("[pytest]\ncnnperf_builtin_cases = false\n")
    (tmp_path / "test_train.py").write_text(
        "def test_train(cnnperf_case, cnnperf_train):\n"
        "    assert cnnperf_train(cnnperf_case).outcome == 'passed'\n"
    )
    listed = run(tmp_path, "cnnperf.cli", "list", "--json")
    ids: list[dict[str, Any]] = json.loads(listed.stdout)
    assert "wide-flowers-64-cosine-fast" in {row["id"] for row in ids}
    done = run(
        tmp_path, "pytest", "-k", "flowers", "--benchmark-json=r.json", "--cnnperf-device=cpu",
        "--cnnperf-limit-steps=1", "-p", "no:cacheprovider",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / "r.json").read_text())["cnnperf"]
    case = next(each for each in record["cases"] if each["engine"] == "fast")
    assert case["id"] == "wide-flowers-64-cosine-fast"
    assert case["fingerprint"]["recipe"]["optimizer"] == {
        "name": "SGD", "momentum": 0.9, "weight_decay": 5e-4,
    }  # fmt: skip
