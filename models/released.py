"""Load the released checkpoint of any network here."""

from pathlib import Path

from models.basicvsr_checkpoints import is_basicvsr, load_basicvsr
from models.network import Network
from models.official import load_official
from models.state_dicts import read_tensors


def load_released(path: str | Path, *, num_frames: int = 5) -> Network:
    """Load a released checkpoint, recognised by the names of its tensors, in evaluation mode.

    `num_frames` is the window of a VSR Transformer, which its checkpoint does not say. Raises ValueError, in
    one line, for a file that cannot be read or is the checkpoint of no network here.
    """
    _, tensors = read_tensors(path)
    return load_basicvsr(path) if is_basicvsr(tensors) else load_official(path, num_frames=num_frames)
