"""Baselines without weights that the networks are compared with; torch is imported when one runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

SEED = 0  # a baseline has no random state: it is scored once, under this seed


@dataclass(frozen=True)
class Baseline:
    """A method that enlarges frames four times without training."""

    name: str
    title: str  # in tables
    enlarge: Callable[[Tensor], Tensor]  # (..., 3, h, w) float of any range -> (..., 3, 4h, 4w)
    published_as: str | None = None  # name in the tables of published scores


def _bicubic(frames: Tensor) -> Tensor:
    """Enlarge float images (..., h, w) by MATLAB's `imresize`, without clamping."""
    from models.resize import imresize

    return imresize(frames, 4)


# The baseline whose scores the gate compares with published ones; every study scores it.
ANCHOR = Baseline("bicubic", "Bicubic", _bicubic, published_as="Bicubic")

BASELINES = {baseline.name: baseline for baseline in (ANCHOR,)}
