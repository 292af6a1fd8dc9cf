"""Tasks whose completions are programs: HumanEval and MBPP of lm-eval, and files in the form of LiveCodeBench's."""

import base64
import json
import pickle
import sys
import zlib
from pathlib import Path

import evaluate as evaluate_package
import lm_eval.tasks
import pytest
from lm_eval import simple_evaluate
from lm_eval.tasks import TaskManager
from support.programs import why_none_can_be_run
from support.tasks import FILTER, Scripted
from support.tasks import evaluate as evaluate_ours

from wise_merge.errors import WiseMergeError
from wise_merge.hosts.lm_eval.messages import TaskInputError
from wise_merge.tasks.livecodebench.cases import read_tests
from wise_merge.tasks.livecodebench.judging import same_output

LM_EVAL = Path(lm_eval.tasks.__file__).parent

HUMANEVAL = {
    "task_id": "X/0",
    "prompt": 'def add(a, b):\n    """Add.\n\n    >>> add(2, 3)\n    5\n    >>> add(-1, 1)\n    0\n    """\n',
    "entry_point": "add",
    "canonical_solution": "    return a + b\n",
    "test": "def check(candidate):\n    assert candidate(2, 3) == 5\n    assert candidate(10, -3) == 7\n",
}
MBPP = {
    "task_id": 1,
    "text": "Write a function that says whether a number is even.",
    "code": "def even(n):\n    return n % 2 == 0",
    "test_list": ["assert even(2) == True", "assert even(3) == False", "assert even(0) == True"],
    "test_setup_code": "",
    "challenge_test_list": [],
}


@pytest.fixture(scope="module")
def _sandbox():
    if reason := why_none_can_be_run():
        pytest.skip(reason)


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(task, folder, completions, **metadata):
    """The samples of a task made from one of lm-eval's, whose file lies in `folder` of its tasks."""
    manager = TaskManager(
        include_defaults=False,
        include_path=str(LM_EVAL / folder),
        metadata={"repeats": len(completions), "execute": True, **metadata},
    )
    results = simple_evaluate(
        Scripted(lambda prompt: completions), tasks=[task], task_manager=manager, bootstrap_iters=10
    )
    return results["samples"][task]


@pytest.mark.usefixtures("_sandbox")
def test_programs_of_humaneval_are_judged_by_its_tests_and_vote_by_what_they_do(tmp_path):
    """Two that add, one that subtracts, one right on the examples only, one that ends its process."""
    bodies = ["a + b", "b + a", "a - b", "5 if a == 2 else 0"]
    completions = [*(f"    return {body}\n" for body in bodies), "    import os; os._exit(0)\n"]
    data = write(tmp_path / "humaneval.jsonl", HUMANEVAL)
    (sample,) = run("humaneval_passk", "humaneval", completions, data_file=str(data))
    assert sample["curve"]["correct"] == [True, True, False, False, False]
    first, second, other, shown, none = sample["curve"]["answers"]
    assert first == second == shown
    assert other not in (first, None)
    assert none is None
    # Three vote together, of which two are right.
    assert sample["maj@5"] == pytest.approx(2 / 3)
    assert not any(name.startswith("lm_eval.tasks.humaneval.") for name in sys.modules)


@pytest.mark.usefixtures("_sandbox")
def test_programs_of_mbpp_come_out_of_its_own_filters(tmp_path):
    """The instruct form takes what stands between fences, by lm-eval's own function."""
    completions = [
        "\ndef even(n):\n    return not n % 2\n```\nDone.",
        "\ndef even(n):\n    return True\n```",
        "no program",
    ]
    data = write(tmp_path / "mbpp.jsonl", MBPP)
    (sample,) = run("mbpp_instruct_passk", "mbpp", completions, data_file=str(data))
    assert sample["curve"]["correct"] == [True, False, False]
    right, wrong, none = sample["curve"]["answers"]
    assert None not in (right, wrong)
    assert right != wrong
    assert none is None


@pytest.mark.parametrize("execute", [None, False, "yes", 1])
def test_nothing_is_run_without_permission(tmp_path, execute):
    """Whatever stands for `execute` but true; the message says what programs would be kept from."""
    data = write(tmp_path / "humaneval.jsonl", HUMANEVAL)
    metadata = {"data_file": str(data), "execute": execute}
    with pytest.raises(
        TaskInputError, match=r"needs your permission: add --metadata '\{\"execute\": true\}'.*Programs run"
    ):
        run("humaneval_passk", "humaneval", ["    pass"], **metadata)


def test_a_task_that_runs_programs_by_itself_is_refused():
    """Its code would run them outside of the sandbox."""
    with pytest.raises(TaskInputError, match="runs what the model writes by code of its own"):
        run("cruxeval_input_passk", "cruxeval", ["1"])


@pytest.mark.usefixtures("_sandbox")
def test_the_task_itself_keeps_its_own_code_eval(tmp_path, monkeypatch):
    """A run of `humaneval` beside `humaneval_passk`, in either order, asks the package `evaluate` as ever."""
    data = write(tmp_path / "humaneval.jsonl", HUMANEVAL)
    asked = []

    class Theirs:
        def compute(self, **asked_for):
            asked.append(asked_for)
            return {"pass@1": 0.0}, {}

    monkeypatch.setattr(evaluate_package, "load", lambda *_: Theirs())
    utilities = lm_eval.tasks._yaml_loader.load_yaml(LM_EVAL / "humaneval" / "humaneval.yaml")
    assert len(asked) == 1
    (sample,) = run("humaneval_passk", "humaneval", ["    return a + b\n"], data_file=str(data))
    assert sample["pass@1"] == 1.0
    assert len(asked) == 1
    again = lm_eval.tasks._yaml_loader.load_yaml(LM_EVAL / "humaneval" / "humaneval.yaml")
    assert again["metric_list"][0]["metric"] is utilities["metric_list"][0]["metric"]


# --- LiveCodeBench --------------------------------------------------------------------------------


def packed(cases):
    """Test cases as the hidden ones of LiveCodeBench are written."""
    return base64.b64encode(zlib.compress(pickle.dumps(json.dumps(cases)))).decode()


def case(given, expected, kind="stdin"):
    return {"input": given, "output": expected, "testtype": kind}


SCRIPT = {
    "question_id": "s1",
    "question_content": "Print the sum of two numbers.",
    "starter_code": "",
    "public_test_cases": json.dumps([case("1 2\n", "3\n")]),
    "private_test_cases": packed([case("5 6\n", "11\n"), case("0.5 1\n", "1.50\n")]),
    "metadata": "{}",
}
FUNCTION = {
    "question_id": "f1",
    "question_content": "Return the numbers doubled.",
    "starter_code": "class Solution:\n    def double(self, numbers: List[int]) -> List[int]:\n        ",
    "public_test_cases": json.dumps([case("[1, 2]", "[2, 4]", "functional")]),
    "private_test_cases": json.dumps([case("[]", "[]", "functional"), case("[-3]", "[-6]", "functional")]),
    "metadata": json.dumps({"func_name": "double"}),
}


def fenced(code):
    return f"Here it is:\n```python\n{code}\n```\n"


@pytest.mark.usefixtures("_sandbox")
def test_programs_are_judged_by_hidden_tests(tmp_path):
    """Scripts by what they print, numbers as numbers; functions by what they return, a tuple for a list, too."""
    adds = "a, b = map(float, input().split())\nprint(a + b)"
    scripts = [fenced(adds), fenced("print(3)"), fenced("print(sum(map(int, input().split())))"), "print(3)"]
    method = "class Solution:\n    def double(self, numbers: List[int]):\n        return "
    functions = [
        fenced(f"{method}tuple(2 * number for number in numbers)"),
        fenced(f"{method}[2, 4]"),
        fenced("def double(numbers): return [2 * number for number in numbers]"),
        fenced(f"{method}undefined"),
    ]
    data = write(tmp_path / "lcb.jsonl", SCRIPT, FUNCTION)

    def script(prompt):
        return functions if "doubled" in prompt else scripts

    model = Scripted(script)
    scores, results = evaluate_ours(model, "livecodebench_passk", repeats=4, execute=True, data_file=str(data))
    first, second = (sample["curve"] for sample in results["samples"]["livecodebench_passk"])
    assert first["correct"] == [True, False, False, False]
    assert first["answers"][:3] == [first["answers"][0]] * 3  # all print 3 on the public test
    assert first["answers"][3] is None  # not fenced
    assert second["correct"] == [True, False, True, False]
    assert second["answers"][0] == second["answers"][1] == second["answers"][2] is not None
    assert second["answers"][3] is None
    assert scores[f"pass@1,{FILTER}"] == pytest.approx((1 / 4 + 2 / 4) / 2)
    prompts = {prompt for prompt, _ in model.requests}
    assert any("use the following starter code" in prompt for prompt in prompts)
    assert any("Read the inputs from stdin" in prompt for prompt in prompts)
    # Hidden tests have megabytes, and each logged sample has its problem.
    assert "private_test_cases" not in results["samples"]["livecodebench_passk"][0]["doc"]


class Evil:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"public_test_cases": "[]", "private_test_cases": "[]"}, "it has no tests"),
        ({"private_test_cases": "nothing"}, "private_test_cases can be read neither as JSON nor unpacked"),
        ({"private_test_cases": '[{"input": "1"}]'}, "must be a list of tests, each with an input and an output"),
        (
            {"private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(Evil()))).decode()},
            "it asks for builtins.print, and only text is unpickled",
        ),
        ({"private_test_cases": json.dumps([case("1", "1", "functional")])}, "all stdin or all functional"),
        ({"public_test_cases": "[]", "private_test_cases": json.dumps([case("1", "1", "functional")])}, "func_name"),
    ],
)
def test_a_row_with_bad_tests_says_what_is_wrong(changed, message, capfd):
    """And nothing that is unpickled runs."""
    with pytest.raises(WiseMergeError, match=message):
        read_tests({**SCRIPT, **changed})
    assert "run" not in capfd.readouterr().out


@pytest.mark.parametrize(
    ("written", "expected", "same"),
    [
        ("1.50 2\n\n", "1.5 2.0", True),
        (" a \nb", "a\nb ", True),
        ("1 2", "1\n2", False),
        ("10000000000000000", "10000000000000001", False),
        ("yes", "Yes", False),
        ("", "", True),
        ("sNaN 1e999999999", "sNaN 1e999999999", True),
        ("1e999999999", "1e9999999990", False),
    ],
)
def test_outputs_are_compared_as_livecodebench_does(written, expected, same):
    """Line by line without blanks around them, then as decimal numbers."""
    assert same_output(written, expected) is same
