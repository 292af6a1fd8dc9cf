"""What drawing K samples costs through a task made from one of lm-eval's, beside our own task, in the same run.

Both get the same problems, prompts, stop strings and settings, and so the same samples; what differs is who judges
these: two filters and metrics of lm-eval (those of its `gsm8k_cot`), or our judge of GSM8K. Whole evaluations with
`hf-passk` on a small random Llama, one thread, by turns. The drawing is one code for both, so its time differs by
noise alone; all the rest of an evaluation is timed apart, and the second ratio has the same drawing on both sides.
"""

import json
import logging
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

from sampling import checkpoint, seconds

ROUNDS = 5
SAMPLES = 32
VOCABULARY = 4096
OURS, BASE = "gsm8k_passk", "gsm8k_as_ours"

#: The prompt and stop string of `gsm8k_passk`, filters and metric of lm-eval's `gsm8k_cot`.
TASK = r"""
task: gsm8k_as_ours
dataset_path: json
output_type: generate_until
test_split: test
doc_to_text: "Question: {{question}}\nAnswer:"
doc_to_target: "{{answer.split('####')[-1].strip()}}"
generation_kwargs: {until: ["Question:"], do_sample: false}
filter_list:
  - name: strict-match
    filter: [{function: regex, regex_pattern: 'The answer is (\-?[0-9\.\,]+).'}, {function: take_first}]
  - name: flexible-extract
    filter:
      - {function: regex, group_select: -1, regex_pattern: '(-?[$0-9.,]{2,})|(-?[0-9]+)'}
      - {function: take_first}
metric_list:
  - metric: exact_match
    aggregation: mean
    higher_is_better: true
    ignore_case: true
    ignore_punctuation: false
    regexes_to_ignore: [',', '\$', '(?s).*#### ', '\.$']
"""


def problems(path: Path, count: int, words: int) -> None:
    """Write problems of so many words."""
    rng = random.Random(f"{count} {words}")
    rows = []
    for number in range(count):
        question = " ".join(f"w{rng.randrange(2, VOCABULARY)}" for _ in range(words))
        rows.append({"question": question, "answer": f"It is so. #### {number}"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def evaluation(model: Any, task: str, manager: Any, new: int) -> dict[str, Any]:
    """Return the figures of an evaluation."""
    from lm_eval import simple_evaluate

    found = simple_evaluate(
        model=model,
        tasks=[task],
        task_manager=manager,
        num_fewshot=0,
        gen_kwargs={"max_gen_toks": new},
        bootstrap_iters=0,
        log_samples=False,
        verbosity="ERROR",
    )
    return dict(found["results"][task])


def compare(folder: Path, model: Any, case: tuple[str, int, int, int]) -> None:
    """Print one line: our own task's time, the converted one's, and the ratio."""
    from lm_eval.tasks import TaskManager

    name, count, words, new = case
    problems(folder / "problems.jsonl", count, words)
    manager = TaskManager(
        include_defaults=False,
        include_path=[str(folder / "tasks")],
        metadata={"data_file": str(folder / "problems.jsonl"), "repeats": SAMPLES},
    )
    times: dict[str, list[float]] = {OURS: [], f"{BASE}_passk": []}
    rest: dict[str, list[float]] = {task: [] for task in times}
    draw = model.generate_until
    drawing: list[float] = []

    def timed(requests: Any, disable_tqdm: bool = False) -> Any:
        found: list[Any] = []
        drawing.append(seconds(lambda: found.append(draw(requests, disable_tqdm=True))))
        return found[0]

    model.generate_until = timed
    figures = {task: evaluation(model, task, manager, new) for task in times}
    if len({json.dumps([found["cut_off,samples"], found["identical,samples"]]) for found in figures.values()}) > 1:
        raise SystemExit(f"the samples differ: {figures}")
    for number in range(ROUNDS):
        for task in list(times)[:: 1 if number % 2 else -1]:
            times[task].append(seconds(lambda task=task: evaluation(model, task, manager, new)))
            rest[task].append(times[task][-1] - drawing[-1])
    model.generate_until = draw
    own, converted = (statistics.median(taken) for taken in times.values())
    ours, theirs = (statistics.median(taken) for taken in rest.values())
    drawn = statistics.median(drawing)
    print(
        f"{name:40}{own:8.2f} s{converted:9.2f} s{converted / own:8.3f}"
        f"{ours:10.3f} s{theirs:10.3f} s{(drawn + theirs) / (drawn + ours):8.3f}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    import torch

    from wise_merge.sampling import seeds
    from wise_merge.sampling.hf import HFPassK

    # The name of the task takes part in the seeds of its samples.
    of_task = seeds.problem_seed
    seeds.problem_seed = lambda run_seed, task, prompt: of_task(run_seed, "", prompt)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "tasks").mkdir()
        (folder / "tasks" / f"{BASE}.yaml").write_text(TASK)
        logging.disable(logging.WARNING)
        model = HFPassK(
            pretrained=str(checkpoint(folder / "model", VOCABULARY)), device="cpu", dtype="float32", batch_size=64
        )
        print(f"{'':40}{'whole evaluations':>29}{'without the drawing':>32}")
        heads = f"{'ours':>10}{'converted':>11}{'ratio':>8}{'ours':>12}{'converted':>12}{'ratio':>8}"
        print(f"{f'{SAMPLES} samples of each problem':40}{heads}")
        for case in [
            ("8 prompts of 16 words, 64 new tokens", 8, 16, 64),
            ("8 prompts of 512 words, 64 new tokens", 8, 512, 64),
        ]:
            compare(folder, model, case)


if __name__ == "__main__":
    main()
