"""Score the clips of a data set in several jobs, and join what they found.

A share is every n-th clip. Its folder holds `rows.csv` and `frames/` as `evaluate` writes them, and
`share.json`, which names their digests and what they were made from. Joined shares are byte for byte, record
included, what one job would have written.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write
from vsrbench.core.lineage import Origin, digest_of, origin
from vsrbench.data.clips import Clip
from vsrbench.data.datasets import load_clips

_AGAIN = "delete its folder and start again"


@dataclass(frozen=True)
class Share:
    """The `number`-th of `of` shares, from 1."""

    number: int
    of: int

    def clips(self, clips: Sequence[Clip]) -> list[tuple[int, Clip]]:
        """Return its clips with their numbers; InputError if the data set has fewer clips than shares."""
        if len(clips) < self.of:
            raise InputError(
                f"scatter: {clips[0].dataset}: {len(clips)} clips, fewer than {self.of} shares; lower it"
            )
        return list(enumerate(clips))[self.number - 1 :: self.of]


WHOLE = Share(1, 1)


def seal(folder: Path, made: Origin) -> None:
    """Note the digests of a share that is complete, and of what it was made from."""
    facts = {"code": made.code, "sources": sorted(made.sources.values())}
    files = {name: digest_of(folder / name) for name in ("rows.csv", "frames")}
    with atomic_write(folder / "share.json") as partial:
        partial.write_text(json.dumps(facts | {"files": files}, indent=1) + "\n")


def join(
    *,
    shares: Sequence[Path],
    manifest: Path,
    rows: Path,
    frames: Path,
    config: Path | None = None,
    weights: Path | None = None,
) -> None:
    """Join the folders of all shares of one evaluation into `rows` and `frames`.

    Raises InputError for a share that has changed since it was written, or was made from something else.
    """
    made = origin("evaluate", config, weights, manifest)
    for share in shares:
        _check(share, made)
    parts = [pd.read_csv(share / "rows.csv", dtype=str, keep_default_na=False) for share in shares]
    order = {clip.name: number for number, clip in enumerate(load_clips(manifest, "test"))}
    joined = pd.concat(parts).sort_values("clip", key=lambda names: names.map(order), kind="stable")
    for share in shares:
        shutil.copytree(share / "frames", frames, dirs_exist_ok=True)
    with atomic_write(rows) as partial:
        joined.to_csv(partial, index=False)
    made.record(frames, rows)


def _check(share: Path, made: Origin) -> None:
    try:
        facts = json.loads((share / "share.json").read_bytes())
        whole = all(digest_of(share / name) == digest for name, digest in facts["files"].items())
    except (OSError, ValueError, KeyError, AttributeError):
        whole = False
    if not whole:
        raise InputError(f"{share}: changed since evaluate wrote it; {_AGAIN}")
    if (facts["code"], facts["sources"]) != (made.code, sorted(made.sources.values())):
        raise InputError(f"{share}: made from other weights, clips or code than the present ones; {_AGAIN}")
