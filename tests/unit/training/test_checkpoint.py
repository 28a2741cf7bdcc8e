"""Checkpoints are whole or passed over, and belong to one training."""

import errno
import logging
import resource
import subprocess
import sys
from contextlib import contextmanager

import pytest
import torch

from vsrbench.core.errors import InputError
from vsrbench.training.checkpoint import (
    claim_attempt,
    list_checkpoints,
    load_latest,
    room_for_checkpoints,
    save_checkpoint,
)
from vsrbench.training.run_lock import LockLost

IDENTITY = {"variant": "full", "code": "aaaa"}


def save(folder, iteration, **changes):
    state = {"identity": IDENTITY, "finished": False, "weight": torch.full((50,), float(iteration))}
    return save_checkpoint(folder, iteration, state | changes)


def test_the_last_two_are_kept_and_the_newest_is_read(tmp_path):
    for iteration in (5, 10, 15):
        save(tmp_path, iteration)
    assert [path.name.split(".")[0] for path in list_checkpoints(tmp_path)] == ["00000015", "00000010"]
    assert load_latest(tmp_path, IDENTITY)["weight"][0] == 15


def test_nothing_there_means_begin_anew(tmp_path):
    assert load_latest(tmp_path / "checkpoints", IDENTITY) is None


@pytest.mark.parametrize("damage", ["cut", "flip", "empty"])
def test_a_damaged_one_is_told_and_the_one_before_taken(tmp_path, caplog, damage):
    save(tmp_path, 5)
    newest = save(tmp_path, 10)
    data = bytearray(newest.read_bytes())
    if damage == "flip":
        data[len(data) // 2] ^= 1
    newest.write_bytes({"cut": data[:-100], "flip": data, "empty": b""}[damage])
    with caplog.at_level(logging.WARNING, "vsrbench"):
        assert load_latest(tmp_path, IDENTITY)["weight"][0] == 5
    assert newest.name in caplog.text
    save(tmp_path, 8)  # the run goes another way and clears what it passed over
    assert [path.name.split(".")[0] for path in list_checkpoints(tmp_path)] == ["00000008", "00000005"]


class Code:
    def __reduce__(self):
        return print, ("this is run",)


@pytest.mark.parametrize("content", [{"identity": IDENTITY, "finished": Code()}, {"weight": 1}, [1]])
def test_a_foreign_file_is_refused_and_no_code_of_it_is_run(tmp_path, content, capsys):
    save(tmp_path, 5)
    newest = save_checkpoint(tmp_path, 10, content)
    with pytest.raises(InputError, match=f"{newest}: readable, but not a training checkpoint; move it away"):
        load_latest(tmp_path, IDENTITY)
    assert not capsys.readouterr().out


def test_an_unfinished_training_of_another_kind_is_not_thrown_away(tmp_path):
    save(tmp_path, 5)
    with pytest.raises(InputError, match="code aaaa instead of bbbb"):
        load_latest(tmp_path, IDENTITY | {"code": "bbbb"})


def test_a_finished_training_of_another_kind_is_superseded(tmp_path):
    save(tmp_path, 20, finished=True)
    assert load_latest(tmp_path, IDENTITY | {"code": "bbbb"}) is None
    save(tmp_path, 5)
    assert [path.name.split(".")[0] for path in list_checkpoints(tmp_path)] == ["00000005"]


def test_a_full_disk_leaves_what_was_and_says_what_is_needed(tmp_path):
    save(tmp_path / "checkpoints", 5)
    with (
        pytest.raises(InputError, match=r"needs 3\.0 MiB.*complete checkpoints: 00000005"),
        room_for_checkpoints(tmp_path / "checkpoints", 3 * 2**20),
        files_of_at_most(4096),
    ):
        save(tmp_path / "checkpoints", 10, weight=torch.zeros(10**5))
    assert not list((tmp_path / "checkpoints").rglob("*partial*"))
    assert load_latest(tmp_path / "checkpoints", IDENTITY)["weight"][0] == 5


def test_too_little_room_is_said_before_anything_begins(tmp_path):
    began = False
    with pytest.raises(InputError, match="disk full"), room_for_checkpoints(tmp_path / "checkpoints", 2**60):
        began = True
    assert not began


def test_other_errors_pass_through(tmp_path):
    with pytest.raises(OSError, match="too many"), room_for_checkpoints(tmp_path / "checkpoints", 1):
        raise OSError(errno.EMFILE, "too many open files")


@contextmanager
def files_of_at_most(size):
    """Let writes fail beyond so many bytes, as they do on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def save_in(attempt, iteration):
    state = {"identity": IDENTITY, "finished": False, "weight": torch.full((50,), float(iteration))}
    return save_checkpoint(attempt.parent, iteration, state, attempt)


def test_a_superseded_attempt_can_write_no_checkpoint(tmp_path):
    """Two hosts whose file locks do not reach each other: the later start wins, and only its files count."""
    first = claim_attempt(tmp_path / "checkpoints")
    save_in(first, 5)
    second = claim_attempt(tmp_path / "checkpoints")
    with pytest.raises(LockLost, match="superseded by attempt_000002"):
        save_in(first, 10)
    assert [path.parent for path in list_checkpoints(first.parent)] == [first]
    save_in(second, 8)
    assert [path.name.split(".")[0] for path in list_checkpoints(first.parent)] == ["00000008", "00000005"]


def test_what_a_stalled_writer_adds_late_is_not_resumed_from(tmp_path):
    """It had passed the check before the other one's claim, and its write is later than that."""
    first = claim_attempt(tmp_path)
    second = claim_attempt(tmp_path)
    save_in(second, 8)
    save_checkpoint(first, 20, {"identity": IDENTITY, "finished": False})
    assert load_latest(tmp_path, IDENTITY)["weight"][0] == 8


def test_earlier_checkpoints_go_when_later_attempts_have_theirs(tmp_path):
    for iteration in (5, 10, 15):
        newest = save_in(claim_attempt(tmp_path), iteration)
    assert [path.name.split(".")[0] for path in list_checkpoints(tmp_path)] == ["00000015", "00000010"]
    assert newest.parent.name == "attempt_000003"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["attempt_000002", "attempt_000003"]


MEMORY = """
import sys, threading, time, torch
from pathlib import Path
from vsrbench.training.checkpoint import load_latest, save_checkpoint

def anonymous():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(status["RssAnon"].split()[0]) / 1024

def peak(call):
    before, most, done = anonymous(), 0.0, threading.Event()
    def watch():
        nonlocal most
        while not done.is_set():
            most = max(most, anonymous())
            time.sleep(0.001)
    watcher = threading.Thread(target=watch)
    watcher.start()
    result = call()
    done.set()
    watcher.join()
    return result, max(most, anonymous()) - before

folder = Path(sys.argv[1])
network = torch.nn.Sequential(*(torch.nn.Linear(1024, 1024, bias=False) for _ in range(40)))  # 160 MiB
state = {"identity": {}, "finished": False, "network": network.state_dict()}
save_checkpoint(folder, 1, {"identity": {}, "finished": False})  # imports what saving needs
_, saving = peak(lambda: save_checkpoint(folder, 2, state))
loaded, loading = peak(lambda: load_latest(folder, {}))
_, copying = peak(lambda: network.load_state_dict(loaded["network"]))
print(saving / 160, loading / 160, copying / 160)
"""


def test_checkpoints_take_no_memory_of_their_size(tmp_path):
    """In shares of the checkpoint's size, beyond the network itself."""
    script = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert all(float(share) < 0.2 for share in script.stdout.split()), script.stdout
