"""The transformer in scikit-learn's own machinery."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from firth.errors import DataError
from store.conftest import HashedWords

pytest.importorskip("sklearn")

from sklearn.base import clone  # after the skip
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

from firth.adapters import sklearn as adapter
from firth.adapters.sklearn import TextEncoder

TEXTS = ["good film", "good book", "bad film", "bad book"] * 3
LABELS = [1, 1, 0, 0] * 3


@pytest.fixture(autouse=True)
def _model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "load", lambda name: HashedWords(name))


def test_a_pipeline_learns_and_a_search_tries_dimensions() -> None:
    search = GridSearchCV(make_pipeline(TextEncoder("a"), LogisticRegression()), {"textencoder__dims": [4, 32]}, cv=2)
    search.fit(TEXTS, LABELS)
    assert search.best_score_ == 1.0
    assert list(search.predict(["good day", "bad day"])) == [1, 0]


def test_a_clone_keeps_the_settings_and_a_pickle_leaves_the_model_behind() -> None:
    made = TextEncoder("a", kind="query", dims=8).fit(TEXTS)
    assert clone(made).get_params() == {"model": "a", "kind": "query", "dims": 8}
    held = pickle.dumps(made)
    assert len(held) < 500
    np.testing.assert_array_equal(pickle.loads(held).transform(["x"]), made.transform(["x"]))  # noqa: S301  # our own


def test_columns_are_named() -> None:
    made = TextEncoder("a", dims=3).fit(TEXTS)
    assert list(made.get_feature_names_out()) == ["firth0", "firth1", "firth2"]
    assert made.transform(["x"]).shape == (1, 3)


def test_it_has_to_be_fitted_and_takes_texts_only() -> None:
    with pytest.raises(NotFittedError):
        TextEncoder("a").transform(["x"])
    with pytest.raises(DataError, match="row 1: expected a text, got int"):
        TextEncoder("a").fit(["x", 2])  # type: ignore[list-item]
