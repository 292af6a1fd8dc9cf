"""The page: numbers, texts, plotting library, style and script in one HTML file that fetches nothing.

What users and models wrote reaches the page as JSON without `<`, and the script shows it as text only. On top of
that, the page's own policy lets no script run but the two that are named there by their hashes.
"""

import base64
import hashlib
import html
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from importlib.resources import files
from string import Template
from typing import Any

from wise_merge import __version__
from wise_merge.figures.drawing import COLOURS
from wise_merge.report.looks import ALPHA_COLOURS
from wise_merge.report.numbers import Numbers
from wise_merge.report.texts import ProblemTexts, Texts

_SCRIPTS = ("charts.js", "labels.js", "table.js", "problems.js", "page.js")
#: Characters that could end a script element or that UTF-8 cannot encode; JSON can escape each.
_ESCAPED = re.compile("[<>&\u2028\u2029\ud800-\udfff]")
#: Decimal places in the page; one problem more or less changes an earlier one.
_DIGITS = 5


def page(numbers: Numbers, texts: Texts) -> bytes:
    """Return the page, in UTF-8; same numbers and texts, same bytes."""
    from plotly.offline import get_plotlyjs

    library, script = get_plotlyjs(), "\n".join(map(_resource, _SCRIPTS))
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
        f"script-src {_hash(library)} {_hash(script)}"
    )
    shown = {
        "version": __version__,
        "colours": COLOURS,
        "alpha_colours": ALPHA_COLOURS,
        **asdict(numbers),
        "texts": {
            "samples": texts.samples,
            "asked": texts.asked,
            "whole": texts.whole,
            "shortened": texts.shortened,
            "missing": texts.missing,
        },
    }
    blocks = [
        f'<script type="application/octet-stream" id="texts-{task_number}-{number}">{_packed(found)}</script>'
        for task_number, task in enumerate(numbers.tasks)
        for number, problem in enumerate(task.problems)
        if (found := texts.of.get((task.name, problem.id))) is not None
    ]
    written = Template(_resource("page.html")).substitute(
        policy=policy,
        title=html.escape(f"{numbers.folder}: report of a sweep"),
        style=_resource("page.css"),
        numbers=_json(_rounded(shown)),
        texts="\n".join(blocks),
        library=library,
        script=script,
    )
    return written.encode("utf-8")


def _resource(name: str) -> str:
    return (files("wise_merge.report") / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    """Return the name of a script in the policy of a page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _packed(texts: ProblemTexts) -> str:
    """Return the texts of a problem, compressed together: completions of neighbouring alphas often begin alike."""
    return base64.b64encode(zlib.compress(_json(texts).encode("utf-8"), 9)).decode()


def _json(value: Any) -> str:
    # Dataclasses by `vars`: `asdict` would copy every text first.
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=vars)
    return _ESCAPED.sub(lambda letter: f"\\u{ord(letter[0]):04x}", text)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, Mapping):
        return {key: _rounded(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_rounded(entry) for entry in value]
    return value
