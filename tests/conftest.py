"""Tiny checkpoints, made once, and the one way to the real evaluation data."""

import logging
import os
import subprocess
from pathlib import Path

import pytest
from support import forked

# No test may depend on a network, and torch's threads only get in each other's way on tiny models.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

#: In every line that says that a host is not what this package was made for.
HOST_CHANGED = "is not as expected inside"

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real evaluation data, which is not part of this repository."""
    directory = Path(os.environ.get("WISE_MERGE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not directory.is_dir():
        pytest.skip(f"needs real evaluation data in {directory}; set WISE_MERGE_TEST_DATA to its folder")
    return directory.resolve()


@pytest.fixture(autouse=True)
def no_host_has_changed_inside(request):
    """Fails a test in which drawing was left to lm-eval's own class, unless the test is about that."""
    lines = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: lines.append(record.getMessage())
    logger = logging.getLogger("lm_eval.wise_merge")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    if request.node.get_closest_marker("hosts_changed") is None:
        assert not [line for line in lines if HOST_CHANGED in line]


@pytest.fixture(scope="session")
def shared_cases() -> Path:
    """The folder of small inputs that once were judged wrongly, which is not part of this repository."""
    directory = Path(os.environ.get("WISE_MERGE_TEST_CASES", REPOSITORY.parent / "shared" / "cases"))
    if not directory.is_dir():
        pytest.skip(f"needs the cases in {directory}; set WISE_MERGE_TEST_CASES to their folder")
    return directory.resolve()


@pytest.fixture(scope="session")
def console_script():
    """Runs a console script of this environment: `run_script`."""
    return run_script


def run_script(
    name: str,
    *arguments: object,
    cwd: Path,
    timeout: float | None = None,
    anew: bool = False,
    **environment: str,
) -> subprocess.CompletedProcess:
    """Run a console script of this environment, or its Python, as a user would, and return the finished process.

    It need not import torch and the hosts (`support.forked`); with `anew` it does, for tests of the start itself.
    """
    command = [forked.SCRIPTS / name, *arguments]
    run = forked.run(command, cwd=cwd, env={**os.environ, **environment}, timeout=timeout, anew=anew)
    assert HOST_CHANGED not in run.stderr, run.stderr
    return run


def make_checkpoint(directory: Path, *, seed: int, config=None, dtype="float32", max_shard_size="1GB") -> Path:
    """Save a random tiny Llama (or the model of `config`) with a character tokenizer that loads by itself."""
    import torch
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config or tiny_llama()).to(getattr(torch, dtype))
    # Transformers starts normalisations at 1, the same in every model: a merge of equals shows nothing.
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(directory, max_shard_size=max_shard_size)
    character_tokenizer().save_pretrained(directory)
    return directory


def tiny_llama(**changes):
    """The configuration of a Llama with 0.03 M parameters."""
    from transformers import LlamaConfig

    settings = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": 99,
        "max_position_embeddings": 8192,
        "pad_token_id": 0,
        "eos_token_id": 1,
        "bos_token_id": None,
    }
    return LlamaConfig(**{**settings, **changes})


def character_tokenizer():
    """A fast tokenizer over the printable ASCII characters and the newline."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = ["<pad>", "<eos>", "<unk>", "\n", *map(chr, range(32, 127))]
    backend = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory) -> Path:
    """A training run with checkpoint-1 (early) and checkpoint-2 (late), float32, one file each."""
    run = tmp_path_factory.mktemp("run")
    make_checkpoint(run / "checkpoint-1", seed=1)
    make_checkpoint(run / "checkpoint-2", seed=2)
    return run
