"""Restore and score a data set's test clips, by a network or a baseline: one row per frame."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from models.baselines import BASELINES, Baseline
from models.config import NetworkConfig
from models.vsr_transformer import SCALE
from vsrbench.core.config import Variant, load_variant
from vsrbench.core.device import choose_device
from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write
from vsrbench.core.lineage import origin
from vsrbench.core.metric_table import METRICS
from vsrbench.core.provenance import code_digest, config_digest
from vsrbench.data.clips import Clip
from vsrbench.data.datasets import load_clips
from vsrbench.evaluation.inference import RestoreOptions, describe_method, restore_clip, to_frame
from vsrbench.evaluation.load_weights import load_trained
from vsrbench.evaluation.saved_frames import SAMPLES, save_sample_frames
from vsrbench.evaluation.scorer import Borders, Scorer
from vsrbench.evaluation.shares import WHOLE, Share, seal

COLUMNS = (
    *("study", "variant", "seed", "dataset", "clip", "frame"),
    *METRICS,
    *("mode", "tile_overlap", "precision", "num_frames"),
    *("degradation", "trained_on", "code_digest", "config_digest"),
)
_READ_AT_ONCE = 16  # ground-truth frames in memory while low-quality frames are generated from them

Restore = Callable[[Clip], Iterator[np.ndarray]]


def evaluate(
    *,
    study: str,
    variant: str,
    seed: int,
    manifest: Path,
    rows: Path,
    frames: Path,
    config: Path | None = None,
    weights: Path | None = None,
    degradation: str | None = None,
    mode: str = "tiled",
    tile_overlap: int | None = None,
    precision: str = "float32",
    metrics: Iterable[str] = METRICS,
    lpips_weights: Path | None = None,
    device: str | None = None,
    share: Share = WHOLE,
) -> None:
    """Restore and score the test clips of a verified or generated data set.

    `config` is a resolved variant and `weights` the weights trained for it; a baseline has neither. Writes
    one row (COLUMNS) per scored frame to the CSV file `rows`, and the sample frames of the first clips
    (`saved_frames`) to the folder `frames`. `mode`, `tile_overlap` (LQ pixels) and `precision` are those of
    `restore_clip`. The column of a metric that is not in `metrics` or cannot be computed (see `Scorer.score`)
    is empty; the PSNR of identical frames is `inf`. With a `share` of the clips, `rows` and `frames` are
    `rows.csv` and `frames` in the share's folder.

    Raises InputError if only one of `config` and `weights` is given, if the frames have another degradation
    than `degradation`, and if a network cannot restore a clip.
    """
    if any((given is None) != (variant in BASELINES) for given in (config, weights)):
        baselines = ", ".join(BASELINES)
        raise InputError(f"{variant}: give --config and --weights, or neither for a baseline ({baselines})")
    if lpips_weights is not None and not Path(lpips_weights).is_dir():
        raise InputError(f"--lpips-weights: {lpips_weights} is not a folder; correct the path")
    made = origin("evaluate", config, weights, manifest)
    target = choose_device(device)
    clips = share.clips(load_clips(manifest, "test", degradation))
    if config is None or weights is None:
        restore, method = _enlarge(BASELINES[variant], target), _describe_baseline()
        borders = Borders()
    else:
        resolved = load_variant(config)
        options = RestoreOptions(mode, tile_overlap, precision)
        restore, method = _network(resolved, weights, options, target), _describe(resolved, options)
        borders = _borders(resolved.model, method)
    scorer = Scorer(metrics, lpips_weights, target, borders)
    method |= {"study": study, "variant": variant, "seed": seed, "code_digest": code_digest("evaluate")}
    found = []
    Path(frames).mkdir(parents=True, exist_ok=True)
    with tqdm(total=sum(len(clip.scored) for _, clip in clips), desc=variant, unit="frame") as progress:
        for number, clip in clips:
            restored = restore(clip)
            if number < SAMPLES:
                restored = save_sample_frames(restored, clip, Path(frames))
            place = {"dataset": clip.dataset, "clip": clip.name, "degradation": clip.degradation}
            for scores in scorer.score(clip, restored):
                found.append(method | place | scores)
                progress.update()
    with atomic_write(rows) as partial:
        pd.DataFrame(found, columns=list(COLUMNS)).to_csv(partial, index=False, float_format="%.6f")
    made.record(frames, rows)
    if share != WHOLE:
        seal(Path(rows).parent, made)


def _enlarge(baseline: Baseline, device: torch.device) -> Restore:
    """Upscale the scored frames by a baseline."""

    def restore(clip: Clip) -> Iterator[np.ndarray]:
        for lq in _read_lq(clip)[list(clip.scored)]:
            frame = torch.from_numpy(lq).to(device).movedim(-1, 0).float() / 255
            yield to_frame(baseline.enlarge(frame))

    return restore


def _borders(model: NetworkConfig, method: Mapping[str, str | int]) -> Borders:
    """Where a network may leave seams; one without patches is looked at where the published one has them."""
    patch = SCALE * model.patch_size if model.patch_size > 1 else Borders.patch
    if method["mode"] != "tiled":
        return Borders(patch)
    return Borders(patch, model.feat_size, int(method["tile_overlap"]))


def _describe_baseline() -> dict[str, str | int]:
    return {
        **{"mode": "whole_frame", "tile_overlap": "", "precision": "float32", "num_frames": 1},
        **{"trained_on": "", "config_digest": ""},
    }


def _network(variant: Variant, weights: Path, options: RestoreOptions, device: torch.device) -> Restore:
    """Restore the scored frames with a trained network."""
    model = load_trained(variant, weights)
    needs_flows = variant.model.flow_source == "oracle"

    def restore(clip: Clip) -> Iterator[np.ndarray]:
        try:
            flows = clip.read_flows() if needs_flows else None
            images = restore_clip(
                model, _read_lq(clip), options, flows=flows, device=device, frames=clip.scored
            )
            return map(to_frame, images)
        except InputError as error:
            raise InputError(f"{clip.gt[0].parent}: {variant.variant} cannot restore it: {error}") from None

    return restore


def _describe(variant: Variant, options: RestoreOptions) -> dict[str, str | int]:
    method = describe_method(variant.model, options)
    overlap = method["tile_overlap"]
    if overlap is None:
        overlap = variant.model.feat_size // 2
    return {
        **method,
        "tile_overlap": overlap if method["mode"] == "tiled" else "",
        "num_frames": variant.model.num_frames,
        "trained_on": "" if variant.weights else variant.degradation,
        "config_digest": config_digest(variant.to_dict()),
    }


def _read_lq(clip: Clip) -> np.ndarray:
    """Read all low-quality frames of a clip: uint8 (t, h, w, 3)."""
    starts = range(0, clip.num_frames, _READ_AT_ONCE)
    return np.concatenate(
        [clip.read(range(start, min(start + _READ_AT_ONCE, clip.num_frames)))[0] for start in starts]
    )
