"""With W&B online, a study's trainings are seen while Snakemake runs, and once when it is over."""

import json
import time

from wandb_service import wandb_service

RUN = "results/tiny/runs/full/seed_1"


def test_trainings_are_seen_before_they_end(workflow, tmp_path):
    workflow.study |= {"variants": ["full"], "seeds": [1], "evaluate_on": {"photo_motion": "required"}}
    workflow.study["evaluation"]["metrics"].remove("lpips_alex")
    training = workflow.study["overrides"]["training"]
    training |= {
        "iterations": 400,
        "checkpoint_interval": 200,
        "validation_interval": 200,
        "log_interval": 20,
    }
    with wandb_service() as service:
        result = workflow.snakemake(
            WANDB_BASE_URL=service.address,
            WANDB_API_KEY="0" * 39 + "5",
            WANDB_MODE="online",
            WANDB_X_FILE_STREAM_TRANSMIT_INTERVAL="1",
            HOME=str(tmp_path / "home"),
        )
        assert result.returncode == 0, result.stdout
        weights = workflow.folder / RUN / "weights.safetensors"
        (run,) = (name for name in service.history if name.startswith("full-seed_1-"))
        assert service.first_seen[run] < weights.stat().st_mtime
        expected = [20 * number for number in range(1, 21)]
        ends = time.monotonic() + 60  # the follower ends after Snakemake
        while service.steps(run) != expected and time.monotonic() < ends:
            time.sleep(0.5)
        assert service.steps(run) == expected
        lines = (workflow.folder / RUN / "train.jsonl").read_text().splitlines()
        newest = json.loads(service.history[run][max(service.history[run])])
        assert newest["loss"] == json.loads(lines[-1])["loss"]
        assert service.runs.count(run) >= 2  # as it trained, and its mirror
