"""Two pictures moving over each other, drawn as video frames together with their exact optical flow.

The background fills the frame and follows a camera path; the foreground is a piece of another picture with
a smooth outline that moves on its own in front of it. Each layer is an affine map per frame, so that
motion is known in closed form at every position. Coordinates are (x, y) in pixels, pixel centres at
whole numbers; GT pixels unless said otherwise.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import grid_sample

from models.resize import imresize
from vsrbench.data.degradation import SCALE

MAX_SPEED = 12.0  # GT pixels a frame
MAX_PITCH = 0.9  # picture pixels a GT pixel: below 1, sampling cannot alias
MARGIN = 2.0  # picture pixels that the bicubic kernel reaches beyond a position


@dataclass(frozen=True)
class Layer:
    """A picture and how it moves: in frame t, GT position p shows picture position `maps[t] @ (p, 1)`."""

    picture: torch.Tensor  # (3, h, w) float32, 0 to 255
    maps: np.ndarray  # (t, 3, 3)
    centre: np.ndarray | None = None  # of the outline, in picture pixels; None: the layer has no outline
    outline: np.ndarray | None = None  # (k, 2): radius = sum of a cos(i angle + b), row i being (a, b)

    def inside(self, positions: np.ndarray, t: int) -> np.ndarray:
        """How far positions (..., 2) of frame t lie inside the outline, in GT pixels; outside is negative."""
        offset = apply(self.maps[t], positions) - self.centre
        angle = np.arctan2(offset[..., 1], offset[..., 0])
        radius = sum(a * np.cos(i * angle + b) for i, (a, b) in enumerate(self.outline))
        pitch = np.sqrt(np.linalg.det(self.maps[t, :2, :2]))
        return (radius - np.hypot(offset[..., 0], offset[..., 1])) / pitch


def draw_background(rng: np.random.Generator, picture: torch.Tensor, num_frames: int, size: int) -> Layer:
    """A camera path over `picture` that never leaves it; a small picture is magnified for that."""
    path = _Path.draw(rng, num_frames, size)
    reach = path.extent(size / 2)
    limit = (min(picture.shape[1:]) / 2 - MARGIN) / reach
    picture, pitch = _fit(picture, min(limit, rng.uniform(0.7, 2.0)))
    anchor = _anchor(rng, picture, reach * pitch)
    return Layer(picture, path.maps(anchor, np.full(2, (size - 1) / 2), pitch))


def draw_foreground(rng: np.random.Generator, picture: torch.Tensor, num_frames: int, size: int) -> Layer:
    """A smoothly outlined piece of `picture`, a quarter to half the frame across, on its own path."""
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
    """uint8 (t, size, size, 3): both layers, the foreground's edge one and a half pixels soft."""
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
    """Exact flow to both neighbours at the LQ pixels, LQ pixel i being centred on GT pixel 4 i + phase.

    flows_forward, flows_backward: float32 (t, 2, h, w), LQ pixels, x before y: where the point that frame t
    shows lies in frame t-1 and t+1, less its own position. occluded_forward, occluded_backward: bool
    (t, h, w), true where the neighbour does not show that point. The ends are zero and occluded.
    """
    num_frames, edge = len(background.maps), size // SCALE
    arrays = {}
    for name, step in (("forward", -1), ("backward", 1)):
        flow = np.zeros((num_frames, 2, edge, edge), np.float32)
        occluded = np.ones((num_frames, edge, edge), bool)
        for t in range(num_frames):
            if 0 <= t + step < num_frames:
                flow[t], occluded[t] = _flow(background, foreground, size, phase, t, t + step)
        arrays |= {f"flows_{name}": flow, f"occluded_{name}": occluded}
    return arrays


def apply(maps: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Affine map (3, 3) of positions (..., 2)."""
    return positions @ maps[:2, :2].T + maps[:2, 2]


@dataclass(frozen=True)
class _Path:
    """Shift (t, 2) in GT pixels, rotation (t,) in radians, log zoom (t,); bounded at any length."""

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
        """How far from its anchor a layer is seen, for a frame of 2 `half`, in GT pixels at zoom 1."""
        turn = np.abs(self.angle).max()
        return (half + self.reach) * (np.cos(turn) + np.sin(turn)) * np.exp(np.abs(self.zoom).max())

    def maps(self, anchor: np.ndarray, position: np.ndarray, pitch: float) -> np.ndarray:
        """(t, 3, 3): `position` + shift shows `anchor`, with `pitch` picture pixels a GT pixel."""
        scale = pitch * np.exp(self.zoom)
        cos, sin = scale * np.cos(self.angle), scale * np.sin(self.angle)
        linear = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], -2)
        maps = np.tile(np.eye(3), (len(scale), 1, 1))
        maps[:, :2, :2] = linear
        maps[:, :2, 2] = anchor - (linear @ (position + self.shift)[..., None])[..., 0]
        return maps


def _wave(rng, num_frames: int, amplitude: float, speed: float) -> np.ndarray:
    """A stretch of a sine whose fastest change is `speed` a frame."""
    return amplitude * np.sin(speed / amplitude * np.arange(num_frames) + rng.uniform(0, 2 * np.pi))


def _fit(picture: torch.Tensor, pitch: float) -> tuple[torch.Tensor, float]:
    """The picture, reduced with antialiasing if `pitch` needs it, and the pitch to sample it at then."""
    if pitch <= MAX_PITCH:
        return picture, pitch
    return imresize(picture, MAX_PITCH / pitch), MAX_PITCH


def _anchor(rng, picture: torch.Tensor, reach: float) -> np.ndarray:
    height, width = picture.shape[1:]
    middle = np.array([width - 1, height - 1]) / 2
    room = np.maximum(middle + 0.5 - MARGIN - reach, 0)
    return middle + room * rng.uniform(-1, 1, 2)


def _grid(size: int, step: float = 1, phase: float = 0) -> np.ndarray:
    axis = np.arange(0, size, step) + phase
    return np.stack(np.meshgrid(axis, axis), axis=-1)


def _sample(layer: Layer, grid: np.ndarray, t: int) -> torch.Tensor:
    """(3, h, w) float32: the picture's bicubic interpolation at GT positions `grid` of frame t."""
    height, width = layer.picture.shape[1:]
    positions = 2 * apply(layer.maps[t], grid) / (width - 1, height - 1) - 1
    grid = torch.from_numpy(positions).float()
    return grid_sample(layer.picture[None], grid[None], "bicubic", "border", align_corners=True)[0]


def _flow(background, foreground, size, phase, t, neighbour) -> tuple[np.ndarray, np.ndarray]:
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
