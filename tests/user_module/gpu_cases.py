"""Cases that ruin their device in one repeat of two: `<model>-tiny-8-two-<engine>`.

`after` is trained last and behaves, to show what the others have left behind. `light` and `heavy`
differ by a tensor of known size; a step of `slow` takes its time, on the device. Needs `tiny_cases`
beside it, for the data set. The models are in `gpu_nets.py`.
"""

from cnnperf import Case, ModelSpec, Recipe, register_case, register_model

TWO = Recipe(name="two", epochs=2, batch_size=16)

for name in ("greedy", "asserting", "after"):
    register_model(
        ModelSpec(name=name, builder=f"gpu_nets:build_{name}", resolution=8, channels=(1,))
    )
    for engine in ("eager", "fast"):
        register_case(
            Case(
                model=name, dataset="tiny", resolution=8, recipe=TWO, engine=engine,
                compile="off", tiers=("full",),  # a compiler would trace `greedy` for ever
            )
        )  # fmt: skip

for name in ("light", "heavy", "slow"):
    register_model(
        ModelSpec(name=name, builder=f"gpu_nets:build_{name}", resolution=8, channels=(1,))
    )
    for engine in ("eager", "fast"):
        register_case(Case(model=name, dataset="tiny", resolution=8, recipe=TWO, engine=engine))
