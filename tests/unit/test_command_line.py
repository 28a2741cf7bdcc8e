"""The command line refuses numbers that no step can use before anything is done."""

import pytest

from vsrbench.__main__ import main


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("plan --gpus 0", "--gpus: '0' is not a whole number of at least 1"),
        ("plan --gpus -1", "--gpus: '-1' is not"),
        ("verify --workers 0", "--workers: '0' is not"),
        ("store --workers 0", "--workers: '0' is not"),
        ("generate --num-frames 0", "--num-frames: '0' is not"),
        ("generate --clips-per-photo test", "--clips-per-photo: '' is not"),
        ("generate --seed -1", "--seed: '-1' is not a whole number from 0 to 4294967295"),
        ("train --seed -1", "--seed: '-1' is not"),
        (f"train --seed {2**70}", f"--seed: '{2**70}' is not"),
        ("measure-runtime --sizes=-1x64", "--sizes: '-1' is not"),
        ("measure-runtime --sizes 64", "--sizes: '' is not"),
    ],
)
def test_numbers_that_no_step_can_use(command, said, capsys):
    with pytest.raises(SystemExit) as exit:
        main(command.split())
    assert exit.value.code == 2 and f"error: argument {said}" in capsys.readouterr().err
