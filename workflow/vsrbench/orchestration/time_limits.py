"""Time limits of training jobs, from the size of the study; for the Snakefile, so without torch."""

from vsrbench.core.config import Variant
from vsrbench.orchestration.study import Study

MIN_MINUTES = 60.0
SPEED = 2e12  # operations per second; any GPU exceeds it, and a training that hits its limit resumes later
BACKWARD = 2  # operations of a backward pass, relative to the forward pass


def training_minutes(variant: Variant, longest: float) -> int:
    """Estimate the minutes of one training of a variant on one GPU, at most `longest`."""
    model, training = variant.model, variant.training
    if model.operations is None:
        return int(longest)
    pixels = training.batch_size * model.num_frames * model.feat_size**2
    return _minutes(training.iterations * pixels * model.operations, longest)


def flow_minutes(study: Study, longest: float) -> int:
    """Estimate the minutes of SPyNet's training, at most `longest`; both directions of a pair are trained."""
    settings, width = study.settings["flow_training"], study.variants["full"].model.flow_num_feat
    pixels = 2 * settings["batch_size"] * settings["crop_size"] ** 2
    # 7 x 7 convolutions from 8 to width/2, width, width/2, width/4, 2 channels; coarse levels add a third.
    weights = 49 * (8 + width + width + width / 4) * width / 2
    return _minutes(settings["iterations"] * pixels * 2 * weights * 4 / 3, longest)


def _minutes(forward_operations: float, longest: float) -> int:
    return int(min(MIN_MINUTES + (1 + BACKWARD) * forward_operations / SPEED / 60, longest))
