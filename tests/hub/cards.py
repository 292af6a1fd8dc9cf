"""The Hub's checks of a README.md's metadata, as far as a model card of a merge can fail them.

The real ones are not public; these refuse what the Hub's documentation says that it refuses.
"""

import re

import yaml

MODEL_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
TEXTS = ["library_name", "base_model_relation", "pipeline_tag"]


def metadata(content: bytes) -> dict:
    """The YAML between the first two lines of three dashes; empty if there is none or it is no mapping."""
    block = re.match(r"\s*---\r?\n(.*?)\r?\n---\r?(\n|$)", content.decode(), flags=re.DOTALL)
    try:
        found = yaml.safe_load(block[1]) if block else None
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def errors(content: bytes) -> list[str]:
    """What the Hub would refuse this README.md for, a sentence each."""
    block = re.match(r"\s*---\r?\n(.*?)\r?\n---\r?(\n|$)", content.decode(), flags=re.DOTALL)
    try:
        found = yaml.safe_load(block[1]) if block else {}
    except yaml.YAMLError as error:
        return [f"bad YAML: {error}"]
    if not isinstance(found, dict):
        return ["the metadata must be a mapping"]
    wrong = [f'"{name}" must be a string' for name in TEXTS if not isinstance(found.get(name, ""), str)]
    tags = found.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        wrong.append('"tags" must be an array of strings')
    return wrong + wrong_parents(found.get("base_model", [])) + wrong_index(found.get("model-index", []))


def wrong_parents(parents) -> list[str]:
    """What is wrong with `base_model`: ids of models on the Hub, no paths."""
    ids = parents if isinstance(parents, list) else [parents]
    wrong = [name for name in ids if not isinstance(name, str) or not MODEL_ID.fullmatch(name)]
    return [f'"base_model" with value {name!r} is not valid: use a model id of the Hub' for name in wrong]


def wrong_index(index) -> list[str]:
    """What is wrong with `model-index`: models with results, each with task, dataset and metrics."""
    try:
        results = [result for model in index if model["name"] for result in model["results"]]
        metrics = [metric for result in results if result["task"] and result["dataset"] for metric in result["metrics"]]
        complete = all("value" in metric and metric["type"] for metric in metrics)
    except (KeyError, TypeError) as error:
        return [f'"model-index" is not as it should be: {error!r}']
    return [] if complete else ['a metric of "model-index" needs type and value']
