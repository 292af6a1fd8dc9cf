"""`lm_eval --hf_hub_log_args` with a task of ours: what lm-eval itself publishes of an evaluation, as a dataset."""

import inspect
import json

import pytest
from hub.server import HubServer
from huggingface_hub import DatasetCard
from support.checkpoints import character_tokenizer, make_checkpoint

pytestmark = pytest.mark.skipif(
    "huggingface.co" in inspect.getsource(DatasetCard.validate),
    reason="this huggingface_hub has every card checked by huggingface.co, whatever Hub it goes to",
)

TOKEN = "hf_secret_of_anna"
DATASET = "anna/lm-eval-results-private"  # lm-eval's own name for it
CONFIGURATION = "run__checkpoint-2__gsm8k_passk"


@pytest.fixture(scope="module")
def published(tmp_path_factory, console_script):
    """The folder of an evaluation that was pushed as a user types it, its process, the Hub, and its environment."""
    folder = tmp_path_factory.mktemp("hub_log_args")
    model = make_checkpoint(folder / "run/checkpoint-2", seed=2)
    # Of a tokenizer without one lm-eval writes a null into its results, which it then fails to read for its card.
    tokenizer = character_tokenizer()
    tokenizer.bos_token = "<eos>"
    tokenizer.save_pretrained(model)
    # Random characters end in a one-digit number often enough that some are correct.
    problems = [{"question": f"What is {digit} + 0?", "answer": f"#### {digit}"} for digit in range(8)]
    (folder / "digits.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    with HubServer(user="anna", token=TOKEN) as hub:
        environment = hub.environment(folder / "home")
        done = console_script(
            *("lm_eval", "--model", "hf-passk", "--model_args", "pretrained=run/checkpoint-2", "--device", "cpu"),
            *("--tasks", "gsm8k_passk", "--num_fewshot", 0, "--gen_kwargs", "max_gen_toks=16"),
            *("--metadata", json.dumps({"repeats": 8, "data_file": "digits.jsonl"})),
            *("--output_path", "results", "--log_samples", "--hf_hub_log_args"),
            "hub_results_org=anna,push_results_to_hub=True,push_samples_to_hub=True",
            cwd=folder,
            **environment,
        )
        yield folder, done, hub, environment


def only(files, start, end):
    """The content of the one file whose path starts and ends so."""
    (path,) = (path for path in files if path.startswith(start) and path.endswith(end))
    return files[path]


def test_the_evaluation_ends_well_and_tells_no_token(published):
    _, done, hub, _ = published
    assert done.returncode == 0, done.stderr
    assert TOKEN not in done.stdout + done.stderr
    assert not any(TOKEN.encode() in content for content in hub.files(DATASET, type="dataset").values())
    assert hub.repositories["dataset", DATASET].private


def test_the_pushed_results_are_those_on_disk(published):
    """And they carry our metrics, of which some are above 0."""
    folder, _, hub, _ = published
    pushed = only(hub.files(DATASET, type="dataset"), "run/checkpoint-2/results_", ".json")
    (written,) = folder.glob("results/*/results_*.json")
    assert pushed == written.read_bytes()
    figures = json.loads(pushed)["results"]["gsm8k_passk"]
    assert 0 < figures["pass@1,samples"] < figures["pass@8,samples"]
    assert figures["pass@1,samples"] == pytest.approx(figures["curve,samples"]["pass@k"][0])


def test_the_pushed_samples_give_the_same_figures_again(published, tmp_path, console_script):
    """All K completions of each problem, read by `wise-merge score`."""
    _, _, hub, _ = published
    files = hub.files(DATASET, type="dataset")
    (tmp_path / "samples.jsonl").write_bytes(only(files, "run__checkpoint-2/samples_gsm8k_passk_", ".jsonl"))
    done = console_script("wise-merge", "score", "samples.jsonl", "--json", "scored.json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (scored,) = json.loads((tmp_path / "scored.json").read_text())["files"]
    curves = {curve["name"]: curve["value"] for curve in scored["summary"]["curves"] if not curve["scorer"]}
    pushed = json.loads(only(files, "run/checkpoint-2/results_", ".json"))["results"]["gsm8k_passk"]["curve,samples"]
    for name in ("pass@k", "maj@k"):
        assert curves[name] == pytest.approx(pushed[name], abs=1e-9)


def test_the_dataset_loads_as_its_card_says(published, console_script):
    """By `load_dataset`, in a process of its own, with the configuration that lm-eval's card names."""
    folder, _, hub, environment = published
    files = hub.files(DATASET, type="dataset")
    configs = DatasetCard(files["README.md"].decode()).data.configs
    assert [config["config_name"] for config in configs] == [CONFIGURATION]
    code = f"""
import json
from datasets import load_dataset
print(json.dumps(load_dataset({DATASET!r}, {CONFIGURATION!r}, split="latest")["resps"][:]))
"""
    done = console_script("python", "-c", code, cwd=folder, timeout=300, **environment)
    assert done.returncode == 0, done.stderr
    rows = only(files, "run__checkpoint-2/samples_gsm8k_passk_", ".jsonl").decode().splitlines()
    assert json.loads(done.stdout.splitlines()[-1]) == [json.loads(row)["resps"] for row in rows]
    assert all(len(json.loads(row)["resps"][0]) == 8 for row in rows)
