"""Which frames and which pixels a network restores together: windows of a clip and tiles of its frames."""

from collections.abc import Container, Iterator
from dataclasses import dataclass

from models.vsr_transformer import SCALE


@dataclass(frozen=True)
class Window:
    """Frames of a clip that the network sees together, and the indices of those whose result is used."""

    frames: tuple[int, ...]
    output_indices: tuple[int, ...]


@dataclass(frozen=True)
class Span:
    """A tile along one axis: low-quality pixels [start, stop); it gives the output pixels [first, last)."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def given(self) -> slice:
        """Where the output pixels are within the tile's own."""
        return slice(self.first - SCALE * self.start, self.last - SCALE * self.start)


def centred_window(centre: int, num_frames: int, length: int) -> Window:
    """The released window around a frame; past the clip's ends it goes on beyond its own other side.

    This is the "reflection circle": around frame 0, five frames are 4 3 0 1 2. No frame comes twice, for
    which the clip must be as long as the window.
    """
    reach, last = num_frames // 2, length - 1
    frames = []
    for index in range(centre - reach, centre + reach + 1):
        if index < 0:
            index = centre + reach - index
        elif index > last:
            index = centre - reach - (index - last)
        frames.append(index)
    return Window(tuple(frames), output_indices=(reach,))


def consecutive_windows(num_frames: int, length: int, wanted: Container[int]) -> Iterator[Window]:
    """Windows one after the other that together output_indices the `wanted` frames of a clip.

    They overlap so that each frame is kept where it has num_frames // 4 neighbours or more on either side,
    the clip's own ends apart: of five frames, three. In a clip shorter than the window the last frame is
    repeated.
    """
    margin, done = num_frames // 4, 0
    while done < length:
        start = max(min(done - margin, length - num_frames), 0)
        end = length if start + num_frames >= length else start + num_frames - margin
        output_indices = tuple(frame - start for frame in range(done, end) if frame in wanted)
        if output_indices:
            yield Window(tuple(min(start + index, length - 1) for index in range(num_frames)), output_indices)
        done = end


def tile_spans(size: int, tile: int, overlap: int | None = None) -> list[Span]:
    """Tiles along an axis that is at least one tile long, the last moved inside.

    `overlap` in low-quality pixels, even; half a tile by default, as released. A tile gives what lies half an
    overlap or more from its edges, or up to the frame's edge; where two overlap, the later one counts. The
    released code computes the last tile twice where half tiles fill the axis.
    """
    overlap = tile // 2 if overlap is None else overlap
    starts = sorted({*range(0, size - tile, tile - overlap), size - tile})
    cuts = [0, *(SCALE * (start + overlap // 2) for start in starts[1:]), SCALE * size]
    return [Span(start, start + tile, *cuts[index : index + 2]) for index, start in enumerate(starts)]


def whole_span(size: int, patch_size: int) -> Span:
    """The whole axis as one tile of whole patches; what it has beyond the frame is not given."""
    return Span(0, -(-size // patch_size) * patch_size, 0, SCALE * size)
