"""Names that torch's profiler has shown, on CPUs and on NVIDIA GPUs, and what they are for."""

from __future__ import annotations

import pytest

from cnnperf.training.profiling.kernels import class_of_kernel, class_of_operator

ELEMENTWISE = "void at::native::vectorized_elementwise_kernel<4, at::native::"

KERNELS = {
    "convolution": [
        "sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x64x64_"
        "warpgroupsize1x1x1_g1_execute_segment_k_off_kernel__5x_cudnn",
        "sm80_xmma_wgrad_implicit_gemm_indexed_tf32f32_tf32f32_f32_nhwckrsc_nhwc_tilesize128x128x16_"
        "stage4_warpsize2x2x1_g1_tensor16x8x8_kernel_cudnn",
        "sm90_xmma_dgrad_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize256x64x64_cudnn",
        "void cutlass__5x_cudnn::Kernel<cutlass_tensorop_bf16_s16816dgrad_optimized_bf16_"
        "64x64_32x6_nhwc_align8>(cutlass_tensorop_bf16_s16816dgrad_optimized_bf16_64x64_32x6::Params)",
        "void cudnn::winograd_nonfused::winogradForwardData4x4<float, float>",
        "void implicit_convolve_sgemm<float, float, 1024, 5, 5, 3, 3, 3, 1, false, false, true>",
        "void cudnn::engines_precompiled::nchwToNhwcKernel<float, float, float, false, true>",
        "cudnn_infer_ampere_scudnn_128x64_relu_small_nn_v1",
        "void wgrad2d_grouped_direct_kernel<float, float, float, int, float, float, true, false>",
        "void fft2d_r2c_32x32<float, false, 1u, false>(float2*, float const*, int, int)",
        "void at::native::im2col_kernel<float>(long, float const*, long, long)",
        "void at::native::(anonymous namespace)::conv_depthwise2d_forward_kernel<3, float, int>",
        "triton_tem_fused_convolution_3",
        "triton_poi_fused_convolution_0",
    ],
    "matmul": [
        "sm80_xmma_gemm_f32f32_tf32f32_f32_tn_n_tilesize64x64x32_stage4_warpsize2x2x1_cublas",
        "nvjet_tst_128x64_64x7_2x1_v_bz_coopA_TNT",
        "void gemv2T_kernel_val<int, int, float, float, float, float, 128, 16, 4, 4, false>",
        "void cutlass::Kernel2<cutlass_80_tensorop_s1688gemm_64x64_32x6_tn_align4>",
        "void cublasLt::splitKreduce_kernel<32, 16, int, float, float, float, float, false, true>",
        "ampere_sgemm_32x32_sliced1x4_nn",
        "triton_tem_fused_addmm_relu_1",
    ],
    "normalisation": [
        "void cudnn::bn_fw_tr_1C11_kernel_NCHW<float, float, 512, true, 1, true>",
        "void cudnn::batchnorm_bwtr_nhwc_semiPersist<__half, float>",
        "void at::native::batch_norm_collect_statistics_channels_last_kernel<Var, float>",
        "void at::native::batch_norm_backward_elemt_channels_last_kernel<4, float, float, float>",
        "void at::native::(anonymous namespace)::RowwiseMomentsCUDAKernel<float>",
        "triton_red_fused__native_batch_norm_legit_functional_relu_3",
        "triton_poi_fused_native_batch_norm_backward_threshold_backward_7",
        "triton_red_fused_convolution_native_batch_norm_backward_12",
    ],
    "activation": [
        f"{ELEMENTWISE}(anonymous namespace)::launch_clamp_scalar(at::TensorIteratorBase&, "
        "c10::Scalar, c10::Scalar, at::native::detail::ClampLimits)::{lambda()#1}>",
        f"{ELEMENTWISE}(anonymous namespace)::threshold_kernel_impl<float>>",
        f"{ELEMENTWISE}GeluCUDAKernelImpl(at::TensorIteratorBase&, at::native::GeluType)>",
        "triton_poi_fused_relu_threshold_backward_2",
        "triton_poi_fused_convolution_relu_1",
        "triton_poi_fused__to_copy_add_relu_4",
    ],
    "pooling": [
        "void at::native::(anonymous namespace)::max_pool_forward_nhwc<float, int>",
        "void at::native::(anonymous namespace)::max_pool_backward_nhwc<float, float>",
        "void at::native::(anonymous namespace)::adaptive_average_pool<float>",
        "void cudnn::ops::pooling_fw_4d_kernel<float, float, cudnn::averpooling_func<float>>",
        "triton_poi_fused_max_pool2d_with_indices_relu_5",
    ],
    "optimizer": [
        "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<at::native::(anonymous "
        "namespace)::FusedOptimizerTensorListMetadata<4>, at::native::(anonymous namespace)::"
        "FusedAdamMathFunctor<float, 4, (at::native::ADAM_MODE)0, false>, float const*, double>",
        "void at::native::(anonymous namespace)::multi_tensor_apply_kernel<at::native::(anonymous "
        "namespace)::TensorListMetadata<2>, at::native::(anonymous namespace)::BinaryOpScalar",
        "triton_for_fused_0",
    ],
    "copy": [
        "Memcpy DtoD (Device -> Device)",
        "Memcpy HtoD (Pinned -> Device)",
        "Memset (Device)",
        "void at::native::index_elementwise_kernel<128, 4, at::native::gpu_index_kernel<at::"
        "native::index_kernel_impl<at::native::OpaqueType<1> >(at::TensorIteratorBase&)>>",
        "void at::native::vectorized_gather_kernel<16, long>(char*, char*, long*, int, long, long)",
        f"{ELEMENTWISE}FillFunctor<float>, std::array<char*, 1ul> >",
        "void at::native::elementwise_kernel<128, 2, at::native::gpu_kernel_impl_nocast<at::"
        "native::direct_copy_kernel_cuda(at::TensorIteratorBase&)::{lambda()#3}>>",
        f"{ELEMENTWISE}bfloat16_copy_kernel_cuda(at::TensorIteratorBase&)>",
        "triton_poi_fused__to_copy_0",
        "triton_poi_fused_convert_element_type_index_1",
    ],
    "other": [
        f"{ELEMENTWISE}CUDAFunctor_add<float>, std::array<char*, 3ul> >",
        "void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float, at::native::MeanOps>>",
        "void (anonymous namespace)::softmax_warp_forward<float, float, float, 4, true, false, 32>",
        "void at::native::(anonymous namespace)::nll_loss_forward_reduce_cuda_kernel_2d<float>",
        "void at::native::(anonymous namespace)::fused_dropout_kernel_vec<float, float, int>",
        "triton_per_fused__log_softmax__to_copy_nll_loss_forward_9",
        "triton_poi_fused_add_2",
        "",
    ],
}  # fmt: skip

OPERATORS = {
    "convolution": [
        "aten::conv2d", "aten::convolution_backward", "aten::mkldnn_convolution",
        "aten::cudnn_convolution", "ConvolutionBackward0", "mkldnn::_convolution_pointwise",
        "autograd::engine::evaluate_function: ConvolutionBackward0",
    ],
    "matmul": ["aten::addmm", "aten::mm", "aten::bmm", "aten::linear", "AddmmBackward0",
               "mkldnn::_linear_pointwise"],
    "normalisation": [
        "aten::native_batch_norm", "aten::cudnn_batch_norm_backward", "CudnnBatchNormBackward0",
        "aten::_batch_norm_with_update_functional", "aten::native_layer_norm",
        "NativeBatchNormBackward0",
    ],
    "activation": ["aten::relu_", "aten::clamp_min_", "aten::threshold_backward", "ReluBackward0",
                   "aten::gelu", "aten::silu_", "aten::elu", "aten::tanh"],
    "pooling": [
        "aten::max_pool2d_with_indices_backward", "aten::adaptive_avg_pool2d",
        "aten::_adaptive_avg_pool2d_backward", "MaxPool2DWithIndicesBackward0",
    ],
    "optimizer": ["Optimizer.step#Adam.step", "Optimizer.zero_grad#Adam.zero_grad",
                  "aten::_fused_adam_", "aten::_foreach_addcdiv_"],
    "copy": ["aten::copy_", "aten::_to_copy", "aten::to", "aten::index", "aten::fill_"],
    None: [
        "aten::add_", "aten::sum", "aten::log_softmax", "aten::resolve_conj",
        "aten::upsample_bilinear2d",
        "aten::item", "autograd::engine::evaluate_function: torch::autograd::AccumulateGrad",
        "TBackward0", "Torch-Compiled Region: 0/0", "## Call CompiledFxGraph f4reluconvmm7 ##",
        "CompiledFunctionBackward", "ProfilerStep#3", "cudaLaunchKernel",
        "prims::convert_element_type",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "expected"), [(n, c) for c, names in KERNELS.items() for n in names]
)
def test_class_of_kernel(name: str, expected: str) -> None:
    """A CUDA graph replays kernels without the operators that launched them."""
    assert class_of_kernel(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"), [(n, c) for c, names in OPERATORS.items() for n in names]
)
def test_class_of_operator(name: str, expected: str | None) -> None:
    """Forward, backward, and autograd's own names; None where a name says nothing."""
    assert class_of_operator(name).kernel_class == expected
