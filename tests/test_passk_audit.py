"""What is counted about the completions of an evaluation."""

from wise_merge.passk_task.audit import describe, facts, summary


def words(text):
    return len(text.split())


def count(*completions, answered=0, received=None, prompt_cut=False, token_count=words):
    return facts(
        completions,
        answered=answered,
        received=received or len(completions),
        prompt_cut=prompt_cut,
        max_tokens=3,
        token_count=token_count,
    )


def test_facts_of_one_problem():
    """Different texts, answers, and completions that reach the limit of three words."""
    assert count("a b c", "a b c", "a b", "", answered=3, received=8) == {
        "n": 4,
        "received": 8,
        "distinct": 3,
        "answered": 3,
        "prompt_cut": False,
        "cut_off": 2,
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
