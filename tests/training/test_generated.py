"""Code generated for a GPU that is not here: what each optimisation of `fast` leaves out.

The figures are upper limits: a new version of torch may do better, and one that undoes an
optimisation fails here, without a GPU.
"""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("triton", reason="Inductor writes no code for a GPU without Triton")

from cnnperf.catalog.specs import Case, Recipe  # noqa: E402
from cnnperf.record.messages import GPU, GeneratedStep  # noqa: E402
from cnnperf.training.engines.base import channels_last  # noqa: E402
from cnnperf.training.engines.fast.generated import GPUS, generate_step  # noqa: E402


def generated(model: str = "modified_vgg", gpu: GPU = "sm_90") -> GeneratedStep:
    """The step of a small case in batches of 128, as the study trains it."""
    recipe = Recipe(name="test", batch_size=128)
    case = Case(model=model, dataset="mnist", resolution=28, recipe=recipe, engine="fast")
    return generate_step(case, GPUS[gpu])


def test_the_modified_vggs_step_stays_small() -> None:
    """At most the launches and bytes of the versions for which this was measured, and a tenth."""
    found = generated()
    assert 30 < found.triton_kernels <= 53
    assert 100e6 < found.triton_bytes <= 163e6 * 1.1
    assert found.library_calls == 19, "6 convolutions and 2 products, forward and back, and a seed"
    assert found.layout_kernels <= 2, "flattening the features changes their layout, nothing else"
    assert found.atomic_kernels == 0
    assert not torch.cuda.is_available(), "the pretence ends with it"


def test_without_its_optimisations_a_step_has_more_kernels_and_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So the limits above can fail."""
    monkeypatch.setenv("CNNPERF_FAST_OFF", "bias,combo,copies,norm,pool")
    found = generated()
    assert found.triton_kernels > 80
    assert found.triton_bytes > 300e6
    if "max_pool2d_with_indices_backward" in str(_core_decompositions()):  # not in torch 2.11
        assert found.atomic_kernels == 3, "one for each pool"
        assert found.layout_kernels > 2


def _core_decompositions() -> list[object]:
    from torch._inductor.decomposition import select_decomp_table

    return list(select_decomp_table())


@pytest.mark.parametrize("channels", [1, 3])
def test_noise_has_the_layout_of_gathered_images(channels: int) -> None:
    """CuDNN reads the layout from the strides, also from that of a single channel."""
    images = torch.randn(4, channels, 6, 6)
    noise, _ = channels_last((images, torch.zeros(4)))
    gathered = torch.zeros(9, 6, 6, channels)[torch.arange(4)].permute(0, 3, 1, 2)
    assert noise.stride() == gathered.stride()
    assert torch.equal(noise, images)
