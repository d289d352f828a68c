"""How many threads a native call takes out of torch's: one for little work, where waking another costs more."""

from __future__ import annotations

import torch

LITTLE = 50_000_000  # multiplications; about a millisecond of one core


def threads_for(products: int) -> int:
    """Threads for a call of so many multiplications."""
    return torch.get_num_threads() if products > LITTLE else 1
