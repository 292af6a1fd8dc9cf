"""For the training of a run that is to be averaged: kept early checkpoints, label smoothing, Mixup of embeddings.

What BANG does in training (arXiv 2309.17230), and the early checkpoint that WiSE-FT needs (arXiv 2504.10478). The
training itself is that of transformers' Trainer and of what is built on it; nothing else in the package imports this.
"""

from wise_merge.training.early_checkpoints import KeepEarlyCheckpoints
from wise_merge.training.label_smoothing import label_smoothing_loss
from wise_merge.training.mixup import bang_trainer

__all__ = ["KeepEarlyCheckpoints", "bang_trainer", "label_smoothing_loss"]
