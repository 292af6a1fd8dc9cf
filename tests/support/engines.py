"""Our classes of models, asked as lm-eval asks them."""

from lm_eval.api.instance import Instance

from wise_merge.recipes.models import Ingredients
from wise_merge.sampling.merged import MergedHF

PROMPTS = ["2 + 2 =", "a", "What is larger than the largest number there is?", "x y z", "Is 7 a prime, or is it not?"]

GREEDY = {"do_sample": False, "until": ["Q:"], "max_gen_toks": 30}

SAMPLED = {"do_sample": True, "temperature": 1.0, "top_k": 0, "until": ["7", "?a"], "max_gen_toks": 30}


def load(kind, checkpoint, **arguments):
    return kind(**{"pretrained": str(checkpoint), "device": "cpu", "dtype": "float32", **arguments})


def ask(model, prompts, repeats=1, task="t", **settings):
    """Return the completions of each prompt, as lm-eval asks for them: one request, `repeats` times."""
    requests = [
        Instance("generate_until", {"prompt": prompt}, (prompt, settings), 0, (task, doc, repeats))
        for doc, prompt in enumerate(prompts)
    ]
    completions = model.generate_until([one for one in requests for _ in range(repeats)], disable_tqdm=True)
    return [completions[start : start + repeats] for start in range(0, len(completions), repeats)]


def engine(run, **arguments):
    return MergedHF(run / "checkpoint-1", device="cpu", **arguments)


def become(model, run, recipe, digest="d"):
    early, late = run / "checkpoint-1", run / "checkpoint-2"
    model.replace_weights([early, late], Ingredients(str(early), (str(late),)), recipe, "a merge", digest)
