"""Texts on disk, searched by meaning, by word and by payload; what an upsert returned from survives kill -9."""

import shutil
from pathlib import Path

import firth

notes = Path("notes.firth")
shutil.rmtree(notes, ignore_errors=True)
enc = firth.load("sentence-transformers/all-MiniLM-L6-v2")
with firth.Collection.create(notes, encoder=enc) as collection:
    collection.upsert(
        ["milk", "cat", "rust"],
        ["Milk curdles when it turns sour.", "The cat sleeps on the warm stove.", "Iron rusts in salt water."],
        [{"topic": "kitchen"}, {"topic": "animals"}, {"topic": "workshop"}],
    )

with firth.Collection.open(notes, encoder=enc, readonly=True) as collection:
    for hit in collection.search("a sleeping animal", k=2):
        print(f"{hit.score:.3f}  {hit.id}: {hit.text}")
    for hit in collection.search("corrosion", k=1, filter={"topic": {"$in": ["workshop", "kitchen"]}}, hybrid=True):
        print(f"{hit.id}: {hit.text}")
