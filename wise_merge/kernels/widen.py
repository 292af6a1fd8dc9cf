"""WIDEN: changes of several models added to their base, each column weighted by how much it changed within its model.

Extend Model Merging from Fine-Tuned to Pre-Trained Large Language Models via Weight Disentanglement (arXiv 2408.03092).
A column of a matrix is what one input feature is multiplied by; of a table that is looked up by row, such as
embeddings, it is the row of one token. Knows torch alone.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from wise_merge.errors import WiseMergeError
from wise_merge.kernels.blocks import block_size, empty, float64_of


def widen(
    base: Tensor,
    models: Sequence[Tensor],
    *,
    above_average: float = 1.0,
    score: float = 1.0,
    looked_up: bool = False,
    out: Tensor | None = None,
) -> Tensor:
    """Return base + sum_n w_n * (model_n - base), in the dtype of all of them, with a weight w_n for each column.

    Within each model, columns are ranked by the change of their length and by that of their direction, as `changes`
    defines them. The score of a rank is its softmax over the models, or `score` where it is more than `above_average`
    times the average rank of its model; w_n is the mean of the two scores. Equal changes are ranked in the order of
    the columns. In a vector, each element has the score of its |model_n - base|, by the same rule, without ranks.

    Of three dimensions the first counts matrices, such as experts, each merged by itself. [n, 1, k], a depthwise
    convolution, is [n, k], and so is with more dimensions all that follows the first: a row is an output.

    bfloat16 and float16 are merged in float32, float32 and float64 in float64, and rounded once; lengths and directions
    are computed in float64. What equals its base in all models stays as it is.

    Args:
        base: W_0 of the paper.
        models: W_n; two or more, of the shape and dtype of `base`, floating.
        above_average: t of the paper.
        score: s of the paper.
        looked_up: whether the tensor is a table that is looked up by row, whose rows are columns in the sense above.
        out: a contiguous tensor of that shape and dtype to write to.
    """
    _check(base, models)
    merged = empty(base, base.dtype) if out is None else out.detach()
    tensors = [merged, base.detach(), *(model.detach() for model in models)]
    if base.numel() == 0:
        return merged
    if base.dim() < 2:
        _merge_vector(*tensors, above_average=above_average, score=score)
        return merged
    for matrices in zip(*(_matrices(tensor, looked_up) for tensor in tensors), strict=True):
        _merge_matrix(*matrices, above_average=above_average, score=score)
    return merged


def _check(base: Tensor, models: Sequence[Tensor]) -> None:
    if len(models) < 2:
        raise WiseMergeError(f"WIDEN compares the changes of at least two models; got {len(models)}")
    for number, model in enumerate(models):
        if model.shape != base.shape or model.dtype != base.dtype:
            raise WiseMergeError(
                f"model {number} has shape {tuple(model.shape)} in {model.dtype} but base has {tuple(base.shape)} in "
                f"{base.dtype}; all checkpoints must come from the same architecture"
            )
    if not base.is_floating_point() or base.dtype.itemsize == 1:
        raise WiseMergeError(f"only bfloat16, float16, float32 and float64 can be merged; got {base.dtype}")


def _matrices(tensor: Tensor, looked_up: bool) -> list[Tensor]:
    """Return the matrices that a tensor consists of, as views whose columns are to be ranked."""
    if tensor.dim() > 3 or (tensor.dim() == 3 and tensor.shape[1] == 1):
        tensor = tensor.reshape(tensor.shape[0], -1)
    if tensor.dim() == 2:
        return [tensor.t() if looked_up else tensor]
    return list(tensor)


def _merge_vector(merged: Tensor, base: Tensor, *models: Tensor, above_average: float, score: float) -> None:
    start = base.reshape(-1).to(float64_of(base.device))
    deltas = torch.stack([model.reshape(-1).to(start.dtype) - start for model in models])
    change = deltas.abs()
    # Sums, not means: of equal numbers a mean is rounded, and may be less than they are.
    above = change * change.shape[1] > above_average * change.sum(1, keepdim=True)
    merged.view(-1).copy_(start + (deltas * _scores(change, above, score)).sum(0))


def _merge_matrix(merged: Tensor, base: Tensor, *models: Tensor, above_average: float, score: float) -> None:
    sums = torch.empty(1 + 2 * len(models), base.shape[1], dtype=float64_of(base.device), device=base.device)
    _in_strips(_sum_products, sums, base, *models)
    lengths, directions = changes(sums)
    weights = (_rank_scores(lengths, above_average, score) + _rank_scores(directions, above_average, score)) / 2
    wide = torch.float32 if base.dtype.itemsize == 2 else sums.dtype
    _in_strips(_add_weighted, weights.to(wide), merged, base, *models)


def changes(sums: Tensor) -> tuple[Tensor, Tensor]:
    """Return how much the length and the direction of each column has changed in each model, two tensors of [n, in].

    That is | |w_n| - |w_0| | and 1 - cos(w_n, w_0), without the cancellation that the formulas have for models close to
    their base: |w_n|^2 - |w_0|^2 = 2 b + c, and sin^2 = (a c - b^2) / (a |w_n|^2). A column that is 0 in the base or
    the model has no direction, whose change is 0.

    Args:
        sums: for each column a = w_0 . w_0, and of each model b = w_0 . d and c = d . d, where d = w_n - w_0.
    """
    a, b, c = sums[0], sums[1::2], sums[2::2]
    square = (a + 2 * b + c).clamp_min(0)
    both = a.sqrt() * square.sqrt()
    total = a.sqrt() + square.sqrt()
    lengths = torch.where(total > 0, (2 * b + c).abs() / total, 0)
    cosine = ((a + b) / both).clamp(-1, 1)
    across = a * c - b * b
    # Less than the rounding of the sums is nothing: the change has the direction of the column.
    across = torch.where(across > 2**12 * torch.finfo(sums.dtype).eps * a * c, across, 0)
    directions = torch.where(cosine > 0, across / both**2 / (1 + cosine), 1 - cosine)
    return lengths, torch.where(both > 0, directions, 0)


def _rank_scores(change: Tensor, above_average: float, score: float) -> Tensor:
    """Return the score of each column in each model by the rank of its change, both [n, in]."""
    columns = change.shape[1]
    order = torch.argsort(change, dim=1, stable=True)
    places = torch.arange(columns, dtype=change.dtype, device=change.device).expand_as(change)
    ranks = torch.zeros_like(change).scatter_(1, order, places)
    # The average of 0, 1, ..., in - 1 is known exactly; a mean of rounded shares of `in` lies beside the middle one.
    return _scores(ranks / columns, ranks > above_average * (columns - 1) / 2, score)


def _scores(significance: Tensor, above: Tensor, score: float) -> Tensor:
    return torch.softmax(significance, dim=0).masked_fill_(above, score)


def _in_strips(compute: Callable[..., None], *tensors: Tensor) -> None:
    """Call `compute` with tensors whose last dimension is that of columns, or with strips of them, a thread each.

    For why these threads are not torch's see `blocks.in_parts`. A column is summed in the same order in any strip.
    """
    base, columns = tensors[-1], tensors[-1].shape[1]
    large = base.device.type == "cpu" and base.numel() > 16 * block_size(base.device)
    threads = min(torch.get_num_threads(), columns) if large else 1
    if threads == 1:
        compute(*tensors)
        return
    strips = [torch.split(tensor, -(-columns // threads), dim=-1) for tensor in tensors]
    with ThreadPoolExecutor(threads) as pool:
        # As a list: an error within is raised when its result is taken.
        list(pool.map(compute, *strips))


def _shape_of_blocks(matrix: Tensor) -> tuple[int, int]:
    """Return rows and columns of blocks that are read from whole stretches of memory."""
    rows, columns = matrix.shape
    size = block_size(matrix.device) // 2
    height = rows if matrix.stride(0) < matrix.stride(1) else min(rows, size // 512)
    return height, min(columns, max(1, size // height))


def _buffers(count: int, matrix: Tensor, dtype: torch.dtype) -> list[Tensor]:
    """Return uninitialised blocks whose memory is laid out as that of the matrix."""
    height, width = _shape_of_blocks(matrix)
    if matrix.stride(0) < matrix.stride(1):
        return [torch.empty(width, height, dtype=dtype, device=matrix.device).t() for _ in range(count)]
    return [torch.empty(height, width, dtype=dtype, device=matrix.device) for _ in range(count)]


def _sum_products(sums: Tensor, base: Tensor, *models: Tensor) -> None:
    """Fill `sums` with a, b and c of `changes` for each column."""
    height, width = _shape_of_blocks(base)
    first, second, *totals = _buffers(2 + len(sums), base, sums.dtype)
    for column_sums, *strips in zip(*(torch.split(one, width, dim=1) for one in (sums, base, *models)), strict=True):
        for total in totals:
            total.zero_()
        for base_block, *blocks in zip(*(torch.split(strip, height) for strip in strips), strict=True):
            place = tuple(map(slice, base_block.shape))
            start, delta = first[place].copy_(base_block), second[place]
            totals[0][place].addcmul_(start, start)
            for number, block in enumerate(blocks):
                delta.copy_(block).sub_(start)
                totals[1 + 2 * number][place].addcmul_(start, delta)
                totals[2 + 2 * number][place].addcmul_(delta, delta)
        for total, column_sum in zip(totals, column_sums, strict=True):
            torch.sum(total[:, : len(column_sum)], dim=0, out=column_sum)


def _add_weighted(weights: Tensor, merged: Tensor, base: Tensor, *models: Tensor) -> None:
    """Fill `merged` with base + sum_n weights_n * (model_n - base), computed in the dtype of the weights."""
    height, width = _shape_of_blocks(base)
    first, second, third = _buffers(3, base, weights.dtype)
    for of_columns, *strips in zip(
        *(torch.split(one, width, dim=1) for one in (weights, merged, base, *models)), strict=True
    ):
        for out, base_block, *blocks in zip(*(torch.split(strip, height) for strip in strips), strict=True):
            place = tuple(map(slice, base_block.shape))
            start, delta, total = first[place].copy_(base_block), second[place], third[place]
            total.copy_(start)
            for weight, block in zip(of_columns, blocks, strict=True):
                total.add_(delta.copy_(block).sub_(start).mul_(weight))
            out.copy_(total)
