"""Does this environment's `mergekit-yaml` see the merge methods, and its `lm_eval` the tasks and the models?

Asks the hosts themselves: each is imported by the very Python that its console
script runs, because that may belong to another environment than this one. Then compares
the versions that are here with those that were tested, and looks for what is taken from inside the hosts.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import wise_merge
from wise_merge.hosts import transformers_parts, versions, vllm_parts
from wise_merge.hosts.lm_eval import parts as lm_eval_parts
from wise_merge.hosts.mergekit import parts as mergekit_parts
from wise_merge.hosts.part import Part, first_fault
from wise_merge.methods import METHODS
from wise_merge.text import enumeration


@dataclass(frozen=True)
class Finding:
    """What was found out about one host: whether it `sees` the plugin, and what to tell the user."""

    host: str
    sees: bool
    message: str


_METHODS = enumeration(METHODS, "and")

#: What is taken from inside each host, and what follows where it is not as expected.
_INSIDE: tuple[tuple[str, str, tuple[Part, ...]], ...] = (
    ("transformers", "hf-passk samples in the way of hf", transformers_parts.LOOP),
    ("transformers", "hf-passk reads a prompt once per sample", transformers_parts.SHARED_PREFILL),
    ("transformers", "hf-passk copies the cache at every token", transformers_parts.ROOM),
    ("transformers", "bang_trainer does not train", transformers_parts.TRAINING),
    ("lm_eval", "the tasks need --include_path", lm_eval_parts.TASKS),
    ("lm_eval", "the tasks do not run", lm_eval_parts.TASK_CLASS),
    ("lm_eval", "no task is made from one of lm-eval's", lm_eval_parts.CONVERSION),
    ("lm_eval", "hf-passk and vllm-passk are not found", lm_eval_parts.MODELS),
    ("lm_eval", "the table is not sorted by k", lm_eval_parts.TABLE),
    ("lm_eval", "the audit lacks what the model knows", lm_eval_parts.LOOP),
    ("lm_eval", "--wandb_args logs no samples", lm_eval_parts.LOGGERS),
    ("lm_eval", "hf-passk samples in the way of hf", lm_eval_parts.HF),
    ("mergekit", f"{_METHODS} are not found", mergekit_parts.METHODS),
    ("mergekit", f"merges by {_METHODS} are refused", mergekit_parts.PLAN),
    ("vllm", "vllm-passk samples in the way of vllm", (*lm_eval_parts.VLLM, *vllm_parts.ENGINE)),
    ("vllm", "data_parallel_size is refused", vllm_parts.REPLICAS),
    ("vllm", "sweeps with vLLM are refused", vllm_parts.RELOAD),
)

_PROBE_MERGEKIT = f"""
import importlib.metadata, json
from mergekit.merge_methods import registered_methods
found = sorted({set(METHODS)!r} & {{method.spec.name for method in registered_methods()}})
print(json.dumps([importlib.metadata.version("mergekit"), {{"merge methods": found}}]))
"""

_PROBE_LM_EVAL = """
import importlib.metadata, json
from lm_eval.tasks import TaskManager
from lm_eval.api.registry import model_registry
tasks = sorted(name for name in TaskManager(include_defaults=False).all_tasks if name.endswith("_passk"))
# Looked up, not imported: vLLM is not for everybody.
models = sorted({"hf-passk", "vllm-passk"} & set(model_registry))
print(json.dumps([importlib.metadata.version("lm_eval"), {"tasks": tasks, "models": models}]))
"""


def examine() -> list[Finding]:
    """Return the findings for mergekit and lm-eval, in this order. Takes seconds: the hosts are imported."""
    return [
        _ask("mergekit-yaml", _PROBE_MERGEKIT),
        _ask("lm_eval", _PROBE_LM_EVAL),
    ]


def compare_versions() -> list[str]:
    """Return a line per host: the version that is here, the tested ones, and how they compare."""
    rows = []
    for row in versions.TESTED:
        here = versions.installed(row.name)
        span = row.oldest if row.oldest == row.newest else f"{row.oldest} to {row.newest}"
        beyond = None if here is None else versions.beyond(row, here)
        remark = f", {beyond} than tested" if beyond else ""
        rows.append(f"{row.name:<16} {here or 'not installed':<14} tested: {span}{remark}")
    return rows


def look_inside() -> list[str]:
    """Return a line per thing that a host which is here lacks inside: what it is, and what follows."""
    lines = []
    for host, consequence, parts in _INSIDE:
        fault = first_fault(parts) if versions.installed(host) is not None else None
        if fault is not None:
            lines.append(f"{versions.not_as_expected(host, fault)}, so {consequence}")
    return lines


def _ask(script: str, probe: str) -> Finding:
    where = _console_script(script)
    if where is None:
        return Finding(
            script,
            False,
            f"{script} is not on the PATH; activate the environment where wise-merge is installed",
        )
    python = _interpreter_of(where)
    answer = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=False)
    if answer.returncode != 0:
        last = (answer.stderr.strip().splitlines() or ["no output"])[-1]
        return Finding(script, False, f"{where} does not start: {last}; reinstall it")
    version, registered = json.loads(answer.stdout.strip().splitlines()[-1])
    about = f"{where} (version {version})"
    missing = " and ".join(what for what, names in registered.items() if not names)
    if missing:
        return Finding(script, False, f"{about} does not see the {missing}; {_remedy(python, answer.stderr)}")
    seen = " and ".join(f"the {what} {', '.join(names)}" for what, names in registered.items())
    return Finding(script, True, f"{about} sees {seen}")


def _console_script(name: str) -> Path | None:
    # The one a user gets by typing the name; failing that, the one installed beside this Python.
    script = shutil.which(name) or shutil.which(name, path=str(Path(sys.executable).parent))
    return Path(script) if script else None


def _interpreter_of(script: Path) -> str:
    with script.open("rb") as file:
        first, second = (file.readline().decode(errors="replace").strip() for _ in range(2))
    interpreter = first[2:].strip() if first.startswith("#!") else ""
    # Where the path is too long for a #! line or holds a space, installers let sh start Python.
    if interpreter == "/bin/sh" and second.startswith("'''exec' "):
        interpreter = shlex.split(second.removeprefix("'''exec' "))[0]
    return interpreter if Path(interpreter).is_file() else sys.executable


def _remedy(python: str, stderr: str) -> str:
    warning = next((line for line in stderr.splitlines() if line.startswith("wise-merge: ")), None)
    if warning:
        return warning
    if os.environ.get("WISE_MERGE_AUTOLOAD") == "0":
        return "WISE_MERGE_AUTOLOAD=0 turned the start-up file off: unset it"
    if Path(python).parent != Path(sys.executable).parent:
        return f"it runs on {python}: install wise-merge there (`{python} -m pip install wise-merge`)"
    root = Path(wise_merge.__file__).parent.parent
    return (
        f"the start-up file wise_merge.pth is missing from site-packages (the package is at {root}): "
        "reinstall with `pip install --force-reinstall --no-deps wise-merge`"
    )
