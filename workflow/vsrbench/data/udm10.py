"""UDM10: ten clips of 32 frames of 1272 x 720; scored on Y, all frames, no border cut, mostly under BD.

    <root>/UDM10/GT/<000 to 009>/%04d.png      frames numbered from 0
    <root>/UDM10/BDx4/<000 to 009>/%04d.png    (or BIx4, ...); without it the low-quality frames are made

Yi et al., "Progressive fusion video super-resolution network via exploiting non-local spatio-temporal
correlations", ICCV 2019, in the packing that BasicVSR and MMagic use. No licence is stated: research use.
"""

from pathlib import Path

from vsrbench.data.clips import Clip
from vsrbench.data.layout import listed_clips
from vsrbench.data.sources import SOURCES


def find_clips(split: str, root: Path, degradation: str) -> list[Clip]:
    """The clips of UDM10 that lie under `root`."""
    gt = SOURCES["udm10"].folder(root)
    lq = gt.parent / f"{degradation}x4"
    return listed_clips("udm10", split, degradation, "{:04d}.png", lambda clip: (gt / clip, lq / clip))
