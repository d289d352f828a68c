"""What the vectors of models trained here show beside a published one: senses kept apart, sentences, layers.

Three questions of bench_pretrain.py: (a) do the nearest neighbours of an occurrence share its sense, (b) is [CLS] a
good vector of a sentence, (c) which layer serves which task.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import measure as ruler
from firth.contextual.elmo import Elmo
from firth.contextual.occurrences import BertReader, ElmoReader, Occurrence, vectors_of
from firth.contextual.weights import load_bert
from firth.evaluate.similarity import sts
from firth.files import read_json
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.folder import EncoderSettings
from firth.sentence.pool import Pooling
from firth.sentence.published import find
from firth.sentence.tune import TuneSettings, tune
from firth.static import Word2Vec
from firth.static.average import TextVectors
from firth.text.records import Pair
from firth.text.sentences import read_documents
from firth.text.tokenizer import Tokenizer
from senses import balanced, chance, labelled, separation

HELD_OUT = range(10, 15)  # files of enwiki2015 that ELMo was not trained on; BERT reads them without labels
TUNED = "BERT mean, tuned on STS-B train (CoSENT)"


def trained(bert: Path, elmo: Path | None, *, small: bool) -> dict[str, Any]:
    """All three questions; BERT and ELMo are folders of firth pretrain."""
    texts = [
        sentence
        for number in HELD_OUT[: 1 if small else None]
        for document in read_documents(ruler.DATA / "text" / f"enwiki2015-{number}.jsonl.gz")
        for sentence in document
    ]
    minilm = find("sentence-transformers/all-MiniLM-L6-v2")
    folders = {"BERT trained here": bert} | ({"MiniLM": minilm} if minilm else {})
    models: dict[str, Any] = {n: BertReader(load_bert(f), Tokenizer.load(f)) for n, f in folders.items()}
    if elmo is not None:
        models["ELMo trained here"] = ElmoReader(Elmo.load(elmo))
    senses = sense_separation(models, texts)
    ruler.table(senses["rows"])
    sentences = list(sentence_vectors(bert, elmo, [text.lower() for text in texts], small=small))
    ruler.table(sentences)
    runs = {
        name: {key: value for key, value in read_json(folder / "curve.json").items() if key not in ("curve", "out")}
        for name, folder in (("BERT", bert), ("ELMo", elmo))
        if folder is not None and (folder / "curve.json").exists()
    }
    return {"senses": senses, "sentences": sentences, "training": runs}


def sense_separation(models: dict[str, Any], texts: list[str]) -> dict[str, Any]:
    """Every layer of every model on the same occurrences."""
    found = labelled(texts)
    rows = {word: balanced(senses) for word, (_, _, senses) in found.items()}
    truth = [[found[word][2][i] for i in rows[word]] for word in found]
    share, n = chance(truth), sum(map(len, truth))
    # One vector a word: its occurrences are equally near to each other, and every order of them is a draw.
    told: list[dict[str, Any]] = [
        {"model": "word2vec", "layer": "-", "same sense": share, "low": share, "high": share, "n": n}
    ]
    for name, reader in models.items():
        each = []
        for word, (sentences, starts, _) in found.items():
            places = [Occurrence(k, starts[i], starts[i] + len(word)) for k, i in enumerate(rows[word])]
            each.append(vectors_of(places, [sentences[i] for i in rows[word]], reader))
        for layer in range(len(each[0])):
            kept = separation([vectors[layer] for vectors in each], truth)
            told.append({"model": name, "layer": layer, "same sense": kept.value, "low": kept.low,
                         "high": kept.high, "n": kept.n})  # fmt: skip
    return {"words": {word: len(rows[word]) for word in found}, "rows": told}


@dataclass(frozen=True)
class LayerMean:
    """Texts as the mean of one layer's token vectors."""

    reader: Any
    layer: int

    def encode(self, texts: Sequence[str]) -> Any:
        found = [layers[self.layer].mean(0).numpy() for _, layers in self.reader.read(list(texts))]
        return np.stack(found)


def sentence_vectors(bert: Path, elmo: Path | None, texts: list[str], *, small: bool) -> Iterator[dict[str, Any]]:
    """STS-B dev Spearman of [CLS], means, averaged word vectors, each layer, and after contrastive tuning."""
    dev = _pairs("dev")

    def score(name: str, encoder: Any) -> dict[str, Any]:
        first, second = (encoder.encode([row[i] for row in dev]) for i in (0, 1))
        found = sts(first, second, [row[2] for row in dev])
        return {"vectors": name, "Spearman": found.values["cosine_spearman"],
                "low": found.interval.low, "high": found.interval.high, "n": len(dev)}  # fmt: skip

    tokenizer = Tokenizer.load(bert)
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "text.txt").write_text("\n".join(texts))
        words = Word2Vec(dims=100, epochs=1 if small else 3, seed=0).train(Path(place) / "text.txt")
    yield score("word2vec mean", TextVectors(words, np.ones(len(words), np.float32)))
    for mode in ("cls", "mean"):
        yield score(f"BERT {mode}", SentenceEncoder(load_bert(bert), tokenizer, EncoderSettings(Pooling((mode,)))))
    reader = BertReader(load_bert(bert), tokenizer)
    for layer in range(reader.bert.settings.layers + 1):
        yield score(f"BERT mean without its marks, layer {layer}", LayerMean(reader, layer))
    if elmo is not None:
        model = Elmo.load(elmo)
        yield score("ELMo mean, layers mixed equally", model)
        for layer in range(len(model.layers) + 1):
            yield score(f"ELMo mean, layer {layer}", LayerMean(ElmoReader(model), layer))
    encoder = SentenceEncoder(load_bert(bert), tokenizer, EncoderSettings(Pooling(("mean",))))
    pairs = [Pair(a, b, score=value / 5) for a, b, value in _pairs("train")]
    tune(encoder, pairs[:500] if small else pairs, settings=TuneSettings(loss="cosent", rate=1e-4, epochs=2))
    yield score(TUNED, encoder)


def _pairs(split: str) -> list[tuple[str, str, float]]:
    """STS-B in English."""
    with (ruler.DATA / "sts" / f"stsb-en-{split}.csv").open(encoding="utf-8", newline="") as file:
        return [(a, b, float(score)) for a, b, score in csv.reader(file)]
