"""`--model hf-passk` against lm-eval's own `hf`: greedy texts, what is drawn from, batches, memory, processes."""

import json
from collections import Counter

import pytest
import torch
import transformers
from lm_eval import simple_evaluate
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from scipy.stats import chi2_contingency
from support.checkpoints import character_tokenizer, make_checkpoint, tiny_llama
from support.engines import GREEDY, PROMPTS, SAMPLED, ask, load
from support.families import ENDS, configuration

from wise_merge.hosts.lm_eval.messages import TaskInputError
from wise_merge.sampling.hf import HFPassK


@pytest.fixture(scope="module")
def llama(checkpoints):
    """Ours in float64, where batches change nothing."""
    return load(HFPassK, checkpoints("llama"), dtype="float64", seed=1)


@pytest.mark.parametrize("family", ["llama", "gpt2", "qwen3", "gemma2", "lfm2", "qwen3_next", "mamba"])
def test_greedy_texts_are_those_of_lm_eval(checkpoints, family):
    """Whatever ends them: several stop strings, of one token and more, or one of several end-of-sequence tokens."""
    ours, theirs = load(HFPassK, checkpoints(family)), load(HFLM, checkpoints(family))
    whole = ask(theirs, PROMPTS, **GREEDY)
    # Taken from the middle of what is generated, so that they are met.
    until = sorted({text[0][len(text[0]) // 3 :][:2] for text in whole} - {""})
    for settings, sizes in [
        (GREEDY, (1, 3, 64)),
        ({**GREEDY, "until": until}, (3,)),
        ({**GREEDY, "until": until[0], "repetition_penalty": 1.3}, (64,)),
    ]:
        expected = whole if settings is GREEDY else ask(theirs, PROMPTS, **settings)
        for rows in sizes:
            ours._rows = rows
            assert ask(ours, PROMPTS, **settings) == expected


def test_greedy_texts_are_those_of_lm_evals_batches(checkpoints, llama):
    """Prompts of several lengths, padded by lm-eval, in float64, in which neither side rounds two tokens alike."""
    theirs = load(HFLM, checkpoints("llama"), dtype="float64", batch_size=5)
    until = ["0", "o)", "ooo", "v"]
    assert ask(llama, PROMPTS, **{**GREEDY, "until": until}) == ask(theirs, PROMPTS, **{**GREEDY, "until": until})


@pytest.mark.parametrize(
    "arguments",
    [
        {"max_length": 40},
        {"add_bos_token": True},
        {"think_end_token": "5"},
        {"think_end_token": "40"},
        {"mixed_precision_dtype": "bfloat16"},
        {"dtype": "bfloat16"},
        {"truncation": True},
    ],
)
def test_model_arguments_mean_what_they_mean_to_lm_eval(checkpoints, arguments):
    """Prompts that are cut, start tokens, thinking set aside, other number formats: the same greedy texts."""
    settings = {**GREEDY, "until": ["zz", "9"]}
    ours, theirs = load(HFPassK, checkpoints("llama"), **arguments), load(HFLM, checkpoints("llama"), **arguments)
    # As lm-eval does by default, for bfloat16 has many equal scores, and batches decide between them.
    ours._rows = 1
    assert ask(ours, PROMPTS, **settings) == ask(theirs, PROMPTS, **settings)


@pytest.mark.parametrize("family", ["recurrent_gemma", "phi3_longrope", "rwkv", "minimax"])
def test_what_shares_a_batch_is_nothing_to_models_that_see_padding(checkpoints, family):
    """Greedy texts are lm-eval's of one prompt at a time, and samples do not depend on the other prompts."""
    ours, theirs = load(HFPassK, checkpoints(family), seed=1), load(HFLM, checkpoints(family))
    # RecurrentGemma keeps its state in the module, and older versions of it take a prompt of one token for a step.
    prompts = [prompt for prompt in PROMPTS if len(prompt) > 1 or family != "recurrent_gemma"]
    assert ask(ours, prompts, **GREEDY) == ask(theirs, prompts, **GREEDY)
    together = ask(ours, prompts, 4, **SAMPLED)
    assert together == [ask(ours, [prompt], 4, **SAMPLED)[0] for prompt in prompts]


def test_other_models_have_prompts_of_several_lengths_in_one_batch(checkpoints):
    """Found out by the first batch: Llama and GPT-2 mask padding well enough."""
    for family in ("llama", "gpt2"):
        model = load(HFPassK, checkpoints(family), seed=1)
        widths = []
        model.model.register_forward_pre_hook(
            lambda _, __, given, widths=widths: widths.append(len(given["input_ids"])), with_kwargs=True
        )
        ask(model, PROMPTS, 4, **SAMPLED)
        assert model._padding_is_nothing
        # The two of the trial, then all five prompts at once, then their twenty samples but for those of one token.
        assert 15 < max(widths) <= 20
        assert 5 in widths


def test_prompts_of_very_different_lengths_share_no_batch(checkpoints):
    """Short ones would be padded a hundredfold; and where no batch size is given, prompts are bounded, too."""
    model = load(HFPassK, checkpoints("llama"), seed=1)
    shapes = []
    model.model.register_forward_pre_hook(
        lambda _, __, given: shapes.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    prompts = ["x" * 1500, *("y" * length for length in range(1, 40))]
    ask(model, prompts, **{**SAMPLED, "max_gen_toks": 2})
    assert (1, 1500) in shapes
    # Two for the trial whether padding is nothing.
    assert {rows for rows, width in shapes if width == 39} == {2, 39}
    shapes.clear()
    ask(model, [letter + "x" * 3000 for letter in "abcdef"], **{**SAMPLED, "max_gen_toks": 2})
    assert {rows for rows, width in shapes if width == 3001} == {2}


def test_the_scale_of_an_adapter_is_part_of_the_identity(checkpoints, tmp_path):
    """Two LoRA adapters of equal weights that differ in alpha alone are two models."""
    peft = pytest.importorskip("peft")
    identities = []
    for alpha in (4, 64, 4):
        base = transformers.AutoModelForCausalLM.from_pretrained(checkpoints("llama"))
        torch.manual_seed(0)
        settings = {"r": 4, "target_modules": ["q_proj", "v_proj"], "init_lora_weights": False}
        adapter = peft.get_peft_model(base, peft.LoraConfig(lora_alpha=alpha, task_type="CAUSAL_LM", **settings))
        folder = tmp_path / str(len(identities))
        adapter.save_pretrained(folder)
        identity = load(HFPassK, checkpoints("llama"), peft=str(folder))._identity()
        identities.append({name: value for name, value in identity.items() if name != "name"})
    assert identities[0] != identities[1]
    assert identities[0] == identities[2]


def test_a_prompt_without_tokens_is_refused(checkpoints):
    """Nothing can be drawn after it."""
    with pytest.raises(TaskInputError, match="empty prompt"):
        ask(load(HFPassK, checkpoints("llama"), seed=1), ["", "a"], 2, **SAMPLED)


def test_an_encoder_decoder_model_gives_the_texts_of_lm_eval(tmp_path, caplog):
    """In lm-eval's way, with one line that says so."""
    config = transformers.T5Config(
        vocab_size=99, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, decoder_start_token_id=0, **ENDS
    )
    torch.manual_seed(0)
    model = transformers.T5ForConditionalGeneration(config)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn_like(parameter)
    model.save_pretrained(tmp_path / "t5")
    character_tokenizer().save_pretrained(tmp_path / "t5")
    ours, theirs = load(HFPassK, tmp_path / "t5", seed=1), load(HFLM, tmp_path / "t5")
    assert ask(ours, PROMPTS, **GREEDY) == ask(theirs, PROMPTS, **GREEDY)
    drawn = ask(ours, PROMPTS, 4, **SAMPLED)
    ours._rows = 3
    assert ask(ours, PROMPTS, 4, **SAMPLED) == drawn
    assert sum("read once per sample" in line for line in caplog.messages) == 1


#: How likely one comparison fails of two samples of one distribution; the seeds are fixed.
ERROR = 1e-3
DRAWS = 2000


def differ(first, second):
    """Return the p value of the chi-square test that two lists come of one distribution; rare values are pooled."""
    counts = [Counter(first), Counter(second)]
    both = counts[0] + counts[1]
    common = [value for value, count in both.items() if count >= 20]
    table = [
        [count[value] for value in common] + [len(one)] for one, count in zip((first, second), counts, strict=True)
    ]
    for row in table:
        row[-1] -= sum(row[:-1])
    if table[0][-1] + table[1][-1] < 20:
        table = [row[:-1] for row in table]
    return chi2_contingency(table).pvalue


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"temperature": 0.6},
        {"top_k": 5},
        {"top_p": 0.7, "temperature": 1.2},
        {"min_p": 0.1},
        {"repetition_penalty": 1.5},
    ],
)
def test_what_is_drawn_from_is_what_lm_eval_draws_from(checkpoints, settings):
    """2000 completions of each side agree in their first characters and in their lengths, whatever the settings.

    The control: a quarter of the temperature is found by both tests.
    """
    until = list("abcdefghijklm0123")
    settings = {**SAMPLED, "until": until, "max_gen_toks": 12, **settings}
    ours, theirs = load(HFPassK, checkpoints("llama"), seed=1, batch_size=500), load(HFLM, checkpoints("llama"))
    theirs.batch_size_per_gpu = 500
    torch.manual_seed(0)
    (expected,) = ask(theirs, PROMPTS[:1], DRAWS, **settings)
    (drawn,) = ask(ours, PROMPTS[:1], DRAWS, **settings)
    (control,) = ask(ours, PROMPTS[:1], DRAWS, **{**settings, "temperature": settings["temperature"] / 4})
    for look in (lambda text: text[:1], len):
        facts = [list(map(look, texts)) for texts in (expected, drawn, control)]
        assert len(set(facts[0])) > 3
        assert differ(facts[0], facts[1]) > ERROR
        assert differ(facts[0], facts[2]) < ERROR / 10


def test_samples_depend_on_their_seed_and_on_nothing_else(llama):
    """Not on the batch size, the order, K, the other problems: bit for bit in float64. All of a problem differ."""
    llama._rows = 64
    together = ask(llama, PROMPTS, 8, **SAMPLED)
    assert all(len(set(texts)) == 8 for texts in together)
    for rows in (1, 3, 7, 40):
        llama._rows = rows
        assert ask(llama, PROMPTS, 8, **SAMPLED) == together
    assert ask(llama, PROMPTS[::-1], 8, **SAMPLED) == together[::-1]
    assert ask(llama, PROMPTS[2:4], 5, **SAMPLED) == [texts[:5] for texts in together[2:4]]
    facts = [(text.tokens, text.finish_reason, text.seed) for texts in together for text in texts]
    again = [text for texts in ask(llama, PROMPTS, 8, **SAMPLED) for text in texts]
    assert [(text.tokens, text.finish_reason, text.seed) for text in again] == facts
    assert len({seed for *_, seed in facts}) == len(facts)
    assert ask(llama, PROMPTS, 8, task="another", **SAMPLED) != together


def test_batches_change_next_to_nothing_in_float32(checkpoints):
    """At least 99.9 % of 2100 samples are the same 17 and 64 at a time, of padded prompts."""
    model = load(HFPassK, checkpoints("qwen3"), seed=1)
    settings = {**SAMPLED, "max_gen_toks": 8}
    together = [text for texts in ask(model, PROMPTS[:3], 700, **settings) for text in texts]
    model._rows = 17
    few = [text for texts in ask(model, PROMPTS[:3], 700, **settings) for text in texts]
    assert sum(one != other for one, other in zip(together, few, strict=True)) <= 2


def test_the_run_seed_is_lm_evals_unless_given(checkpoints):
    """`--seed` reaches torch before the evaluation; `seed` in the model's arguments goes before it."""
    path = checkpoints("llama")
    torch.manual_seed(5)
    fives = ask(load(HFPassK, path, dtype="float64"), PROMPTS, 4, **SAMPLED)
    assert ask(load(HFPassK, path, dtype="float64", seed=5), PROMPTS, 4, **SAMPLED) == fives
    assert ask(load(HFPassK, path, dtype="float64", seed="6"), PROMPTS, 4, **SAMPLED) != fives


@pytest.mark.parametrize("most", [1, 5])
def test_too_little_memory_halves_the_batch_and_changes_no_sample(checkpoints, caplog, most):
    """An allocation that really fails, of more rows than `most`: at the prefill or after it."""
    model = load(HFPassK, checkpoints("llama"), dtype="float64", seed=1)
    settings = {**SAMPLED, "max_gen_toks": 8}
    expected = ask(model, PROMPTS, 16, **settings)

    def allocate(module, args, kwargs):
        if len(kwargs["input_ids"]) > most:
            torch.empty(2**60)

    model.model.register_forward_pre_hook(allocate, with_kwargs=True)
    assert ask(model, PROMPTS, 16, **settings) == expected
    assert model._rows <= max(2 * most, 1)
    assert sum("too many for the memory" in line for line in caplog.messages) >= 4
    most = 0
    with pytest.raises(RuntimeError, match="allocate"):
        ask(model, PROMPTS, 16, **settings)


def test_other_errors_are_not_taken_for_a_lack_of_memory(checkpoints):
    """They come out as they are."""
    model = load(HFPassK, checkpoints("llama"), seed=1)

    def fail(module, args):
        raise RuntimeError("broken")

    model.model.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="broken"):
        ask(model, PROMPTS, 2, **SAMPLED)


def test_completions_know_how_they_ended_and_how_likely_they_were(checkpoints, llama):
    """The log-probability is that of a pass over the whole text; "length" has all the tokens, "stop" what ended it."""
    texts = [text for texts in ask(llama, PROMPTS, 16, **SAMPLED) for text in texts]
    assert {text.finish_reason for text in texts} == {"stop", "length"}
    for text in texts:
        assert text.tokens == 30 if text.finish_reason == "length" else text.tokens <= 30
    (((text,),)) = [ask(llama, PROMPTS[:1], 1, **{**SAMPLED, "until": [], "max_gen_toks": 9})[0]]
    prompt, completion = llama.tok_encode(PROMPTS[0]), llama.tok_encode(str(text))
    assert len(completion) == text.tokens == 9
    with torch.no_grad():
        scores = llama.model(torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
    expected = torch.log_softmax(scores, -1)[range(9), completion].mean().item()
    assert text.logprob == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 3}, "seed.*--model_args"),
        ({"num_beams": 4}, "--model hf"),
        ({"temperature": 0.0}, "temperature"),
        ({"max_gen_toks": 512, "max_length": None}, "leave no room"),
        ({"max_length": 5}, "max_length=5 leaves nothing"),
        ({"temperature": None}, "temperature"),
        ({"max_gen_toks": 0}, "max_gen_toks must be at least 1; got 0"),
    ],
)
def test_settings_that_cannot_be_met_end_lm_eval_with_a_line(checkpoints, settings, message):
    """It names the setting and what to do."""
    model = load(HFPassK, checkpoints("gpt2"), seed=1)
    settings = {name: value for name, value in {**SAMPLED, **settings}.items() if value is not None}
    with pytest.raises(TaskInputError, match=message):
        ask(model, PROMPTS, 2, **settings)


def test_the_longest_sequence_may_be_set_instead_of_the_longest_completion(llama, caplog):
    """`max_length` counts the prompt, each problem's own, and is warned of as by lm-eval."""
    settings = {**SAMPLED, "until": [], "max_length": 60}
    texts = ask(llama, PROMPTS, 4, **settings)
    for prompt, samples in zip(PROMPTS, texts, strict=True):
        assert max(text.tokens for text in samples) == 60 - len(prompt)
    assert sum("max_length" in line for line in caplog.messages) == 1


def test_two_tasks_and_two_temperatures_in_one_run(llama):
    """Each group of settings is drawn by itself, and nothing is mixed up."""
    hot, cold = {**SAMPLED, "temperature": 2.0}, {**SAMPLED, "temperature": 0.5}
    requests = [
        Instance("generate_until", {}, (prompt, settings), 0, (task, doc, 4))
        for task, settings in [("hot", hot), ("cold", cold)]
        for doc, prompt in enumerate(PROMPTS)
        for _ in range(1)
    ]
    completions = llama.generate_until([one for one in requests for _ in range(4)], disable_tqdm=True)
    expected = [*ask(llama, PROMPTS, 4, task="hot", **hot), *ask(llama, PROMPTS, 4, task="cold", **cold)]
    assert completions == [text for texts in expected for text in texts]


def test_batch_sizes_are_rows(checkpoints):
    """A size above 1 is taken, lm-eval's default and "auto" mean the largest allowed."""
    path = checkpoints("llama")
    sizes = [({}, 64), ({"batch_size": 7}, 7), ({"batch_size": "auto"}, 64), ({"batch_size": "auto:4"}, 64)]
    for arguments, rows in [*sizes, ({"batch_size": "auto", "max_batch_size": 9}, 9), ({"batch_size": "12"}, 12)]:
        assert load(HFPassK, path, **arguments)._rows == rows


def test_the_identity_is_that_of_the_samples(checkpoints, tmp_path):
    """The same of a copy, in another batch size, after use; another for whatever changes what is drawn."""
    path = checkpoints("llama")
    model = load(HFPassK, path)
    identity = {**model._identity(), "name": None}
    json.dumps(identity)
    ask(model, PROMPTS, 2, **SAMPLED)
    copy = make_checkpoint(tmp_path / "copy", seed=7, config=configuration("llama"))
    same = load(HFPassK, copy, batch_size=3, attn_implementation="eager", max_batch_size=5, seed=9)
    assert {**model._identity(), "name": None} == identity == {**same._identity(), "name": None}
    # The character tokenizer without its last character.
    words = json.loads((copy / "tokenizer.json").read_text())
    words["model"]["vocab"].popitem()
    others = tmp_path / "others"
    make_checkpoint(others, seed=7, config=configuration("llama"))
    (others / "tokenizer.json").write_text(json.dumps(words))
    different = [
        load(HFPassK, path, **changes)
        for changes in [
            {"dtype": "float64"},
            {"max_length": 100},
            {"think_end_token": "5"},
            {"add_bos_token": True},
            {"mixed_precision_dtype": "bfloat16"},
        ]
    ]
    different.append(load(HFPassK, others))
    different.append(load(HFPassK, make_checkpoint(tmp_path / "b", seed=8, config=configuration("llama"))))
    config = tiny_llama(eos_token_id=[1, 91])
    different.append(load(HFPassK, make_checkpoint(tmp_path / "c", seed=7, config=config)))
    identities = [json.dumps({**one._identity(), "name": None}, sort_keys=True) for one in [model, *different]]
    assert len(set(identities)) == len(identities)


def test_tasks_of_others_are_scored_as_ever(checkpoints, tmp_path):
    """A plain task of lm-eval, which compares texts with a target: the results of `hf`."""
    (tmp_path / "sums.jsonl").write_text("".join(json.dumps({"q": f"{i} + 1", "a": "QQ"}) + "\n" for i in range(4)))
    (tmp_path / "sums.yaml").write_text(
        f"""
task: sums
dataset_path: json
dataset_kwargs: {{data_files: {{test: {tmp_path / "sums.jsonl"}}}}}
test_split: test
output_type: generate_until
doc_to_text: "Q: {{{{q}}}}\\nA:"
doc_to_target: "{{{{a}}}}"
generation_kwargs: {{until: ["Q:"], max_gen_toks: 20, do_sample: false}}
metric_list: [{{metric: exact_match, aggregation: mean, higher_is_better: true}}]
"""
    )
    manager = TaskManager(include_defaults=False, include_path=str(tmp_path))
    found = []
    for kind in (HFPassK, HFLM):
        results = simple_evaluate(load(kind, checkpoints("llama")), tasks=["sums"], task_manager=manager)
        found.append((results["results"]["sums"], [row["resps"] for row in results["samples"]["sums"]]))
    assert found[0] == found[1]
