"""What the start-up file does to a Python, seen from outside: every test starts interpreters of its own.

Stand-ins for the hosts show what the finder does; `test_installation.py` shows the same with the real ones.
"""

import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
PTH = REPOSITORY / "startup" / "wise_merge.pth"
START = REPOSITORY / "startup" / "wise_merge.start"

COUNT_FINDERS = "import sys; print([type(finder).__name__ for finder in sys.meta_path].count('_HostFinder'))"
SPY = """
import wise_merge.autoload as autoload
autoload._register = lambda module: print('registering', module.__name__)
"""
REGISTRY = "mergekit.merge_methods.registry"
MANAGER = "lm_eval.tasks.manager"


@pytest.fixture
def start(tmp_path):
    """Runs code in a new interpreter, in an empty directory and an environment without Python's variables."""
    (tmp_path / "empty").mkdir()

    def run(code, *flags, python=sys.executable, **environment):
        return subprocess.run(
            [str(python), *flags, "-c", code],
            cwd=tmp_path / "empty",
            env={name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "WISE_MERGE"))}
            | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def stand_in(tmp_path):
    """Writes a package that bears a host's name and holds one module; returns the folder to search."""

    def write(module, source):
        folder = tmp_path / "stand-ins"
        package = folder
        for name in module.split(".")[:-1]:
            package /= name
            package.mkdir(parents=True, exist_ok=True)
            (package / "__init__.py").touch()
        if source is not None:
            (package / f"{module.rpartition('.')[2]}.py").write_text(source)
        return str(folder)

    return write


@pytest.fixture
def site(tmp_path):
    """A folder with copies of the package and of both start-up files, as in site-packages."""
    folder = tmp_path / "site"
    shutil.copytree(REPOSITORY / "wise_merge", folder / "wise_merge", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PTH, folder)
    shutil.copy(START, folder)
    return folder


# --- an interpreter that starts -------------------------------------------------------------------


def test_every_start_installs_one_finder(start):
    """Python finds the start-up file by itself, in its isolated mode too, and a second call adds nothing."""
    assert start(COUNT_FINDERS).stdout == "1\n"
    assert start(COUNT_FINDERS, "-I").stdout == "1\n"
    assert start("from wise_merge.autoload import install; install(); install()\n" + COUNT_FINDERS).stdout == "1\n"


def test_the_finder_can_be_turned_off(start):
    """WISE_MERGE_AUTOLOAD=0 leaves none, nor does -S, which ignores all start-up files; other values change nothing."""
    assert start(COUNT_FINDERS, WISE_MERGE_AUTOLOAD="0").stdout == "0\n"
    assert start(COUNT_FINDERS, "-I", WISE_MERGE_AUTOLOAD="0").stdout == "0\n"
    assert start(COUNT_FINDERS, "-S").stdout == "0\n"
    assert start(COUNT_FINDERS, WISE_MERGE_AUTOLOAD="1").stdout == "1\n"


def test_the_finder_can_be_taken_away(start):
    """`uninstall` undoes `install`, however often it is called."""
    code = "from wise_merge.autoload import uninstall; uninstall(); uninstall()\n"
    assert start(code + COUNT_FINDERS).stdout == "0\n"


def test_the_start_up_file_loads_nothing_that_python_has_not_loaded(start, site):
    """Its line adds two modules of ours and no other, not even one of the standard library."""
    code = f"""
import sys, site
sys.path.append({str(site)!r})
before = set(sys.modules)
exec({PTH.read_text()!r})
print(sorted(set(sys.modules) - before))
"""
    # -S: no other start-up file of the environment shall have loaded more before.
    assert start(code, "-I", "-S").stdout == "['wise_merge', 'wise_merge.autoload']\n"


def test_a_process_without_hosts_stays_as_it_was(start):
    """No host, and nothing a host needs, is in memory; an import of something else does not meet our loader."""
    code = """
import sys, json
print(sorted({name.partition('.')[0] for name in sys.modules} & {'mergekit', 'lm_eval', 'torch', 'numpy', 'click'}))
print(sorted(name for name in sys.modules if name.startswith('wise_merge')), type(json.__spec__.loader).__name__)
"""
    run = start(code)
    assert run.stdout == "[]\n['wise_merge', 'wise_merge.autoload'] SourceFileLoader\n"
    assert run.stderr == ""


def test_a_spawned_worker_has_the_finder(start):
    """multiprocessing's `spawn` starts a new interpreter, and that runs the start-up file again."""
    count = "[type(finder).__name__ for finder in __import__('sys').meta_path].count('_HostFinder')"
    code = f"import multiprocessing as m\nwith m.get_context('spawn').Pool(1) as p: print(p.apply(eval, ({count!r},)))"
    assert start(code).stdout == "1\n"


def test_the_file_for_python_3_15_names_a_callable():
    """Its one entry resolves the way PEP 829 says, to what the .pth line calls."""
    from wise_merge.autoload import install

    entries = START.read_text().split()
    assert [pkgutil.resolve_name(entry) for entry in entries] == [install]
    assert callable(install)


def other_python(version):
    """A Python of that version that really starts (a pyenv shim may not), or None."""
    installed = [shutil.which(f"python{version}"), *Path.home().glob(f".pyenv/versions/{version}.*/bin/python")]
    for python in filter(None, installed):
        run = subprocess.run(
            [python, "-c", "import sys; print(sys.version)"], capture_output=True, text=True, check=False
        )
        if run.returncode == 0 and run.stdout.startswith(version):
            return python
    return None


@pytest.mark.parametrize("version", ["3.10", "3.11", "3.12", "3.13", "3.14", "3.15"])
def test_the_start_up_file_works_on_every_python(start, site, version):
    """Each Python that we support reads the folder in silence and has one finder then."""
    python = other_python(version)
    if python is None:
        pytest.skip(f"needs a Python {version} on the PATH")
    run = start(f"import site; site.addsitedir({str(site)!r})\n{COUNT_FINDERS}", "-I", "-S", python=python)
    assert (run.stdout, run.stderr) == ("1\n", "")


def remove_hook(package):
    (package / "autoload.py").unlink()


def truncate_hook(package):
    hook = package / "autoload.py"
    hook.write_text(hook.read_text()[:700])


def empty_hook(package):
    (package / "autoload.py").write_text("")


def spoil_init(package):
    (package / "__init__.py").write_text("this is no Python")


def remove_init(package):
    (package / "__init__.py").unlink()


def remove_all(package):
    shutil.rmtree(package)


def remove_all_but_init(package):
    for file in package.glob("*.py"):
        if file.name != "__init__.py":
            file.unlink()


@pytest.mark.parametrize(
    "damage",
    [remove_hook, truncate_hook, empty_hook, spoil_init, remove_init, remove_all, remove_all_but_init],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_package_does_not_show_when_python_starts(start, site, damage):
    """Whatever is missing or broken, the .pth line says nothing and Python goes on."""
    damage(site / "wise_merge")
    # From 3.15 on, Python itself reports what goes wrong in a .start file (and still goes on).
    (site / "wise_merge.start").unlink()
    run = start(f"import site; site.addsitedir({str(site)!r}); print('goes on')", "-I", "-S")
    assert (run.returncode, run.stdout, run.stderr) == (0, "goes on\n", "")


# --- a host is imported ---------------------------------------------------------------------------


@pytest.mark.parametrize("host", [REGISTRY, MANAGER])
def test_we_register_after_the_host_has_run(start, stand_in, host):
    """The module is complete when our turn comes, which is once; other modules of the host do not matter."""
    folder = stand_in(host, "print('running', __name__)")
    run = start(f"{SPY}import {host.partition('.')[0]}\nprint('imported')\nimport {host}, {host}", PYTHONPATH=folder)
    assert run.stdout == f"imported\nrunning {host}\nregistering {host}\n"
    assert run.stderr == ""


@pytest.mark.parametrize("place", ["insert(0, EditableFinder())", "append(EditableFinder())"])
def test_a_host_that_another_finder_brings_is_met_too(start, stand_in, place):
    """Editable installs put a finder of their own before ours or behind it."""
    folder = stand_in(REGISTRY, "print('running')")
    code = f"""
import sys, importlib.util
class EditableFinder:
    def find_spec(self, name, path=None, target=None):
        file = {folder!r} + '/' + name.replace('.', '/')
        for file, folder in ((file + '/__init__.py', [file]), (file + '.py', None)):
            if name.startswith('mergekit') and __import__('os').path.exists(file):
                return importlib.util.spec_from_file_location(name, file, submodule_search_locations=folder)
autoload.uninstall()
sys.path[:] = [folder for folder in sys.path if 'site-packages' not in folder]  # the real mergekit
sys.meta_path.{place}
autoload.install()
import {REGISTRY}
print({REGISTRY}.__file__)
"""
    run = start(SPY + code)
    assert run.stderr == ""
    assert run.stdout == f"running\nregistering {REGISTRY}\n{folder}/mergekit/merge_methods/registry.py\n"


def test_the_host_module_carries_its_own_loader(start, stand_in):
    """Whoever inspects the module, while it runs or later, finds Python's loader and not ours."""
    loaders = "print(type(__loader__).__name__, type(__spec__.loader).__name__)\n"
    folder = stand_in(REGISTRY, loaders)
    look = f"import {REGISTRY} as host\nexec({loaders!r}, vars(host))\n"
    run = start(f"{SPY}{look}import inspect; print(inspect.getsource(host), end='')", PYTHONPATH=folder)
    own = "SourceFileLoader SourceFileLoader\n"
    assert run.stdout == f"{own}registering {REGISTRY}\n{own}{loaders}"


@pytest.mark.parametrize("source", ["raise ValueError('the host is broken')", "this is no Python", None])
def test_a_broken_host_fails_as_it_would_without_us(start, stand_in, source):
    """Its own error comes through, a second import raises it again, and we neither register nor say a word."""
    folder = stand_in(REGISTRY, source)
    code = f"""
import sys
for attempt in 1, 2:
    try:
        import {REGISTRY}
    except Exception as error:
        print(repr(error), {REGISTRY!r} in sys.modules)
"""
    with_us = start(SPY + code, PYTHONPATH=folder)
    without = start(code, PYTHONPATH=folder, WISE_MERGE_AUTOLOAD="0")
    assert without.stdout.count("Error") == 2
    assert (with_us.stdout, with_us.stderr) == (without.stdout, without.stderr)


def test_a_failed_registration_is_one_line_and_the_host_goes_on(start, stand_in):
    """A registry without the rest of mergekit: the warning names host and cause, the import succeeds."""
    folder = stand_in(REGISTRY, "")
    run = start(f"import {REGISTRY}; print('goes on')", PYTHONPATH=folder)
    assert (run.returncode, run.stdout) == (0, "goes on\n")
    (line,) = run.stderr.splitlines()
    assert line.startswith(
        "wise-merge: could not register with mergekit (ModuleNotFoundError: No module named 'mergekit."
    )
    assert "wise-merge doctor" in line


def test_a_cause_of_several_lines_is_still_one_line(start, stand_in):
    """transformers and numpy explain a failed import in paragraphs; the warning is one line of a log."""
    folder = stand_in(MANAGER, "")
    code = f"""
import wise_merge.autoload as autoload
def fail(module): raise RuntimeError('Failed to import x:\\n\\n  no module named y\\n')
autoload._register = fail
import {MANAGER}
"""
    run = start(code, PYTHONPATH=folder)
    (line,) = run.stderr.splitlines()
    assert "could not register with lm_eval (RuntimeError: Failed to import x: no module named y)" in line
