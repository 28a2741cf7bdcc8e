"""permuted_cells: a positive control, generated clips in which only working attention can score.

A clip has three frames of 3 x 3 cells, each with a pattern and a colour of its own. Every frame shows the
cells in another random order. In the ground truth a cell is coloured in every frame; in the low-quality
frames it is coloured in one of them and grey in the others. So two thirds of the colours have to be copied
from another place in another frame, which must be found by its pattern: no layer that sees one place, and no
smooth motion, can do that. Only the middle frame is scored, since it has both neighbours in its window.

    <folder>/manifest.json
    <folder>/<split>/<clip>/gt/%08d.png               48 x 48
    <folder>/<split>/<clip>/<degradation>/%08d.png    12 x 12
"""

from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from vsrbench.core.errors import check_known
from vsrbench.core.lineage import origin
from vsrbench.data.clips import write_frame
from vsrbench.data.degradation import DEGRADATIONS, SCALE, degrade
from vsrbench.data.manifest import digest, write_manifest

NAME = "permuted_cells"
NUM_FRAMES = 3
SCORED = 1  # index of the frame that is scored
GRID = 3  # cells along each edge of a frame
CELL = 4  # edge of a cell in LQ pixels: one attention token at model.patch_size 4
SIZE = GRID * CELL * SCALE  # edge of a GT frame
CLIPS = {"train": 600, "validation": 8, "test": 24}
LUMA = np.array([0.299, 0.587, 0.114])  # BT.601
LUMA_RANGE = (90, 165)  # so that a colour of CHROMA never leaves [0, 255]
CHROMA = 50.0  # length of a colour in the plane of Cb and Cr


def generate(folder: Path, *, seed: int, degradation: str) -> None:
    """Generate the clips of every split, then the manifest. The same seed gives the same clips.

    Raises InputError for an unknown degradation.
    """
    check_known("degradation", degradation, DEGRADATIONS)
    made = origin("generate_permuted_cells")
    jobs = [(split, index) for split, count in CLIPS.items() for index in range(count)]
    entries = [
        _write_clip(Path(folder), split, index, seed, degradation)
        for split, index in tqdm(jobs, NAME, unit="clip", leave=False)
    ]
    manifest = Path(folder) / "manifest.json"
    write_manifest(manifest, NAME, Path(folder), degradation, entries, settings={"seed": seed})
    made.record(manifest)


def _write_clip(folder: Path, split: str, index: int, seed: int, degradation: str) -> dict[str, Any]:
    """Write one clip and return its manifest entry."""
    rng = np.random.default_rng([seed, list(CLIPS).index(split), index])
    gt, shown = draw_frames(rng)
    target = folder / split / f"{split}_{index:03d}"
    for name, frames in (("gt", gt), (degradation, degrade(shown, degradation))):
        (target / name).mkdir(parents=True, exist_ok=True)
        for t, frame in enumerate(frames):
            write_frame(target / name / f"{t:08d}.png", frame)
    return {
        "name": target.name,
        "split": split,
        "frames": NUM_FRAMES,
        "height": SIZE,
        "width": SIZE,
        "scored": [SCORED],
        "sha256": digest([*target.rglob("*.png")]),
    }


def draw_frames(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw a clip: ground truth and what is shown of it, each (3, 48, 48, 3), uint8 RGB.

    They differ in colour only: what is shown has each cell coloured in one frame.
    """
    number = GRID * GRID
    luma = _patterns(rng, number)[..., None]
    angle = rng.uniform(0, 2 * np.pi, number)
    chroma = CHROMA * np.stack([np.cos(angle), np.sin(angle)], -1)
    coloured = np.clip(luma + _to_rgb(chroma)[:, None, None], 0, 255)
    grey = np.repeat(luma, 3, -1)
    coloured_in = rng.integers(NUM_FRAMES, size=number)
    gt, shown = [], []
    for t in range(NUM_FRAMES):
        order = rng.permutation(number)
        visible = np.where((coloured_in == t)[:, None, None, None], coloured, grey)
        gt.append(_arrange(coloured[order]))
        shown.append(_arrange(visible[order]))
    return _round(gt), _round(shown)


def _patterns(rng: np.random.Generator, number: int) -> np.ndarray:
    """Luma (number, 16, 16): one random level for each LQ pixel, so that a pattern survives degradation."""
    levels = rng.uniform(*LUMA_RANGE, (number, CELL, CELL))
    return levels.repeat(SCALE, 1).repeat(SCALE, 2)


def _to_rgb(chroma: np.ndarray) -> np.ndarray:
    """Convert (n, 2), Cb and Cr, to RGB offsets (n, 3) that leave BT.601 luma unchanged."""
    blue, red = 1.772 * chroma[:, 0], 1.402 * chroma[:, 1]
    green = -(LUMA[0] * red + LUMA[2] * blue) / LUMA[1]
    return np.stack([red, green, blue], -1)


def _arrange(cells: np.ndarray) -> np.ndarray:
    """Arrange cells (9, 16, 16, 3) as one frame (48, 48, 3), in rows."""
    edge = cells.shape[1]
    return cells.reshape(GRID, GRID, edge, edge, 3).swapaxes(1, 2).reshape(SIZE, SIZE, 3)


def _round(frames: list[np.ndarray]) -> np.ndarray:
    return np.floor(np.stack(frames) + 0.5).astype(np.uint8)
