"""What surrounds the drawing of samples: K references to a request, seeds, the journal."""

import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import CacheHook

from wise_merge.errors import WiseMergeError
from wise_merge.hosts.lm_eval.messages import TaskInputError
from wise_merge.sampling import seeds
from wise_merge.sampling.sampler import Sampler
from wise_merge.tasks.completion import Completion

SAMPLED = {"do_sample": True, "temperature": 1.0, "until": ["\n"], "max_gen_toks": 8}
GREEDY = {"do_sample": False, "until": ["\n"]}


class Written(Sampler):
    """Draws texts that say which sample they are, up to a number of them; remembers what it was asked for."""

    def __init__(self, journal=None, seed=None, *, until=None, weights="one"):
        self._set_journal_and_seed(journal, seed)
        self.rank, self.world_size, self.cache_hook = 0, 1, CacheHook(None)
        self.until, self.weights, self.drawn = until, weights, []

    def _identity(self):
        return {"weights": self.weights, "name": "written"}

    def _draw(self, pending, deliver):
        for problem in pending:
            for index in problem.missing:
                if len(self.drawn) == self.until:
                    raise WiseMergeError("out of ink")
                seed = seeds.sample_seed(problem.seed, index)
                self.drawn.append((problem.task, problem.prompt, index))
                text = f"{problem.prompt} {index} {seed} {problem.settings['until']}"
                deliver(problem, index, Completion(text, finish_reason="stop", tokens=2, logprob=-0.5, seed=seed))


def request(prompt, *, task="t", repeats=3, settings=None, doc_id=0):
    return Instance("generate_until", {"question": prompt}, (prompt, settings or SAMPLED), 0, (task, doc_id, repeats))


def clones(*requests):
    return [one for one in requests for _ in range(one.repeats)]


def test_k_references_to_a_request_get_k_samples_in_order():
    """Each of its own index and seed, wherever the references stand."""
    first, second = request("a"), request("b")
    model = Written(seed=5)
    completions = model.generate_until([first, second, first, second, first, second])
    assert [text.split()[:2] for text in completions] == [[p, str(i)] for i in range(3) for p in "ab"]
    assert [completion.seed for completion in completions[::2]] == [
        seeds.problem_seed(5, "t", "a") + i for i in (0, 1, 2)
    ]
    assert len(model.drawn) == 6


def test_samples_do_not_depend_on_what_else_is_asked_for():
    """Neither on other problems nor on the order nor on K."""
    alone = Written(seed=5).generate_until(clones(request("b", repeats=2)))
    among = Written(seed=5).generate_until(clones(request("c"), request("b"), request("a")))
    assert alone == among[3:5]


def test_the_run_seed_is_lm_evals_unless_given():
    """lm-eval seeds torch with --seed; a seed in model_args wins."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        assert Written().generate_until(clones(request("a"))) == Written(seed=7).generate_until(clones(request("a")))
        assert Written().generate_until(clones(request("a"))) != Written(seed=8).generate_until(clones(request("a")))


def test_padding_draws_nothing_more():
    """lm-eval repeats the last request of a short rank: these references get the samples that are there."""
    padded = request("a")
    model = Written(seed=5)
    completions = model.generate_until([padded] * 6)
    assert completions[:3] == completions[3:]
    assert len(model.drawn) == 3


def test_greedy_completions_are_drawn_once():
    """All references get the one there is."""
    model = Written()
    completions = model.generate_until(clones(request("a", settings=GREEDY)))
    assert len(set(completions)) == len(model.drawn) == 1


def test_equal_prompts_of_a_task_are_one_problem(caplog):
    """Two rows of one prompt get the same samples, so that these do not depend on who draws which row; it is said."""
    model = Written()
    completions = model.generate_until(clones(request("a"), request("a", doc_id=1), request("a", task="u")))
    assert completions[:3] == completions[3:6]
    assert not set(completions[:3]) & set(completions[6:])
    assert len(model.drawn) == 6
    assert "1 problems have the prompt of another one" in caplog.text


def test_settings_keep_problems_apart():
    """One prompt at two temperatures is two problems, of one seed: common random numbers."""
    hot = {**SAMPLED, "temperature": 2.0}
    model = Written()
    completions = model.generate_until(clones(request("a"), request("a", settings=hot)))
    assert len(model.drawn) == 6
    assert [completion.seed for completion in completions[:3]] == [completion.seed for completion in completions[3:]]


def test_a_rerun_draws_only_what_is_missing(tmp_path):
    """Stopped half way, then more problems, then a larger K: nothing is drawn twice."""
    requests = clones(request("a"), request("b"))
    stopped = Written(tmp_path, 5, until=4)
    with pytest.raises(TaskInputError, match="out of ink"):
        stopped.generate_until(requests)
    resumed = Written(tmp_path, 5)
    assert resumed.generate_until(requests) == Written(seed=5).generate_until(requests)
    assert resumed.drawn == [("t", "b", 1), ("t", "b", 2)]
    grown = Written(tmp_path, 5)
    more = clones(request("c", repeats=5), request("b", repeats=5))
    completions = grown.generate_until(more)
    assert completions == Written(seed=5).generate_until(more)
    assert sorted(grown.drawn) == [("t", "b", 3), ("t", "b", 4), *[("t", "c", i) for i in range(5)]]
    assert [(c.finish_reason, c.tokens, c.logprob, c.seed) for c in completions] == [
        (c.finish_reason, c.tokens, c.logprob, c.seed) for c in Written(seed=5).generate_until(more)
    ]


@pytest.mark.parametrize(
    ("changes", "settings"),
    [({"weights": "two"}, SAMPLED), ({"seed": 6}, SAMPLED), ({}, {**SAMPLED, "temperature": 0.5})],
    ids=["model", "seed", "temperature"],
)
def test_samples_of_something_else_are_never_taken(tmp_path, changes, settings):
    """Another model, another seed or other settings start from nothing in the same folder."""
    Written(tmp_path, 5).generate_until(clones(request("a")))
    other = Written(**{"journal": tmp_path, "seed": 5, **changes})
    other.generate_until(clones(request("a", settings=settings)))
    assert len(other.drawn) == 3
    again = Written(tmp_path, 5)
    again.generate_until(clones(request("a")))
    assert again.drawn == []


def test_greedy_completions_are_found_under_any_seed(tmp_path):
    """They depend on none."""
    Written(tmp_path, 5).generate_until(clones(request("a", settings=GREEDY)))
    again = Written(tmp_path, 6)
    again.generate_until(clones(request("a", settings=GREEDY)))
    assert again.drawn == []


def test_a_second_process_on_a_journal_is_refused(tmp_path):
    """While the first one draws; afterwards all is there."""
    requests = clones(request("a"))

    class Nested(Written):
        def _draw(self, pending, deliver):
            with pytest.raises(TaskInputError, match=str(tmp_path)):
                Written(tmp_path, 5).generate_until(requests)
            super()._draw(pending, deliver)

    Nested(tmp_path, 5).generate_until(requests)
    assert len(Written(tmp_path, 5).generate_until(requests)) == 3


@pytest.mark.parametrize(
    ("arguments", "message"), [({"seed": "x"}, "seed must be an integer"), ({"journal": __file__}, "that is a file")]
)
def test_arguments_that_make_no_sense_are_refused_at_once(arguments, message):
    """Before a model is loaded."""
    with pytest.raises(TaskInputError, match=message):
        Written(**arguments)


def test_progress_shows_what_was_found(tmp_path, capsys):
    """Samples done of all, tokens per second, and what came from the journal."""
    with pytest.raises(TaskInputError):
        Written(tmp_path, 5, until=2).generate_until(clones(request("a")))
    capsys.readouterr()
    Written(tmp_path, 5).generate_until(clones(request("a")))
    shown = capsys.readouterr().err
    assert "3/3" in shown
    assert "2 from the journal" in shown
    assert "tokens/s" in shown
