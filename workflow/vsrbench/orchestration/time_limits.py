"""How long a training asks a cluster for, from the study's size; for the Snakefile, so without torch."""

from models.config import ModelConfig
from vsrbench.core.config import Variant
from vsrbench.orchestration.study import Study

LEAST = 60.0  # minutes
SPEED = 2e12  # operations a second; a GPU reaches more, and what takes longer than asked for goes on later
BACKWARD = 2  # a backward pass takes twice the operations of a forward pass


def training_minutes(variant: Variant, longest: float) -> int:
    """Minutes for one training of a variant on one GPU, at most `longest`."""
    model, training = variant.model, variant.training
    pixels = training.batch_size * model.num_frames * model.feat_size**2
    return _minutes(training.iterations * pixels * operations(model), longest)


def flow_minutes(study: Study, longest: float) -> int:
    """Minutes for the training of SPyNet, at most `longest`; both directions of a pair are learned."""
    settings, width = study.settings["flow_training"], study.variants["full"].model.flow_num_feat
    pixels = 2 * settings["batch_size"] * settings["crop_size"] ** 2
    # 7 x 7 convolutions from 8 to width/2, width, width/2, width/4, 2 channels; coarse levels add a third.
    weights = 49 * (8 + width + width + width / 4) * width / 2
    return _minutes(settings["iterations"] * pixels * 2 * weights * 4 / 3, longest)


def operations(model: ModelConfig) -> float:
    """Operations per LQ pixel of a window's frames in a forward pass: those of the 3 x 3 convolutions.

    Attention and optical flow come on top, a tenth or so.
    """
    extraction = 2 * model.num_extract_blocks
    transformer = model.depth * 4 * model.num_feed_forward_blocks
    # Two layers that enlarge, and one at the final size, in which an LQ pixel is 16.
    reconstruction = 2 * model.num_reconstruct_blocks + 4 + 4 * 4 + 16
    return 2 * 9 * model.num_feat**2 * (extraction + transformer + reconstruction)


def _minutes(forward_operations: float, longest: float) -> int:
    return int(min(LEAST + (1 + BACKWARD) * forward_operations / SPEED / 60, longest))
