"""The import order of the package: down only, and nothing heavy before it is needed."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "wise_merge"

#: From top to bottom. A module may import from rows below its own only.
ROWS = [
    {"__main__"},
    {"cli"},
    {"demo"},
    {"merge", "search", "report", "publish", "score", "calibrate", "signature"},
    {"figures"},
    {"points"},
    {"sampling", "training", "autoload", "passk_task"},
    {"tasks", "trackers"},
    {"verifiers", "results", "journal"},
    {"execution"},
    {"hosts"},
    {"tensors"},
    {"tensor_files"},
    {"checkpoints", "answers", "execution"},
    {"recipes"},
    {"methods"},
    {"kernels", "geometry", "estimators", "games"},
    {"errors", "text"},
]

#: The only modules that may know another program.
HOSTS = {
    "mergekit": {"hosts", "merge"},
    "lm_eval": {"tasks", "sampling"},
    "vllm": {"sampling"},
    "transformers.cache_utils": {"sampling", "hosts"},
    "transformers.generation": set(),
}

MODULES = sorted(PACKAGE.rglob("*.py"))


def row_of(module):
    return next(i for i, row in enumerate(ROWS) if module in row)


def imports(path):
    """Every module that the file imports, at its top or within a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down_only(path):
    """A module knows those below it; one exception: the start-up hook may name the adapters beside it."""
    module = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if module in ("__init__", "autoload"):
        return
    for name in imports(path):
        if name.startswith("wise_merge."):
            imported = name.split(".")[1]
            if imported == module or imported.startswith("__"):
                continue
            assert row_of(imported) > row_of(module), f"{module} imports {imported}"
        for host, allowed in HOSTS.items():
            assert not f"{name}.".startswith(f"{host}.") or module in allowed, f"{module} imports {host}"


def test_no_modules_import_each_other_in_a_circle():
    """Within a room, too, at the top of a file or in a function: one of them could not be read before the others."""
    names = {module_of(path): path for path in MODULES}
    needs = {name: {one for one in imports(path) if one in names and one != name} for name, path in names.items()}
    # A package and its own modules are one thing to whoever imports from it.
    needs = {name: {one for one in found if not name.startswith(f"{one}.")} for name, found in needs.items()}
    try:
        graphlib.TopologicalSorter(needs).prepare()
    except graphlib.CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def module_of(path):
    """The name by which a file is imported."""
    return ".".join(("wise_merge", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def test_every_module_has_its_row():
    """A new module must be placed."""
    placed = set.union(*ROWS)
    found = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in MODULES} - {"__init__"}
    assert found == placed


@pytest.mark.parametrize("module", sorted(ROWS[-2]))
def test_the_pure_functions_import_no_host(module):
    """The bottom row works where neither mergekit nor lm-eval nor transformers can be imported."""
    blocked = "import sys\nfor host in ('mergekit', 'lm_eval', 'transformers', 'datasets'): sys.modules[host] = None\n"
    subprocess.run([sys.executable, "-c", f"{blocked}import wise_merge.{module}"], check=True)


def test_the_help_needs_nothing_heavy():
    """`wise-merge --help` and `--version` load neither torch nor a host."""
    code = (
        "import sys; from click.testing import CliRunner; from wise_merge.cli import main\n"
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0\n"
        "heavy = {'torch', 'numpy', 'transformers', 'mergekit', 'lm_eval', 'matplotlib', 'pydantic'}\n"
        "heavy &= set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
