"""The loop over tokens against transformers' own `generate`, and against its definition."""

import copy
import sys
from functools import partial

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from support.checkpoints import character_tokenizer, tiny_llama
from support.families import configuration

from wise_merge.errors import WiseMergeError
from wise_merge.sampling import cache_rows, decode, seeds

FAMILIES = ["llama", "gpt2", "qwen3", "gemma2", "lfm2", "qwen3_next", "mamba"]


def random_model(config, *, kind=transformers.AutoModelForCausalLM):
    """A model in float64, in which batches change nothing, with scores far enough from uniform to tell."""
    torch.manual_seed(7)
    model = kind.from_config(config).to(torch.float64).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def models():
    """Makes each family's model when it is first asked for."""
    made = {}

    def model(family):
        if family not in made:
            made[family] = random_model(configuration(family))
        return made[family]

    return model


def some_rows(copies=3, limit=24):
    """Rows of four prompts of several lengths, each with a seed of its own."""
    prompts = [tuple(10 + 7 * i % 80 for i in range(length)) for length in (3, 20, 11, 1)]
    return [
        decode.Row(prompt, 100 * place + copy, limit) for copy in range(copies) for place, prompt in enumerate(prompts)
    ]


def has_cache_of_its_own(model):
    """Whether rows of its cache cannot be picked: in the first transformers 5 some models have a kind of their own."""
    module = sys.modules[type(model).__module__]
    return any(name.endswith("Cache") and kind.__module__ == module.__name__ for name, kind in classes(module))


def classes(module):
    return [(name, kind) for name, kind in vars(module).items() if isinstance(kind, type)]


def draw(model, rows, *, strings=(), share=True, **settings):
    """Draw rows in one batch and return what came of each, in their order."""
    results = {}
    share = share and not (has_cache_of_its_own(model) and model.config.model_type in FAMILIES)

    def finished(row, drawn):
        assert row not in results
        results[row] = drawn

    decode.draw(
        partial(model.generate, pad_token_id=0, use_cache=True, **settings),
        rows,
        finished,
        stops=decode.StopStrings(character_tokenizer(), strings),
        pad_token_id=0,
        share=share,
        encoder_decoder=model.config.is_encoder_decoder,
    )
    return [results[row] for row in rows]


def sample(model, rows, **settings):
    return draw(model, rows, **{"do_sample": True, "top_k": 0, **settings})


def tokens(drawn):
    return [one.tokens for one in drawn]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_are_those_of_generate(models, family, dtype):
    """Prompts of several lengths in one batch, three rows of each: each row as `generate` has it alone.

    In float32, shorter prompts are padded.
    """
    rows, model, alone = some_rows(), copy.deepcopy(models(family)).to(dtype), {}
    for row, drawn in zip(rows, draw(model, rows, do_sample=False), strict=True):
        if row.prompt not in alone:
            prompt = torch.tensor([row.prompt])
            whole = model.generate(prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=24)
            alone[row.prompt] = whole[0, len(row.prompt) :].tolist()
        assert drawn.tokens == alone[row.prompt]


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_drawn_does_not_depend_on_what_is_drawn_with_it(models, family):
    """Together, each by itself, in another order, and with a prefill for every row: the same tokens."""
    rows, model = some_rows(copies=2), models(family)
    together = sample(model, rows)
    assert len({tuple(one.tokens) for one in together}) == len(rows)
    assert tokens(together) == [sample(model, [row])[0].tokens for row in rows]
    assert tokens(together) == tokens(sample(model, rows[::-1])[::-1])
    unshared = sample(model, rows, share=False)
    assert tokens(together) == tokens(unshared)
    assert [one.stopped for one in together] == [one.stopped for one in unshared]
    assert [one.logprob for one in together] == pytest.approx([one.logprob for one in unshared], abs=1e-6)
    # The negative control: other seeds draw other tokens.
    others = [decode.Row(row.prompt, row.seed + 50, row.limit) for row in rows]
    assert all(one != other for one, other in zip(tokens(sample(model, others)), tokens(together), strict=True))


@pytest.mark.parametrize("family", FAMILIES)
def test_tokens_and_log_probabilities_follow_from_scores_of_the_whole_text(models, family):
    """A pass over prompt and completion without a cache gives the mean log-probability, and each token by its draw."""
    rows, model = some_rows(copies=1), models(family)
    for row, drawn in zip(rows, sample(model, rows, temperature=0.7), strict=True):
        with torch.no_grad():
            scores = model(torch.tensor([[*row.prompt, *drawn.tokens]])).logits[0, len(row.prompt) - 1 : -1].float()
        chosen = torch.log_softmax(scores, -1)[range(len(drawn.tokens)), drawn.tokens]
        assert drawn.logprob == pytest.approx(chosen.mean().item(), abs=1e-5)
        shares = torch.softmax(scores / 0.7, -1).double().numpy().cumsum(-1)
        numbers = seeds.uniforms(row.seed, 0, len(drawn.tokens))
        assert drawn.tokens == [int(np.searchsorted(one, u * one[-1])) for one, u in zip(shares, numbers, strict=True)]


def test_each_prompt_is_read_once_and_rows_that_are_finished_leave(models):
    """12 rows of 4 prompts: 4 rows go in, 12 go on, and in the end only those that are not done."""
    model, shapes = copy.deepcopy(models("llama")).float(), []
    hook = model.register_forward_pre_hook(
        lambda _, __, kw: shapes.append(tuple(kw["input_ids"].shape)), with_kwargs=True
    )
    drawn = sample(model, some_rows(), strings=["a", "b", "c", "d", "e", "f", "g"])
    hook.remove()
    lengths = [len(one.tokens) for one in drawn]
    assert shapes[0] == (4, 20)
    # The forward pass after step t is for the rows that are longer than t.
    assert shapes[1:] == [(sum(length > step for length in lengths), 1) for step in range(1, max(lengths))]
    assert len(set(lengths)) > 3


def test_rows_may_have_limits_of_their_own(models):
    """A row ends at its own limit, not as stopped, and is the beginning of the longer one of its seed."""
    rows = [decode.Row((10, 11), 5, limit) for limit in (1, 4, 9)]
    short, middle, long = sample(models("llama"), rows, eos_token_id=None)
    assert (len(short.tokens), len(middle.tokens), len(long.tokens)) == (1, 4, 9)
    assert [long.tokens[:4], middle.tokens[:1]] == [middle.tokens, short.tokens]
    assert not any(one.stopped for one in (short, middle, long))


def test_more_tokens_than_a_cache_has_room_for_are_drawn_as_well(models):
    """140 tokens, for which the cache has to grow twice, and random numbers of three blocks: as without sharing."""
    rows = some_rows(copies=2, limit=140)
    settings = {"strings": ["ab", "cd", "xy"], "eos_token_id": None}
    shared = sample(models("llama"), rows, **settings)
    assert tokens(shared) == tokens(sample(models("llama"), rows, share=False, **settings))
    assert max(len(one.tokens) for one in shared) == 140


@pytest.mark.parametrize(
    "settings",
    [
        {"repetition_penalty": 1.7},
        {"no_repeat_ngram_size": 2},
        {"min_length": 22},
        {"repetition_penalty": 1.7, "pad_token_id": 90},
    ],
)
def test_padding_is_nothing_to_settings_that_look_at_the_prompt(models, settings):
    """A repetition penalty would count the padding of shorter prompts as tokens; each row is as it is alone."""
    rows, model = some_rows(), models("llama")
    generate = {"pad_token_id": 0, "do_sample": True, "top_k": 0, **settings}
    results = {}
    decode.draw(
        partial(model.generate, **generate),
        rows,
        results.__setitem__,
        stops=decode.StopStrings(character_tokenizer(), []),
        pad_token_id=generate["pad_token_id"],
    )
    alone = [sample(model, [row], **{k: v for k, v in settings.items() if k != "pad_token_id"})[0] for row in rows]
    assert tokens(results[row] for row in rows) == tokens(alone)
    assert tokens(alone) != tokens(sample(model, rows))


def test_what_cannot_be_shared_says_so_and_is_drawn_unshared(models):
    """Encoder-decoder models, caches of fixed size, and settings that remember rows."""
    t5 = transformers.T5Config(
        vocab_size=99, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, decoder_start_token_id=0
    )
    t5 = random_model(t5, kind=transformers.AutoModelForSeq2SeqLM)
    cases = [
        (t5, {}, "encoder-decoder"),
        (models("llama"), {"cache_implementation": "static"}, "StaticCache"),
        (models("llama"), {"guidance_scale": 1.5}, "UnbatchedClassifierFreeGuidanceLogitsProcessor"),
    ]
    for model, settings, reason in cases:
        rows = [decode.Row((10, 11, 12), seed, 6) for seed in range(5)]
        with pytest.raises(cache_rows.NotShareableError, match=reason):
            sample(model, rows, **settings)
        unshared = sample(model, rows, share=False, **settings)
        alone = [sample(model, [row], share=False, **settings)[0] for row in rows]
        assert tokens(unshared) == tokens(alone)
        assert len({tuple(one.tokens) for one in unshared}) > 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_beams": 2}, "ask for beam sample.*--model hf"),
        ({"num_return_sequences": 2}, "num_return_sequences=2"),
        ({"temperature": 0.0}, "transformers refuses.*temperature"),
        ({"tempreature": 0.5}, "transformers refuses.*tempreature"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(models, settings, message):
    """In one line, with what was wrong."""
    with pytest.raises(WiseMergeError, match=message):
        sample(models("llama"), some_rows(), **settings)


def test_scores_that_are_no_numbers_end_the_run():
    """Weights that overflow give NaN, of which no token can be drawn."""
    model = random_model(tiny_llama())
    model.lm_head.weight.data[5] = float("nan")
    with pytest.raises(WiseMergeError, match="NaN"):
        sample(model, some_rows())


@given(
    st.lists(st.sampled_from([0.0, 1e-12, 0.1, 0.5, 3.0]), min_size=1, max_size=20).filter(any),
    st.sampled_from([0.0, 2.0**-53, 0.25, 0.5, 1 - 2.0**-53]),
)
def test_no_token_of_probability_0_is_drawn(weights, number):
    """Not at either end of the random numbers, wherever the zeros are; and the token's share contains the number."""
    shares = torch.tensor([weights], dtype=torch.float32) / sum(weights)
    (token,) = decode._invert(shares, torch.tensor([number], dtype=torch.float64), torch.float64).tolist()
    assert shares[0, token] > 0
    cumulative = np.cumsum(shares[0].double().numpy())
    assert cumulative[token] >= number * cumulative[-1] >= cumulative[token] - shares[0, token].item() - 1e-15


@given(st.lists(st.booleans()))
def test_places_of_finished_rows_are_filled_from_the_end(done):
    """The rows that stay are those not done, and whoever was among the first of them has not moved."""
    kept = cache_rows.filled(done)
    assert sorted(kept) == [place for place, gone in enumerate(done) if not gone]
    assert all(origin == place or (done[place] and origin >= len(kept)) for place, origin in enumerate(kept))


def test_stop_strings_are_found_however_they_are_spelt():
    """As the tokenizer spells them at once, and spelt otherwise once in 32 tokens; of each row by itself."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    vocabulary = {"<pad>": 0, "stop!": 1, "s": 2, "t": 3, "o": 4, "p": 5, "!": 6, "x": 7}
    merges = [("s", "t"), ("st", "o"), ("sto", "p"), ("stop", "!")]
    vocabulary |= {"".join(pair): 8 + i for i, pair in enumerate(merges[:-1])}
    backend = Tokenizer(models.BPE(vocabulary, merges))
    backend.decoder = decoders.Fuse()
    stops = decode.StopStrings(PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>"), ["stop!", ""])
    spelt, x = [2, 3, 4, 5, 6], 7
    assert stops.reached([[x, x, 1], [x, x, x], [9, 5, 6]]) == [True, False, True]
    assert stops.reached([[x, *spelt]]) == [False]
    assert stops.reached([[*spelt, *[x] * 27], [x] * 32, [x, x, *spelt, *[x] * 25]]) == [True, False, True]
    assert stops.reached([[x] * 30 + spelt + [x] * 29]) == [True]
    assert decode.StopStrings(None, []).reached([[1], [2]]) == [False, False]
