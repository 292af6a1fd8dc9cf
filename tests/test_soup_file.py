"""How a greedy soup was made, as it is kept beside the results."""

import json

import pytest
from support.reports import a_soup

from wise_merge.errors import WiseMergeError
from wise_merge.points.soup import read_soup, write_soup


def test_a_soup_is_read_as_it_was_written(tmp_path):
    """Every step, the choice and its rivals; without a file there is none."""
    assert read_soup(tmp_path) is None
    write_soup(tmp_path, a_soup())
    assert read_soup(tmp_path) == a_soup()
    written = json.loads((tmp_path / "soup.json").read_text())
    assert written["format"] == 1
    assert written["steps"][1] == {
        "candidate": "one",
        "kept": True,
        "value": 0.56,
        "before": 0.5,
        "meets": True,
        "ingredients": ["runs/three", "runs/one"],
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"format": 2}, "format 1 was expected"),
        ({"chosen": {"ingredients": ["runs/one"]}}, "missing"),
        ({"steps": [{"candidate": "one"}]}, "ingredients"),
    ],
)
def test_another_file_is_refused_in_one_line(change, reason, tmp_path):
    """The line names the file and says what to do."""
    write_soup(tmp_path, a_soup())
    path = tmp_path / "soup.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(WiseMergeError, match=rf"soup.json cannot be read \(.*{reason}.*run `wise-merge soup` again"):
        read_soup(tmp_path)
