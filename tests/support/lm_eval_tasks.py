"""Tasks that lm-eval ships, with a few made-up rows that have the columns of their real data, and completions."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lm_eval.tasks
from lm_eval.tasks._index import TaskIndex
from lm_eval.tasks._yaml_loader import load_yaml

FOLDER = Path(lm_eval.tasks.__file__).parent

#: Problems of each task; each gets a completion of another kind.
PROBLEMS = 6

#: What is wrong with a completion, by the number of the problem that gets it.
KINDS = ("right", "wrong", "badly formatted", "empty", "right and going on", "nonsense")


@dataclass(frozen=True)
class Case:
    """A task of lm-eval.

    Attributes:
        name: of the task.
        path: of its file, in lm-eval's folder of tasks.
        shows: what of lm-eval's task files it is in the table for.
        row: of the data, by its number.
        right: a right completion, from a problem as the task prepares it.
        judged_by: the metric that is found.
        split: of the problems.
        further: rows of other splits, such as worked examples.
        metric: named by the user; None = found.
        also: rows of the split that the task leaves out.
    """

    name: str
    path: str
    shows: str
    row: Callable[[int], dict[str, Any]]
    right: Callable[[dict[str, Any]], str]
    judged_by: str
    split: str = "test"
    further: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    metric: str | None = None
    also: tuple[dict[str, Any], ...] = ()

    def rows(self) -> dict[str, list[dict[str, Any]]]:
        """All rows by split."""
        return {self.split: [*map(self.row, range(PROBLEMS)), *self.also], **self.further}

    def completions(self, docs: list[dict[str, Any]]) -> list[str]:
        """One completion for each problem, of the kinds in `KINDS`."""
        rights = [self.right(doc) for doc in docs]
        return [
            rights[0],
            rights[2],
            f"answer -> {rights[2].lower()[:-1]} or so",
            "",
            f"{rights[4]}\n\nQ: And 1 + 1?\nA: 3",
            "四十二 ∞ $$ \\frac{1}{ ((( [",
        ]


def index_of(*paths, **metadata):
    """lm-eval's manager that knows the tasks in these files only, as its index would: 14,000 of them take long."""
    manager = lm_eval.tasks.TaskManager(include_defaults=False, metadata=metadata)
    for path in paths:
        entry = TaskIndex.entry_from_path(path)
        entry.cfg = load_yaml(path, resolve_func=False)
        manager.task_index[entry.name] = entry
    return manager


def _word(i):
    return ("otter", "badger", "heron", "lynx", "marten", "stoat")[i]


def _sum(i):
    return {
        "question": f"Tom has {i} apples and buys 12. How many are there?",
        "answer": f"{i} + 12 = {i + 12}\n#### {i + 12}",
    }


def _letter(i):
    return "ABCDE"[i % 5]


def _options(i, count=4):
    return [f"{_word((i + shift) % 6)} {shift}" for shift in range(count)]


def _math(i):
    return {
        "problem": f"What is ${i} + 3$?",
        "level": "Level 5",
        "type": "Algebra",
        "solution": f"It is $\\boxed{{{i + 3}}}$.",
    }


def _final(doc):
    return f"Final Answer: The final answer is ${doc['answer']}$. I hope it is correct."


def _date():
    return {"day": "", "month": "", "year": ""}


def _squad(i, **others):
    text = _word(i)
    context = f"The animal in the garden is the {text}."
    answers = {"text": [text, f"the {text} there"], "answer_start": [27, 23]}
    return {"id": str(i), "title": "Garden", "context": context, "question": "Who?", "answers": answers, **others}


def _mmlu_pro(i, category="math"):
    return {
        "question_id": i,
        "question": f"Which one is number {i}?",
        "options": _options(i, 5),
        "answer": _letter(i),
        "answer_index": i % 5,
        "cot_content": f"A: Let's think step by step. We count. The answer is ({_letter(i)}).",
        "category": category,
        "src": "made-up",
    }


def _mmlu_prox(i):
    return {
        "question_id": i,
        "question": f"ما هو العدد {i}؟",
        **{f"option_{number}": f"خيار {number}" if number < 5 else None for number in range(10)},
        "answer": _letter(i),
        "answer_index": i % 5,
        "cot_content": f"ج: دعنا نفكر. الإجابة هي ({_letter(i)}).",
        "category": "math",
    }


def _bbq(i):
    return {
        "example_id": i,
        "category": "Age",
        "question_polarity": "neg",
        "context_condition": ("ambig", "disambig")[i % 2],
        "context": f"A grandfather and a grandson stood outside, day {i}.",
        "question": "Who was slow?",
        "ans0": "The grandfather",
        "ans1": "The grandson",
        "ans2": "Unknown",
        "answer_info": {
            "ans0": ["grandfather", "old"],
            "ans1": ["grandson", "nonOld"],
            "ans2": ["unknown", "unknown"],
        },
        "additional_metadata": {"subcategory": "None", "stereotyped_groups": ["old"], "version": "a", "source": "b"},
        "label": (2, 0, 1)[i % 3],
    }


CASES = [
    Case(
        "gsm8k_cot",
        "gsm8k/gsm8k-cot.yaml",
        "worked examples in the file, two filters",
        _sum,
        lambda doc: f"We add. The answer is {doc['answer'].split('####')[-1].strip()}.",
        "exact_match,strict-match",
    ),
    Case(
        "gsm8k_cot_self_consistency",
        "gsm8k/gsm8k-cot-self-consistency.yaml",
        "sampled 64 times, filters with votes (left out)",
        _sum,
        lambda doc: f"We add. The answer is {doc['answer'].split('####')[-1].strip()}.",
        "exact_match,score-first",
    ),
    Case(
        "gsm8k_platinum",
        "gsm8k_platinum/gsm8k-platinum.yaml",
        "worked examples from the problems themselves",
        _sum,
        lambda doc: doc["answer"],
        "exact_match,strict-match",
    ),
    Case(
        "asdiv_cot_llama",
        "asdiv/asdiv-cot-llama.yaml",
        "a metric named by the user",
        lambda i: {"body": f"Ann has {i} pens.", "question": "And two more?", "answer": f"{i + 12} (pens)"},
        lambda doc: f"She has {doc['answer'].split(' (')[0]}",
        "exact_match,flexible-extract",
        split="validation",
        metric="exact_match,flexible-extract",
    ),
    Case(
        "gpqa_diamond_cot_zeroshot",
        "gpqa/cot_zeroshot/gpqa_diamond_cot_zeroshot.yaml",
        "choices that are shuffled",
        lambda i: {
            "Question": f" Which animal is number {i}?",
            "Correct Answer": _word(i),
            **{f"Incorrect Answer {other}": _word((i + other) % 6) for other in (1, 2, 3)},
        },
        lambda doc: f"Let us see. The answer is {doc['answer']}.",
        "exact_match,strict-match",
        split="train",
    ),
    Case(
        "mmlu_pro_math",
        "mmlu_pro/mmlu_pro_math.yaml",
        "problems of one subject, worked examples of another split with a text of their own, a description",
        _mmlu_pro,
        lambda doc: f"We count. The answer is ({doc['answer']}).",
        "exact_match,custom-extract",
        further={"validation": [_mmlu_pro(i) for i in range(5)]},
        also=(_mmlu_pro(1, "law"),),
    ),
    Case(
        "mmlu_prox_ar_math",
        "mmlu_prox/ar/mmlu_prox_ar_math.yaml",
        "Arabic, columns without a value",
        _mmlu_prox,
        lambda doc: f"دعنا نفكر. الإجابة هي ({doc['answer']}).",
        "exact_match,custom-extract",
        further={"validation": [_mmlu_prox(i) for i in range(5)]},
    ),
    Case(
        "mmlu_abstract_algebra_generative",
        "mmlu/generative/mmlu_abstract_algebra.yaml",
        "four steps in a filter",
        lambda i: {"question": f"Number {i}?", "subject": "algebra", "choices": _options(i), "answer": i % 4},
        lambda doc: f" {'ABCD'[doc['answer']]}",
        "exact_match,get_response",
        further={"dev": [{"question": "One?", "subject": "algebra", "choices": _options(0), "answer": 0}]},
    ),
    Case(
        "mmlu_llama_anatomy",
        "llama3/instruct/mmlu/mmlu_anatomy.yaml",
        "an answer that the prompt begins, worked examples",
        lambda i: {"question": f"Bone {i}?", "subject": "anatomy", "choices": _options(i), "answer": i % 4},
        lambda doc: f" {'ABCD'[doc['answer']]}.",
        "exact_match,strict_match",
        further={
            "dev": [
                {"question": f"Bone {i + 9}?", "subject": "anatomy", "choices": _options(i), "answer": i % 4}
                for i in range(5)
            ]
        },
    ),
    Case(
        "arc_challenge_chat",
        "arc/arc_challenge_chat.yaml",
        "an answer that the prompt begins, nested columns",
        lambda i: {
            "id": str(i),
            "question": f"Which is number {i}?",
            "choices": {"text": _options(i), "label": list("ABCD")},
            "answerKey": "ABCD"[i % 4],
        },
        lambda doc: f" {doc['answerKey']}",
        "exact_match,remove_whitespace",
        further={
            "train": [
                {
                    "id": "t",
                    "question": "One?",
                    "choices": {"text": _options(1), "label": list("ABCD")},
                    "answerKey": "A",
                }
            ]
        },
    ),
    Case(
        "minerva_math_algebra",
        "minerva_math/minerva_math_algebra.yaml",
        "two metrics of a function, no filter",
        _math,
        _final,
        "exact_match,none",
    ),
    Case(
        "hendrycks_math_algebra",
        "hendrycks_math/hendrycks_math_algebra.yaml",
        "an answer computed from a column",
        _math,
        lambda doc: f"It is ${doc['answer']}$",
        "exact_match,none",
    ),
    Case(
        "leaderboard_math_algebra_hard",
        "leaderboard/math/math_algebra.yaml",
        "the Open LLM Leaderboard; problems of one level",
        _math,
        _final,
        "exact_match,none",
        also=(_math(2) | {"level": "Level 1"},),
    ),
    Case(
        "aime",
        "aime/aime.yaml",
        "problems in the split called train",
        lambda i: {"ID": f"2024-{i}", "Problem Number": i, "Question": f"What is {i} + 25?", "Answer": str(i + 25)},
        lambda doc: f"So it is $\\boxed{{{doc['Answer']}}}$.",
        "exact_match,none",
        split="train",
    ),
    Case(
        "agieval_math",
        "agieval/math.yaml",
        "a metric called acc",
        lambda i: {"query": f"Q: What is {i} + 1?\nA:", "answer": str(i + 1), "level": 1},
        lambda doc: doc["answer"],
        "acc,none",
    ),
    Case(
        "mgsm_en_cot_de",
        "mgsm/en_cot/mgsm_en_cot_de.yaml",
        "German, a column that is always empty",
        lambda i: {
            "question": f"Wie viel ist {i} + 12?",
            "answer": None,
            "answer_number": i + 12,
            "equation_solution": None,
        },
        lambda doc: f"We add. The answer is {doc['answer_number']}",
        "exact_match,strict-match",
    ),
    Case(
        "mgsm_direct_ja",
        "mgsm/direct/mgsm_direct_ja.yaml",
        "Japanese",
        lambda i: {
            "question": f"{i} と 12 を足すと",
            "answer": None,
            "answer_number": i + 12,
            "equation_solution": None,
        },
        lambda doc: f" {doc['answer_number']}",
        "exact_match,remove_whitespace",
    ),
    Case(
        "jfinqa_numerical",
        "jfinqa/jfinqa_numerical.yaml",
        "Japanese, tables, a metric with a tolerance",
        lambda i: {
            "id": str(i),
            "pre_text": ["売上高は次の通り。"],
            "table_headers": ["年", "円"],
            "table_rows": [["2020", "1"], ["2021", "2"]],
            "post_text": [],
            "question": f"{i} 年後は",
            "answer": f"{i + 2}.5%",
        },
        lambda doc: f"計算する。\n回答: {doc['answer']}",
        "exact_match,none",
    ),
    Case(
        "kormedmcqa_doctor",
        "kormedmcqa/doctor.yaml",
        "Korean, a filter of the task's own",
        lambda i: {"question": f"{i} 번?", **dict(zip("ABCDE", _options(i, 5), strict=True)), "answer": i % 5 + 1},
        lambda doc: f"정답: {'ABCDE'[doc['answer'] - 1]}",
        "exact_match,extract_answer",
        further={"fewshot": [{"question": "0?", **dict.fromkeys("ABCDE", "x"), "answer": 1}]},
    ),
    Case(
        "kmmlu_cot_hard_accounting",
        "kmmlu/cot_hard/kmmlu_cot_hard_accounting.yaml",
        "Korean, worked examples in the file",
        lambda i: {"question": f"{i} 번?", **dict(zip("ABCD", _options(i), strict=True)), "answer": i % 4 + 1},
        lambda doc: f"그래서 정답은 ({'ABCD'[doc['answer'] - 1]}) 입니다.",
        "exact_match,get-answer",
    ),
    Case(
        "turkishmmlu_cot_mathematics",
        "turkishmmlu/config_cot/Mathematics.yaml",
        "Turkish, worked examples in the description",
        lambda i: {"question": f"{i}. soru?", "choices": _options(i, 5), "answer": _letter(i)},
        lambda doc: f"Doğru cevap {doc['answer']} şıkkı.",  # noqa: RUF001
        "exact_match,get-answer",
        further={"dev": [{"question": "?", "choices": _options(0, 5), "answer": "A"}]},
    ),
    Case(
        "noridiom_nno_p0",
        "noreval/noridiom/nno/noridiom_nno_p0.yaml",
        "Norwegian, another name for the longest completion, two metrics",
        lambda i: {
            "idiom_start": f"Å ha ei {_word(i)} bak",
            "completion": _word(i),
            "accepted_completions": [_word(i), f"{_word(i)}en bak øyret"],
            "language": "nno",
        },
        lambda doc: doc["accepted_completions"][1],
        "em,none",
        also=({"idiom_start": "Å", "completion": "x", "accepted_completions": ["x"], "language": "nob"},),
    ),
    Case(
        "bbh_cot_fewshot_date_understanding",
        "bbh/cot_fewshot/date_understanding.yaml",
        "a description, worked examples in the file",
        lambda i: {"input": f"Today is day {i}. Options:\n(A) one\n(B) two", "target": f"({_letter(i)})"},
        lambda doc: f"We count. So the answer is {doc['target']}.",
        "exact_match,get-answer",
    ),
    Case(
        "bbh_cot_zeroshot_boolean_expressions",
        "bbh/cot_zeroshot/boolean_expressions.yaml",
        "two filters, the flexible one first",
        lambda i: {"input": f"not {i} is", "target": ("False", "True")[i % 2]},
        lambda doc: f"We think. The answer is {doc['target']}.",
        "exact_match,flexible-extract",
    ),
    Case(
        "bbh_zeroshot_word_sorting",
        "bbh/zeroshot/word_sorting.yaml",
        "a filter of the task's own beside one that keeps the whole text",
        lambda i: {
            "input": f"Sort the following words alphabetically: List: heron {_word(i)}",
            "target": " ".join(sorted(["heron", _word(i)])),
        },
        lambda doc: doc["target"],
        "exact_match,strict-match",
    ),
    Case(
        "drop",
        "drop/default.yaml",
        "exact match beside F1",
        lambda i: {
            "section_id": "s",
            "query_id": f"q{i}",
            "passage": f"There were {i + 12} herons.",
            "question": "How many?",
            "answer": {"number": str(i + 12), "date": _date(), "spans": [], "worker_id": "", "hit_id": ""},
            "validated_answers": {
                "number": ["", ""],
                "date": [_date(), _date()],
                "spans": [[f"{i + 12} herons"], [f"{i + 12}"]],
                "worker_id": ["", ""],
                "hit_id": ["", ""],
            },
        },
        lambda doc: doc["answers"][0][0],
        "em,none",
        split="validation",
    ),
    Case(
        "triviaqa",
        "triviaqa/default.yaml",
        "several targets",
        lambda i: {
            "question": f"Which animal is number {i}",
            "question_id": str(i),
            "answer": {"aliases": [_word(i).title(), f"the {_word(i)}"], "value": _word(i)},
        },
        lambda doc: doc["answer"]["aliases"][1].upper(),
        "exact_match,remove_whitespace",
        split="validation",
    ),
    Case(
        "nq_open",
        "nq_open/nq_open.yaml",
        "several targets, texts that are left out of the comparison",
        lambda i: {"question": f"which animal is number {i}", "answer": [_word(i), f"{_word(i)}s"]},
        lambda doc: f"The {doc['answer'][0]}",
        "exact_match,remove_whitespace",
        split="validation",
    ),
    Case(
        "mlqa_en_en",
        "mlqa/mlqa_en_en.yaml",
        "answers out of a text",
        _squad,
        lambda doc: doc["answers"][0],
        "exact_match,none",
    ),
    Case(
        "tydiqa_goldp_en",
        "tydiqa/tydiqa_goldp_en.yaml",
        "problems of one language",
        lambda i: _squad(i, id=f"english-{i}"),
        lambda doc: doc["answers"][0],
        "exact_match,none",
        split="validation",
        also=(_squad(0, id="finnish-0"),),
    ),
    Case(
        "french_bench_fquadv2",
        "french_bench/french_bench_fquadv2.yaml",
        "French, metrics that are functions",
        _squad,
        lambda doc: doc["answers"]["text"][0],
        "exact,none",
        further={"valid": [_squad(1)]},
    ),
    Case(
        "boolq-seq2seq",
        "super_glue/boolq/seq2seq.yaml",
        "a target that is a number of a choice",
        lambda i: {"question": f"is it {i}", "passage": f"It is {i}.", "idx": i, "label": i % 2},
        lambda doc: (" no", " yes")[doc["label"]],
        "exact_match,none",
        split="validation",
    ),
    Case(
        "super_glue-copa-t5-prompt",
        "super_glue/copa/t5-prompt.yaml",
        "choices by name",
        lambda i: {
            "premise": f"It was {i}.",
            "choice1": "It froze.",
            "choice2": "It rained.",
            "question": "effect",
            "idx": i,
            "label": i % 2,
        },
        lambda doc: f"choice{doc['label'] + 1}",
        "exact_match,none",
        split="validation",
    ),
    Case(
        "bbq_generate",
        "bbq/bbq_generate.yaml",
        "twenty-seven metrics, most over all problems with tuples for one",
        _bbq,
        lambda doc: f"It was {(doc['ans0'], doc['ans1'], 'unknown')[doc['label']]}",
        "acc,none",
    ),
    Case(
        "babilong_qa1",
        "babilong/babilong_qa1.yaml",
        "long contexts, a data set that the task makes",
        lambda i: {"input": f"Noise. Mary went to the {_word(i)}. ", "question": "Where is Mary? ", "target": _word(i)},
        lambda doc: f"The most recent location of Mary is {doc['target']}.",
        "acc,none",
        split="qa1",
    ),
    Case(
        "legalbench_abercrombie",
        "legalbench/abercrombie.yaml",
        "worked examples from another split",
        lambda i: {
            "text": f"The mark {_word(i)} for salt.",
            "answer": ("generic", "descriptive", "fanciful")[i % 3],
            "index": i,
        },
        lambda doc: doc["answer"].title(),
        "exact_match,get-answer",
        further={"train": [{"text": f"The mark {i}.", "answer": "arbitrary", "index": i} for i in range(5)]},
    ),
    Case(
        "logieval",
        "logiqa2/logieval.yaml",
        "no stop strings",
        lambda i: {"content": f"Passage {i}: Which?", "ideal": "ABCD"[i % 4]},
        lambda doc: f" {doc['ideal']}",
        "exact_match,get-answer",
        further={"train": [{"content": "Passage: Which?", "ideal": "B"}]},
    ),
    Case(
        "anagrams1",
        "unscramble/anagrams1.yaml",
        "lm-eval's defaults throughout",
        lambda i: {"context": f"Unscramble: {_word(i)[::-1]}", "completion": _word(i)},
        lambda doc: doc["completion"],
        "exact_match,none",
        split="validation",
    ),
    Case(
        "ifeval",
        "ifeval/ifeval.yaml",
        "metrics with a list for each problem",
        lambda i: {
            "key": i,
            "prompt": f"Write about {_word(i)}s without commas and with {i + 2} bullet points.",
            "instruction_id_list": ["punctuation:no_comma", "detectable_format:number_bullet_lists"],
            "kwargs": [{"num_bullets": None}, {"num_bullets": i + 2}],
        },
        lambda doc: "* more\n" * doc["kwargs"][1]["num_bullets"],
        "prompt_level_strict_acc,none",
        split="train",
    ),
]
