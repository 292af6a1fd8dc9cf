"""Early checkpoints under the real Trainer and SFTTrainer: what is kept and where, and that nothing tears it."""

import itertools
import json
import os
import random
import signal
import time
from types import SimpleNamespace

import pytest
from support.checkpoints import character_tokenizer, make_checkpoint, tiny_llama

from wise_merge.checkpoints.runs import find_checkpoints
from wise_merge.errors import WiseMergeError
from wise_merge.training import KeepEarlyCheckpoints
from wise_merge.training.early_checkpoints import early_steps, keep_checkpoint

TEXTS = [f"{a} + {b} = {a + b}" for a in range(4) for b in range(4)]


def make_model():
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(tiny_llama())


def train(output, *, steps=6, keep=(2, 4), resume=None, callback=None, **settings):
    """One run of the Trainer over 16 rows, two per step; the callback keeps the given steps."""
    from transformers import Trainer, TrainingArguments

    tokenizer = character_tokenizer()
    rows = [{"input_ids": ids, "labels": ids} for ids in tokenizer(TEXTS)["input_ids"]]
    defaults = {"save_strategy": "steps", "save_steps": 3, "save_total_limit": 1, "logging_steps": 1}
    trainer = Trainer(
        model=make_model(),
        args=TrainingArguments(
            output_dir=str(output),
            max_steps=steps,
            per_device_train_batch_size=2,
            learning_rate=1e-2,
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            **{**defaults, **settings},
        ),
        train_dataset=rows,
        eval_dataset=rows[:2],
        processing_class=tokenizer,
        callbacks=[callback or KeepEarlyCheckpoints(steps=keep)],
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def folders(output):
    return sorted(path.name for path in output.glob("checkpoint-*"))


def index(output):
    return json.loads((output / "early" / "checkpoints.json").read_text())["checkpoints"]


def weights(folder):
    from safetensors.torch import load_file

    return load_file(next(folder.glob("*model.safetensors")))


def equal(a, b):
    return a.keys() == b.keys() and all((a[name] == b[name]).all() for name in a)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that keeps steps 2 and 4, while the Trainer itself keeps only its last checkpoint."""
    output = tmp_path_factory.mktemp("run")
    train(output)
    return output


def test_the_steps_are_dense_at_first_then_geometric():
    """25, 50, 100, 200, ...; a small ratio never names a step twice."""
    assert early_steps(25, 2, last=1000) == [25, 50, 100, 200, 400, 800]
    assert early_steps(1, 1.3, last=8) == [1, 2, 3, 4, 5, 6, 8]
    assert early_steps(25, 2, last=24) == []


def test_the_limit_deletes_the_trainers_checkpoints_and_not_the_early_ones(run):
    """With save_total_limit=1 the Trainer is left with its last; early/ has both that were wanted."""
    assert folders(run) == ["checkpoint-6"]
    assert folders(run / "early") == ["checkpoint-2", "checkpoint-4"]


def test_without_the_callback_the_early_checkpoints_are_lost(tmp_path):
    """Negative control: the same run without it keeps the last checkpoint only."""
    train(tmp_path, keep=(99,))
    assert folders(tmp_path) == ["checkpoint-6"]
    assert not (tmp_path / "early").exists()


def test_the_early_checkpoint_is_the_model_at_that_step(run, tmp_path):
    """It equals, bit for bit, what a Trainer that stops there ends with, and loads with its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    trainer = train(tmp_path, steps=2, keep=(99,), lr_scheduler_type="constant")
    train(tmp_path / "long", lr_scheduler_type="constant")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "long/early/checkpoint-2")
    assert equal(model.state_dict(), trainer.model.state_dict())
    tokenizer = AutoTokenizer.from_pretrained(run / "early/checkpoint-2")
    assert tokenizer.decode(tokenizer(TEXTS[0])["input_ids"]) == TEXTS[0]


def test_the_model_is_kept_and_what_only_resumes_is_not(run):
    """Weights, configurations, tokenizer and trainer_state.json; no optimizer, scheduler or random state, no pickle."""
    names = {path.name for path in (run / "early/checkpoint-4").iterdir()}
    resuming = {"optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"}
    assert {path.name for path in (run / "checkpoint-6").iterdir()} == names | resuming
    assert {"model.safetensors", "config.json", "generation_config.json", "trainer_state.json"} <= names
    assert {"tokenizer.json", "tokenizer_config.json"} <= names


def test_the_index_says_what_the_log_says(run):
    """Step, epoch and loss are those that the run logged at that step."""
    log = {
        entry["step"]: entry
        for entry in json.loads((run / "checkpoint-6/trainer_state.json").read_text())["log_history"]
    }
    expected = [
        {"step": step, "epoch": log[step]["epoch"], "loss": log[step]["loss"], "path": f"checkpoint-{step}"}
        for step in (2, 4)
    ]
    assert index(run) == expected


def test_a_run_without_a_log_has_no_loss(tmp_path):
    """null, not NaN and not 0."""
    train(tmp_path, steps=2, logging_strategy="no")
    assert [entry["loss"] for entry in index(tmp_path)] == [None]


def test_wise_merge_checkpoints_finds_them(run):
    """The command's reader lists early and late of one run, all whole."""
    found = find_checkpoints(run)
    assert [(c.step, c.problem) for c in found] == [(2, None), (4, None), (6, None)]
    assert found[0].path == run / "early/checkpoint-2"


def test_weights_are_linked_and_other_files_copied(tmp_path):
    """The same step in both places costs its weights once; files that the Trainer rewrites in place are apart."""
    train(tmp_path, steps=2, save_total_limit=None)
    kept, saved = tmp_path / "early/checkpoint-2", tmp_path / "checkpoint-2"
    assert (kept / "model.safetensors").samefile(saved / "model.safetensors")
    assert not (kept / "trainer_state.json").samefile(saved / "trainer_state.json")


def test_where_links_are_impossible_the_files_are_copied(run, tmp_path, monkeypatch):
    """A file system that refuses a link, as some network disks do, costs space and nothing else."""

    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    kept = keep_checkpoint(run / "checkpoint-6", tmp_path)
    assert equal(weights(kept), weights(run / "checkpoint-6"))
    assert not (kept / "model.safetensors").samefile(run / "checkpoint-6/model.safetensors")


@pytest.mark.parametrize(
    ("settings", "left"),
    [
        ({"save_strategy": "no"}, ["checkpoint-4"]),
        ({"save_strategy": "epoch"}, ["checkpoint-8"]),
        ({"save_strategy": "steps", "save_steps": 2}, ["checkpoint-8"]),
        ({"save_only_model": True, "save_on_each_node": True}, ["checkpoint-8"]),
    ],
    ids=["no", "epoch", "same steps", "model only"],
)
def test_every_way_of_saving_keeps_them(settings, left, tmp_path):
    """The Trainer's own strategy decides over its own folders only."""
    train(tmp_path, steps=8, **settings)
    assert folders(tmp_path) == left
    assert folders(tmp_path / "early") == ["checkpoint-2", "checkpoint-4"]
    assert [entry["step"] for entry in index(tmp_path)] == [2, 4]


def test_the_best_model_is_still_loaded_at_the_end(tmp_path):
    """Saving between two evaluations disturbs neither the choice of the best nor its survival."""
    trainer = train(
        tmp_path, steps=8, keep=(1, 3), save_steps=2, eval_strategy="steps", eval_steps=2, load_best_model_at_end=True
    )
    best = min((e["eval_loss"], e["step"]) for e in trainer.state.log_history if "eval_loss" in e)[1]
    assert trainer.state.best_model_checkpoint == str(tmp_path / f"checkpoint-{best}")
    assert folders(tmp_path / "early") == ["checkpoint-1", "checkpoint-3"]
    assert equal(
        weights(tmp_path / f"checkpoint-{best}"), trainer.model.state_dict() | weights(tmp_path / f"checkpoint-{best}")
    )


def test_a_save_that_the_trainer_overrules_is_made_up_at_the_next_step(tmp_path):
    """With save_strategy="best" a step that evaluates without a new best is not saved; the next one is."""
    train(
        tmp_path,
        steps=6,
        keep=(4,),
        save_strategy="best",
        eval_strategy="steps",
        eval_steps=2,
        metric_for_best_model="loss",
        greater_is_better=True,  # the loss falls, so the first evaluation stays the best
    )
    assert [entry["step"] for entry in index(tmp_path)] == [5]


def test_a_resumed_run_keeps_the_early_ones_and_goes_on(tmp_path):
    """Killed after step 4 and resumed from there, it ends with what an undisturbed run has."""
    train(tmp_path / "whole", steps=8, keep=(1, 2, 5))
    train(tmp_path / "cut", steps=4, keep=(1, 2, 5), save_steps=4)
    (tmp_path / "cut/early/checkpoints.json").unlink()
    (tmp_path / "cut/early/partial-checkpoint-5").mkdir()
    (tmp_path / "cut/early/checkpoint-2").rename(tmp_path / "cut/early/old-checkpoint-2")
    train(tmp_path / "cut", steps=8, keep=(1, 2, 5), resume=True)
    assert [entry["step"] for entry in index(tmp_path / "cut")] == [1, 2, 5]
    assert sorted(path.name for path in (tmp_path / "cut/early").iterdir()) == sorted(
        ["checkpoint-1", "checkpoint-2", "checkpoint-5", "checkpoints.json"]
    )


def test_a_step_that_comes_again_is_replaced_whole(tmp_path):
    """Resumed from before an early checkpoint, the run's new one takes its place; the old file is not written into."""
    train(tmp_path, steps=4, keep=(4,), save_steps=2, save_total_limit=None)
    old = (tmp_path / "early/checkpoint-4/model.safetensors").open("rb")
    before = old.read()
    train(
        tmp_path, steps=4, keep=(4,), save_steps=2, save_total_limit=None, max_grad_norm=1e-3,
        resume=str(tmp_path / "checkpoint-2"),
    )  # fmt: skip
    assert (tmp_path / "early/checkpoint-4/model.safetensors").read_bytes() != before
    assert equal(weights(tmp_path / "early/checkpoint-4"), weights(tmp_path / "checkpoint-4"))
    old.seek(0)
    assert old.read() == before
    old.close()


def test_a_new_run_does_not_mix_with_the_early_checkpoints_of_an_old_one(run):
    """From step 0 into a folder that has some: refused before a step is made, and nothing is touched."""
    with pytest.raises(WiseMergeError, match=r"checkpoint-2, checkpoint-4 of an earlier run.*resume"):
        train(run)
    assert folders(run / "early") == ["checkpoint-2", "checkpoint-4"]


def test_a_kill_never_leaves_half_a_checkpoint(run, tmp_path):
    """Killed at random moments while two checkpoints replace each other, what is there is one of them, whole."""
    files = {path.name for path in (run / "early/checkpoint-4").iterdir()}
    sources = [
        make_copy(run / "early/checkpoint-2", tmp_path / "a"),
        make_copy(run / "early/checkpoint-4", tmp_path / "b"),
    ]
    early = tmp_path / "early"
    rng = random.Random(0)
    seen = set()
    kills = 0
    while kills < 20 or (seen != {0, 1} and kills < 200):
        kills += 1
        child, both = replace_each_other(sources, early)
        time.sleep(rng.uniform(0, 2) * both)
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL  # what a killed one left stops no other
        for kept in early.glob("checkpoint-*"):
            assert {path.name for path in kept.iterdir()} == files
            seen.add(next(i for i, source in enumerate(sources) if equal(weights(kept), weights(source))))
        if (early / "checkpoints.json").exists():
            json.loads((early / "checkpoints.json").read_text())
    assert seen == {0, 1}


def replace_each_other(sources, early):
    """Start a run that keeps one checkpoint after the other, without end; return process and seconds for both."""
    read, write = os.pipe()
    child = os.fork()
    if not child:
        try:
            args = SimpleNamespace(should_save=True, output_dir=early.parent)
            KeepEarlyCheckpoints().on_train_begin(args, SimpleNamespace(global_step=8), None)
            for number in itertools.count():
                begun = time.perf_counter()
                for source in sources:
                    keep_checkpoint(source, early)
                if number == 1:  # the first time, a forked process copies the memory that it touches
                    os.write(write, str(time.perf_counter() - begun).encode())
        finally:
            os._exit(1)
    os.close(write)
    said = os.read(read, 100)
    os.close(read)
    assert said, "the process ended"
    return child, float(said)


def make_copy(source, folder):
    import shutil

    return shutil.copytree(source, folder / "checkpoint-9")


def test_a_checkpoint_without_loadable_weights_is_not_kept(run, tmp_path):
    """What sharded training leaves where whole models are not gathered: a warning that says what to set."""
    folder = make_copy(run / "checkpoint-6", tmp_path)
    (folder / "model.safetensors").unlink()
    (folder / "global_step6").mkdir()
    (folder / "global_step6/mp_rank_00_model_states.bin").write_bytes(b"")
    with pytest.warns(UserWarning, match="FULL_STATE_DICT"):
        assert keep_checkpoint(folder, tmp_path / "early") is None
    assert not (tmp_path / "early").exists()


@pytest.mark.parametrize(
    "settings", [{"first": 0}, {"ratio": 1.0}, {"ratio": float("nan")}, {"steps": []}, {"steps": [0]}]
)
def test_impossible_steps_are_refused(settings):
    """A callback that would keep nothing, or the same step for ever, is not made."""
    with pytest.raises(WiseMergeError, match="early checkpoints"):
        KeepEarlyCheckpoints(**settings)


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_trl_keeps_them_too(lora, tmp_path):
    """SFTTrainer with save_total_limit=1: models or adapters in early/, which load."""
    from datasets import Dataset
    from peft import LoraConfig, PeftModel
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    base = make_checkpoint(tmp_path / "base", seed=0)
    SFTTrainer(
        model=str(base),
        args=SFTConfig(
            output_dir=str(tmp_path / "run"), max_steps=4, per_device_train_batch_size=2, save_steps=3,
            save_total_limit=1, report_to="none", disable_tqdm=True, use_cpu=True, bf16=False,
            model_init_kwargs={"dtype": "float32"},
        ),
        train_dataset=Dataset.from_dict({"text": TEXTS}),
        peft_config=LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM") if lora else None,
        callbacks=[KeepEarlyCheckpoints(first=1, ratio=2)],
    ).train()  # fmt: skip
    run = tmp_path / "run"
    assert folders(run) == ["checkpoint-4"]
    assert folders(run / "early") == ["checkpoint-1", "checkpoint-2", "checkpoint-4"]
    model = AutoModelForCausalLM.from_pretrained(base if lora else run / "early/checkpoint-2")
    if lora:
        PeftModel.from_pretrained(model, run / "early/checkpoint-2")
        assert {path.name for path in (run / "early/checkpoint-2").iterdir()} >= {
            "adapter_model.safetensors",
            "adapter_config.json",
        }
    assert {checkpoint.kind for checkpoint in find_checkpoints(run)} == {"LoRA" if lora else "full"}
    assert all(checkpoint.problem is None for checkpoint in find_checkpoints(run))
