"""Scorers: real models of a few thousand weights, and what is kept of their scores."""

import json
import math
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from support.checkpoints import character_tokenizer, make_checkpoint, tiny_llama
from tokenizers import pre_tokenizers

from wise_merge.errors import WiseMergeError
from wise_merge.verifiers import cache_path, find, score_samples

PROBLEM = "What is 2 + 3?"
COMPLETIONS = ["5", "It is 2 + 3 = 5.\n\nThe answer is 5", "6", "Two and three.\n\nThat is\n\n6", "I do not know " * 5]
CHAT = (
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}[assistant] {% endif %}"
)


def save(directory, model, tokenizer=None, chat=None):
    """Write a model with spread-out random weights in float64, and its tokenizer."""
    torch.manual_seed(0)
    model = model.double()
    for parameter in model.parameters():
        parameter.data = 0.3 * torch.randn_like(parameter)
    model.save_pretrained(directory)
    tokenizer = tokenizer or character_tokenizer()
    tokenizer.chat_template = chat
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A reward model: a sequence classifier with one label and a chat template."""
    from transformers import LlamaForSequenceClassification

    model = LlamaForSequenceClassification(tiny_llama(num_labels=1))
    return save(tmp_path_factory.mktemp("reward"), model, chat=CHAT)


@pytest.fixture(scope="module")
def language_model(tmp_path_factory):
    from transformers import LlamaForCausalLM

    return save(tmp_path_factory.mktemp("language"), LlamaForCausalLM(tiny_llama()), chat=CHAT)


QWEN_BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
END_OF_STEP = 257  # behind the bytes and <|endoftext|>


def qwen(directory, architecture, labels):
    """A checkpoint as Qwen's own code would save it: its names of tensors and its architecture."""
    from torch import nn
    from transformers import Qwen2Config, Qwen2Model, Qwen2PreTrainedModel, Qwen2Tokenizer

    class Model(Qwen2PreTrainedModel):
        def __init__(self, config):
            super().__init__(config)
            self.model = Qwen2Model(config)
            self.score = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, labels))

    # Transformers splits texts for a Qwen2 model as Qwen2 does, whatever its folder says; so the vocabulary is bytes.
    tokenizer = Qwen2Tokenizer(vocab={byte: i for i, byte in enumerate(QWEN_BYTES)}, merges=[])
    tokenizer.add_tokens(["<extra_0>"], special_tokens=True)
    assert tokenizer.convert_tokens_to_ids("<extra_0>") == END_OF_STEP
    llama = tiny_llama(vocab_size=300).to_dict()
    sizes = {key: llama[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "vocab_size")}
    model = Model(Qwen2Config(**sizes, num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=512))
    save(directory, model, tokenizer, chat=CHAT)
    config = json.loads((directory / "config.json").read_text())
    code = {"AutoConfig": "configuration_qwen2_rm.Qwen2RMConfig", "AutoModel": f"modeling_qwen2_rm.{architecture}"}
    (directory / "config.json").write_text(json.dumps({**config, "architectures": [architecture], "auto_map": code}))
    return directory, model.eval()


@pytest.fixture(scope="module")
def qwen_outcome(tmp_path_factory):
    return qwen(tmp_path_factory.mktemp("qwen-rm"), "Qwen2ForRewardModel", 1)


@pytest.fixture(scope="module")
def qwen_process(tmp_path_factory):
    return qwen(tmp_path_factory.mktemp("qwen-prm"), "Qwen2ForProcessRewardModel", 2)


def ids_of(text):
    """One token a character: by hand, not by the tokenizer's own call."""
    return torch.tensor([[3 if c == "\n" else ord(c) - 32 + 4 for c in text]])


def conversation(completion, system=""):
    return f"{system}[user] {PROBLEM}\n[assistant] {completion}\n"


def test_a_reward_is_the_logit_of_a_plain_forward_pass(classifier):
    """Each completion alone, through the chat template, without padding, gives the same reward."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(classifier)
    with torch.no_grad():
        expected = [model(ids_of(conversation(text))).logits.item() for text in COMPLETIONS]
    assert find(f"reward:{classifier}", batch_size=3)(PROBLEM, COMPLETIONS) == pytest.approx(expected, rel=1e-12)
    assert len({round(value, 6) for value in expected}) == len(expected)


@pytest.mark.parametrize("spec", ["reward:classifier", "prm-product:qwen_process", "logprob:language_model"])
def test_scores_depend_on_neither_batch_size_nor_order(spec, request):
    """Padding and company change nothing: weights are float64, so that rounding stays below 1e-12."""
    kind, fixture = spec.split(":")
    model = request.getfixturevalue(fixture)
    spec = f"{kind}:{model[0] if isinstance(model, tuple) else model}"
    alone = find(spec, batch_size=1)(PROBLEM, COMPLETIONS)
    for size in (2, 5, 64):
        assert find(spec, batch_size=size)(PROBLEM, COMPLETIONS) == pytest.approx(alone, rel=1e-12)
    assert find(spec)(PROBLEM, COMPLETIONS[::-1]) == pytest.approx(alone[::-1], rel=1e-12)


def test_without_a_chat_template_problem_and_completion_are_a_pair(tmp_path):
    """The tokenizer joins them in its own way, here one behind the other."""
    from transformers import AutoModelForSequenceClassification, LlamaForSequenceClassification

    save(tmp_path, LlamaForSequenceClassification(tiny_llama(num_labels=1)))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        expected = [model(ids_of(PROBLEM + text)).logits.item() for text in COMPLETIONS]
    assert find(f"reward:{tmp_path}")(PROBLEM, COMPLETIONS) == pytest.approx(expected, rel=1e-12)


def test_an_encoder_gets_the_types_of_its_tokens(tmp_path):
    """BERT tells the two texts of a pair apart by token types, in a batch as alone."""
    from tokenizers.processors import TemplateProcessing
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        BertConfig,
        BertForSequenceClassification,
    )

    config = BertConfig(
        vocab_size=99, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, num_labels=1
    )
    tokenizer = character_tokenizer()
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<eos> $A", pair="<eos> $A <eos> $B:1", special_tokens=[("<eos>", 1)]
    )
    save(tmp_path, BertForSequenceClassification(config), tokenizer)
    settings = json.loads((tmp_path / "tokenizer_config.json").read_text())
    settings["model_input_names"] = ["input_ids", "token_type_ids", "attention_mask"]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    assert "token_type_ids" in AutoTokenizer.from_pretrained(tmp_path)("a", "b")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    expected = []
    for text in COMPLETIONS:
        start = torch.tensor([[1]])
        ids = torch.cat([start, ids_of(PROBLEM), start, ids_of(text)], dim=1)
        types = (torch.arange(ids.shape[1]) >= len(PROBLEM) + 2).long()[None]
        with torch.no_grad():
            expected.append(model(ids, token_type_ids=types).logits.item())
    assert find(f"reward:{tmp_path}", batch_size=2)(PROBLEM, COMPLETIONS) == pytest.approx(expected, rel=1e-12)


def test_a_reward_model_that_names_no_padding_scores_batches_all_the_same(tmp_path):
    """Transformers refuses a batch there; the rewards are those of single sequences, even if they end in <pad>."""
    from transformers import AutoModelForSequenceClassification, LlamaForSequenceClassification

    save(tmp_path, LlamaForSequenceClassification(tiny_llama(num_labels=1, pad_token_id=None)))
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    completions = [*COMPLETIONS, "5<pad>"]
    with torch.no_grad():
        expected = [model(ids_of(PROBLEM + text)).logits.item() for text in COMPLETIONS]
        padded = torch.cat([ids_of(PROBLEM + "5"), torch.tensor([[0]])], dim=1)
        expected.append(model(padded).logits.item())
    assert find(f"reward:{tmp_path}")(PROBLEM, completions) == pytest.approx(expected, rel=1e-12)


SYSTEM = "[system] Please reason step by step, and put your final answer within \\boxed{}.\n"


def qwen_logits(model, text, ends=()):
    """Qwen's head over Qwen2, written out; `ends` are the places of <extra_0> among the characters."""
    letters = text.replace(" ", "\N{LATIN CAPITAL LETTER G WITH DOT ABOVE}")
    letters = letters.replace("\n", "\N{LATIN CAPITAL LETTER C WITH DOT ABOVE}")
    ids = torch.tensor([[QWEN_BYTES.index(letter) for letter in letters]])
    ids[0, list(ends)] = END_OF_STEP
    with torch.no_grad():
        hidden = model.model(ids).last_hidden_state
        return model.score[2](torch.relu(model.score[0](hidden)))


def test_qwen_s_reward_model_is_read_without_its_code(qwen_outcome):
    """The card's conversation, and the logit at its last token; no file of Qwen's code is there to run."""
    directory, model = qwen_outcome
    expected = [qwen_logits(model, conversation(text, SYSTEM))[0, -1, 0].item() for text in COMPLETIONS]
    assert find(f"reward:{directory}", batch_size=2)(PROBLEM, COMPLETIONS) == pytest.approx(expected, rel=1e-12)


def test_step_rewards_are_those_of_the_model_card(qwen_process):
    """Softmax at the end of each step, then product, minimum or last; steps are separated by empty lines."""
    directory, model = qwen_process
    rewards = []
    for text in COMPLETIONS:
        steps = text.split("\n\n")
        joined = conversation("".join(step.strip() + "~" for step in steps), SYSTEM)
        ends = [i for i, character in enumerate(joined) if character == "~"]
        assert len(ends) == len(steps)
        rewards.append(torch.softmax(qwen_logits(model, joined, ends)[0, ends], -1)[:, 1].tolist())
    assert [len(of_steps) for of_steps in rewards] == [1, 2, 1, 3, 1]
    for kind, aggregate in (("product", math.prod), ("min", min), ("last", lambda of_steps: of_steps[-1])):
        scores = find(f"prm-{kind}:{directory}", batch_size=2)(PROBLEM, COMPLETIONS)
        assert scores == pytest.approx([aggregate(of_steps) for of_steps in rewards], rel=1e-12)


def test_a_completion_cannot_forge_the_end_of_a_step(qwen_process):
    """<extra_0> in a text is taken out, so that it adds no step; an empty completion is one empty step."""
    score = find(f"prm-product:{qwen_process[0]}")
    assert score(PROBLEM, ["a<extra_0>b\n\n\n\nc"]) == pytest.approx(score(PROBLEM + "<extra_0>", ["ab\n\nc"]))
    assert 0 < score(PROBLEM, [""])[0] < 1


@pytest.fixture(scope="module")
def own_code(tmp_path_factory):
    """A model whose repository brings its own code, which counts the tokens and gives (batch, 1)."""
    directory = tmp_path_factory.mktemp("own-code")
    (directory / "modeling_own.py").write_text(
        "import torch\n"
        "from transformers import PretrainedConfig, PreTrainedModel\n"
        "class OwnConfig(PretrainedConfig):\n"
        "    model_type = 'own'\n"
        "class OwnModel(PreTrainedModel):\n"
        "    config_class = OwnConfig\n"
        "    def __init__(self, config):\n"
        "        super().__init__(config)\n"
        "        self.scale = torch.nn.Parameter(torch.ones(1))\n"
        "        self.post_init()\n"
        "    def _init_weights(self, module):\n"
        "        pass\n"
        "    def forward(self, input_ids, attention_mask):\n"
        "        return (self.scale * input_ids.shape[1] * torch.ones(len(input_ids), 1),)\n"
    )
    code = {"AutoConfig": "modeling_own.OwnConfig", "AutoModel": "modeling_own.OwnModel"}
    config = {"model_type": "own", "architectures": ["OwnModel"], "auto_map": code, "vocab_size": 99, "pad_token_id": 0}
    (directory / "config.json").write_text(json.dumps(config))
    from safetensors.torch import save_file

    save_file({"scale": torch.tensor([0.5])}, directory / "model.safetensors", metadata={"format": "pt"})
    character_tokenizer().save_pretrained(directory)
    return directory


def test_code_of_a_repository_runs_only_when_asked_for(own_code):
    """Without the permission it is an error that names it; with it the model scores, unpadded."""
    with pytest.raises(WiseMergeError, match="trust_remote_code"):
        find(f"reward:{own_code}")
    scores = find(f"reward:{own_code}", trust_remote_code=True)(PROBLEM, COMPLETIONS)
    assert scores == [0.5 * (len(PROBLEM) + len(text)) for text in COMPLETIONS]


def mean_log_probability(model, prompt, completion):
    """Token by token, each in a forward pass of its own over all that comes before it."""
    ids = ids_of(prompt + completion)
    total = 0.0
    for i in range(len(prompt), ids.shape[1]):
        with torch.no_grad():
            logits = model(ids[:, :i]).logits[0, -1]
        total += (logits[ids[0, i]] - logits.exp().sum().log()).item()
    return total / len(completion)


def test_the_log_probability_is_the_mean_over_the_completion_s_tokens(language_model):
    """Equals a pass per token, for the plain text and for the chat's."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(language_model)
    for kind, prompt in (("logprob", PROBLEM), ("logprob-chat", f"[user] {PROBLEM}\n[assistant] ")):
        expected = [mean_log_probability(model, prompt, text) for text in COMPLETIONS]
        assert find(f"{kind}:{language_model}", batch_size=3)(PROBLEM, COMPLETIONS) == pytest.approx(
            expected, rel=1e-11
        )


@pytest.mark.parametrize("logits_at_once", [99, 99 * 5 * 7, 10**9])
def test_long_batches_are_read_in_pieces(language_model, logits_at_once):
    """The logits held at once change nothing: pieces of one token, of seven, and all at once."""
    from wise_merge.verifiers import log_probability
    from wise_merge.verifiers.models import ModelOptions

    place = ModelOptions(device="cpu", dtype="auto", batch_size=5, trust_remote_code=False)
    score = log_probability.scorer(str(language_model), place, chat=False, logits_at_once=logits_at_once)
    assert score(PROBLEM, COMPLETIONS) == pytest.approx(find(f"logprob:{language_model}")(PROBLEM, COMPLETIONS))


@pytest.mark.parametrize("family", ["Gemma2", "Mamba"])
def test_pieces_are_right_where_windows_slide_and_logits_are_capped(family, tmp_path):
    """Gemma 2 caps its logits and looks back 16 tokens; Mamba has no cache to share. Both norm in float32: 1e-6."""
    import transformers
    from transformers import AutoModelForCausalLM

    from wise_merge.verifiers import log_probability
    from wise_merge.verifiers.models import ModelOptions

    sizes = {"vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "pad_token_id": 0, "eos_token_id": 1}
    gemma = {"intermediate_size": 64, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
    more = {**gemma, "sliding_window": 16, "attn_implementation": "eager"} if family == "Gemma2" else {}
    config = getattr(transformers, f"{family}Config")(**sizes, **more)
    save(tmp_path, AutoModelForCausalLM.from_config(config))
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    expected = [mean_log_probability(model, PROBLEM, text) for text in COMPLETIONS]
    place = ModelOptions(device="cpu", dtype="auto", batch_size=5, trust_remote_code=False)
    score = log_probability.scorer(str(tmp_path), place, chat=False, logits_at_once=99 * 5 * 7)
    assert score(PROBLEM, COMPLETIONS) == pytest.approx(expected, abs=1e-6)


def test_a_token_across_the_boundary_belongs_to_the_completion(tmp_path):
    """Where "? " and "5" make one token with the prompt's end, that token is scored."""
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {"<eos>": 0, "a": 1, "b": 2, "c": 3, "bc": 4}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocabulary, [("b", "c")])), eos_token="<eos>"
    )
    save(tmp_path, LlamaForCausalLM(tiny_llama(vocab_size=5, eos_token_id=0)), tokenizer)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        after_a, after_a_bc = torch.log_softmax(model(torch.tensor([[1, 4, 1]])).logits[0, :2], -1)
        start = torch.log_softmax(model(torch.tensor([[0]])).logits[0, 0], -1)
    score = find(f"logprob:{tmp_path}")
    assert score("ab", ["ca"]) == pytest.approx([(after_a[4] + after_a_bc[1]).item() / 2])
    assert score("", ["a"]) == pytest.approx([start[1].item()])  # after the token that separates texts


def test_what_cannot_be_read_ranks_last(classifier, language_model, tmp_path):
    """An empty completion has no mean log-probability, an endless one does not fit: -inf, kept, with one warning."""
    endless = "5" * 9000
    assert find(f"logprob:{language_model}")(PROBLEM, ["", "5", endless])[::2] == [-math.inf, -math.inf]
    assert find(f"reward:{classifier}")(PROBLEM, [endless])[0] == -math.inf
    assert math.isfinite(find(f"reward:{classifier}")(PROBLEM, [""])[0])
    for _ in range(2):
        with pytest.warns(UserWarning, match="1 of 2 completions cannot be read"):
            scores = score_samples(f"logprob:{language_model}", [("p", PROBLEM, ["", "5"])], cache=tmp_path / "s.jsonl")
    assert scores["p"][0] == -math.inf
    json.loads((tmp_path / "s.jsonl").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("spec", ["reward:classifier", "prm-min:qwen_process", "logprob:language_model"])
def test_broken_text_gets_a_score_from_every_model(spec, request):
    """Lone surrogates, zero bytes and characters outside of the vocabulary raise nothing."""
    kind, fixture = spec.split(":")
    model = request.getfixturevalue(fixture)
    score = find(f"{kind}:{model[0] if isinstance(model, tuple) else model}")
    assert all(map(math.isfinite, score("\udfff?", ["\ud800", "a\x00b", "\N{SNOWMAN}", " \n\n "])))


def test_what_is_not_a_reward_model_is_named(language_model, qwen_process, qwen_outcome, tmp_path):
    """Two labels, an untrained head, a process model as outcome model and the reverse: one clear line each."""
    from transformers import LlamaForSequenceClassification

    with pytest.raises(WiseMergeError, match="not a reward model"):
        find(f"reward:{language_model}")
    two = save(tmp_path / "two", LlamaForSequenceClassification(tiny_llama(num_labels=2)))
    with pytest.raises(WiseMergeError, match="1 label, and its configuration says 2"):
        find(f"reward:{two}")
    headless = make_checkpoint(tmp_path / "headless", seed=1, config=tiny_llama(num_labels=1))
    with pytest.raises(WiseMergeError, match=r"lacks the weights score\.weight"):
        find(f"reward:{headless}")
    with pytest.raises(WiseMergeError, match="prm-min:"):
        find(f"reward:{qwen_process[0]}")
    with pytest.raises(WiseMergeError, match="Qwen2ForRewardModel; step rewards"):
        find(f"prm-last:{qwen_outcome[0]}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("best:model", "must be one of reward:MODEL, .*python:MODULE:FUNCTION; got 'best:model'"),
        ("reward:", "must be one of"),
        ("", "must be one of"),
        ("reward:no/such-model", "cannot load 'no/such-model'"),
        ("prm-min:no/such-model@v1.0", "cannot load 'no/such-model'"),
        ("logprob:./no-such-folder", "cannot load './no-such-folder'"),
        ("python:json", "python:MODULE:FUNCTION"),
        ("python:no_such_module:f", "there is no module 'no_such_module'"),
        ("python:no.such.module:f", "there is no module 'no.such.module'"),
        ("python:json:no_such_function", "has no function 'no_such_function'"),
    ],
)
def test_a_spec_that_names_nothing_is_one_clear_line(spec, message):
    """The error says what was wanted and what came."""
    with pytest.raises(WiseMergeError, match=message) as error:
        find(spec)
    assert "\n" not in str(error.value)


def test_settings_that_cannot_be_are_one_clear_line(language_model):
    """A batch of nothing, a dtype that does not exist, a chat without a template."""
    with pytest.raises(WiseMergeError, match="batch size must be at least 1; got 0"):
        find(f"logprob:{language_model}", batch_size=0)
    with pytest.raises(WiseMergeError, match=r"dtype must be auto, .*; got 'float7'"):
        find(f"logprob:{language_model}", dtype="float7")


def test_a_chat_needs_a_template(tiny_run):
    """The error names the spec that needs none."""
    with pytest.raises(WiseMergeError, match="has no chat template; use logprob:"):
        find(f"logprob-chat:{tiny_run / 'checkpoint-1'}")


@pytest.fixture
def in_folder(tmp_path, monkeypatch):
    """A folder to work in, with a scorer that writes down what it was asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    write_scorer("len(text)")
    yield tmp_path
    sys.modules.pop("my_scorer", None)


def write_scorer(expression):
    sys.modules.pop("my_scorer", None)
    Path("my_scorer.py").write_text(
        "import json\n"
        "def f(problem, completions):\n"
        "    with open('asked.jsonl', 'a') as file:\n"
        "        file.write(json.dumps([problem, list(completions)]) + '\\n')\n"
        f"    return [{expression} for text in completions]\n"
    )


def asked():
    return [json.loads(line) for line in Path("asked.jsonl").read_text().splitlines()]


PROBLEMS = [("1", "one", ["a", "bb", "a"]), ("2", "two", ["a", "ccc", "ccc"])]


def test_a_function_of_the_current_directory_is_a_scorer(in_folder):
    """`python:` needs no installed package; and a command line that does not search the directory finds it too."""
    assert find("python:my_scorer:f")("p", ["a", "bb"]) == [1, 2]
    code = "from wise_merge.verifiers import find; print(find('python:my_scorer:f')('p', ['abc']))"
    command = [sys.executable, "-c", f"import sys; sys.path.remove(''); {code}"]
    output = subprocess.run(command, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == "[3]"


def test_each_distinct_completion_is_scored_once_and_kept(in_folder):
    """One call per problem with its distinct completions; a second run asks nothing and gives the same."""
    cache, done = cache_path(Path("samples.jsonl"), "python:my_scorer:f"), []
    expected = {"1": [1, 2, 1], "2": [1, 3, 3]}
    assert score_samples("python:my_scorer:f", PROBLEMS, cache=cache, progress=done.append) == expected
    assert asked() == [["one", ["a", "bb"]], ["two", ["a", "ccc"]]]
    assert score_samples("python:my_scorer:f", iter(PROBLEMS), cache=cache, progress=done.append) == expected
    assert len(asked()) == 2
    assert done == [1, 2, 1, 2]
    assert cache.name == "samples.jsonl.python-my_scorer-f.scores.jsonl"


def test_what_changed_is_scored_anew(in_folder):
    """A new completion alone, another problem text, and a scorer whose code changed."""
    cache = Path("kept.jsonl")
    score_samples("python:my_scorer:f", PROBLEMS, cache=cache)
    score_samples("python:my_scorer:f", [("1", "one", ["a", "new"]), ("2", "TWO", ["a"])], cache=cache)
    assert asked()[2:] == [["one", ["new"]], ["TWO", ["a"]]]
    write_scorer("-len(text)")
    assert score_samples("python:my_scorer:f", PROBLEMS[:1], cache=cache) == {"1": [-1, -2, -1]}


def test_a_local_model_that_changed_is_another_scorer(language_model, tmp_path):
    """Scores of a checkpoint that was overwritten are not taken for the new one's."""
    problems = [("p", PROBLEM, ["5"])]
    folder = tmp_path / "model"
    make_checkpoint(folder, seed=1)
    first = score_samples(f"logprob:{folder}", problems, cache=tmp_path / "s.jsonl")
    make_checkpoint(folder, seed=2)
    second = score_samples(f"logprob:{folder}", problems, cache=tmp_path / "s.jsonl")
    assert first != second
    assert second["p"] == pytest.approx(find(f"logprob:{folder}")(PROBLEM, ["5"]))


def test_a_killed_run_loses_the_current_problem_at_most(in_folder):
    """A line cut anywhere is dropped, its problem is asked for again, and the file is whole afterwards."""
    cache = Path("kept.jsonl")
    expected = score_samples("python:my_scorer:f", PROBLEMS, cache=cache)
    whole = cache.read_bytes()
    first = whole.index(b"\n") + 1
    for cut in (first, first + 1, len(whole) - 1):
        cache.write_bytes(whole[:cut])
        Path("asked.jsonl").unlink()
        assert score_samples("python:my_scorer:f", PROBLEMS, cache=cache) == expected
        assert asked() == [["two", ["a", "ccc"]]]
        assert cache.read_bytes() == whole


def test_problems_before_a_failure_are_kept(in_folder):
    """The scorer fails at the second problem; the first one's scores are on disk."""
    write_scorer("float('nan') if text == 'ccc' else 1.5")
    with pytest.raises(WiseMergeError, match=r"problem '2': NaN is not a score.*'ccc'"):
        score_samples("python:my_scorer:f", PROBLEMS, cache=Path("kept.jsonl"))
    assert [json.loads(line)["problem"] for line in Path("kept.jsonl").read_text().splitlines()] == ["1"]


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1 for _ in 'ab'", "expected 2 scores, one per completion; got 4"),
        ("'good'", "expected one number per completion; could not convert"),
        ("None", "expected one number per completion"),
    ],
)
def test_scores_of_a_wrong_kind_or_number_are_refused(in_folder, expression, message):
    """The error names the scorer and the problem."""
    write_scorer(expression)
    with pytest.raises(WiseMergeError, match=f"scorer python:my_scorer:f, problem '1': {message}"):
        score_samples("python:my_scorer:f", PROBLEMS, cache=Path("kept.jsonl"))


def test_a_spoilt_line_and_a_double_problem_are_refused(in_folder):
    """A line within the file that is no line of scores is named; equal ids cannot be told apart."""
    Path("kept.jsonl").write_text('{"scores": {}}\nnot json\n')
    with pytest.raises(WiseMergeError, match=r"kept\.jsonl, line 2: not a line of scores"):
        score_samples("python:my_scorer:f", PROBLEMS, cache=Path("kept.jsonl"))
    with pytest.raises(WiseMergeError, match="'1' occurs twice"):
        score_samples("python:my_scorer:f", [PROBLEMS[0], PROBLEMS[0]], cache=Path("other.jsonl"))


def test_broken_text_can_be_scored_and_kept(in_folder):
    """A lone surrogate, a zero byte and a line separator are texts like any other."""
    texts = ["\ud800", "\x00", "\u2028", ""]
    for _ in range(2):
        scores = score_samples("python:my_scorer:f", [("p", "\udfff", texts)], cache=Path("kept.jsonl"))
        assert scores == {"p": [1, 1, 1, 0]}
    assert len(asked()) == 1


def test_importing_the_scorers_loads_nothing_heavy():
    """Neither torch nor transformers nor numpy is there before a model is named."""
    code = "import sys, wise_merge.verifiers; assert not {'torch', 'transformers', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_no_warning_where_everything_was_read(in_folder):
    """The negative control of the warning about completions that cannot be read."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        score_samples("python:my_scorer:f", PROBLEMS, cache=Path("kept.jsonl"))
