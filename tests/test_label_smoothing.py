"""Label smoothing: the formula, its gradient, which tokens count, and its place in the real Trainer and SFTTrainer."""

import pytest
import torch
from support.checkpoints import character_tokenizer, tiny_llama
from support.trainers import TEXTS, host_classes

from wise_merge.errors import WiseMergeError
from wise_merge.training import label_smoothing, label_smoothing_loss


def make_batch(rows=3, length=5, vocabulary=7, dtype=torch.float64, seed=0):
    """Random logits with a gradient, and labels of which the first two of each row and one more are not learned."""
    rng = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(rows, length, vocabulary, generator=rng, dtype=torch.float64)
    labels = torch.randint(vocabulary, (rows, length), generator=rng)
    labels[:, :2] = -100
    labels[1, -1] = -100
    return logits.to(dtype).requires_grad_(), labels


def written_out(logits, labels, smoothing):
    """The sum over tokens and their number, one token and one class at a time."""
    total, count = 0.0, 0
    rows, length, vocabulary = logits.shape
    for row in range(rows):
        for place in range(length - 1):
            target = labels[row, place + 1]
            if target == -100:
                continue
            partition = sum(torch.exp(logits[row, place, c]) for c in range(vocabulary))
            log_p = [logits[row, place, c] - torch.log(partition) for c in range(vocabulary)]
            total = total + (1 - smoothing) * -log_p[target] + smoothing * sum(-p for p in log_p) / vocabulary
            count += 1
    return total, count


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_value_and_gradient_are_those_of_the_formula(smoothing):
    """(1 - eps) NLL + eps mean_c(-log p_c), the mean over learned tokens, and its gradient, in float64."""
    logits, labels = make_batch()
    loss = label_smoothing_loss(smoothing)({"logits": logits}, labels)
    (gradient,) = torch.autograd.grad(loss, logits)
    total, count = written_out(logits, labels, smoothing)
    (expected,) = torch.autograd.grad(total / count, logits)
    assert count == 8
    assert loss.item() == pytest.approx((total / count).item(), rel=1e-12)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-12)


def test_without_smoothing_it_is_the_models_own_loss():
    """eps = 0 gives, to rounding, what the model computes from the same labels."""
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(tiny_llama())
    ids = torch.randint(99, (4, 9))
    labels = ids.clone()
    labels[:, :3] = -100
    outputs = model(input_ids=ids, labels=labels)
    assert label_smoothing_loss(0.0)(outputs, labels).item() == pytest.approx(outputs.loss.item(), rel=1e-6)


def test_a_masked_class_costs_nothing_without_smoothing():
    """A logit of -inf is finite in the plain loss, and infinite in the smoothed one, as the formula has it."""
    logits, labels = make_batch()
    logits = logits.detach().clone()
    labels[labels == 6] = 5
    logits[..., 6] = -torch.inf
    assert torch.isfinite(label_smoothing_loss(0.0)({"logits": logits}, labels))
    assert torch.isinf(label_smoothing_loss(0.1)({"logits": logits}, labels))


def test_the_trainers_count_divides_the_sum():
    """With gradient accumulation the sum is divided by the tokens of all batches, as a number or a tensor."""
    logits, labels = make_batch()
    total, _ = written_out(logits, labels, 0.1)
    for count in (20, torch.tensor(20)):
        loss = label_smoothing_loss(0.1)({"logits": logits}, labels, num_items_in_batch=count)
        assert loss.item() == pytest.approx(total.item() / 20, rel=1e-12)


def test_a_batch_without_a_learned_token_has_loss_0():
    """Not NaN, and a gradient of zeros."""
    logits, labels = make_batch()
    loss = label_smoothing_loss(0.1)({"logits": logits}, torch.full_like(labels, -100))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0.0
    assert not gradient.any()


def test_the_first_label_is_never_a_target():
    """Nothing precedes the first token, so its label is of no account; the last position predicts nothing."""
    logits, labels = make_batch()
    changed = labels.clone()
    changed[:, 0] = 3
    before, after = (label_smoothing_loss(0.1)({"logits": logits}, each) for each in (labels, changed))
    assert before == after
    (gradient,) = torch.autograd.grad(before, logits)
    assert not gradient[:, -1].any()


def test_pieces_do_not_change_the_loss(monkeypatch):
    """Computed one token at a time or all at once: the same to rounding."""
    logits, labels = make_batch(rows=8, length=20)
    whole = torch.autograd.grad(label_smoothing_loss(0.1)({"logits": logits}, labels), logits)
    monkeypatch.setattr(label_smoothing, "_BLOCK", 1)
    pieces = torch.autograd.grad(label_smoothing_loss(0.1)({"logits": logits}, labels), logits)
    torch.testing.assert_close(whole, pieces, rtol=1e-12, atol=1e-15)


def test_bfloat16_is_computed_in_float32():
    """The loss of bfloat16 logits is that of the same numbers in float64, far closer than bfloat16's own steps."""
    logits, labels = make_batch(rows=8, length=50, vocabulary=500, dtype=torch.bfloat16)
    loss = label_smoothing_loss(0.1)({"logits": logits}, labels)
    exact = label_smoothing_loss(0.1)({"logits": logits.double()}, labels)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)


def test_no_second_copy_of_all_logits_is_made(monkeypatch):
    """With 1 of 64 tokens learned, no tensor of the size of all logits is allocated in the forward pass."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        elements = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            inputs = {arg.untyped_storage().data_ptr() for arg in args if isinstance(arg, torch.Tensor)}
            if isinstance(result, torch.Tensor) and result.untyped_storage().data_ptr() not in inputs:
                self.elements = max(self.elements, result.numel())
            return result

    logits = torch.randn(2, 64, 1000, requires_grad=True)
    labels = torch.full((2, 64), -100)
    labels[:, 10] = 5
    with Largest() as largest:
        label_smoothing_loss(0.1)({"logits": logits}, labels)
    assert largest.elements == 2 * 1000
    # Negative control: the Trainer's own smoother does.
    from transformers.trainer_pt_utils import LabelSmoother

    with Largest() as largest:
        LabelSmoother(0.1)({"logits": logits}, labels, shift_labels=True)
    assert largest.elements >= 2 * 63 * 1000


@pytest.mark.parametrize("smoothing", [-0.1, 1.1, float("nan")])
def test_an_impossible_amount_is_refused(smoothing):
    """The range is in the message."""
    with pytest.raises(WiseMergeError, match=r"must lie in \[0, 1\]"):
        label_smoothing_loss(smoothing)


def test_missing_labels_and_other_lengths_are_refused():
    """What a wrong collator, or prompt tuning's virtual tokens, would give."""
    logits, labels = make_batch()
    with pytest.raises(WiseMergeError, match="needs labels"):
        label_smoothing_loss(0.1)({"logits": logits}, None)
    with pytest.raises(WiseMergeError, match="a label for every position"):
        label_smoothing_loss(0.1)({"logits": logits}, labels[:, 1:])


def trained(trainer_class, config_class, output, *, batch, accumulate, **trainer_settings):
    """The weights after three steps of 8 rows, in batches of `batch`."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, DataCollatorForSeq2Seq

    torch.manual_seed(0)
    tokenizer = character_tokenizer()
    ids = tokenizer(TEXTS)["input_ids"]
    config = trainer_settings.pop("config", {})
    trainer = trainer_class(
        model=AutoModelForCausalLM.from_config(tiny_llama()),
        args=config_class(
            output_dir=str(output),
            max_steps=3,
            per_device_train_batch_size=batch,
            gradient_accumulation_steps=accumulate,
            learning_rate=1e-2,
            optim="sgd",  # so that a wrong scale of the loss shows
            max_grad_norm=0.0,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            use_cpu=True,
            bf16=False,
            **config,
        ),
        # Rows of different lengths: means of means would differ.
        train_dataset=Dataset.from_dict({"input_ids": ids, "labels": [[-100] * 4 + row[4:] for row in ids]}),
        processing_class=tokenizer,
        **({} if "SFT" in trainer_class.__name__ else {"data_collator": DataCollatorForSeq2Seq(tokenizer)}),
        **trainer_settings,
    )
    trainer.train()
    return torch.cat([parameter.detach().flatten() for parameter in trainer.model.parameters()])


@pytest.mark.parametrize("host", ["Trainer", "SFTTrainer"])
@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")
def test_it_trains_as_the_trainers_own_smoothing_does(host, tmp_path):
    """Ours and label_smoothing_factor end in the same weights; ours also where the batch is four accumulated ones."""
    host = host_classes(host)
    smoothed = trained(*host, tmp_path, batch=8, accumulate=1, compute_loss_func=label_smoothing_loss(0.2))
    accumulated = trained(*host, tmp_path, batch=2, accumulate=4, compute_loss_func=label_smoothing_loss(0.2))
    own = trained(*host, tmp_path, batch=8, accumulate=1, config={"label_smoothing_factor": 0.2})
    plain = trained(*host, tmp_path, batch=8, accumulate=1)
    moved = (smoothed - plain).abs().max()
    assert moved > 1e-4  # the control: smoothing does something
    assert (smoothed - accumulated).abs().max() < 1e-3 * moved
    assert (smoothed - own).abs().max() < 1e-3 * moved
