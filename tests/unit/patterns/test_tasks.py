"""What a k-pattern says: only its bits decide, as often one way as the other."""

import itertools

import pytest
import torch

from vsrbench.patterns.tasks import Task, draw_inputs, draw_task


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_parity_is_the_product_of_its_bits(k):
    task = draw_task(9, k, "parity", generator(k))
    x = draw_inputs((200, 9), generator(0))
    assert torch.equal(task.label(x), x[:, task.place : task.place + k].prod(dim=1))


def test_a_random_function_reads_the_bits_in_order():
    answers = torch.tensor([1.0, -1, -1, -1, 1, 1, 1, -1])
    task = Task(5, 1, answers)
    for pattern, bits in enumerate(itertools.product((-1.0, 1.0), repeat=3)):
        for outside in itertools.product((-1.0, 1.0), repeat=2):
            x = torch.tensor([outside[0], *bits, outside[1]])
            assert task.label(x) == answers[pattern]


def test_random_functions_are_balanced_and_differ_by_seed_as_places_do():
    tasks = [draw_task(64, 5, "random", generator(seed)) for seed in range(20)]
    assert all(task.answers.sum() == 0 and task.k == 5 for task in tasks)
    assert len({tuple(task.answers.tolist()) for task in tasks}) == 20
    places = {task.place for task in tasks}
    assert len(places) > 10 and min(places) >= 0 and max(places) <= 59


def test_every_place_is_drawn():
    assert {draw_task(4, 2, "parity", generator(seed)).place for seed in range(40)} == {0, 1, 2}


def test_inputs_are_uniform():
    x = draw_inputs((4000, 3), generator(1))
    assert set(x.unique().tolist()) == {-1, 1} and x.dtype == torch.float32
    assert x.mean(dim=0).abs().max() < 0.06
    assert not torch.equal(x, draw_inputs((4000, 3), generator(2)))
