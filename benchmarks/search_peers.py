"""Other libraries' indexes for bench_search: each over the same unit rows, its one dial for breadth turned by `ef`.

Graphs get m = 16 and ef_construction = 200 where they have such settings, and their authors' advice where not. A peer
that is not installed is left out, and said so: `pip install usearch voyager ngt scann pynndescent rabitqlib pyvsag
scalable-vs`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np

from firth.arrays import Ids, Vectors

Search = Callable[[Vectors, int, int], Ids]  # queries, k, ef -> ids
M, EF_CONSTRUCTION = 16, 200


def faiss_ivf(rows: Vectors, threads: int) -> Search:
    """IVF of sqrt(n) lists, product codes of two dimensions and 4 bits by fast scan, float32 refinement."""
    import faiss

    faiss.omp_set_num_threads(threads)
    n, d = rows.shape
    index = faiss.index_factory(d, f"IVF{round(n**0.5)},PQ{d // 2}x4fs,RFlat", faiss.METRIC_INNER_PRODUCT)
    index.train(rows)
    index.add(rows)
    lists = faiss.extract_index_ivf(index)
    faiss.omp_set_num_threads(1)

    def search(queries: Vectors, k: int, ef: int) -> Ids:
        lists.nprobe, index.k_factor = max(1, ef // 6), max(4 if k < 50 else 2, ef / (2 * k))
        return index.search(queries, k)[1]

    return search


def usearch(kind: str) -> Callable[[Vectors, int], Search]:
    """usearch over float32 or int8."""

    def make(rows: Vectors, threads: int) -> Search:
        from usearch.index import Index

        index = Index(ndim=rows.shape[1], metric="ip", dtype=kind, connectivity=M, expansion_add=EF_CONSTRUCTION)
        index.add(np.arange(len(rows)), rows, threads=threads)

        def search(queries: Vectors, k: int, ef: int) -> Ids:
            index.expansion_search = ef
            return index.search(queries, k, threads=1).keys.astype(np.int64)

        return search

    return make


def voyager(rows: Vectors, threads: int) -> Search:
    """Spotify's hnswlib with another file."""
    import voyager as library

    index = library.Index(
        library.Space.InnerProduct, num_dimensions=rows.shape[1], M=M, ef_construction=EF_CONSTRUCTION
    )
    index.add_items(rows, num_threads=threads)
    return lambda q, k, ef: index.query(q, k=k, num_threads=1, query_ef=ef)[0].astype(np.int64)


def ngt(rows: Vectors, threads: int) -> Search:
    """ANNG; its dial is epsilon, the slack of the search radius."""
    import ngtpy

    folder = tempfile.mkdtemp() + "/index"
    ngtpy.create(folder.encode(), rows.shape[1], distance_type="Normalized Cosine")
    index = ngtpy.Index(folder.encode())
    for row in rows:
        index.insert(row)
    index.build_index(threads)

    def search(queries: Vectors, k: int, ef: int) -> Ids:
        epsilon = 0.02 * np.log2(ef / 8)  # 0.02 to 0.13 over the beams of the others
        return np.array([index.search(query, k, epsilon=epsilon, with_distance=False) for query in queries])

    return search


def scann(rows: Vectors, threads: int) -> Search:
    """Tree, anisotropic codes and exact reordering, by the authors' rules for this size."""
    import scann as library

    leaves = round(len(rows) ** 0.5)
    index = (
        library.scann_ops_pybind.builder(rows, 10, "dot_product")
        .tree(num_leaves=leaves, num_leaves_to_search=leaves // 10, training_sample_size=len(rows))
        .score_ah(2, anisotropic_quantization_threshold=0.2)
        .reorder(100)
        .build()
    )

    def search(queries: Vectors, k: int, ef: int) -> Ids:
        settings = {
            "leaves_to_search": max(1, ef // 6),
            "pre_reorder_num_neighbors": max(4 * k if k < 50 else 2 * k, ef // 2),
        }
        return index.search_batched(queries, final_num_neighbors=k, **settings)[0].astype(np.int64)

    return search


def pynndescent(rows: Vectors, threads: int) -> Search:
    """NN-descent; its dial is epsilon."""
    import pynndescent as library

    index = library.NNDescent(rows, metric="dot", n_neighbors=30, random_state=0, n_jobs=threads)
    index.prepare()
    index.query(rows[:10], k=10)  # compiles
    return lambda q, k, ef: index.query(q, k=k, epsilon=0.02 * np.log2(ef / 8))[0].astype(np.int64)


def symphony(rows: Vectors, threads: int) -> Search:
    """SymphonyQG of rabitqlib: degree 32, ef_construction 400, as its authors publish it."""
    from rabitqlib import SymqgIndex

    index = SymqgIndex(rows.shape[1], 32, metric="ip")
    index.build(rows, 400, num_threads=threads)
    return lambda q, k, ef: np.asarray(index.search_batch(q, k, max(ef, k), num_threads=1)[0]).astype(np.int64)


def vsag(rows: Vectors, threads: int) -> Search:
    """HGraph over 8-bit codes, reordered by float32."""
    import pyvsag

    pyvsag.set_logger_off()
    settings = {
        "base_quantization_type": "sq8", "max_degree": 2 * M, "ef_construction": EF_CONSTRUCTION, "use_reorder": True,
        "precise_quantization_type": "fp32", "build_thread_count": threads,
    }  # fmt: skip
    whole = {"dtype": "float32", "metric_type": "ip", "dim": rows.shape[1], "index_param": settings}
    index = pyvsag.Index("hgraph", json.dumps(whole))
    index.build(rows, np.arange(len(rows)), *rows.shape)

    def search(queries: Vectors, k: int, ef: int) -> Ids:
        asked = json.dumps({"hgraph": {"ef_search": ef}})
        return np.array([index.knn_search(query, k, asked)[0] for query in queries])

    return search


def svs(rows: Vectors, threads: int) -> Search:
    """Intel's Vamana over float32: degree 64, window 200, alpha 0.95 for inner products; its codes need Intel."""
    import svs as library

    settings = library.VamanaBuildParameters(alpha=0.95, graph_max_degree=64, window_size=EF_CONSTRUCTION)
    index = library.Vamana.build(settings, rows, library.DistanceType.MIP, num_threads=threads)
    index.num_threads = 1

    def search(queries: Vectors, k: int, ef: int) -> Ids:
        index.search_window_size = max(ef, k)
        return index.search(queries, k)[0].astype(np.int64)

    return search


# name: (package on PyPI, how it is built)
PEERS: dict[str, tuple[str, Callable[[Vectors, int], Search]]] = {
    "faiss IVF-PQfs": ("faiss-cpu", faiss_ivf),
    "usearch f32": ("usearch", usearch("f32")),
    "usearch i8": ("usearch", usearch("i8")),
    "voyager": ("voyager", voyager),
    "NGT": ("ngt", ngt),
    "ScaNN": ("scann", scann),
    "SymphonyQG": ("rabitqlib", symphony),
    "vsag": ("pyvsag", vsag),
    "SVS float32": ("scalable-vs", svs),
    "pynndescent": ("pynndescent", pynndescent),
}


def prepare(name: str, rows: Vectors, threads: int) -> None:
    """What a library compiles at its first build, so that it does not count as building: pynndescent, 100 s."""
    if name == "pynndescent":
        built(name, rows[:2000], threads)


def built(name: str, rows: Vectors, threads: int) -> Search | str:
    """The search of that peer, or why it is left out."""
    package, make = PEERS[name]
    try:
        return make(rows, threads)
    except ImportError as error:
        return f"{package} is not installed ({error})"


def versions() -> dict[str, Any]:
    """Package -> version of what is installed."""
    from importlib import metadata

    found = {}
    for package, _ in PEERS.values():
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found
