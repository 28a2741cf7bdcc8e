"""How fast training crops are read and frames are resized, against the plain way of doing either.

`python -m vsrbench.benchmarks.data --out results/bench_data.csv`
"""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch

from models.resize import imresize
from vsrbench.benchmarks import results_csv
from vsrbench.data.clips import Clip, write_frame
from vsrbench.data.degradation import degrade
from vsrbench.data.frame_store import FrameStore
from vsrbench.data.prefetch import prefetch
from vsrbench.data.store_frames import build_store
from vsrbench.data.training_set import TrainingSet

FRAMES, HEIGHT, WIDTH = 100, 720, 1280  # a clip of REDS
WINDOW, CROP = 5, 64  # frames, and edge in LQ pixels: 256 x 256 of ground truth
WORKERS = 2
BATCH = 32  # of the published recipe

Crops = Callable[[Path, Clip, int, float], int]  # counts the crops read from a folder in so many seconds


def compare_loading(rounds: int = 5, seconds: float = 1.5) -> dict[str, float]:
    """Crops a second, with two worker processes, of the frame store and of decoding the PNGs with OpenCV.

    A crop is 256 x 256 x 5 with its low-quality frames. Both read files that the operating system has in
    memory, in turns. Also the megabytes on disk of both.
    """
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Path(folder))
        build_store([clip], Path(folder) / "store")
        rates: dict[Crops, list[float]] = {_crops_of_store: [], _crops_of_pngs: []}
        with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn")) as pool:
            for _ in range(rounds + 1):
                for crops, found in rates.items():
                    jobs = [pool.submit(crops, Path(folder), clip, seed, seconds) for seed in range(WORKERS)]
                    found.append(sum(job.result() for job in jobs) / seconds)
        store, pngs = (median(found[1:]) for found in rates.values())  # the first round warms up
        return {
            "store_crops_per_second": store,
            "png_crops_per_second": pngs,
            "ratio": store / pngs,
            "store_megabytes": _megabytes(Path(folder).glob("store/*/*.npy")),
            "png_megabytes": _megabytes(Path(folder).glob("*/*.png")),
        }


def measure_feeding(clips: int = 4, batches: int = 12) -> dict[str, float]:
    """Windows a second that `training_set` and `prefetch` deliver, as batches of 32 in random order.

    Each window is 5 x 64 x 64 with its ground truth, cropped, augmented and stacked. Warm: from the page
    cache, with one thread and with two, ten times as many batches. Cold: the store's files are dropped from
    the page cache before each batch, so that the disk's reads are in the time, with two threads.
    """
    with tempfile.TemporaryDirectory() as folder:
        clip = write_clip(Path(folder))
        store = Path(folder) / "store"
        build_store([replace(clip, name=f"{index:03d}") for index in range(clips)], store)
        frames = FrameStore(store)
        windows = TrainingSet(frames, num_frames=WINDOW, size=CROP, batch_size=BATCH, seed=0)
        found: dict[str, float] = {}
        for workers in (1, WORKERS):
            with closing(prefetch(windows.batch, range(1, 10**6), workers)) as fed:
                for _ in range(clips * 4):  # everything has been read once
                    next(fed)
                start = time.perf_counter()
                for _ in range(10 * batches):
                    next(fed)
                seconds = time.perf_counter() - start
            found[f"warm_windows_per_second_{workers}_threads"] = 10 * batches * BATCH / seconds
        seconds = 0.0
        with ThreadPoolExecutor(WORKERS) as pool:
            for iteration in range(1, batches + 1):
                _drop_from_memory(store)
                halves = [partial(windows.batch, iteration, rank, WORKERS) for rank in range(WORKERS)]
                start = time.perf_counter()
                for job in [pool.submit(half) for half in halves]:
                    job.result()
                seconds += time.perf_counter() - start
        found["cold_windows_per_second"] = batches * BATCH / seconds
        return found


def _drop_from_memory(store: Path) -> None:
    for path in store.rglob("*.npy"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def compare_imresize(rounds: int = 9) -> dict[str, float]:
    """Median milliseconds to make a quarter of a 1280 x 720 frame in float32, and of a loop in numpy.

    Processor time of one thread each, five frames in turns, so that other load hardly matters.
    """
    torch.set_num_threads(1)
    frame = np.random.default_rng(0).random((HEIGHT, WIDTH, 3), dtype=np.float32)
    planes = torch.from_numpy(frame).movedim(-1, 0).contiguous()
    here: list[float] = []
    there: list[float] = []
    for _ in range(rounds + 1):
        here.append(_milliseconds(lambda: imresize(planes, 1 / 4)))
        there.append(_milliseconds(lambda: quarter_by_rows(frame)))
    ours, loop = median(here[1:]), median(there[1:])
    return {"vsrbench_ms": ours, "loop_ms": loop, "ratio": loop / ours}


def quarter_by_rows(frame: np.ndarray) -> np.ndarray:
    """MATLAB's `imresize(frame, 1/4)` of (h, w, c), one row or column of the result after the other."""
    for axis in (0, 1):
        frame = np.moveaxis(frame, axis, 0)
        size = len(frame)
        rows = []
        for index in range(size // 4):
            taps = 4 * index - 7 + np.arange(17)
            x = np.abs(4 * index + 1.5 - taps) / 4
            near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
            weights = np.where(x <= 1, near, np.where(x <= 2, far, 0)).astype(frame.dtype)
            mirrored = np.where(taps < 0, -1 - taps, np.where(taps < size, taps, 2 * size - 1 - taps))
            rows.append((weights[:, None, None] * frame[mirrored]).sum(axis=0) / weights.sum())
        frame = np.moveaxis(np.stack(rows), 0, axis)
    return frame


def write_clip(folder: Path) -> Clip:
    """Generate a noisy texture that slides: its PNGs take 1.7 MB a frame, those of REDS 1.4 MB."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (HEIGHT // 16, WIDTH // 8, 3)).astype(np.float32)
    scene = cv2.resize(coarse, (2 * WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    paths = {kind: [folder / kind / f"{t:08d}.png" for t in range(FRAMES)] for kind in ("gt", "lq")}
    for kind in paths:
        (folder / kind).mkdir(parents=True)
    for t in range(FRAMES):
        frame = scene[:, 8 * t : 8 * t + WIDTH] + rng.normal(0, 0.5, (HEIGHT, WIDTH, 1))
        gt = frame.clip(0, 255).astype(np.uint8)
        write_frame(paths["gt"][t], gt)
        write_frame(paths["lq"][t], degrade(gt[None], "BI")[0])
    return Clip("reds", "000", "BI", tuple(paths["lq"]), tuple(paths["gt"]), tuple(range(FRAMES)))


def _crops_of_store(folder: Path, clip: Clip, seed: int, seconds: float) -> int:
    store = FrameStore(folder / "store")
    return _count(partial(store.crop, 0), seed, seconds)


def _crops_of_pngs(folder: Path, clip: Clip, seed: int, seconds: float) -> int:
    cv2.setNumThreads(1)
    return _count(partial(decode_crop, clip), seed, seconds)


def decode_crop(clip: Clip, frames: range, top: int, left: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return what `FrameStore.crop` returns, from whole PNGs and in OpenCV's BGR."""
    crops: list[np.ndarray] = []
    for paths, factor in ((clip.lq, 1), (clip.gt, 4)):
        rows, columns = (slice(factor * first, factor * (first + size)) for first in (top, left))
        images = (np.asarray(cv2.imread(str(paths[t]))) for t in frames)
        crops.append(np.stack([image[rows, columns] for image in images]))
    lq, gt = crops
    return lq, gt


def _count(crop: Callable[..., object], seed: int, seconds: float) -> int:
    """How many random crops were made in so many seconds."""
    rng = np.random.default_rng(seed)
    limits = (FRAMES - WINDOW + 1, HEIGHT // 4 - CROP + 1, WIDTH // 4 - CROP + 1)
    count, end = 0, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start, top, left = (int(value) for value in rng.integers(limits))
        crop(range(start, start + WINDOW), top, left, CROP)
        count += 1
    return count


def _megabytes(paths) -> float:
    return sum(path.stat().st_size for path in paths) / 1e6


def _milliseconds(function: Callable[[], object], calls: int = 5) -> float:
    start = time.process_time()
    for _ in range(calls):
        function()
    return 1000 * (time.process_time() - start) / calls


def measure() -> Iterator[results_csv.Finding]:
    """Both comparisons, each in words and as rows."""
    loading = compare_loading()
    words = (
        f"training crops, two workers: {loading['store_crops_per_second']:.0f} a second from the frame store "
        f"({loading['store_megabytes']:.0f} MB), {loading['png_crops_per_second']:.1f} by decoding the PNGs "
        f"({loading['png_megabytes']:.0f} MB): {loading['ratio']:.0f} times as many"
    )
    yield words, results_csv.quantities("loading", loading, 8)
    feeding = measure_feeding()
    one, two, cold = feeding.values()
    words = (
        f"training windows, augmented, in batches of {BATCH}: {one:.0f} a second with one thread, "
        f"{two:.0f} with two; {cold:.0f} from the disk"
    )
    yield words, results_csv.quantities("feeding", feeding)
    resizing = compare_imresize()
    words = (
        f"imresize of 1280x720 to a quarter: {resizing['vsrbench_ms']:.1f} ms; a loop over rows in numpy "
        f"{resizing['loop_ms']:.1f} ms, {resizing['ratio']:.1f} times as long"
    )
    yield words, results_csv.quantities("imresize", resizing, 10)


if __name__ == "__main__":
    results_csv.run(__doc__, measure)
