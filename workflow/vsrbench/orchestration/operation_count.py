"""What a network's training and scoring cost, counted without computing: tensors on the meta device.

An operation is one multiplication or addition of a convolution or matrix product.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from models import build_model
from models.optical_flow import SPyNet
from models.vsr_transformer import VSRTransformer
from vsrbench.core.config import Variant
from vsrbench.training.losses import charbonnier, end_point_error


@dataclass(frozen=True)
class TrainingCost:
    """Of one iteration on one window."""

    operations: int  # forward and backward
    saved_bytes: int  # kept from the forward for the backward pass
    parameter_bytes: int

    def peak_bytes(self, windows: int, copies: int = 4) -> int:
        """Memory for training on `windows` at once, with weights, gradients and two moments beside them."""
        return windows * self.saved_bytes + copies * self.parameter_bytes


def training_cost(variant: Variant) -> TrainingCost:
    """What the training of a variant costs; bfloat16 is taken to hold throughout."""
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
        flows = flows and tuple(flow.bfloat16() for flow in flows)
    return _count(network, lambda: charbonnier(network(lq, flows), gt), parameter_bytes)


def flow_training_cost(num_feat: int, crop_size: int) -> TrainingCost:
    """What the training of SPyNet costs, for a pair of frames in both directions."""
    with torch.device("meta"):
        network = SPyNet(num_feat)
        frames, exact = torch.empty(2, 3, crop_size, crop_size), torch.empty(2, 2, crop_size, crop_size)
    return _count(network, lambda: end_point_error(network(frames, frames), exact), _bytes(network))


def tile_operations(variant: Variant) -> int:
    """Operations that restore one tile of one frame, where the windows before have left what they share."""
    model = variant.model
    with torch.device("meta"):
        network = build_model(model)
        clip = torch.empty(1, model.num_frames, 3, model.feat_size, model.feat_size)
        features = torch.empty(1, model.num_frames, model.num_feat, model.feat_size, model.feat_size)
        known = torch.empty(1, model.num_frames, 2, model.feat_size, model.feat_size)
    centre = [model.num_frames // 2]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network.extract(clip[:, :1])
        if network.spynet is not None:  # to the new frame, from it, and the window's last to itself
            network.spynet(clip[:, 0].repeat(3, 1, 1, 1), clip[:, 0].repeat(3, 1, 1, 1))
        network.reconstruct(network.transform(features, clip, (known, known), centre), clip[:, centre])
    return counter.get_total_flops()


def _flows(network: VSRTransformer, lq: Tensor) -> tuple[Tensor, Tensor] | None:
    if network.config.flow != "oracle":
        return None
    return lq[:, :, :2].clone(), lq[:, :, :2].clone()


def _bytes(network: torch.nn.Module) -> int:
    return sum(parameter.nbytes for parameter in network.parameters())


def _count(network, loss, parameter_bytes) -> TrainingCost:
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
