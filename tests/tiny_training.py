"""A training small enough for tests: random moving pictures, a network of a few channels, seconds in all."""

from pathlib import Path

import cv2
import numpy as np
import yaml
from safetensors.numpy import save_file

from models import ModelConfig
from vsrbench.core.config import TrainingConfig, Variant
from vsrbench.data.clips import Clip
from vsrbench.data.store_frames import build_store

MODEL = {
    "num_frames": 3,
    "num_feat": 4,
    "feat_size": 16,
    "depth": 1,
    "num_extract_blocks": 1,
    "num_reconstruct_blocks": 1,
    "num_feed_forward_blocks": 1,
    "flow_num_feat": 4,
}
TRAINING = {
    "iterations": 6,
    "batch_size": 2,
    "learning_rate": 1e-3,
    "betas": (0.9, 0.99),
    "schedule": "one_cycle",
    "minimum_learning_rate": 1e-7,
    "checkpoint_interval": 2,
    "validation_interval": 3,
    "log_interval": 2,
}


def write_clips(folder: Path, num_clips: int = 2, num_frames: int = 5, size: int = 24) -> list[Clip]:
    """Clips of smooth noise that moves one LQ pixel to the right in each frame, with their exact flow."""
    random = np.random.default_rng(0)
    return [_write_clip(folder / f"clip{index}", random, num_frames, size) for index in range(num_clips)]


def _write_clip(folder: Path, random: np.random.Generator, num_frames: int, size: int) -> Clip:
    wide = cv2.GaussianBlur(random.random((4 * size, 4 * (size + num_frames), 3)), (0, 0), 6)
    wide = (255 * (wide - wide.min()) / np.ptp(wide)).astype(np.uint8)
    paths = {"gt": [], "lq": []}
    for t in range(num_frames):
        gt = wide[:, 4 * (num_frames - t) :][:, : 4 * size]
        lq = cv2.resize(gt, (size, size), interpolation=cv2.INTER_AREA)
        for name, frame in (("gt", gt), ("lq", lq)):
            paths[name].append(folder / name / f"{t:08d}.png")
            paths[name][-1].parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(paths[name][-1]), frame)
    flow = np.zeros((num_frames, 2, size, size), np.float32)
    flow[:, 0] = 1
    save_file({"flows_forward": -flow, "flows_backward": flow}, folder / "flow.safetensors")
    return Clip(
        dataset="noise",
        name=folder.name,
        degradation="BI",
        lq=tuple(paths["lq"]),
        gt=tuple(paths["gt"]),
        scored=(),
        flow=folder / "flow.safetensors",
    )


def write_stores(folder: Path, size: int = 24, num_frames: int = 5) -> dict[str, Path]:
    """The index files of a training and a validation store, as `train` and `train_flow` take them."""
    clips = write_clips(folder / "clips", num_clips=3, num_frames=num_frames, size=size)
    build_store(clips[:2], folder / "store" / "train")
    build_store(clips[2:], folder / "store" / "validation")
    return {
        "store": folder / "store" / "train" / "index.json",
        "validation_store": folder / "store" / "validation" / "index.json",
    }


def write_variant(path: Path, model: dict | None = None, training: dict | None = None) -> Path:
    """A resolved variant: the tiny one, changed as asked."""
    variant = Variant(
        study="tiny",
        variant="full",
        title="Tiny",
        question="Does it train?",
        because=None,
        changes={},
        train_on="photo_motion",
        degradation="BI",
        model=ModelConfig(**MODEL | {"feed_forward": "unaligned"} | (model or {})),
        training=TrainingConfig(**TRAINING | (training or {})),
    )
    path.write_text(yaml.safe_dump(variant.to_dict(), sort_keys=False))
    return path


def same_but_for_time(lines: list[dict]) -> list[dict]:
    """The lines of a log without what depends on the machine's load."""
    timing = {"seconds_per_iteration", "waiting_share", "memory_gib"}
    return [{key: value for key, value in line.items() if key not in timing} for line in lines]
