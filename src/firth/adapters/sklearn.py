"""A scikit-learn transformer: texts in, (n, d) unit rows out, for pipelines and searches over settings.

>>> make_pipeline(TextEncoder("sentence-transformers/all-MiniLM-L6-v2"), LogisticRegression())  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from firth.arrays import Encoder, Vectors
from firth.errors import DataError, MissingExtraError
from firth.recipes.load import load

try:
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.utils.validation import check_is_fitted
except ImportError as error:
    raise MissingExtraError("scikit-learn", "tasks", "the scikit-learn transformer") from error


class TextEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # Any where scikit-learn has no types
    """Texts to vectors by a model that is loaded when it is fitted; fitting learns nothing from the texts.

    Args:
        model: as `firth.load` takes it; a name travels through `clone` and `joblib`, the loaded encoder does not.
        kind: "query", "document" or None: which of the model's prompts stands before each text.
        dims: leading dimensions to keep; all if None.
    """

    def __init__(
        self,
        model: str = "sentence-transformers/all-MiniLM-L6-v2",
        *,
        kind: str | None = None,
        dims: int | None = None,
    ) -> None:
        self.model = model
        self.kind = kind
        self.dims = dims

    def fit(self, X: Sequence[str], y: Any = None) -> Self:  # scikit-learn's spelling
        """Load the model and check the texts."""
        _texts(X)
        self._encoder: Encoder = load(self.model)
        self.n_features_out_ = self.dims or self._encoder.dims
        return self

    def transform(self, X: Sequence[str]) -> Vectors:
        """(n, d) float32 unit rows.

        Raises:
            DataError: something that is no text; says which.
        """
        check_is_fitted(self, "n_features_out_")
        if "_encoder" not in self.__dict__:  # it came through pickle, which leaves the encoder behind
            self._encoder = load(self.model)
        return self._encoder.encode(_texts(X), kind=self.kind, dims=self.dims)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """firth0, firth1, …, for `set_output(transform="pandas")`."""
        check_is_fitted(self, "n_features_out_")
        return np.array([f"firth{i}" for i in range(self.n_features_out_)], dtype=object)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_encoder"}

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.requires_fit = True
        return tags


def _texts(values: Sequence[str]) -> list[str]:
    listed = list(values)
    for i, text in enumerate(listed):
        if not isinstance(text, str):
            raise DataError(f"row {i}: expected a text, got {type(text).__name__}; give one column, not a table")
    return listed
