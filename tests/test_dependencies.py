"""What the package imports is what it declares."""

import ast
import re
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).parent.parent
#: Imported where they are there, and asked for by name otherwise.
OPTIONAL = {"vllm", "ray", "sentence_transformers", "trl", "wandb", "trackio"}


def imported():
    """The top-level modules that the package imports, each with one file that does."""
    found = {}
    for path in sorted((ROOT / "wise_merge").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            for name in names:
                found.setdefault(name.partition(".")[0], path.relative_to(ROOT))
    return {name: path for name, path in found.items() if name not in {*sys.stdlib_module_names, "wise_merge"}}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib")
def test_every_import_is_declared():
    """Not left to what another dependency happens to bring along."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.match(r"[\w.-]+", one)[0].lower().replace("_", "-") for one in project["dependencies"]}
    owners = packages_distributions()
    for name, path in imported().items():
        if name in OPTIONAL:
            continue
        packages = {one.lower().replace("_", "-") for one in owners[name]}
        assert packages & declared, f"{path} imports {name}, of {', '.join(packages)}, which pyproject.toml lacks"
