"""Train one variant of the network from scratch: summed Charbonnier loss over all frames of a window.

Only what the weights depend on is imported here: an edit of the metrics, say, must not repeat a training.
"""

from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from models import build_model
from models.state_dicts import load_spynet
from vsrbench.core.config import Variant, load_variant
from vsrbench.core.errors import InputError
from vsrbench.core.files import sha256
from vsrbench.core.provenance import code_digest, config_digest
from vsrbench.data.frame_store import FrameStore
from vsrbench.data.training_set import TrainingSet
from vsrbench.training.losses import charbonnier, psnr
from vsrbench.training.trainer import fit

VALIDATION_WINDOWS = 8


def train(
    *,
    config: Path,
    seed: int,
    store: Path,
    validation_store: Path,
    out: Path,
    flow_weights: Path | None = None,
    on_nonfinite: str = "stop",
    device: str | None = None,
    workers: int = 2,
) -> None:
    """Train the resolved variant `config` and write `out`, with provenance, log and checkpoints beside it.

    Goes on where an earlier start ended; see `loop.fit` for that, for signals and for errors. `store` and
    `validation_store` are the index files of frame stores. Where the variant has an optical-flow network, it
    starts from `flow_weights` and is trained with the rest.
    """
    variant = load_variant(config)
    torch.manual_seed(seed)
    task = Restoration(variant, seed, FrameStore(store.parent), FrameStore(validation_store.parent))
    if task.network.spynet is not None:
        _start_flow(task.network.spynet, flow_weights)
    identity = {
        "variant": variant.variant,
        "seed": seed,
        "settings": config_digest(asdict(variant.model) | asdict(variant.training)),
        "data": sha256(store),
        "flow_weights": sha256(flow_weights) if task.network.spynet is not None else None,
        "code": code_digest("train"),
    }
    fit(
        task,
        variant.training,
        seed=seed,
        out=out,
        step="train",
        identity=identity,
        on_nonfinite=on_nonfinite,
        device=device,
        workers=workers,
    )


class Restoration:
    """The task of `loop.fit`: restore every frame of a window of low-quality ones."""

    def __init__(self, variant: Variant, seed: int, store: FrameStore, validation_store: FrameStore):
        model, training = variant.model, variant.training
        for frames in (store, validation_store):
            if frames.degradation != variant.degradation:
                raise InputError(
                    f"{frames.folder}: frames of degradation {frames.degradation}, but it is to learn "
                    f"{variant.degradation}; build the store for it"
                )
        self.network = build_model(model)
        self.network.activation_checkpointing = training.activation_checkpointing
        self.freeze_flow_iterations = training.freeze_flow_iterations
        self.values_per_iteration = training.batch_size * model.num_frames * 3 * (4 * model.feat_size) ** 2
        window = {
            "num_frames": model.num_frames,
            "size": model.feat_size,
            "with_flows": model.flow == "oracle" and model.feed_forward == "flow_aligned",
        }
        self.training_set = TrainingSet(store, batch_size=training.batch_size, seed=seed, **window)
        self.validation_set = TrainingSet(validation_store, batch_size=1, seed=seed, **window)
        self.batch, self.describe = self.training_set.batch, self.training_set.describe

    def set_trainable(self, iteration: int) -> bool:
        """Hold the optical-flow network fixed for the first iterations, where the recipe says so."""
        spynet = self.network.spynet
        if spynet is None:
            return False
        before = next(spynet.parameters()).requires_grad
        spynet.requires_grad_(iteration > self.freeze_flow_iterations)
        return next(spynet.parameters()).requires_grad != before

    def loss(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Charbonnier, summed over windows, frames, channels and pixels."""
        return charbonnier(_restore(network, batch), _unit(batch["gt"]))

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Mean PSNR on fixed windows; a sign of progress, the results come from `evaluate`."""
        scores = []
        for window in self.validation_set.fixed_windows(VALIDATION_WINDOWS):
            batch = {key: values.to(device) for key, values in self.validation_set.stack([window]).items()}
            scores.append(psnr(_restore(network, batch), _unit(batch["gt"])).mean())
        return {"validation_psnr_rgb": torch.stack(scores).mean().item()}


def _restore(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    flows = (batch["flows_forward"], batch["flows_backward"]) if "flows_forward" in batch else None
    return network(_unit(batch["lq"]), flows)


def _unit(frames: Tensor) -> Tensor:
    return frames.float().div_(255)


def _start_flow(spynet: nn.Module, path: Path | None) -> None:
    if path is None:
        raise InputError(
            "this variant has an optical-flow network; give --flow-weights, or train it with train-flow"
        )
    try:
        spynet.load_state_dict(load_spynet(path).state_dict())
    except ValueError as error:
        raise InputError(str(error)) from None
    except RuntimeError:
        raise InputError(f"{path}: SPyNet of another width than model.flow_num_feat; train it anew") from None
