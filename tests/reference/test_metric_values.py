"""Metrics held to what the released code computes, and to bicubic's scores on real clips."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.baselines import ANCHOR
from vsrbench.data.clips import read_frame
from vsrbench.data.degradation import degrade
from vsrbench.evaluation.inference import to_uint8
from vsrbench.evaluation.metrics import PSNR_SSIM, lpips, psnr, psnr_ssim, ssim

GOLDEN = np.load(Path(__file__).with_name("metrics.npz"))

# Bicubic x4 of real clips: PSNR and SSIM on RGB, then on Y; LPIPS with alex and with squeeze.
REAL = {
    ("Vid4", "city"): (23.6927, 0.5683, 25.1648, 0.6028, 0.5222, 0.4552),
    ("Vid4_excerpt", "foliage"): (22.1556, 0.5490, 23.5166, 0.5718, 0.5494, 0.3558),
    ("vimeo90k", "00002/0001"): (36.0739, 0.9223, 37.6988, 0.9379, 0.3680, 0.2931),
    ("vimeo90k", "00002/0004"): (34.5117, 0.9485, 36.6271, 0.9591, 0.1509, 0.1747),
}


@pytest.mark.parametrize("pair", "012")
@pytest.mark.parametrize("crop_border", [0, 4])
def test_psnr_and_ssim_are_those_of_the_released_code(pair, crop_border):
    restored, gt = GOLDEN[f"{pair}/restored"], GOLDEN[f"{pair}/gt"]
    values = psnr_ssim(restored, gt, crop_border=crop_border)
    expected = dict(zip(PSNR_SSIM, GOLDEN[f"{pair}/values"][crop_border // 4], strict=True))
    for name, value in values.items():
        assert abs(value - expected[name]) <= (1e-4 if name.startswith("psnr") else 1e-6), name
    assert psnr(restored, gt, channel="y", crop_border=crop_border) == values["psnr_y"]
    assert ssim(restored, gt, channel="rgb", crop_border=crop_border) == values["ssim_rgb"]


@pytest.mark.parametrize("net, expected", [("alex", (0.721881, 0.137566)), ("squeeze", (0.711048, 0.147902))])
def test_lpips_of_its_own_example(shared_data, lpips_weights, net, expected):
    reference, *distorted = (
        read_frame(shared_data / "lpips_example" / f"{name}.png") for name in ("ex_ref", "ex_p0", "ex_p1")
    )
    for image, value in zip(distorted, expected, strict=True):
        assert abs(lpips(image, reference, net=net, weights=lpips_weights) - value) <= 1e-4


@pytest.mark.parametrize("dataset, clip", REAL)
def test_bicubic_on_real_clips(shared_data, dataset, clip):
    restored, gt = bicubic_and_gt(shared_data / dataset, clip)
    means = [np.mean(values) for values in psnr_ssim(restored, gt).values()]
    np.testing.assert_allclose(means[::2], REAL[dataset, clip][:4:2], atol=5e-4)
    np.testing.assert_allclose(means[1::2], REAL[dataset, clip][1:4:2], atol=1e-4)


@pytest.mark.parametrize(
    "dataset, clip", [pytest.param(*key, marks=pytest.mark.slow) for key in list(REAL)[:2]] + list(REAL)[2:]
)
def test_lpips_of_bicubic_on_real_clips(shared_data, lpips_weights, dataset, clip):
    pairs = list(zip(*bicubic_and_gt(shared_data / dataset, clip), strict=True))
    for net, expected in zip(("alex", "squeeze"), REAL[dataset, clip][4:], strict=True):
        mean = np.mean([lpips(*pair, net=net, weights=lpips_weights) for pair in pairs])
        assert abs(mean - expected) <= 1e-3


def bicubic_and_gt(folder: Path, clip: str) -> tuple[np.ndarray, np.ndarray]:
    gt = np.stack([read_frame(path) for path in sorted((folder / "GT" / clip).iterdir())])
    if (folder / "BIx4").is_dir():
        lq = np.stack([read_frame(path) for path in sorted((folder / "BIx4" / clip).iterdir())])
    else:
        lq = degrade(gt, "BI")
    enlarged = [to_uint8(ANCHOR.enlarge(torch.from_numpy(frame).movedim(-1, 0) / 255)) for frame in lq]
    return torch.stack(enlarged).movedim(1, -1).numpy(), gt
