"""Which memory layouts the kernels read in place."""

import torch

_CHANNELS_LAST = {4: torch.channels_last, 5: torch.channels_last_3d}


def format_of(x: torch.Tensor) -> torch.memory_format:
    """Give the memory format that torch's BatchNorm gives its output for this input."""
    wanted = _CHANNELS_LAST.get(x.dim())
    if wanted is None or x.is_contiguous():
        return torch.contiguous_format
    if x.is_contiguous(memory_format=wanted):
        return wanted
    # sliced channels_last tensors keep the channel innermost
    strides = x.stride()
    innermost = strides[1] == 1 and all(s >= strides[-1] for s in strides[2:])
    ordered = strides[0] >= strides[2] and strides[-1] >= x.shape[1]
    return wanted if innermost and ordered else torch.contiguous_format


def dense(x: torch.Tensor, like: torch.Tensor | None = None) -> torch.Tensor:
    """Give ``x`` without gaps in its own format, or in the format of ``like``.

    Tensors that torch keeps as a promise (all zeros, or a sign to be flipped) get their memory.
    """
    if x._is_zerotensor():
        x = torch.zeros(x.shape, dtype=x.dtype, device=x.device)
    elif x.is_neg():
        x = x.resolve_neg()
    if like is None and x.is_contiguous():
        return x
    wanted = format_of(x if like is None else like)
    return x.contiguous(memory_format=wanted)


def crossed(x: torch.Tensor, width: int) -> bool:
    """Tell whether rows of the last axis lie across memory, as an image's channels at a position.

    ``x`` is (N, ..., C) with C = ``width``, and the memory that of a contiguous (N, C, ...).
    """
    if x.dim() < 3 or x.shape[-1] != width or x.is_contiguous():
        return False
    return x.movedim(-1, 1).is_contiguous()
