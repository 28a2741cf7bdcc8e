"""Video files: what is read of them, what is kept, and every kind that is refused."""

import os
import resource
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from small_video import FRAMES, HEIGHT, WIDTH, moving_gradient, sound_of, write_small_video

from vsrbench.core.errors import InputError
from vsrbench.core.files import ROOT
from vsrbench.data.video import Presentation, Video, at_constant_rate, video_writer


def copied(source, target):
    """The video `source`, written again to `target`."""
    video = Video(source)
    with video_writer(target, video.size, video.presentation()) as write:
        for t in range(video.num_frames):
            write(video.read(t))
    return Video(target)


def seconds(shown: Presentation) -> list[float]:
    return [float(time * shown.time_base) for time in shown.times]


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("matrix", [1, 6, 9])
def test_colours_are_those_that_were_filmed(tmp_path, matrix, full_range):
    film = Video(write_small_video(tmp_path / "film.mp4", matrix=matrix, full_range=full_range))
    assert (film.num_frames, film.size) == (FRAMES, (HEIGHT, WIDTH))
    for t in (0, 7, 3):
        assert np.abs(film.read(t).astype(int) - moving_gradient()[t]).max() <= 3


@pytest.mark.parametrize(("height", "matrix"), [(24, 6), (720, 1)])
def test_a_video_that_does_not_say_its_matrix_has_the_usual_one(tmp_path, height, matrix):
    picture = moving_gradient(1, height)
    by_matrix = {}
    for guess in (6, 1):
        path = write_small_video(tmp_path / f"{guess}.mkv", picture, matrix=guess)
        with av.open(str(path)) as container:
            (frame,) = container.decode(video=0)
        frame.colorspace = 2
        video = Video(path)
        video._first = frame
        by_matrix[guess] = np.abs(video._to_rgb(frame).astype(int) - picture[0]).max()
    assert by_matrix[matrix] <= 3 < by_matrix[7 - matrix]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001)])
def test_rate_and_duration_are_kept(tmp_path, suffix, rate):
    film = Video(write_small_video(tmp_path / f"film{suffix}", rate=rate))
    copy = copied(tmp_path / f"film{suffix}", tmp_path / "copy.mp4")
    assert copy.presentation().rate == film.presentation().rate == rate
    assert seconds(copy.presentation()) == pytest.approx([t / rate for t in range(FRAMES)], abs=1e-5)
    with av.open(str(tmp_path / "copy.mp4")) as container:
        assert container.duration / 1e6 == pytest.approx(FRAMES / rate, abs=1e-3)


def test_times_at_a_varying_rate_are_kept(tmp_path):
    times = [0, 40, 100, 200, 210, 260, 300, 301, 350, 400, 460, 500]
    write_small_video(tmp_path / "film.mkv", times=times)
    shown = copied(tmp_path / "film.mkv", tmp_path / "copy.mp4").presentation()
    assert seconds(shown) == pytest.approx([time / 1000 for time in times])


def test_range_matrix_and_shape_of_pixels_are_kept(tmp_path):
    write_small_video(tmp_path / "film.mp4", matrix=9, full_range=True, pixel_aspect=Fraction(4, 3))
    shown = copied(tmp_path / "film.mp4", tmp_path / "copy.mp4").presentation()
    assert (shown.matrix, shown.full_range, shown.pixel_aspect) == (9, True, Fraction(4, 3))


@pytest.mark.parametrize("full_range", [False, True])
def test_colours_survive_writing(tmp_path, full_range):
    """But for fine detail of colour (4:2:0); another range or matrix would change the slope."""
    smooth = moving_gradient(3, 240, 320)
    write_small_video(tmp_path / "film.mp4", smooth, full_range=full_range)
    frame = copied(tmp_path / "film.mp4", tmp_path / "copy.mp4").read(2)
    for channel in range(3):
        slope, offset = np.polyfit(smooth[2, ..., channel].ravel(), frame[..., channel].ravel(), 1)
        assert slope == pytest.approx(1, abs=0.02) and abs(offset) < 3


@pytest.mark.parametrize(("sound", "suffix"), [("aac", ".mp4"), ("aac", ".mkv"), ("pcm_s16le", ".mkv")])
def test_sound_is_copied(tmp_path, sound, suffix):
    film = write_small_video(tmp_path / f"film{suffix}", sound=sound)
    copied(film, tmp_path / f"copy{suffix}")
    assert sound_of(film) and sound_of(tmp_path / f"copy{suffix}") == sound_of(film)


def test_sound_that_the_file_cannot_hold_is_refused(tmp_path):
    write_small_video(tmp_path / "film.mkv", sound="tta")
    with pytest.raises(InputError, match=r"copy\.mp4: \.mp4 cannot hold the sound of .*film\.mkv \(tta\)"):
        copied(tmp_path / "film.mkv", tmp_path / "copy.mp4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["film.mkv"]


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_camera_held_upright_gives_upright_frames(tmp_path, turns):
    rotation = {1: 90, 2: 180, 3: -90}[turns]
    path = write_small_video(tmp_path / "film.mp4", rotation=rotation, pixel_aspect=Fraction(4, 3))
    film = Video(path)
    upright = np.rot90(moving_gradient()[2], turns)
    assert film.size == upright.shape[:2]
    assert np.abs(film.read(2).astype(int) - upright).max() <= 3
    assert film.presentation().pixel_aspect == (Fraction(4, 3) if turns == 2 else Fraction(3, 4))


def test_frames_of_no_video_have_the_rate_that_is_given(tmp_path):
    with video_writer(tmp_path / "film.mp4", (HEIGHT, WIDTH), at_constant_rate(Fraction(10), 3)) as write:
        for frame in moving_gradient(3):
            write(frame)
    assert seconds(Video(tmp_path / "film.mp4").presentation()) == pytest.approx([0, 0.1, 0.2])


def no_video(path):
    path.write_bytes(b"no video")


def nothing(path):
    path.write_bytes(b"")


def only_sound(path):
    with av.open(str(path), "w") as output:
        tone = output.add_stream("aac", rate=8000)
        part = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        part.sample_rate = 8000
        output.mux(tone.encode(part))
        output.mux(tone.encode())


def cut_off(path):
    """A file whose end is missing, of a kind that says at its beginning how long it is."""
    write_small_video(path.with_suffix(".mkv"), moving_gradient(60, 64, 96))
    data = path.with_suffix(".mkv").read_bytes()
    path.write_bytes(data[: len(data) // 2])


def overwritten(path):
    write_small_video(path, moving_gradient(60, 64, 96))
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = os.urandom(400)
    path.write_bytes(data)


def two_sizes(path):
    """One after the other, as cameras that switch write them."""
    parts = []
    for height in (HEIGHT, 2 * HEIGHT):
        encoder = av.CodecContext.create("libx264", "w")
        encoder.width, encoder.height, encoder.pix_fmt = WIDTH, height, "yuv420p"
        encoder.time_base = Fraction(1, 25)
        for t in range(3):
            frame = av.VideoFrame.from_ndarray(moving_gradient(3, height)[t]).reformat(format="yuv420p")
            frame.pts = t
            parts += encoder.encode(frame)
        parts += encoder.encode()
    path.write_bytes(b"".join(map(bytes, parts)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (no_video, "not a video that can be read"),
        (nothing, "not a video that can be read"),
        (only_sound, "not a video, it has no pictures"),
        (cut_off, r"ends after 0\.\d of 2\.4 s"),
        (overwritten, r"is damaged"),
        (two_sizes, r"frame 3 is 32x48, the first 32x24; scale all to one size"),
    ],
)
def test_what_cannot_be_restored_is_told_in_one_line(tmp_path, make, message):
    make(tmp_path / "film.mp4")
    with pytest.raises(InputError, match=rf"^\S+film\.mp4: .*{message}.*") as error:
        Video(tmp_path / "film.mp4")
    assert "\n" not in str(error.value)


def test_a_full_disk_leaves_nothing_and_is_told_with_the_file(tmp_path):
    """A limit on the size of files stands in for the full disk: the kernel refuses the write alike."""
    code = (
        "import sys; sys.path.insert(0, 'tests')\n"
        "from pathlib import Path; from small_video import moving_gradient; from fractions import Fraction\n"
        "from vsrbench.data.video import at_constant_rate, video_writer\n"
        "import numpy as np\n"
        "noise = np.random.default_rng(0).integers(0, 256, (30, 64, 64, 3), dtype=np.uint8)\n"
        f"target = Path({str(tmp_path)!r}) / 'film.mp4'\n"
        "try:\n"
        "    with video_writer(target, (64, 64), at_constant_rate(Fraction(25), 30)) as write:\n"
        "        for frame in noise: write(frame)\n"
        "except OSError as error: print(error.filename == str(target), error.errno)\n"
    )
    limit = 20_000
    result = subprocess.run(
        [sys.executable, "-c", "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert result.stdout.split() == ["True", "27"], result.stderr
    assert not list(tmp_path.iterdir())
