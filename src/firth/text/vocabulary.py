"""A WordPiece vocabulary learnt from a text, by the `tokenizers` library: BERT's rules, the text's own pieces.

Source: Wu et al. 2016, arXiv:1609.08144; Devlin et al. 2018, arXiv:1810.04805 (special tokens, lower-casing). The
library merges the most frequent pair first, as byte-pair encoding does, which gives nearly the same pieces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from firth.errors import DataError, MissingExtraError, SettingsError
from firth.text.tokenizer import Tokenizer

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4
SMALLEST = 100  # entries; fewer cannot hold an alphabet and its continuations
ALPHABET = 1000  # different characters kept, the most frequent; the others become [UNK]


def train_wordpiece(
    texts: Iterable[str], *, size: int = 30_522, lower_case: bool = True, min_count: int = 2
) -> Tokenizer:
    """Learn a vocabulary; the same texts give the same one.

    Args:
        texts: kept in memory, since they are read for their characters and for their words.
        size: most entries, special ones included; a small text may give fewer.
        lower_case: also strips accents, as BERT-uncased does.
        min_count: times that a pair must stand in the text to become a piece.

    Raises:
        SettingsError: a size under 100.
        DataError: no words in the texts.
        MissingExtraError: the tokenizers library is not installed.
    """
    if size < SMALLEST:
        raise SettingsError(f"vocabulary of {size}: expected at least {SMALLEST} entries")
    try:
        from tokenizers import trainers
    except ImportError as error:
        raise MissingExtraError("tokenizers", "torch", "learning a vocabulary") from error
    texts = list(texts)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    often = sorted(counts, key=lambda char: (-counts[char], char))
    rare = dict.fromkeys(map(ord, often[ALPHABET:]), " ")
    backend = _wordpiece({}, lower_case)
    # The library numbers "##a", "##b", … as its hash table happens to give them, and breaks ties by number; given to it
    # as special they come in our order. Rare characters are taken out here, since it breaks those ties by chance too.
    follow = _following(backend, often[:ALPHABET])
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, min_frequency=min_count, special_tokens=[*SPECIAL, *follow], show_progress=False
    )
    backend.train_from_iterator((text if text.isascii() else text.translate(rare) for text in texts), trainer)
    vocabulary = backend.get_vocab()
    if len(vocabulary) <= len(SPECIAL) + len(follow):
        raise DataError("no words to learn a vocabulary from; is the text empty?")
    return Tokenizer(_wordpiece(vocabulary, lower_case))


def _wordpiece(vocabulary: dict[str, int], lower_case: bool) -> Any:
    """The library's tokenizer with BERT's rules over a vocabulary."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

    backend = Backend(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    if vocabulary:
        backend.add_special_tokens(list(SPECIAL))
        sep, cls = ((name, vocabulary[name]) for name in ("[SEP]", "[CLS]"))
        backend.post_processor = processors.BertProcessing(sep, cls)
    return backend


def _following(backend: Any, characters: Iterable[str]) -> list[str]:
    """The entries for characters that can stand inside a word; marks and Chinese characters are words of their own."""
    normal, rules = backend.normalizer, backend.pre_tokenizer
    plain = sorted(set(normal.normalize_str("".join(characters))) - set(" "))
    return [f"##{char}" for char in plain if len(rules.pre_tokenize_str(normal.normalize_str(f"a{char}"))) == 1]
