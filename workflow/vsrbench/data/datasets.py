"""Find and load the clips of every data set, by its name in study files."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from vsrbench.core.errors import InputError, check_known
from vsrbench.data import folder, layout, photo_motion, reds, vimeo90k
from vsrbench.data.clips import Clip
from vsrbench.data.degradation import DEGRADATIONS
from vsrbench.data.manifest import holds, read_manifest
from vsrbench.data.registry import FOLDER, DataSet, get_data_set

# Functions of (data set, split, root, degradation); each module documents its layout on disk.
LAYOUTS: dict[str, Callable[[DataSet, str, Path, str], list[Clip]]] = {
    "listed": layout.find_clips,
    "generated": photo_motion.find_clips,
    "reds": reds.find_clips,
    "vimeo90k": vimeo90k.find_clips,
    "folder": folder.find_clips,
}


def find_clips(dataset: str, split: str, root: Path, degradation: str) -> list[Clip]:
    """Find the clips of one split (train, validation or test) under `root`, possibly none.

    root: the data root, in which each data set has its own folder; for photo_motion and folder, the folder
    itself. Raises InputError if the data set's folder is missing, and for an unknown name.
    """
    source = get_data_set(dataset)
    check_known(f"split of {dataset}", split, source.splits)
    check_known("degradation", degradation, DEGRADATIONS)
    if not source.folder(root).is_dir():
        raise InputError(f"{source.folder(root)}: no such folder; {source.how_to_get}")
    clips = LAYOUTS[source.layout](source, split, Path(root), degradation)
    return [replace(clip, dataset=dataset, split=split) for clip in clips]


def load_clips(manifest: Path, split: str, degradation: str | None = None) -> list[Clip]:
    """Load the clips of one split, at least one, as verified or generated in `manifest`.

    Raises InputError for a manifest of another degradation than `degradation`, for a split without clips, and
    if the clips or their files have changed since the manifest was written.
    """
    facts = read_manifest(manifest, degradation=degradation)
    kind = facts.get("kind", facts["dataset"])
    root, degradation = Path(facts["root"]), facts["degradation"]
    found = (
        _find_own_clips(facts, split) if kind == FOLDER.name else find_clips(kind, split, root, degradation)
    )
    clips = [replace(clip, dataset=facts["dataset"]) for clip in found]
    verified = {entry["name"]: entry for entry in facts["clips"] if entry["split"] == split}
    lengths = {name: entry["frames"] for name, entry in verified.items()}
    if {clip.name: clip.num_frames for clip in clips} != lengths:
        raise InputError(
            f"{manifest}: no longer describes {facts['root']}; move it away and run the study again"
        )
    for clip in clips:
        if not holds(verified[clip.name], clip.files):
            raise InputError(
                f"{clip.gt[0].parent}: clip {clip.name} has changed since {manifest} was written; "
                "restore the clip, or move the manifest away and run the study again"
            )
    if not clips:
        raise InputError(f"{manifest}: {facts['dataset']} has no clips of the split {split}; add some")
    return clips


def _find_own_clips(facts: dict[str, Any], split: str) -> list[Clip]:
    """Find a folder's clips of one split, as its manifest has it; clips that it lacks are in every split."""
    (listed,) = FOLDER.splits
    splits = {entry["name"]: entry["split"] for entry in facts["clips"]}
    clips = find_clips(FOLDER.name, listed, Path(facts["root"]), facts["degradation"])
    return [replace(clip, split=split) for clip in clips if splits.get(clip.name, split) == split]
