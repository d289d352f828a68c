"""Contextual embeddings: token ids in, one vector for each token in its context out."""
