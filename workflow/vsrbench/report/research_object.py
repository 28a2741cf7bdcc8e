"""Hand a finished study on as one file: a Workflow Run RO-Crate (https://w3id.org/ro/wfrun/workflow/0.5)."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rocrate.model.contextentity import ContextEntity
from rocrate.rocrate import ROCrate

from vsrbench.core.config import read_yaml
from vsrbench.core.errors import InputError
from vsrbench.core.files import ROOT, atomic_write, sha256
from vsrbench.core.lineage import FOLDER
from vsrbench.results.audit import BROKEN, MISSING, audit

PROFILES = (
    "https://w3id.org/ro/wfrun/process/0.5",
    "https://w3id.org/ro/wfrun/workflow/0.5",
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0",
)
_LICENSE = "https://spdx.org/licenses/Apache-2.0"
_WORKFLOW = ("workflow/rules/*.smk", "workflow/scripts/*.py")  # besides the Snakefile
_INPUTS = ("configs/*.yaml", "data/*/manifest.json", "data/*/split.json")
_RESULTS = (
    *("tables/*.*", "figures/*.*", "report.html", "findings.rst"),
    *("evaluations/*/*/seed_*.csv", "evaluations/*/gate.json", "runtime/*.json", "tuning/*.json"),
    *("runs/*/*/provenance.json", "runs/*/*/train.jsonl", "tuning/*/*/*/provenance.json"),
    *("flow/provenance.json", "flow/train.jsonl", "fingerprints/*/*.txt"),
)
_WEIGHTS = ("runs/*/*/weights.safetensors", "flow/weights.safetensors")
_MEDIA = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".tex": "application/x-tex",
    ".yaml": "application/yaml",
}


def export(study: Path, *, out: Path, weights: bool = False) -> None:
    """Write tables, figures, report, settings, scores and records of a finished study to the zip file `out`.

    With `weights`, those of its networks too. Every file of the study has its sha256 in
    `ro-crate-metadata.json`, and `vsrbench check` verifies the folder that the archive unpacks to. Raises
    InputError for a study without tables, or with artefacts that are not what was recorded.
    """
    if out.suffix != ".zip":
        raise InputError(f"--out: {out} is not a .zip file; name one")
    if not (study / "tables" / "ablations.csv").is_file():
        raise InputError(f"{study}: has no tables; run `make study STUDY={study.name}` first")
    _, findings = audit(study)
    broken = [finding.line for finding in findings if finding.fault in (BROKEN, MISSING)]
    if broken:
        raise InputError(f"{broken[0]} ({len(broken)} faults; see `vsrbench check {study}`)")
    crate = _describe(study, weights)
    with atomic_write(out) as partial:
        crate.write_zip(partial)
    print(f"{out}: {out.stat().st_size / 2**20:.1f} MiB")


def _describe(study: Path, weights: bool) -> ROCrate:
    crate = ROCrate(version="1.1")  # which the profiles build on
    crate.metadata.extra_terms["sha256"] = "https://w3id.org/ro/terms/workflow-run#sha256"
    full = read_yaml(study / "configs" / "full.yaml")
    crate.name = f"vsrt-bench study {study.name}"
    crate.description = f"{full['title']}, and its ablations: tables, figures and what they rest on."
    crate.license = _LICENSE
    profiles = [
        crate.add(ContextEntity(crate, url, {"@type": "CreativeWork", "name": url, "version": url[-3:]}))
        for url in PROFILES
    ]
    crate.root_dataset["conformsTo"] = profiles
    workflow = crate.add_workflow(
        ROOT / "Snakefile",
        "Snakefile",
        main=True,
        lang="snakemake",
        properties={"version": version("vsrbench")},
    )
    parts = [
        crate.add_file(path, path.relative_to(ROOT).as_posix())
        for pattern in _WORKFLOW
        for path in sorted(ROOT.glob(pattern))
    ]
    workflow["hasPart"] = parts
    inputs = _add(crate, study, *_INPUTS)
    results = _add(crate, study, *_RESULTS, *(_WEIGHTS if weights else ()))
    _add(crate, study, f"{FOLDER}/**/*.json")
    _add_run(crate, study, workflow, inputs, results)
    return crate


def _add(crate: ROCrate, study: Path, *patterns: str) -> list[Any]:
    """Add the files of a study that match, and return their entities."""
    return [
        crate.add_file(path, path.relative_to(study).as_posix(), properties=_facts(path))
        for pattern in patterns
        for path in sorted(study.glob(pattern))
        if path.is_file()
    ]


def _facts(path: Path) -> dict[str, Any]:
    facts = {"name": path.name, "sha256": sha256(path), "contentSize": str(path.stat().st_size)}
    return facts | ({"encodingFormat": media} if (media := _MEDIA.get(path.suffix)) else {})


def _add_run(crate: ROCrate, study: Path, workflow: Any, inputs: list[Any], results: list[Any]) -> None:
    """Describe the execution: from the first training's start to the last one's end."""
    runs = [json.loads(path.read_bytes()) for path in study.glob("runs/*/*/provenance.json")]
    facts: Mapping[str, Any] = {
        "@type": "CreateAction",
        "name": f"Run of the study {study.name}",
        "startTime": min(run["started"] for run in runs),
        "endTime": max(run["ended"] for run in runs),
        "actionStatus": "http://schema.org/CompletedActionStatus",
    }
    action = crate.add(ContextEntity(crate, "#run", facts))
    action["instrument"], action["object"], action["result"] = workflow, inputs, results
    crate.root_dataset["mentions"] = [action]
