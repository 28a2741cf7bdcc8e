"""SPyNet trained with supervision, on clips whose optical flow is known exactly.

The published weights may not be passed on; these may. `import_flow` takes a person's own download instead.
"""

from dataclasses import asdict
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor, nn

from models.optical_flow import SPyNet
from models.state_dicts import load_spynet
from vsrbench.core.config import TrainingConfig
from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write, sha256
from vsrbench.core.provenance import begin, code_digest, config_digest, write_provenance
from vsrbench.data.frame_store import FrameStore
from vsrbench.data.training_set import TrainingSet
from vsrbench.training.losses import end_point_error
from vsrbench.training.trainer import fit

VALIDATION_PAIRS = 32
SMALLEST_LEVEL = 4  # pixels; a smaller level shows no motion that could be learned


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
    workers: int = 2,
) -> None:
    """Train SPyNet on pairs of frames and write `out`; its end-point error goes into the provenance.

    `store` and `validation_store` are the index files of frame stores with exact flow; `crop_size` is in LQ
    pixels. Goes on where an earlier start ended; see `loop.fit` for that, for signals and for errors.
    """
    if crop_size % 32:
        raise InputError(
            f"flow_training.crop_size: must be a multiple of 32 for SPyNet's pyramid, is {crop_size}"
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
        task, config, seed=seed, out=out, step="train_flow", identity=identity, device=device, workers=workers
    )


class PyramidFlow(SPyNet):
    """SPyNet that gives the flow of every level, and whose levels hardly correct anything to begin with.

    From its usual start, with corrections of many pixels, much of it dies within a short training.
    """

    def __init__(self, num_feat: int):
        super().__init__(num_feat)
        for level in self.levels:
            for conv in level:
                nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            with torch.no_grad():
                level[-1].weight.mul_(0.03)

    def forward(self, ref: Tensor, supp: Tensor) -> list[Tensor]:
        """The flow of each level in its own pixels, the coarsest first; sizes are multiples of 32."""
        return self.coarse_to_fine(ref, supp)


class SupervisedFlow:
    """The task of `loop.fit`: the flow of both directions of each pair of neighbouring frames."""

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
        pairs = {"num_frames": 2, "size": crop_size, "seed": seed, "with_flows": True}
        self.training_set = TrainingSet(store, batch_size=batch_size, **pairs)
        self.validation_set = TrainingSet(validation_store, batch_size=1, **pairs)
        self.batch, self.describe = self.training_set.batch, self.training_set.describe

    def set_trainable(self, iteration: int) -> bool:
        return False

    def loss(self, network: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """End-point error, summed over pairs, directions and pixels; levels count alike, tiny ones not."""
        exact, total = _exact(batch), 0.0
        for halvings, flow in enumerate(reversed(network(*_pairs(batch)))):
            if min(flow.shape[-2:]) >= SMALLEST_LEVEL:
                coarser = (
                    2**halvings
                )  # its flow is shorter by so much, and its pixels are fewer by the square
                total = total + coarser**3 * end_point_error(flow, F.avg_pool2d(exact, coarser) / coarser)
        return total

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, float]:
        """Mean end-point error in LQ pixels, of the network and of no flow at all."""
        batch = self.validation_set.stack(self.validation_set.fixed_windows(VALIDATION_PAIRS))
        batch = {key: values.to(device) for key, values in batch.items()}
        exact = _exact(batch)
        values = exact[:, 0].numel()
        return {
            "validation_end_point_error": end_point_error(network(*_pairs(batch))[-1], exact).item() / values,
            "validation_mean_motion": end_point_error(torch.zeros_like(exact), exact).item() / values,
        }


def _pairs(batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """(ref, supp), each (2n, 3, h, w) in [0, 1]: the first frames to the second, then back."""
    first, second = (batch["lq"].float() / 255).unbind(1)
    return torch.cat([first, second]), torch.cat([second, first])


def _exact(batch: dict[str, Tensor]) -> Tensor:
    return torch.cat([batch["flows_backward"][:, 0], batch["flows_forward"][:, 1]])


def import_flow(*, weights: Path, out: Path, num_feat: int | None = None) -> None:
    """Convert a person's own SPyNet weights, published or not, into `out`, with provenance beside it.

    Raises InputError where they are no SPyNet, or none of width `num_feat`.
    """
    begun = begin("import_flow")
    try:
        spynet = load_spynet(weights)
    except ValueError as error:
        raise InputError(str(error)) from None
    if num_feat not in (None, spynet.num_feat):
        raise InputError(
            f"{weights}: SPyNet of width {spynet.num_feat}, but model.flow_num_feat is {num_feat}; set "
            f"overrides.model.flow_num_feat to {spynet.num_feat}"
        )
    write_provenance(
        out.parent / "provenance.json",
        begun,
        source=str(weights),
        sha256=sha256(weights),
    )
    with atomic_write(out) as partial:
        partial.write_bytes(save(spynet.state_dict()))
