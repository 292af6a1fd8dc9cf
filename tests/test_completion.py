"""A completion that is a text and knows how it was drawn."""

import copy
import json
import pickle

from wise_merge.tasks.completion import Completion


def test_a_completion_is_its_text():
    """Wherever a text is expected: equality, sets, JSON."""
    completion = Completion("18", finish_reason="stop", tokens=3, logprob=-0.5, seed=7)
    assert completion == "18"
    assert len({completion, "18"}) == 1
    assert json.dumps([completion]) == '["18"]'


def test_a_completion_keeps_what_it_knows_between_processes():
    """Pickled or copied, it knows the same."""
    completion = Completion("18", finish_reason="length", tokens=3, logprob=None, seed=7)
    for other in (pickle.loads(pickle.dumps(completion)), copy.deepcopy(completion)):
        assert other == "18"
        assert (other.finish_reason, other.tokens, other.logprob, other.seed) == ("length", 3, None, 7)


def test_a_text_can_be_made_of_its_class():
    """As lm-eval does with the target of a task before it compares the two."""
    completion = Completion("18", finish_reason="stop", tokens=3, logprob=-0.5, seed=7)
    assert type(completion)("18") == completion
    assert type(completion)(18) == "18"
