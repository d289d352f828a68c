"""How many pairs a second does tuning learn from, against sentence-transformers' trainer on the same batches?

Run:   make bench Q=tune            (8 min on 2 cores; --small 2 min, without dropout only)
Last:  2026-11-23, batch 32, 12 steps, 2 threads, 2 cores Zen 5, other work at the lowest priority beside it
       system                            pairs/s  ratio (range)      of processor time   mean loss
       sentence-transformers float32     1.24     1.0 (0.8 - 1.1)    1.0                 0.916
       sentence-transformers bfloat16    2.17     1.7 (1.3 - 2.0)    1.8                 0.939
       firth float32                     1.68     1.4 (1.0 - 1.4)    1.3                 0.919
       firth bfloat16 (the default)      3.39     2.7 (2.6 - 3.0)    2.7                 0.930
       the same without dropout: 1.0, 2.0 (1.9 - 2.4), 0.98 (0.8 - 1.1), 2.4 (2.0 - 2.5); mean loss 0.884 and ours 0.862
Where a batch holds two answers of one claim, the trainer counts each as a negative of the other and firth does not:
that is the difference of the losses without dropout.
Every step: SciFact claims with their abstract and two hard negatives each, natural lengths, batch 32, InfoNCE at
temperature 0.05, AdamW, clipping; each system takes the same batches in the same order, one batch at a time in turn.
The trainer's own collator, training_step, optimizer and scheduler are used, without its logging. Dropout is 0.1 in
all, as MiniLM's configuration has it; the rows "no dropout" switch it off in both, where their losses can be compared.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

import measure as ruler
from firth.fit.loop import _Run
from firth.fit.settings import Task
from firth.progress import silent
from firth.recipes.load import load
from firth.recipes.negatives import Corpus, with_mined
from firth.sentence import course as lessons
from firth.sentence.batches import Batch
from firth.sentence.encoder import SentenceEncoder
from firth.sentence.mine import MineSettings
from firth.sentence.published import find
from firth.sentence.tune import TuneSettings
from firth.text.records import Pair
from firth.text.testset import TestSet

MODEL = "sentence-transformers/all-MiniLM-L6-v2"
NEGATIVES = 2


@dataclass(frozen=True)
class Measured:
    """Of each step: wall seconds, processor seconds (which a busy machine disturbs less), and the loss."""

    seconds: list[float]
    busy: list[float]
    losses: list[float]


def scifact(pairs: int, corpus: int) -> list[Pair]:
    """Training pairs with mined negatives, from as much of the corpus as is asked for."""
    train = TestSet.load(ruler.DATA / "retrieval" / "scifact", "train")
    made = [
        Pair(train.queries[query], train.documents[document].full)
        for query, found in train.judgements.items()
        for document, grade in found.items()
        if grade > 0
    ][:pairs]
    texts = tuple(dict.fromkeys([p.positive for p in made] + [d.full for d in train.documents.values()][:corpus]))
    encoder = load(MODEL)
    vectors = encoder.encode(list(texts), kind="document", progress=True)
    rules = MineSettings(negatives=100, relative=None, depth=None, sampling="top")
    hard, _ = with_mined(made, Corpus(texts, vectors), encoder, rules)
    # Each text once: the trainer would count a repeated negative twice, and the losses could not be compared.
    used = {pair.positive for pair in made}
    chosen = []
    for pair in hard:
        own = [text for text in pair.negatives if text not in used][:NEGATIVES]
        used.update(own)
        chosen.append(replace(pair, negatives=tuple(own)))
    return [pair for pair in chosen if len(pair.negatives) == NEGATIVES]


def ours(pairs: list[Pair], settings: TuneSettings) -> tuple[Sequence[Batch], Callable[[Batch], float], Any]:
    """The batches, a step that returns its loss, and what keeps the settings alive."""
    encoder = load(MODEL)
    assert isinstance(encoder, SentenceEncoder)
    held = lessons.dropout(encoder.module, settings.dropout)
    held.__enter__()
    course = lessons.Course(encoder, pairs, settings)
    run = _Run(Task(course.module, course.loss_of, course.batches, len(course.first), len), settings.fit, None, silent)
    course.module.train()

    def step(batch: Batch) -> float:
        run.one_step([batch])
        return run.state.curve[-1].loss or 0.0  # fewer than 100 steps: each is a point of the curve

    return course.first, step, (held, course)


def theirs(settings: TuneSettings, *, half: bool, steps: int) -> Callable[[list[dict[str, str]]], float]:
    """A step of sentence-transformers' trainer on rows of texts; returns its loss."""
    from datasets import Dataset
    from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer
    from sentence_transformers import SentenceTransformerTrainingArguments as Arguments
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    options = {"hidden_dropout_prob": settings.dropout, "attention_probs_dropout_prob": settings.dropout}
    model = SentenceTransformer(str(find(MODEL)), device="cpu", config_kwargs=options)
    columns = ["anchor", "positive", *(f"negative_{i}" for i in range(NEGATIVES))]
    arguments = Arguments(
        output_dir=tempfile.mkdtemp(),
        per_device_train_batch_size=settings.batch,
        learning_rate=settings.rate,
        warmup_steps=round(settings.warmup * steps),
        max_steps=steps,
        weight_decay=settings.weight_decay,
        bf16=half,
        use_cpu=True,
        report_to="none",
        dataloader_pin_memory=False,
    )
    empty = Dataset.from_dict({name: ["text"] * 2 for name in columns})
    loss = MultipleNegativesRankingLoss(model, scale=1 / settings.temperature)
    trainer = SentenceTransformerTrainer(model=model, args=arguments, train_dataset=empty, loss=loss)
    wrapped = trainer.accelerator.prepare(model)  # where its autocast comes from
    trainer.create_optimizer_and_scheduler(steps)
    trainer.current_gradient_accumulation_steps = 1  # what its own loop would have set
    model.train()

    def step(rows: list[dict[str, str]]) -> float:
        inputs = trainer.data_collator(rows)
        value = trainer.training_step(wrapped, inputs)
        torch.nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
        model.zero_grad()
        return float(value)

    return step


def rows_of(batch: Batch, pairs: list[Pair]) -> list[dict[str, str]]:
    """A batch of ours as the trainer's rows of texts."""
    queries = list(dict.fromkeys(pair.query for pair in pairs))
    texts = list(dict.fromkeys(text for pair in pairs for text in (pair.positive, *pair.negatives)))
    return [
        {
            "anchor": queries[query],
            "positive": texts[batch.documents[i]],
            **{f"negative_{j}": texts[batch.documents[column]] for j, column in enumerate(batch.own[i])},
        }
        for i, query in enumerate(batch.queries)
    ]


def turns(systems: dict[str, Callable[[int], float]], steps: int) -> dict[str, Measured]:
    """Each system's steps, taking turns; the time of the first is not kept."""
    found = {name: Measured([], [], []) for name in systems}
    for number in range(steps):
        for name, step in systems.items():
            start, busy = time.perf_counter(), time.process_time()
            found[name].losses.append(step(number))
            if number:
                found[name].seconds.append(time.perf_counter() - start)
                found[name].busy.append(time.process_time() - busy)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    steps, batch = (3, 8) if asked.small else (asked.steps, 32)
    pairs = scifact(steps * batch, 140 if asked.small else 1500)
    result: dict[str, Any] = {"steps": steps, "batch": batch, "threads": asked.threads, "rows": []}
    for dropout in (0.0,) if asked.small else (0.1, 0.0):
        result["rows"] += compared(pairs, steps, batch, dropout)
    ruler.table(result["rows"])
    packages = ("torch", "sentence-transformers", "transformers")
    ruler.save("tune_small" if asked.small else "tune", {**result, "environment": ruler.environment(*packages)})


def compared(pairs: list[Pair], steps: int, batch: int, dropout: float) -> list[dict[str, Any]]:
    """One row a system."""
    settings = TuneSettings(batch=batch, negatives=NEGATIVES, dropout=dropout)
    _, half_step, kept = ours(pairs, settings)
    parts, whole_step, also_kept = ours(pairs, replace(settings, precision="float32"))
    texts = [rows_of(part, pairs) for part in parts]
    single, mixed = (theirs(settings, half=half, steps=steps) for half in (False, True))
    found = turns(
        {
            "sentence-transformers float32": lambda i: single(texts[i]),
            "sentence-transformers bfloat16": lambda i: mixed(texts[i]),
            "firth float32": lambda i: whole_step(parts[i]),
            "firth bfloat16": lambda i: half_step(parts[i]),
        },
        min(steps, len(parts)),
    )
    del kept, also_kept  # the dropout that was asked for ends with them
    first = next(iter(found.values()))
    base, busy = statistics.median(first.seconds), statistics.median(first.busy)
    return [
        {
            "system": f"{name}{'' if dropout else ', no dropout'}",
            "pairs/s": batch / statistics.median(one.seconds),
            "ratio": base / statistics.median(one.seconds),
            "low": base / max(one.seconds),
            "high": base / min(one.seconds),
            "processor ratio": busy / statistics.median(one.busy),
            "mean loss": statistics.fmean(one.losses),
        }
        for name, one in found.items()
    ]


if __name__ == "__main__":
    main()
