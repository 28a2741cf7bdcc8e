"""How PSNR and SSIM on RGB and Y compare in speed with scikit-image's SSIM alone.

`python -m vsrbench.benchmarks.metrics --out results/bench_metrics.csv`
"""

import time
from collections.abc import Iterator
from statistics import median

import numpy as np
import torch
from skimage.metrics import structural_similarity

from vsrbench.benchmarks import results_csv
from vsrbench.evaluation.metrics import psnr_ssim

FRAME = (576, 704, 3)  # Vid4 "city"
_LUMA = np.array([65.481, 128.553, 24.966]) / 255


def compare_with_scikit_image(rounds: int = 9) -> dict[str, float]:
    """Median milliseconds a frame of both, and their ratio.

    Processor time of one thread each, since scikit-image has no more, in turns, so that other work on the
    machine hardly matters.
    """
    torch.set_num_threads(1)
    random = np.random.default_rng(0)
    gt = random.integers(0, 256, FRAME, dtype=np.uint8)
    restored = np.clip(gt + random.integers(-20, 21, FRAME), 0, 255).astype(np.uint8)
    here: list[float] = []
    there: list[float] = []
    for _ in range(rounds + 1):
        here.append(_milliseconds(psnr_ssim, restored, gt))
        there.append(_milliseconds(_scikit_image, restored, gt))
    ours, theirs = median(here[1:]), median(there[1:])  # the first round warms up
    return {"vsrbench_ms": ours, "scikit_image_ms": theirs, "ratio": theirs / ours}


def _milliseconds(function, *arguments) -> float:
    start = time.process_time()
    function(*arguments)
    return 1000 * (time.process_time() - start)


def _scikit_image(restored: np.ndarray, gt: np.ndarray) -> None:
    options = dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)
    structural_similarity(restored, gt, channel_axis=-1, **options)
    structural_similarity(restored @ _LUMA + 16, gt @ _LUMA + 16, **options)


def measure() -> Iterator[results_csv.Finding]:
    """Return the comparison in words and as rows."""
    found = compare_with_scikit_image()
    words = (
        f"PSNR and SSIM on RGB and Y of a 704x576 frame: {found['vsrbench_ms']:.1f} ms; scikit-image's SSIM "
        f"{found['scikit_image_ms']:.1f} ms, {found['ratio']:.1f} times as long"
    )
    yield words, results_csv.quantities("metrics", found, 5)


if __name__ == "__main__":
    results_csv.run(__doc__, measure)
