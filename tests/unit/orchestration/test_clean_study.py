"""`vsrbench clean` says what it would free, and frees only that."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from vsrbench.core.errors import InputError
from vsrbench.orchestration.clean_study import clean
from vsrbench.training.checkpoint import list_checkpoints, load_latest, save_checkpoint

IDENTITY = {"variant": "full"}


def write_run(folder: Path, *, finished: bool) -> None:
    tensors = {"weight": torch.ones(1000)}
    optimizer = {"state": {0: {"step": torch.ones(1)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    state = {"identity": IDENTITY, "network": tensors, "average": None, "optimizer": optimizer}
    for iteration in (5, 10):
        save_checkpoint(folder / "checkpoints", iteration, state | {"finished": finished and iteration == 10})
    if finished:
        save_file(tensors, folder / "weights.safetensors")
        (folder / "provenance.json").write_text('{"identity": {"variant": "full"}}')


def test_only_what_is_finished_is_freed_and_only_with_yes(tmp_path, capsys):
    study = tmp_path / "made_up"
    done, unfinished = (study / "runs" / "full" / f"seed_{seed}" for seed in (1, 2))
    write_run(done, finished=True)
    write_run(unfinished, finished=False)
    size = sum(path.stat().st_size for path in list_checkpoints(done / "checkpoints"))
    clean(study="made_up", results=tmp_path)
    said = capsys.readouterr().out
    assert f"{size / 2**20:,.1f} MiB  would be freed" in said and "seed_2" not in said
    assert len(list_checkpoints(done / "checkpoints")) == 2

    clean(study="made_up", results=tmp_path, yes=True)
    assert f"{size / 2**20:,.1f} MiB  freed" in capsys.readouterr().out
    assert not list_checkpoints(done / "checkpoints")
    assert len(list_checkpoints(unfinished / "checkpoints")) == 2
    assert load_latest(done / "checkpoints", IDENTITY)["finished"]
    clean(study="made_up", results=tmp_path, yes=True)
    assert "0.0 MiB  freed" in capsys.readouterr().out


def test_a_study_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        clean(study="nothing", results=tmp_path)
