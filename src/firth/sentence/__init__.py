"""Sentence embeddings: texts in, one unit vector each out; and how such an encoder is trained."""
