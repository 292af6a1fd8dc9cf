"""How the checkpoints of a run look in a table."""

from collections.abc import Sequence

from wise_merge import text
from wise_merge.checkpoints.folder import Checkpoint, shown


def table(checkpoints: Sequence[Checkpoint]) -> str:
    """Return the checkpoints for people and pipes: a line each, aligned."""
    head = ["step", "epoch", "loss", "eval_loss", "weights", "total", "kind", "path"]
    rows = [
        [
            "final" if checkpoint.final and checkpoint.step is None else shown(checkpoint.step),
            shown(checkpoint.epoch),
            shown(checkpoint.loss),
            shown(checkpoint.eval_loss),
            text.size(checkpoint.weight_bytes),
            text.size(checkpoint.total_bytes),
            checkpoint.kind if checkpoint.problem is None else "broken",
            str(checkpoint.path) + (" (final)" if checkpoint.final else ""),
        ]
        for checkpoint in checkpoints
    ]
    if all(row[3] == "-" for row in rows):
        head, rows = [*head[:3], *head[4:]], [[*row[:3], *row[4:]] for row in rows]
    return "\n".join(text.table([head, *rows], ">" * (len(head) - 2) + "<"))
