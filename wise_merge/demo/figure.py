"""The demo's figure, drawn from `results.json`; plots read results and compute nothing."""

import json
from pathlib import Path
from typing import Any

from wise_merge.figures.drawing import COLOURS, INK, encoded, frame
from wise_merge.figures.labels import Label, place_labels
from wise_merge.results.whole_file import write_whole

EARLY, LATE, WISE = COLOURS[:3]


def draw(results: Path, figure: Path) -> None:
    """Draw the picture into a PNG file."""
    write_whole(figure, encoded(picture(json.loads(results.read_text())), "png"))


def picture(gathered: dict[str, Any]) -> Any:
    """Return Pass@K against K (left) and the plane of Pass@1 and Pass@K (right)."""
    # Without pyplot, which has global state and looks for a display.
    from matplotlib.figure import Figure

    models = gathered["models"]
    samples = models[0]["samples"]
    drawing = Figure(figsize=(10, 4.3), layout="constrained")
    left, right = drawing.subplots(1, 2)
    _draw_curves(left, models, gathered["verdict"]["best"])
    _draw_plane(right, models, samples)
    for axes in (left, right):
        frame(axes)
    _label_plane(drawing, right, models, samples)
    return drawing


def _draw_curves(axes: Any, models: list[dict[str, Any]], best: str) -> None:
    ks = sorted(int(key.split("@")[1]) for key in models[0]["metrics"] if key.startswith("pass@") and "_" not in key)
    for model in models:
        if 0 < model["alpha"] < 1 and model["name"] != best:
            continue
        colour = _colour(model)
        hot = model["alpha"] == 1 and model["temperature"] != 1
        if model["alpha"] == 1 and model["temperature"] < 1:
            continue
        values = [model["metrics"][f"pass@{k}"] for k in ks]
        errors = [model["metrics"][f"pass@{k}_stderr"] for k in ks]
        # The hotter, the shorter the dashes.
        style: Any = (0, (4 / model["temperature"] ** 3, 1.2)) if hot else "-"
        width, marker = (1.4, None) if hot else (2.2, "o")
        axes.plot(
            ks, values, color=colour, linestyle=style, linewidth=width, marker=marker, markersize=4, label=_label(model)
        )
        low = [value - error for value, error in zip(values, errors, strict=True)]
        high = [value + error for value, error in zip(values, errors, strict=True)]
        axes.fill_between(ks, low, high, color=colour, alpha=0.1 if hot else 0.2, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(ks, [str(k) for k in ks])
    axes.set_xlabel("K")
    axes.set_ylabel("Pass@K")
    axes.set_title("Problems solved by at least one of K samples", fontsize=11)
    axes.legend(frameon=False, loc="upper left", fontsize=9)


def _draw_plane(axes: Any, models: list[dict[str, Any]], samples: int) -> None:
    y_name = f"pass@{samples}"
    for path, colour, style in zip(_paths(models, samples), (WISE, LATE), ("-", "--"), strict=True):
        axes.plot(*zip(*path, strict=True), color=colour, linestyle=style, linewidth=1.4, zorder=1)
    for model in models:
        x, y = model["metrics"]["pass@1"], model["metrics"][y_name]
        axes.errorbar(
            x,
            y,
            xerr=model["metrics"]["pass@1_stderr"],
            yerr=model["metrics"][f"{y_name}_stderr"],
            fmt="s" if model["alpha"] in (0, 1) else "o",
            markersize=6,
            color=_colour(model),
            ecolor=_colour(model),
            elinewidth=0.9,
            alpha=0.9,
        )
    axes.set_xlabel("Pass@1")
    axes.set_ylabel(f"Pass@{samples}")
    axes.margins(0.12)
    axes.set_title("WiSE-FT from early to late; late at temperature T", fontsize=11)
    axes.text(0.02, 0.02, "error bars and bands: one standard error", transform=axes.transAxes, fontsize=8, color=INK)


def _paths(models: list[dict[str, Any]], samples: int) -> list[list[tuple[float, float]]]:
    """Return where the paths lead in the plane: from early to late by alpha, and late by temperature."""
    by_alpha = [model for model in models if 0 < model["alpha"] < 1 or model["temperature"] == 1]
    lates = [model for model in models if model["alpha"] == 1]
    paths = (
        sorted(by_alpha, key=lambda model: float(model["alpha"])),
        sorted(lates, key=lambda model: float(model["temperature"])),
    )
    return [[(model["metrics"]["pass@1"], model["metrics"][f"pass@{samples}"]) for model in path] for path in paths]


def _colour(model: dict[str, Any]) -> str:
    return EARLY if model["alpha"] == 0 else LATE if model["alpha"] == 1 else WISE


def _label(model: dict[str, Any]) -> str:
    if model["alpha"] == 0:
        return "early checkpoint"
    if model["alpha"] == 1:
        return "late checkpoint" if model["temperature"] == 1 else f"late, temperature {model['temperature']:g}"
    return rf"WiSE-FT, $\alpha$ = {model['alpha']:g}"


def _label_plane(drawing: Any, axes: Any, models: list[dict[str, Any]], samples: int) -> None:
    """Write beside each mark what it is."""
    places = [(model["metrics"]["pass@1"], model["metrics"][f"pass@{samples}"]) for model in models]
    labels = [Label(_mark(model), *place, colour=_colour(model)) for model, place in zip(models, places, strict=True)]
    place_labels(drawing, axes, labels, marks=places, paths=_paths(models, samples), fontsize=9)


def _mark(model: dict[str, Any]) -> str:
    if model["alpha"] == 0:
        return "early"
    if model["alpha"] == 1:
        return "late" if model["temperature"] == 1 else f"T={model['temperature']:g}"
    return rf"$\alpha$={model['alpha']:g}"
