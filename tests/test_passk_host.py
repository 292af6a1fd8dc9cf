"""What lm-eval is told about our tasks, with its own functions."""

import copy
import types

import lm_eval.utils
import pytest
from lm_eval.tasks import TaskManager

from wise_merge.passk_task import PassKTask, host
from wise_merge.passk_task.host import TaskInputError, for_the_table, tasks_directory

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
