"""The recorded numbers, and the network that they were recorded from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from models import build_model
from models.config import ModelConfig
from models.official import official_name

HERE = Path(__file__).parent


class Golden:
    """The arrays of one file, as float32 tensors where they are numbers."""

    def __init__(self, path: Path):
        self._arrays = np.load(path)

    def __getitem__(self, name: str) -> Tensor:
        return torch.from_numpy(self._arrays[name].astype(np.float32))

    def array(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def names(self, prefix: str) -> list[str]:
        return [name for name in self._arrays.files if name.startswith(prefix)]

    def assert_close(self, actual: Tensor, name: str, limit: float, stride: int = 1) -> None:
        """Compare with a recording of every `stride`-th row and column, of which fewer may be kept here."""
        actual, expected = actual[..., ::stride, ::stride], self[name]
        kept = -(-actual.shape[-1] // expected.shape[-1])
        actual = actual[..., ::kept, ::kept]
        assert actual.shape == expected.shape, name
        distance = (actual - expected).abs().max().item()
        assert distance <= limit, f"{name}: {distance:.2g} from the recorded value, more than {limit:.0e}"


@pytest.fixture(scope="session", params=["here", "complete"])
def golden(request) -> Golden:
    """Numbers of the small released network: the ones kept here, and all of them where they are at hand."""
    if request.param == "here":
        return Golden(HERE / "network.npz")
    complete = HERE.parents[2] / "shared" / "reference" / "golden_small.npz"
    if not complete.is_file():
        pytest.skip(f"the uncut recording is not at hand ({complete.name})")
    return Golden(complete)


@pytest.fixture(scope="session")
def functions() -> Golden:
    return Golden(HERE / "functions.npz")


@pytest.fixture(scope="session")
def network(golden):
    """The recorded network, by the number of residual blocks in each feed-forward stack."""

    def build(num_feed_forward_blocks: int = 30, **options):
        sizes = dict(num_feat=8, depth=1, num_extract_blocks=1, num_reconstruct_blocks=2)
        model = build_model(ModelConfig(num_feed_forward_blocks=num_feed_forward_blocks, **sizes, **options))
        names = {name: f"param/{official_name(name)}" for name in model.state_dict()}
        model.load_state_dict({name: golden[recorded] for name, recorded in names.items()})
        return model.eval()

    return build
