"""Videos of a few frames, with whatever a player must know of them."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorRange

HEIGHT, WIDTH, FRAMES = 24, 32, 12
SAMPLES = 8000  # of sound in a second


def moving_gradient(num_frames: int = FRAMES, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A smooth pattern that moves: uint8 (t, h, w, 3), of saturated colours."""
    rows, columns = np.mgrid[:height, :width]
    phases = [(rows + 2 * t) / 9 for t in range(num_frames)]
    waves = [(np.sin(p), np.cos(columns / 11 + p), np.sin(columns / 7 - p)) for p in phases]
    return np.stack([127.5 + 120 * np.stack(wave, axis=-1) for wave in waves]).round().astype(np.uint8)


def write_small_video(
    path: Path,
    frames: np.ndarray | None = None,
    *,
    rate: Fraction = Fraction(25),
    times: Sequence[int] | None = None,  # in milliseconds
    matrix: int = 1,
    full_range: bool = False,
    sound: str | None = None,
    rotation: int = 0,
    pixels: str = "yuv444p",
    pixel_aspect: Fraction = Fraction(1),
) -> Path:
    """Write frames in H.264 without loss, but for the rounding of YUV; `sound` is the codec of a tone
    that lasts a second longer."""
    frames = moving_gradient() if frames is None else frames
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=rate, options={"crf": "0"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        context = stream.codec_context
        context.colorspace, context.sample_aspect_ratio = matrix, pixel_aspect
        context.color_range = ColorRange.JPEG if full_range else ColorRange.MPEG
        if times is not None:
            context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        tone = output.add_stream(sound, rate=SAMPLES) if sound else None
        for t, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame).reformat(
                format=pixels,
                dst_colorspace=5 if matrix in (2, 6) else matrix,
                dst_color_range=ColorRange.JPEG if full_range else ColorRange.MPEG,
            )
            picture.pts = t if times is None else times[t]
            picture.time_base = 1 / rate if times is None else Fraction(1, 1000)
            output.mux(stream.encode(picture))
        output.mux(stream.encode())
        if tone is not None:
            _write_tone(output, tone, float(len(frames) / rate) + 1)
    return path


def _write_tone(output, tone, seconds: float) -> None:
    wave = (8000 * np.sin(np.arange(int(SAMPLES * seconds)) / 3)).astype(np.int16)
    for first in range(0, len(wave), 1024):
        part = av.AudioFrame.from_ndarray(wave[None, first : first + 1024], format="s16", layout="mono")
        part.sample_rate, part.pts, part.time_base = SAMPLES, first, Fraction(1, SAMPLES)
        output.mux(tone.encode(part))
    output.mux(tone.encode())


def sound_of(path: Path) -> list[bytes]:
    """The packets of a video's first audio stream, as they are stored."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]
