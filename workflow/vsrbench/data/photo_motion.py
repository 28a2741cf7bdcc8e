"""photo_motion: clips made from the photographs that ship inside scikit-image. No download, no licence.

A clip shows one photograph under a camera path and a piece of another one moving in front of it
(`moving_layers`), with the exact optical flow. The split is by photograph: no picture, and no second
view of the same scene, is on two sides. The same seed gives the same clips, and a clip depends on
its own number only, so that asking for more leaves the others as they are.

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

import numpy as np
import torch
from safetensors.numpy import save
from tqdm import tqdm

from vsrbench.core.errors import InputError
from vsrbench.core.files import writing
from vsrbench.core.provenance import code_digest
from vsrbench.data import moving_layers
from vsrbench.data.clips import Clip, write_frame
from vsrbench.data.degradation import DEGRADATIONS, SCALE, degrade
from vsrbench.data.manifest import digest, read_manifest, write_manifest
from vsrbench.data.registry import DataSet

NAME = "photo_motion"
MIN_SIZE, MAX_SIZE = 32, 352  # beyond, the smallest photograph would be magnified more than twofold

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
    """Write the clips of every split and, last, the manifest; finished clips of the same settings are kept.

    clips_per_photo: clips that each photograph of a split is the background of. size: edge of a GT frame,
    a multiple of 4.
    """
    if size % SCALE or not MIN_SIZE <= size <= MAX_SIZE:
        raise InputError(
            f"photo_motion: size {size} must be a multiple of {SCALE} from {MIN_SIZE} to {MAX_SIZE}"
        )
    if degradation not in DEGRADATIONS:
        raise InputError(f"photo_motion: degradation {degradation!r} is none of {', '.join(DEGRADATIONS)}")
    if set(clips_per_photo) - set(PHOTOGRAPHS):
        raise InputError(f"photo_motion: clips_per_photo must name splits out of {', '.join(PHOTOGRAPHS)}")
    settings = {
        "version": code_digest("generate"),  # clips of older code are drawn again
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
    write_manifest(
        Path(folder) / "manifest.json", NAME, Path(folder), degradation, entries, settings=settings
    )


def find_clips(dataset: DataSet, split: str, root: Path, degradation: str) -> list[Clip]:
    """The clips that the manifest in `root` lists; refuses a manifest of another degradation."""
    manifest = read_manifest(Path(root) / "manifest.json", degradation=degradation)
    return [
        _clip(Path(root) / split / entry["name"], entry, degradation)
        for entry in manifest["clips"]
        if entry["split"] == split
    ]


def _clip(folder: Path, entry: dict, degradation: str) -> Clip:
    names = [f"{t:08d}.png" for t in range(entry["frames"])]
    return Clip(
        dataset=NAME,
        name=entry["name"],
        degradation=degradation,
        lq=tuple(folder / degradation / name for name in names),
        gt=tuple(folder / "gt" / name for name in names),
        scored=tuple(range(len(names))),
        flow=folder / "flow.safetensors",
        split=entry["split"],
        size=(entry["height"], entry["width"]),
    )


def _make_clip(folder: Path, split: str, photograph: str, index: int, settings: dict) -> dict:
    """One clip's manifest entry; the clip is drawn and written unless it is there, whole and the same."""
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


def _digest_of_finished(folder: Path, settings: dict) -> str | None:
    """The sha256 of a clip that lies in `folder` undamaged and was made with these settings, or None."""
    try:
        stored = json.loads((folder / "clip.json").read_text())
        sha256 = digest([path for path in folder.rglob("*.*") if path.name != "clip.json"])
        whole = stored["settings"] == settings and stored["clip"]["sha256"] == sha256
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return sha256 if whole else None


def _write_clip(folder: Path, rng, photograph: str, foreground: str, settings: dict) -> None:
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
    """(3, h, w) float32, 0 to 255; a grey photograph has three equal channels."""
    import skimage.data  # here, since training reads clips on machines without scikit-image

    if name.startswith("motorcycle"):
        picture = skimage.data.stereo_motorcycle()[name == "motorcycle_right"]
    else:
        picture = getattr(skimage.data, name)()
    picture = picture if picture.ndim == 3 else np.stack([picture] * 3, axis=-1)
    return torch.from_numpy(picture).permute(2, 0, 1).float()
