"""What is taken from inside transformers: its loop over tokens, opened up, and its cache of keys and values."""

from wise_merge.hosts.part import Part

_LOOP = "transformers:GenerationMixin"


def _generate_hands_over() -> str | None:
    """Return what `generate` does not hand to a loop of ours, asked of a model of a few hundred parameters."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    received: set[str] = set()

    def loop(model: object, input_ids: torch.Tensor, **others: object) -> torch.Tensor:
        received.update(others)
        return input_ids

    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    # Its weights do not matter, and making them must not change the state of the random numbers.
    with torch.random.fork_rng(devices=[]):
        model = LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=8, pad_token_id=0, eos_token_id=1, bos_token_id=None))
    model.generate(
        input_ids=torch.tensor([[2]]), attention_mask=torch.tensor([[1]]), max_length=2, custom_generate=loop
    )
    wanted = ("logits_processor", "stopping_criteria", "generation_config", "attention_mask")
    absent = [name for name in wanted if name not in received]
    return f"{_LOOP}.generate hands no {absent[0]} to custom_generate" if absent else None


#: What `sampling` in our own way needs; without it, samples are drawn by lm-eval's own `hf`.
LOOP = (
    Part(f"{_LOOP}.generate", takes=("custom_generate",), behaves=_generate_hands_over),
    Part(f"{_LOOP}._prefill", takes=("input_ids", "generation_config", "model_kwargs")),
    Part(f"{_LOOP}._update_model_kwargs_for_generation", takes=("outputs", "model_kwargs", "is_encoder_decoder")),
    Part(f"{_LOOP}._optimize_model_for_decode"),
    Part(f"{_LOOP}.prepare_inputs_for_generation", takes=("next_sequence_length",)),
    Part("transformers:GenerationConfig.get_generation_mode"),
)


def _layers_hold_rows() -> str | None:
    """Return what is not as expected of a cache of two rows whose first is dropped."""
    import torch
    from transformers import DynamicCache

    cache = DynamicCache()
    states = torch.arange(8.0).reshape(2, 1, 2, 2)
    cache.update(states, states, 0)
    (layer,) = cache.layers
    cache.reorder_cache(torch.tensor([1]))
    if layer.keys.tolist() != states[1:].tolist() or layer.values.tolist() != states[1:].tolist():
        return "transformers:DynamicCache.reorder_cache does not pick rows"
    return None


#: What the samples of a prompt need to share its prefill; without it, every sample reads its prompt by itself.
SHARED_PREFILL = (
    Part("transformers:Cache"),
    Part("transformers.cache_utils:StaticLayer"),
    Part("transformers:DynamicCache.reorder_cache", takes=("beam_idx",), behaves=_layers_hold_rows),
)


def _a_layer_is_its_keys_and_values() -> str | None:
    """Return what is not as expected of a layer's fields: [rows, heads, tokens, channels], longer by `update`."""
    import torch
    from transformers.cache_utils import DynamicLayer

    layer = DynamicLayer()
    states = torch.arange(4.0).reshape(1, 1, 2, 2)
    layer.update(states, states + 1)
    keys, values = layer.update(states, states + 1)
    if not layer.is_initialized or layer.keys is not keys or layer.values is not values or keys.shape[-2] != 4:
        return "transformers.cache_utils:DynamicLayer keeps keys and values in another form"
    return None


#: What room for tokens to come needs; without it, each token copies the keys and values of all before it.
ROOM = (
    Part("transformers.cache_utils:DynamicLayer.update", takes=("key_states", "value_states")),
    Part("transformers.cache_utils:DynamicLayer.reorder_cache", takes=("beam_idx",)),
    Part("transformers.cache_utils:DynamicLayer.get_seq_length", behaves=_a_layer_is_its_keys_and_values),
)

#: What `wise_merge.training` needs of the Trainer; without it, it says so before it trains.
TRAINING = (
    Part("transformers:Trainer.compute_loss", takes=("model", "inputs", "return_outputs", "num_items_in_batch")),
    Part("transformers:TrainerCallback.on_save"),
    Part("accelerate.utils:extract_model_from_parallel"),
)
