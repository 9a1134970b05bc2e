"""What scripts and notebooks call: `train`, `compare` and `load`; `cnnperf` exports them."""
