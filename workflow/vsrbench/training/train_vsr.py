"""Train one variant of the network from scratch, with a Charbonnier loss summed over all frames of a window.

Only code that the weights depend on is imported here: editing the metrics, for instance, repeats no training.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from models import build_model
from models.network import Network
from models.state_dicts import load_spynet
from vsrbench.core.config import Variant, load_variant
from vsrbench.core.device import choose_device
from vsrbench.core.errors import InputError
from vsrbench.core.files import sha256
from vsrbench.core.lineage import check
from vsrbench.core.provenance import code_digest, config_digest
from vsrbench.data.frame_store import FrameStore
from vsrbench.data.training_set import TrainingSet
from vsrbench.training.losses import charbonnier, psnr
from vsrbench.training.trainer import fit
from vsrbench.training.tuning import read_chosen, with_learning_rate

VALIDATION_WINDOWS = 8


def train(
    *,
    config: Path,
    seed: int,
    store: Path,
    validation_store: Path,
    out: Path,
    flow_weights: Path | None = None,
    learning_rate: float | None = None,
    tuning: Path | None = None,
    on_nonfinite: str = "stop",
    device: str | None = None,
    workers: int | None = None,
) -> None:
    """Train the resolved variant `config` and write `out`; provenance, log and checkpoints go to its folder.

    `learning_rate`, or the one chosen in the file `tuning`, replaces the variant's own. `store` and
    `validation_store` are the index files of frame stores. If the variant has an optical-flow
    network, it is initialised from `flow_weights` and trained with the rest. For resuming, signals,
    `on_nonfinite` and errors see `trainer.fit`; also raises InputError for stores of another degradation and
    for flow weights that are missing or do not fit.
    """
    variant = load_variant(config)
    if tuning is not None:
        learning_rate = read_chosen(tuning)
    if learning_rate is not None:
        variant = with_learning_rate(variant, learning_rate)
    torch.manual_seed(seed)
    task = Restoration(variant, seed, FrameStore(store.parent), FrameStore(validation_store.parent))
    if choose_device(device).type == "cuda":
        task.network.set_layout(variant.training.precision)
    flow_digest = None
    if task.network.spynet is not None:
        flow_digest = _load_flow(task.network.spynet, flow_weights)
    identity = {
        "variant": variant.variant,
        "seed": seed,
        "settings": config_digest(asdict(variant.model) | asdict(variant.training)),
        "data": sha256(store),
        "flow_weights": flow_digest,
        "code": code_digest("train"),
    }
    fit(
        task,
        variant.training,
        seed=seed,
        out=out,
        step="train",
        identity=identity,
        sources=(config, store, validation_store, flow_weights, tuning),
        on_nonfinite=on_nonfinite,
        device=device,
        workers=workers,
    )


class Restoration:
    """The task for `trainer.fit`: restore every frame of a window of low-quality frames."""

    def __init__(self, variant: Variant, seed: int, store: FrameStore, validation_store: FrameStore):
        model, training = variant.model, variant.training
        for frames in (store, validation_store):
            if frames.degradation != variant.degradation:
                raise InputError(
                    f"{frames.folder}: expected frames of degradation {variant.degradation}, got "
                    f"{frames.degradation}; build the store for {variant.degradation}"
                )
        self.network = _build(variant)
        self.network.activation_checkpointing = training.activation_checkpointing
        self.freeze_flow_iterations = training.freeze_flow_iterations
        self.values_per_iteration = training.batch_size * model.num_frames * 3 * (4 * model.feat_size) ** 2
        window: dict[str, Any] = {
            "num_frames": model.num_frames,
            "size": model.feat_size,
            "with_flows": model.flow_source == "oracle",
        }
        self.training_set = TrainingSet(store, batch_size=training.batch_size, seed=seed, **window)
        self.validation_set = TrainingSet(validation_store, batch_size=1, seed=seed, **window)
        self.batch, self.describe = self.training_set.batch, self.training_set.describe

    def set_trainable(self, iteration: int) -> bool:
        """Freeze the flow network for the first `freeze_flow_iterations`; return whether that changed."""
        spynet = self.network.spynet
        if spynet is None:
            return False
        before = next(spynet.parameters()).requires_grad
        spynet.requires_grad_(iteration > self.freeze_flow_iterations)
        return next(spynet.parameters()).requires_grad != before

    def loss(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Sum the Charbonnier loss over windows, frames, channels and pixels."""
        return charbonnier(_restore(network, batch), _unit(batch["gt"]))

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Compute the mean PSNR in dB on fixed windows, to show progress; results come from `evaluate`."""
        scores = []
        for window in self.validation_set.fixed_windows(VALIDATION_WINDOWS):
            batch = {key: values.to(device) for key, values in self.validation_set.stack([window]).items()}
            scores.append(psnr(_restore(network, batch), _unit(batch["gt"])).mean())
        return {"validation_psnr_rgb": torch.stack(scores).mean().item()}


def _build(variant: Variant) -> Network:
    try:
        network: Network = build_model(variant.model)
        network.check()
    except ValueError as error:
        raise InputError(f"{variant.variant}: {error}") from None
    return network


def _restore(network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    flows = (batch["flows_forward"], batch["flows_backward"]) if "flows_forward" in batch else None
    restored: Tensor = network(_unit(batch["lq"]), flows)
    return restored


def _unit(frames: Tensor) -> Tensor:
    return frames.float().div_(255)


def _load_flow(spynet: nn.Module, path: Path | None) -> str:
    """Load SPyNet's initial weights; return the sha256 of their file."""
    if path is None:
        raise InputError(
            "this variant needs an optical-flow network; set --flow-weights, e.g. to the output of train-flow"
        )
    check(path)
    try:
        spynet.load_state_dict(load_spynet(path).state_dict())
    except ValueError as error:
        raise InputError(str(error)) from None
    except RuntimeError:
        raise InputError(f"{path}: SPyNet's width differs from model.flow_num_feat; retrain it") from None
    return sha256(path)
