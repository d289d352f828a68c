"""What computes an encoder's vectors: transformer, pooling and linear layers, by torch or by the native kernel.

torch is the reference, trains, and runs on a GPU. The kernel runs where the model is on a CPU: it takes each text
through all layers on one thread, so that a text's bits depend neither on its batch nor on the number of threads.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from firth import kernels
from firth.arrays import Vectors
from firth.contextual.bert import Bert
from firth.contextual.native import kernel, runs_natively
from firth.errors import SettingsError, ShapeError
from firth.kernels.transformer import Pool, Transformer
from firth.sentence.dense import Dense
from firth.sentence.pool import pool
from firth.text.records import Ragged

PRECISIONS = ("auto", "float32", "bfloat16")
BUDGET = 4096  # tokens a batch of torch: its widest layer, 25 MB at MiniLM's size, stays near the last cache level
GPU_BUDGET = 65_536  # tokens a batch on a GPU, which wants large ones: 400 MB at MiniLM's size, 800 MB at BERT-base's
NATIVE_BUDGET = 32_768  # tokens a call of the kernel, which divides them itself: about a second between signs of life
_NATIVE_POOLS: dict[tuple[str, ...], Pool] = {("mean",): "mean", ("cls",): "first"}

Forward = Callable[[Ragged], Vectors]  # rows of ids -> (n, width) float32 of any length


class Network(nn.Module):
    """Transformer, pooling and linear layers: every parameter of an encoder.

    Attributes:
        bert, dense: the parts with parameters; `steps` are the dense layers by their own type.
        modes: of the pooling.
        width: of the vectors that come out.
    """

    def __init__(self, bert: Bert, modes: tuple[str, ...], dense: Sequence[Dense]) -> None:
        super().__init__()
        self.bert = bert
        self.modes = modes
        self.dense = nn.ModuleList(dense)
        self.width = bert.settings.dims * len(modes)
        for layer in dense:
            if layer.linear.in_features != self.width:
                raise ShapeError(f"a Dense layer takes {layer.linear.in_features} values, the step before {self.width}")
            self.width = layer.linear.out_features

    def forward(self, ids: Tensor, lengths: Tensor, skip: int = 0) -> Tensor:
        """(n, width) of any length; ids (t,), lengths (n,) on the CPU, `skip` tokens are left out of the pooling."""
        return self.project(pool(self.bert(ids, lengths), lengths, self.modes, skip=skip))

    def project(self, pooled: Tensor) -> Tensor:
        """What lies behind the pooling, (n, modes · d) -> (n, width)."""
        for layer in self.dense:
            pooled = layer(pooled)
        return pooled

    def rotate(self, axes: NDArray[np.float32]) -> Callable[[], None]:
        """Multiply every vector by a (width, width) orthogonal matrix from now on; returns what takes it back.

        The matrix becomes a last linear layer, or joins the last one where that has no activation.
        """
        kept, turn = copy.deepcopy(self.dense), torch.from_numpy(axes.T.copy()).to(self.bert.words.weight)

        def take_back() -> None:
            self.dense = kept

        if self.dense and self.steps[-1].name == "Identity":
            with torch.no_grad():
                for value in self.steps[-1].linear.parameters():
                    value.copy_(turn @ value)
            return take_back
        with torch.device("meta"):
            linear = nn.Linear(self.width, self.width, bias=False)
        linear.weight = nn.Parameter(turn)
        self.dense.append(Dense(linear, "Identity"))
        return take_back

    def pooled(self, ragged: Ragged, skip: int) -> Tensor:
        """(n, width) by torch, with gradient; texts of equal length are made neighbours, which share a step."""
        order = np.argsort(ragged.lengths, kind="stable")
        ordered = ragged.take(order)
        ids = torch.from_numpy(ordered.ids).to(self.device)
        found: Tensor = self(ids, torch.from_numpy(ordered.lengths), skip)
        return found[torch.from_numpy(np.argsort(order, kind="stable")).to(found.device)]

    @property
    def steps(self) -> tuple[Dense, ...]:
        """The layers behind the pooling."""
        return tuple(layer for layer in self.dense if isinstance(layer, Dense))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.bert.words.weight.device

    def state(self) -> object:
        """Changes whenever a parameter may have; cheap."""
        return self.bert.state(), tuple((value.data_ptr(), value._version) for value in self.dense.parameters())


class Inference:
    """A network's way from token ids to vectors where no gradient is wanted; keeps the kernel's copy of the weights."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._kernel: tuple[object, Transformer] | None = None

    def forward(self, precision: str, skip: int) -> tuple[Forward, int]:
        """The function for a precision, and how many tokens it likes at once.

        Raises:
            SettingsError: no such precision.
        """
        if precision not in PRECISIONS:
            raise SettingsError(f"precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
        if runs_natively(self._network.bert):
            return self.by_kernel(precision, skip), NATIVE_BUDGET
        return self.by_torch(precision, skip), BUDGET if self._network.device.type == "cpu" else GPU_BUDGET

    def by_kernel(self, precision: str, skip: int) -> Forward:
        """On the CPU, for the models that the kernel knows."""
        network, packed, threads = self._network, self._packed(precision), torch.get_num_threads()
        pooling = None if skip else _NATIVE_POOLS.get(network.modes)

        def forward(ragged: Ragged) -> Vectors:
            if pooling is not None:
                found = torch.from_numpy(packed.pooled(ragged.ids, ragged.offsets, pool=pooling, threads=threads))
            else:
                hidden = torch.from_numpy(packed.hidden(ragged.ids, ragged.offsets, threads=threads))
                found = pool(hidden, torch.from_numpy(ragged.lengths), network.modes, skip=skip)
            with torch.inference_mode():
                vectors: Vectors = network.project(found).numpy()
            return vectors

        return forward

    def by_torch(self, precision: str, skip: int) -> Forward:
        """On any device; "auto" is bfloat16 on a GPU and where the CPU has it natively (level v4)."""
        network, kind = self._network, self._network.device.type
        half = precision == "bfloat16" or (precision == "auto" and (kind != "cpu" or "v4" in kernels.levels()))

        def forward(ragged: Ragged) -> Vectors:
            with _evaluating(network), torch.autocast(kind, torch.bfloat16, enabled=half):
                vectors: Vectors = network.pooled(ragged, skip).float().cpu().numpy()
            return vectors

        return forward

    def _packed(self, precision: str) -> Transformer:
        """The kernel's copy of the weights, made anew when they have changed."""
        wanted = (precision, self._network.bert.state())
        if self._kernel is None or self._kernel[0] != wanted:
            self._kernel = (wanted, kernel(self._network.bert, precision))
        return self._kernel[1]


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """No gradient and no dropout inside; the module's mode is as it was behind."""
    training = module.training
    try:
        with torch.inference_mode():
            if training:
                module.eval()
            yield
    finally:
        if training:
            module.train()
