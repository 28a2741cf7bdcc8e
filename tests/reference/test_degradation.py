"""The degradations against numbers of the released code and against plain two-dimensional filters."""

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import correlate

from vsrbench.data.clips import read_frame
from vsrbench.data.degradation import DEGRADATIONS, blur_duf, degrade

GOLDEN = np.load(Path(__file__).with_name("degradation.npz"))
VID4 = Path(__file__).parents[3] / "shared" / "data" / "Vid4"


@pytest.mark.parametrize(("key", "scale", "rows", "columns"), [
    ("x2", 2, 64, 80),
    ("x3", 3, 64, 80),
    ("x4", 4, 64, 80),
    ("x4_60x72", 4, 60, 72),
])  # fmt: skip
def test_duf_blur_equals_the_released_code(key, scale, rows, columns):
    frames = GOLDEN["in_u8"][:, :, :rows, :columns].transpose(0, 2, 3, 1) / 255
    lq = blur_duf(frames, scale).transpose(0, 3, 1, 2)
    assert lq.shape == GOLDEN[key].shape
    assert np.abs(lq - GOLDEN[key]).max() < 2e-6


def test_blur_equals_matlab_recipe():
    """fspecial('gaussian', 12, 1.6), imfilter with 'replicate', then (2:4:end-2) counted from 1."""
    x = np.arange(12) - 5.5
    kernel = np.exp(-(x[:, None] ** 2 + x**2) / (2 * 1.6**2))
    kernel /= kernel.sum()
    frames = GOLDEN["in_u8"].transpose(0, 2, 3, 1).astype(float)
    lq = DEGRADATIONS["BD"].downscale(frames)
    for t in range(len(frames)):
        for c in range(3):
            # scipy centres an even kernel one pixel later than imfilter does
            filtered = correlate(frames[t, :, :, c], kernel, mode="nearest", origin=-1)
            assert np.abs(lq[t, :, :, c] - filtered[1:-2:4, 1:-2:4]).max() < 1e-9


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_phase_is_where_the_samples_lie(name):
    """A ramp keeps its values at the sampling positions, away from the borders."""
    ramp = np.broadcast_to(np.arange(64.0)[None, :, None, None], (1, 64, 64, 3)).copy()
    lq = DEGRADATIONS[name].downscale(ramp)[0, :, 5, 0]
    expected = 4 * np.arange(16) + DEGRADATIONS[name].phase
    assert np.abs(lq - expected)[3:-3].max() < 1e-6


def test_rounds_and_clamps_to_8_bits():
    gt = np.random.default_rng(0).integers(0, 2, (2, 32, 40, 3)).astype(np.uint8) * 255
    for name, degradation in DEGRADATIONS.items():
        lq = degrade(gt, name)
        exact = degradation.downscale(gt.astype(float))
        assert lq.dtype == np.uint8 and lq.shape == (2, 8, 10, 3)
        assert np.abs(lq - exact.clip(0, 255)).max() <= 0.5


@pytest.mark.skipif(not VID4.is_dir(), reason=f"needs Vid4 city in {VID4}")
def test_bicubic_makes_the_published_frames_of_city():
    names = sorted(path.name for path in (VID4 / "BIx4" / "city").glob("*.png"))
    assert len(names) == 34
    for name in names:
        gt, lq = (read_frame(VID4 / kind / "city" / name) for kind in ("GT", "BIx4"))
        assert np.array_equal(degrade(gt[None], "BI")[0], lq), name
