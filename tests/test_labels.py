"""Labels beside marks: none on another, none on a mark, none outside; led to their marks, or left out, in a crowd."""

import random

import pytest
from matplotlib.figure import Figure
from support.boxes import boxes_of, overlapping

from wise_merge.figures.drawing import encoded
from wise_merge.figures.labels import Label, place_labels


def crowd(count, seed=0):
    """A panel with so many marks in one corner of it, and a label for each."""
    drawn = random.Random(seed)
    places = [(drawn.gauss(0.5, 0.04), drawn.gauss(0.9, 0.03)) for _ in range(count)] + [(0.0, 0.0)]
    figure = Figure(figsize=(5.6, 4.4), layout="constrained")
    panel = figure.subplots()
    panel.plot(*zip(*places, strict=True), "o-")
    return figure, panel, places


@pytest.mark.parametrize("count", [4, 12, 30])
def test_no_label_lies_on_another_or_outside_its_panel(count):
    """In a crowd of marks; written at one and the same side of each they would overlap, which is the control."""
    figure, panel, places = crowd(count)
    control, other, _ = crowd(count)
    for number, place in enumerate(places):
        other.annotate(f"alpha {number}", place, xytext=(6, 5), textcoords="offset points", fontsize=8.5)
    assert overlapping(boxes_of(control, other))

    labels = [Label(f"alpha {number}", *place) for number, place in enumerate(places)]
    written = place_labels(figure, panel, labels, marks=places, paths=[places])
    # As it is saved, layout included.
    encoded(figure, "png")
    boxes = boxes_of(figure, panel)
    assert len(boxes) == len(written) > 4
    assert overlapping(boxes) == []
    frame = panel.get_window_extent().extents
    for _, (left, bottom, right, top) in boxes:
        assert frame[0] <= left < right <= frame[2]
        assert frame[1] <= bottom < top <= frame[3]
        for x, y in panel.transData.transform(places):
            assert not (left < x < right and bottom < y < top)


def test_what_is_not_needed_is_left_out_of_a_crowd():
    """Rather than led to its mark by a line; what is needed is led there."""
    lines, texts = {}, {}
    for needed in (True, False):
        figure, panel, places = crowd(30)
        labels = [Label(f"alpha {number}", *place, needed=needed) for number, place in enumerate(places)]
        place_labels(figure, panel, labels, marks=places, paths=[places])
        texts[needed] = len(boxes_of(figure, panel))
        lines[needed] = len(panel.texts) - texts[needed]
    assert lines[True] > 0 == lines[False]
    assert texts[True] > texts[False] > 0


def test_where_there_is_room_a_label_is_beside_its_mark():
    """No line leads there, and its nearest corner is no further than a few points away."""
    figure = Figure(figsize=(4, 4), layout="constrained")
    panel = figure.subplots()
    panel.plot([0, 1, 2], [0, 1, 2], "o")
    (text,) = place_labels(figure, panel, [Label("middle", 1, 1)], marks=[(0, 0), (1, 1), (2, 2)])
    ((_, (left, bottom, _, _)),) = boxes_of(figure, panel)
    x, y = panel.transData.transform((1, 1))
    assert 0 < left - x < 10
    assert 0 < bottom - y < 10
    assert list(panel.texts) == [text]
