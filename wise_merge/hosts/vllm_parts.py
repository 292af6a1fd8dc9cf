"""What is taken from inside vLLM: its engine, step by step, and the way in which it replaces weights."""

from wise_merge.hosts.part import Part

#: What drawing sample by sample needs; without it, samples are drawn by lm-eval's own `vllm`.
ENGINE = (
    Part("vllm:SamplingParams.__struct_fields__"),
    Part("vllm.sampling_params:RequestOutputKind.DELTA"),
    Part("vllm.v1.engine.llm_engine:LLMEngine.add_request", takes=("request_id", "prompt", "params", "lora_request")),
    Part("vllm.v1.engine.llm_engine:LLMEngine.step"),
    Part("vllm.v1.engine.llm_engine:LLMEngine.abort_request"),
)
#: What several copies of a model need; without it, data_parallel_size ends with the reason.
REPLICAS = (
    Part("vllm.engine.arg_utils:AsyncEngineArgs"),
    Part("vllm.v1.engine.async_llm:AsyncLLM.from_engine_args"),
    Part("vllm.v1.engine.async_llm:AsyncLLM.generate", takes=("prompt", "sampling_params", "request_id")),
    Part("lm_eval.models.vllm_causallms:LLM"),
)
#: What a sweep needs to replace the weights of an engine; without it, a sweep with vLLM ends before it samples.
RELOAD = (
    Part("vllm.v1.worker.gpu_worker:Worker.reload_weights", takes=("weights_iterator",)),
    Part("vllm.v1.engine.llm_engine:LLMEngine.reset_prefix_cache"),
    Part("vllm.v1.engine.llm_engine:LLMEngine.collective_rpc"),
)
