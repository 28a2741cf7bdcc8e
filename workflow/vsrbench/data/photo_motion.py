"""photo_motion: clips generated from the photographs that ship with scikit-image, without any download.

A clip shows one photograph under a camera path and a piece of another one moving in front of it
(`moving_layers`), with the exact optical flow. Splits are by photograph: no photograph, and no second view of
the same scene, is in two splits. The same seed gives the same clips, and a clip depends only on its own
number, so generating more clips does not change the others.

    <folder>/manifest.json
    <folder>/<split>/<clip>/gt/%08d.png           size x size
    <folder>/<split>/<clip>/<degradation>/%08d.png    a quarter of that
    <folder>/<split>/<clip>/flow.safetensors      flows and occlusions, see `moving_layers.flows`
    <folder>/<split>/<clip>/clip.json             its settings and its entry in the manifest
"""

import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save
from tqdm import tqdm

from vsrbench.core.errors import InputError
from vsrbench.core.files import writing
from vsrbench.core.lineage import origin
from vsrbench.core.provenance import code_digest
from vsrbench.data import moving_layers
from vsrbench.data.clips import Clip, write_frame
from vsrbench.data.degradation import DEGRADATIONS, SCALE, degrade
from vsrbench.data.manifest import digest, read_manifest, write_manifest
from vsrbench.data.registry import DataSet

NAME = "photo_motion"
MIN_SIZE, MAX_SIZE = 32, 352  # beyond, the smallest photograph would be enlarged more than twofold

# The two motorcycle pictures are a stereo pair and must stay together.
PHOTOGRAPHS = {
    "train": (
        "motorcycle_left",
        "motorcycle_right",
        "retina",
        "immunohistochemistry",
        "hubble_deep_field",
        "gravel",
        "grass",
    ),
    "validation": ("rocket", "brick"),
    "test": ("astronaut", "chelsea", "coffee"),
}


def generate(
    folder: Path, *, seed: int, degradation: str, clips_per_photo: dict[str, int], num_frames: int, size: int
) -> None:
    """Generate the clips of every split, then the manifest; complete clips with the same settings are kept.

    clips_per_photo: by split, the number of clips with each photograph as background. size: height and width
    of the GT frames in pixels, a multiple of 4. Raises InputError for settings that are out of range.
    """
    if size % SCALE or not MIN_SIZE <= size <= MAX_SIZE:
        raise InputError(
            f"photo_motion.size: expected a multiple of {SCALE} from {MIN_SIZE} to {MAX_SIZE}, got {size}"
        )
    if degradation not in DEGRADATIONS:
        raise InputError(f"unknown degradation {degradation!r}; expected one of {', '.join(DEGRADATIONS)}")
    if unknown := set(clips_per_photo) - set(PHOTOGRAPHS):
        raise InputError(
            f"photo_motion.clips_per_photo: unknown split {min(unknown)!r}; expected one of "
            f"{', '.join(PHOTOGRAPHS)}"
        )
    made = origin("generate")
    settings = {
        "version": code_digest("generate"),  # clips of other code are generated again
        "seed": seed,
        "degradation": degradation,
        "num_frames": num_frames,
        "size": size,
    }
    jobs = [
        (split, photograph, index)
        for split, count in clips_per_photo.items()
        for photograph in PHOTOGRAPHS[split]
        for index in range(count)
    ]
    progress = tqdm(jobs, NAME, unit="clip", leave=False)
    entries = [_make_clip(Path(folder), *job, settings) for job in progress]
    manifest = Path(folder) / "manifest.json"
    write_manifest(manifest, NAME, Path(folder), degradation, entries, settings=settings)
    made.record(manifest)


def find_clips(dataset: DataSet, split: str, root: Path, degradation: str) -> list[Clip]:
    """Find the clips of a split in the manifest in `root`; InputError if it is of another degradation."""
    manifest = read_manifest(Path(root) / "manifest.json", degradation=degradation)
    return [
        _clip(Path(root) / split / entry["name"], entry, degradation, dataset)
        for entry in manifest["clips"]
        if entry["split"] == split
    ]


def _clip(folder: Path, entry: dict[str, Any], degradation: str, dataset: DataSet) -> Clip:
    names = [f"{t:08d}.png" for t in range(entry["frames"])]
    return Clip(
        dataset=dataset.name,
        name=entry["name"],
        degradation=degradation,
        lq=tuple(folder / degradation / name for name in names),
        gt=tuple(folder / "gt" / name for name in names),
        scored=tuple(entry.get("scored", range(len(names)))),
        flow=folder / "flow.safetensors" if dataset.exact_flow else None,
        split=entry["split"],
        size=(entry["height"], entry["width"]),
    )


def _make_clip(
    folder: Path, split: str, photograph: str, index: int, settings: dict[str, Any]
) -> dict[str, Any]:
    """Generate a clip, unless it is already there, complete and unchanged; return its manifest entry."""
    rng = np.random.default_rng(
        [settings["seed"], list(PHOTOGRAPHS).index(split), *photograph.encode(), index]
    )
    others = [name for name in PHOTOGRAPHS[split] if name != photograph]
    foreground = others[rng.integers(len(others))]
    entry = {
        "name": f"{photograph}_{index:03d}",
        "split": split,
        "photographs": [photograph, foreground],
        "frames": settings["num_frames"],
        "height": settings["size"],
        "width": settings["size"],
    }
    target = folder / split / entry["name"]
    if (sha256 := _digest_of_finished(target, settings)) is not None:
        return {**entry, "sha256": sha256}
    partial = target.with_name(f".{target.name}.partial")
    for stale in (partial, target):
        shutil.rmtree(stale, ignore_errors=True)
    _write_clip(partial, rng, photograph, foreground, settings)
    entry["sha256"] = digest([*partial.rglob("*.*")])
    (partial / "clip.json").write_text(json.dumps({"settings": settings, "clip": entry}))
    partial.rename(target)
    return entry


def _digest_of_finished(folder: Path, settings: dict[str, Any]) -> str | None:
    """Return the sha256 of the clip in `folder` if it is undamaged and has these settings, else None."""
    try:
        stored = json.loads((folder / "clip.json").read_text())
        sha256 = digest([path for path in folder.rglob("*.*") if path.name != "clip.json"])
        complete = stored["settings"] == settings and stored["clip"]["sha256"] == sha256
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return sha256 if complete else None


def _write_clip(
    folder: Path, rng: np.random.Generator, photograph: str, foreground: str, settings: dict[str, Any]
) -> None:
    num_frames, size, degradation = (settings[key] for key in ("num_frames", "size", "degradation"))
    layers = (
        moving_layers.draw_background(rng, _photograph(photograph), num_frames, size),
        moving_layers.draw_foreground(rng, _photograph(foreground), num_frames, size),
    )
    gt = moving_layers.render(*layers, size)
    for name, frames in (("gt", gt), (degradation, degrade(gt, degradation))):
        (folder / name).mkdir(parents=True)
        for t, frame in enumerate(frames):
            write_frame(folder / name / f"{t:08d}.png", frame)
    phase = DEGRADATIONS[degradation].phase
    with writing(folder / "flow.safetensors"):
        (folder / "flow.safetensors").write_bytes(save(moving_layers.flows(*layers, size, phase)))


@cache
def _photograph(name: str) -> torch.Tensor:
    """Load a photograph (3, h, w), float32 in [0, 255]; a grey one has three equal channels."""
    import skimage.data  # here, because training may run on machines without scikit-image

    if name.startswith("motorcycle"):
        picture = skimage.data.stereo_motorcycle()[name == "motorcycle_right"]
    else:
        picture = getattr(skimage.data, name)()
    picture = picture if picture.ndim == 3 else np.stack([picture] * 3, axis=-1)
    return torch.from_numpy(picture).permute(2, 0, 1).float()
