"""Split a clip into temporal windows and its frames into spatial tiles."""

from collections.abc import Container, Iterator
from dataclasses import dataclass

from models.vsr_transformer import SCALE


@dataclass(frozen=True)
class Window:
    """Frames of a clip that form one input of the network, and the indices of those kept as output."""

    frames: tuple[int, ...]
    output_indices: tuple[int, ...]


@dataclass(frozen=True)
class Span:
    """A tile along one axis: input LQ pixels [start, stop), kept output pixels [first, last) of the frame."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def kept(self) -> slice:
        """The kept output pixels, counted from the tile's start."""
        return slice(self.first - SCALE * self.start, self.last - SCALE * self.start)


def centred_window(centre: int, num_frames: int, length: int) -> Window:
    """Return the window around a frame, padded at the clip's ends as in the released code.

    This is BasicSR's `reflection_circle`: five frames around frame 0 are 4 3 0 1 2. No frame is repeated,
    which requires a clip at least as long as the window.
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


def consecutive_windows(
    num_frames: int, length: int, wanted: Container[int], margin: int | None = None
) -> Iterator[Window]:
    """Yield consecutive windows that together restore the `wanted` frames of a clip of `length` frames.

    They overlap so that each frame is output where it has at least `margin` neighbours on either side (except
    at the clip's ends), by default num_frames // 4: three of five frames. In a clip shorter than the window
    the last frame is repeated.
    """
    margin, done = num_frames // 4 if margin is None else margin, 0
    while done < length:
        start = max(min(done - margin, length - num_frames), 0)
        end = length if start + num_frames >= length else start + num_frames - margin
        output_indices = tuple(frame - start for frame in range(done, end) if frame in wanted)
        if output_indices:
            yield Window(tuple(min(start + index, length - 1) for index in range(num_frames)), output_indices)
        done = end


def tile_spans(size: int, tile: int, overlap: int | None = None) -> list[Span]:
    """Split an axis of `size` LQ pixels, at least one tile long, into tiles; the last is shifted inside.

    `tile` and `overlap` are in LQ pixels; `overlap` is even, by default half a tile, as released. A tile
    keeps the pixels at least half an overlap from its edges, and those up to the frame's edge; where tiles
    overlap, the later one is kept. If half tiles fill the axis, the released code computes the last tile
    twice.
    """
    overlap = tile // 2 if overlap is None else overlap
    starts = sorted({*range(0, size - tile, tile - overlap), size - tile})
    kept = [0, *(SCALE * (start + overlap // 2) for start in starts[1:]), SCALE * size]
    return [Span(start, start + tile, *kept[index : index + 2]) for index, start in enumerate(starts)]


def cuts(size: int, tile: int, overlap: int | None = None) -> list[int]:
    """List the output pixels at which a tile's kept part begins, but for the first; see `tile_spans`."""
    return [span.first for span in tile_spans(size, tile, overlap)[1:]]


def whole_span(size: int, patch_size: int) -> Span:
    """Return one tile over an axis of `size` LQ pixels, padded to whole patches; the padding is not kept."""
    return Span(0, -(-size // patch_size) * patch_size, 0, SCALE * size)
