"""From pairs to a tuned model: hard negatives, a dev part that chooses, short vectors that stay good, and what was
forgotten on the way. Two minutes on two cores; docs/tuning.md says what each setting costs."""

import firth
from firth.recipes.sets import split
from firth.sentence.tune import TuneSettings
from firth.text.records import Pair

SETTINGS = TuneSettings(
    batch=16,
    negatives=2,  # hard ones a pair, drawn anew each epoch
    matryoshka=(64, 128, 256),  # prefixes that shall be good vectors too
    mixes=(0.5, 0.75),  # also try weights between the old and the tuned ones: they forget less
)

domain = firth.read("examples/data/scifact")
# Who trains, who chooses and who measures share neither a question nor a document. SciFact's own division is not used:
# over half of its test claims are answered by an abstract that answers a training claim too.
judged = {query: found for part in domain.judgements.values() for query, found in part.items()}
sets = split({"all": judged}, domain.queries, seed=0)
# Every answer, and a part of the other abstracts, so that it takes two minutes and not eight.
answers = {document for found in judged.values() for document in found}
documents = {d.id: d for i, d in enumerate(domain.documents) if d.id in answers or i % 8 == 0}
pairs = [Pair(domain.queries[q], documents[d].full) for q, found in sets.train.items() for d in found][:400]
dev, test = (firth.TestSet(documents, domain.queries, part) for part in (sets.dev, sets.test))

enc = firth.load("sentence-transformers/all-MiniLM-L6-v2")
before = firth.evaluate(enc, test)
texts = [document.full for document in documents.values()]
tuned = firth.tune(enc, pairs, documents=texts, settings=SETTINGS, dev=dev, say=print)

print(f"dev nDCG@10 {tuned.base:.3f} -> {tuned.best:.3f}: epoch {tuned.epoch}, {tuned.mix:g} of it tuned weights")
for point in tuned.curve:
    print(f"  {point.rows:>6,} pairs  loss {point.loss or 0:.3f}  {'' if point.score is None else point.score}")
after = firth.evaluate(enc, test)
for name, paired in after.against(before).items():
    print(f"{name:<12}{before.intervals[name]} -> {after.intervals[name]}  {paired.delta:+.3f}  p {paired.p:.3f}")
print("trained for", enc.trained_dims, "dimensions")
