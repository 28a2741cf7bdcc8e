"""The bicubic resize against recorded numbers."""

import pytest

from models.resize import imresize

SCALES = {"x0.25": 1 / 4, "x0.5": 1 / 2, "xthird": 1 / 3, "x2": 2, "x3": 3, "x4": 4}


@pytest.mark.parametrize("image", "ABC")
def test_imresize(functions, image):
    source = functions[f"imresize/{image}/in_u8"].movedim(-1, 0) / 255
    recorded = [name for name in functions.names(f"imresize/{image}/x")]
    assert recorded
    for name in recorded:
        resized = imresize(source, SCALES[name.rsplit("/")[-1]])
        expected = functions[name].movedim(-1, 0)
        assert resized.shape == expected.shape, name
        assert (resized - expected).abs().max() <= 2e-6, name
