"""The case `flipping-tiny-8-two-eager`, whose model may flip one bit: see `flip_nets.py`.

Needs `tiny_cases` beside it, for the data set.
"""

from cnnperf import Case, ModelSpec, Recipe, register_case, register_model

register_model(
    ModelSpec(name="flipping", builder="flip_nets:build_flipping", resolution=8, channels=(1,))
)
register_case(
    Case(
        model="flipping",
        dataset="tiny",
        resolution=8,
        recipe=Recipe(name="two", epochs=2, batch_size=16),
        tiers=("full",),
    )
)
