"""Our tasks in lm-eval, answered by models that follow a script."""

from lm_eval import simple_evaluate
from lm_eval.api.model import LM
from lm_eval.tasks import TaskManager

from wise_merge.tasks import tasks_directory
from wise_merge.tasks.completion import Completion

from . import machine  # noqa: F401 - its import is what counts

#: What lm-eval's table and JSON call our one filter.
FILTER = "samples"


class Scripted(LM):
    """A model that answers a prompt with the next of the completions that `script` gives for it."""

    def __init__(self, script):
        super().__init__()
        self.script, self.calls, self.requests = script, {}, []

    def generate_until(self, requests, disable_tqdm=False):
        answers = []
        for request in requests:
            prompt, settings = request.args
            turn = self.calls[prompt] = self.calls.get(prompt, -1) + 1
            self.requests.append((prompt, settings))
            answers.append(self.script(prompt)[turn])
        return answers

    def loglikelihood(self, requests, disable_tqdm=False):
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


def evaluate(model, task="countdown_passk", *, gen_kwargs=None, **metadata):
    """Run one task of ours in lm-eval, without indexing its own 14,000."""
    manager = TaskManager(include_defaults=False, include_path=tasks_directory(), metadata=metadata)
    results = simple_evaluate(model, tasks=[task], task_manager=manager, gen_kwargs=gen_kwargs, bootstrap_iters=10)
    return results["results"][task], results


def values(scores):
    """The metrics of the table, without filter name and standard errors."""
    metrics = {key.split(",")[0]: value for key, value in scores.items() if f",{FILTER}" in key and "stderr" not in key}
    return {name: value for name, value in metrics.items() if name not in ("curve", "audit")}


class ScriptedTokens(Scripted):
    """A model whose tokens are words."""

    def tok_encode(self, string, add_special_tokens=None):
        return list(range(len(string.split())))


class Telling(ScriptedTokens):
    """A model that says how each completion was drawn: the script gives (text, finish reason, log-probability)."""

    def generate_until(self, requests, disable_tqdm=False):
        return [
            Completion(text, finish_reason=reason, tokens=len(text), logprob=logprob, seed=seed)
            for seed, (text, reason, logprob) in enumerate(super().generate_until(requests))
        ]
