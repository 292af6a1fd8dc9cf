"""What is counted about the completions of an evaluation."""

from wise_merge.tasks.audit import counts_of, describe, sampling_details, summary
from wise_merge.tasks.completion import Completion


def words(text):
    return len(text.split())


def count(*completions, answered=0, received=None, prompt_cut=False, token_count=words):
    return counts_of(
        completions,
        answered=answered,
        received=received or len(completions),
        prompt_cut=prompt_cut,
        max_tokens=3,
        token_count=token_count,
    )


def told_of(text, reason="stop", logprob=-0.5):
    """A completion that tells how it was drawn."""
    return Completion(text, finish_reason=reason, tokens=len(text), logprob=logprob, seed=1)


def test_facts_of_one_problem():
    """Different texts, answers, and completions that reach the limit of three words."""
    assert count("a b c", "a b c", "a b", "", answered=3, received=8) == {
        "n": 4,
        "received": 8,
        "distinct": 3,
        "answered": 3,
        "prompt_cut": False,
        "cut_off": 2,
        "cut_off_exact": False,
    }


def test_facts_add_up_to_shares_of_all_completions():
    """Two problems of three completions: counted by hand."""
    problems = [count("a", "a", "a", answered=3), count("a b c", "b", "b", answered=1, received=6)]
    assert summary(problems) == {
        "problems": 2,
        "n": 3,
        "padded": 1,
        "identical": 1,
        "cut_prompts": 0,
        "repeated": 3 / 6,
        "unanswered": 2 / 6,
        "cut_off": 1 / 6,
        "cut_off_exact": False,
    }


def test_one_completion_is_no_copy():
    """Greedy decoding has nothing to be equal to."""
    assert summary([count("a"), count("a")])["identical"] == 0


def test_what_one_problem_does_not_know_nobody_knows():
    """A share of some completions would pass for one of all."""
    problems = [count("a b c"), count("a", prompt_cut=None, token_count=lambda text: None)]
    assert summary(problems)["cut_off"] is None
    assert summary(problems)["cut_prompts"] is None
    assert "unknown how many" in describe("task", summary(problems), 3)


def test_the_block_says_everything():
    """One line per question, and a line for padding or cut prompts only if there were any."""
    problems = [count("a", "a", "a", answered=3, prompt_cut=True), count("a b c", "b", "b", answered=1, received=6)]
    assert describe("task", summary(problems), 3).splitlines() == [
        "Audit of task: 2 problems, 3 completions of each",
        "  identical   all 3 in 1 problems; 50.0% repeat an earlier one of their problem",
        "  no answer   33.3%",
        "  cut off     at max_gen_toks=3: at least 16.7%, counted by tokenising the texts again",
        "  cut prompts 1, at their beginning, to leave room for completions",
        "  padded      1 problems got more; only the first 3 count",
    ]
    assert len(describe("task", summary([count("a")]), 3).splitlines()) == 3


def test_what_completions_tell_is_exact():
    """Their ends count, not their lengths: a short text may have been cut, and a long one may have ended."""

    def never(text):
        raise AssertionError(text)

    problem = count(told_of("a", "length"), told_of("a b c"), told_of("a b c", "length"), token_count=never)
    assert (problem["cut_off"], problem["cut_off_exact"]) == (2, True)
    figures = summary([problem, count(told_of("a"), told_of("b"), told_of("c"))])
    assert (figures["cut_off"], figures["cut_off_exact"]) == (2 / 6, True)
    assert "  cut off     at max_gen_toks=3: exactly 33.3%, as the model says of each" in describe("task", figures, 3)


def test_a_sum_of_exact_counts_and_bounds_is_a_bound():
    """One problem of plain texts is enough, and so is one text among completions that tell."""
    exact = count(told_of("a", "length"))
    assert summary([exact, count("a b c")])["cut_off_exact"] is False
    assert summary([exact, count("a b c")])["cut_off"] == 1.0
    assert count(told_of("a", "length"), "b")["cut_off"] == 0
    assert count(told_of("a", "length"), "b")["cut_off_exact"] is False


def test_what_is_logged_is_json():
    """Parallel lists; a log-probability that is unknown or no number is null; plain texts have none."""
    completions = [told_of("ab"), told_of("c", "length", None), told_of("d", logprob=float("-inf"))]
    assert sampling_details(completions) == {
        "finish_reason": ["stop", "length", "stop"],
        "tokens": [2, 1, 1],
        "logprob": [-0.5, None, None],
    }
    assert sampling_details(["ab", *completions]) == sampling_details([]) == {}
