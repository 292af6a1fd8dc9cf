"""Mixup of embeddings: loss and gradient written out, its draws, what it refuses, and the real trainers under it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support import forked
from support.checkpoints import tiny_llama
from support.trainers import host_classes, make_trainer

from wise_merge.errors import WiseMergeError
from wise_merge.training import bang_trainer
from wise_merge.training.mixup import bang_loss, draw_mix, mix_embeddings

LENGTHS = (9, 6, 4, 7)
PARTNER = torch.tensor([1, 2, 3, 0])


def make_model(config=None, dtype=torch.float64):
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(config or tiny_llama()).to(dtype).train()


def make_batch(lengths=LENGTHS):
    """Rows of these lengths, padded on the right; two tokens of prompt, the rest learned."""
    rng = torch.Generator().manual_seed(1)
    width = max(lengths)
    ids = torch.randint(4, 99, (len(lengths), width), generator=rng)
    mask = torch.arange(width) < torch.tensor(lengths)[:, None]
    labels = torch.where(mask & (torch.arange(width) >= 2), ids, -100)
    return {"input_ids": torch.where(mask, ids, 0), "attention_mask": mask.long(), "labels": labels}


def written_out(model, batch, lam, smoothing):
    """The mixed loss from `inputs_embeds`, one pair and one token at a time; no code of the package."""
    table = model.get_input_embeddings().weight
    total, count = 0.0, int((batch["labels"][:, 1:] != -100).sum())
    for i, j in enumerate(PARTNER.tolist()):
        rows = []
        lengths = [int(batch["attention_mask"][row].sum()) for row in (i, j)]
        for place in range(max(lengths)):
            own, other = (table[batch["input_ids"][row, place]] for row in (i, j))
            both = place < min(lengths)
            rows.append(lam * own + (1 - lam) * other if both else own if place < lengths[0] else other)
        # One row alone, without padding and without a mask.
        log_p = model(inputs_embeds=torch.stack(rows)[None]).logits[0].log_softmax(-1)
        for row, weight, length in zip((i, j), (lam, 1 - lam), lengths, strict=True):
            for place in range(length - 1):
                target = batch["labels"][row, place + 1]
                if target != -100:
                    nll = (1 - smoothing) * -log_p[place, target] + smoothing * -log_p[place].mean()
                    total = total + weight * nll
    return total / count


def gradients(model, loss):
    return torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(model.parameters()))])


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_value_and_gradient_are_those_of_the_formula(smoothing, tied):
    """Rows of unequal length, in float64: lam L(y_i) + (1 - lam) L(y_j) on the mixed embeddings, written out."""
    model = make_model(tiny_llama(tie_word_embeddings=tied))
    batch = make_batch()
    loss, _ = bang_loss(model, batch, 0.3, PARTNER, smoothing)
    expected = written_out(model, batch, 0.3, smoothing)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-10)
    torch.testing.assert_close(gradients(model, loss), gradients(model, expected), rtol=1e-7, atol=1e-12)
    # The control: the plain loss is another one.
    assert abs(loss.item() - bang_loss(model, batch, 1.0, None, smoothing)[0].item()) > 1e-3


@pytest.mark.parametrize("lam", [0.0, 1.0])
def test_a_lambda_of_0_or_1_gives_the_plain_loss_bit_for_bit(lam):
    """At 1 every row is itself, at 0 its partner, which over the batch is the same."""
    model, batch = make_model(dtype=torch.float32), make_batch()
    plain, _ = bang_loss(model, batch, 1.0, None, 0.1)
    mixed, _ = bang_loss(model, batch, lam, PARTNER, 0.1)
    assert torch.equal(mixed, plain)
    assert torch.equal(gradients(model, mixed), gradients(model, plain))


def test_near_1_the_mixed_loss_nears_the_plain_one():
    """No jump: neither the mask's union nor the tokens that stand alone disturb a row's own loss."""
    model, batch = make_model(), make_batch()
    plain, _ = bang_loss(model, batch, 1.0, None, 0.1)
    mixed, _ = bang_loss(model, batch, 1 - 1e-9, PARTNER, 0.1)
    assert mixed.item() == pytest.approx(plain.item(), rel=1e-7)
    assert not torch.equal(mixed, plain)


def test_swapping_the_pair_is_swapping_lambda():
    """Rows i <-> j with lam: the same loss as with 1 - lam, for a pair of rows of unequal length."""
    model, batch = make_model(), make_batch((9, 5))
    pair = torch.tensor([1, 0])
    swapped = {key: value[pair] for key, value in batch.items()}
    first, _ = bang_loss(model, batch, 0.3, pair, 0.1)
    for other in (bang_loss(model, batch, 0.7, pair, 0.1), bang_loss(model, swapped, 0.3, pair, 0.1)):
        assert first.item() == pytest.approx(other[0].item(), rel=1e-12)


def test_without_smoothing_and_mixup_it_is_plain_cross_entropy():
    """The loss and the gradients that the model computes from labels by itself."""
    model, batch = make_model(dtype=torch.float32), make_batch()
    loss, _ = bang_loss(model, batch, 1.0, None, 0.0)
    own = model(**batch).loss
    assert loss.item() == pytest.approx(own.item(), rel=1e-6)
    torch.testing.assert_close(gradients(model, loss), gradients(model, own), rtol=1e-4, atol=1e-7)


def test_a_token_that_stands_alone_is_not_shrunk():
    """Shares are lam and 1 - lam where both have a token, 1 and 0 where one has; both as in bfloat16's rounding."""
    embeddings = torch.tensor([[[8.0], [8.0], [99.0]], [[4.0], [99.0], [99.0]]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    for dtype in (torch.float32, torch.bfloat16):
        mixed = mix_embeddings(embeddings.to(dtype), mask, 0.25, torch.tensor([1, 0]))
        assert mixed.dtype == dtype
        assert mixed[:, :2, 0].tolist() == [[5.0, 8.0], [7.0, 8.0]]
        assert mixed.isfinite().all()


def architectures():
    """One with nothing special, two that scale embeddings, one that learns positions, a mixture of experts."""
    from transformers import Gemma3TextConfig, GemmaConfig, GPT2Config, MixtralConfig

    small = {
        "vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, "pad_token_id": 0,
    }  # fmt: skip
    return {
        "Llama": tiny_llama(),
        "Gemma": GemmaConfig(**small),
        "Gemma3": Gemma3TextConfig(**small, sliding_window=4),
        "GPT2": GPT2Config(
            vocab_size=99, n_embd=32, n_layer=2, n_head=2, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
        ),
        "Mixtral": MixtralConfig(**small, num_local_experts=4, num_experts_per_tok=2),
    }


@pytest.mark.parametrize("name", ["Llama", "Gemma", "Gemma3", "GPT2", "Mixtral"])
def test_a_row_mixed_with_its_twin_is_the_row(name):
    """Two equal rows: any lambda gives the plain loss, in models that scale their embeddings too."""
    # In float32: experts are not computed in float64.
    model = make_model(architectures()[name], dtype=torch.float32)
    batch = {key: value[[0, 0]] for key, value in make_batch().items()}
    plain, _ = bang_loss(model, batch, 1.0, None, 0.1)
    mixed, _ = bang_loss(model, batch, 0.3, torch.tensor([1, 0]), 0.1)
    assert mixed.item() == pytest.approx(plain.item(), rel=1e-6)


@pytest.mark.parametrize("name", ["Gemma", "Gemma3", "GPT2"])
def test_scaled_embeddings_are_mixed_as_they_are_scaled(name):
    """The mixture equals one entered by hand where the first layer reads it."""
    model = make_model(architectures()[name])
    batch = make_batch((6, 6))
    pair = torch.tensor([1, 0])
    read = []
    layers = model.transformer.h if name == "GPT2" else model.model.layers
    handle = layers[0].register_forward_pre_hook(lambda _m, args, kwargs: read.append(args[0]), with_kwargs=True)
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    model(**inputs)
    bang_loss(model, batch, 0.3, pair, 0.1)
    handle.remove()
    torch.testing.assert_close(read[1], 0.3 * read[0] + 0.7 * read[0][pair], rtol=1e-6, atol=1e-9)


def test_the_model_is_left_as_it_was():
    """No hook stays behind, after an error either, and the batch is not changed."""
    model, batch = make_model(), make_batch()
    before = {key: value.clone() for key, value in batch.items()}
    bang_loss(model, batch, 0.3, PARTNER, 0.1)
    with pytest.raises(IndexError):
        bang_loss(model, batch | {"input_ids": batch["input_ids"] + 99}, 0.3, PARTNER, 0.1)
    with pytest.raises(RuntimeError, match="size"):
        bang_loss(model, batch | {"attention_mask": torch.ones(4, 5)}, 0.3, PARTNER, 0.1)
    assert not model.get_input_embeddings()._forward_hooks
    assert all(torch.equal(batch[key], before[key]) for key in batch)


def test_the_draws_are_those_of_beta_and_every_row_gets_another():
    """Mean and variance of Beta(a, a) over 4000 draws; partners are a permutation without a fixed point."""
    rng = np.random.default_rng(0)
    draws = [draw_mix(rng, 5, 0.4) for _ in range(4000)]
    lams = np.array([lam for lam, _ in draws])
    variance = 1 / (4 * (2 * 0.4 + 1))  # of Beta(a, a)
    assert lams.mean() == pytest.approx(0.5, abs=5 * np.sqrt(variance / 4000))
    assert lams.var() == pytest.approx(variance, rel=0.05)
    partners = np.stack([partner.numpy() for _, partner in draws])
    assert (np.sort(partners, axis=1) == np.arange(5)).all()
    assert (partners != np.arange(5)).all()
    # Each of the other four is as likely: 4000 / 4, within five standard deviations.
    assert all(abs((partners[:, 0] == j).sum() - 1000) < 5 * np.sqrt(1000) for j in range(1, 5))
    assert draw_mix(rng, 1, 0.4)[1].tolist() == [0]


def test_the_share_of_tokens_is_the_trainers_count():
    """Over a batch the weights of all targets sum to its number of learned tokens, so the loss is a mean of losses."""
    batch = make_batch()

    class Uniform(torch.nn.Module):
        """Says the same of every token: its loss is log 99 for any target."""

        def __init__(self):
            super().__init__()
            self.embeddings = torch.nn.Embedding(99, 2)

        def get_input_embeddings(self):
            return self.embeddings

        def forward(self, input_ids, attention_mask, use_cache):
            return {"logits": 0 * self.embeddings(input_ids).sum() + torch.zeros(*input_ids.shape, 99)}

    loss, _ = bang_loss(Uniform(), batch, 0.3, PARTNER, 0.0)
    assert loss.item() == pytest.approx(np.log(99), rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"position_ids": torch.arange(9).expand(4, 9)}, "position_ids.*packing"),
        ({"attention_mask": torch.ones(4, 1, 9, 9)}, r"shape \(4, 1, 9, 9\)"),
        ({"attention_mask": make_batch()["attention_mask"].flip(1)}, "padded on the right"),
        ({"labels": None}, "input_ids and labels"),
    ],
    ids=["packed", "4d mask", "left", "no labels"],
)
def test_batches_that_cannot_be_mixed_are_refused(changes, message):
    """Each with what is wrong and what to do."""
    with pytest.raises(WiseMergeError, match=message):
        bang_loss(make_model(), make_batch() | changes, 0.3, PARTNER, 0.1)


def test_embeddings_that_are_not_read_once_are_an_error():
    """A model whose hook never runs, as under some compilers, would train on unmixed inputs and mixed labels."""

    class Elsewhere(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model
            self.unused = torch.nn.Embedding(1, 1)

        def get_input_embeddings(self):
            return self.unused

        def forward(self, **inputs):
            return self.model(**inputs)

    with pytest.raises(WiseMergeError, match="read 0 times"):
        bang_loss(Elsewhere(make_model()), make_batch(), 0.3, PARTNER, 0.1)


def weights_of(trainer, **arguments):
    trainer.train(**arguments)
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


@pytest.mark.parametrize("host", ["Trainer", "SFTTrainer"])
def test_neutral_settings_train_as_the_host_does(host, tmp_path):
    """Smoothing 0 and Mixup 0: the weights of the plain trainer to rounding, with accumulated batches."""
    plain = weights_of(make_trainer(host, tmp_path, accumulate=2, smoothing=None))
    neutral = weights_of(make_trainer(host, tmp_path, accumulate=2, smoothing=0.0, mixup=0.0))
    bang = weights_of(make_trainer(host, tmp_path, accumulate=2))
    moved = (bang - plain).abs().max()
    assert moved > 1e-4  # the control: BANG does something
    assert (neutral - plain).abs().max() < 1e-3 * moved


@pytest.mark.parametrize("host", ["Trainer", "SFTTrainer"])
def test_smoothing_alone_does_not_depend_on_accumulation(host, tmp_path):
    """One batch of 8, or four of 2: the same weights to rounding."""
    one = weights_of(make_trainer(host, tmp_path, batch=8, smoothing=0.2, mixup=0.0))
    four = weights_of(make_trainer(host, tmp_path, batch=2, accumulate=4, smoothing=0.2, mixup=0.0))
    torch.testing.assert_close(one, four, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("host", ["Trainer", "SFTTrainer"])
def test_one_step_is_the_sum_of_the_mixed_batches(host, tmp_path):
    """The step that the trainer makes equals one by hand: each accumulated batch's own draw, one count of tokens."""
    trainer = make_trainer(host, tmp_path, batch=4, accumulate=2, steps=1)
    seen = []
    collate = trainer.data_collator
    trainer.data_collator = lambda rows: seen.append(collate(rows)) or seen[-1]
    start = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    weights_of(trainer)
    after = [parameter.detach().clone() for parameter in trainer.model.parameters()]
    for parameter, value in zip(trainer.model.parameters(), start, strict=True):
        parameter.data.copy_(value)
    count = sum(int((batch["labels"][:, 1:] != -100).sum()) for batch in seen[:2])
    total = 0.0
    for number, batch in enumerate(seen[:2]):
        lam, partner = draw_mix(np.random.default_rng([trainer.args.seed, 0, number, 0]), 4, 0.4)
        total = total + bang_loss(trainer.model, dict(batch), lam, partner, 0.1, count)[0]
    grads = torch.autograd.grad(total, list(trainer.model.parameters()))
    for before, grad, result in zip(start, grads, after, strict=True):
        torch.testing.assert_close(result, before - 1e-2 * grad, rtol=1e-4, atol=1e-7)


def test_a_resumed_run_and_other_workers_draw_the_same(tmp_path):
    """The weights after 4 steps are the same bits after an interruption at 2, and with two dataloader workers."""
    whole = weights_of(make_trainer("Trainer", tmp_path / "whole", steps=4))
    make_trainer("Trainer", tmp_path / "cut", steps=2, config={"save_strategy": "steps", "save_steps": 2}).train()
    resumed = weights_of(
        make_trainer("Trainer", tmp_path / "cut", steps=4), resume_from_checkpoint=str(tmp_path / "cut/checkpoint-2")
    )
    workers = weights_of(make_trainer("Trainer", tmp_path / "w", steps=4, config={"dataloader_num_workers": 2}))
    other_seed = weights_of(make_trainer("Trainer", tmp_path / "s", steps=4, config={"seed": 7, "data_seed": 42}))
    assert torch.equal(resumed, whole)
    assert torch.equal(workers, whole)
    assert not torch.equal(other_seed, whole)


@pytest.mark.parametrize("host", ["Trainer", "SFTTrainer"])
def test_evaluation_is_neither_mixed_nor_smoothed(host, tmp_path):
    """The evaluation's loss is the plain trainer's, before training and during it."""
    plain = make_trainer(host, tmp_path, smoothing=None).evaluate()["eval_loss"]
    trainer = make_trainer(host, tmp_path, config={"eval_strategy": "steps", "eval_steps": 1, "learning_rate": 1e-30})
    assert trainer.evaluate()["eval_loss"] == pytest.approx(plain, rel=1e-6)
    trainer.train()
    during = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
    assert during == pytest.approx([plain] * len(during), rel=1e-6)
    assert len(during) >= 3


@pytest.mark.parametrize("host", ["Trainer", "SFTTrainer"])
def test_lora_trains_under_it(host, tmp_path):
    """The adapter moves, the base does not, and the embeddings are found through peft's wrapper."""
    from peft import LoraConfig, get_peft_model

    trainer = make_trainer(host, tmp_path)
    base = trainer.model
    frozen = base.lm_head.weight.detach().clone()
    config = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")
    trainer = bang_trainer(host_classes(host)[0], label_smoothing=0.1, mixup=0.4)(
        model=get_peft_model(base, config) if host == "Trainer" else base,
        args=trainer.args,
        train_dataset=trainer.train_dataset,
        data_collator=trainer.data_collator,
        processing_class=trainer.processing_class,
        **({} if host == "Trainer" else {"peft_config": config}),
    )
    trainer.train()
    parameters = dict(trainer.model.named_parameters())
    assert any(value.abs().max() > 0 for name, value in parameters.items() if "lora_B" in name)
    assert torch.equal(base.lm_head.weight, frozen)


def test_a_mixture_of_experts_keeps_its_balancing_loss(tmp_path):
    """With smoothing and Mixup 0, the auxiliary loss is added as the model itself adds it."""
    config = architectures()["Mixtral"]
    config.output_router_logits = True
    config.router_aux_loss_coef = 0.5
    arguments = {"steps": 1, "model_config": config}
    plain = weights_of(make_trainer("Trainer", tmp_path, smoothing=None, **arguments))
    neutral = weights_of(make_trainer("Trainer", tmp_path, smoothing=0.0, mixup=0.0, **arguments))
    torch.testing.assert_close(neutral, plain, rtol=1e-4, atol=1e-6)
    config.router_aux_loss_coef = 0.0
    without = weights_of(make_trainer("Trainer", tmp_path, smoothing=0.0, mixup=0.0, **arguments))
    assert (without - plain).abs().max() > 1e-4


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mixup": -0.1}, "mixup must be"),
        ({"mixup": float("nan")}, "mixup must be"),
        ({"smoothing": 1.5}, "label smoothing must lie in"),
        ({"batch": 1}, "per_device_train_batch_size >= 2"),
        ({"config": {"label_smoothing_factor": 0.1}}, "remove compute_loss_func and label_smoothing_factor"),
        ({"compute_loss_func": lambda *_, **__: 0}, "remove compute_loss_func and label_smoothing_factor"),
    ],
)
def test_what_cannot_work_is_refused_before_training(arguments, message, tmp_path):
    """When the trainer is made."""
    with pytest.raises(WiseMergeError, match=message):
        make_trainer("SFTTrainer", tmp_path, **arguments)


@pytest.mark.parametrize("config", [{"packing": True, "max_length": 64}, {"padding_free": True, "max_length": None}])
@pytest.mark.filterwarnings("ignore")
def test_packed_batches_of_trl_are_refused(config, tmp_path):
    """At the first batch, with the settings to change."""
    trainer = make_trainer("SFTTrainer", tmp_path, config=config, batch=2)
    with pytest.raises(WiseMergeError, match="without packing and padding_free"):
        trainer.train()


TWO_PROCESSES = """
import os, sys
sys.path.insert(0, {tests!r})
from support.trainers import make_trainer
import torch
smoothed = make_trainer("Trainer", {output!r} + "/smoothed", batch=4, smoothing=0.2, mixup=0.0)
smoothed.train()
from wise_merge.training import KeepEarlyCheckpoints
mixed = make_trainer("Trainer", {output!r} + "/mixed", batch=4, callbacks=[KeepEarlyCheckpoints(steps=[1, 2])])
mixed.train()
weights = [torch.cat([p.detach().flatten() for p in t.model.parameters()]) for t in (smoothed, mixed)]
torch.save(weights, {output!r} + "/weights-" + os.environ["RANK"])
"""


def test_two_processes_train_as_one(tmp_path):
    """As torchrun starts them: the smoothed steps of two processes are those of one, mixed ones stay in step."""
    script = tmp_path / "train.py"
    script.write_text(TWO_PROCESSES.format(tests=str(Path(__file__).parent), output=str(tmp_path)))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    place = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = []
    for rank in ("0", "1"):
        environment = {**os.environ, **place, "RANK": rank, "LOCAL_RANK": rank}
        processes.append(forked.start([sys.executable, script], env=environment, stderr=subprocess.PIPE))
    for process in processes:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
    ranks = [torch.load(tmp_path / f"weights-{rank}") for rank in range(2)]
    assert all(torch.equal(one, other) for one, other in zip(*ranks, strict=True))
    alone = weights_of(make_trainer("Trainer", tmp_path / "alone", batch=8, smoothing=0.2, mixup=0.0))
    torch.testing.assert_close(ranks[0][0], alone, rtol=1e-4, atol=1e-6)
    assert sorted(path.name for path in (tmp_path / "mixed/early").glob("checkpoint-*")) == [
        "checkpoint-1",
        "checkpoint-2",
    ]
