"""Self-attention over the patches of all frames of a window (paper, section 4.2).

Notation: n clips, t frames, c channels, h x w pixels, patch size p, H heads. A frame has (h/p)(w/p) patches
and a window has N = t(h/p)(w/p) tokens of D = c p^2 values. Every token attends to every token, unless
`attention_reach` confines it (`within_reach`).

Each attention maps (n, t, c, h, w) to (n, len(output_indices), c, h, w): the queries come from the
frames `output_indices` of the window, the keys and values from all of its frames.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.blocks import conv3x3, per_frame, select_frames
from models.config import ModelConfig
from models.matched_size import attention_width


def cut_patches(x: Tensor, patch_size: int, num_heads: int) -> Tensor:
    """Cut frames (n, t, c, h, w) into tokens (n, H, N, D/H), giving c/H consecutive channels to each head.

    `patch_size` must divide h and w, and `num_heads` must divide c. Within a token the channels come last:
    dot products do not depend on the order, and this copy is fastest because the channels are last in memory.
    """
    n, t, c, h, w = x.shape
    p = patch_size
    x = x.view(n, t, num_heads, c // num_heads, h // p, p, w // p, p)
    return x.permute(0, 2, 1, 4, 6, 5, 7, 3).reshape(n, num_heads, -1, c // num_heads * p * p)


def join_patches(tokens: Tensor, size: Sequence[int], patch_size: int) -> Tensor:
    """Invert `cut_patches`: (n, H, N, D/H) -> (n, t, c, h, w) for frames of `size` (h, w)."""
    n, heads, _, length = tokens.shape
    (h, w), p = size, patch_size
    x = tokens.view(n, heads, -1, h // p, w // p, p, p, length // (p * p))
    return x.permute(0, 2, 3, 5, 4, 6, 1, 7).reshape(n, -1, h, w, heads * length // (p * p)).movedim(-1, 2)


def within_reach(reach: str, x: Tensor, output_indices: Sequence[int], patch_size: int) -> Tensor | None:
    """Say which of the N tokens of features x (n, t, c, h, w) each token of the output frames attends to.

    Bool (queries, N), or None if all do. `frame`: the tokens of its own frame; `place`: those at its place in
    every frame; `neighbours`: those at its place and the up to eight around it, in every frame.
    """
    if reach == "all":
        return None
    t, rows, columns = x.shape[1], x.shape[-2] // patch_size, x.shape[-1] // patch_size
    grid = (torch.arange(size, device=x.device) for size in (t, rows, columns))
    place = torch.stack(torch.meshgrid(*grid, indexing="ij"), dim=-1)  # (t, rows, columns, 3)
    queries = torch.cat([place[index] for index in output_indices]).view(-1, 1, 3)
    frames, *steps = (queries - place.view(1, -1, 3)).abs().unbind(-1)
    if reach == "frame":
        return frames == 0
    return torch.maximum(*steps) <= {"place": 0, "neighbours": 1}[reach]


class ConvolutionalAttention(nn.Module):
    """Spatial-temporal convolutional self-attention: project whole frames, then cut them into patches.

    The projections of q and k are depthwise convolutions, those of v and the output dense ones, as in the
    released code. A constant added to the keys cancels in the softmax, so the key bias has no effect; it is
    kept for compatibility with released checkpoints.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        c = config.num_feat
        self.patch_size, self.num_heads = config.patch_size, config.num_heads
        self.reach = config.attention_reach
        self.query = conv3x3(c, c, groups=c)
        self.key = conv3x3(c, c, groups=c)
        self.value = conv3x3(c, c)
        self.output = conv3x3(c, c)

    def forward(self, x: Tensor, output_indices: Sequence[int]) -> Tensor:
        """Map features (n, t, c, h, w) to (n, len(output_indices), c, h, w)."""
        q = self._tokens(self.query, select_frames(x, output_indices))
        k, v = self._tokens(self.key, x), self._tokens(self.value, x)
        mask = within_reach(self.reach, x, output_indices, self.patch_size)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return per_frame(self.output, join_patches(attended, x.shape[-2:], self.patch_size))

    def _tokens(self, projection: nn.Module, x: Tensor) -> Tensor:
        return cut_patches(per_frame(projection, x), self.patch_size, self.num_heads)


class FullyConnectedAttention(nn.Module):
    """ViT's self-attention: cut the patches first, then project each token by D x D matrices without bias.

    With 64 channels and 8 x 8 patches it has 67.1 M parameters, against 0.075 M of the convolutional one; of
    matched size, its projections are to 5 values.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        d, width = config.num_feat * config.patch_size**2, attention_width(config)
        self.patch_size, self.num_heads = config.patch_size, config.num_heads
        self.reach = config.attention_reach
        self.query = nn.Linear(d, width, bias=False)
        self.key = nn.Linear(d, width, bias=False)
        self.value = nn.Linear(d, width, bias=False)
        self.output = nn.Linear(width, d, bias=False)

    def forward(self, x: Tensor, output_indices: Sequence[int]) -> Tensor:
        """Map features (n, t, c, h, w) to (n, len(output_indices), c, h, w)."""
        tokens, queries = (
            cut_patches(part, self.patch_size, 1).squeeze(1) for part in (x, select_frames(x, output_indices))
        )
        q, k, v = self.query(queries), self.key(tokens), self.value(tokens)
        mask = within_reach(self.reach, x, output_indices, self.patch_size)
        q, k, v = (self._heads(part) for part in (q, k, v))
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        attended = attended.transpose(1, 2).flatten(2)
        return join_patches(self.output(attended).unsqueeze(1), x.shape[-2:], self.patch_size)

    def _heads(self, tokens: Tensor) -> Tensor:
        heads: Tensor = tokens.unflatten(-1, (self.num_heads, -1))
        return heads.transpose(1, 2)


ATTENTIONS = {"stcsa": ConvolutionalAttention, "fcsa": FullyConnectedAttention}
