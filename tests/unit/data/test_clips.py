"""Frames from outside: each fault ends in one line that names the file and what to do."""

import cv2
import numpy as np
import pytest

from vsrbench.core.errors import InputError
from vsrbench.core.files import explain
from vsrbench.data.clips import Clip, read_frame, read_frames, write_frame


def picture(height=16, width=24, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3)).astype(np.uint8)


def clip_of(folder, gt, lq=None, degradation="BI"):
    paths = {}
    for kind, frames in (("gt", gt), ("lq", lq or [])):
        (folder / kind).mkdir()
        paths[kind] = tuple(folder / kind / f"{t:08d}.png" for t in range(len(frames)))
        for path, frame in zip(paths[kind], frames, strict=True):
            write_frame(path, frame)
    return Clip("folder", "clip", degradation, paths["lq"], paths["gt"], scored=tuple(range(len(gt))))


def test_a_frame_comes_back_as_it_was_written_in_rgb(tmp_path):
    frame = picture()
    frame[:, :, 0] = 200
    write_frame(tmp_path / "0.png", frame)
    assert np.array_equal(read_frame(tmp_path / "0.png"), frame)


def test_a_frame_that_does_not_fit_is_named(tmp_path):
    (tmp_path / "0.png").symlink_to("/dev/full")
    with pytest.raises(OSError) as error:
        write_frame(tmp_path / "0.png", picture())
    assert explain(error.value).startswith(f"{tmp_path}/0.png: No space left on device; free space")


def truncated(path):
    write_frame(path, picture())
    path.write_bytes(path.read_bytes()[:-40])


def flipped_byte(path):
    write_frame(path, picture())
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


FAULTS = {
    "missing": (lambda path: None, "No such file or directory; restore"),
    "empty": (lambda path: path.write_bytes(b""), "not a PNG"),
    "text": (lambda path: path.write_text("not a picture"), "not a PNG; store frames as 8-bit RGB PNG"),
    "folder": (lambda path: path.mkdir(), "Is a directory"),
    "truncated": (truncated, "truncated PNG; copy it again"),
    "flipped byte": (flipped_byte, "damaged PNG, cannot be decoded; copy it again"),
    "16 bit": (
        lambda path: cv2.imwrite(str(path), picture().astype(np.uint16) * 257),
        "16-bit RGB PNG; convert it to 8-bit RGB",
    ),
    "grey": (
        lambda path: cv2.imwrite(str(path), picture()[..., 0]),
        "8-bit grey PNG; convert it to 8-bit RGB",
    ),
    "transparent": (
        lambda path: cv2.imwrite(str(path), np.dstack([picture(), picture()[..., :1]])),
        "8-bit RGB with transparency PNG",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_frame_is_named_in_one_line(tmp_path, fault):
    path = tmp_path / "00000003.png"
    plant, said = FAULTS[fault]
    plant(path)
    with pytest.raises(InputError) as error:
        read_frame(path)
    assert str(error.value).startswith(f"{path}: ") and said in str(error.value)
    assert "\n" not in str(error.value)


def test_frames_of_two_sizes_are_refused(tmp_path):
    for t, width in enumerate((24, 24, 28)):
        write_frame(tmp_path / f"{t}.png", picture(width=width))
    with pytest.raises(InputError, match=r"2\.png: expected 24x16 as 0\.png, got 28x16"):
        read_frames([tmp_path / f"{t}.png" for t in range(3)])


def test_ground_truth_is_cut_to_a_multiple_of_four(tmp_path):
    gt = [picture(19, 26, seed) for seed in range(2)]
    lq, cut = clip_of(tmp_path, gt).read()
    assert lq.shape == (2, 4, 6, 3)
    assert np.array_equal(cut, np.stack(gt)[:, :16, :24])


def test_lq_that_is_no_quarter_of_the_gt_is_refused(tmp_path):
    clip = clip_of(tmp_path, [picture()] * 2, [picture(4, 7)] * 2)
    with pytest.raises(InputError, match="7x4 is not a quarter of its ground truth 24x16"):
        clip.read()


def test_chosen_frames_are_read_and_no_others(tmp_path):
    gt = [picture(seed=seed) for seed in range(4)]
    clip = clip_of(tmp_path, gt)
    clip.gt[0].unlink()
    assert np.array_equal(clip.read([3, 1])[1], np.stack([gt[3], gt[1]]))
    with pytest.raises(InputError, match=r"00000000\.png"):
        clip.read()


def test_flow_that_is_not_there_or_no_flow_is_named(tmp_path):
    clip = clip_of(tmp_path, [picture()])
    with pytest.raises(InputError, match="no exact optical flow; use flow: spynet"):
        clip.read_flows()
    (tmp_path / "flow.safetensors").write_bytes(b"\0" * 20)
    broken = Clip(**(vars(clip) | {"flow": tmp_path / "flow.safetensors"}))
    with pytest.raises(InputError, match=r"flow\.safetensors: not a flow file"):
        broken.read_flows()
