"""Every kind of generation task that lm-eval ships, as one with K samples: the same prompts, the same verdicts."""

import json
import random

import nltk
import pytest
from conftest import REPOSITORY
from lm_eval import simple_evaluate
from lm_eval.api.task import ConfigurableTask
from lm_eval.tasks._yaml_loader import load_yaml
from support.lm_eval_tasks import CASES, FOLDER, KINDS, PROBLEMS, index_of
from support.tasks import FILTER, Scripted

from wise_merge.hosts.lm_eval.conversion import SUFFIX

#: How lm-eval's defaults seed Python's random numbers, by which some tasks shuffle choices.
_SEED = 0


def original(case, folder):
    """lm-eval's own task, with the rows in a folder."""
    config = load_yaml(FOLDER / case.path, resolve_func=True)
    used = {config.get(f"{part}_split") for part in ("training", "validation", "test", "fewshot")}
    # A file of one's own need not have splits that no prompt shows; lm-eval looks for them all.
    files = {split: str(folder / f"{case.split}.jsonl") for split in filter(None, used)}
    files |= {split: str(folder / f"{split}.jsonl") for split in case.rows()}
    # One completion of each problem, where the original would take a vote of many.
    kept = [one for one in config.get("filter_list") or () if not one["name"].startswith("maj@")]
    for key in ("tag", "group", "custom_dataset", "dataset_name"):
        config.pop(key, None)
    config |= {"dataset_path": "json", "dataset_kwargs": {"data_files": files}, "repeats": 1}
    random.seed(_SEED)
    return ConfigurableTask(config=config | ({"filter_list": kept} if kept else {}))


def per_problem(results, task):
    """What lm-eval said of each problem: metrics by name and filter."""
    found = {}
    for sample in results["samples"][task]:
        metrics = {(name, sample["filter"]): sample[name] for name in sample["metrics"]}
        found.setdefault(sample["doc_id"], {}).update(metrics)
    return [found[number] for number in sorted(found)]


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """The original tasks and the converted ones, evaluated once each with the same completion of every prompt."""
    where = tmp_path_factory.mktemp("rows")
    files = [FOLDER / case.path for case in CASES]
    # Looked for by IFEval when it is imported, and used for an instruction that is not asked for here.
    (where / "tokenizers" / "punkt_tab").mkdir(parents=True)
    nltk.data.path.append(str(where))
    for case in CASES:
        (where / case.name).mkdir()
        for split, rows in case.rows().items():
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (where / case.name / f"{split}.jsonl").write_text(text)
    originals = {case.name: original(case, where / case.name) for case in CASES}
    script = {}
    asked = {}
    for case in CASES:
        task = originals[case.name]
        task.set_fewshot_seed(1234)
        docs = list(task.eval_docs)
        shots = task.config.num_fewshot or 0
        asked[case.name] = [task.fewshot_context(doc, shots, gen_prefix=task.doc_to_prefix(doc)) for doc in docs]
        script |= dict(zip(asked[case.name], case.completions(docs), strict=True))
    # Two tasks may show the same prompt.
    answer = lambda prompt: [script[prompt]] * len(CASES)  # noqa: E731
    known = index_of(*files)
    theirs = simple_evaluate(Scripted(answer), tasks=list(originals.values()), task_manager=known, bootstrap_iters=0)

    names = {case.name: f"{case.name}{SUFFIX}" for case in CASES}
    manager = index_of(
        *files,
        repeats=1,
        data_file={names[case.name]: str(where / case.name) for case in CASES},
        metric={names[case.name]: case.metric for case in CASES if case.metric},
    )
    model = Scripted(answer)
    loaded = []
    for name in manager.match_tasks(list(names.values())):
        random.seed(_SEED)
        loaded += manager.load([name])["tasks"].values()
    ours = simple_evaluate(
        model,
        tasks=loaded,
        task_manager=manager,
        gen_kwargs={"do_sample": False, "temperature": 0.0},
        bootstrap_iters=0,
    )
    return {
        "theirs": theirs,
        "ours": ours,
        "asked": asked,
        "model": model,
        "tasks": dict(zip(names, loaded, strict=False)),
    }


def test_the_page_lists_what_was_tried_and_how_it_came_out():
    """A row for each task of the table."""
    page = (REPOSITORY / "docs" / "tasks.md").read_text()
    for case in CASES:
        named = ", as named" if case.metric else ""
        assert f"| `{case.name}{SUFFIX}` | {case.shows} | `{case.judged_by}`{named} |" in page


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_prompts_and_verdicts_are_those_of_the_task_itself(evaluated, case):
    """Of right, wrong, badly written, empty and senseless completions, by every metric of the task."""
    name = f"{case.name}{SUFFIX}"
    samples = sorted(evaluated["ours"]["samples"][name], key=lambda sample: sample["doc_id"])
    assert [sample["arguments"][0][0] for sample in samples] == evaluated["asked"][case.name]
    theirs = per_problem(evaluated["theirs"], case.name)
    assert len(theirs) == len(samples) == PROBLEMS
    metric, _, filter_name = case.judged_by.partition(",")
    assert evaluated["ours"]["configs"][name]["metadata"]["metric"] == case.judged_by
    verdicts = [sample["curve"]["correct"] for sample in samples]
    assert verdicts == [[bool(values[metric, filter_name])] for values in theirs]
    assert verdicts[KINDS.index("right")] == [True]
    assert verdicts[KINDS.index("wrong")] == verdicts[KINDS.index("nonsense")] == [False]
    several = len({one for _, one in theirs[0]}) > 1
    for sample, values in zip(samples, theirs, strict=True):
        for (other, behind), value in values.items():
            if (other, behind) != (metric, filter_name):
                ours = sample[f"{other}[{behind}]" if several else other]
                assert ours == ([value] if isinstance(ours, list) else pytest.approx(float(value), nan_ok=True))
    scores = evaluated["ours"]["results"][name]
    assert scores[f"pass@1,{FILTER}"] == pytest.approx(
        evaluated["theirs"]["results"][case.name][f"{metric},{filter_name}"]
    )
