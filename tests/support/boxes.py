"""Where the texts of a picture lie once it has been drawn."""

from itertools import combinations


def boxes_of(figure, panel):
    """The boxes of the labels in a panel, by their texts, as (left, bottom, right, top) in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.draw_without_rendering()
    renderer = FigureCanvasAgg(figure).get_renderer()
    # An annotation without text is the line that leads from a label to its mark.
    return [(text.get_text(), text.get_window_extent(renderer).extents) for text in panel.texts if text.get_text()]


def overlapping(boxes):
    """The pairs of texts whose boxes have a part in common."""
    return [
        (one, other)
        for (one, (left, bottom, right, top)), (other, (left2, bottom2, right2, top2)) in combinations(boxes, 2)
        if left < right2 and left2 < right and bottom < top2 and bottom2 < top
    ]
