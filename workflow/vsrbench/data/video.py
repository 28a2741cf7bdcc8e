"""Video files: read frame by frame, and written with the times, colours and sound of another.

Frames are uint8 (h, w, 3) RGB in full range, upright, in the order in which they are shown.
"""

import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Interpolation
from av.video.stream import VideoStream

from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write

READABLE = (".mp4", ".avi", ".mkv", ".mov", ".webm")
_FORMATS = {".mp4": "mp4", ".mkv": "matroska", ".mov": "mov"}
WRITABLE = tuple(_FORMATS)

# x264 at a quality that keeps what a network has restored; 4:2:0, which every player shows.
_OPTIONS, _PIXELS = {"crf": "14", "preset": "medium"}, "yuv420p"
_INTERPOLATION = Interpolation.BICUBIC | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND

# Numbers of H.273. swscale has the matrices of _KNOWN; 6 and 5 are two names of the one of BT.601.
_BT709, _BT601, _UNSPECIFIED = 1, 6, 2
_KNOWN = (1, 4, 5, 6, 7, 9)
_HD_HEIGHT = 720  # from which a video that does not say so is taken to be BT.709, as players do


@dataclass(frozen=True)
class Presentation:
    """When and how the frames of a video are shown; the colour tags are numbers of ITU-T H.273.

    `times` are those of the frames in units of `time_base` seconds, ascending. `sound` is the file whose
    audio belongs to them.
    """

    rate: Fraction  # mean frames per second
    time_base: Fraction
    times: Sequence[int]
    pixel_aspect: Fraction = Fraction(1)  # width to height of a pixel
    matrix: int = _BT709
    primaries: int = _UNSPECIFIED
    transfer: int = _UNSPECIFIED
    full_range: bool = False
    sound: Path | None = None


def at_constant_rate(rate: Fraction, num_frames: int) -> Presentation:
    """Show frames that are no video's at a constant rate, in frames per second, without sound."""
    return Presentation(rate, 1 / rate, range(num_frames))


class Video:
    """A video file, decoded in order; going back starts again at its first frame, since seeking is inexact.

    The file is decoded once when it is opened, which counts its frames and finds damage before anything is
    computed. Raises InputError, in one line, for a file that is no video, for one with damaged frames or
    frames of several sizes, and OSError for one that cannot be opened.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.num_frames = 0
        self.interlaced = False
        times, last = array("q"), None
        for frame in self._decode():
            if last is None:
                self._first = frame
            self._check_size(frame)
            self.interlaced |= frame.interlaced_frame
            if frame.pts is not None:
                times.append(frame.pts)
            self.num_frames += 1
            last = frame
        if last is None:
            raise InputError(f"{path}: contains no frames; {_REMEDY}")
        self._check_end(last)
        self.size = _upright_size(self._first)  # height, width
        self.bits = self._first.format.components[0].bits  # of a sample
        self._times = times if len(times) == self.num_frames else None
        self._frames, self._next = self._decode(), 0

    def read(self, t: int) -> np.ndarray:
        """Read frame t, uint8 (h, w, 3) RGB; fast if frames are read in order."""
        if not 0 <= t < self.num_frames:
            raise InputError(f"{self.path}: has no frame {t}; it has {self.num_frames}")
        if t < self._next:
            self._frames, self._next = self._decode(), 0
        for frame in self._frames:
            self._next += 1
            if self._next > t:
                return self._to_rgb(frame)
        raise InputError(f"{self.path}: ends before frame {t} of {self.num_frames}; {_REMEDY}")

    def presentation(self) -> Presentation:
        """Return when and how its frames are shown; InputError for a file without a frame rate."""
        if not self._rate:
            raise InputError(f"{self.path}: has no frame rate; {_REMEDY}")
        times, time_base = self._times, self._time_base
        if times is None or any(a >= b for a, b in pairwise(times)):
            times, time_base = array("q", range(self.num_frames)), 1 / self._rate
        first = self._first
        turned = _quarter_turns(first) % 2
        return Presentation(
            self._rate,
            *_even(times, time_base, self._rate),
            pixel_aspect=1 / self._aspect if turned else self._aspect,
            matrix=self._matrix(),
            primaries=first.color_primaries,
            transfer=first.color_trc,
            full_range=first.color_range == ColorRange.JPEG and not first.format.is_rgb,
            sound=self.path if self._audible else None,
        )

    def _check_size(self, frame: VideoFrame) -> None:
        size, first = ((image.width, image.height) for image in (frame, self._first))
        if size != first:
            sizes = "{}x{}, the first {}x{}".format(*size, *first)
            raise InputError(
                f"{self.path}: frame {self.num_frames} is {sizes}; scale all to one size, or cut the video"
            )

    def _check_end(self, last: VideoFrame) -> None:
        """Raise InputError for a video that ends before it says so; the file may have been cut off."""
        if self._stated_end is not None and last.pts is not None:
            end = (last.pts + last.duration) * self._time_base
            if end < self._stated_end - Fraction(1, 2):
                raise InputError(
                    f"{self.path}: ends after {float(end):.1f} of {float(self._stated_end):.1f} s; {_REMEDY}"
                )

    def _read_header(self, container: InputContainer) -> VideoStream:
        if not container.streams.video:
            raise InputError(f"{self.path}: not a video, it has no pictures; {_REMEDY}")
        stream = container.streams.video[0]
        self._rate = stream.average_rate or stream.guessed_rate
        self._time_base = stream.time_base or Fraction(1, 1000)
        self._aspect = stream.sample_aspect_ratio or Fraction(1)
        self._audible = bool(container.streams.audio)
        self._stated_end = None
        if stream.duration is not None:
            self._stated_end = (stream.duration + (stream.start_time or 0)) * self._time_base
        elif "DURATION" in stream.metadata:  # Matroska's
            self._stated_end = _seconds(stream.metadata["DURATION"])
        return stream

    def _matrix(self) -> int:
        """Return the matrix between RGB and what is stored, guessed from the size if the file is silent."""
        known = self._first.colorspace
        if known in _KNOWN:
            return known
        return _BT709 if self._first.height >= _HD_HEIGHT else _BT601

    def _decode(self) -> Iterator[VideoFrame]:
        t = 0
        try:
            with av.open(str(self.path)) as container:
                stream = self._read_header(container)
                stream.thread_type = "AUTO"
                stream.codec_context.options = {"err_detect": "explode"}  # concealed damage would be restored
                for frame in container.decode(stream):
                    if frame.is_corrupt:
                        raise InputError(f"{self.path}: frame {t} is damaged; {_REMEDY}")
                    yield frame
                    t += 1
        except FFmpegError as error:
            if isinstance(error, OSError):
                raise
            fault = f"is damaged after frame {t - 1}" if t else "not a video that can be read"
            raise InputError(f"{self.path}: {fault} ({error.strerror}); {_REMEDY}") from None

    def _to_rgb(self, frame: VideoFrame) -> np.ndarray:
        rgb = frame.to_ndarray(
            format="rgb24",
            src_colorspace=None if frame.format.is_rgb else _swscale(self._matrix()),
            dst_color_range=ColorRange.JPEG,
            interpolation=_INTERPOLATION,
        )
        return np.ascontiguousarray(np.rot90(rgb, _quarter_turns(frame)))


_REMEDY = "copy it again, or convert it to H.264 in MP4"


@contextmanager
def video_writer(
    path: Path, size: tuple[int, int], shown: Presentation
) -> Iterator[Callable[[np.ndarray], None]]:
    """Write a video to `path` (.mp4, .mkv or .mov), in H.264, with the sound that belongs to it.

    Yields the function that takes its frames in order, each uint8 RGB of `size` (height and width, even); as
    many as `shown` has times. The audio is copied, not encoded again. `path` appears when the block has
    succeeded, complete. Raises InputError for a sound that this kind of file cannot hold, and OSError, naming
    the file, where it cannot be written.
    """
    # Through a file of Python's, because errors of writing then keep their number.
    with atomic_write(path) as partial, open(partial, "wb") as file, _told(path), ExitStack() as stack:
        output = stack.enter_context(av.open(file, "w", format=_FORMATS[path.suffix.lower()]))
        stream = output.add_stream("libx264", rate=shown.rate, options=dict(_OPTIONS))
        stream.height, stream.width = size
        stream.pix_fmt = _PIXELS
        context = stream.codec_context
        context.time_base = shown.time_base
        context.sample_aspect_ratio = shown.pixel_aspect
        context.colorspace, context.color_primaries = shown.matrix, shown.primaries
        context.color_trc = shown.transfer
        context.color_range = ColorRange.JPEG if shown.full_range else ColorRange.MPEG
        sound = None
        if shown.sound is not None:
            sound = _Sound(stack.enter_context(av.open(str(shown.sound))), output, path)
        times = iter(shown.times)

        def write(frame: np.ndarray) -> None:
            encoded = _from_rgb(frame, shown)
            encoded.pts, encoded.time_base = next(times), shown.time_base
            output.mux(stream.encode(encoded))
            if sound is not None:
                sound.copy_until(encoded.pts * shown.time_base)

        yield write
        output.mux(stream.encode())
        if sound is not None:
            sound.copy_until(None)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what the libraries report of `path` into one line; errors of the file system pass as they are."""
    try:
        yield
    except FFmpegError as error:
        if isinstance(error, OSError):
            raise
        raise InputError(f"{path}: cannot be written ({error.strerror}); name an .mkv file") from None


class _Sound:
    """Copies the audio of a file into another, a little at a time: a muxer holds back what comes early."""

    def __init__(self, source: InputContainer, output: OutputContainer, path: Path):
        self._output = output
        self._streams = {}
        for stream in source.streams.audio:
            try:
                self._streams[stream.index] = output.add_stream_from_template(stream)
            except ValueError:
                sound = f"the sound of {source.name} ({stream.codec_context.name})"
                raise InputError(f"{path}: {path.suffix} cannot hold {sound}; name an .mkv file") from None
        packets = source.demux(source.streams.audio)
        self._packets = (packet for packet in packets if packet.dts is not None)
        self._waiting: av.Packet | None = None

    def copy_until(self, time: Fraction | None) -> None:
        """Copy what is heard before `time`, in seconds; None copies the rest."""
        while (packet := self._waiting or next(self._packets, None)) is not None:
            self._waiting = packet
            assert packet.dts is not None and packet.time_base is not None
            if time is not None and packet.dts * packet.time_base > time:
                return
            packet.stream = self._streams[packet.stream.index]
            self._output.mux(packet)
            self._waiting = None


def _seconds(text: str) -> Fraction | None:
    """Read a duration written as 00:00:02.400000000; None for anything else."""
    found = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text)
    return None if found is None else 3600 * int(found[1]) + 60 * int(found[2]) + Fraction(found[3])


def _even(times: Sequence[int], time_base: Fraction, rate: Fraction) -> tuple[Fraction, Sequence[int]]:
    """Return a time base and times without the rounding of the file's, where the frame rate is constant.

    Matroska, for one, rounds to milliseconds, of which 1001/30 s is no multiple.
    """
    start = times[0] * time_base
    for index, time in enumerate(times):
        if abs(time * time_base - start - index / rate) > time_base:
            return time_base, times
    # Finer than a frame, because of the start, which may be any; MP4 has 32 bits for the denominator.
    ticks = 1000 if rate.numerator < 10**6 else 1
    first = round(start * rate * ticks)
    return 1 / rate / ticks, range(first, first + ticks * len(times), ticks)


def _upright_size(frame: VideoFrame) -> tuple[int, int]:
    size = (frame.height, frame.width)
    return size[::-1] if _quarter_turns(frame) % 2 else size


def _quarter_turns(frame: VideoFrame) -> int:
    """How often a frame, as of a camera held upright, must be turned to the left by 90 degrees."""
    return round(frame.rotation / 90) % 4


def _from_rgb(frame: np.ndarray, shown: Presentation) -> VideoFrame:
    return VideoFrame.from_ndarray(frame, format="rgb24").reformat(
        format=_PIXELS,
        src_color_range=ColorRange.JPEG,
        dst_colorspace=_swscale(shown.matrix),
        dst_color_range=ColorRange.JPEG if shown.full_range else ColorRange.MPEG,
        interpolation=_INTERPOLATION,
    )


def _swscale(matrix: int) -> int:
    """Translate the number of a matrix into swscale's, which has one for BT.601."""
    return 5 if matrix == _BT601 else matrix
