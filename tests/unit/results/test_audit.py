"""What no table rests on is an orphan, except what a step leaves beside what the tables rest on."""

from vsrbench.core.lineage import origin
from vsrbench.results.audit import ORPHANED, audit


def test_a_sweep_leaves_weights_and_logs_that_are_no_orphans(tmp_path):
    study = tmp_path / "results" / "tuned"

    def make(step, *names, sources=()):
        for name in names:
            path = study / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
        origin(step, *(study / source for source in sources)).record(*(study / name for name in names))

    run = "tuning/full/rate_0.001/seed_101"
    make("train", *(f"{run}/{name}" for name in ("provenance.json", "train.jsonl", "weights.safetensors")))
    make("choose_learning_rate", "tuning/full.json", sources=[f"{run}/provenance.json"])
    make("train", "runs/full/seed_1/weights.safetensors", sources=["tuning/full.json"])
    make("make_tables", "tables/ablations.csv", sources=["tuning/full.json"])
    _, findings = audit(study)
    assert [(finding.fault, finding.artefact.name) for finding in findings] == [
        (ORPHANED, "runs/full/seed_1/weights.safetensors")
    ]
