"""Vid4: calendar, city, foliage and walk, 41, 34, 49 and 47 frames; scored on Y, all frames, no border cut.

    <root>/Vid4/GT/<clip>/%08d.png       frames numbered from 0
    <root>/Vid4/BIx4/<clip>/%08d.png     (or BDx4, ...); without it the low-quality frames are made

Liu and Sun, "A Bayesian approach to adaptive video super resolution", CVPR 2011, in the packing that BasicSR
and MMagic use. No licence is stated: research use.
"""

from pathlib import Path

from vsrbench.data.clips import Clip
from vsrbench.data.layout import listed_clips
from vsrbench.data.sources import SOURCES


def find_clips(split: str, root: Path, degradation: str) -> list[Clip]:
    """The clips of Vid4 that lie under `root`."""
    gt = SOURCES["vid4"].folder(root)
    lq = gt.parent / f"{degradation}x4"
    return listed_clips("vid4", split, degradation, "{:08d}.png", lambda clip: (gt / clip, lq / clip))
