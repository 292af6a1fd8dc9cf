"""The demo in a setting of seconds."""

from wise_merge.demo.recipe import Recipe, Stage

SMALL = Recipe(
    hidden=16,
    layers=1,
    pretraining=Stage(steps=20, batch=16, learning_rate=3e-3, save=(10, 20)),
    sft=Stage(steps=6, batch=8, learning_rate=1e-3, save=(2, 6)),
    sft_problems=20,
    early=2,
    alphas=(0.5,),
    temperatures=(1.0,),
    problems=40,
    samples=4,
)
