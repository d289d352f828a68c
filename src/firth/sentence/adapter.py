"""Query adapters: a linear map of the query vectors alone, learnt on a domain without embedding its corpus again.

    adapted query = unit(q + q·D)      D is (d, d), or of low rank as in LoRA (Hu et al. 2021, arXiv:2106.09685)

D starts at zero and weight decay pulls it back there, so that an adapter which learnt nothing changes nothing. It costs
d² multiplications a query; documents, codes and index stay as they are. It can learn less than
tuning the encoder, and is trained in seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from firth.arrays import NO_ID, Encoder, Ids, Vectors, as_vectors, unit
from firth.errors import SettingsError, ShapeError
from firth.files import read_arrays, write_arrays, write_folder
from firth.fit import FitSettings, Fitted, Task, fit
from firth.progress import Progress, silent
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.losses import info_nce

KIND, VERSION = "query-adapter", 1
FILE = "query_adapter.firth"  # in the folder of the encoder that it belongs to


@dataclass(frozen=True)
class AdapterSettings:
    """How an adapter is trained."""

    rank: int = 0  # of the map; 0 = any. 8 to 64 for few queries: 2·d·rank numbers are learnt instead of d²
    epochs: int = 30
    rate: float = 1e-3  # highest learning rate
    temperature: float = 0.05  # what cosines are divided by
    batch: int = 64  # queries a step
    negatives: int = 4  # mined ones a query, of those that are given
    weight_decay: float = 0.1  # towards no change at all
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rank < 0 or self.batch < 2 or self.temperature <= 0:
            raise SettingsError(
                f"adapter: expected rank >= 0, batch >= 2 and temperature > 0, got {self.rank}, {self.batch} and "
                f"{self.temperature}"
            )


@dataclass(frozen=True)
class QueryAdapter:
    """A learnt map of query vectors.

    Attributes:
        change: (d, d) float32, D above.
        encoder: fingerprint of the encoder whose vectors it was trained on.
    """

    change: Vectors
    encoder: str = ""

    def __call__(self, queries: Vectors) -> Vectors:
        """(q, d) unit rows -> (q, d) adapted unit rows."""
        rows = as_vectors(queries, dims=len(self.change), name="queries")
        return unit(rows + rows @ self.change)

    def save(self, path: Path | str) -> None:
        """One file, whole or not at all."""
        meta = {"encoder": self.encoder}
        write_arrays(path, kind=KIND, version=VERSION, meta=meta, arrays={"change": self.change})

    @classmethod
    def load(cls, path: Path | str) -> QueryAdapter:
        """Raises FormatError: not an adapter, or damaged."""
        found = read_arrays(path, kind=KIND, version=VERSION)
        return cls(np.array(found.arrays["change"]), str(found.meta["encoder"]))


class AdaptedEncoder:
    """An encoder whose queries pass through an adapter; documents are encoded as before."""

    def __init__(self, encoder: Encoder, adapter: QueryAdapter) -> None:
        if adapter.encoder not in ("", encoder.fingerprint):
            raise SettingsError(
                f"this adapter was trained on the vectors of another encoder ({adapter.encoder[:12]}…, here "
                f"{encoder.fingerprint[:12]}…); train it again"
            )
        self.encoder, self.adapter = encoder, adapter

    @property
    def dims(self) -> int:
        """Width of the vectors."""
        return len(self.adapter.change)

    @property
    def fingerprint(self) -> str:
        """Of the documents' vectors: an adapter changes none of them, so an index stays valid."""
        return self.encoder.fingerprint

    def encode(
        self, texts: Sequence[str], *, kind: str | None = None, dims: int | None = None, progress: bool = False
    ) -> Vectors:
        """As the encoder; rows of kind "query" are adapted, at full width and before they are shortened."""
        if kind != "query":
            return self.encoder.encode(texts, kind=kind, dims=dims, progress=progress)
        rows = self.adapter(self.encoder.encode(texts, kind=kind, progress=progress))
        return rows if dims is None else unit(np.ascontiguousarray(rows[:, :dims]))

    def save(self, folder: Path | str) -> None:
        """The encoder's folder with the adapter in it, replaced in one step; `firth.load` gives this encoder again.

        Raises:
            SettingsError: an encoder that has no folder.
        """
        if not isinstance(self.encoder, SentenceEncoder):
            raise SettingsError(f"{type(self.encoder).__name__} has no folder that an adapter could be kept in")
        with write_folder(folder) as place:
            self.encoder.save(place / "model")
            for path in (place / "model").iterdir():
                path.rename(place / path.name)
            (place / "model").rmdir()
            self.adapter.save(place / FILE)


def train_adapter(
    queries: Vectors,
    documents: Vectors,
    positives: Sequence[Ids],
    *,
    negatives: Ids | None = None,
    settings: AdapterSettings | None = None,
    dev: Callable[[QueryAdapter], float] | None = None,
    encoder: str = "",
    progress: Progress = silent,
) -> tuple[QueryAdapter, Fitted]:
    """Learn a map of query vectors from queries and the rows that answer them.

    Args:
        queries: (q, d) unit rows.
        documents: (n, d) unit rows; may be a memory map, only the rows that are named are read.
        positives: for each query the rows of its answers, at least one.
        negatives: (q, r) rows of mined negatives, -1 = none.
        settings: how.
        dev: score of an adapter, larger is better; the best epoch is kept, or no change at all.
        encoder: fingerprint of the encoder, kept in the adapter.
        progress: told queries done.

    Returns:
        The adapter, and how its training went.

    Raises:
        ShapeError: widths or counts differ, or a query has no answer.
    """
    settings = settings or AdapterSettings()
    rows = as_vectors(queries, name="queries")
    if documents.ndim != 2 or documents.shape[1] != rows.shape[1] or len(positives) != len(rows):
        raise ShapeError(
            f"adapter: queries {rows.shape}, documents {documents.shape} and {len(positives)} lists of answers do not "
            "fit: expected (q, d), (n, d) and q"
        )
    if empty := [i for i, found in enumerate(positives) if not len(found)]:
        raise ShapeError(f"adapter: {len(empty)} queries have no answer, the first is row {empty[0]}; leave them out")
    module = _Map(rows.shape[1], settings.rank, settings.seed)
    pairs = np.array([(i, int(row)) for i, found in enumerate(positives) for row in found], np.int64)

    def batches(epoch: int) -> list[NDArray[np.int64]]:
        order = np.random.default_rng([settings.seed, epoch]).permutation(len(pairs))
        return [pairs[order[i : i + settings.batch]] for i in range(0, len(order), settings.batch)]

    def loss(batch: NDArray[np.int64]) -> Tensor:
        wrong = np.empty(0, np.int64) if negatives is None else negatives[batch[:, 0]].ravel()
        columns = np.concatenate([batch[:, 1], np.setdiff1d(wrong, [NO_ID, *batch[:, 1]])])
        ignore = np.argwhere([np.isin(columns, positives[i]) for i in batch[:, 0]])
        with torch.autocast("cpu", enabled=False):
            adapted = module(torch.from_numpy(rows[batch[:, 0]]))
            named = torch.from_numpy(np.asarray(documents[columns], np.float32))
            return info_nce(adapted, named, temperature=settings.temperature, ignore=torch.from_numpy(ignore))

    task = Task(
        module, loss, batches, len(batches(0)), len, None if dev is None else lambda: dev(module.adapter(encoder))
    )
    how = FitSettings(
        epochs=settings.epochs,
        rate=settings.rate,
        weight_decay=settings.weight_decay,
        precision="float32",
        seed=settings.seed,
    )
    fitted = fit(task, how, progress=progress)
    return module.adapter(encoder), fitted


class _Map(nn.Module):
    """q -> unit(q + q·D), D = left·right, or one matrix; zero at the start."""

    def __init__(self, d: int, rank: int, seed: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        self.left = nn.Parameter(torch.randn(d, rank, generator=random) / d**0.5) if rank else None
        self.right = nn.Parameter(torch.zeros(rank or d, d))

    @property
    def change(self) -> Tensor:
        return self.right if self.left is None else self.left @ self.right

    def forward(self, queries: Tensor) -> Tensor:
        return nn.functional.normalize(queries + queries @ self.change, dim=1)

    def adapter(self, encoder: str) -> QueryAdapter:
        return QueryAdapter(self.change.detach().numpy().copy(), encoder)
