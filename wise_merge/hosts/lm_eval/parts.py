"""What is taken from inside lm-eval: its task manager, its table, its loop, and two of its model classes."""

import importlib
from typing import Any

from wise_merge.hosts.part import Part


def _unknown_fields() -> str | None:
    """Return which of the fields that a task keeps its filters and metrics in its constructor does not set."""
    module: Any = importlib.import_module("lm_eval.api.task")
    set_there = module.ConfigurableTask.__init__.__code__.co_names
    fields = ("_filters", "_metric_fn_list", "_aggregation_list", "_higher_is_better")
    absent = [field for field in fields if field not in set_there]
    return f"lm_eval.api.task:ConfigurableTask has no {' and no '.join(absent)}" if absent else None


#: What makes `--tasks` find ours; without it, `--include_path` does (docs/startup-file.md).
TASKS = (
    Part("lm_eval.tasks.manager:TaskManager.__init__", takes=("verbosity", "include_path", "include_defaults")),
    Part("lm_eval.tasks.manager:TaskManager.all_tasks"),
)
#: What makes `--model` find ours; without it, `--model hf` and `--model vllm` answer our tasks.
MODELS = (Part("lm_eval.api.registry:model_registry.register", takes=("target",)),)
#: What sorts pass@k by k; without it, lm-eval prints its table as ever.
TABLE = (Part("lm_eval.utils:make_table", takes=("result_dict",)),)
#: What tells a task its model and keeps samples of a run that dies; without it, the audit lacks what the model knows.
LOOP = (Part("lm_eval.evaluator:evaluate", takes=("lm", "task_dict")),)
#: What makes `--wandb_args` take our samples; without it, W&B gets the results alone.
LOGGERS = (Part("lm_eval.loggers.wandb_logger:WandbLogger.post_init", takes=("results",)),)

#: What our task class is built on; without it, `--tasks` ends with the reason.
TASK_CLASS = (
    Part("lm_eval.api.task:ConfigurableTask.build_all_requests"),
    Part("lm_eval.api.task:ConfigurableTask.process_results", takes=("doc", "results")),
    Part("lm_eval.api.task:ConfigurableTask.set_config", takes=("key", "value", "update")),
    Part("lm_eval.api.task:ConfigurableTask.apply_filters"),
    Part("lm_eval.api.task:ConfigurableTask.aggregation"),
    Part("lm_eval.api.metrics:mean"),
)

#: What `<task>_passk` is made with; without it, such a name ends with the reason, and our own tasks run.
CONVERSION = (
    Part("lm_eval.tasks.manager:TaskManager.match_tasks", takes=("task_list",)),
    Part("lm_eval.tasks.manager:TaskManager.load", takes=("task_list",)),
    Part("lm_eval.tasks.manager:TaskManager.task_index"),
    Part("lm_eval.tasks.manager:Entry", takes=("name", "kind", "yaml_path", "cfg", "tags")),
    Part("lm_eval.tasks.manager:Kind.PY_TASK"),
    Part("lm_eval.tasks.manager:Kind.GROUP"),
    Part("lm_eval.tasks.manager:Kind.TAG"),
    Part("lm_eval.tasks._yaml_loader:load_yaml", takes=("path", "resolve_func")),
    Part("lm_eval.api.task:ConfigurableTask.download", takes=("dataset_kwargs",)),
    Part("lm_eval.api.task:ConfigurableTask.__init__", takes=("config",), behaves=_unknown_fields),
    Part("lm_eval.api.task:ConfigurableTask.training_docs"),
    Part("lm_eval.api.task:ConfigurableTask.validation_docs"),
    Part("lm_eval.api.task:ConfigurableTask.test_docs"),
    Part("lm_eval.api.samplers:ContextSampler", takes=("df",)),
    Part("lm_eval.filters:build_filter_ensemble", takes=("filter_name", "components")),
    Part("lm_eval.api.filter:FilterEnsemble.apply", takes=("instances",)),
    Part("lm_eval.api.instance:Instance", takes=("request_type", "doc", "arguments", "idx", "resps")),
    Part("lm_eval.api.instance:Instance.filtered_resps"),
)

_SETTINGS = Part("lm_eval.models.utils:normalize_gen_kwargs", takes=("gen_kwargs", "default_max_gen_toks"))
_TEXT = Part("lm_eval.models.utils:postprocess_generated_text", takes=("generation", "stop", "think_end_token"))

#: What drawing with lm-eval's `hf` needs; without it, samples are drawn by that class itself.
HF = (
    _SETTINGS,
    _TEXT,
    Part("lm_eval.models.utils:handle_stop_sequences", takes=("until", "eos")),
    Part("lm_eval.models.huggingface:HFLM._model_generate", takes=("context", "stop")),
    Part("lm_eval.models.huggingface:HFLM.tok_batch_encode", takes=("left_truncate_len", "truncation")),
    Part("lm_eval.models.huggingface:HFLM.tok_decode", takes=("skip_special_tokens",)),
    Part("lm_eval.models.huggingface:HFLM.eot_token_id"),
    Part("lm_eval.models.huggingface:HFLM.max_gen_toks"),
)

#: The same of lm-eval's `vllm`.
VLLM = (
    _SETTINGS,
    _TEXT,
    Part("lm_eval.models.utils:maybe_truncate", takes=("max_gen_toks", "max_model_len", "side", "verbose")),
    Part("lm_eval.models.vllm_causallms:VLLM.modify_gen_kwargs", takes=("eos", "default_max_gen_toks")),
    Part("lm_eval.models.vllm_causallms:VLLM.tok_encode"),
)
