"""HNSW: a graph of near neighbours, walked from a few entry points towards the query.

Malkov and Yashunin 2016, "Efficient and robust approximate nearest neighbor search using hierarchical navigable small
world graphs", arXiv:1603.09320. Where we differ: the walk compares the upper halves of centred int8 codes by integer
kernels, ends at a distance, and the best of it are scored again exactly from the float32 rows; nodes come in batches,
so the graph is the same for any number of threads; a large first batch is split into leaves of near rows and linked
without walks; a removal repairs its neighbourhood, and what a change left without a way in is connected again.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from firth.arrays import NO_ID, Ids, Neighbours, Vectors
from firth.compress import Scalar
from firth.errors import SettingsError
from firth.index import calibrate, hnsw_file
from firth.index.allow import Allow, allowed_rows, as_bitmap
from firth.index.calibrate import Curve
from firth.index.keys import KeyList, Keys
from firth.index.metric import Metric, as_rows, check_metric, levelled
from firth.kernels import default_threads, native
from firth.kernels.codes import scalar_encode
from firth.kernels.flat import flat, longest_row
from firth.progress import Progress, silent

ALIVE = 0  # a node's state; native/graph.hpp
MOST_M = 256  # links a node on upper levels; the native lists hold twice as many
CHUNK = 16_384  # rows handed to the native half between two reports of progress
DEFAULT_RECALL = 0.99  # of a search that names neither ef nor recall, where the index has a curve
DEFAULT_EF = 100  # the same, where it has none
EXACT_BELOW = 1_000  # vectors; a scan of so few codes is faster than a walk
# A scan costs c codes, a walk that looks behind what is not allowed reads n/c lists a hop: they meet near
# c = sqrt(SCAN_BALANCE · n); benchmarks/bench_filters.py.
SCAN_BALANCE = 100
# Share allowed below which a walk scores allowed nodes only: at a tenth it takes half the time of a wider beam, at a
# half as long as that, and finds a little less.
THROUGH_BELOW = 0.3
# Within r times the k-th distance lie about k · r ** dimension vectors: for ef of them r = (ef / k) ** (1 / dimension).
# A walk that ends there expands about ef in the mean, fewer for a query apart from all others and more for one in a
# crowd, but from ef / 2 to 2 · ef in any case. At recall 0.99 that saves a tenth (k = 100) to a quarter (k = 1) of the
# distances of a plain beam; sentences, 100,000 x 384 and 50,000 x 768.
SURELY, AT_MOST = 0.5, 2.0
FILTERED = 2.0  # a filter's walk is a plain beam: so much wider it finds 0.993 or more of ten where 0.99 are asked for
REPAIR_SHARE = 0.05  # of all nodes removed before the lists around them are mended
REPAIR_LEAST = 64
# New links push older ones out, rarely the last one that led to a vector. A walk over the whole graph finds those; for
# this share of new vectors it takes a fortieth of the time of adding them (37 ms, 1.5 s; 100,000 x 384).
CONNECT_SHARE = 0.01


class HNSW:
    """Approximate search over (n, d) float32. Any number of searches may run beside one add, remove or save at a time.

    Attributes:
        dims: d.
        metric: "cosine", "dot" or "euclid".
        m: links a node on the upper levels, half of those on level 0.
        ef_construction: the beam while building.
        codec: what the walk compares, a uniform `Scalar`, or None for the rows themselves.
        curve: recall and work against ef, measured on rows that were held out of the build; None if too few.
        dimension: the local intrinsic dimension of the rows, measured on the same; 0 if too few.
    """

    def __init__(
        self, dims: int, metric: Metric, m: int, ef_construction: int, codec: Scalar | None, seed: int
    ) -> None:
        self.dims, self.metric, self.m, self.ef_construction, self.codec = dims, metric, m, ef_construction, codec
        self.seed = seed
        self.curve: Curve | None = None
        self.dimension = 0.0
        self.longest = 0.0  # of the rows of the first build, metric "dot" only
        self._keys = Keys()
        self._slots: dict[int, int] | None = None  # id -> slot; made when first needed
        self._writer = threading.RLock()
        self._held: tuple[Any, ...] = ()  # memory maps that the graph borrows
        self._grown = 0  # vectors added since everything was last connected
        width = 0 if codec is None else -(-self._width // hnsw_file.CODE_WIDTH) * hnsw_file.CODE_WIDTH
        self._graph = native.Graph(self._width, width, m, ef_construction, int(metric == "euclid"), seed)
        if codec is not None:
            self._graph.scale(codec.centre, codec.step)

    @classmethod
    def build(
        cls,
        vectors: ArrayLike,
        *,
        m: int = 16,
        ef_construction: int = 200,
        codec: Literal["sq8"] | None = "sq8",
        threads: int | None = None,
        seed: int = 0,
        keys: KeyList | None = None,
        metric: Metric = "cosine",
        progress: Progress = silent,
    ) -> HNSW:
        """An index of all rows; the same graph for the same rows and seed, whatever the threads and the CPU.

        Args:
            vectors: (n, d) float32.
            m: links a node, 4 … 64 is sensible; memory 8·m bytes a vector. See docs/parameters-index.md.
            ef_construction: beam of the build; more is a better graph and a slower build.
            codec: "sq8" walks over one byte a dimension, None over float32.
            threads: all cores if None.
            seed: of the levels, of the codec's sample and of the rows held out to measure recall.
            keys: n integers or strings; the row numbers if None.
            metric: "cosine", "dot" or "euclid".
            progress: told how many rows are in: over codes once, when all but those held out are.

        Raises:
            ShapeError: not (n, d) finite numbers.
            SettingsError: a setting out of its range, a key twice.
        """
        check_metric(metric)
        if not 2 <= m <= MOST_M or not 1 <= ef_construction <= hnsw_file.MOST_EF:
            raise SettingsError(f"HNSW: m={m} (2 … {MOST_M}) or ef_construction={ef_construction} (1 …) out of range")
        if codec not in ("sq8", None):
            raise SettingsError(f"HNSW: codec={codec!r}: expected 'sq8' or None")
        rows = as_rows(vectors, metric)
        longest = longest_row(rows) if metric == "dot" else 0.0
        wide = levelled(rows, longest) if metric == "dot" else rows
        scalar = Scalar.train(wide, uniform=True, seed=seed) if codec == "sq8" and len(rows) else None
        if codec == "sq8" and scalar is None:
            scalar = Scalar(np.zeros(wide.shape[1], np.float32), np.full(wide.shape[1], 1 / 127, np.float32), 8)
        index = cls(rows.shape[1], metric, m, ef_construction, scalar, seed)
        index.longest = longest
        team = threads or default_threads()
        ids = index._keys.name(keys, len(rows))
        late = calibrate.held_out(len(rows), seed)
        early = np.setdiff1d(np.arange(len(rows)), late)
        index._insert(ids[early], rows[early] if len(late) else rows, team, progress)
        if len(late):
            index.curve = calibrate.measure(index, rows[late], threads=team)
            index._insert(ids[late], rows[late], team, silent)
        index._keys.accept(keys, ids)
        index._graph.connect()
        return index

    def __len__(self) -> int:
        return int(self._graph.alive)

    @property
    def bytes_per_vector(self) -> float:
        """Bytes a vector: links, codes, rows and key; with rows left in a mapped file, those are not in memory."""
        graph = self._graph
        parts = (
            graph.blocks,
            graph.low,
            graph.norms,
            graph.rows,
            graph.keys,
            graph.levels,
            graph.state,
            graph.upper_at,
            graph.upper,
        )
        return float(sum(part.nbytes for part in parts) / max(len(self), 1))

    def search(
        self,
        queries: ArrayLike,
        k: int = 10,
        *,
        ef: int | None = None,
        recall: float | None = None,
        threads: int | None = 1,
        allow: Allow | None = None,
    ) -> Neighbours:
        """About the k nearest of each query, best first; always min(k, vectors allowed) of them.

        Args:
            queries: (q, d) float32, or one row (d,).
            k: neighbours wanted; where fewer exist the row ends in -1, -inf.
            ef: width of the beam, at least k; more is better and slower. An index that knows its `dimension` takes it
                for a mean: it expands from half to twice as many vectors, as a query needs.
            recall: let the index choose ef by its curve, for instance 0.99; the default where there is a curve.
            threads: all cores if None.
            allow: keys, or a boolean row indexed by integer key, of what may appear.

        Raises:
            ShapeError: queries of another width.
            SettingsError: k or ef below 1, both ef and recall, recall outside of 0 … 1 or without a curve.
        """
        return self._search(queries, k, ef=self.beam(k, ef, recall), threads=threads, allow=allow)[0]

    def beam(self, k: int, ef: int | None = None, recall: float | None = None) -> int:
        """The ef that a search with these settings uses."""
        if k < 1 or (ef is not None and ef < 1):
            raise SettingsError(f"search: k={k} and ef={ef} must be at least 1")
        if ef is not None and recall is not None:
            raise SettingsError("search: give ef or recall, not both")
        if recall is not None and not 0 < recall <= 1:
            raise SettingsError(f"search: recall={recall} is outside of 0 … 1")
        if ef is not None:
            return max(ef, k)
        if self.curve is None:
            return max(DEFAULT_EF, 2 * k)
        return self.curve.ef(k, DEFAULT_RECALL if recall is None else recall, vectors=len(self))

    def add(self, keys: KeyList | None, vectors: ArrayLike, *, threads: int | None = None) -> None:
        """More vectors, beside running searches; `keys` None numbers them on from the largest.

        Raises:
            SettingsError: a key that is there already.
        """
        rows = as_rows(vectors, self.metric, dims=self.dims)
        with self._writer:
            ids = self._keys.name(keys, len(rows))
            present = [i for i in ids.tolist() if i in self._slot_of]
            if present:
                raise SettingsError(f"keys: {present[0]} is in the index already; remove it first")
            self._keys.accept(keys, ids)
            try:
                self._insert(ids, rows, threads or default_threads(), silent)
                self._grown += len(rows)
                if self._grown > CONNECT_SHARE * self._graph.count:
                    self._connect()
            except BaseException:  # Ctrl-C: whole batches are in, the rest never was
                self._slots = None
                self._keys.drop(np.array([i for i in ids.tolist() if i not in self._slot_of], np.int64))
                raise

    def remove(self, keys: KeyList, *, threads: int | None = None) -> None:
        """Forget these vectors, beside running searches.

        They vanish from answers at once; when one node in twenty is gone, the lists around them are mended and their
        room is used again.

        Raises:
            SettingsError: a key that is not in the index; then nothing is removed.
        """
        with self._writer:
            ids = np.unique(self._keys.ids(keys))
            missing = [i for i in ids.tolist() if i not in self._slot_of]
            if missing:
                raise SettingsError(f"keys: {missing[0]} is not in the index; {len(missing) - 1} more like it")
            self._graph.remove(np.array([self._slot_of.pop(i) for i in ids.tolist()], np.uint32))
            self._keys.drop(ids)
            gone = self._graph.count - self._graph.alive - self._graph.free
            if gone > max(REPAIR_LEAST, REPAIR_SHARE * self._graph.count):
                self.repair(threads=threads)

    def holds(self, keys: KeyList) -> NDArray[np.bool_]:
        """(n,) True where a vector of this key is in the index."""
        with self._writer:
            if self._keys.strings is not None:
                return np.array([str(key) in self._keys for key in keys], bool)
            return np.array([i in self._slot_of for i in self._keys.ids(keys).tolist()], bool)

    def vectors(self, keys: KeyList) -> Vectors:
        """(n, d) float32 rows of these keys, as the index keeps them: unit rows under cosine.

        Raises:
            SettingsError: a key that is not in the index.
        """
        with self._writer:
            ids = self._keys.ids(keys).tolist()
            missing = [i for i in ids if i not in self._slot_of]
            if missing:
                raise SettingsError(f"keys: {missing[0]} is not in the index; {len(missing) - 1} more like it")
            rows: Vectors = np.array(self._graph.rows[[self._slot_of[i] for i in ids], : self.dims])
            return rows

    def repair(self, *, threads: int | None = None) -> None:
        """Mend the lists around removed vectors, free their room, and connect whatever lost its way in."""
        with self._writer:
            self._graph.repair(threads or default_threads())
            self._grown = 0

    @property
    def strings(self) -> list[str] | None:
        """The string keys by serial number, "" where one was removed; None where keys are integers."""
        return self._keys.strings

    @property
    def unreachable(self) -> int:
        """Vectors that no walk from the entry can come to: none after a build, a repair, a save, or a larger add."""
        with self._writer:
            return int(self._graph.unreachable())

    def names(self, ids: Ids) -> list[Any]:
        """The keys of found ids, in nested lists of the same shape; None for -1."""
        return self._keys.names(ids)

    def recall(self, queries: ArrayLike, k: int = 10, *, ef: int | None = None, threads: int | None = None) -> float:
        """The share of the exact k nearest that a search finds, measured now, on these queries."""
        team = threads or default_threads()
        found = self.search(queries, k, ef=ef, threads=team)
        return calibrate.recall(found, self.exact(queries, k, threads=team))

    def exact(self, queries: ArrayLike, k: int = 10, *, threads: int | None = None) -> Neighbours:
        """The exact k nearest by the float32 rows, as `Flat` finds them."""
        wanted = self._as_queries(queries)
        with self._writer:
            alive = np.flatnonzero(self._graph.state[:, 0] == ALIVE)
            euclid = self.metric == "euclid"
            near = flat(wanted, self._graph.rows, k, only=alive, euclid=euclid, threads=threads or default_threads())
            ids = self._graph.keys[:, 0][near.ids] if self._graph.count else near.ids
        return Neighbours(np.where(near.ids >= 0, ids, NO_ID), near.scores)

    def squared_distances(self, queries: ArrayLike, near: Neighbours) -> NDArray[np.float64]:
        """(q, k) squared distances that the scores stand for; under "dot", of the levelled rows."""
        scores = near.scores.astype(np.float64)
        if self.metric == "euclid":
            return np.maximum(-scores, 0)
        wanted = self._as_queries(queries).astype(np.float64)
        radius = self.longest**2 if self.metric == "dot" else 1.0
        squares: NDArray[np.float64] = np.einsum("qd,qd->q", wanted, wanted)[:, None] + radius - 2 * scores
        return np.maximum(squares, 0)

    def save(self, path: Path | str) -> None:
        """One checksummed file, whole or not at all; searches go on meanwhile, changes wait."""
        with self._writer:
            if self._grown:
                self._connect()
            hnsw_file.save(self, path)

    @classmethod
    def load(cls, path: Path | str, *, verify: bool = True) -> HNSW:
        """Open a saved index without reading it through; it stays memory-mapped until it is changed.

        Args:
            path: what `save` wrote.
            verify: check every checksum, which does read the file once. A file that was damaged since gives wrong
                neighbours without it, but never a crash.

        Raises:
            FormatError: truncated, damaged, of another kind or a newer version.
        """
        return hnsw_file.load(cls, path, verify=verify)

    @property
    def _width(self) -> int:
        """Dimensions of the rows that the graph holds."""
        return self.dims + (self.metric == "dot")

    @property
    def _slot_of(self) -> dict[int, int]:
        if self._slots is None:
            alive = np.flatnonzero(self._graph.state[:, 0] == ALIVE) if self._graph.count else np.empty(0, np.int64)
            held = self._graph.keys[:, 0][alive] if len(alive) else alive
            self._slots = dict(zip(held.tolist(), alive.tolist(), strict=True))
        return self._slots

    def _insert(self, ids: Ids, rows: Vectors, threads: int, progress: Progress) -> None:
        """Rows into the graph, a chunk at a time; what is in when an exception comes stays in.

        The first rows of an empty graph over codes come all at once: the native half then compares them leaf by leaf.
        """
        chunk = CHUNK if self.codec is None or self._graph.count else max(len(rows), 1)
        for start in range(0, len(rows), chunk):
            some = rows[start : start + chunk]
            if self.metric == "dot":
                some = levelled(some, self.longest)
            codes = np.empty((len(some), 0), np.uint8)
            if self.codec is not None:
                width = -(-self._width // hnsw_file.CODE_WIDTH) * hnsw_file.CODE_WIDTH
                codes = scalar_encode(some, self.codec.centre, self.codec.inverse, width=width, threads=threads)
            names, slots = ids[start : start + chunk], np.empty(len(some), np.uint32)
            done = self._graph.add(codes, some, names, slots, threads)
            if self._slots is not None:
                self._slots.update(zip(names[:done].tolist(), slots[:done].tolist(), strict=True))
            progress(start + len(some), len(rows), "vectors linked")

    def _connect(self) -> None:
        self._graph.connect()
        self._grown = 0

    def _as_queries(self, queries: ArrayLike) -> Vectors:
        wanted = as_rows(queries, self.metric, dims=self.dims, name="queries")
        return np.pad(wanted, ((0, 0), (0, 1))) if self.metric == "dot" else wanted

    def _search(
        self, queries: ArrayLike, k: int, *, ef: int, threads: int | None = 1, allow: Allow | None = None
    ) -> tuple[Neighbours, NDArray[np.uint32]]:
        """The neighbours, and how many distances each query cost."""
        wanted = self._as_queries(queries)
        bitmap, allowed, count = None, len(self), int(self._graph.count)
        if allow is not None:
            held, state = np.empty(count, np.int64), np.empty(count, np.uint8)
            self._graph.held(held, state)
            mask = allowed_rows(allow, held, self._keys) & (state == ALIVE)
            bitmap, allowed = as_bitmap(mask), int(np.count_nonzero(mask))
        scan = allowed <= max(EXACT_BELOW, ef) or (allow is not None and allowed <= (SCAN_BALANCE * count) ** 0.5)
        through = allow is not None and allowed <= THROUGH_BELOW * count
        # Of a usual walk's beam, the share that may appear is expected to be allowed / count.
        ef = ef if allow is None or not self.dimension else int(FILTERED * ef)
        beam = ef if through else min(-(-ef * count // max(allowed, 1)), count)
        ids, scores = np.empty((len(wanted), k), np.int64), np.empty((len(wanted), k), np.float32)
        work = np.empty(len(wanted), np.uint32)
        team = threads or default_threads()
        rank, least, times = -(-k * count // max(allowed, 1)), 1, 0.0
        if allow is None and self.dimension and not scan:
            least, beam = int(SURELY * beam), int(AT_MOST * beam)
            times = round(max(ef / k, 1.0) ** (2 / self.dimension), 6)
        self._graph.search(wanted, k, beam, bitmap, allowed, scan, through, rank, least, times, ids, scores, work, team)
        return Neighbours(ids, scores), work
