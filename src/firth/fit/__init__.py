"""The one training loop of the torch half: BERT, ELMo and sentence encoders are all trained by `fit`.

A `Task` says what is trained: a module, the loss of one batch, the batches of an epoch and, where there is a dev part,
how to score it. `fit` brings what every training needs: AdamW with warm-up and decay, bfloat16 where the processor has
it, clipping, a score each epoch and the best weights kept, checkpoints from which it goes on to the bit, and a line of
progress.

    settings.py    what a training is told and what it tells: Task, FitSettings, Fitted
    loop.py        fit
    checkpoint.py  its state on disk
    processes.py   several processes as one training
"""

from __future__ import annotations

from firth.fit.loop import fit
from firth.fit.processes import joined
from firth.fit.settings import FitSettings, Fitted, Measures, Point, Task, adamw, native_bfloat16, rate_at

__all__ = ["FitSettings", "Fitted", "Measures", "Point", "Task", "adamw", "fit", "joined", "native_bfloat16", "rate_at"]
