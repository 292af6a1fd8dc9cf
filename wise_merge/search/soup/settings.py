"""The settings of a greedy soup: the keys of its YAML file. Whether they go together is for `checks`."""

from pydantic.dataclasses import dataclass

from wise_merge.search.engines.fields import AllNames, NotNegative, Texts
from wise_merge.search.engines.settings import MAY_CHANGE, STRICT, EngineSettings


@dataclass(frozen=True, config=STRICT)
class SoupSettings(EngineSettings):
    """A greedy soup as the user wants it; the names are the keys of the YAML file.

    Attributes:
        run: folders of training runs, all of whose checkpoints are tried; empty where `models` names some.
        models: the checkpoints that are tried.
        objective: what is maximised, such as "pass@8".
        subject_to: what must hold, such as "pass@1 >= best".
        temperature: of sampling.
        halves_seed: of the halves of the problems, and of every test.
    """

    run: AllNames = ()
    models: AllNames = ()
    objective: str | None = None
    subject_to: Texts = ()
    temperature: float = 1.0
    halves_seed: NotNegative = 0


#: Keys that may change between two commands on one folder of results.
CHANGING = MAY_CHANGE | {"run", "models", "objective", "subject_to", "temperature", "halves_seed"}
