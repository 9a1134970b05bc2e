"""Other people's training loops, to compare with `fast`.

Each module holds one peer and imports its packages, so it is imported only if that peer trains
(`cnnperf.training.engines.engine_class`). All peers use the same images, batch size, optimizer and
loss, and the same evaluation code.

The loop is what is compared. Choices that PyTorch leaves to the user (compilation, cuDNN's
benchmark, TF32 in matrix products) are at their defaults. The bfloat16 peers are channels last. All
peers except `plain` use the loader of `eager`.
"""
