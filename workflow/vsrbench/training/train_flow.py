"""Train SPyNet with supervision, on clips whose optical flow is known exactly.

The published weights may not be redistributed; these may. `import_flow` uses downloaded weights instead.
"""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from models.optical_flow import SPyNet
from models.state_dicts import load_spynet
from vsrbench.core.config import TrainingConfig
from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write, sha256
from vsrbench.core.lineage import origin
from vsrbench.core.provenance import begin, code_digest, config_digest, write_provenance
from vsrbench.data.frame_store import FrameStore
from vsrbench.data.training_set import TrainingSet
from vsrbench.training.losses import end_point_error
from vsrbench.training.trainer import fit

VALIDATION_PAIRS = 32
SMALLEST_LEVEL = 4  # pixels; smaller levels show no motion that could be learned


def train_flow(
    *,
    store: Path,
    validation_store: Path,
    out: Path,
    seed: int,
    num_feat: int = 64,
    iterations: int,
    batch_size: int,
    crop_size: int,
    learning_rate: float,
    device: str | None = None,
    workers: int | None = None,
) -> None:
    """Train SPyNet on pairs of frames and write `out`; the provenance records its end-point error.

    `store` and `validation_store` are the index files of frame stores with exact flow; `crop_size` is in LQ
    pixels. For resuming, signals and errors see `trainer.fit`; also raises InputError for a `crop_size` that
    is not a multiple of 32.
    """
    if crop_size % 32:
        raise InputError(
            f"flow_training.crop_size: expected a multiple of 32 for SPyNet's pyramid, got {crop_size}"
        )
    interval = max(1, iterations // 10)
    config = TrainingConfig(
        iterations=iterations,
        batch_size=batch_size,
        learning_rate=learning_rate,
        betas=(0.9, 0.99),
        schedule="one_cycle",
        minimum_learning_rate=1e-7,
        checkpoint_interval=interval,
        validation_interval=interval,
        log_interval=max(1, iterations // 100),
    )
    torch.manual_seed(seed)
    task = SupervisedFlow(
        num_feat, crop_size, batch_size, seed, FrameStore(store.parent), FrameStore(validation_store.parent)
    )
    identity = {
        "seed": seed,
        "settings": config_digest(asdict(config) | {"num_feat": num_feat, "crop_size": crop_size}),
        "data": sha256(store),
        "code": code_digest("train_flow"),
    }
    fit(
        task,
        config,
        seed=seed,
        out=out,
        step="train_flow",
        identity=identity,
        sources=(store, validation_store),
        device=device,
        workers=workers,
    )


class PyramidFlow(SPyNet):
    """SPyNet that returns the flow of every level and starts with small corrections at each level.

    With the default initialisation, corrections of many pixels leave many dead units after a short training.
    """

    def __init__(self, num_feat: int):
        super().__init__(num_feat)
        for level in self.levels:
            convs = [conv for conv in level.children() if isinstance(conv, nn.Conv2d)]
            for conv in convs:
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            with torch.no_grad():
                convs[-1].weight.mul_(0.03)

    # DistributedDataParallel calls only forward, so it must return the flows of all levels.
    def forward(self, ref: Tensor, supp: Tensor) -> list[Tensor]:  # type: ignore[override]
        """Estimate the flow at every level, as `SPyNet.coarse_to_fine`."""
        return self.coarse_to_fine(ref, supp)


class SupervisedFlow:
    """The task for `trainer.fit`: the flow in both directions of pairs of neighbouring frames."""

    def __init__(
        self,
        num_feat: int,
        crop_size: int,
        batch_size: int,
        seed: int,
        store: FrameStore,
        validation_store: FrameStore,
    ):
        self.network = PyramidFlow(num_feat)
        self.values_per_iteration = 2 * batch_size * crop_size**2
        pairs: dict[str, Any] = {"num_frames": 2, "size": crop_size, "seed": seed, "with_flows": True}
        self.training_set = TrainingSet(store, batch_size=batch_size, **pairs)
        self.validation_set = TrainingSet(validation_store, batch_size=1, **pairs)
        self.batch, self.describe = self.training_set.batch, self.training_set.describe

    def set_trainable(self, iteration: int) -> bool:
        """Train all parameters in all iterations."""
        return False

    def loss(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Sum the end-point error over pairs, directions, pixels and levels of at least SMALLEST_LEVEL.

        All levels have the same weight: in a level reduced by a factor s, flows are shorter by s and pixels
        fewer by s^2, so its error is multiplied by s^3.
        """
        exact = _exact(batch)
        total = exact.new_zeros(())
        for halvings, flow in enumerate(reversed(network(*_pairs(batch)))):
            if min(flow.shape[-2:]) >= SMALLEST_LEVEL:
                factor = 2**halvings
                total = total + factor**3 * end_point_error(flow, F.avg_pool2d(exact, factor) / factor)
        return total

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Compute the mean end-point error in LQ pixels, of the network and of zero flow."""
        batch = self.validation_set.stack(self.validation_set.fixed_windows(VALIDATION_PAIRS))
        batch = {key: values.to(device) for key, values in batch.items()}
        exact = _exact(batch)
        values = exact[:, 0].numel()
        return {
            "validation_end_point_error": end_point_error(network(*_pairs(batch))[-1], exact).item() / values,
            "validation_mean_motion": end_point_error(torch.zeros_like(exact), exact).item() / values,
        }


def _pairs(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return (ref, supp), each (2n, 3, h, w) in [0, 1]: first to second frames, then second to first."""
    first, second = (batch["lq"].float() / 255).unbind(1)
    return torch.cat([first, second]), torch.cat([second, first])


def _exact(batch: dict[str, Tensor]) -> Tensor:
    return torch.cat([batch["flows_backward"][:, 0], batch["flows_forward"][:, 1]])


def import_flow(*, weights: Path, out: Path, num_feat: int | None = None) -> None:
    """Convert existing SPyNet weights, such as the published ones, into `out`, and write the provenance.

    Raises InputError for a file that is not a SPyNet, and for a width other than `num_feat`.
    """
    begun, made = begin("import_flow"), origin("import_flow", weights)
    try:
        spynet = load_spynet(weights)
    except ValueError as error:
        raise InputError(str(error)) from None
    if num_feat not in (None, spynet.num_feat):
        raise InputError(
            f"{weights}: SPyNet of width {spynet.num_feat}, but model.flow_num_feat is {num_feat}; set "
            f"overrides.model.flow_num_feat to {spynet.num_feat}"
        )
    provenance = out.parent / "provenance.json"
    write_provenance(provenance, begun, source=str(weights), sha256=sha256(weights))
    with atomic_write(out) as partial:
        partial.write_bytes(save(spynet.state_dict()))
    made.record(provenance, out)
