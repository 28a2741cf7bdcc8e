"""The calibration of a forecast, on networks of the sizes that the studies have."""

import torch

from vsrbench.core.config import STUDIES, read_yaml, resolve_variant
from vsrbench.orchestration.training_speed import calibrate


def test_a_network_of_small_frames_can_be_calibrated():
    """No smaller crop is tried than the smallest that a network takes."""
    full = resolve_variant(read_yaml(STUDIES / "permuted_cells.yaml"), "full")
    calibration = calibrate(full, 1, torch.device("cpu"))
    assert calibration.crop == full.model.feat_size == 12 and calibration.windows == 2
    assert calibration.rate > 0
