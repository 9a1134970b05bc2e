"""Train each case of cnnperf.toml: `pytest benchmarks --benchmark-json=run.json`."""


def test_train(cnnperf_case, cnnperf_train):
    assert cnnperf_train(cnnperf_case).outcome == "passed"
