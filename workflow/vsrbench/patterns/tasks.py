"""k-patterns (Malach and Shalev-Shwartz, arXiv 2010.01369): k neighbouring bits of n decide the label.

f(x) = g(x_j, ..., x_(j+k-1)) for x uniform in {-1, 1}^n, with an unknown place j and an unknown g.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

FUNCTIONS = ("parity", "random")


@dataclass(frozen=True)
class Task:
    """One k-pattern: which bits it reads, and what it says of each of their 2^k patterns."""

    n: int
    place: int  # j, from 0
    answers: Tensor  # (2^k,) of -1 and 1; the first of the k bits counts most, and 1 is a binary one

    @property
    def k(self) -> int:
        """Number of bits that decide."""
        return len(self.answers).bit_length() - 1

    def label(self, x: Tensor) -> Tensor:
        """Label inputs (..., n) of -1 and 1; returns (...)."""
        bits = (x[..., self.place : self.place + self.k] > 0).long()
        return self.answers[bits @ 2 ** torch.arange(self.k - 1, -1, -1)]


def draw_task(n: int, k: int, function: str, generator: torch.Generator) -> Task:
    """Draw place and g.

    `parity` is the product of the k bits. `random` says 1 for a random half of the patterns, so that a
    constant answer is right half of the time, as it is for parity.
    """
    place = int(torch.randint(n - k + 1, (), generator=generator))
    if function == "random":
        answers = torch.ones(2**k)
        answers[torch.randperm(2**k, generator=generator)[: 2 ** (k - 1)]] = -1
    else:
        answers = torch.tensor([(-1.0) ** (k - pattern.bit_count()) for pattern in range(2**k)])
    return Task(n, place, answers)


def draw_inputs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw uniform inputs of -1 and 1, float32."""
    return torch.randint(2, shape, generator=generator).mul_(2).sub_(1).float()
