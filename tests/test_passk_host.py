"""What lm-eval is told about our tasks, with its own functions."""

import copy
import importlib.util
import re
import subprocess
import sys
import types

import lm_eval.utils
import pytest
from conftest import REPOSITORY
from lm_eval.api.registry import Registry
from lm_eval.tasks import TaskManager

from wise_merge.hosts.lm_eval import registration as host
from wise_merge.hosts.lm_eval.messages import TaskInputError
from wise_merge.hosts.lm_eval.registration import for_the_table, tasks_directory
from wise_merge.tasks import PassKTask

#: Results as lm-eval has them: a task of ours and one that happens to report pass@k, too.
RESULTS = {
    "results": {
        "ours": {
            "alias": "ours",
            **{f"pass@{k},samples": k / 100 for k in (1, 2, 16)},
            **{f"pass@{k}_stderr,samples": 0.01 for k in (1, 2, 16)},
            "curve,samples": {"pass@k": [0.1, 0.2]},
            "curve_stderr,samples": "N/A",
            "audit,samples": {"n": 16},
            "audit_stderr,samples": "N/A",
        },
        "theirs": {"alias": "theirs", "pass@2,none": 0.2, "pass@16,none": 0.3},
    },
    "versions": {"ours": 1.0, "theirs": 1.0},
    "n-shot": {"ours": 0, "theirs": 0},
    "higher_is_better": {"ours": {f"pass@{k}": True for k in (1, 2, 16)}, "theirs": {"pass@2": True}},
    "group_subtasks": {},
}


def metrics(table):
    """Return the cells of the column Metric, as printed."""
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("|")]
    return [row[4].rstrip() for row in rows[2:]]


def test_the_table_lists_our_pass_at_k_by_number():
    """lm-eval sorts names as strings; the padding makes that the order of the numbers."""
    assert metrics(lm_eval.utils.make_table(RESULTS)) == ["pass@ 1", "pass@ 2", "pass@16", "pass@16", "pass@2"]


def test_the_results_themselves_stay_as_they_are():
    """They are written to the JSON after the table is made, or before."""
    before = copy.deepcopy(RESULTS)
    shown = for_the_table(RESULTS)
    assert before == RESULTS
    assert shown["results"]["theirs"] is RESULTS["results"]["theirs"]


@pytest.mark.parametrize("other", [None, {}, {"results": {}}, {"groups": {}}, {"results": {"t": {"acc,none": 1.0}}}])
def test_other_results_are_not_touched(other):
    """Nor is what a later lm-eval may hand over."""
    assert for_the_table(other) is other


def test_an_lm_eval_without_that_table_is_left_alone():
    """A host that has been rebuilt inside gets its tasks all the same."""
    rebuilt = types.ModuleType("utils")
    host.sort_table(rebuilt)
    assert not hasattr(rebuilt, "make_table")


def test_every_new_manager_finds_the_tasks():
    """Whether or not the caller names a path of its own."""
    names = set(TaskManager(include_defaults=False).all_tasks)
    assert names >= {"passk", "gsm8k_passk", "sudoku9_passk"}
    assert set(TaskManager(include_defaults=False, include_path=tasks_directory()).all_tasks) == names


def test_an_error_of_input_ends_a_program_with_its_message():
    """What `lm_eval` does not catch, Python prints as one line."""
    with pytest.raises(SystemExit) as raised:
        raise TaskInputError("do this instead")
    assert raised.value.code == "do this instead"


def test_evaluate_is_watched_once():
    """However many tasks are loaded."""
    from lm_eval import evaluator

    host.watch_evaluation(PassKTask)
    watched = evaluator.evaluate
    host.watch_evaluation(PassKTask)
    assert evaluator.evaluate is watched


# --- models ---------------------------------------------------------------------------------------


def test_lm_eval_finds_our_models_by_name_beside_its_own():
    """In a fresh Python that does nothing but evaluate, whether it looks its own models up before or after."""
    code = (
        "from lm_eval import simple_evaluate\n"
        "from lm_eval.tasks import TaskManager\n"
        "manager = TaskManager(include_defaults=False)\n"
        "try:\n    simple_evaluate('no-such-model', tasks=['countdown_passk'], task_manager=manager)\n"
        "except ValueError as error:\n    print(error)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    names = re.split(r"[:,]?\s+", found)
    assert {"hf-passk", "vllm-passk", "hf", "vllm", "local-completions"} <= set(names)


def test_a_name_that_is_taken_stays():
    """By the entry point, or by the first of two calls; nothing is imported for it."""
    registry = types.SimpleNamespace(model_registry=Registry("model"))
    registry.model_registry.register("hf-passk", target="elsewhere:Model")
    for _ in range(2):
        host.add_models(registry)
    assert dict(registry.model_registry.items()) == {**host.MODELS, "hf-passk": "elsewhere:Model"}


def test_an_lm_eval_without_that_registry_keeps_its_models():
    """A host that has been rebuilt inside gets the tasks all the same."""
    host.add_models(types.ModuleType("registry"))


def test_the_entry_points_name_the_same_models():
    """What lm-eval is going to read by itself."""
    text = (REPOSITORY / "pyproject.toml").read_text()
    block = re.search(r'entry-points."lm_eval.models"\]\n((?:\S+ = .*\n)+)', text)[1]
    assert dict(re.findall(r'(\S+) = "(.*)"', block)) == host.MODELS


def test_the_vllm_model_without_vllm_ends_with_one_line(tmp_path, console_script):
    """Which says what to install."""
    if importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed here")
    arguments = ("--model", "vllm-passk", "--model_args", "pretrained=out", "--tasks", "countdown_passk")
    result = console_script("lm_eval", *arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert "--model vllm-passk needs vLLM" in result.stderr.splitlines()[-1]
    assert 'pip install "lm-eval[vllm]"' in result.stderr.splitlines()[-1]
