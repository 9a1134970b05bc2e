"""The same training by other people's loops: what `fast` is measured against.

Torch half. Each module holds one peer and imports its packages, so it is imported only where that
peer trains (`cnnperf.training.engines.engine_class`). All of them train on the same images in equal
batches with the same optimizer and loss, and are evaluated by the same code.

What is compared is the loop, so what PyTorch itself leaves to the user (compiling, cuDNN's own
benchmark, TF32 in matrix products) is at its default in all of them. Those in bfloat16 are
channels last, and all but `plain` have the loader that `eager` has.
"""
