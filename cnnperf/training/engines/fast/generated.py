"""Generate the code that torch would run on an NVIDIA GPU, on any machine, and count its kernels.

Inductor writes a step's code from shapes and from a few properties of the GPU alone. So the step of
`fast` is traced on the CPU with fake tensors, which have shapes and no values; the graphs of its
forward and backward pass are moved to a pretended GPU; and Inductor's scheduler decides there what
becomes one kernel. Nothing is compiled by Triton and nothing runs.

What the real GPU decides is missing: how cuDNN executes a convolution, and autocast's list of
operations in float32, which is that of a CPU here (only the loss differs).

Shapes: B images of a batch, C channels, H W pixels.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from cnnperf.catalog.specs import Case
from cnnperf.record.messages import GPU, GeneratedStep
from cnnperf.training.engines.fast.compilation import compile_forward_loss
from cnnperf.training.engines.fast.engine import FastEngine
from cnnperf.training.engines.fast.working_copies import attach_copies

DEVICE = torch.device("cuda", 0)


@dataclass(frozen=True, kw_only=True)
class PretendedGPU:
    """What Inductor asks about a GPU, as its vendor publishes it."""

    name: str
    compute_capability: tuple[int, int]
    multiprocessors: int
    shared_memory_bytes: int
    """The most that one block can use."""


GPUS: dict[GPU, PretendedGPU] = {
    "sm_80": PretendedGPU(
        name="A100", compute_capability=(8, 0), multiprocessors=108, shared_memory_bytes=166_912
    ),
    "sm_90": PretendedGPU(
        name="H100", compute_capability=(9, 0), multiprocessors=132, shared_memory_bytes=232_448
    ),
    "sm_100": PretendedGPU(
        name="B200", compute_capability=(10, 0), multiprocessors=148, shared_memory_bytes=232_448
    ),
}
"""By the name of their architecture: one GPU of each."""


def generate_step(case: Case, gpu: PretendedGPU) -> GeneratedStep:
    """Generate the step of a case's `fast` training on a GPU that need not be here, and count it.

    In bfloat16, unless the case asks for float32. It takes seconds to a minute.

    Raises:
        Exception: torch cannot compile the model; or this version of torch differs from those for
            which the pretence was written.
    """
    engine = FastEngine(case=case, seed=0, device=torch.device("cpu"), data_dir="")
    engine.autocast_dtype = None if case.precision == "float32" else torch.bfloat16
    fake_mode = FakeTensorMode()
    model = _faked(engine.place(engine.make_model()).train(), fake_mode)
    counted: list[GeneratedStep] = []
    with fake_mode, _on_gpu_in_inductor_only(gpu, counted) as inner_compile:
        if engine.copies_weights(DEVICE):
            attach_copies(model, engine.layers_to_copy, torch.bfloat16)
        options = engine.compile_options(DEVICE)
        compiled = compile_forward_loss(
            model, engine.loss_function, options, inner_compile=inner_compile
        )
        images_BCHW, labels_B = engine.noise(case.recipe.batch_size)
        with engine.autocast():
            compiled(images_BCHW, labels_B)
    torch._dynamo.reset()  # a later compilation must not find this one
    return sum(counted[1:], counted[0])


def _faked(model: nn.Module, fake_mode: FakeTensorMode) -> nn.Module:
    """Replace a model's tensors by fake ones, in place."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                faked = fake_mode.from_tensor(parameter.detach())
                module._parameters[name] = nn.Parameter(faked, parameter.requires_grad)
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = fake_mode.from_tensor(buffer)
    return model


# --- the pretence -------------------------------------------------------------------------------


@contextmanager
def _on_gpu_in_inductor_only(gpu: PretendedGPU, counted: list[GeneratedStep]) -> Iterator[Any]:
    """Yield an `inner_compile` for `compile_fx` that counts each graph's code for a GPU.

    Both graphs are compiled at once: nothing runs, so nothing would ask for the second one.
    """
    from torch._functorch import config as functorch
    from torch._guards import TracingContext, tracing
    from torch._inductor.compile_fx import compile_fx_inner
    from torch._inductor.virtualized import V

    def inner_compile(graph: fx.GraphModule, _inputs: Any, **more: Any) -> fx.GraphModule:
        moved, fake_mode, inputs = _moved(graph)
        with (
            tracing(TracingContext(fake_mode)),
            V.set_fake_mode(fake_mode),
            _pretence(gpu, counted),
        ):
            compile_fx_inner(moved, inputs, **more)
        return graph  # the caller runs it with its own fake tensors

    with functorch.patch(enable_autograd_cache=False, force_non_lazy_backward_lowering=True):
        yield inner_compile


def _cudnn_layouts() -> Any:
    """Patch torch's question for a convolution's layout, which it answers without cuDNN here."""
    from torch._prims_common import suggest_memory_format

    def layout(images: torch.Tensor, weight: torch.Tensor, _backend: Any) -> torch.memory_format:
        last = torch.channels_last in (suggest_memory_format(images), suggest_memory_format(weight))
        return torch.channels_last if last else torch.contiguous_format

    return mock.patch("torch._C._conv_determine_backend_memory_format", layout)


def _moved(graph: fx.GraphModule) -> tuple[fx.GraphModule, FakeTensorMode, list[Any]]:
    """Return a copy of a traced graph on the GPU, its fake mode and its inputs."""
    moved = fx.GraphModule(graph, copy.deepcopy(graph.graph))
    moved.meta = dict(graph.meta)

    def on_gpu(argument: Any) -> Any:
        return DEVICE if isinstance(argument, torch.device) else argument

    for node in moved.graph.nodes:
        node.args = fx.node.map_aggregate(node.args, on_gpu)
        node.kwargs = fx.node.map_aggregate(node.kwargs, on_gpu)
    fake_mode = FakeTensorMode()
    with fake_mode, _cudnn_layouts():
        inputs = [_on_gpu(node.meta["val"]) for node in moved.graph.find_nodes(op="placeholder")]
        _Revaluing(moved).run(*inputs)
    return moved, fake_mode, inputs


def _on_gpu(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=DEVICE)


class _Revaluing(fx.Interpreter):
    """Runs a graph and keeps each node's fake result in its `meta`, where Inductor reads it."""

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if n.op != "output":
            n.meta["val"] = result
            n.meta.pop("tensor_meta", None)
        return result


class _Driver:
    """Triton's view of the pretended GPU."""

    def __init__(self, gpu: PretendedGPU) -> None:
        from triton.backends.compiler import GPUTarget

        major, minor = gpu.compute_capability
        self._target = GPUTarget("cuda", 10 * major + minor, 32)
        properties = {"max_shared_mem": gpu.shared_memory_bytes}
        self.utils = SimpleNamespace(get_device_properties=lambda _device: properties)

    def get_current_target(self) -> Any:
        return self._target

    def get_current_device(self) -> int:
        return 0


@contextmanager
def _pretence(gpu: PretendedGPU, counted: list[GeneratedStep]) -> Iterator[None]:
    """Let torch believe in the GPU, and stop before a kernel is compiled."""
    import triton
    from torch._dynamo.device_interface import CudaInterface
    from torch._inductor import config
    from torch._inductor.graph import GraphLowering
    from torch._inductor.runtime.hints import DeviceProperties

    major, minor = gpu.compute_capability
    properties = _properties(gpu)

    def count_instead_of_compiling(self: GraphLowering) -> Any:
        code: Any = self.codegen()[0]
        counted.append(_count(code.value, self.scheduler.nodes))
        return SimpleNamespace(call=lambda _inputs: None, key="", __file__="")

    answers: dict[str, Any] = {
        "is_available": True, "device_count": 1, "current_device": 0, "_lazy_init": None,
        "get_device_properties": properties, "get_device_capability": (major, minor),
        "_exchange_device": 0, "_maybe_exchange_device": 0, "is_current_stream_capturing": False,
        "get_rng_state": torch.zeros(16, dtype=torch.uint8), "set_rng_state": None,
    }  # fmt: skip
    interface: dict[str, Any] = {
        "is_available": True, "get_compute_capability": 10 * major + minor,
        "get_device_properties": properties,
    }  # fmt: skip
    with ExitStack() as stack:
        for name, answer in answers.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, _answering(answer)))
        for name, answer in interface.items():
            patched = mock.patch.object(CudaInterface, name, staticmethod(_answering(answer)))
            stack.enter_context(patched)
        worker = mock.patch.object(
            CudaInterface.Worker, "get_device_properties", staticmethod(_answering(properties))
        )
        stack.enter_context(worker)
        stack.enter_context(mock.patch("torch._inductor.scheduler.has_triton", _answering(True)))
        stack.enter_context(_cudnn_layouts())
        stack.enter_context(
            mock.patch.object(GraphLowering, "compile_to_module", count_instead_of_compiling)
        )
        stack.enter_context(config.patch(fx_graph_cache=False, compile_threads=1))
        DeviceProperties.create.cache_clear()
        stack.enter_context(mock.patch.object(triton.runtime.driver, "_active", _Driver(gpu)))
        try:
            yield
        finally:
            DeviceProperties.create.cache_clear()


def _properties(gpu: PretendedGPU) -> SimpleNamespace:
    """Return what `torch.cuda.get_device_properties` does, as far as Inductor reads it."""
    major, minor = gpu.compute_capability
    return SimpleNamespace(
        name=gpu.name, major=major, minor=minor, multi_processor_count=gpu.multiprocessors,
        regs_per_multiprocessor=65_536, max_threads_per_multi_processor=2048,
        max_threads_per_block=1024, warp_size=32,
        shared_memory_per_block_optin=gpu.shared_memory_bytes,
    )  # fmt: skip


def _answering(answer: Any) -> Any:
    return lambda *_args, **_kwargs: answer


# --- counting -----------------------------------------------------------------------------------

DEFINED = re.compile(r"^(triton_\w+) = async_compile\.triton\(.*?^''', ", re.MULTILINE | re.DOTALL)
"""A kernel's name and source in the code that Inductor writes."""


def _count(code: str, nodes: list[Any]) -> GeneratedStep:
    """Count one graph's launches in its code, and its bytes in the scheduler's nodes."""
    from torch._inductor import ir

    sources = {match[1]: match[0] for match in DEFINED.finditer(code)}
    launched: list[str] = re.findall(r"^ +(triton_\w+)\.run\(", code, re.MULTILINE)
    # A library's call with several results has a node for each of them, too.
    library = [n for n in nodes if n.is_extern() and not isinstance(n.node, ir.MultiOutput)]
    return GeneratedStep(
        triton_kernels=len(launched),
        triton_bytes=sum(n.get_read_write_buffers_sizes() for n in nodes if not n.is_extern()),
        library_calls=len(library),
        layout_kernels=sum("'grid_type': 'Grid2D'" in sources[name] for name in launched),
        atomic_kernels=sum("tl.atomic_add(" in sources[name] for name in launched),
    )
