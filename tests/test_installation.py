"""The built wheel in a fresh virtual environment, used through the real console scripts.

One environment serves the whole file, because an installation takes more than a minute; the tests that need it are
slow. Tests that change it come last, and put back what they can.
"""

import configparser
import contextlib
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
COUNT_FINDERS = "import sys; print([type(finder).__name__ for finder in sys.meta_path].count('_HostFinder'))"
#: Every task of ours, by its file.
TASKS = sorted(path.stem for path in (REPOSITORY / "lm_eval_tasks").glob("*_passk.yaml"))
OUR_TASKS = "print([name for name in TaskManager(include_defaults=False).all_tasks if name.endswith('_passk')])"


@dataclass(frozen=True)
class Environment:
    """A virtual environment in `root`, and the empty directory `cwd` in which its programs run."""

    root: Path
    cwd: Path

    @property
    def packages(self) -> Path:
        (packages,) = self.root.glob("lib/python*/site-packages")
        return packages

    def run(self, name, *arguments, status=0, cwd=None, **variables):
        """Run a program of the environment as in a shell where it is activated."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "WISE_MERGE", "VIRTUAL_ENV"))}
        path = f"{self.root / 'bin'}{os.pathsep}{os.environ['PATH']}"
        run = subprocess.run(
            [self.root / "bin" / name, *map(str, arguments)],
            cwd=cwd or self.cwd,
            env={**inherited, "PATH": path, "HF_HUB_OFFLINE": "1", **variables},
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == status, f"{name} {arguments}: exit code {run.returncode}\n{run.stdout}\n{run.stderr}"
        return run

    def pip(self, *arguments):
        return self.run("python", "-m", "pip", "--disable-pip-version-check", *arguments)

    def traces(self):
        """Everything in site-packages and among the scripts that has our name."""
        found = [*self.packages.rglob("*"), *(self.root / "bin").iterdir()]
        return sorted(p.name for p in found if "wise_merge" in p.name or "wise-merge" in p.name)


@contextlib.contextmanager
def folder_left_alone(folder):
    """What happens within may not leave anything in the folder, as a build in place would."""
    before = set(os.listdir(folder))
    yield
    # What other checks of this repository write, which may be running.
    others = {".pytest_cache", ".ruff_cache", ".mypy_cache", ".hypothesis", ".venv-vllm", "demo"}
    assert set(os.listdir(folder)) <= before | others


@contextlib.contextmanager
def changed(path, text):
    """Change a file, or take it away (text None), and put the original back."""
    original = path.read_bytes()
    path.unlink()
    if text is not None:
        path.write_text(text)
    try:
        yield
    finally:
        path.write_bytes(original)


def warnings_of_ours(run):
    return [line for line in run.stderr.splitlines() if line.startswith("wise-merge:")]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """The wheel, built in isolation as for a release."""
    folder = tmp_path_factory.mktemp("wheel")
    # Tells "there is no package index" from "our build fails".
    reach = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder / "reach", "hatchling"]
    probe = subprocess.run(reach, capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        pytest.skip(f"pip reaches no package index: {probe.stderr.strip().splitlines()[-1]}")
    with folder_left_alone(REPOSITORY):
        build = [sys.executable, "-m", "build", "--wheel", "--outdir", folder, REPOSITORY]
        subprocess.run(build, capture_output=True, check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def environment(tmp_path_factory, wheel):
    """A fresh environment with the wheel and its dependencies, deleted after the last test: it holds 2 GB."""
    # The space in its name makes pip write console scripts that start with #!/bin/sh.
    folder = tmp_path_factory.mktemp("installation")
    environment = create(folder / "virtual environment", folder / "empty", wheel)
    yield environment
    # Not waited for: on a disk that discards blocks at once, this took longer than all the tests.
    subprocess.Popen([sys.executable, "-c", "import shutil, sys; shutil.rmtree(sys.argv[1])", folder])


def create(root, cwd, wheel):
    cwd.mkdir()
    subprocess.run([sys.executable, "-m", "venv", root], check=True)
    environment = Environment(root, cwd)
    # setuptools builds the editable hosts below.
    environment.pip("install", "--quiet", "--constraint", REPOSITORY / "constraints.txt", wheel, "setuptools>=77")
    return environment


@pytest.fixture
def installed(environment, wheel):
    """The environment with the wheel in it, whatever the test before did."""
    if not (environment.packages / "wise_merge" / "lm_eval_tasks").is_dir():
        environment.pip("install", "--quiet", "--no-deps", "--force-reinstall", wheel)
    return environment


# --- the wheel ------------------------------------------------------------------------------------


def test_the_wheel_holds_the_package_the_tasks_and_two_start_up_files(wheel):
    """Nothing else goes to the root of site-packages, least of all a folder of a host's name, and no tests."""
    names = [name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name]
    assert sorted(name for name in names if "/" not in name) == ["wise_merge.pth", "wise_merge.start"]
    assert {name.partition("/")[0] for name in names if "/" in name} == {"wise_merge"}
    assert not [name for name in names if "test" in name]
    tasks = {path.name for path in (REPOSITORY / "lm_eval_tasks").glob("*.yaml")}
    assert {name.rpartition("/")[2] for name in names if name.startswith("wise_merge/lm_eval_tasks/")} == tasks
    assert "countdown_passk.yaml" in tasks


# --- the path of a user ---------------------------------------------------------------------------


@pytest.mark.slow
def test_doctor_is_content(installed):
    """`wise-merge doctor` says for both hosts, with version, what they see."""
    run = installed.run("wise-merge", "doctor")
    methods = "bang, fisher, uniform_soup, weight_signature, widen, wise_ft"
    assert f"mergekit-yaml (version 0.1.5) sees the merge methods {methods}" in run.stdout
    assert f"sees the tasks {', '.join(TASKS)}" in run.stdout


@pytest.mark.slow
def test_doctor_notices_that_the_start_up_file_is_turned_off(installed):
    """Without the finder neither host sees us: there is no other way in. Doctor names the reason."""
    run = installed.run("wise-merge", "doctor", status=1, WISE_MERGE_AUTOLOAD="0")
    assert run.stdout.count("WISE_MERGE_AUTOLOAD=0 turned the start-up file off") == 2


@pytest.mark.slow
def test_merge_and_evaluation_work_as_typed(installed, tiny_run):
    """mergekit-yaml finds `wise_ft`, lm_eval finds `countdown_passk`, and the table shows Pass@K."""
    shutil.copytree(tiny_run, installed.cwd / "run", dirs_exist_ok=True)
    (installed.cwd / "wise.yml").write_text(
        "merge_method: wise_ft\n"
        "base_model: run/checkpoint-1\n"
        "models:\n"
        "  - model: run/checkpoint-2\n"
        "parameters:\n"
        "  alpha: 0.5\n"
        "dtype: bfloat16\n"
    )
    installed.run("mergekit-yaml", "wise.yml", "out/")
    task = ["--tasks", "countdown_passk", "--metadata", '{"repeats": 2}', "--limit", 2]
    model = ["--model", "hf", "--model_args", "pretrained=out", "--device", "cpu", "--batch_size", 8]
    run = installed.run("lm_eval", *model, *task)
    assert "pass@1" in run.stdout
    assert "pass@2" in run.stdout
    assert warnings_of_ours(run) == []


@pytest.mark.slow
def test_a_users_include_path_works_beside_ours(installed, tmp_path):
    """One call finds a task of the user's and one of ours; a task of the user's with our name wins."""
    task = "dataset_path: json\noutput_type: generate_until\ntest_split: test\ndoc_to_text: ''\ndoc_to_target: ''\n"
    (tmp_path / "mine.yaml").write_text(f"task: mine\n{task}")
    (tmp_path / "gsm8k_passk.yaml").write_text(f"task: gsm8k_passk\n{task}")
    for given in (str(tmp_path), [str(tmp_path)]):
        code = (
            f"from lm_eval.tasks import TaskManager; index = TaskManager(None, {given!r}, False).task_index\n"
            "print(*sorted(index), index['gsm8k_passk'].yaml_path)"
        )
        run = installed.run("python", "-c", code)
        names = " ".join(sorted(["mine", "passk", "passk_competitions", *TASKS]))
        assert run.stdout == f"{names} {tmp_path / 'gsm8k_passk.yaml'}\n"
    run = installed.run("lm_eval", "validate", "--tasks", "countdown_passk,mine", "--include_path", tmp_path)
    assert "All tasks found and valid" in run.stdout


@pytest.mark.slow
def test_spawned_workers_see_the_methods_and_the_tasks(installed):
    """A worker that vLLM or Ray starts is a new interpreter without anything of its parent's."""
    methods = "sorted(m.spec.name for m in __import__('mergekit.merge_methods').merge_methods.registered_methods())"
    tasks = "__import__('lm_eval.tasks').tasks.TaskManager(include_defaults=False).all_tasks"
    code = (
        "import multiprocessing\n"
        "with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        f"    print(pool.apply(eval, ({methods!r},)), pool.apply(eval, ({tasks!r},)))"
    )
    run = installed.run("python", "-c", code)
    assert "'wise_ft'" in run.stdout
    assert "'bang'" in run.stdout
    assert "'countdown_passk'" in run.stdout


# --- a damaged package ----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("text", [None, "", "def install(", "raise RuntimeError"], ids=repr)
@pytest.mark.parametrize("module", ["autoload.py", "__init__.py"])
def test_python_starts_in_silence_when_the_package_is_damaged(installed, module, text):
    """A file is missing, empty, cut off or wrong: Python says nothing. Uninstalled by hand is damaged, too."""
    with changed(installed.packages / "wise_merge" / module, text):
        run = installed.run("python", "-c", "pass")
    assert (run.stdout, run.stderr) == ("", "")


@pytest.mark.slow
def test_a_host_starts_when_the_package_is_gone(installed):
    """Someone deleted the folder and left the start-up files: mergekit-yaml does not notice."""
    package = installed.packages / "wise_merge"
    package.rename(installed.root / "taken away")
    try:
        run = installed.run("mergekit-yaml", "--help")
    finally:
        (installed.root / "taken away").rename(package)
    assert "wise" not in run.stderr


@pytest.mark.slow
def test_mergekit_goes_on_after_one_warning(installed, tiny_run):
    """With our merge methods broken, one line says why and a merge by another method is done."""
    models = [f"  - {{model: {tiny_run / name}, parameters: {{weight: 0.5}}}}\n" for name in os.listdir(tiny_run)]
    (installed.cwd / "linear.yml").write_text(f"merge_method: linear\nmodels:\n{''.join(models)}dtype: float32\n")
    with changed(
        installed.packages / "wise_merge" / "hosts" / "mergekit" / "methods.py", "raise RuntimeError('disk\\nfull')"
    ):
        run = installed.run("mergekit-yaml", "linear.yml", "linear")
    (warning,) = warnings_of_ours(run)
    assert "could not register with mergekit (RuntimeError: disk full)" in warning
    assert (installed.cwd / "linear" / "model.safetensors").exists()


@pytest.mark.slow
def test_lm_eval_goes_on_after_one_warning(installed):
    """With our tasks broken, one line says why and lm-eval lists its own."""
    with changed(
        installed.packages / "wise_merge" / "hosts" / "lm_eval" / "registration.py", "raise RuntimeError('moved')"
    ):
        run = installed.run("lm_eval", "ls", "groups")
    (warning,) = warnings_of_ours(run)
    assert "could not register with lm_eval (RuntimeError: moved" in warning
    assert "mmlu" in run.stdout


# --- a host that discovers tasks by itself --------------------------------------------------------

#: What lm-eval's pull request 4015 promises, in our words: default tasks, those of packages that name
#: themselves in the entry point group, those of the include path.
DISCOVERY = """

def _with_discovery(original):
    import importlib.metadata, importlib.util
    def __init__(self, verbosity=None, include_path=None, include_defaults=True, metadata=None):
        named = importlib.metadata.entry_points(group="lm_eval.tasks")
        found = [str(Path(importlib.util.find_spec(entry.value).origin).parent) for entry in named]
        own = include_path if isinstance(include_path, list) else [include_path] if include_path else []
        original(self, verbosity, [*found, *own], include_defaults, metadata)
    return __init__

TaskManager.__init__ = _with_discovery(TaskManager.__init__)
"""


@pytest.mark.slow
def test_the_hook_retires_where_the_host_discovers_tasks(installed, tmp_path):
    """With the entry point read, tasks come from it alone: with the hook and without, and none overrides another."""
    manager = installed.packages / "lm_eval" / "tasks" / "manager.py"
    user = tmp_path / "mine.yaml"
    user.write_text("task: gsm8k_passk\ndataset_path: json\noutput_type: generate_until\ntest_split: test\n")
    with changed(manager, manager.read_text() + DISCOVERY):
        code = f"from lm_eval.tasks import TaskManager; {OUR_TASKS}"
        hooked = installed.run("python", "-c", code)
        unhooked = installed.run("python", "-c", code, WISE_MERGE_AUTOLOAD="0")
        overridden = installed.run("python", "-c", code.replace("False", f"False, include_path={str(tmp_path)!r}"))
    assert hooked.stdout == unhooked.stdout == f"{TASKS}\n"
    assert "overrides existing task" not in hooked.stderr
    # The negative control: such a warning would be seen.
    assert overridden.stderr.count("overrides existing task") == 1


# --- other ways to install, and the way back ------------------------------------------------------


@pytest.mark.slow
def test_uninstalling_removes_every_trace(installed):
    """No file, folder or script of our name is left, and Python starts without our finder."""
    assert len(installed.traces()) > 4
    assert installed.run("python", "-c", COUNT_FINDERS).stdout == "1\n"
    installed.pip("uninstall", "--quiet", "--yes", "wise-merge")
    assert installed.traces() == []
    assert installed.run("python", "-c", COUNT_FINDERS).stdout == "0\n"


@pytest.mark.slow
def test_an_editable_install_is_found_too(environment):
    """`pip install -e` installs the start-up files, writes nothing into the checkout, and leaves no trace either."""
    with folder_left_alone(REPOSITORY):
        environment.pip("install", "--quiet", "--no-deps", "--force-reinstall", "--editable", REPOSITORY)
        environment.run("wise-merge", "doctor")
    where = environment.run("python", "-c", "import wise_merge; print(wise_merge.__file__)").stdout
    assert Path(where.strip()) == REPOSITORY / "wise_merge" / "__init__.py"
    environment.pip("uninstall", "--quiet", "--yes", "wise-merge")
    assert environment.traces() == []


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["src", "flat"])
def test_hosts_installed_editable_find_us(installed, tmp_path, layout):
    """setuptools adds a host in a src folder by a path in a .pth file, any other by a finder of its own."""
    for host in ("mergekit", "lm_eval"):
        make_editable(installed, host, installed.root / f"{host} {layout}", layout)
    assert len(list(installed.packages.glob("__editable___*_finder.py"))) == (2 if layout == "flat" else 0)
    installed.run("wise-merge", "doctor")


def make_editable(environment, host, project, layout):
    """Move an installed host into a source tree and install it from there; the same program otherwise."""
    (information,) = environment.packages.glob(f"{host}-*.dist-info")
    entry_points = configparser.ConfigParser(delimiters="=")
    entry_points.read(information / "entry_points.txt")
    where = environment.run("python", "-c", f"import importlib.util; print(importlib.util.find_spec('{host}').origin)")
    source = project / "src" if layout == "src" else project
    source.mkdir(parents=True)
    shutil.move(Path(where.stdout.strip()).parent, source / host)
    environment.pip("uninstall", "--quiet", "--yes", host)
    (project / "pyproject.toml").write_text(
        "[build-system]\nrequires = ['setuptools']\nbuild-backend = 'setuptools.build_meta'\n"
        f"[project]\nname = '{host}'\nversion = '{information.name.removesuffix('.dist-info').rpartition('-')[2]}'\n"
        "[project.scripts]\n"
        + "".join(f"{name} = '{target}'\n" for name, target in entry_points["console_scripts"].items())
        + f"[tool.setuptools]\npackages = ['{host}']\n"
        + ("package-dir = {'' = 'src'}\n" if layout == "src" else "")
    )
    environment.pip("install", "--quiet", "--no-deps", "--no-build-isolation", "--editable", project)
