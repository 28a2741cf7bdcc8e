"""W&B mode and project, from the environment; without W&B's client, to be checked before the first job."""

import os

from vsrbench.core.errors import InputError

MODES = ("online", "offline", "disabled")
PROJECT = "vsrbench"


def read_destination() -> tuple[str, str]:
    """Read WANDB_MODE (one of MODES) and WANDB_PROJECT.

    Without WANDB_MODE the mode is online if WANDB_API_KEY is set, and offline otherwise. Raises InputError
    if W&B would reject one of them.
    """
    mode = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_API_KEY") else "offline")
    if mode not in MODES:
        raise InputError(f"WANDB_MODE is {mode!r}; set it to one of {', '.join(MODES)}, or unset it")
    project = os.environ.get("WANDB_PROJECT") or PROJECT
    if len(project) > 128 or set(project) & set("/\\#?%:"):
        raise InputError(
            f"WANDB_PROJECT is {project!r}; at most 128 characters and none of / \\ # ? % : are allowed"
            " (an entity goes into WANDB_ENTITY)"
        )
    return mode, project
