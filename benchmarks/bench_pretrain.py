"""How fast and how well are BERT and ELMo trained from raw text, and what do their vectors show?

Run:   make bench Q=pretrain         (speed and memory, 6 min on 2 cores; --small 2 min; --model elmo: 2 min)
       python benchmarks/bench_pretrain.py --no-speed --bert BERT --elmo ELMO --text TEXT: what trained models show;
       BERT and ELMO are folders of firth pretrain, TEXT is what ELMO was trained on.
Last:  2026-11-23, Zen 5 that other work shared, no dropout; bert_mini (vocabulary 30,522, 4,096 tokens), 2 threads;
       elmo_small (64 streams x 20, vocabulary 30,003), 1 thread, 10 steps; peak of two steps in a process of its own
       system                         tokens/s   ratio (range)     processor time   loss differs by   peak
       transformers Trainer float32      1,453   1.0 (0.6 - 1.1)                                      2.73 GB
       transformers Trainer bfloat16     1,916   1.3 (1.1 - 1.5)                    0.0002            2.63 GB
       firth float32                     4,682   3.2 (2.9 - 3.4)                    0.000001          1.14 GB
       firth bfloat16 (the default)      9,174   6.3 (5.5 - 6.6)                    0.0003            1.03 GB
       plain ELMo loop float32           1,586   1.0 (0.8 - 1.0)   1.0                                0.97 GB
       firth float32                     5,800   3.7 (3.1 - 4.6)   4.5              0.000001          0.74 GB
       firth bfloat16 (the default)      9,036   5.7 (4.4 - 7.7)   7.1              0.0001            0.66 GB
       ELMo small after one pass over 4.94 M words, 32 streams: held-out perplexity 287.9 forwards, 292.2 backwards;
       Kneser-Ney 5-gram 347.5 (58,506 words, vocabulary 30,003)
       ELMo's contest on 2 threads at rest (--steps 20 and 40): bfloat16 5.4 (3.1 - 5.7) and 5.2 (4.2 - 6.0),
       14,970 and 14,350 tokens/s; four runs beside other work 3.5 to 5.0
       bert_mini after 33.4 M tokens (all 24 M words), 1.05 hours of one core: hidden words 6.61 nats, 0.140 right, next
       sentences 0.722; STS-B dev [CLS] 0.154, mean 0.335, averaged word vectors 0.433, tuned on STS-B train 0.545
BERT: the same packed sequences and hidden words for both; the trainer gets them padded to the longest, with its own
collator left out. Both start from the same weights, without dropout, in float32, so that their losses can be compared;
then in bfloat16. ELMo: the plain loop is `plain_steps`, one direction after the other, characters of every word, the
gradient by autograd; both start from the same weights and take the same batches and candidates.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

import measure as ruler
from firth.contextual.elmo import Elmo, elmo_small, split
from firth.contextual.lstm import plain_steps
from firth.contextual.pretrain import Batch, _Course
from firth.contextual.pretraining import BertPretraining, bert_mini, bert_tiny
from firth.contextual.settings import ElmoTraining, PretrainSettings
from firth.contextual.softmax import plain_losses
from firth.contextual.train_elmo import Course, Stream, Window, perplexities, vocabulary
from firth.fit.loop import _Run
from firth.fit.settings import Task
from firth.progress import silent
from firth.text.sentences import read_documents
from firth.text.vocabulary import train_wordpiece
from kneser_ney import perplexity
from shown import trained

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
    busy: dict[str, list[float]] = {name: [] for name in systems}  # processor seconds, of all threads
    losses: dict[str, list[float]] = {name: [] for name in systems}
    for number, batch in enumerate(batches):
        for name, step in systems.items():
            start, used = time.perf_counter(), time.process_time()
            losses[name].append(step(batch))
            if number:
                seconds[name].append((time.perf_counter() - start) / sizes[number])
                busy[name].append((time.process_time() - used) / sizes[number])
    first = next(iter(systems))
    base, base_busy = statistics.median(seconds[first]), statistics.median(busy[first])
    return [
        {
            "system": name,
            "tokens/s": 1 / statistics.median(each),
            "ratio": base / statistics.median(each),
            "low": base / max(each),
            "high": base / min(each),
            "tokens a processor second": 1 / statistics.median(busy[name]),
            "ratio of processor time": base_busy / statistics.median(busy[name]),
            "last loss": losses[name][-1],
            "largest difference of loss": max(abs(a - b) for a, b in zip(losses[name], losses[first], strict=True)),
            "losses": losses[name],
        }
        for name, each in seconds.items()
    ]


@dataclass(frozen=True)
class Contest:
    """Systems to be built one by one, and the batches that each of them takes."""

    systems: dict[str, Callable[[], Step]]
    batches: list[Any]
    sizes: list[int]
    facts: dict[str, Any]

    def run(self) -> dict[str, Any]:
        """Loss and speed of all of them, and the machine that this was on."""
        rows = turns({name: build() for name, build in self.systems.items()}, self.batches, self.sizes)
        ruler.table([{k: v for k, v in row.items() if k != "losses"} for row in rows])
        return {**self.facts, "threads": torch.get_num_threads(), "rows": rows, "environment": _machine()}

    def peak(self, name: str) -> dict[str, float]:
        """Bytes that one of them takes in two steps beyond what the process had before the first."""
        step = self.systems[name]()
        gc.collect()
        before = _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
        for batch in self.batches[:2]:
            step(batch)
        return {"peak": _status("VmHWM"), "beyond the start": _status("VmHWM") - before}


def _machine() -> dict[str, Any]:
    return ruler.environment("torch", "transformers", "tokenizers")


def _status(name: str) -> int:
    """A size of this process in bytes, as Linux counts it."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


def peaks(models: dict[str, Contest], *, small: bool, threads: int) -> list[dict[str, Any]]:
    """Peak memory of each system, each in a process of its own."""
    rows = []
    for model, contest in models.items():
        for name in contest.systems:
            words = [sys.executable, __file__, "--peak", model, name, "--threads", str(threads), *["--small"] * small]
            run = subprocess.run(words, capture_output=True, text=True, check=True)
            rows.append({"model": model, "system": name, **json.loads(run.stdout.splitlines()[-1])})
    return rows


def bert_contest(documents: Documents, steps: int, *, small: bool) -> Contest:
    """BERT's pre-training against transformers' Trainer."""
    texts = [sentence for document in documents for sentence in document]
    tokenizer = train_wordpiece(texts, size=8_000 if small else 30_522)
    settings = PretrainSettings(tokens=2048 if small else 4096, steps=steps, dropout=0.0, held_out=0.0, warmup=0.0)
    shape = (bert_tiny if small else bert_mini)(tokenizer.size)
    folder = Path(tempfile.mkdtemp()) / "start"
    model = BertPretraining.drawn(shape)
    model.save(folder, tokenizer)

    def course(precision: str) -> _Course:
        own = BertPretraining.load(folder)
        for part in (own.bert, *own.bert.layers):
            part.settings = replace(part.settings, dropout=0.0, attention_dropout=0.0)
        return _Course(own, tokenizer, documents, replace(settings, precision=precision), silent)

    def ours(precision: str) -> Step:
        one = course(precision)
        return stepper(one, replace(settings, precision=precision), one.batches, steps)

    def theirs(half: bool) -> Step:
        return trainer_step(folder, settings, tokenizer.pad or 0, half=half, steps=steps)

    systems = {
        "transformers Trainer float32": partial(theirs, half=False),
        "transformers Trainer bfloat16": partial(theirs, half=True),
        "firth float32": partial(ours, "float32"),
        "firth bfloat16 (the default)": partial(ours, "auto"),
    }
    batches = list(course("float32").batches(0))
    sizes = [len(batch.ids) for batch in batches]
    facts = {"vocabulary": tokenizer.size, "filled": sum(sizes) / (len(sizes) * settings.tokens)}
    return Contest(systems, batches, sizes, facts)


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

    sampled = staticmethod(plain_losses)

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


def elmo_contest(documents: Documents, steps: int, streams: int) -> Contest:
    """ELMo's training against the plain loop."""
    how = ElmoTraining(streams=streams, dropout=0.0, held_out=0.0, min_count=2, warmup=0.0)
    words = vocabulary(documents, how)
    stream = Stream.of(documents, words, 50)

    def course(kind: type[Course], precision: str) -> Course:
        torch.manual_seed(0)
        return kind(Elmo(elmo_small(), words), stream, replace(how, precision=precision))

    def step(kind: type[Course], precision: str) -> Step:
        made = course(kind, precision)
        found = stepper(made, made.settings, made.batches, steps)
        if kind is PlainCourse:
            made.model.layers = torch.nn.ModuleList(PlainLayer(layer) for layer in made.model.layers)
        return found

    systems = {
        "plain loop float32": partial(step, PlainCourse, "float32"),
        "firth float32": partial(step, Course, "float32"),
        "firth bfloat16 (the default)": partial(step, Course, "auto"),
    }
    batches = list(islice(course(Course, "float32").batches(0), steps))
    sizes = [batch.places[0, 1:].size for batch in batches]
    return Contest(systems, batches, sizes, {"streams": streams, "vocabulary": len(words)})


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
    assert found["ELMo words"] == sum(len(line) + 1 for line in test), "both are scored on all held-out words"
    return found | {"words trained on": float(sum(map(len, train))), "vocabulary": float(len(ids))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--bert", type=Path)
    parser.add_argument("--elmo", type=Path)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--no-speed", action="store_true")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--model", choices=("bert", "elmo"), help="speed and memory of one only")
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)  # a process of `peaks`
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    steps = 4 if asked.small else asked.steps
    if asked.peak or not asked.no_speed:
        documents = read_documents(ruler.DATA / "text" / "enwiki2015-14.jsonl.gz")[: 40 if asked.small else 300]
        makers = {
            "bert": lambda: bert_contest(documents, steps, small=asked.small),
            "elmo": lambda: elmo_contest(documents, steps, 16 if asked.small else 64),
        }
    if asked.peak:
        print(json.dumps(makers[asked.peak[0]]().peak(asked.peak[1])))
        return
    found: dict[str, Any] = {}
    if not asked.no_speed:
        contests = {name: make() for name, make in makers.items() if asked.model in (None, name)}
        found |= {f"{name} speed": contest.run() for name, contest in contests.items()}
    if not (asked.no_speed or asked.no_memory):
        found["memory"] = peaks(contests, small=asked.small, threads=asked.threads)
        ruler.table(found["memory"])
    if asked.elmo and asked.text:
        found["perplexity"] = held_to_kneser_ney(asked.elmo, asked.text)
        print(found["perplexity"])
    if asked.bert:
        found["trained"] = trained(asked.bert, asked.elmo, small=asked.small)
    question = "pretrain_small" if asked.small else "pretrain"
    before = {} if asked.small else (ruler.last_result(question) or {})  # the parts that were not asked for stay
    ruler.save(question, {**before, **found, "environment": _machine()})


if __name__ == "__main__":
    main()
