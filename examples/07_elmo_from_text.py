"""An ELMo from raw text: train it, and look at one word's vectors in two contexts.

python examples/07_elmo_from_text.py TEXT OUT        one sentence a line or more; a million words and more
"""

import sys

import torch

from firth.contextual.elmo import elmo_small, split
from firth.contextual.settings import ElmoTraining
from firth.contextual.train_elmo import train_elmo
from firth.progress import bar
from firth.text.sentences import read_documents

text, out = sys.argv[1:3]
with bar("pre-training") as progress:
    model, found = train_elmo(read_documents(text), elmo_small(), settings=ElmoTraining(), progress=progress)
model.save(out)
print(f"{found.words:,} words, held out: {found.held_out}")

texts = ["He sat on the bank of the river.", "She took a loan from the bank."]
layers = model.layers_of([split(one) for one in texts])  # of each text (3, words, 256)
first, second = (row[:, split(one).index("bank")] for row, one in zip(layers, texts, strict=True))
for number, likeness in enumerate(torch.cosine_similarity(first, second).tolist()):
    print(f"layer {number}: the two banks are alike to {likeness:.3f}")  # layer 0 has no context: 1.000
