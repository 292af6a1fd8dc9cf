"""Reading the final number of a worked solution."""

import json
from decimal import Decimal

import pytest

from wise_merge.answers.numbers import read_number


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("She sells 9. #### 18", 18),
        ("#### -10", -10),
        ("#### 1,080,000", 1080000),
        ("The answer is 18. The end of 2 stories", 18),
        ("The answer is: $1,000.50", Decimal("1000.5")),
        ("the final answer is **42**", 42),
        (r"so we get \boxed{72} apples in 3 days", 72),
        (r"so we get \boxed{\$72}", 72),
        ("It takes 5 minutes and 12 seconds", 12),
        ("#### 3\n#### 4", 4),
        ("#### 18.00", 18),
        (r"\boxed{-\$5}", -5),
        (r"\boxed{1{,}000}", 1000),
        ("so 20-5", 5),
        ("it takes 3-4 days", 4),
        ("the numbers 1,2,3", 3),
        ("a loss of -7", -7),
        ("I do not know", None),
        ("", None),
        ("The answer is unclear. Maybe 3", 3),
    ],
)
def test_the_final_number_is_read(text, number):
    """Marked answers come before the last number of the text."""
    assert read_number(text) == number


def test_a_number_has_one_form_however_it_is_written():
    """Votes for 1,000, 1000 and $1000.00 are votes for one answer."""
    assert len({read_number(text) for text in ("#### 1,000", "1000", "The answer is $1000.00", "#### 1000.")}) == 1


def test_long_numbers_are_compared_to_the_last_digit():
    """35 digits are not rounded to the 28 of decimal's default."""
    assert read_number("#### 12345678901234567890123456789012345") != read_number(
        "#### 12345678901234567890123456789012346"
    )


@pytest.mark.parametrize("text", ["9" * 10**6, "#### " + "1," * 10**5, "1e" * 10**5, "-" * 10**6])
def test_endless_output_is_no_reason_to_hang(text):
    """A million characters are read in a moment."""
    read_number(text)


def test_every_gold_answer_of_gsm8k_is_read(shared_data):
    """All 1319 reference solutions end in #### and a number, some negative, some with commas."""
    for line in (shared_data / "gsm8k" / "test.jsonl").open():
        answer = json.loads(line)["answer"]
        gold = answer.split("####")[1].strip().replace(",", "")
        assert read_number(answer) == Decimal(gold)


def test_the_published_verdicts_on_real_completions_are_reproduced(shared_data):
    """All 5276 labels of four GPT-3 systems on GSM8K agree one by one, and so do the published accuracies."""
    correct = dict.fromkeys(("6b_finetuning", "6b_verification", "175b_finetuning", "175b_verification"), 0)
    rows = [json.loads(line) for line in (shared_data / "completions" / "gpt3_gsm8k.jsonl").open()]
    for row in rows:
        for model, completion, label in zip(row["models"], row["completions"], row["labels"], strict=True):
            verdict = read_number(completion) == read_number(row["answer"])
            assert verdict == bool(label), row["id"]
            correct[model] += verdict
    percent = {model: round(100 * count / len(rows), 2) for model, count in correct.items()}
    assert percent == {
        "6b_finetuning": 21.68,
        "6b_verification": 39.04,
        "175b_finetuning": 34.72,
        "175b_verification": 56.25,
    }
