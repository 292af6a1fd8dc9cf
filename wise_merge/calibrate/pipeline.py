"""The order of work of `wise-merge fit temperature`: tokenize, read with each checkpoint, fit, print, draw, write."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wise_merge import __version__
from wise_merge.calibrate import diagram
from wise_merge.calibrate.checkpoints import ModelFolders, find_checkpoint, load_config, load_model
from wise_merge.calibrate.data import Encoded
from wise_merge.calibrate.outputs import check_device, check_outputs
from wise_merge.calibrate.result import Calibrated, calibrate
from wise_merge.calibrate.sequences import Data, Source, read_sequences
from wise_merge.calibrate.table import recipe, table
from wise_merge.checkpoints.final_norms import folds
from wise_merge.errors import WiseMergeError
from wise_merge.kernels.ranges import check_alpha
from wise_merge.kernels.threads import fitting
from wise_merge.results.whole_file import write_document, write_whole
from wise_merge.text import bar, printable_lines
from wise_merge.verifiers.models import ModelOptions

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

    @property
    def source(self) -> Source:
        """The held-out completions."""
        return Source(self.data, self.task, self.metadata, self.num_fewshot, self.limit)


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
    data, sequences = read_sequences(
        settings.source, checkpoints, configs, trust_remote_code=settings.trust_remote_code
    )
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
    settings.source.check()
    if settings.alpha is not None:
        check_alpha(settings.alpha)
    if outputs["--out"] is not None and settings.alpha is None:
        raise WiseMergeError(
            "--out needs --alpha, from 0 (early) to 1 (late): temperatures can be fitted, alpha is yours"
        )
    if outputs["--out"] is None and settings.alpha is not None:
        raise WiseMergeError("--alpha is for the recipe that --out names")
    check_outputs(outputs)
    if outputs["--figure"] is not None:
        diagram.check_suffix(outputs["--figure"])
    check_device(settings.device)


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
