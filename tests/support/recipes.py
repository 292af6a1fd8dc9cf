"""Recipes of our merge methods."""


def wise_ft(run, *, alpha=0.5, **changes):
    """The recipe of the README for a run with checkpoint-1 and checkpoint-2."""
    recipe = {
        "merge_method": "wise_ft",
        "base_model": str(run / "checkpoint-1"),
        "models": [{"model": str(run / "checkpoint-2")}],
        "parameters": {"alpha": alpha},
    }
    return {**recipe, **changes}


def bang(run, *, alpha, early=1.0, late=1.0):
    """A recipe with one temperature per checkpoint."""
    models = [
        {"model": str(run / "checkpoint-1"), "parameters": {"temperature": early}},
        {"model": str(run / "checkpoint-2"), "parameters": {"temperature": late}},
    ]
    return wise_ft(run, alpha=alpha, merge_method="bang", models=models)


def slices(ranges=((0, 2), (0, 2)), **names):
    """A case in which the recipe names slices of early and late, or of other folders; None leaves one out."""

    def apply(recipe, run):
        del recipe["models"]
        paths = {"early": run / "checkpoint-1", "late": run / "checkpoint-2", **names}
        sources = [
            (path, {"model": str(path), "layer_range": list(r)}) for path, r in zip(paths.values(), ranges, strict=True)
        ]
        recipe["slices"] = [{"sources": [source for path, source in sources if path]}]

    return apply
