"""Restore a video, or a folder of frames, with a trained or released network.

A video is read and written frame by frame: memory does not grow with its length.
"""

import json
import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from tqdm import tqdm

from models.baselines import ANCHOR
from models.config import NetworkConfig
from models.network import Network
from models.released import load_released
from models.vsr_transformer import SCALE
from vsrbench.core.config import load_variant
from vsrbench.core.device import choose_device, device_name
from vsrbench.core.errors import InputError
from vsrbench.core.files import atomic_write, remove_partials
from vsrbench.core.lineage import digest_of
from vsrbench.core.provenance import code_digest, config_digest
from vsrbench.data.clips import read_frame, write_frame
from vsrbench.data.lazy_frames import LazyFrames, frames_in_folder
from vsrbench.data.video import READABLE, WRITABLE, Presentation, Video, at_constant_rate, video_writer
from vsrbench.evaluation.inference import RestoreOptions, restore_clip, to_frame
from vsrbench.evaluation.load_weights import load_trained

logger = logging.getLogger("vsrbench")

SETTINGS = "restoration.json"  # beside the frames in a folder: what they were made from

# Peak memory of `whole_frame` in bytes for each value of a window's features: 3.58 GiB for the full network
# at 180 x 320 (docs/performance.md), rounded up.
_BYTES_PER_VALUE = 220

# Frames over which the features of a network for whole clips travel, and the fewest where memory is short.
_SEGMENT, _SHORTEST_SEGMENT = 100, 10  # the clips that REDS is scored on have 100

Output = Callable[[int, np.ndarray], None]  # takes a frame's index and the restored frame


def restore(
    *,
    clip: Path,
    weights: Path,
    out: Path,
    config: Path | None = None,
    num_frames: int = 5,
    frames: Path | None = None,
    compare: Path | None = None,
    frame_rate: Fraction | None = None,
    mode: str | None = None,
    tile_overlap: int | None = None,
    precision: str | None = None,
    device: str | None = None,
) -> None:
    """Enlarge `clip`, a video or a folder of numbered PNG frames, four times.

    `weights` are those of a run (safetensors; `config` is its resolved variant, by default the one in the
    same study) or a released checkpoint, whose window has `num_frames` frames. `out` is a video (.mp4, .mkv
    or .mov), which keeps times, colours and sound of the clip, or a folder of frames; `frames` is a folder
    that gets the frames as well. Frames that are there from an interrupted call with the same arguments are
    not restored again. `compare` is a video whose left half is bicubic. `frame_rate`, in frames per second,
    is that of a clip in a folder. `mode` and `precision` are by default those that suit network and device.
    A file appears under its name when it is complete.

    Raises InputError for a clip that cannot be read or restored, weights that do not fit, and targets that
    exist or hold other frames; OSError, naming the file, where nothing can be written.
    """
    target = choose_device(device)
    folder = frames if _is_video(out) else out
    videos = [path for path in (out, compare) if path is not None and path != folder]
    _check_targets(clip, videos, folder)
    if frames is not None and folder is out:
        raise InputError(
            f"--frames: {frames}, but --out {out} is a folder of frames already; give one of them"
        )
    model = _load_network(weights, config, num_frames)
    source = _open(clip, frame_rate)
    if videos and source.shown is None:
        raise InputError(f"{clip}: a folder of frames has no frame rate; give --frame-rate")
    options = RestoreOptions(
        mode or _choose_mode(model.config, source.frames.shape, target),
        tile_overlap,
        precision or _choose_precision(target),
    )
    at_once = _choose_segment(model.config, source.frames.shape, target)
    source = replace(source, frames=source.frames.keeping(2 * (at_once or model.config.num_frames)))
    done: set[int] = set()
    if folder is not None:
        _claim(folder, _describe(clip, weights, model.config, options) | {"frames_at_once": at_once})
        done = {t for t in range(source.length) if _frame_path(folder, t).exists()}
    method = options.mode if at_once is None else f"{at_once} frames at once"
    _announce(clip, source, f"{method} in {options.precision} on {device_name(target)}", len(done))
    asked = _to_restore(source.length, done, model.config.num_frames)
    try:
        images = restore_clip(
            model, source.frames, options, device=target, frames=asked, frames_at_once=at_once
        )
    except InputError as error:
        raise InputError(f"{clip}: cannot be restored: {error}") from None
    with ExitStack() as stack:
        outputs = _open_outputs(stack, out, compare, source, target)
        with tqdm(total=source.length, initial=len(done), unit="frame", desc=clip.name) as progress:
            for t in range(source.length) if outputs else sorted(asked):
                image = next(images) if t in asked else None
                if folder is not None and (image is None or t in done):
                    frame = read_frame(_frame_path(folder, t))
                else:
                    assert image is not None
                    frame = to_frame(image)
                    progress.update()
                    if folder is not None:
                        with atomic_write(_frame_path(folder, t)) as partial:
                            write_frame(partial, frame)
                for output in outputs:
                    output(t, frame)


def _to_restore(length: int, done: set[int], num_frames: int) -> set[int]:
    """Return the frames that are missing, and some before the first of them.

    Windows share intermediate results, whose rounding depends on what was computed together. Three windows
    earlier, an interrupted call had the same ones in the end: so the frames are bit for bit the same.
    """
    missing = {t for t in range(length) if t not in done}
    first = min(missing, default=length)
    return missing | (set(range(first - 3 * num_frames, first)) & done if missing else set())


@dataclass(frozen=True)
class _Source:
    frames: LazyFrames
    shown: Presentation | None  # None for frames in a folder whose rate is not known

    @property
    def length(self) -> int:
        return self.frames.shape[0]

    @property
    def restored_size(self) -> tuple[int, int]:
        return SCALE * self.frames.shape[1], SCALE * self.frames.shape[2]


def _open(clip: Path, frame_rate: Fraction | None) -> _Source:
    if clip.is_dir():
        frames = frames_in_folder(clip)
        shown = None if frame_rate is None else at_constant_rate(frame_rate, frames.shape[0])
        return _Source(frames, shown)
    if frame_rate is not None:
        raise InputError(f"--frame-rate: {clip} is a video, which has its own; leave it out")
    video = Video(clip)
    if video.interlaced:
        logger.warning("%s: is interlaced; deinterlace it first, or lines will show", clip)
    if video.bits > 8:
        logger.warning("%s: has %d bits per sample; the restored video has 8", clip, video.bits)
    return _Source(LazyFrames(video.read, video.num_frames, video.size), video.presentation())


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in {*READABLE, *WRITABLE}


def _check_targets(clip: Path, videos: list[Path], folder: Path | None) -> None:
    """Raise InputError for targets that are the clip, exist, or are of an unknown kind."""
    for path in videos:
        if path.suffix.lower() not in WRITABLE:
            raise InputError(f"{path}: cannot be written; name a file that ends in {', '.join(WRITABLE)}")
        if path.exists():
            raise InputError(f"{path}: exists already; move it away, or name another file")
    if len({path.resolve() for path in videos}) < len(videos):
        raise InputError(f"--compare: {videos[0]} is also --out; name another file")
    if folder is not None and folder.resolve().is_relative_to(clip.resolve()):
        raise InputError(f"{folder}: lies in the clip {clip}; name a folder outside it")


def _load_network(weights: Path, config: Path | None, num_frames: int) -> Network:
    if not weights.is_file():
        raise InputError(f"{weights}: no such file; correct --weights")
    if weights.suffix != ".safetensors":
        try:
            return load_released(weights, num_frames=num_frames)
        except ValueError as error:
            raise InputError(str(error)) from None
    if config is None:  # results/<study>/runs/<variant>/seed_<n>/weights.safetensors
        variant = weights.absolute().parent.parent
        config = variant.parent.parent / "configs" / f"{variant.name}.yaml"
        if not config.exists():
            raise InputError(f"{weights}: has no settings in {config}; give them by --config")
    model = load_trained(load_variant(config), weights)
    if model.config.flow_source == "oracle":
        raise InputError(f"{weights}: needs exact optical flow, which only generated clips have")
    return model


def _choose_mode(config: NetworkConfig, shape: tuple[int, ...], device: torch.device) -> str:
    """Prefer whole frames, which are many times faster, where network and memory permit."""
    _, height, width, _ = shape
    required = _BYTES_PER_VALUE * config.num_frames * config.num_feat * height * width
    return "tiled" if config.fixed_size or required > _free_memory(device) else "whole_frame"


def _choose_segment(config: NetworkConfig, shape: tuple[int, ...], device: torch.device) -> int | None:
    """Bound the memory of a network for whole clips: its features take at most half of what is free."""
    if config.protocol != "clip":
        return None
    length, height, width, _ = shape
    fitting = int(_free_memory(device) / 2 / (4 * config.num_feat * height * width))
    return min(max(min(_SEGMENT, fitting), _SHORTEST_SEGMENT), length)


def _free_memory(device: torch.device) -> int:
    """Free memory in bytes."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _choose_precision(device: torch.device) -> str:
    """Prefer bfloat16 where the device multiplies matrices in it; elsewhere it would be slower."""
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = torch.cpu.get_capabilities().get("amx_bf16", False)
    return "bfloat16" if fast else "float32"


def _describe(clip: Path, weights: Path, config: NetworkConfig, options: RestoreOptions) -> dict[str, Any]:
    """State what restored frames depend on."""
    return {
        "clip": digest_of(clip),
        "weights": digest_of(weights),
        "model": config_digest(asdict(config)),
        **asdict(options),
        "code": code_digest("restore"),
    }


def _claim(folder: Path, settings: dict[str, Any]) -> None:
    """Record in a new folder what its frames are made from; in a used one, check that it is the same."""
    path = folder / SETTINGS
    if path.is_file():
        try:
            found = json.loads(path.read_bytes())
            differing = [key for key in settings if found.get(key) != settings[key]]
        except (ValueError, AttributeError):
            differing = [SETTINGS]
        if differing:
            difference = ", ".join(differing)
            raise InputError(
                f"{folder}: has frames of another call ({difference} differ); name another folder"
            )
        remove_partials(folder)
        return
    if folder.exists() and (not folder.is_dir() or any(path.name[0] != "." for path in folder.iterdir())):
        raise InputError(f"{folder}: is not a folder of this command's frames; name a new or an empty folder")
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(settings, indent=1) + "\n")


def _frame_path(folder: Path, t: int) -> Path:
    return folder / f"{t:08d}.png"


def _announce(clip: Path, source: _Source, method: str, done: int) -> None:
    (_, height, width, _), (rows, columns) = source.frames.shape, source.restored_size
    there = f"; {done} are there already" if done else ""
    frames = f"{source.length} frames of {width}x{height} to {columns}x{rows}"
    logger.info("%s: %s, %s%s", clip, frames, method, there)


def _open_outputs(
    stack: ExitStack, out: Path, compare: Path | None, source: _Source, device: torch.device
) -> list[Output]:
    """Open the videos to write; they are completed when `stack` is closed."""
    outputs: list[Output] = []
    if _is_video(out):
        assert source.shown is not None
        write = stack.enter_context(video_writer(out, source.restored_size, source.shown))
        outputs.append(lambda t, frame: write(frame))
    if compare is not None:
        assert source.shown is not None
        write_halves = stack.enter_context(video_writer(compare, source.restored_size, source.shown))
        outputs.append(lambda t, frame: write_halves(_halves(source.frames[[t]][0], frame, device)))
    return outputs


def _halves(lq: np.ndarray, restored: np.ndarray, device: torch.device) -> np.ndarray:
    """Join the left half of a frame enlarged by bicubic, a white line, and the right half as restored."""
    image = torch.from_numpy(lq).to(device).movedim(-1, 0).float() / 255
    middle = restored.shape[1] // 2
    halves = restored.copy()
    halves[:, :middle] = to_frame(ANCHOR.enlarge(image))[:, :middle]
    halves[:, middle - 1 : middle + 1] = 255
    return halves
