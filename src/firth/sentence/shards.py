"""Vectors of more texts than fit in memory: a folder of shards with a manifest, resumed after an interruption.

    manifest.json     who made the vectors, how, and for each shard its rows and the digest of its ids and texts
    00000.vectors     a container (firth.files) with (rows, d) float32 and the ids of its texts
    00001.vectors     …

A shard is written whole or not at all. A later run with the same encoder walks through the same texts, keeps each shard
whose digest is unchanged and encodes the rest; texts that were changed or inserted cost only the shards from there on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from firth import files
from firth.arrays import Encoder, Vectors
from firth.errors import FormatError
from firth.progress import Progress, silent

KIND, VERSION = "vectors", 1
MANIFEST = "manifest.json"
SHARD_ROWS = 4096  # texts; an interruption loses at most these, at some hundred a second

Encode = Callable[[Sequence[str]], tuple[Vectors, int, int]]  # texts -> vectors, texts cut, tokens cut


@dataclass(frozen=True)
class Shard:
    """One line of the manifest: a file, its rows, the digest of what it was made of, and what was cut."""

    file: str
    rows: int
    digest: str
    cut: int
    cut_tokens: int


@dataclass(frozen=True)
class Shards:
    """A folder of vectors that was written whole.

    Attributes:
        folder: where it lies.
        maker: fingerprint, kind and dims of the encoder that made it.
        shards: in the order of the texts.
    """

    folder: Path
    maker: dict[str, Any]
    shards: tuple[Shard, ...]

    @staticmethod
    def load(folder: Path | str) -> Shards:
        """Open a folder that `encode_shards` wrote.

        Raises:
            FormatError: no such folder, or one whose writing was interrupted.
        """
        folder = Path(folder)
        maker, shards, whole = _manifest(folder)
        if not whole:
            raise FormatError("was interrupted; the same command goes on with it", path=folder)
        return Shards(folder, maker, shards)

    def __len__(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @property
    def cut(self) -> tuple[int, int]:
        """Texts that were longer than the model reads, and the tokens that they lost together."""
        return sum(shard.cut for shard in self.shards), sum(shard.cut_tokens for shard in self.shards)

    @cached_property
    def ids(self) -> list[str]:
        """Ids of the texts, row by row."""
        return [id_ for shard in self.shards for id_ in _read(self.folder / shard.file).meta["ids"]]

    @cached_property
    def vectors(self) -> Vectors:
        """(n, d) float32; a memory map where there is one shard."""
        blocks = list(self.blocks())
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def blocks(self) -> Iterator[Vectors]:
        """The shards' (rows, d) float32 memory maps, one after another."""
        for shard in self.shards:
            yield _read(self.folder / shard.file).arrays["vectors"]


def encode_shards(
    encode: Encode,
    texts: Iterable[tuple[str, str]],
    folder: Path | str,
    *,
    maker: dict[str, Any],
    total: int = 0,
    progress: Progress = silent,
) -> Shards:
    """Encode a stream of (id, text) into a folder, or go on with one that was interrupted.

    Args:
        encode: texts -> vectors and what was cut; `counted` makes one of any encoder.
        maker: fingerprint, kind and dims, as JSON values; a folder made by another is written anew.
        total: how many texts there are, for the progress; 0 = not known.

    Raises:
        StorageError: the disk is full; the shards that were finished stay.
        FormatError: the folder holds something else.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    before: tuple[Shard, ...] = ()
    if (folder / MANIFEST).exists():
        was, before, _ = _manifest(folder)
        before = before if was == maker else ()
    elif any(folder.glob("*.vectors")):
        raise FormatError(f"holds vectors without a {MANIFEST}; name another folder", path=folder)
    stream, done = iter(texts), 0
    shards: list[Shard] = []
    while block := list(islice(stream, SHARD_ROWS)):
        name, digest = f"{len(shards):05d}.vectors", _digest(block)
        kept = next((shard for shard in before if (shard.file, shard.digest) == (name, digest)), None)
        if kept is None or not (folder / name).exists():
            kept = _encoded(encode, block, folder / name, digest, lambda rows: progress(done + rows, total))  # noqa: B023
        shards.append(kept)
        done += len(block)
        _write_manifest(folder, maker, shards, whole=False)
        progress(done, total)
    for path in folder.glob("*.vectors"):
        if path.name not in {shard.file for shard in shards}:
            path.unlink()
    _write_manifest(folder, maker, shards, whole=True)
    return Shards(folder, maker, tuple(shards))


def counted(encoder: Encoder, *, kind: str | None, dims: int | None = None) -> Encode:
    """`Encode` of any encoder; one that does not count what it cuts is taken to cut nothing."""
    count = getattr(encoder, "encode_counted", None)

    def encode(texts: Sequence[str]) -> tuple[Vectors, int, int]:
        if count is None:
            return encoder.encode(texts, kind=kind, dims=dims), 0, 0
        encoded = count(texts, kind=kind, dims=dims)
        return encoded.vectors, encoded.cut.texts, encoded.cut.tokens

    return encode


STEP = 512  # texts between two signs of progress


def _encoded(
    encode: Encode, block: list[tuple[str, str]], path: Path, digest: str, told: Callable[[int], None]
) -> Shard:
    rows, cut, tokens = [], 0, 0
    # The longest texts of a block stand together in `order`, so that each step holds texts of like length.
    order = sorted(range(len(block)), key=lambda i: len(block[i][1]))
    for start in range(0, len(order), STEP):
        vectors, texts_cut, tokens_cut = encode([block[i][1] for i in order[start : start + STEP]])
        rows.append(vectors)
        cut, tokens = cut + texts_cut, tokens + tokens_cut
        told(start + len(vectors))
    vectors = np.concatenate(rows)
    placed = np.empty_like(vectors)
    placed[order] = vectors
    ids = [id_ for id_, _ in block]
    files.write_arrays(path, kind=KIND, version=VERSION, meta={"ids": ids}, arrays={"vectors": placed})
    return Shard(path.name, len(block), digest, cut, tokens)


def _digest(block: list[tuple[str, str]]) -> str:
    digest = hashlib.sha256()
    for id_, text in block:
        for part in (id_.encode(), text.encode()):
            digest.update(len(part).to_bytes(8, "little"))
            digest.update(part)
    return digest.hexdigest()


def _read(path: Path) -> files.Container:
    return files.read_arrays(path, kind=KIND, version=VERSION)


def _manifest(folder: Path) -> tuple[dict[str, Any], tuple[Shard, ...], bool]:
    path = folder / MANIFEST
    if not path.exists():
        raise FormatError(f"has no {MANIFEST}; firth encode makes such a folder", path=folder)
    value = files.read_json(path)
    try:
        if value["version"] > VERSION:
            raise FormatError(f"version {value['version']}; this firth reads up to {VERSION}", path=path)
        shards = tuple(Shard(**shard) for shard in value["shards"])
        return dict(value["maker"]), shards, bool(value["whole"])
    except (KeyError, TypeError) as error:
        raise FormatError(f"not a manifest of vectors: {error}", path=path) from error


def _write_manifest(folder: Path, maker: dict[str, Any], shards: list[Shard], *, whole: bool) -> None:
    value = {"version": VERSION, "maker": maker, "whole": whole, "shards": [asdict(shard) for shard in shards]}
    files.write_json(folder / MANIFEST, value)
