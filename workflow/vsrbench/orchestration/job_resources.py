"""Time and memory that jobs ask a cluster for; for the Snakefile, so without torch."""

from models.config import NetworkConfig
from vsrbench.core.config import Variant
from vsrbench.orchestration.study import Study

MIN_MINUTES = 60.0
SPEED = 2e12  # operations per second; any GPU exceeds it, and a training that hits its limit resumes later
BACKWARD = 2  # operations of a backward pass, relative to the forward pass

BASE_MB = 6000  # main memory for Python, CUDA's context, frames and batches; REDS and Vimeo-90K need the same
UNKNOWN_MB = 16_000  # of a network whose size is not known before it runs


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


def training_mb(network: NetworkConfig) -> int:
    """Estimate the main memory in MB of one process that trains a network on a GPU.

    Weights, their average and the optimiser's two moments, each once in float32. Checkpoints stream, and the
    network moves to the GPU, so that hardly more than one of the four is in main memory at a time.
    """
    return _megabytes(network, copies=4)


def inference_mb(network: NetworkConfig) -> int:
    """Estimate the main memory in MB of a process that runs a network: its weights, built and read."""
    return _megabytes(network, copies=2)


def _megabytes(network: NetworkConfig, copies: int) -> int:
    if network.parameters is None:
        return UNKNOWN_MB
    return BASE_MB + copies * 4 * network.parameters // 10**6
