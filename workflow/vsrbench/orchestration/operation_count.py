"""Count the operations and memory of training and scoring, without computing, on PyTorch's meta device.

A multiplication and an addition of a convolution or matrix product count as one operation each.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from models import build_model
from models.network import Network, SharingNetwork
from models.optical_flow import SPyNet
from vsrbench.core.config import Variant
from vsrbench.training.losses import charbonnier, end_point_error


@dataclass(frozen=True)
class TrainingCost:
    """The cost of one training iteration on one window."""

    operations: int  # forward and backward pass
    saved_bytes: int  # activations saved for the backward pass
    parameter_bytes: int  # of the weights, in float32

    def peak_bytes(self, windows: int, copies: int = 4) -> int:
        """Estimate the peak memory in bytes of training with `windows` per batch.

        `copies` of the parameters are held: weights, gradients and Adam's two moments by default.
        """
        return windows * self.saved_bytes + copies * self.parameter_bytes


def training_cost(variant: Variant) -> TrainingCost:
    """Count the training cost of a variant; bfloat16 is assumed for every operation."""
    model, training = variant.model, variant.training
    with torch.device("meta"):
        network = build_model(model)
        lq = torch.empty(1, model.num_frames, 3, model.feat_size, model.feat_size)
        gt = torch.empty(1, model.num_frames, 3, 4 * model.feat_size, 4 * model.feat_size)
        flows = _flows(network, lq)
    parameter_bytes = _bytes(network)
    network.activation_checkpointing = training.activation_checkpointing
    if training.precision == "bfloat16":
        network, lq = network.bfloat16(), lq.bfloat16()
        flows = flows and (flows[0].bfloat16(), flows[1].bfloat16())
    return _count(network, lambda: charbonnier(network(lq, flows), gt), parameter_bytes)


def flow_training_cost(num_feat: int, crop_size: int) -> TrainingCost:
    """Count SPyNet's training cost for one pair of frames, in both directions.

    `num_feat` is the widest layer of a level, `crop_size` the edge in LQ pixels.
    """
    with torch.device("meta"):
        network = SPyNet(num_feat)
        frames, exact = torch.empty(2, 3, crop_size, crop_size), torch.empty(2, 2, crop_size, crop_size)
    return _count(network, lambda: end_point_error(network(frames, frames), exact), _bytes(network))


def tile_operations(variant: Variant) -> int:
    """Count the operations that restore one tile of one frame, in the steady state.

    Features and flows that the tile shares with the previous window are not counted. Of a network for whole
    clips, a frame's share of a training window is counted.
    """
    model = variant.model
    with torch.device("meta"):
        network = build_model(model)
        clip = torch.empty(1, model.num_frames, 3, model.feat_size, model.feat_size)
        features = torch.empty(1, model.num_frames, model.num_feat, model.feat_size, model.feat_size)
        known = torch.empty(1, model.num_frames, 2, model.feat_size, model.feat_size)
    centre = [model.num_frames // 2]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        if not isinstance(network, SharingNetwork):
            network(clip)
            outputs = model.num_frames if model.protocol == "clip" else 1
            return int(counter.get_total_flops()) // outputs
        network.extract(clip[:, :1])
        if network.spynet is not None:  # to the new frame, from it, and from the last frame to itself
            network.spynet(clip[:, 0].repeat(3, 1, 1, 1), clip[:, 0].repeat(3, 1, 1, 1))
        network.reconstruct(network.transform(features, clip, (known, known), centre), clip[:, centre])
    return int(counter.get_total_flops())


def _flows(network: Network, lq: Tensor) -> tuple[Tensor, Tensor] | None:
    if network.config.flow_source != "oracle":
        return None
    return lq[:, :, :2].clone(), lq[:, :, :2].clone()


def _bytes(network: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in network.parameters())


def _count(network: nn.Module, loss: Callable[[], Tensor], parameter_bytes: int) -> TrainingCost:
    parameters = {parameter.untyped_storage()._cdata for parameter in network.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            saved[storage._cdata] = storage.nbytes()
        return tensor

    with FlopCounterMode(display=False) as counter:
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            result = loss()
        result.backward()
    return TrainingCost(counter.get_total_flops(), sum(saved.values()), parameter_bytes)
