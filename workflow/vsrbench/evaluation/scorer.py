"""Compute all metrics of a clip frame by frame; intermediate results that metrics share, once."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vsrbench.core.errors import check_known
from vsrbench.core.metric_table import METRICS
from vsrbench.data.clips import Clip
from vsrbench.evaluation.lpips_distance import distance, load_lpips
from vsrbench.evaluation.metrics import FRAME_METRICS, as_stacks, farneback, seam, tlp, tof
from vsrbench.evaluation.tiling import cuts

_AT_ONCE = {"cpu": 1, "cuda": 8}  # frames; larger batches gain nothing on a CPU
_WAITING = 32  # frames whose optical flow may be pending, so that a GPU does not wait for the CPU


@dataclass(frozen=True)
class Borders:
    """Where seams are looked for: `patch` is in pixels of the output, `tile` and `overlap` in LQ pixels.

    Patches are counted from the frame's corner. Those of the published network, 8 x 8 LQ pixels, are the
    default, also for what has none: the metric must find nothing there. Without `tile` there are no tiles.
    """

    patch: int = 32
    tile: int | None = None
    overlap: int | None = None

    def of_patches(self, size: int) -> list[int]:
        """List the borders along an axis of `size` pixels of the output, without those of tiles."""
        return sorted({*range(self.patch, size, self.patch)}.difference(self.of_tiles(size)))

    def of_tiles(self, size: int) -> list[int]:
        """List the borders along an axis of `size` pixels of the output."""
        return [] if self.tile is None else cuts(size // 4, self.tile, self.overlap)


@dataclass(frozen=True)
class _Frame:
    """A scored frame, with what the temporal metrics of the next one need."""

    index: int
    restored: np.ndarray
    gt: np.ndarray
    scores: dict[str, float]
    vectors: tuple[Tensor, ...]  # LPIPS's of restored and gt, each (d,); empty without LPIPS


class Scorer:
    """Scores clips; holds the LPIPS networks whose backbones were found.

    `metrics` are names of METRICS. `lpips_weights` is the folder with LPIPS's backbones (by default torch's
    cache). PSNR, SSIM, LPIPS and seams run on `device`, optical flow on the CPU. `borders` says where seams
    are looked for.
    Raises InputError for an unknown metric and for a file with a wrong backbone.
    """

    def __init__(
        self,
        metrics: Iterable[str] = METRICS,
        lpips_weights: Path | None = None,
        device: torch.device | str = "cpu",
        borders: Borders = Borders(),
    ) -> None:
        self._metrics = frozenset(metrics)
        for name in self._metrics:
            check_known("metric", name, METRICS)
        self._device = torch.device(device)
        self._borders = borders
        nets = {net for name in self._metrics if (net := METRICS[name].lpips_net)}
        found = {net: load_lpips(net, lpips_weights) for net in sorted(nets)}
        self._lpips = {net: metric.to(self._device) for net, metric in found.items() if metric is not None}
        self._threads = ThreadPoolExecutor(torch.get_num_threads())

    def score(self, clip: Clip, restored: Iterable[np.ndarray]) -> Iterator[dict[str, float]]:
        """Yield `frame` and the requested metrics for each scored frame of a clip.

        `restored` yields the clip's scored frames, uint8 RGB (h, w, 3), in order. A metric that cannot be
        computed is NaN: LPIPS and tLP without backbone, tOF and tLP without a scored previous frame.
        Raises InputError if restored frames and ground truth differ in shape.
        """
        waiting: deque[tuple[dict[str, float], Future[float] | None]] = deque()
        before: _Frame | None = None
        for frame in self._frames(clip, restored):
            flow_error = None
            if before is not None and before.index == frame.index - 1:
                flow_error = self._measure_motion(before, frame)
            waiting.append((frame.scores, flow_error))
            before = frame
            while waiting and (len(waiting) > _WAITING or _is_done(waiting[0][1])):
                yield self._row(*waiting.popleft())
        while waiting:
            yield self._row(*waiting.popleft())

    @torch.inference_mode()
    def _frames(self, clip: Clip, restored: Iterable[np.ndarray]) -> Iterator[_Frame]:
        pairs = zip(clip.scored, restored, strict=True)
        while batch := list(islice(pairs, _AT_ONCE.get(self._device.type, 1))):
            indices = [index for index, _ in batch]
            frames, gt = np.stack([frame for _, frame in batch]), clip.read_gt(indices)
            x, y = as_stacks(frames, gt, device=self._device)
            columns: dict[str, np.ndarray] = {}
            for names, measure in FRAME_METRICS.items():
                if self._metrics.intersection(names):
                    columns |= {name: np.atleast_1d(values) for name, values in measure(x, y).items()}
            columns |= self._seams(x, y)
            vectors = {net: (metric(x), metric(y)) for net, metric in self._lpips.items()}
            columns |= {f"lpips_{net}": distance(*pair).cpu().numpy() for net, pair in vectors.items()}
            for k, index in enumerate(indices):
                scores = {"frame": index} | {name: float(values[k]) for name, values in columns.items()}
                of_alex = tuple(vector[k] for vector in vectors.get("alex", ()))
                yield _Frame(index, frames[k], gt[k], scores, of_alex)

    def _seams(self, x: Tensor, y: Tensor) -> dict[str, np.ndarray]:
        height, width = x.shape[1:3]
        places = {"patch_seam": self._borders.of_patches, "tile_seam": self._borders.of_tiles}
        return {
            name: np.atleast_1d(seam(x, y, rows=along(height), columns=along(width)))
            for name, along in places.items()
            if name in self._metrics
        }

    def _measure_motion(self, before: _Frame, frame: _Frame) -> Future[float] | None:
        """Add tLP to the frame's scores, and start computing its tOF."""
        if "tlp" in self._metrics and frame.vectors:
            changes = (distance(a, b).item() for a, b in zip(before.vectors, frame.vectors, strict=True))
            frame.scores["tlp"] = tlp(*changes)
        if "tof" not in self._metrics:
            return None
        return self._threads.submit(
            lambda: tof(farneback(before.restored, frame.restored), farneback(before.gt, frame.gt))
        )

    def _row(self, scores: dict[str, float], flow_error: Future[float] | None) -> dict[str, float]:
        if flow_error is not None:
            scores["tof"] = flow_error.result()
        wanted = [name for name in METRICS if name in self._metrics]
        return {"frame": scores["frame"]} | {name: scores.get(name, math.nan) for name in wanted}


def _is_done(flow_error: Future[float] | None) -> bool:
    return flow_error is None or flow_error.done()
