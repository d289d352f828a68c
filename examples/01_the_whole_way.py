"""The whole way in twelve lines: measure a published model on a domain, tune it, measure again, index, search."""

import firth
from firth.index import HNSW

enc = firth.load("sentence-transformers/all-MiniLM-L6-v2")
test = firth.TestSet.load("examples/data/scifact")
before = firth.evaluate(enc, test)
texts = [document.full for document in test.documents.values()]
firth.tune(enc, list(firth.read("examples/data/scifact").pairs), documents=texts)
after = firth.evaluate(enc, test)
p = after.against(before)["ndcg@10"].p
print("nDCG@10", before.intervals["ndcg@10"], "->", after.intervals["ndcg@10"], f"p {p:.4f}")
index = HNSW.build(enc.encode(texts, kind="document"), codec="sq8", keys=list(test.documents))
near = index.search(enc.encode(["Does vitamin D protect against infection?"], kind="query"), k=3, recall=0.99)
for key, score in zip(index.names(near.ids[0]), near.scores[0], strict=True):
    print(f"{score:.3f}  {test.documents[key].title}")
