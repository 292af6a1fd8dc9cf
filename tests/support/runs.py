"""Checkpoints as a Trainer leaves them."""

import json
import os
import shutil

#: The training losses of the run, every ten steps.
LOSSES = {10: 3.0, 20: 2.5, 30: 2.25, 40: 2.0, 50: 1.75, 60: 1.5}


def leave(model, path, step=None, losses=LOSSES, **state):
    """Leave a checkpoint as the Trainer does; without a step, as other programs do. Each has weights of its own."""
    shutil.copytree(model, path)
    with (path / "model.safetensors").open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(f"{path.name[-4:]:4}".encode())
    if step is not None:
        log = [{"step": at, "loss": loss, "epoch": at / 20} for at, loss in losses.items() if at <= step]
        content = {"global_step": step, "epoch": step / 20, "log_history": log, **state}
        (path / "trainer_state.json").write_text(json.dumps(content))
        (path / "optimizer.pt").write_bytes(bytes(5000))
    return path
