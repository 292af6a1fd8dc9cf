"""Whether the settings of a soup can be meant together; everything is checked here that needs no checkpoint."""

from wise_merge.errors import WiseMergeError
from wise_merge.search.best.objective import Constraint, Objective, parse_constraint, parse_objective
from wise_merge.search.engines.checks import check_engine, check_mappings, check_temperatures
from wise_merge.search.soup.settings import SoupSettings

#: The word for the best single checkpoint in constraints.
BEST = "best"
#: Problems of a task of which two halves can be made; see `search.best.choice.halves`.
FEWEST_PROBLEMS = 4
#: What a soup calls what every engine must be told.
_OWN = {"temperature": "temperature", "pretrained": "run or models"}


def check(settings: SoupSettings) -> None:
    """Raise a `WiseMergeError` for the first thing that cannot be meant."""
    _check_checkpoints(settings)
    if not settings.tasks:
        raise WiseMergeError("tasks names none, so nothing says which checkpoint is good; give such as gsm8k_passk")
    objective, constraints = wanted(settings)
    for one in (objective, *(constraint.objective for constraint in constraints)):
        for figure in one.figures:
            if figure.k > settings.samples:
                raise WiseMergeError(
                    f"{figure} needs {figure.k} samples of each problem, and samples is {settings.samples}; lower K, "
                    "or raise samples"
                )
    if settings.limit is not None and settings.limit < FEWEST_PROBLEMS:
        raise WiseMergeError(
            f"limit is {settings.limit}, but two halves of the problems, one to choose and one to confirm, need at "
            f"least {FEWEST_PROBLEMS} of each task"
        )
    check_temperatures("temperature", [settings.temperature], settings.samples)
    check_engine(settings)
    check_mappings(settings, what="soup", own=_OWN)


def wanted(settings: SoupSettings) -> tuple[Objective, tuple[Constraint, ...]]:
    """Return what is maximised, and what must hold."""
    if settings.objective is None:
        raise WiseMergeError("objective is missing: what is to be maximised? Give such as --objective pass@8")
    constraints = tuple(parse_constraint(text, (BEST,)) for text in settings.subject_to)
    return parse_objective(settings.objective), constraints


def _check_checkpoints(settings: SoupSettings) -> None:
    if not settings.run and not settings.models:
        raise WiseMergeError(
            "no checkpoints to make a soup of: name the folders of training runs (--run), or checkpoints (--models)"
        )
    if settings.run and settings.models:
        raise WiseMergeError("run and models are both there; name either training runs or checkpoints")
    for key in ("run", "models"):
        names = getattr(settings, key)
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise WiseMergeError(f"{key} names {twice} twice; a soup takes each checkpoint once, so leave one out")
    if settings.models and len(settings.models) < 2:
        raise WiseMergeError(f"models names {settings.models[0]} alone; a soup needs at least two checkpoints")
