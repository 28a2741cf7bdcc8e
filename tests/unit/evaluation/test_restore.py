"""Your own video through a network: what comes out, how it goes on, and what is refused."""

import logging
import os
import resource
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file
from small_network import SIZES
from small_video import FRAMES, HEIGHT, WIDTH, moving_gradient, sound_of, write_small_video

from models import ModelConfig, build_model, save_official
from models.baselines import ANCHOR
from models.basicvsr import BasicVSR
from models.basicvsr_checkpoints import basicsr_name
from models.config import BasicVSRConfig
from vsrbench.__main__ import main
from vsrbench.core.config import read_yaml, resolve_variant
from vsrbench.core.errors import InputError
from vsrbench.core.files import ROOT
from vsrbench.data.clips import read_frame, read_frames, write_frame
from vsrbench.data.video import Video
from vsrbench.evaluation import restore as module
from vsrbench.evaluation.inference import RestoreOptions, restore_clip, to_frame
from vsrbench.evaluation.load_weights import load_trained
from vsrbench.evaluation.restore import restore

TINY = Path(__file__).parents[2] / "workflow" / "tiny.yaml"


def variant_of(**options):
    study = read_yaml(TINY)
    study["overrides"]["model"] |= options
    return resolve_variant(study, "full")


@pytest.fixture
def run(tmp_path):
    """Weights of a run, where a study keeps them."""

    def make(**options) -> Path:
        variant = variant_of(**options)
        weights = tmp_path / "results" / "mine" / "runs" / "full" / "seed_1" / "weights.safetensors"
        settings = tmp_path / "results" / "mine" / "configs" / "full.yaml"
        for folder in (weights.parent, settings.parent):
            folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(0)
        save_file(build_model(variant.model).state_dict(), weights)
        settings.write_text(yaml.safe_dump(variant.to_dict()))
        return weights

    return make


@pytest.fixture
def film(tmp_path) -> Path:
    return write_small_video(tmp_path / "film.mp4", sound="aac")


def expected(film: Path, weights: Path, options: RestoreOptions) -> np.ndarray:
    """The frames as `evaluate` restores them: from an array, all at once."""
    video = Video(film)
    clip = np.stack([video.read(t) for t in range(video.num_frames)])
    model = load_trained(variant_of(norm="channel"), weights)
    return np.stack([to_frame(image) for image in restore_clip(model, clip, options)])


def differ(one: np.ndarray, other: np.ndarray) -> float:
    """The mean difference of luma, which H.264 keeps better than the colours of an untrained network."""
    return float(np.abs((one.astype(float) - other) @ [0.2126, 0.7152, 0.0722]).mean())


def frames_in(folder: Path) -> np.ndarray:
    return read_frames(sorted(folder.glob("*.png")))


@pytest.mark.parametrize("mode", ["tiled", "whole_frame"])
def test_frames_are_those_of_an_evaluation(tmp_path, run, film, mode):
    weights, options = run(norm="channel"), RestoreOptions(mode, precision="float32")
    restore(clip=film, weights=weights, out=tmp_path / "out", mode=mode, precision="float32", device="cpu")
    assert np.array_equal(frames_in(tmp_path / "out"), expected(film, weights, options))


def test_a_video_keeps_what_belongs_to_it(tmp_path, run, film):
    out, frames = tmp_path / "out.mp4", tmp_path / "frames"
    restore(clip=film, weights=run(norm="channel"), out=out, frames=frames, device="cpu")
    before, after = Video(film), Video(out)
    assert (after.num_frames, after.size) == (FRAMES, (4 * HEIGHT, 4 * WIDTH))
    assert sound_of(out) == sound_of(film)
    kept = ("rate", "matrix", "full_range", "pixel_aspect")
    old, new = before.presentation(), after.presentation()
    assert all(getattr(old, name) == getattr(new, name) for name in kept)
    restored = frames_in(frames)
    shown = [after.read(t) for t in range(FRAMES)]
    kept = [differ(shown[t], restored[t]) for t in range(FRAMES)]
    other = [differ(shown[t], restored[t - 3]) for t in range(FRAMES)]
    assert max(kept) < min(other) / 3


def test_compare_has_bicubic_on_the_left(tmp_path, run, film):
    out, compare, frames = tmp_path / "out.mkv", tmp_path / "halves.mkv", tmp_path / "frames"
    restore(clip=film, weights=run(), out=out, compare=compare, frames=frames, device="cpu")
    halves, middle = Video(compare).read(5), 2 * WIDTH
    lq = torch.from_numpy(Video(film).read(5)).movedim(-1, 0) / 255
    left, right = to_frame(ANCHOR.enlarge(lq)), read_frame(frames / "00000005.png")
    for part, same, other in (
        (slice(0, middle - 8), left, right),
        (slice(middle + 8, None), right, left),
    ):
        assert differ(halves[:, part], same[:, part]) < differ(halves[:, part], other[:, part]) / 3
    assert halves[:, middle - 1 : middle + 1].mean() > 240
    assert sound_of(compare) == sound_of(film)


def test_a_folder_of_frames_goes_in_and_out(tmp_path, run):
    clip = tmp_path / "clip"
    clip.mkdir()
    for t, frame in enumerate(moving_gradient(5)):
        write_frame(clip / f"{t:03d}.png", frame)
    restore(clip=clip, weights=run(), out=tmp_path / "out", device="cpu")
    assert frames_in(tmp_path / "out").shape == (5, 4 * HEIGHT, 4 * WIDTH, 3)
    with pytest.raises(InputError, match="clip: a folder of frames has no frame rate; give --frame-rate"):
        restore(clip=clip, weights=run(), out=tmp_path / "out.mp4", device="cpu")
    restore(clip=clip, weights=run(), out=tmp_path / "out.mp4", frame_rate=Fraction(10), device="cpu")
    assert Video(tmp_path / "out.mp4").presentation().rate == 10


def test_what_is_there_is_not_restored_again(tmp_path, run, monkeypatch, caplog):
    """But for three windows of three frames before the first that is missing, for equal rounding."""
    film = write_small_video(tmp_path / "film.mp4", moving_gradient(40))
    options = dict(clip=film, weights=run(norm="channel"), mode="whole_frame", device="cpu")
    restore(out=tmp_path / "whole", **options)
    restore(out=tmp_path / "parts", **options)
    for t in (30, 31, 39):
        (tmp_path / "parts" / f"{t:08d}.png").unlink()
    asked = []

    def spy(*arguments, frames, **keywords):
        asked.extend(sorted(frames))
        return restore_clip(*arguments, frames=frames, **keywords)

    monkeypatch.setattr(module, "restore_clip", spy)
    with caplog.at_level(logging.INFO, "vsrbench"):
        restore(out=tmp_path / "out.mp4", frames=tmp_path / "parts", **options)
    assert asked == [*range(21, 32), 39] and "; 37 are there already" in caplog.text
    difference = frames_in(tmp_path / "parts").astype(int) - frames_in(tmp_path / "whole")
    assert np.abs(difference).max() <= 1
    assert Video(tmp_path / "out.mp4").num_frames == 40


@pytest.mark.parametrize("options", [[], ["--mode", "tiled"]])
def test_a_killed_call_goes_on_to_the_same_frames(tmp_path, run, options):
    """Bit for bit."""
    film = write_small_video(tmp_path / "film.mp4", moving_gradient(80))
    command = [sys.executable, "-m", "vsrbench", "restore", str(film), "--weights", str(run(norm="channel"))]
    command += ["--device", "cpu", "--precision", "float32", *options]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'workflow'}"}
    killed = tmp_path / "killed"
    silent = dict(env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with subprocess.Popen([*command, "--out", str(killed)], **silent) as process:
        while len(list(killed.glob("0*.png"))) < 20 and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    made = {path: path.stat().st_mtime_ns for path in killed.glob("0*.png")}
    assert 20 <= len(made) < 80
    (killed / ".00000079.1.partial.png").touch()  # as a kill while a frame is written leaves it
    for out in (killed, tmp_path / "whole"):
        subprocess.run([*command, "--out", str(out)], check=True, **silent)
    assert np.array_equal(frames_in(killed), frames_in(tmp_path / "whole"))
    assert len(frames_in(killed)) == 80
    assert all(path.stat().st_mtime_ns == before for path, before in made.items())
    assert not list(killed.glob(".*"))


def test_frames_of_another_call_are_refused(tmp_path, run, film):
    options = dict(clip=film, out=tmp_path / "out", device="cpu", precision="float32")
    restore(weights=run(), **options)
    save_file(build_model(variant_of().model).state_dict(), run())  # of another seed
    torch.manual_seed(5)
    weights = run()
    save_file(build_model(variant_of().model).state_dict(), weights)
    with pytest.raises(InputError, match=r"out: has frames of another call \(weights differ\)"):
        restore(weights=weights, **options)
    with pytest.raises(InputError, match=r"\(weights, precision differ\)"):
        restore(weights=weights, **options | {"precision": "bfloat16"})
    (tmp_path / "out" / "restoration.json").write_text("[]")
    with pytest.raises(InputError, match=r"\(restoration\.json differ\)"):
        restore(weights=weights, **options)
    (tmp_path / "out" / "restoration.json").unlink()
    with pytest.raises(InputError, match="out: is not a folder of this command's frames"):
        restore(weights=weights, **options)


def test_released_weights(tmp_path, film):
    sizes = SIZES | dict(feat_size=64, patch_size=8, num_feed_forward_blocks=30, flow_num_feat=64, depth=1)
    torch.manual_seed(0)
    save_official(build_model(ModelConfig(**sizes, num_frames=3)), tmp_path / "net.pth")
    with pytest.raises(InputError, match=r"film\.mp4: cannot be restored: .* smaller than a tile of 64"):
        restore(clip=film, weights=tmp_path / "net.pth", out=tmp_path / "out.mp4", device="cpu")
    large = write_small_video(tmp_path / "large.mp4", moving_gradient(3, 64, 64))
    restore(clip=large, weights=tmp_path / "net.pth", num_frames=3, out=tmp_path / "out.mp4", device="cpu")
    assert Video(tmp_path / "out.mp4").size == (256, 256)
    (tmp_path / "net.pth").write_bytes(b"no checkpoint")
    with pytest.raises(InputError, match=r"net\.pth: not a checkpoint"):
        restore(clip=film, weights=tmp_path / "net.pth", out=tmp_path / "none.mp4", device="cpu")


def test_basicvsr_in_segments(tmp_path, film, caplog, monkeypatch):
    torch.manual_seed(0)
    model = BasicVSR(BasicVSRConfig(num_feat=8, num_blocks=1, flow_num_feat=8)).eval()
    save = {basicsr_name(name): tensor for name, tensor in model.state_dict().items()}
    torch.save({"params": save}, tmp_path / "net.pth")
    options = dict(clip=film, weights=tmp_path / "net.pth", device="cpu", precision="float32")
    with caplog.at_level(logging.INFO, "vsrbench"):
        restore(out=tmp_path / "whole", **options)
    assert "12 frames at once in float32 on cpu" in caplog.text
    video = Video(film)
    clip = np.stack([video.read(t) for t in range(FRAMES)])
    assert np.array_equal(
        frames_in(tmp_path / "whole"), np.stack([*map(to_frame, restore_clip(model, clip))])
    )
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 2**18}))
    with caplog.at_level(logging.INFO, "vsrbench"):
        restore(out=tmp_path / "parts", **options)
    assert "10 frames at once in float32 on cpu" in caplog.text
    segments = np.stack([*map(to_frame, restore_clip(model, clip, frames_at_once=10))])
    assert np.array_equal(frames_in(tmp_path / "parts"), segments)
    assert not np.array_equal(segments, frames_in(tmp_path / "whole"))


def test_mode_and_precision_suit_network_and_device(tmp_path, run, film, monkeypatch, caplog):
    capabilities = {"amx_bf16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)

    def told(weights, name):
        caplog.clear()
        with caplog.at_level(logging.INFO, "vsrbench"):
            restore(clip=film, weights=weights, out=tmp_path / name, device="cpu")
        return caplog.text

    assert "12 frames of 32x24 to 128x96, whole_frame in bfloat16 on cpu" in told(run(norm="channel"), "a")
    assert "tiled in bfloat16 on cpu" in told(run(), "b")  # whose norm fixes the size
    capabilities.clear()
    assert "whole_frame in float32 on cpu" in told(run(norm="channel"), "c")
    monkeypatch.setattr(module.psutil, "virtual_memory", lambda: type("Memory", (), {"available": 2**20}))
    assert "tiled in float32 on cpu" in told(run(norm="channel"), "d")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(out="film.mp4"), r"film\.mp4: exists already"),
        (dict(out="out.avi"), r"out\.avi: cannot be written; name a file that ends in \.mp4, \.mkv, \.mov"),
        (dict(compare="halves.webm"), r"halves\.webm: cannot be written"),
        (dict(compare="out.mp4"), r"--compare: .*out\.mp4 is also --out"),
        (dict(out="folder", frames="other"), "--frames: .*other, but --out .*folder is a folder"),
        (dict(frame_rate=Fraction(25)), r"--frame-rate: .*film\.mp4 is a video, which has its own"),
        (dict(clip="none.mp4"), r"none\.mp4"),
        (dict(weights="none.safetensors"), r"none\.safetensors: no such file; correct --weights"),
        (dict(mode="whole_frame"), r"film\.mp4: cannot be restored: mode: whole_frame, but model\.norm"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(tmp_path, run, film, options, message):
    kept = ("mode", "frame_rate")
    options = {name: value if name in kept else tmp_path / value for name, value in options.items()}
    weights = run()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises((InputError, OSError), match=message) as error:
        restore(**dict(clip=film, weights=weights, out=tmp_path / "out.mp4", device="cpu") | options)
    assert "\n" not in str(error.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_weights_without_settings_are_refused(tmp_path, run, film):
    weights = run().rename(tmp_path / "weights.safetensors")
    options = dict(clip=film, weights=weights, device="cpu")
    with pytest.raises(
        InputError, match=r"weights\.safetensors: has no settings in .*; give them by --config"
    ):
        restore(out=tmp_path / "out", **options)
    restore(out=tmp_path / "out", config=tmp_path / "results" / "mine" / "configs" / "full.yaml", **options)
    assert len(frames_in(tmp_path / "out")) == FRAMES


def test_frames_may_not_go_into_the_clip(tmp_path, run):
    write_frame(tmp_path / "00.png", moving_gradient(1)[0])
    with pytest.raises(InputError, match="out: lies in the clip"):
        restore(clip=tmp_path, weights=run(), out=tmp_path / "out", device="cpu")


def test_a_full_disk_is_told_in_one_line_and_leaves_no_video(tmp_path, run, film):
    """A limit on the size of files stands in for the full disk: the kernel refuses the write alike."""
    command = "restore {} --weights {} --out {} --device cpu".format(film, run(), tmp_path / "out.mp4")
    code = "import signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    code += f"from vsrbench.__main__ import main; sys.exit(main({command.split()!r}))"
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'workflow'}"},
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    last = result.stderr.splitlines()[-1]
    assert result.returncode == 2 and last.startswith(f"vsrbench: {tmp_path / 'out.mp4'}: File too large;")
    assert not list(tmp_path.glob("*out*")) and not list(tmp_path.glob(".*"))


def test_command_line(tmp_path, run, film, capsys):
    arguments = ["restore", str(film), "--weights", str(run()), "--out", str(tmp_path / "out.mp4")]
    assert main([*arguments, "--device", "cpu", "--compare", str(tmp_path / "halves.mp4")]) == 0
    assert Video(tmp_path / "halves.mp4").num_frames == Video(tmp_path / "out.mp4").num_frames == FRAMES
    assert main(arguments) == 2
    with pytest.raises(SystemExit):
        main([*arguments, "--frame-rate", "0"])
    assert "--frame-rate: '0' is not a frame rate" in capsys.readouterr().err
