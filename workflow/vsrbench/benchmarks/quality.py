"""What bfloat16 and whole frames cost in PSNR on a real clip, by a trained network.

`python -m vsrbench.benchmarks.quality --config <variant>.yaml --weights <file> --lq <folder> --gt <folder>`
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vsrbench.core.config import load_variant
from vsrbench.data.clips import read_frames
from vsrbench.evaluation.inference import RestoreOptions, restore_clip, to_frame
from vsrbench.evaluation.load_weights import load_trained
from vsrbench.evaluation.metrics import psnr


def compare_quality(config: Path, weights: Path, lq: Path, gt: Path) -> Iterator[tuple[str, str, float]]:
    """Mode, precision and the frames' mean PSNR on RGB; tiled in float32, as released, comes first."""
    model = load_trained(load_variant(config), weights)
    lq_frames, gt_frames = (read_frames(sorted(folder.glob("*.png"))) for folder in (lq, gt))
    modes = ["tiled"] if model.config.fixed_size else ["tiled", "whole_frame"]
    for mode in modes:
        for precision in ("float32", "bfloat16"):
            options = RestoreOptions(mode, precision=precision)
            restored = np.stack([to_frame(image) for image in restore_clip(model, lq_frames, options)])
            yield mode, precision, float(np.mean(psnr(restored, gt_frames)))


def main() -> None:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("config", "weights", "lq", "gt"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    released = None
    for mode, precision, value in compare_quality(**vars(parser.parse_args())):
        released = value if released is None else released
        print(f"{mode:12s} {precision:9s} {value:.4f} dB ({value - released:+.4f})", flush=True)


if __name__ == "__main__":
    main()
