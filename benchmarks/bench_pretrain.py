"""How fast and how well are BERT and ELMo trained from raw text, and what do their vectors show?

Run:   make bench Q=pretrain         (speed only, 4 min on 2 cores; --small 1 min)
       python benchmarks/bench_pretrain.py --bert BERT --elmo ELMO --text TEXT adds what trained models show:
       BERT and ELMO are folders of firth pretrain, TEXT is what ELMO was trained on.
Last:  2026-11-23, bert_mini (vocabulary 30,522, batch 4,096 tokens) and elmo_small (64 streams x 20), 7 steps, 2 cores
       Zen 5 that other work shared, no dropout
       system                         tokens/s   ratio (range)      largest difference of loss
       transformers Trainer float32      1,453   1.0 (0.6 - 1.1)
       transformers Trainer bfloat16     1,916   1.3 (1.1 - 1.5)    0.0002
       firth float32                     4,682   3.2 (2.9 - 3.4)    0.000001
       firth bfloat16 (the default)      9,174   6.3 (5.5 - 6.6)    0.0003
       plain ELMo loop float32           2,341   1.0 (0.9 - 1.1)
       firth float32                     4,450   1.9 (1.8 - 2.0)    0
       firth bfloat16 (the default)      6,943   3.0 (2.8 - 3.1)    0.0007    5 was aimed at
BERT: the same packed sequences and hidden words for both; the trainer gets them padded to the longest, with its own
collator left out. Both start from the same weights, without dropout, in float32, so that their losses can be compared;
then in bfloat16. ELMo: the plain loop is `plain_steps`, one direction after the other, characters of every word, the
gradient by autograd; both start from the same weights and take the same batches and candidates.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

import measure as ruler
from firth.contextual.elmo import Elmo, elmo_small, split
from firth.contextual.lstm import plain_steps
from firth.contextual.pretrain import Batch, PretrainSettings, _Course
from firth.contextual.pretraining import BertPretraining, bert_mini, bert_tiny
from firth.contextual.train_elmo import Course, ElmoTraining, Stream, Window, perplexities, vocabulary
from firth.evaluate.similarity import sts
from firth.files import read_json
from firth.fit.loop import _Run
from firth.fit.settings import Task
from firth.progress import silent
from firth.text.sentences import read_documents
from firth.text.tokenizer import Tokenizer
from firth.text.vocabulary import train_wordpiece
from kneser_ney import perplexity
from senses import balanced, labelled, separation

Documents = list[list[str]]
Step = Callable[[Any], float]


def stepper(course: Any, settings: Any, batches: Any, steps: int) -> Step:
    """A step of firth's own loop; returns its loss."""
    module = course.model if isinstance(course, _Course) else course
    run = _Run(Task(module, course.loss, batches, steps, lambda _: 1), settings.fit, None, silent)
    module.train()

    def step(batch: Any) -> float:
        before = run.state.losses
        run.one_step([batch])
        return (run.state.curve[-1].loss or 0.0) if run.state.counted == 0 else run.state.losses - before

    return step


def trainer_step(folder: Path, settings: PretrainSettings, pad: int, *, half: bool, steps: int) -> Step:
    """A step of transformers' Trainer on one of our batches, padded; returns its loss."""
    from transformers import BertForPreTraining, Trainer, TrainingArguments

    zero = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    model = BertForPreTraining.from_pretrained(folder, **zero)
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        learning_rate=settings.rate,
        warmup_steps=round(settings.warmup * steps),
        max_steps=steps,
        weight_decay=settings.weight_decay,
        bf16=half,
        use_cpu=True,
        report_to="none",
        dataloader_pin_memory=False,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=[{}])
    wrapped = trainer.accelerator.prepare(model)  # where its autocast comes from
    trainer.create_optimizer_and_scheduler(steps)
    trainer.current_gradient_accumulation_steps = 1  # what its own loop would have set
    model.train()

    def step(batch: Batch) -> float:
        value = trainer.training_step(wrapped, padded(batch, pad))
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
        model.zero_grad()
        return float(value)

    return step


def padded(batch: Batch, pad: int) -> dict[str, torch.Tensor]:
    """A batch of ours as the trainer's arrays."""
    longest, n = int(batch.lengths.max()), len(batch.lengths)
    real = np.arange(longest) < batch.lengths[:, None]
    labels = np.full(len(batch.ids), -100)
    labels[batch.places] = batch.truth
    arrays = {"input_ids": (batch.ids, pad), "token_type_ids": (batch.types, 0), "labels": (labels, -100)}
    found = {}
    for name, (flat, empty) in arrays.items():
        whole = np.full((n, longest), empty, np.int64)
        whole[real] = flat
        found[name] = torch.from_numpy(whole)
    found["attention_mask"] = torch.from_numpy(real.astype(np.int64))
    found["next_sentence_label"] = torch.from_numpy(batch.strange)
    return found


def turns(systems: dict[str, Step], batches: list[Any], sizes: list[int]) -> list[dict[str, Any]]:
    """Every system takes every batch, in turn; the first step is not timed."""
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    losses: dict[str, list[float]] = {name: [] for name in systems}
    for number, batch in enumerate(batches):
        for name, step in systems.items():
            start = time.perf_counter()
            losses[name].append(step(batch))
            if number:
                seconds[name].append((time.perf_counter() - start) / sizes[number])
    first = next(iter(systems))
    base = statistics.median(seconds[first])
    return [
        {
            "system": name,
            "tokens/s": 1 / statistics.median(each),
            "ratio": base / statistics.median(each),
            "low": base / max(each),
            "high": base / min(each),
            "last loss": losses[name][-1],
            "largest difference of loss": max(abs(a - b) for a, b in zip(losses[name], losses[first], strict=True)),
            "losses": losses[name],
        }
        for name, each in seconds.items()
    ]


def bert_speed(documents: Documents, steps: int, *, small: bool) -> dict[str, Any]:
    """BERT's tokens a second against transformers' Trainer."""
    texts = [sentence for document in documents for sentence in document]
    tokenizer = train_wordpiece(texts, size=8_000 if small else 30_522)
    settings = PretrainSettings(tokens=2048 if small else 4096, steps=steps, dropout=0.0, held_out=0.0, warmup=0.0)
    shape = (bert_tiny if small else bert_mini)(tokenizer.size)
    folder = Path(tempfile.mkdtemp()) / "start"
    model = BertPretraining.drawn(shape)
    model.save(folder, tokenizer)
    systems: dict[str, Step] = {
        f"transformers Trainer {name}": trainer_step(folder, settings, tokenizer.pad or 0, half=half, steps=steps)
        for name, half in (("float32", False), ("bfloat16", True))
    }
    courses = []
    for name, precision in (("float32", "float32"), ("bfloat16 (the default)", "auto")):
        how = replace(settings, precision=precision)
        own = BertPretraining.load(folder)
        for part in (own.bert, *own.bert.layers):
            part.settings = replace(part.settings, dropout=0.0, attention_dropout=0.0)
        courses.append(_Course(own, tokenizer, documents, how, silent))
        systems[f"firth {name}"] = stepper(courses[-1], how, courses[-1].batches, steps)
    batches = list(courses[0].batches(0))
    sizes = [len(batch.ids) for batch in batches]
    return {
        "vocabulary": tokenizer.size,
        "filled": sum(sizes) / (len(sizes) * settings.tokens),
        "rows": turns(systems, batches, sizes),
    }


class PlainLayer(torch.nn.Module):
    """The same weights, step by step."""

    def __init__(self, layer: Any) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor, state: Any) -> Any:
        y, (h, c) = plain_steps(self.layer, x, state)
        return y, (h.detach(), c.detach())

    def start(self, rows: int) -> Any:
        return self.layer.start(rows)


class PlainCourse(Course):
    """Every word of every batch goes through the characters, whole width; the layers go step by step."""

    def loss(self, window: Window) -> torch.Tensor:
        symbols = torch.from_numpy(self.stream.symbols[window.places[:, :-1]].astype(np.int64))
        x = self.model.characters._group(symbols.flatten(0, 2)).view(*symbols.shape[:3], -1)
        count = len(self.model.layers)
        states = [(self.state(f"h{i}", window.first), self.state(f"c{i}", window.first)) for i in range(count)]
        found, behind = self.model.both_ways(x, states, 0.0)
        for number, (h, c) in enumerate(behind):
            self.get_buffer(f"h{number}").copy_(h)
            self.get_buffer(f"c{number}").copy_(c)
        targets = torch.from_numpy(self.stream.targets[window.places[:, 1:]]).flatten(1)
        return self.cross_entropies(found[-1].flatten(1, 2), targets, torch.from_numpy(window.candidates)).mean()


def elmo_speed(documents: Documents, steps: int, streams: int) -> dict[str, Any]:
    """ELMo's words a second against the plain loop."""
    how = ElmoTraining(streams=streams, dropout=0.0, held_out=0.0, min_count=2, warmup=0.0)
    words = vocabulary(documents, how)
    stream = Stream.of(documents, words, 50)
    systems: dict[str, Step] = {}
    kept: Course | None = None
    for name, kind, precision in (
        ("plain loop float32", PlainCourse, "float32"),
        ("firth float32", Course, "float32"),
        ("firth bfloat16 (the default)", Course, "auto"),
    ):
        torch.manual_seed(0)
        model = Elmo(elmo_small(), words)
        kept = kind(model, stream, ElmoTraining(**{**vars(how), "precision": precision}))
        systems[name] = stepper(kept, kept.settings, kept.batches, steps)
        if kind is PlainCourse:
            model.layers = torch.nn.ModuleList(PlainLayer(layer) for layer in model.layers)
    assert kept is not None
    batches = list(islice(kept.batches(0), steps))
    return {"streams": streams, "rows": turns(systems, batches, [batch.places[0, 1:].size for batch in batches])}


def held_to_kneser_ney(folder: Path, text: Path) -> dict[str, float]:
    """Perplexities of an ELMo and of a 5-gram model of its vocabulary on the same held-out sentences."""
    how, model = ElmoTraining(), Elmo.load(folder)
    documents = read_documents(text)
    count = round(how.held_out * len(documents))
    ids = {word: i for i, word in enumerate(model.words)}

    def numbered(part: Documents) -> list[list[int]]:
        return [[ids.get(word, 2) for word in split(line)] for document in part for line in document]

    train, test = numbered(documents[:-count]), numbered(documents[-count:])
    found = {f"ELMo {name}": value for name, value in perplexities(model, documents[-count:]).items()}
    found["Kneser-Ney 5-gram perplexity"] = perplexity(train, test, len(ids))
    return found | {"words trained on": float(sum(map(len, train))), "vocabulary": float(len(ids))}


def sense_separation(models: dict[str, Any], texts: list[str]) -> list[dict[str, Any]]:
    """Every layer of every model on the same occurrences."""
    from firth.contextual.occurrences import Occurrence, vectors_of

    found = labelled(texts)
    rows = {word: balanced(senses) for word, (_, _, senses) in found.items()}
    truth = [[found[word][2][i] for i in rows[word]] for word in found]
    told = [
        {"model": "word2vec", "layer": "-", "same sense": 0.5, "low": 0.5, "high": 0.5, "n": sum(map(len, truth))}
    ]  # one vector a word: every order of the neighbours is a draw
    for name, reader in models.items():
        each = []
        for word, (sentences, starts, _) in found.items():
            places = [Occurrence(k, starts[i], starts[i] + len(word)) for k, i in enumerate(rows[word])]
            each.append(vectors_of(places, [sentences[i] for i in rows[word]], reader))
        for layer in range(len(each[0])):
            share = separation([vectors[layer] for vectors in each], truth)
            told.append({"model": name, "layer": layer, "same sense": share.value, "low": share.low,
                         "high": share.high, "n": share.n})  # fmt: skip
    print(f"{len(found)} words: {', '.join(f'{word} {len(rows[word])}' for word in found)}")
    return told


@dataclass(frozen=True)
class LayerMean:
    """Texts as the mean of one layer's token vectors."""

    reader: Any
    layer: int

    def encode(self, texts: Sequence[str]) -> Any:
        found = [layers[self.layer].mean(0).numpy() for _, layers in self.reader.read(list(texts))]
        return np.stack(found)


def sentence_vectors(folder: Path, elmo: Path | None, texts: list[str], *, small: bool) -> list[dict[str, Any]]:
    """STS-B dev Spearman of [CLS], mean, averaged word vectors, ELMo's layers, and after contrastive tuning."""
    import csv

    from firth.contextual.weights import load_bert
    from firth.sentence.encoder import SentenceEncoder
    from firth.sentence.folder import EncoderSettings
    from firth.sentence.pool import Pooling
    from firth.sentence.tune import TuneSettings, tune
    from firth.static import Word2Vec
    from firth.static.average import TextVectors
    from firth.text.records import Pair

    def read(split_: str) -> list[tuple[str, str, float]]:
        with (ruler.DATA / "sts" / f"stsb-en-{split_}.csv").open(encoding="utf-8", newline="") as file:
            return [(a, b, float(score)) for a, b, score in csv.reader(file)]

    dev = read("dev")
    told: list[dict[str, Any]] = []

    def score(name: str, encoder: Any) -> None:
        first, second = (encoder.encode([row[i] for row in dev]) for i in (0, 1))
        found = sts(first, second, [row[2] for row in dev])
        told.append({"vectors": name, "Spearman": found.values["cosine_spearman"],
                     "low": found.interval.low, "high": found.interval.high, "n": len(dev)})  # fmt: skip

    from firth.contextual.occurrences import BertReader, ElmoReader

    tokenizer = Tokenizer.load(folder)
    reader = BertReader(load_bert(folder), tokenizer)
    for layer in range(reader.bert.settings.layers + 1):
        score(f"BERT mean, layer {layer}", LayerMean(reader, layer))
    for mode in ("cls", "mean"):
        score(f"BERT {mode}", SentenceEncoder(load_bert(folder), tokenizer, EncoderSettings(Pooling((mode,)))))
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "text.txt").write_text("\n".join(texts))
        words = Word2Vec(dims=100, epochs=1 if small else 3, seed=0).train(Path(place) / "text.txt")
    score("word2vec mean", TextVectors(words, np.ones(len(words), np.float32)))
    if elmo is not None:
        model = Elmo.load(elmo)
        score("ELMo mean, layers mixed", model)
        for layer in range(len(model.layers) + 1):
            score(f"ELMo mean, layer {layer}", LayerMean(ElmoReader(model), layer))
    encoder = SentenceEncoder(load_bert(folder), tokenizer, EncoderSettings(Pooling(("mean",))))
    pairs = [Pair(a, b, score=value / 5) for a, b, value in read("train")]
    tune(encoder, pairs[:500] if small else pairs, settings=TuneSettings(loss="cosent", rate=1e-4, epochs=2))
    score("BERT mean, tuned on STS-B train (CoSENT)", encoder)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--bert", type=Path)
    parser.add_argument("--elmo", type=Path)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--no-speed", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    steps = 4 if asked.small else asked.steps
    documents = read_documents(ruler.DATA / "text" / "enwiki2015-14.jsonl.gz")
    found: dict[str, Any] = {} if asked.small else (ruler.last_result("pretrain") or {})
    if not asked.no_speed:
        part = documents[: 40 if asked.small else 300]
        found["bert speed"] = bert_speed(part, steps, small=asked.small)
        ruler.table([{k: v for k, v in row.items() if k != "losses"} for row in found["bert speed"]["rows"]])
        found["elmo speed"] = elmo_speed(part, steps, 16 if asked.small else 64)
        ruler.table([{k: v for k, v in row.items() if k != "losses"} for row in found["elmo speed"]["rows"]])
    if asked.elmo and asked.text:
        found["perplexity"] = held_to_kneser_ney(asked.elmo, asked.text)
        print(found["perplexity"])
    if asked.bert:
        found["trained"] = trained(asked.bert, asked.elmo, documents, small=asked.small)
    packages = ("torch", "transformers", "tokenizers")
    ruler.save("pretrain_small" if asked.small else "pretrain", {**found, "environment": ruler.environment(*packages)})


def trained(bert: Path, elmo: Path | None, documents: Documents, *, small: bool) -> dict[str, Any]:
    """What the vectors of models trained here show, beside the published MiniLM."""
    from firth.contextual.occurrences import BertReader, ElmoReader
    from firth.contextual.weights import load_bert
    from firth.sentence.published import find

    texts = [sentence for document in documents for sentence in document]
    for number in range(10, 10 if small else 14):
        for document in read_documents(ruler.DATA / "text" / f"enwiki2015-{number}.jsonl.gz"):
            texts += document
    minilm = find("sentence-transformers/all-MiniLM-L6-v2")
    folders = {"BERT trained here": bert} | ({"MiniLM": minilm} if minilm else {})
    models: dict[str, Any] = {n: BertReader(load_bert(f), Tokenizer.load(f)) for n, f in folders.items()}
    if elmo is not None:
        models["ELMo trained here"] = ElmoReader(Elmo.load(elmo))
    run = read_json(bert / "curve.json")
    senses = sense_separation(models, texts)
    ruler.table(senses)
    sentences = sentence_vectors(bert, elmo, [text.lower() for text in texts], small=small)
    ruler.table(sentences)
    return {"senses": senses, "sentences": sentences, "training": {k: v for k, v in run.items() if k != "curve"}}


if __name__ == "__main__":
    main()
