"""Checks of a mergekit configuration before mergekit starts on it.

mergekit itself ignores unknown parameters, drops extra tensors, and shows most
mistakes as a traceback without a file name. Looks at parameters, configs and
safetensors headers; reads no weight. Errors are click exceptions, so that
`mergekit-yaml` prints one line.
"""

import contextlib
import difflib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import transformers
from mergekit.common import ModelPath, ModelReference
from mergekit.config import ConditionalParameter, MergeConfiguration

from wise_merge.averaging import check_alpha, check_temperature
from wise_merge.checkpoints import check_same_model, read_config, read_headers
from wise_merge.errors import WiseMergeError

log = logging.getLogger(__name__)

#: What mergekit can cast weights to, as it spells it.
FLOATING_DTYPES = ("bfloat16", "float16", "float32", "float64")


class MergeInputError(click.ClickException, WiseMergeError):
    """A `WiseMergeError` that `mergekit-yaml` prints as one line, with exit code 1."""


@contextlib.contextmanager
def one_line_errors() -> Iterator[None]:
    """Turn every `WiseMergeError` within into a `MergeInputError`."""
    try:
        yield
    except MergeInputError:
        raise
    except WiseMergeError as error:
        raise MergeInputError(str(error)) from error


def check_configuration(config: MergeConfiguration, known_parameters: Sequence[str]) -> None:
    """Raise `MergeInputError` for a configuration of our methods that cannot give the right model.

    Looks at parameters, configs and safetensors headers; reads no weight.
    Checkpoints that are still on the Hub are checked as far as their config.
    """
    with one_line_errors():
        _mark_local_paths(config)
        _check_parameters(config, known_parameters)
        _check_dtypes(config)
        one_tokenizer = config.tokenizer is not None or config.tokenizer_source is not None
        for early, late in _pairs(config):
            for role, model in (("early", early), ("late", late)):
                _check_checkpoint(role, model)
            if _is_local(early) and _is_local(late):
                check_same_model(Path(early.model.path), Path(late.model.path), ignore_vocabulary=one_tokenizer)
                _warn_of_idle_filters(config, read_headers(Path(early.model.path)))


def _pairs(config: MergeConfiguration) -> list[tuple[ModelReference, ModelReference]]:
    """Return the different (early, late) that the configuration averages, from models, slices or modules."""
    if config.base_model is None:
        raise WiseMergeError(
            f"base_model is missing; {config.merge_method} takes the early checkpoint from it, "
            "and the late one from models"
        )
    pairs = []
    for holder in (config, *(config.modules or {}).values()):
        if holder.models is not None:
            pairs.append(_early_and_late(config, config.base_model, [entry.model for entry in holder.models]))
        for index, piece in enumerate(holder.slices or ()):
            early = piece.base_model or config.base_model
            if early not in [source.model for source in piece.sources]:
                raise WiseMergeError(
                    f"slice {index} does not name the early checkpoint {early} among its sources; add it"
                )
            if len({tuple(source.layer_range) for source in piece.sources}) > 1:
                raise WiseMergeError(
                    f"slice {index} averages different layers with each other; give its sources one layer_range"
                )
            pairs.append(_early_and_late(config, early, [source.model for source in piece.sources]))
    return list(dict.fromkeys(pairs))


def _early_and_late(
    config: MergeConfiguration, early: ModelReference, models: Sequence[ModelReference]
) -> tuple[ModelReference, ModelReference]:
    late = [model for model in models if model != early]
    if len(late) != 1:
        listed = ", ".join(map(str, late)) or "none but base_model itself"
        raise WiseMergeError(
            f"models must name exactly one late checkpoint for {config.merge_method}; it names {listed}. "
            "For several models use mergekit's linear"
        )
    if len(models) - len(late) > 1:
        raise WiseMergeError(f"the early checkpoint {early} is named twice; name it once")
    return early, late[0]


def _check_checkpoint(role: str, model: ModelReference) -> None:
    try:
        config_of(model)
    except OSError as error:
        reason = str(error).strip().splitlines()[0]
        raise WiseMergeError(
            f"the {role} checkpoint {model.model} is neither a directory here nor a model on the Hub ({reason}); "
            "correct the path"
        ) from error
    if _is_local(model):
        read_headers(Path(model.model.path))


def config_of(model: ModelReference) -> dict[str, Any]:
    """Return config.json of a checkpoint here or on the Hub; OSError if it is in neither place."""
    path = Path(model.model.path)
    if path.exists():
        return read_config(path)
    if path.is_absolute() or model.model.path.startswith((".", "~")) or len(path.parts) > 2:
        raise FileNotFoundError("the name has the form of a path, and nothing is there")
    # Not AutoConfig: it refuses models with code of their own, which --trust-remote-code allows.
    file = transformers.utils.cached_file(model.model.path, "config.json", revision=model.model.revision)
    return read_config(Path(file).parent)


def _is_local(model: ModelReference) -> bool:
    return model.lora is None and Path(model.model.path).is_dir()


def _mark_local_paths(config: MergeConfiguration) -> None:
    """Write `a/b` as `./a/b` where it is a directory.

    mergekit asks the Hub whether `a/b` is a repository there when it writes the
    model card: that tells the Hub private names and, without a network, ends the
    merge with the weights written and tokenizer and config missing.
    """

    def marked(model: ModelReference) -> ModelReference:
        path = model.model.path
        if path.startswith(("/", "~", "./", "../")) or model.model.revision or not Path(path).is_dir():
            return model
        return model.model_copy(update={"model": ModelPath(path=f"./{path}")})

    holders: list[Any] = [config, *(config.modules or {}).values()]
    slices = [piece for holder in holders for piece in holder.slices or ()]
    for owner in (config, *slices):
        if owner.base_model is not None:
            owner.base_model = marked(owner.base_model)
    for entry in [entry for holder in holders for entry in holder.models or ()] + [
        source for piece in slices for source in piece.sources
    ]:
        entry.model = marked(entry.model)


def _check_parameters(config: MergeConfiguration, known: Sequence[str]) -> None:
    shared, per_model = _parameter_scopes(config)
    for place, settings in {**shared, **per_model}.items():
        for name, setting in settings.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"{config.merge_method} knows {', '.join(known)}"
                raise WiseMergeError(f"unknown parameter {name} in {place}; {hint}")
            for value in _scalars(setting):
                _check_value(name, value, place)
            _check_conditions(name, setting, place)
    for place, settings in per_model.items():
        if "alpha" in settings:
            raise WiseMergeError(
                f"alpha stands in {place}, where mergekit does not look for it; it belongs to the whole merge: "
                "move it to the top-level parameters"
            )
    for place, scopes in _alpha_scopes(config):
        alphas = [scope["alpha"] for scope in scopes if scope and "alpha" in scope]
        if not alphas:
            raise WiseMergeError(
                f"alpha is missing{place}; set it from 0 (early) to 1 (late) at the top level, "
                "such as `parameters: {alpha: 0.5}`"
            )
        if not any(_covers_all_tensors(alpha) for alpha in alphas):
            raise WiseMergeError(
                f"alpha has values for some tensors only{place}; "
                "end its list with an entry without filter, such as `- value: 0.5`"
            )


def _alpha_scopes(config: MergeConfiguration) -> Iterator[tuple[str, list[Mapping[str, Any] | None]]]:
    """Yield, for each part of the model, the parameters in which mergekit looks for alpha."""
    if config.modules is None and config.slices is None:
        yield "", [config.parameters]
    modules = [("", config), *((f" of module {name}", module) for name, module in (config.modules or {}).items())]
    for place, holder in modules:
        if holder is not config and holder.models:
            yield f" for the models{place}", [holder.parameters, config.parameters]
        for index, piece in enumerate(holder.slices or ()):
            yield f" for slice {index}{place}", [piece.parameters, holder.parameters, config.parameters]


def _check_conditions(name: str, setting: Any, place: str) -> None:
    if name == "temperature" and not isinstance(setting, (int, float, str)):
        raise WiseMergeError(f"temperature in {place} must be one number, which holds for the whole checkpoint")
    conditions = (
        [entry for entry in setting if isinstance(entry, ConditionalParameter)] if isinstance(setting, list) else []
    )
    for number, condition in enumerate(conditions[:-1], start=1):
        if condition.filter in (None, "*"):
            raise WiseMergeError(
                f"entry {number} of {name} in {place} has no filter (or a misspelt one), "
                "so it holds for every tensor and those after it are never used; put it last"
            )


def _warn_of_idle_filters(config: MergeConfiguration, names: Collection[str]) -> None:
    for place, settings in _parameter_scopes(config)[0].items():
        setting = settings.get("alpha")
        for condition in setting if isinstance(setting, list) else [setting]:
            text = condition.filter if isinstance(condition, ConditionalParameter) else None
            if text not in (None, "*") and not any(text in name for name in names):
                log.warning("alpha in %s: no tensor's name contains %r, so its value is not used", place, text)


def _check_dtypes(config: MergeConfiguration) -> None:
    for key in ("dtype", "out_dtype"):
        name = getattr(config, key)
        if name is not None and name.removeprefix("torch.") not in FLOATING_DTYPES:
            raise WiseMergeError(f"{key} must be one of {', '.join(FLOATING_DTYPES)}; got {name}")


def _parameter_scopes(
    config: MergeConfiguration,
) -> tuple[dict[str, Mapping[str, Any]], dict[str, Mapping[str, Any]]]:
    """Return the parameters by where they stand: those of the whole merge and those of one model."""
    shared: dict[str, Mapping[str, Any]] = {"parameters": config.parameters or {}}
    per_model = {f"parameters of model {entry.model}": entry.parameters or {} for entry in config.models or ()}
    modules = {f"modules.{name}": module for name, module in (config.modules or {}).items()}
    for place, module in modules.items():
        shared[f"{place}.parameters"] = module.parameters or {}
        for entry in module.models or ():
            per_model[f"{place}: parameters of model {entry.model}"] = entry.parameters or {}
    slices = {
        "slices": config.slices or [],
        **{f"{place}.slices": m.slices or [] for place, m in modules.items()},
    }
    for place, slice_list in slices.items():
        for index, piece in enumerate(slice_list):
            shared[f"{place}[{index}].parameters"] = piece.parameters or {}
            for source in piece.sources:
                per_model[f"{place}[{index}]: parameters of model {source.model}"] = source.parameters or {}
    return shared, per_model


def _scalars(setting: Any) -> Iterator[Any]:
    if isinstance(setting, ConditionalParameter):
        yield from _scalars(setting.value)
    elif isinstance(setting, list):
        for item in setting:
            yield from _scalars(item)
    else:
        yield setting


def _check_value(name: str, value: Any, place: str) -> None:
    try:
        if isinstance(value, bool):
            raise ValueError
        number = float(value)
    except (TypeError, ValueError):
        raise WiseMergeError(f"{name} in {place} must be a number; got {value!r}") from None
    {"alpha": check_alpha, "temperature": check_temperature}[name](number)


def _covers_all_tensors(setting: Any) -> bool:
    conditions = setting if isinstance(setting, list) else [setting]
    return any(
        not isinstance(condition, ConditionalParameter) or condition.filter in (None, "*") for condition in conditions
    )
