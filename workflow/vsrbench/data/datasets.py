"""The clips of every data set, by its name in a study file."""

from dataclasses import replace
from pathlib import Path

from vsrbench.core.errors import InputError, check_known
from vsrbench.data import folder, layout, photo_motion, reds, vimeo90k
from vsrbench.data.clips import Clip
from vsrbench.data.degradation import DEGRADATIONS
from vsrbench.data.manifest import holds, read_manifest
from vsrbench.data.registry import get_data_set

# Each a function of (data set, split, root, degradation); the modules describe the files.
LAYOUTS = {
    "listed": layout.find_clips,
    "generated": photo_motion.find_clips,
    "reds": reds.find_clips,
    "vimeo90k": vimeo90k.find_clips,
    "folder": folder.find_clips,
}


def find_clips(dataset: str, split: str, root: Path, degradation: str) -> list[Clip]:
    """The clips of one split (train, validation or test) that lie under `root`; there may be none.

    root: the data root, in which each data set has its own folder; for photo_motion and folder, the folder
    itself. Raises InputError where the data set's folder is missing, and for names that do not exist.
    """
    source = get_data_set(dataset)
    check_known(f"split of {dataset}", split, source.splits)
    check_known("degradation", degradation, DEGRADATIONS)
    if not source.folder(root).is_dir():
        raise InputError(f"{source.folder(root)}: there is no such folder; {source.how_to_get}")
    clips = LAYOUTS[source.layout](source, split, Path(root), degradation)
    return [replace(clip, dataset=dataset, split=split) for clip in clips]


def load_clips(manifest: Path, split: str, degradation: str | None = None) -> list[Clip]:
    """The clips of one split as verified or generated in `manifest`; at least one.

    Raises InputError for a manifest of another degradation than the one asked for, and where the clips on
    disk, or their files, are no longer those of the manifest.
    """
    facts = read_manifest(manifest, degradation=degradation)
    kind = facts.get("kind", facts["dataset"])
    clips = [
        replace(clip, dataset=facts["dataset"])
        for clip in find_clips(kind, split, Path(facts["root"]), facts["degradation"])
    ]
    verified = {entry["name"]: entry for entry in facts["clips"] if entry["split"] == split}
    lengths = {name: entry["frames"] for name, entry in verified.items()}
    if {clip.name: clip.num_frames for clip in clips} != lengths:
        raise InputError(
            f"{manifest}: no longer describes {facts['root']}; move it away so that it is made again"
        )
    for clip in clips:
        if not holds(verified[clip.name], clip.files):
            raise InputError(
                f"{clip.gt[0].parent}: clip {clip.name} has changed since {manifest} was written; "
                "restore the clip, or move the manifest away so that it is made again"
            )
    if not clips:
        raise InputError(
            f"{manifest}: {facts['dataset']} has no clips of the split {split}; get or make some"
        )
    return clips
