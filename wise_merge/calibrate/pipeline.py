"""The order of work of `wise-merge fit temperature`: tokenize, read with each checkpoint, fit, print, draw, write."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge import __version__
from wise_merge.calibrate import diagram
from wise_merge.calibrate.checkpoints import ModelFolders, find_checkpoint, load_config, load_model, load_tokenizer
from wise_merge.calibrate.data import Encoded, Example, encode, read_examples, task_examples
from wise_merge.calibrate.result import Calibrated, Data, calibrate
from wise_merge.calibrate.table import recipe, table
from wise_merge.checkpoints.final_norms import folds
from wise_merge.errors import WiseMergeError, first_line
from wise_merge.kernels.ranges import check_alpha
from wise_merge.kernels.threads import fitting
from wise_merge.results.whole_file import write_document, write_whole
from wise_merge.text import bar, printable_lines
from wise_merge.verifiers.models import ModelOptions, longest_sequence

#: The roles of the two checkpoints, in the order of all sequences here.
ROLES = ("early", "late")


@dataclass(frozen=True)
class FitSettings:
    """What the command line says: see `wise-merge fit temperature --help`."""

    data: Path | None = None
    task: str | None = None
    metadata: Sequence[str] = ()
    num_fewshot: int | None = None
    limit: int | None = None
    batch_size: int = 16
    device: str | None = None
    dtype: str = "auto"
    trust_remote_code: bool = False
    alpha: float | None = None


def fit_temperatures(
    early: str,
    late: str,
    settings: FitSettings,
    *,
    out: Path | None = None,
    figure: Path | None = None,
    json_file: Path | None = None,
    say: Callable[[str], object] = print,
    warn: Callable[[str], object] = print,
) -> list[Calibrated]:
    """Return both checkpoints calibrated, after printing the table and writing what is asked for.

    Args:
        early: the early checkpoint, as mergekit names it, or a folder with a LoRA adapter.
        late: the late one.
        settings: see there.
        out: file for the recipe; needs settings.alpha.
        figure: file for the reliability diagram.
        json_file: file for all figures.
        say: prints a part of the output.
        warn: is given what is odd about where the checkpoints come from.
    """
    _check_settings(settings, {"--out": out, "--figure": figure, "--json": json_file})
    options = ModelOptions(settings.device, settings.dtype, settings.batch_size, settings.trust_remote_code)
    checkpoints = [find_checkpoint(role, name, warn) for role, name in zip(ROLES, (early, late), strict=True)]
    configs = [load_config(one, trust_remote_code=settings.trust_remote_code) for one in checkpoints]
    if out is not None:
        # Where no temperature can be folded into the model, there is nothing to write.
        for config in configs:
            folds(config.to_dict())
    data, sequences = _sequences(checkpoints, configs, settings)
    calibrated = [
        _calibrate(role, checkpoint, sequences, data, options)
        for role, checkpoint in zip(ROLES, checkpoints, strict=True)
    ]
    say(printable_lines(table(data, calibrated)))
    if json_file is not None:
        write_document(
            json_file, {"wise_merge": __version__, "data": data, "early": calibrated[0], "late": calibrated[1]}
        )
    if figure is not None:
        diagram.draw(calibrated, figure)
    if out is not None and settings.alpha is not None:
        write_whole(out, recipe(data, calibrated, settings.alpha, _common_dtype(configs)).encode())
        cache = " --lora-merge-cache CACHE" if any(checkpoint.adapter for checkpoint in checkpoints) else ""
        say(printable_lines(f"\nmergekit-yaml {out} OUT{cache}"))
    return calibrated


def _check_settings(settings: FitSettings, outputs: Mapping[str, Path | None]) -> None:
    """Refuse, before the long work, what would fail or destroy something after it."""
    if (settings.data is None) == (settings.task is None):
        raise WiseMergeError("give either --data, a file of prompts and completions, or --task, a task of lm-eval")
    if settings.task is None and (settings.metadata or settings.num_fewshot is not None):
        raise WiseMergeError("--metadata and --num-fewshot are for --task")
    if settings.alpha is not None:
        check_alpha(settings.alpha)
    if outputs["--out"] is not None and settings.alpha is None:
        raise WiseMergeError(
            "--out needs --alpha, from 0 (early) to 1 (late): temperatures can be fitted, alpha is yours"
        )
    if outputs["--out"] is None and settings.alpha is not None:
        raise WiseMergeError("--alpha is for the recipe that --out names")
    taken: dict[Path, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        if path.is_dir() or path.is_file():
            raise WiseMergeError(f"{option} {path} exists and is not overwritten; delete it or choose another name")
        if path.resolve() in taken:
            raise WiseMergeError(f"{option} {path} is the file of {taken[path.resolve()]}, too; choose another name")
        taken[path.resolve()] = option
    if outputs["--figure"] is not None:
        diagram.check_suffix(outputs["--figure"])
    if settings.device is not None:
        _check_device(settings.device)


def _check_device(name: str) -> None:
    import torch

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = first_line(error)
        raise WiseMergeError(f"--device {name} cannot be used: {reason}") from error


def _sequences(
    checkpoints: Sequence[ModelFolders], configs: Sequence[Any], settings: FitSettings
) -> tuple[Data, list[Encoded]]:
    """Return the tokens that both checkpoints read, and what is to be said about them."""
    tokenizers = [load_tokenizer(one, trust_remote_code=settings.trust_remote_code) for one in checkpoints]
    if settings.task is not None:
        examples = task_examples(
            settings.task, metadata=settings.metadata, num_fewshot=settings.num_fewshot, limit=settings.limit
        )
    else:
        assert settings.data is not None
        examples = read_examples(settings.data, limit=settings.limit)
    encoded = [_encode_for_both(example, checkpoints, tokenizers) for example in examples]
    longest = min(longest_sequence(*pair) for pair in zip(configs, tokenizers, strict=True))
    kept = [sequence for sequence in encoded if len(sequence.ids) <= longest]
    source = str(settings.data) if settings.task is None else " ".join([settings.task, *settings.metadata])
    if not kept:
        shortest = min(len(sequence.ids) for sequence in encoded)
        fewer = "; a smaller --num-fewshot makes them shorter" if settings.task is not None else ""
        raise WiseMergeError(
            f"{source}: every sequence is longer than the {longest:,} tokens that the model reads (the shortest has "
            f"{shortest:,}){fewer}"
        )
    _check_vocabulary(kept, checkpoints, configs)
    tokens = sum(len(sequence.ids) - sequence.first for sequence in kept)
    return Data(source, len(kept), tokens, len(encoded) - len(kept), longest), kept


def _encode_for_both(example: Example, checkpoints: Sequence[ModelFolders], tokenizers: Sequence[Any]) -> Encoded:
    by_early, by_late = (encode(tokenizer, example) for tokenizer in tokenizers)
    if by_early != by_late:
        raise WiseMergeError(
            f"{example.place}: the tokenizers of {checkpoints[0].name} and {checkpoints[1].name} make different tokens "
            "of it; both checkpoints must have the tokenizer, and the chat template, of one run"
        )
    return by_early


def _check_vocabulary(
    sequences: Sequence[Encoded], checkpoints: Sequence[ModelFolders], configs: Sequence[Any]
) -> None:
    for checkpoint, config in zip(checkpoints, configs, strict=True):
        size = config.get_text_config().vocab_size
        for sequence in sequences:
            if max(sequence.ids) >= size:
                raise WiseMergeError(
                    f"{sequence.place}: the tokenizer makes token {max(sequence.ids)} of it, but {checkpoint.name} has "
                    f"embeddings for {size}; copy the tokenizer that belongs to the checkpoint into it"
                )


def _calibrate(
    role: str, checkpoint: ModelFolders, sequences: Sequence[Encoded], data: Data, options: ModelOptions
) -> Calibrated:
    import torch

    from wise_merge.calibrate.forward import read

    try:
        model = load_model(checkpoint, options)
        with bar(total=data.tokens, what=role, unit="token", scaled=True) as shown, fitting(model):
            tokens = read(model, sequences, batch_size=options.batch_size, progress=shown.update)
    except torch.OutOfMemoryError as error:
        raise WiseMergeError(
            f"{checkpoint.name} does not fit into the memory of {options.device or 'the GPU'} with --batch-size "
            f"{options.batch_size}; choose a smaller one, --dtype bfloat16 or --device cpu"
        ) from error
    except WiseMergeError as error:
        raise WiseMergeError(f"{role} checkpoint {checkpoint.name}: {error}") from error
    return calibrate(role, checkpoint.name, tokens)


def _common_dtype(configs: Sequence[Any]) -> str | None:
    """Return the dtype that both checkpoints are stored in, None if they differ or do not say."""
    names = {str(getattr(config, "dtype", None)).removeprefix("torch.") for config in configs}
    return names.pop() if len(names) == 1 and names != {"None"} else None
