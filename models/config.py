"""Options and sizes of the network: plain data without torch, so that the Snakefile can check them fast."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from models.parameter_count import convolution, reconstruction, residual_blocks, residual_stacks, spynet

# The allowed values of every option, by its key. The modules that implement an option use the same names.
CHOICES = {
    "attention": ("stcsa", "fcsa", "none"),
    "attention_reach": ("all", "frame", "place", "neighbours"),
    "feed_forward": ("flow_aligned", "unaligned", "token_wise"),
    "flow": ("spynet", "oracle"),
    "positional_encoding": ("none", "as_released", "sinusoidal_3d", "learned"),
    "norm": ("spatial_affine", "channel"),
    "size": ("natural", "matched"),
}


class NetworkConfig(Protocol):
    """What training, scoring and timing must know of a network, whichever it is; a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def protocol(self) -> str:
        """How clips are restored: "window", a window of `num_frames` at a time, or "clip", all frames."""

    @property
    def num_frames(self) -> int:
        """Frames of a training window, and of a window in the protocol of that name."""

    @property
    def num_feat(self) -> int:
        """Channels of the features of a frame."""

    @property
    def feat_size(self) -> int:
        """Height and width in LQ pixels of a training crop, and of a tile in the protocol "window"."""

    @property
    def patch_size(self) -> int:
        """A divisor that height and width of frames must have, in LQ pixels."""

    @property
    def flow_source(self) -> str | None:
        """Source of the optical flow (`spynet` or `oracle`), or None if the network uses no flow."""

    @property
    def flow_num_feat(self) -> int:
        """Channels of the widest layer of a SPyNet level, if it has one."""

    @property
    def attention(self) -> str:
        """The kind of attention that figures show, "none" for none."""

    @property
    def published_at(self) -> str | None:
        """Where checkpoints of the network are published, None for one's own."""

    @property
    def fixed_size(self) -> str | None:
        """Why the network accepts only frames of `feat_size`, in one line; None if it accepts any size."""

    @property
    def operations(self) -> float | None:
        """Operations per LQ pixel of a forward pass, roughly, for time limits; None if unknown."""

    @property
    def parameters(self) -> int | None:
        """Number of parameters, to a hundredth, for the memory that jobs ask for; None if unknown."""


@dataclass(frozen=True)
class ModelConfig:
    """One network of the family; the defaults are the published REDS model (32,564,335 parameters).

    Raises ValueError, naming the key, for an unknown option, a value out of range, or values that conflict.
    """

    num_frames: int = 5  # T, frames per window; odd
    num_feat: int = 64  # C, feature channels
    feat_size: int = 64  # height and width in LQ pixels of a training crop and of a test tile
    depth: int = 5  # transformer blocks
    num_heads: int = 1
    patch_size: int = 8  # height and width in LQ pixels of an attention token
    num_extract_blocks: int = 5  # residual blocks before the transformer
    num_reconstruct_blocks: int = 30  # residual blocks after it
    num_feed_forward_blocks: int = 30  # residual blocks in each direction of a feed-forward layer
    attention: str = "stcsa"
    attention_reach: str = (
        "all"  # tokens that a token attends to: all, or those of its frame, place, neighbours
    )
    feed_forward: str = "flow_aligned"
    flow: str = "spynet"  # source of the optical flow in the feed-forward layers
    flow_num_feat: int = 64  # channels of the widest layer of a SPyNet level
    positional_encoding: str = "as_released"
    norm: str = "spatial_affine"
    size: str = "natural"  # matched: a changed layer gets the width at which it is of the full one's size

    def __post_init__(self) -> None:
        for key, choices in CHOICES.items():
            if getattr(self, key) not in choices:
                raise ValueError(
                    f"model.{key}: unknown value {getattr(self, key)!r}; expected one of {', '.join(choices)}"
                )
        _check_minima(self, _MINIMA)
        if self.num_frames % 2 == 0:
            raise ValueError(
                f"model.num_frames: expected an odd number (windows are centred), got {self.num_frames}"
            )
        if self.feat_size % self.patch_size:
            raise ValueError(
                f"model.patch_size: {self.patch_size} does not divide model.feat_size {self.feat_size}"
            )
        if self.num_feat % self.num_heads:
            raise ValueError(
                f"model.num_heads: {self.num_heads} does not divide model.num_feat {self.num_feat}"
            )
        if self.flow_num_feat % 4:
            raise ValueError(f"model.flow_num_feat: expected a multiple of 4, got {self.flow_num_feat}")

    @property
    def protocol(self) -> str:
        """The network restores a window of `num_frames` at a time."""
        return "window"

    @property
    def flow_source(self) -> str | None:
        """Source of the optical flow (`spynet` or `oracle`), or None if the network uses no flow."""
        return self.flow if self.feed_forward == "flow_aligned" else None

    @property
    def published_at(self) -> str | None:
        """Where the released checkpoints are."""
        return "https://github.com/caojiezhang/VSR-Transformer links to them"

    @property
    def fixed_size(self) -> str | None:
        """Why the network accepts only frames of `feat_size`, in one line; None if it accepts any size."""
        if self.norm == "spatial_affine":
            setting = "model.norm spatial_affine"
        elif self.positional_encoding == "learned":
            setting = "model.positional_encoding learned"
        else:
            return None
        return f"{setting} fixes the input size to {self.feat_size} x {self.feat_size} pixels"

    @property
    def operations(self) -> float:
        """Operations per LQ pixel of a window's frames in a forward pass: the 3 x 3 convolutions only.

        Attention and optical flow, which are left out, add about a tenth.
        """
        extraction = 2 * self.num_extract_blocks
        transformer = self.depth * 4 * self.num_feed_forward_blocks
        # Two upsampling layers, and one at the output size, where an LQ pixel corresponds to 16 pixels.
        reconstruction = 2 * self.num_reconstruct_blocks + 4 + 4 * 4 + 16
        return 2 * 9 * self.num_feat**2 * (extraction + transformer + reconstruction)

    @property
    def parameters(self) -> int:
        """Counted from the layers; one of matched size has as many as the full model's."""
        c, token, natural = self.num_feat, self.num_feat * self.patch_size**2, self.size == "natural"
        attention = {
            "none": 0,
            "stcsa": 2 * convolution(1, c) + 2 * convolution(c, c),
            "fcsa": 4 * token**2,
        }["stcsa" if self.attention == "fcsa" and not natural else self.attention]
        if self.feed_forward == "token_wise" and natural:
            feed_forward = 2 * token * (token + 1)
        else:
            feed_forward = residual_stacks(c, c, self.num_feed_forward_blocks)
        norm = 2 * c * (self.feat_size**2 if self.norm == "spatial_affine" else 1)
        block = attention + feed_forward + norm * (1 if self.attention == "none" else 2)
        aligned = self.flow == "spynet" and (self.feed_forward == "flow_aligned" or not natural)
        learned = self.num_frames * c * self.feat_size**2 if self.positional_encoding == "learned" else 0
        extraction = convolution(3, c) + residual_blocks(c, self.num_extract_blocks)
        shared = extraction + learned + reconstruction(c, self.num_reconstruct_blocks, c)
        return shared + self.depth * block + (spynet(self.flow_num_feat) if aligned else 0)


def _check_minima(config: object, minima: dict[str, int]) -> None:
    for key, minimum in minima.items():
        value = getattr(config, key)
        if type(value) is not int or value < minimum:
            raise ValueError(f"model.{key}: expected an integer of at least {minimum}, got {value!r}")


_MINIMA = {
    "num_frames": 1,
    "num_feat": 1,
    "feat_size": 8,
    "depth": 1,
    "num_heads": 1,
    "patch_size": 1,
    "num_extract_blocks": 0,
    "num_reconstruct_blocks": 0,
    "num_feed_forward_blocks": 0,
    "flow_num_feat": 4,
}


@dataclass(frozen=True)
class BasicVSRConfig:
    """Sizes of a BasicVSR; the defaults are the published ones (6,291,311 parameters).

    Raises ValueError, naming the key, for a value out of range.
    """

    network: str = "basicvsr"
    num_frames: int = 15  # frames of a training window; whole clips are restored
    num_feat: int = 64  # c, channels of the features that travel
    feat_size: int = 64  # height and width in LQ pixels of a training crop
    num_blocks: int = 30  # residual blocks in each direction
    flow_num_feat: int = 64  # channels of the widest layer of a SPyNet level

    def __post_init__(self) -> None:
        minima = {"num_frames": 1, "num_feat": 1, "feat_size": 8, "num_blocks": 0, "flow_num_feat": 4}
        _check_minima(self, minima)
        if self.flow_num_feat % 4:
            raise ValueError(f"model.flow_num_feat: expected a multiple of 4, got {self.flow_num_feat}")

    @property
    def protocol(self) -> str:
        """Features travel through the whole clip."""
        return "clip"

    @property
    def patch_size(self) -> int:
        """Frames may have any size."""
        return 1

    @property
    def attention(self) -> str:
        """It has none."""
        return "none"

    @property
    def operations(self) -> float:
        """As `ModelConfig.operations`; 64 channels from the second upsampling on."""
        trunks = 2 * (2 * self.num_blocks + 1) * self.num_feat**2
        return 2 * 9 * (trunks + 4 * self.num_feat**2 + 4 * 4 * 64 * self.num_feat + 16 * 64**2)

    @property
    def parameters(self) -> int:
        """Counted from the layers."""
        trunks = residual_stacks(self.num_feat, self.num_feat, self.num_blocks)
        return spynet(self.flow_num_feat) + trunks + reconstruction(self.num_feat, 0, 64)

    @property
    def flow_source(self) -> str:
        """The network always estimates its own flow."""
        return "spynet"

    @property
    def published_at(self) -> str | None:
        """Where public checkpoints are."""
        return "https://github.com/open-mmlab/mmagic/tree/main/configs/basicvsr links to them"

    @property
    def fixed_size(self) -> None:
        """Frames may have any size."""
        return None


DEFAULT = "vsr_transformer"
NETWORKS: dict[str, Callable[..., NetworkConfig]] = {DEFAULT: ModelConfig, "basicvsr": BasicVSRConfig}
