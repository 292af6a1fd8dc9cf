"""Scores from reward models: one reward per completion, or one per step of it.

Any sequence classifier with one label; and Qwen's mathematical models as their model cards
use them (huggingface.co/Qwen/Qwen2.5-Math-RM-72B, Qwen2.5-Math-PRM-7B), whose two-layer head
is built here, so that none of the code in their repositories has to run.
"""

import math
from collections.abc import Sequence
from typing import Any

from wise_merge.errors import WiseMergeError
from wise_merge.verifiers import models
from wise_merge.verifiers.models import ModelOptions, Scorer

#: Architectures with Qwen's head: labels per token. The configurations' own num_labels are not used by Qwen's code.
_QWEN_OUTCOME, _QWEN_PROCESS = "Qwen2ForRewardModel", "Qwen2ForProcessRewardModel"
_QWEN_LABELS = {_QWEN_OUTCOME: 1, _QWEN_PROCESS: 2}
_QWEN_SYSTEM = {"role": "system", "content": "Please reason step by step, and put your final answer within \\boxed{}."}
_STEP_END = "<extra_0>"


def outcome_scorer(name: str, options: ModelOptions) -> Scorer:
    """Return the scorer that gives each completion the logit of a reward model with one label.

    The tokenizer's chat template, if it has one, makes a user's turn of the problem and an
    assistant's turn of the completion; without one they are the two texts of a pair.
    """
    from transformers import AutoTokenizer

    config, architecture = _config(name, options)
    if architecture == _QWEN_PROCESS:
        raise WiseMergeError(
            f"{name!r} rewards single steps; say how they are taken together: "
            f"prm-product:{name}, prm-min:{name} or prm-last:{name}"
        )
    tokenizer = models.load(AutoTokenizer.from_pretrained, name, trust_remote_code=options.trust_remote_code)
    model, batch_size = _outcome_model(name, options, config, architecture)
    limit = models.longest_sequence(config, tokenizer)
    text_config = model.config.get_text_config()
    padding_unnamed = text_config.pad_token_id is None
    system = [_QWEN_SYSTEM] if architecture == _QWEN_OUTCOME else []

    def score(problem: str, completions: Sequence[str]) -> list[float]:
        sequences = [_tokens(tokenizer, problem, completion, system) for completion in completions]
        scores = [-math.inf] * len(completions)
        readable = [i for i, sequence in enumerate(sequences) if len(sequence["input_ids"]) <= limit]
        ids = [sequences[i]["input_ids"] for i in readable]
        if padding_unnamed:
            # Without a padding token, such a model uses the last token of a single sequence and refuses a batch.
            # With a padding token that occurs in none of the sequences, it does the same in a batch.
            text_config.pad_token_id = _unused_token(text_config, ids)
        with_types = "token_type_ids" in tokenizer.model_input_names
        for batch in models.batches(ids, size=batch_size, padding=text_config.pad_token_id, device=model.device):
            types = [sequences[readable[row]].get("token_type_ids") for row in batch.rows] if with_types else []
            rewards = _rewards(model, batch, types, at_last_token=architecture == _QWEN_OUTCOME, name=name)
            for row, reward in zip(batch.rows, rewards, strict=True):
                scores[readable[row]] = reward
        return scores

    return score


def _outcome_model(name: str, options: ModelOptions, config: Any, architecture: str) -> tuple[Any, int]:
    """Return the reward model with one label, and how many completions it reads at once."""
    from transformers import AutoModel, AutoModelForSequenceClassification

    code = getattr(config, "auto_map", None) or {}
    if architecture == _QWEN_OUTCOME:
        model = models.load_weights(_qwen_class(architecture).from_pretrained, name, options, config=config)
        return model, options.batch_size
    if options.trust_remote_code and "AutoModel" in code and "AutoModelForSequenceClassification" not in code:
        # One at a time, as that code may not mask padding.
        return models.load_weights(AutoModel.from_pretrained, name, options), 1
    if getattr(config, "num_labels", None) != 1:
        raise WiseMergeError(
            f"{name!r} is not a reward model: that has 1 label, and its configuration says {config.num_labels} "
            f"({architecture})"
        )
    return models.load_weights(AutoModelForSequenceClassification.from_pretrained, name, options), options.batch_size


def _rewards(
    model: Any, batch: models.Batch, types: Sequence[Sequence[int] | None], *, at_last_token: bool, name: str
) -> list[float]:
    """Return the reward of each sequence of a batch.

    Args:
        model: gives one number per sequence, or one per token.
        batch: of sequences.
        types: token types of each sequence, if the tokenizer gives any.
        at_last_token: whether the reward is that of the last token.
        name: of the model, for messages.
    """
    import torch

    extra = {}
    if types and types[0] is not None:
        extra["token_type_ids"] = torch.zeros_like(batch.ids)
        for row, of_sequence in enumerate(types):
            extra["token_type_ids"][row, : len(of_sequence or ())] = torch.tensor(of_sequence)
    with torch.inference_mode():
        output = model(input_ids=batch.ids, attention_mask=batch.mask, **extra)
    logits = output if isinstance(output, torch.Tensor) else output[0]
    if at_last_token:
        last = batch.mask.sum(dim=1) - 1
        logits = logits[torch.arange(len(last), device=logits.device), last.to(logits.device)]
    if logits.numel() != len(batch.rows):
        raise WiseMergeError(
            f"{name!r} is not a reward model: expected one number per completion, "
            f"got the shape {tuple(logits.shape)} for {len(batch.rows)}"
        )
    rewards: list[float] = logits.double().flatten().tolist()
    return rewards


def process_scorer(name: str, options: ModelOptions, *, aggregate: str) -> Scorer:
    """Return the scorer that takes the step rewards of a Qwen2.5-Math-PRM together.

    As on its card: steps are separated by empty lines, each ends in <extra_0>, and its reward
    is the probability of the positive label there. `aggregate` is "product", "min" or "last".
    """
    import torch
    from transformers import AutoTokenizer

    config, architecture = _config(name, options)
    if architecture != _QWEN_PROCESS:
        raise WiseMergeError(
            f"{name!r} is a {architecture}; step rewards are read from a {_QWEN_PROCESS} (Qwen2.5-Math-PRM) only"
        )
    tokenizer = models.load(AutoTokenizer.from_pretrained, name, trust_remote_code=options.trust_remote_code)
    end_of_step = tokenizer.convert_tokens_to_ids(_STEP_END)
    if end_of_step is None or end_of_step == tokenizer.unk_token_id:
        raise WiseMergeError(f"the tokenizer of {name!r} has no token {_STEP_END}, which ends a step")
    model = models.load_weights(_qwen_class(architecture).from_pretrained, name, options, config=config)
    limit = models.longest_sequence(config, tokenizer)

    def score(problem: str, completions: Sequence[str]) -> list[float]:
        problem = problem.replace(_STEP_END, "")
        ids = [
            _tokens(tokenizer, problem, _with_ends_of_steps(text), [_QWEN_SYSTEM])["input_ids"] for text in completions
        ]
        scores = [-math.inf] * len(completions)
        readable = [i for i, sequence in enumerate(ids) if len(sequence) <= limit]
        sequences = [ids[i] for i in readable]
        for batch in models.batches(sequences, size=options.batch_size, padding=0, device=model.device):
            with torch.inference_mode():
                log_rewards = model(input_ids=batch.ids, attention_mask=batch.mask).double().log_softmax(-1)[..., 1]
            for row, index in enumerate(batch.rows):
                of_steps = log_rewards[row, (batch.ids[row] == end_of_step) & (batch.mask[row] == 1)]
                scores[readable[index]] = _aggregated(of_steps.tolist(), aggregate)
        return scores

    return score


def _config(name: str, options: ModelOptions) -> tuple[Any, str]:
    from transformers import AutoConfig, PretrainedConfig

    written, _ = models.load(PretrainedConfig.get_config_dict, name)
    architecture = (written.get("architectures") or ["model of an unnamed architecture"])[0]
    code = options.trust_remote_code and architecture not in _QWEN_LABELS
    return models.load(AutoConfig.from_pretrained, name, trust_remote_code=code), architecture


def _qwen_class(architecture: str) -> Any:
    """Return Qwen2 with the head Linear, ReLU, Linear, which gives (batch, tokens, labels) logits."""
    from torch import nn
    from transformers import Qwen2Model, Qwen2PreTrainedModel

    class QwenReward(Qwen2PreTrainedModel):
        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.model = Qwen2Model(config)
            width = config.hidden_size
            self.score = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, _QWEN_LABELS[architecture]))
            self.post_init()

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden = self.model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
            return self.score(hidden)

    return QwenReward


def _tokens(tokenizer: Any, problem: str, completion: str, system: list[dict[str, str]]) -> Any:
    problem, completion = models.well_formed(problem), models.well_formed(completion)
    if tokenizer.chat_template is None:
        return tokenizer(problem, completion)
    messages = [*system, {"role": "user", "content": problem}, {"role": "assistant", "content": completion}]
    return tokenizer.apply_chat_template(messages, tokenize=True, return_dict=True)


def _unused_token(config: Any, sequences: Sequence[Sequence[int]]) -> int:
    """Return a token that occurs in none of the sequences."""
    used = set().union(*sequences)
    return next(token for token in range(config.vocab_size) if token not in used)


def _with_ends_of_steps(completion: str) -> str:
    steps = [step.strip() for step in completion.replace(_STEP_END, "").split("\n\n")]
    return "".join(step + _STEP_END for step in [step for step in steps if step] or [""])


def _aggregated(log_rewards: list[float], aggregate: str) -> float:
    if aggregate == "product":
        return math.exp(math.fsum(log_rewards))
    return math.exp(min(log_rewards) if aggregate == "min" else log_rewards[-1])
