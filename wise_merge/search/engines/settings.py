"""What the user says of engines and of how they sample: keys that a sweep and a soup have in common."""

from dataclasses import field

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from wise_merge.search.engines.fields import Dtype, Names, NotNegative, Plain, Positive, Template, TrackerNames

STRICT = ConfigDict(strict=True)


@dataclass(frozen=True, config=STRICT)
class EngineSettings:
    """How points are sampled; the names are the keys of the YAML file.

    Attributes:
        tasks: of lm-eval, ours.
        samples: K, per problem.
        limit: only the first so many problems of each task.
        dtype: to which the checkpoints are cast before they are merged.
        out_dtype: of the merge.
        backend: "hf" or "vllm".
        model_args: of that model of lm-eval.
        batch_size: the most samples that are drawn together, None = the model's own choice.
        device: None = the model's own choice.
        seed: of all samples.
        metadata: of the tasks.
        gen_kwargs: settings of sampling, beside the temperature.
        num_fewshot: see lm-eval.
        apply_chat_template: see lm-eval.
        system_instruction: see lm-eval.
        fewshot_as_multiturn: see lm-eval.
        include_path: see lm-eval.
        processes: of this machine, each with an engine of its own and one thread; for tiny models on CPUs.
        ray: "auto" or the address of a cluster, None = this process alone.
        cores: of an engine on a cluster, where it has no GPU.
        gpus: of an engine on a cluster, None = one where there are any.
        report_to: trackers that are told of every point: see `wise_merge.trackers`.
    """

    tasks: Names = ()
    samples: Positive = 32
    limit: Positive | None = None
    dtype: Dtype | None = None
    out_dtype: Dtype | None = None
    backend: str = "hf"
    model_args: Plain = field(default_factory=dict)
    batch_size: Positive | None = None
    device: str | None = None
    seed: NotNegative = 1234
    metadata: Plain = field(default_factory=dict)
    gen_kwargs: Plain = field(default_factory=dict)
    num_fewshot: NotNegative | None = None
    apply_chat_template: Template = False
    system_instruction: str | None = None
    fewshot_as_multiturn: bool | None = None
    include_path: str | None = None
    processes: Positive = 1
    ray: str | None = None
    cores: Positive = 1
    gpus: float | None = None
    report_to: TrackerNames = ()


#: Keys that may change between two commands on one folder of results: which points, how many samples, and where.
MAY_CHANGE = frozenset(
    {"tasks", "samples", "limit", "batch_size", "device", "processes", "ray", "cores", "gpus", "report_to"}
)
