"""A BERT from raw text: learn its vocabulary, train it, fill a gap, use it as a sentence encoder.

python examples/06_bert_from_text.py TEXT OUT        blank lines between documents; a million words and more
"""

import sys

import firth
from firth.contextual.occurrences import fill
from firth.contextual.pretrain import pretrain_bert
from firth.contextual.pretraining import BertPretraining, bert_mini
from firth.contextual.settings import PretrainSettings
from firth.progress import bar
from firth.text.sentences import read_documents
from firth.text.vocabulary import train_wordpiece

text, out = sys.argv[1:3]
documents = read_documents(text)
tokenizer = train_wordpiece((sentence for document in documents for sentence in document), size=16_000)
model = BertPretraining.drawn(bert_mini(tokenizer.size), seed=0)
with bar("pre-training") as progress:
    found = pretrain_bert(model, tokenizer, documents, settings=PretrainSettings(rate=1e-3), progress=progress)
model.save(out, tokenizer)

print(f"{found.tokens:,} tokens, held out: {found.held_out}")
print(fill(model, tokenizer, "The capital of France is [MASK].")[0])
print(firth.load(out).encode(["a first text", "a second"]).shape)
