"""Render two moving image layers as video frames, with their exact optical flow.

The background fills the frame and follows a camera path; the foreground is a piece of another picture with
a smooth outline that moves independently in front of it. Each layer has one affine map per frame, so the
motion is known in closed form at every position. Coordinates are (x, y) in pixels, with pixel centres at
integers; they are GT pixels unless stated otherwise.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import grid_sample

from models.resize import imresize
from vsrbench.data.degradation import SCALE

MAX_SPEED = 12.0  # GT pixels per frame
MAX_PITCH = 0.9  # picture pixels per GT pixel: below 1, sampling cannot alias
MARGIN = 2.0  # radius of the bicubic kernel in picture pixels


@dataclass(frozen=True)
class Layer:
    """A picture and its motion: in frame t, GT position p shows picture position `maps[t] @ (p, 1)`."""

    picture: torch.Tensor  # (3, h, w) float32, 0 to 255
    maps: np.ndarray  # (t, 3, 3)
    centre: np.ndarray | None = None  # of the outline, in picture pixels; None: the layer has no outline
    outline: np.ndarray | None = None  # (k, 2): radius = sum of a cos(i angle + b), row i being (a, b)

    def inside(self, positions: np.ndarray, t: int) -> np.ndarray:
        """Compute the signed distance (...) of positions (..., 2) in frame t from the outline, in GT pixels.

        It is measured along the ray from the centre, positive inside and negative outside.
        """
        assert self.centre is not None and self.outline is not None
        offset = apply(self.maps[t], positions) - self.centre
        angle = np.arctan2(offset[..., 1], offset[..., 0])
        radius = sum(a * np.cos(i * angle + b) for i, (a, b) in enumerate(self.outline))
        pitch = np.sqrt(np.linalg.det(self.maps[t, :2, :2]))
        distance: np.ndarray = (radius - np.hypot(offset[..., 0], offset[..., 1])) / pitch
        return distance


def draw_background(rng: np.random.Generator, picture: torch.Tensor, num_frames: int, size: int) -> Layer:
    """Draw a random camera path over `picture` (3, h, w) that stays inside it, enlarging it if necessary.

    `size` is the height and width of a frame in GT pixels.
    """
    path = _Path.draw(rng, num_frames, size)
    reach = path.extent(size / 2)
    limit = (min(picture.shape[1:]) / 2 - MARGIN) / reach
    picture, pitch = _fit(picture, min(limit, rng.uniform(0.7, 2.0)))
    anchor = _anchor(rng, picture, reach * pitch)
    return Layer(picture, path.maps(anchor, np.full(2, (size - 1) / 2), pitch))


def draw_foreground(rng: np.random.Generator, picture: torch.Tensor, num_frames: int, size: int) -> Layer:
    """Draw a random piece of `picture` (3, h, w) with a smooth outline, moving on a random path.

    It is a quarter to half as wide as the frame; `size` is the height and width of a frame in GT pixels.
    """
    path = _Path.draw(rng, num_frames, size)
    radius = size * rng.uniform(0.13, 0.25)
    reach = 1.5 * radius + MARGIN
    picture, pitch = _fit(picture, min((min(picture.shape[1:]) / 2 - MARGIN) / reach, rng.uniform(0.7, 2.0)))
    outline = np.stack(
        [[1, 0, 0.15, 0.1, 0.06] * rng.uniform(0.3, 1, 5), rng.uniform(0, 2 * np.pi, 5)], axis=1
    )
    outline[0] = (1, 0)
    outline[:, 0] *= radius * pitch
    anchor = _anchor(rng, picture, reach * pitch)
    return Layer(picture, path.maps(anchor, size * rng.uniform(0.2, 0.8, 2), pitch), anchor, outline)


def render(background: Layer, foreground: Layer, size: int) -> np.ndarray:
    """Render frames (t, size, size, 3), uint8 RGB, with a foreground edge that is 1.5 GT pixels wide."""
    grid = _grid(size)
    frames = [
        _sample(background, grid, t).lerp(
            _sample(foreground, grid, t),
            torch.from_numpy((foreground.inside(grid, t) / 1.5 + 0.5).clip(0, 1)).float(),
        )
        for t in range(len(background.maps))
    ]
    return torch.stack(frames).round().clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous().numpy()


def flows(background: Layer, foreground: Layer, size: int, phase: float) -> dict[str, np.ndarray]:
    """Compute the exact flow to both neighbours at the LQ pixels.

    LQ pixel i is centred on GT pixel 4 i + phase. Returns flows_forward and flows_backward, float32
    (t, 2, h, w) in LQ pixels, x before y: the displacement of the point visible in frame t to its position in
    frame t-1 and t+1; and occluded_forward and occluded_backward, bool (t, h, w), true where that point is
    not visible in the neighbour. At the ends of the clip, flows are zero and occlusions true.
    """
    num_frames, edge = len(background.maps), size // SCALE
    arrays: dict[str, np.ndarray] = {}
    for name, step in (("forward", -1), ("backward", 1)):
        flow = np.zeros((num_frames, 2, edge, edge), np.float32)
        occluded = np.ones((num_frames, edge, edge), bool)
        for t in range(num_frames):
            if 0 <= t + step < num_frames:
                flow[t], occluded[t] = _flow(background, foreground, size, phase, t, t + step)
        arrays |= {f"flows_{name}": flow, f"occluded_{name}": occluded}
    return arrays


def apply(maps: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Apply an affine map (3, 3) to positions (..., 2)."""
    mapped: np.ndarray = positions @ maps[:2, :2].T + maps[:2, 2]
    return mapped


@dataclass(frozen=True)
class _Path:
    """Shift (t, 2) in GT pixels, rotation (t,) in radians and log zoom (t,), bounded for any length."""

    shift: np.ndarray
    angle: np.ndarray
    zoom: np.ndarray
    reach: float  # largest shift along either axis

    @classmethod
    def draw(cls, rng: np.random.Generator, num_frames: int, size: int) -> "_Path":
        speed, heading = rng.uniform(0.15, 1) * MAX_SPEED, rng.uniform(0, 2 * np.pi)
        amplitude = max(0.12 * size, 2 * speed)  # the shift turns by at most half a radian a frame
        along = _wave(rng, num_frames, amplitude, speed)
        across = _wave(rng, num_frames, 0.25 * amplitude, 0.25 * speed)
        direction = np.array([np.cos(heading), np.sin(heading)])
        shift = np.outer(along, direction) + np.outer(across, direction[::-1] * [-1, 1])
        angle = rng.uniform(-0.1, 0.1) + _wave(rng, num_frames, 0.1, rng.uniform(0, 0.03))
        zoom = _wave(rng, num_frames, 0.08, rng.uniform(0, 0.02))
        return cls(shift, angle, zoom, reach=1.25 * amplitude)

    def extent(self, half: float) -> float:
        """Return the radius around the anchor that a frame of size 2 `half` shows, in GT pixels at zoom 1."""
        turn = np.abs(self.angle).max()
        return float((half + self.reach) * (np.cos(turn) + np.sin(turn)) * np.exp(np.abs(self.zoom).max()))

    def maps(self, anchor: np.ndarray, position: np.ndarray, pitch: float) -> np.ndarray:
        """Compute maps (t, 3, 3) that show `anchor` at `position` + shift.

        `pitch` is in picture pixels per GT pixel, at zoom 1.
        """
        scale = pitch * np.exp(self.zoom)
        cos, sin = scale * np.cos(self.angle), scale * np.sin(self.angle)
        linear = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
        maps = np.tile(np.eye(3), (len(scale), 1, 1))
        maps[:, :2, :2] = linear
        maps[:, :2, 2] = anchor - (linear @ (position + self.shift)[..., None])[..., 0]
        return maps


def _wave(rng: np.random.Generator, num_frames: int, amplitude: float, speed: float) -> np.ndarray:
    """Sample a sine with a random phase whose fastest change is `speed` per frame."""
    return amplitude * np.sin(speed / amplitude * np.arange(num_frames) + rng.uniform(0, 2 * np.pi))


def _fit(picture: torch.Tensor, pitch: float) -> tuple[torch.Tensor, float]:
    """Shrink the picture with antialiasing if `pitch` requires it; return it and its sampling pitch."""
    if pitch <= MAX_PITCH:
        return picture, pitch
    return imresize(picture, MAX_PITCH / pitch), MAX_PITCH


def _anchor(rng: np.random.Generator, picture: torch.Tensor, reach: float) -> np.ndarray:
    height, width = picture.shape[1:]
    middle = np.array([width - 1, height - 1]) / 2
    room = np.maximum(middle + 0.5 - MARGIN - reach, 0)
    anchor: np.ndarray = middle + room * rng.uniform(-1, 1, 2)
    return anchor


def _grid(size: int, step: float = 1, phase: float = 0) -> np.ndarray:
    axis = np.arange(0, size, step) + phase
    return np.stack(np.meshgrid(axis, axis), axis=-1)


def _sample(layer: Layer, grid: np.ndarray, t: int) -> torch.Tensor:
    """Sample the picture bicubically at GT positions `grid` (h, w, 2) of frame t: (3, h, w) float32."""
    height, width = layer.picture.shape[1:]
    positions = 2 * apply(layer.maps[t], grid) / (width - 1, height - 1) - 1
    sampling_grid = torch.from_numpy(positions).float()[None]
    return grid_sample(layer.picture[None], sampling_grid, "bicubic", "border", align_corners=True)[0]


def _flow(
    background: Layer, foreground: Layer, size: int, phase: float, t: int, neighbour: int
) -> tuple[np.ndarray, np.ndarray]:
    here = _grid(size, SCALE, phase)
    ahead = foreground.inside(here, t) > 0
    there = np.where(
        ahead[..., None],
        apply(np.linalg.inv(foreground.maps[neighbour]) @ foreground.maps[t], here),
        apply(np.linalg.inv(background.maps[neighbour]) @ background.maps[t], here),
    )
    outside = ((there < -0.5) | (there > size - 0.5)).any(-1)
    hidden = ~ahead & (foreground.inside(there, neighbour) > 0)
    return np.moveaxis((there - here) / SCALE, -1, 0), outside | hidden
