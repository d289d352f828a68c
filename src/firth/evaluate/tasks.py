"""Tasks with labels, as functions of arrays: classification, several labels, clustering, re-ranking.

    classification  a logistic regression on 8 samples a label, ten times: accuracy
    multilabel      five nearest neighbours on 8 samples a label, ten times: accuracy of the whole label set
    clustering      mini-batch k-means on ten draws of the documents: v-measure
    reranking       the documents of each query's own short list in order of cosine: MAP

Each has the protocol of mteb 2.x (Muennighoff et al. 2022, arXiv:2210.07316; Enevoldsen et al. 2025,
arXiv:2502.13595), draws included, and agrees with its evaluators to 1e-5. scikit-learn does the learning.
"""

from __future__ import annotations

import random
import warnings
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from firth.arrays import Vectors, as_vectors, unit
from firth.errors import DataError, MissingExtraError, ShapeError
from firth.evaluate.retrieval import measure
from firth.evaluate.statistics import Score, bootstrap

SEED = 42  # mteb's; another one gives other draws and is no longer comparable with published scores
SAMPLES = 8  # training examples a label
EXPERIMENTS = 10  # draws, whose scores are averaged
ITERATIONS = 100  # of the logistic regression; the protocol stops there, converged or not
NEIGHBOURS = 5
DOCUMENTS = 16_384  # drawn with replacement for one clustering
BATCH = 512  # of the mini-batch k-means

Label = Hashable


def classification(
    train: Vectors,
    train_labels: Sequence[Label],
    test: Vectors,
    test_labels: Sequence[Label],
    *,
    samples: int = SAMPLES,
    experiments: int = EXPERIMENTS,
    seed: int = SEED,
) -> Score:
    """How well a linear model on a few examples tells the labels.

    Args:
        train, test: (n, d) and (m, d) float32.
        samples: training examples a label in each experiment; a label with fewer gives all it has.

    Returns:
        Score whose main value is accuracy; also f1, precision, recall as the mean over labels and weighted by size,
        and ap where there are two labels. Means over the experiments. The interval is over the test examples.

    Raises:
        ShapeError: labels and vectors differ in number.
        DataError: train or test has one label only.
    """
    sklearn = _sklearn()
    x, y = _labelled(train, train_labels, "train")
    z, truth = _labelled(test, test_labels, "test", dims=x.shape[1])
    found: list[dict[str, float]] = []
    right = np.zeros(len(z))
    order = list(range(len(x)))
    for _ in range(experiments):
        np.random.RandomState(seed).shuffle(order)  # the list shuffled before is shuffled again, as in mteb
        rows = _few_of_each(order, [(label,) for label in y.tolist()], samples)
        model = sklearn.linear_model.LogisticRegression(max_iter=ITERATIONS, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
            guessed = model.fit(x[rows], y[rows]).predict(z)
        right += guessed == truth
        found.append(_classified(sklearn, truth, guessed))
    values = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    return Score("accuracy", values, bootstrap(right / experiments, seed))


def multilabel(
    train: Vectors,
    train_labels: Sequence[Sequence[Label]],
    test: Vectors,
    test_labels: Sequence[Sequence[Label]],
    *,
    samples: int = SAMPLES,
    experiments: int = EXPERIMENTS,
    seed: int = SEED,
) -> Score:
    """How well the nearest labelled examples tell a set of labels.

    Args:
        train_labels, test_labels: the labels of each row, any number of them.

    Returns:
        Score whose main value is accuracy (the whole set is right); also f1 (mean over labels), lrap (label ranking
        average precision), hamming (labels right / labels in either set). The interval is over the test examples.
    """
    sklearn = _sklearn()
    x, z = as_vectors(train, name="train"), as_vectors(test, dims=np.shape(train)[1], name="test")
    _same_number(x, train_labels, "train")
    _same_number(z, test_labels, "test")
    binarizer = sklearn.preprocessing.MultiLabelBinarizer()
    truth = binarizer.fit_transform(test_labels)
    rng = np.random.default_rng(seed)
    found: list[dict[str, float]] = []
    right = np.zeros(len(z))
    for _ in range(experiments):
        order = list(range(len(x)))
        rng.shuffle(order)
        rows = _few_of_each(order, train_labels, samples)
        with warnings.catch_warnings():
            # A train label that the test part lacks cannot be scored and is dropped, as in mteb.
            warnings.filterwarnings("ignore", message="unknown class")
            wanted = binarizer.transform([train_labels[row] for row in rows])
        model = sklearn.neighbors.KNeighborsClassifier(n_neighbors=NEIGHBOURS).fit(x[rows], wanted)
        guessed = np.asarray(model.predict(z))
        right += (guessed == truth).all(axis=1)
        both, either = (guessed & truth).sum(axis=1), (guessed | truth).sum(axis=1)
        found.append(
            {
                "accuracy": float((guessed == truth).all(axis=1).mean()),
                "f1": float(sklearn.metrics.f1_score(truth, guessed, average="macro", zero_division=0)),
                "lrap": float(sklearn.metrics.label_ranking_average_precision_score(truth, guessed)),
                "hamming": float(np.where(either == 0, 1.0, both / np.maximum(either, 1)).mean()),
            }
        )
    values = {name: float(np.mean([one[name] for one in found])) for name in found[0]}
    return Score("accuracy", values, bootstrap(right / experiments, seed))


def clustering(
    vectors: Vectors,
    labels: Sequence[Label] | Sequence[Sequence[Label]],
    *,
    experiments: int = EXPERIMENTS,
    documents: int = DOCUMENTS,
    seed: int = SEED,
    rng: random.Random | None = None,
) -> Score:
    """How well the groups that k-means finds are the labels' groups.

    Args:
        vectors: (n, d) float32.
        labels: of each row; or a list for each row, from the coarsest level to the finest, scored level by level.
        documents: drawn with replacement for one experiment.
        rng: draws the documents; handed over where it chose the n documents before. Else seeded with `seed`.

    Returns:
        Score whose main value is v_measure, the mean over levels and experiments; also ami (adjusted mutual
        information). The interval is over the experiments.

    Raises:
        ShapeError: labels and vectors differ in number.
        DataError: a level has one label only.
    """
    sklearn = _sklearn()
    x = as_vectors(vectors, name="vectors")
    _same_number(x, labels, "vectors")
    rng = random.Random(seed) if rng is None else rng
    levels = [label if isinstance(label, list | tuple) else (label,) for label in labels]
    v_measures: list[float] = []
    information: list[float] = []
    for level in range(max(map(len, levels))):
        rows = np.array([i for i, label in enumerate(levels) if len(label) > level and label[level] != -1])
        names = np.array([levels[i][level] for i in rows])
        groups = len(set(names.tolist()))
        if groups < 2:
            raise DataError(f"labels: level {level} has one label only; there is nothing to tell apart")
        model = sklearn.cluster.MiniBatchKMeans(
            n_clusters=groups, batch_size=BATCH, init="k-means++", n_init=1, random_state=seed
        )
        for _ in range(experiments):
            drawn = rng.choices(range(len(rows)), k=documents)
            found = model.fit_predict(x[rows[drawn]])
            v_measures.append(float(sklearn.metrics.v_measure_score(names[drawn], found)))
            information.append(float(sklearn.metrics.adjusted_mutual_info_score(names[drawn], found)))
    values = {"v_measure": float(np.mean(v_measures)), "ami": float(np.mean(information))}
    return Score("v_measure", values, bootstrap(v_measures, seed))


def reranking(
    queries: Vectors, candidates: Sequence[Vectors], grades: Sequence[Sequence[float]], *, seed: int = 0
) -> Score:
    """How well each query's own short list is put in order by cosine.

    Args:
        queries: (q, d) float32.
        candidates: for each query, (c, d) the documents of its list.
        grades: for each query, (c,) above 0 where the document is relevant.

    Returns:
        Score whose main value is map; also mrr@10 and ndcg@10. A query without a relevant candidate is left out. Equal
        scores are in order of place, last first.

    Raises:
        ShapeError: the three differ in length.
    """
    q = unit(as_vectors(queries, name="queries"))
    if not len(q) == len(candidates) == len(grades):
        raise ShapeError(f"reranking: {len(q)} queries, {len(candidates)} lists, {len(grades)} lists of grades")
    run: dict[str, dict[str, float]] = {}
    judged: dict[str, dict[str, float]] = {}
    for i, (documents, graded) in enumerate(zip(candidates, grades, strict=True)):
        rows = unit(as_vectors(documents, dims=q.shape[1], name=f"candidates[{i}]"))
        _same_number(rows, graded, f"candidates[{i}]")
        names = [f"{place:09d}" for place in range(len(rows))]
        run[str(i)] = dict(zip(names, (rows @ q[i]).tolist(), strict=True))
        judged[str(i)] = dict(zip(names, map(float, graded), strict=True))
    scores = measure(run, judged, ("map", "mrr@10", "ndcg@10"))
    return Score("map", scores.mean, scores.intervals(seed)["map"])


def _few_of_each(order: Sequence[int], labels: Sequence[Sequence[Label]], samples: int) -> list[int]:
    """Rows in the given order, each taken while one of its labels has fewer than `samples`."""
    counts: Counter[Label] = Counter()
    taken = []
    for row in order:
        if any(counts[label] < samples for label in labels[row]):
            taken.append(row)
            counts.update(labels[row])
    return taken


def _classified(sklearn: Any, truth: NDArray[Any], guessed: NDArray[Any]) -> dict[str, float]:
    metrics = sklearn.metrics
    values = {"accuracy": metrics.accuracy_score(truth, guessed)}
    for name in ("f1", "precision", "recall"):
        score = getattr(metrics, f"{name}_score")
        values[name] = score(truth, guessed, average="macro", zero_division=0)
        values[f"{name}_weighted"] = score(truth, guessed, average="weighted", zero_division=0)
    kinds = np.unique(truth)
    if len(kinds) == 2:
        values["ap"] = metrics.average_precision_score(truth == kinds[1], guessed == kinds[1])
    return {name: float(value) for name, value in values.items()}


def _labelled(vectors: Vectors, labels: Sequence[Label], name: str, dims: int | None = None) -> tuple[Vectors, Any]:
    rows = as_vectors(vectors, dims=dims, name=name)
    _same_number(rows, labels, name)
    if len(set(labels)) < 2:
        raise DataError(f"{name}: all {len(rows):,} rows have one label; there is nothing to tell apart")
    return rows, np.asarray(labels)


def _same_number(rows: Vectors, labels: Sequence[Any], name: str) -> None:
    if len(rows) != len(labels):
        raise ShapeError(f"{name}: {len(rows):,} vectors for {len(labels):,} labels")


def _sklearn() -> Any:
    try:
        import sklearn
        import sklearn.cluster
        import sklearn.exceptions
        import sklearn.linear_model
        import sklearn.metrics
        import sklearn.neighbors
        import sklearn.preprocessing
    except ImportError as error:
        raise MissingExtraError("scikit-learn", "tasks", "classification and clustering") from error
    return sklearn
