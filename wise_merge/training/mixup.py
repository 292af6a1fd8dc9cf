"""Mixup of two sequences of a batch, for a causal language model: their input embeddings and their losses are mixed.

Mixup (arXiv 1710.09412) is for inputs of one shape with one label each, and BANG (arXiv 2309.17230) trains image
classifiers with it. For text there is no canonical form; this one is ours. Every row x_i of a batch gets another row
x_j as its partner, one lambda ~ Beta(a, a) is drawn for the batch, and at each position

    input  lambda e(x_i) + (1 - lambda) e(x_j)
    loss   lambda L(y_i) + (1 - lambda) L(y_j)

where e is the embedding of the token and L the loss, smoothed or not, of the tokens that follow it in each row. Where
only one of the two has a token, its embedding stands alone.
"""

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from wise_merge.errors import WiseMergeError
from wise_merge.hosts import transformers_parts, versions
from wise_merge.hosts.part import first_fault
from wise_merge.training.label_smoothing import check_smoothing, next_tokens, summed_loss, token_count

#: Where a batch has one of these, its rows are packed, or hold more than text.
_MORE_THAN_ROWS = ("position_ids", "shift_labels", "seq_idx", "cu_seq_lens_q", "seq_lengths", "pixel_values")


T = TypeVar("T")


def bang_trainer(trainer_class: type[T], *, label_smoothing: float, mixup: float) -> type[T]:
    """Return a subclass of transformers' Trainer, or of TRL's SFTTrainer, that trains as BANG does.

    It takes the arguments of `trainer_class` and differs in the training loss alone; the evaluation's is untouched.

    Args:
        trainer_class: Trainer, SFTTrainer or a subclass that trains a causal language model.
        label_smoothing: eps in (1 - eps) * NLL + eps * mean_c(-log p_c); 0 = none.
        mixup: a in lambda ~ Beta(a, a); 0 = none. At small a, lambda is nearly 0 or 1 and mixes little; a = 1 is the
            uniform distribution. Mixup draws from the Trainer's `seed`, the step, the batch within it and the process,
            so a resumed run, or one with other dataloader workers, draws the same.

    Raises:
        WiseMergeError: if a parameter is out of range; when the trainer is made, or gets its first batch, for what
            cannot be mixed: packed or padding-free batches, encoder-decoder models, batches of one row.
    """
    check_smoothing(label_smoothing)
    if not (0.0 <= mixup < float("inf")):
        raise WiseMergeError(f"mixup must be a finite number of at least 0 (0 = none, Beta(a, a) else); got {mixup}")

    fault = first_fault(transformers_parts.TRAINING)
    if fault is not None:
        raise WiseMergeError(
            f"{versions.not_as_expected('transformers', fault)}, so bang_trainer cannot give it another loss; install "
            "a tested version"
        )

    class BangTrainer(trainer_class):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            _check_trainer(self, mixes=mixup > 0)
            self._bang_step, self._bang_batch = -1, 0

        def compute_loss(
            self,
            model: nn.Module,
            inputs: dict[str, Any],
            return_outputs: bool = False,
            num_items_in_batch: Tensor | int | None = None,
        ) -> Any:
            if not model.training:
                return super().compute_loss(model, inputs, return_outputs, num_items_in_batch=num_items_in_batch)
            lam, partner = 1.0, None
            if mixup:
                lam, partner = draw_mix(self._bang_generator(), len(inputs["input_ids"]), mixup)
            loss, outputs = bang_loss(model, inputs, lam, partner, label_smoothing, num_items_in_batch)
            loss = _as_trained(self, loss, outputs, counted=num_items_in_batch is not None)
            return (loss, outputs) if return_outputs else loss

        def _bang_generator(self) -> np.random.Generator:
            step = self.state.global_step
            self._bang_batch = self._bang_batch + 1 if step == self._bang_step else 0
            self._bang_step = step
            return np.random.default_rng([self.args.seed, step, self._bang_batch, self.args.process_index])

    # What the run's logs and model cards show.
    BangTrainer.__name__ = BangTrainer.__qualname__ = f"Bang{trainer_class.__name__}"
    return BangTrainer


def _as_trained(trainer: Any, loss: Tensor, outputs: Any, *, counted: bool) -> Tensor:
    """Return the loss of a batch as a Trainer uses it; `counted`: its tokens were counted over all that is accumulated.

    Over several processes it is scaled, and the loss of a mixture of experts is added.
    """
    if counted and trainer.args.average_tokens_across_devices:
        # As in Trainer.compute_loss: the count is that of all processes, the gradients are averaged over them.
        loss = loss * trainer.accelerator.num_processes
    auxiliary = getattr(outputs, "aux_loss", None)
    if auxiliary is not None:
        # A mean per batch, whereas the loss above is divided once for all accumulated batches.
        steps = trainer.current_gradient_accumulation_steps if counted else 1
        coefficient = trainer.model.config.get_text_config().router_aux_loss_coef
        loss = loss + coefficient * auxiliary.to(loss.device) / steps
    return loss


def draw_mix(rng: np.random.Generator, rows: int, a: float) -> tuple[float, Tensor]:
    """Return lambda ~ Beta(a, a) and the partner of each row, (rows,): another one, each row being that of one.

    A batch of one row is its own partner.
    """
    # All rows in one random circle: no row is left with itself, as a plain permutation would leave one on average.
    circle = torch.from_numpy(rng.permutation(rows))
    partner = torch.empty(rows, dtype=torch.long)
    partner[circle] = circle.roll(1)
    return float(rng.beta(a, a)), partner


def bang_loss(
    model: nn.Module,
    inputs: Mapping[str, Any],
    lam: float,
    partner: Tensor | None,
    smoothing: float,
    num_items_in_batch: Tensor | int | None = None,
) -> tuple[Tensor, Any]:
    """Return the mixed and smoothed loss of a batch, and the model's outputs.

    lambda = 1, or no partner, gives the loss of the batch as it is, bit for bit; with smoothing 0 that is plain cross
    entropy. Partners i <-> j with lambda give, to rounding, the loss with 1 - lambda.

    Args:
        model: a causal language model, wrapped or not.
        inputs: input_ids and labels (B, T), attention_mask (B, T) if rows are padded; further ones go to the model.
        lam: weight of a row itself, in [0, 1].
        partner: (B,) integers, the row that has weight 1 - lam; each row once.
        smoothing: of the labels, see `label_smoothing_loss`.
        num_items_in_batch: by how many tokens the sum is divided; those of this batch if None.
    """
    if inputs.get("labels") is None or inputs.get("input_ids") is None:
        raise WiseMergeError(f"BANG needs input_ids and labels in every batch; got {', '.join(sorted(inputs))}")
    labels = inputs["labels"]
    rest = {key: value for key, value in inputs.items() if key != "labels"} | {"use_cache": False}
    targets, weights = next_tokens(labels).unsqueeze(-1), [1.0]
    # At lambda = 0 each row is its partner, so over the batch it is the same again.
    if partner is None or lam in (0.0, 1.0):
        outputs = model(**rest)
    else:
        partner = partner.to(labels.device)
        targets, weights = torch.cat([targets, targets[partner]], dim=-1), [lam, 1.0 - lam]
        outputs = _mixed_outputs(model, rest, lam, partner)
    loss = summed_loss(outputs["logits"], targets, weights, smoothing)
    return loss / token_count(labels, num_items_in_batch), outputs


def mix_embeddings(embeddings: Tensor, mask: Tensor, lam: float, partner: Tensor) -> Tensor:
    """Return lam * e_i + (1 - lam) * e_partner(i), the share of whichever has no token going to the other.

    `embeddings` is (B, T, H), `mask` (B, T) is True where there is a token. Computed in at least float32, result in
    the dtype of `embeddings`.
    """
    wide = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    own, other = lam * mask.to(wide.dtype), (1.0 - lam) * mask[partner].to(wide.dtype)
    # Positions where neither row has a token are masked.
    own_share = torch.where(mask | mask[partner], own / (own + other), 1.0).unsqueeze(-1)
    return (own_share * wide + (1.0 - own_share) * wide[partner]).to(embeddings.dtype)


def _mixed_outputs(model: nn.Module, inputs: dict[str, Any], lam: float, partner: Tensor) -> Any:
    mask = inputs.get("attention_mask")
    tokens = torch.ones_like(inputs["input_ids"], dtype=torch.bool) if mask is None else mask.bool()
    unsupported = ", ".join(key for key in _MORE_THAN_ROWS if inputs.get(key) is not None)
    if unsupported or tokens.dim() != 2:
        raise WiseMergeError(
            "Mixup needs one sequence of text per row, padded, with an attention mask (rows, tokens); the batch has "
            f"{unsupported or f'one of shape {tuple(tokens.shape)}'}. Train without packing and padding_free, or with "
            "mixup=0"
        )
    if not bool(tokens[:, 0].all()):
        raise WiseMergeError(
            "Mixup pairs tokens by their place in the row, so rows must be padded on the right; got a row that starts "
            'with padding. Set padding_side="right" where the batches are made'
        )
    if mask is not None:
        inputs = inputs | {"attention_mask": (tokens | tokens[partner]).to(mask.dtype)}
    mixed = 0

    def mix(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        nonlocal mixed
        mixed += 1
        return mix_embeddings(output, tokens, lam, partner)

    # Within the forward pass, as transformers does it for NEFTune: there the embeddings of a sharded model are whole,
    # and whatever the model does to them next (Gemma scales them) it does to the mixture, too.
    handle = _unwrapped(model).get_input_embeddings().register_forward_hook(mix)
    try:
        outputs = model(**inputs)
    finally:
        handle.remove()
    if mixed != 1:
        raise WiseMergeError(
            f"the embeddings were read {mixed} times in one forward pass instead of once, so they cannot be mixed; "
            "train without torch_compile, or with mixup=0"
        )
    return outputs


def _unwrapped(model: nn.Module) -> Any:
    """Return the model within wrappers for parallel training or compilation, which have no `get_input_embeddings`."""
    from accelerate.utils import extract_model_from_parallel

    return extract_model_from_parallel(model)


def _check_trainer(trainer: Any, *, mixes: bool) -> None:
    args = trainer.args
    if trainer.compute_loss_func is not None or args.label_smoothing_factor:
        raise WiseMergeError(
            "bang_trainer brings its own loss; remove compute_loss_func and label_smoothing_factor "
            f"(got label_smoothing_factor={args.label_smoothing_factor})"
        )
    if getattr(args, "loss_type", None) not in (None, "nll"):
        raise WiseMergeError(f"bang_trainer brings its own loss; set loss_type='nll' (got {args.loss_type!r})")
    if trainer.model.config.is_encoder_decoder:
        raise WiseMergeError(f"bang_trainer is for causal language models; got {type(trainer.model).__name__}")
    if mixes and args.per_device_train_batch_size < 2:
        raise WiseMergeError(
            "Mixup mixes the rows of a batch, so it needs per_device_train_batch_size >= 2; got "
            f"{args.per_device_train_batch_size}"
        )
    parallel = getattr(trainer.accelerator, "parallelism_config", None)
    if args.n_gpu > 1 or (parallel is not None and parallel.non_data_parallel_size > 1):
        raise WiseMergeError(
            "bang_trainer needs whole rows on one device per process; start with `accelerate launch`, one process per "
            "GPU, without tensor, context or sequence parallelism"
        )
