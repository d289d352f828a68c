"""Each objective equals its formula in float64 NumPy, and its gradient equals finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch")

from firth.errors import SettingsError, ShapeError  # noqa: E402
from firth.sentence import losses  # noqa: E402
from firth.sentence.matryoshka import default_dims, matryoshka  # noqa: E402

Array = NDArray[np.float64]
B, D, EXTRA, K, CLASSES = 6, 16, 5, 4, 3


def unit(rows: Array) -> Array:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def log_softmax(scores: Array) -> Array:
    return scores - np.log(np.exp(scores).sum(-1, keepdims=True))


def cos(a: Array, b: Array) -> Array:
    return (unit(a) * unit(b)).sum(-1)


def case(name: str, rng: np.random.Generator) -> tuple[Callable[..., Any], list[Array], dict[str, Any], float]:
    """A loss, its vectors, its settings, and what its formula says in one line of NumPy."""
    u, v, w = (unit(rng.normal(size=(B, D))) for _ in range(3))
    more = unit(rng.normal(size=(B + EXTRA, D)))
    lists = unit(rng.normal(size=(B, K, D)))
    grades = np.array([0.1, 0.9, 0.5, 0.5, 0.3, 1.0])
    ignore = rng.random((B, B + EXTRA)) < 0.3
    if name == "info_nce":
        expected = -np.mean(np.diag(log_softmax(u @ more.T / 0.07)))
        return losses.info_nce, [u, more], {"temperature": 0.07}, expected
    if name == "info_nce symmetric":
        forward, backward = (np.mean(np.diag(log_softmax(s))) for s in (u @ more.T / 0.05, (u @ v.T / 0.05).T))
        more[:B] = v
        forward = np.mean(np.diag(log_softmax(u @ more.T / 0.05)))
        return losses.info_nce, [u, more], {"symmetric": True}, -(forward + backward) / 2
    if name == "info_nce ignoring":
        left = np.where(ignore & ~np.eye(B, B + EXTRA, dtype=bool), -np.inf, u @ more.T / 0.05)
        return (
            losses.info_nce,
            [u, more],
            {"ignore": torch.tensor(np.argwhere(ignore))},
            -np.mean(np.diag(log_softmax(left))),
        )
    if name == "triplet":
        gaps = ((u - v) ** 2).sum(1) - ((u - w) ** 2).sum(1) + 0.3
        return losses.triplet, [u, v, w], {"margin": 0.3}, np.maximum(gaps, 0).mean()
    if name == "triplet cosine":
        gaps = cos(u, w) - cos(u, v) + 0.3
        return losses.triplet, [u, v, w], {"margin": 0.3, "distance": "cosine"}, np.maximum(gaps, 0).mean()
    if name == "contrastive":
        same, far = np.array([1, 0, 1, 0, 0, 1]), 1 - cos(u, v)
        terms = same * far**2 / 2 + (1 - same) * np.maximum(0.9 - far, 0) ** 2 / 2
        return losses.contrastive, [u, v], {"same": torch.tensor(same), "margin": 0.9}, terms.mean()
    if name == "cosine_regression":
        return losses.cosine_regression, [u, v], {"scores": torch.tensor(grades)}, ((cos(u, v) - grades) ** 2).mean()
    if name == "cosent":
        c = cos(u, v)
        pairs = [np.exp(20 * (c[j] - c[i])) for i in range(B) for j in range(B) if grades[i] > grades[j]]
        return losses.cosent, [u, v], {"scores": torch.tensor(grades)}, np.log(1 + sum(pairs))
    if name == "siamese_softmax":
        weight, labels = rng.normal(size=(CLASSES, 3, D)), np.array([0, 1, 2, 0, 1, 2])
        logits = 1.7 * np.concatenate([u, v, np.abs(u - v)], 1) @ weight.reshape(CLASSES, 3 * D).T
        settings = {"labels": torch.tensor(labels), "weight": torch.tensor(weight), "scale": 1.7}
        return losses.siamese_softmax, [u, v], settings, -np.mean(log_softmax(logits)[np.arange(B), labels])
    if name == "margin_mse":
        margins = rng.normal(size=B)
        ours = 3 * ((u * v).sum(1) - (u * w).sum(1))
        settings = {"margins": torch.tensor(margins), "scale": 3.0}
        return losses.margin_mse, [u, v, w], settings, ((ours - margins) ** 2).mean()
    if name == "listwise_kl":
        teacher = rng.normal(size=(B, K))
        p, q = log_softmax(teacher / 2), log_softmax(np.einsum("bd,bkd->bk", u, lists) / 0.1)
        settings = {"scores": torch.tensor(teacher), "temperature": 0.1, "teacher_temperature": 2.0}
        return losses.listwise_kl, [u, lists], settings, (np.exp(p) * (p - q)).sum(1).mean()
    assert name == "vector_mse"
    return losses.vector_mse, [u, v], {}, ((u - v) ** 2).mean()


NAMES = [
    "info_nce", "info_nce symmetric", "info_nce ignoring", "triplet", "triplet cosine", "contrastive",
    "cosine_regression", "cosent", "siamese_softmax", "margin_mse", "listwise_kl", "vector_mse",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_loss_equals_its_formula(name: str, rng: np.random.Generator) -> None:
    loss, vectors, settings, expected = case(name, rng)
    assert float(loss(*map(torch.tensor, vectors), **settings)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_equals_finite_differences(name: str, rng: np.random.Generator) -> None:
    loss, vectors, settings, _ = case(name, rng)
    rows = [torch.tensor(array, requires_grad=True) for array in vectors]
    assert torch.autograd.gradcheck(lambda *arrays: loss(*arrays, **settings), rows, atol=1e-6)


# The others sum over pairs of rows: more rows are more negatives.
@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith(("info_nce", "cosent"))])
def test_a_loss_does_not_grow_with_the_number_of_equal_rows(name: str, rng: np.random.Generator) -> None:
    loss, vectors, settings, expected = case(name, rng)
    doubled = {
        key: torch.cat([value, value]) if hasattr(value, "ndim") and len(value) == B else value
        for key, value in settings.items()
    }
    twice = float(loss(*(torch.tensor(np.concatenate([array, array])) for array in vectors), **doubled))
    assert twice == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_matryoshka_is_the_mean_over_prefixes(name: str, rng: np.random.Generator) -> None:
    loss, vectors, settings, _ = case(name, rng)
    rows = list(map(torch.tensor, vectors))
    expected = sum(
        share * float(loss(*(torch.tensor(unit(array[..., :m])) for array in vectors), **settings))
        for m, share in ((4, 1.0), (8, 0.5), (16, 2.0))
    )
    assert float(matryoshka(loss, (4, 8, 16), (1.0, 0.5, 2.0))(*rows, **settings)) == pytest.approx(expected / 3.5)


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_of_matryoshka_equals_finite_differences(name: str, rng: np.random.Generator) -> None:
    loss, vectors, settings, _ = case(name, rng)
    rows = [torch.tensor(array, requires_grad=True) for array in vectors]
    nested = matryoshka(loss, (4, 16))
    assert torch.autograd.gradcheck(lambda *arrays: nested(*arrays, **settings), rows, atol=1e-5)


def test_a_trained_classifier_also_gets_a_gradient(rng: np.random.Generator) -> None:
    loss, vectors, settings, _ = case("siamese_softmax", rng)
    weight = settings["weight"].requires_grad_()
    nested = matryoshka(loss, (4, 16))
    u, v = map(torch.tensor, vectors)
    assert torch.autograd.gradcheck(lambda w: nested(u, v, labels=settings["labels"], weight=w), [weight])


def test_the_usual_nesting_doubles_from_eight_to_the_full_width() -> None:
    assert default_dims(384) == (8, 16, 32, 64, 128, 256, 384)
    assert default_dims(256) == (8, 16, 32, 64, 128, 256)
    assert default_dims(5) == (5,)


def test_an_answer_is_never_ignored(rng: np.random.Generator) -> None:
    _, (queries, documents), _, _ = case("info_nce", rng)
    every = torch.cartesian_prod(torch.arange(B), torch.arange(B + EXTRA))
    loss = losses.info_nce(torch.tensor(queries), torch.tensor(documents), ignore=every)
    assert float(loss) == pytest.approx(0.0)  # alone with its answer, each query finds it


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("cells", [1, 23, 40])
def test_info_nce_by_tiles_is_that_of_the_whole_table(
    symmetric: bool, cells: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, (u, v), settings, _ = case("info_nce ignoring", rng)
    queries, documents = (torch.tensor(array, requires_grad=True) for array in (u, v))
    scores = queries @ documents.T / 0.05
    out = torch.zeros(B, B + EXTRA, dtype=torch.bool)
    out[tuple(settings["ignore"].T)] = True
    scores = scores.masked_fill(out & ~torch.eye(B, B + EXTRA, dtype=torch.bool), -torch.inf)
    plain = -torch.log_softmax(scores, 1).diagonal().mean()
    if symmetric:
        plain = (plain - torch.log_softmax(scores[:, :B], 0).diagonal().mean()) / 2
    wanted = torch.autograd.grad(plain, [queries, documents])
    monkeypatch.setattr("firth.sentence.blockwise.CELLS", cells)
    loss = losses.info_nce(queries, documents, symmetric=symmetric, ignore=settings["ignore"])
    torch.testing.assert_close(loss, plain, atol=1e-12, rtol=1e-12)
    for found, expected in zip(torch.autograd.grad(loss, [queries, documents]), wanted, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-12, rtol=1e-9)


def test_info_nce_never_holds_the_scores_of_a_large_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("firth.sentence.blockwise.CELLS", 1 << 16)
    sizes: list[int] = []
    queries, documents = (torch.nn.functional.normalize(torch.randn(n, 8), dim=1) for n in (2_000, 6_000))
    queries.requires_grad_()

    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            sizes.extend(x.numel() for x in torch.utils._pytree.tree_leaves(out) if isinstance(x, torch.Tensor))
            return out

    with Largest():
        losses.info_nce(queries, documents, symmetric=True).backward()
    assert max(sizes) < 1 << 17  # the table has 12 million cells


def test_identical_rows_give_a_finite_gradient(rng: np.random.Generator) -> None:
    for name in NAMES:
        loss, vectors, settings, _ = case(name, rng)
        rows = [torch.tensor(np.ones_like(array) / 4, requires_grad=True) for array in vectors]
        loss(*rows, **settings).backward()
        assert all(torch.isfinite(row.grad).all() for row in rows), name


def test_cosent_of_pairs_that_are_all_alike_asks_for_nothing(rng: np.random.Generator) -> None:
    _, vectors, _, _ = case("cosent", rng)
    u, v = map(torch.tensor, vectors)
    assert float(losses.cosent(u, v, scores=torch.ones(B))) == 0.0


def test_cosent_never_holds_a_matrix_of_pairs() -> None:
    b = 200_000  # a (b, b) matrix of it would be 160 GB
    u = torch.nn.functional.normalize(torch.randn(b, 4), dim=1)
    assert torch.isfinite(losses.cosent(u, u.roll(1, 0), scores=torch.rand(b)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: losses.info_nce(x, y[:3]), r"6 queries but 3 documents: row i of documents must answer row i"),
        (lambda x, y: losses.info_nce(x, y[:, :8]), r"expected \(b, d\) and \(b \+ r, d\)"),
        (lambda x, y: losses.info_nce(x, y, ignore=torch.zeros(2, 3).long()), r"ignore: expected \(i, 2\) rows and"),
        (lambda x, y: losses.info_nce(x, y, ignore=torch.tensor([[0, 6]])), r"up to \(0, 6\), but"),
        (lambda x, y: losses.triplet(x, y, y[:3]), r"negatives \(3, 16\)"),
        (lambda x, y: losses.contrastive(x, y, same=torch.ones(3)), r"same: expected \(6,\), got \(3,\)"),
        (lambda x, y: losses.cosent(x, y, scores=torch.ones(6, 1)), r"scores: expected \(6,\), got \(6, 1\)"),
        (lambda x, y: losses.siamese_softmax(x, y, labels=torch.zeros(6).long(), weight=torch.ones(2, 48)), "weight"),
        (lambda x, y: losses.listwise_kl(x, y[:, :8], scores=torch.ones(6, 6)), r"\(6, k, 16\) or \(k, 16\)"),
        (lambda x, y: losses.vector_mse(x, y.repeat(1, 2)), r"teacher: expected \(6, 16\), got \(6, 32\); bring"),
        (lambda x, y: matryoshka(losses.vector_mse, (8, 32))(x, y), "prefix of 32 dimensions, but the vectors have 16"),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(call: Callable[..., Any], message: str, rng: np.random.Generator) -> None:
    x, y = (torch.tensor(unit(rng.normal(size=(B, D)))) for _ in range(2))
    with pytest.raises(ShapeError, match=message):
        call(x, y)


def test_settings_that_make_no_sense_are_refused() -> None:
    x = torch.ones(2, 4)
    with pytest.raises(SettingsError, match="distance: expected euclidean or cosine, got 'manhattan'"):
        losses.triplet(x, x, x, distance="manhattan")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="expected prefix lengths of at least 1"):
        matryoshka(losses.info_nce, [])
    with pytest.raises(SettingsError, match="expected 2 weights"):
        matryoshka(losses.info_nce, [2, 4], [1.0])
