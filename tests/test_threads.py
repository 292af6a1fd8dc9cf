"""A tiny model gets one thread, a big one keeps its own, and whoever has chosen a number keeps that."""

import pytest
import torch
from torch import nn

from wise_merge.kernels import threads
from wise_merge.kernels.threads import fitting


@pytest.fixture
def cores(monkeypatch):
    """A process with four cores and no wishes, in which torch has taken four threads; as before afterwards."""
    for name in threads.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


class Model(nn.Module):
    """A module with so many parameters, which take no memory."""

    def __init__(self, parameters, device="cpu"):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, device=device).expand(parameters))


def within(model):
    with fitting(model):
        return torch.get_num_threads()


@pytest.mark.usefixtures("cores")
def test_a_tiny_model_has_one_thread_and_afterwards_all_is_as_before():
    """Also after an error."""
    assert within(Model(threads.TINY - 1)) == 1
    assert torch.get_num_threads() == 4
    with pytest.raises(KeyError), fitting(Model(5)):
        raise KeyError
    assert torch.get_num_threads() == 4


@pytest.mark.usefixtures("cores")
def test_a_big_model_and_one_that_is_elsewhere_keep_their_threads():
    """From the bound on; on a device, the threads prepare what it computes."""
    assert within(Model(threads.TINY)) == 4
    assert within(Model(5, device="meta")) == 4


@pytest.mark.usefixtures("cores")
@pytest.mark.parametrize("name", threads.VARIABLES)
def test_a_variable_of_the_user_wins(name, monkeypatch):
    """Whatever it says; an empty one says nothing."""
    monkeypatch.setenv(name, "4")
    assert within(Model(5)) == 4
    monkeypatch.setenv(name, "")
    assert within(Model(5)) == 1


@pytest.mark.usefixtures("cores")
@pytest.mark.parametrize(("number", "left"), [(4, 1), (2, 1), (3, 3), (8, 8), (1, 1)])
def test_a_number_that_torch_does_not_take_by_itself_wins(number, left):
    """By itself it takes all cores, or half of them where two are one in truth."""
    torch.set_num_threads(number)
    assert within(Model(5)) == left


@pytest.mark.usefixtures("cores")
def test_all_that_runs_a_tiny_model_uses_one_thread(tiny_run, tmp_path, monkeypatch):
    """Sampling by hf-passk, reading for temperatures and for scores, and the training of the demo."""
    import json

    from click.testing import CliRunner
    from transformers import LlamaForCausalLM

    from wise_merge.cli import main
    from wise_merge.demo import tiny_model
    from wise_merge.verifiers import log_probability
    from wise_merge.verifiers.models import ModelOptions

    seen = set()
    forward = LlamaForCausalLM.forward

    def watched(self, *arguments, **options):
        seen.add(torch.get_num_threads())
        return forward(self, *arguments, **options)

    monkeypatch.setattr(LlamaForCausalLM, "forward", watched)
    late = tiny_run / "checkpoint-2"

    def sample():
        from lm_eval import simple_evaluate
        from lm_eval.tasks import TaskManager

        (tmp_path / "data.jsonl").write_text(json.dumps({"question": "1 + 1?", "answer": "#### 2"}) + "\n")
        simple_evaluate(
            model="hf-passk",
            model_args={"pretrained": str(late), "device": "cpu"},
            tasks=["gsm8k_passk"],
            num_fewshot=0,
            gen_kwargs={"max_gen_toks": 3},
            task_manager=TaskManager(
                include_defaults=False, metadata={"repeats": 2, "data_file": str(tmp_path / "data.jsonl")}
            ),
        )

    def calibrate():
        (tmp_path / "held-out.jsonl").write_text(json.dumps({"prompt": "a", "completion": "bcd"}) + "\n")
        options = ["--data", str(tmp_path / "held-out.jsonl"), "--device", "cpu"]
        done = CliRunner().invoke(main, ["fit", "temperature", str(tiny_run / "checkpoint-1"), str(late), *options])
        assert not isinstance(done.exception, AssertionError), done.output

    def score():
        log_probability.scorer(str(late), ModelOptions("cpu", "auto", 2, False), chat=False)("a", ["b", "c"])

    def train():
        from support.demo import SMALL

        tiny_model.train(SMALL, tmp_path / "demo")

    for run in (sample, calibrate, score, train):
        seen.clear()
        run()
        assert seen == {1}, run.__name__
        assert torch.get_num_threads() == 4
