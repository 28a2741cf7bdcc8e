"""The metrics on pictures made for the purpose."""

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from vsrbench.core.errors import InputError
from vsrbench.evaluation import lpips_distance
from vsrbench.evaluation.metrics import farneback, lpips, psnr, psnr_ssim, seam, ssim, tlp, tof

LUMA = np.array([65.481, 128.553, 24.966]) / 255


def noisy_pair(height=40, width=50, frames=None, strength=20):
    random = np.random.default_rng(height)
    shape = (height, width, 3) if frames is None else (frames, height, width, 3)
    gt = random.integers(0, 256, shape)
    restored = np.clip(gt + random.integers(-strength, strength + 1, shape), 0, 255)
    return restored.astype(np.uint8), gt.astype(np.uint8)


def skimage_ssim(restored, gt, **options):
    options |= dict(gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)
    return structural_similarity(restored.astype(float), gt.astype(float), **options)


# 96 rows are worked on at a time, and 10 of them come twice: heights around the joins.
@pytest.mark.parametrize("height", [11, 96, 105, 106, 107, 202, 203])
def test_agree_with_scikit_image(height):
    restored, gt = noisy_pair(height)
    values = psnr_ssim(restored, gt)
    y = [frame @ LUMA + 16 for frame in (restored, gt)]
    expected = {
        "psnr_rgb": peak_signal_noise_ratio(gt, restored, data_range=255),
        "ssim_rgb": skimage_ssim(restored, gt, channel_axis=-1),
        "psnr_y": peak_signal_noise_ratio(*y, data_range=255),
        "ssim_y": skimage_ssim(*y),
    }
    assert values == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("level, strength", [(0, 0), (255, 0), (250, 5), (128, 1), (3, 3)])
def test_ssim_keeps_its_digits_where_pictures_are_flat(level, strength):
    """Variances that almost vanish beside their means are what float32 is worst at."""
    random = np.random.default_rng(level)
    restored = (level + random.integers(-strength, strength + 1, (60, 60, 3))).astype(np.uint8)
    gt = np.full_like(restored, level)
    assert ssim(restored, gt) == pytest.approx(skimage_ssim(restored, gt, channel_axis=-1), abs=2e-6)


def test_identical_frames():
    frame = noisy_pair()[1]
    assert psnr_ssim(frame, frame) == {"psnr_rgb": np.inf, "ssim_rgb": 1, "psnr_y": np.inf, "ssim_y": 1}


def test_a_stack_is_its_frames():
    restored, gt = noisy_pair(frames=3)
    for name, values in psnr_ssim(restored, gt, crop_border=2).items():
        single = [psnr_ssim(*pair, crop_border=2)[name] for pair in zip(restored, gt, strict=True)]
        np.testing.assert_array_equal(values, single)


def test_arrays_and_tensors_are_alike():
    restored, gt = noisy_pair()
    assert psnr_ssim(torch.from_numpy(restored), gt) == psnr_ssim(restored, gt)
    flipped = [
        frame[::-1] for frame in (restored, gt)
    ]  # as OpenCV users hand them over: views with a step of -1
    assert psnr_ssim(*flipped)["psnr_rgb"] == pytest.approx(psnr(restored, gt))


def test_crop_border_and_channel():
    restored, gt = noisy_pair()
    inner = slice(3, -3)
    assert psnr(restored, gt, crop_border=3) == psnr(restored[inner, inner], gt[inner, inner])
    assert ssim(restored, gt, channel="y", crop_border=3) == ssim(
        restored[inner, inner], gt[inner, inner], channel="y"
    )
    assert psnr(restored, gt, channel="y") != psnr(
        restored[..., ::-1].copy(), gt[..., ::-1].copy(), channel="y"
    )


@pytest.mark.parametrize(
    "restored, gt",
    [
        (np.zeros((20, 20, 3), np.float32), np.zeros((20, 20, 3), np.float32)),
        (np.zeros((20, 20), np.uint8), np.zeros((20, 20), np.uint8)),
        (np.zeros((20, 20, 3), np.uint8), np.zeros((20, 24, 3), np.uint8)),
        (np.zeros((10, 20, 3), np.uint8), np.zeros((10, 20, 3), np.uint8)),
    ],
    ids=["float", "grey", "other size", "smaller than the window"],
)
def test_wrong_frames_are_refused(restored, gt):
    with pytest.raises(InputError):
        psnr_ssim(restored, gt)


def textured(shift: int) -> np.ndarray:
    column, row = np.meshgrid(np.arange(120) + shift, np.arange(100))
    wave = np.sin(column / 5) + np.cos(row / 7) + np.sin((column + row) / 9)
    return np.repeat((128 + 40 * wave)[..., None], 3, axis=2).astype(np.uint8)


def test_t_of_is_how_far_motion_is_off():
    still, moved = textured(0), textured(3)
    flow = farneback(still, moved)
    assert flow[30:70, 30:90].mean((0, 1)) == pytest.approx([-3, 0], abs=0.1)
    assert tof(flow, flow) == 0
    # A restored clip that stands still lags by the motion's length, wherever there is motion to be seen.
    assert tof(farneback(still, still)[30:70, 30:90], flow[30:70, 30:90]) == pytest.approx(3, abs=0.1)


def test_t_lp_is_in_hundredths():
    assert tlp(0.03, 0.05) == pytest.approx(2)


@pytest.fixture
def torch_cache(tmp_path, monkeypatch):
    """Torch's cache, empty."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    lpips_distance.load_lpips.cache_clear()
    yield tmp_path / "checkpoints"
    lpips_distance.load_lpips.cache_clear()


def test_lpips_without_backbone_says_how_to_get_it(tmp_path, torch_cache):
    assert lpips_distance.load_lpips("alex", tmp_path / "nothing") is None
    with pytest.raises(InputError, match="lpips_weights"):
        lpips(*noisy_pair(64, 64), weights=tmp_path / "nothing")


@pytest.mark.parametrize("net", lpips_distance.NETS)
def test_a_random_backbone_is_refused(tmp_path, net):
    from torchvision import models

    random = getattr(models, lpips_distance.NETS[net])().state_dict()
    torch.save(random, tmp_path / f"{lpips_distance.NETS[net]}-random.pth")
    with pytest.raises(InputError, match="LPIPS would be wrong"):
        lpips_distance.load_lpips(net, tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_damaged_backbone_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "alexnet.pth").write_bytes(content)
    with pytest.raises(InputError, match=r"^[^\n]*alexnet.pth[^\n]*download it again$"):
        lpips_distance.load_lpips("alex", tmp_path)


def test_backbone_from_torch_cache(torch_cache, lpips_weights):
    """torchvision's own file: other entries beside the features, another name."""
    features = torch.load(lpips_weights / "alexnet_features.pth", weights_only=True)
    torch_cache.mkdir()
    torch.save(features | {"classifier.1.bias": torch.zeros(1)}, torch_cache / "alexnet-owt-7be5be79.pth")
    assert lpips_distance.load_lpips("alex") is not None


BORDERS = {"rows": [32, 64], "columns": [32, 64, 96]}


def blocks(height: int) -> np.ndarray:
    """A grey chessboard (96, 128, 3) of squares of 32 pixels, which differ by `height` levels."""
    squares = np.indices((3, 4)).sum(axis=0) % 2
    return np.repeat(np.kron(100 + height * squares, np.ones((32, 32)))[..., None], 3, axis=2).astype(
        np.uint8
    )


@pytest.mark.parametrize("height", [1, 10, -40])
def test_a_planted_seam_has_its_height(height):
    flat = blocks(0)
    levels = abs(height) * 219 / 255  # of Y, whose range is 16 to 235
    assert seam(blocks(height), flat, **BORDERS) == pytest.approx(levels)
    assert seam(blocks(height), blocks(height), **BORDERS) == 0  # the scene's own edges are none
    assert seam(flat, blocks(height), **BORDERS) == pytest.approx(-levels)
    # Borders that lie elsewhere, or beside the seams, do not find it.
    assert seam(blocks(height), flat, rows=[16, 48], columns=[16]) == 0
    assert seam(blocks(height), flat, rows=[36], columns=[28]) == pytest.approx(-levels / 2)


def test_the_grid_of_an_enlargement_is_no_seam():
    grid = blocks(0)
    grid[:, np.arange(128) // 4 % 2 == 1] += 10  # a step of 10 levels at every fourth column
    assert seam(grid, blocks(0), rows=[], columns=BORDERS["columns"]) == 0


def test_seams_count_by_their_pixels():
    one_column = blocks(0)
    one_column[:, 32:] += 10
    assert seam(one_column, blocks(0), rows=[], columns=[32]) == pytest.approx(10 * 219 / 255)
    assert seam(one_column, blocks(0), rows=[32], columns=[32]) == pytest.approx(
        10 * 219 / 255 * 96 / (96 + 128)
    )


def test_noise_is_no_seam_but_hides_one():
    random = np.random.default_rng(0)
    noise = random.normal(0, 12, (2, 60, 96, 128, 3))
    restored, gt = (np.clip(blocks(0) + part, 0, 255).round().astype(np.uint8) for part in noise)
    assert abs(seam(restored, gt, **BORDERS).mean()) < 0.1
    seamed = np.clip(blocks(10) + noise[0], 0, 255).round().astype(np.uint8)
    assert 1 < seam(seamed, gt, **BORDERS).mean() < 10 * 219 / 255


def test_without_a_border_there_is_no_seam_to_measure():
    assert np.isnan(seam(blocks(3), blocks(0), rows=[0, 1, 4, 92, 95, 96], columns=[]))
