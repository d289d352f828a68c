"""Word vectors from a text file: king - man + woman, and the limit of one vector a word.

Give it text, a sentence or paragraph a line; a hundred megabytes of an encyclopedia take half a minute:

    python examples/03_words.py corpus.txt
"""

import sys

from firth.static import Word2Vec

vectors = Word2Vec(dims=100, window=5, epochs=5, tokenizer="unicode", seed=0).train(sys.argv[1])
print(vectors, "loss of each epoch:", [round(loss, 3) for loss in vectors.about["losses"]])

print("king - man + woman:", vectors.most_similar(positive=["king", "woman"], negative=["man"], k=3))
print("which does not fit:", vectors.doesnt_match(["breakfast", "cereal", "dinner", "lunch"]))

# Each word has one vector, the mean of all its senses: the bank of a river lies beside the bank that lends money.
for sense in ("river", "money"):
    print(f"bank and {sense}: {vectors.similarity('bank', sense):.2f}")
print("bank:", [word for word, _ in vectors.most_similar("bank", k=8)])

vectors.save("words.safetensors")
