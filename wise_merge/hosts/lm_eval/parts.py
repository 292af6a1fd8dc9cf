"""What is taken from inside lm-eval: its task manager, its table, its loop, and two of its model classes."""

from wise_merge.hosts.part import Part

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
