"""A user's module as `cnnperf_modules` names it: a tiny data set, and models that misbehave.

Every case is `<model>-tiny-8-two-eager`, and one is `good-tiny-8-long-eager`; `calm` is the only
one of suite `infer`. The models are in `tiny_nets.py`.
"""

from cnnperf import (
    Case,
    DatasetSpec,
    ModelSpec,
    Recipe,
    register_case,
    register_dataset,
    register_model,
)

register_dataset(
    DatasetSpec(
        name="tiny",
        loader="tiny_nets:load_tiny",
        channels=1,
        resolution=8,
        train_images=64,
        val_images=32,
        test_images=32,
        mean=(0.5,),
        std=(0.25,),
        target_accuracy=0.05,
        source="seeded noise with a bright row a class",
    )
)

TWO = Recipe(name="two", epochs=2, batch_size=16)
LONG = Recipe(name="long", epochs=100_000, batch_size=16)

for name in ("good", "killed", "hungry", "diverging", "hanging", "raising", "parent", "leaving"):
    register_model(
        ModelSpec(name=name, builder=f"tiny_nets:build_{name}", resolution=8, channels=(1,))
    )
    register_case(
        Case(model=name, dataset="tiny", resolution=8, recipe=TWO, tiers=("smoke", "full"))
    )
for name in ("normed", "twice_normed"):
    register_model(
        ModelSpec(name=name, builder=f"tiny_nets:build_{name}", resolution=8, channels=(1,))
    )
register_case(Case(model="good", dataset="tiny", resolution=8, recipe=LONG, tiers=("full",)))
register_model(ModelSpec(name="calm", builder="tiny_nets:build_good", resolution=8, channels=(1,)))
register_case(
    Case(model="calm", dataset="tiny", resolution=8, recipe=TWO, suite="infer", tiers=("full",))
)
