"""The points of a sweep: every combination of what is swept, and each checkpoint by itself."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from wise_merge.errors import WiseMergeError
from wise_merge.methods import METHODS
from wise_merge.points.point import Coordinate, Fixed, Point, PointCheckpoint, on_line
from wise_merge.recipes.parameters import values_for
from wise_merge.search.sweep.grid import Axis, axes_of, given, names_of
from wise_merge.search.sweep.settings import SweepSettings

#: From the path of a file that a recipe names to the digest of its content.
Digests = Mapping[str, str]


def points_of(
    settings: SweepSettings, checkpoints: Sequence[PointCheckpoint], digests: Digests | None = None
) -> tuple[Point, ...]:
    """Return all points, those of one model together.

    Args:
        settings: of the sweep.
        checkpoints: the first is early, or the base of the recipe.
        digests: of the files that the recipe names.
    """
    if settings.recipe is not None:
        models = _of_grid(settings, checkpoints, digests or {})
    elif METHODS[settings.method].line:
        models = _of_alphas(settings, checkpoints)
    else:
        models = _of_soup(settings, checkpoints)
    return tuple(replace(point, temperature=one) for point in models for one in settings.temperatures)


def _of_alphas(settings: SweepSettings, checkpoints: Sequence[PointCheckpoint]) -> list[Point]:
    early, *lates = checkpoints
    dtypes = settings.dtype, settings.out_dtype
    alphas = (0.0, *settings.alphas, 1.0)
    return [on_line(early, late, settings.method, alpha, 1.0, *dtypes) for late in lates for alpha in alphas]


def _of_soup(settings: SweepSettings, checkpoints: Sequence[PointCheckpoint]) -> list[Point]:
    """Return each checkpoint by itself, and the mean of all."""
    weights = tuple(Coordinate("weight", 1.0, number) for number in range(len(checkpoints)))
    soup = Point(tuple(checkpoints), settings.method, weights, 1.0, settings.dtype, settings.out_dtype)
    first, *others = (soup.alone(number) for number in range(len(checkpoints)))
    return [first, soup, *others]


def _of_grid(settings: SweepSettings, checkpoints: Sequence[PointCheckpoint], digests: Digests) -> list[Point]:
    """Return every combination of a grid, each model once, and the checkpoints that are not among them."""
    combined: dict[str, Point] = {}
    for point in _combinations(settings, checkpoints, digests):
        combined.setdefault(point.model, point)
    alone: dict[str, Point] = {}
    for point in combined.values():
        for number in range(len(checkpoints)):
            one = point.alone(number)
            if one.unmerged is not None and one.model not in combined:
                alone.setdefault(one.model, one)
    first = [point for point in alone.values() if point.unmerged == 0]
    return [*first, *combined.values(), *(point for point in alone.values() if point.unmerged != 0)]


def _combinations(settings: SweepSettings, checkpoints: Sequence[PointCheckpoint], digests: Digests) -> list[Point]:
    assert settings.recipe is not None
    recipe, line = settings.recipe, METHODS[settings.method].line
    places = {name: place for place, name in enumerate(names_of(recipe))}
    coordinates, fixed, values = [], [], []
    for parameter, model, setting in given(recipe, axes_of(recipe, settings.grid)):
        place = None if model is None else places[model]
        if isinstance(setting, Axis):
            coordinates.append(Coordinate(parameter.name, 0.0, place, varies=True))
            # The ends of a line are always sampled.
            values.append(sorted({*setting.values, 0.0, 1.0}) if parameter.name == line else setting.values)
        elif isinstance(setting, float) and parameter.name != "temperature":
            coordinates.append(Coordinate(parameter.name, setting, place))
            values.append((setting,))
        elif not isinstance(setting, float):
            digest = digests.get(setting) if isinstance(setting, str) else None
            fixed.append(Fixed(parameter.name, json.dumps(setting), place, digest))
    return [
        Point(
            tuple(checkpoints),
            settings.method,
            tuple(replace(one, value=value) for one, value in zip(coordinates, combination, strict=True)),
            1.0,
            settings.dtype,
            settings.out_dtype,
            tuple(fixed),
        )
        for combination in itertools.product(*values)
    ]


def check_combinations(settings: SweepSettings) -> None:
    """Raise a `WiseMergeError` for numbers of a grid that are in range each, and not together."""
    assert settings.recipe is not None
    method = METHODS[settings.method]
    if method.check is None:
        return
    names = names_of(settings.recipe)
    for point in _combinations(settings, [PointCheckpoint(name, None, name) for name in names], {}):
        # Numbers that vary by layer are looked at tensor by tensor, when these are known.
        if any(one.by_tensor for one in point.fixed):
            return
        try:
            method.check(values_for(point.recipe(), method, names, "", 0.0))
        except WiseMergeError as error:
            raise WiseMergeError(f"grid: at {point.place(short=False)}: {error}") from None
