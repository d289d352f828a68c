"""BERT with the two heads that it is pre-trained by: the hidden word, and whether the second segment comes next.

Source: Devlin et al. 2018, arXiv:1810.04805; the sizes tiny to small are those of Turc et al. 2019, arXiv:1908.08962.
Where we differ: the word head is computed at the hidden positions alone, a seventh of the work, and nothing is padded.

    ids (t,) --Bert--> hidden (t, d) --at the m hidden places--> transform, norm --words.T + bias--> scores (m, v)
                       hidden at each [CLS] (n, d) --pooler, tanh--> next_sentence (n, 2)
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from firth.contextual.bert import ACTIVATIONS, Bert, BertSettings
from firth.contextual.weights import load_bert, load_heads, tensors_of, write_tensors
from firth.errors import ModelError
from firth.files import write_folder, write_json
from firth.text.tokenizer import Tokenizer


def bert_tiny(vocab: int = 30_522) -> BertSettings:
    """2 layers of 128: 0.4 M weights beside the words, for tests."""
    return BertSettings(vocab=vocab, dims=128, layers=2, heads=2, hidden=512, pooler=True)


def bert_mini(vocab: int = 30_522) -> BertSettings:
    """4 layers of 256: 3.2 M weights beside the words; learns on a CPU."""
    return BertSettings(vocab=vocab, dims=256, layers=4, heads=4, hidden=1024, pooler=True)


def bert_small(vocab: int = 30_522) -> BertSettings:
    """4 layers of 512: 12.6 M weights beside the words."""
    return BertSettings(vocab=vocab, dims=512, layers=4, heads=8, hidden=2048, pooler=True)


def bert_base(vocab: int = 30_522) -> BertSettings:
    """12 layers of 768, as published: 85 M weights beside the words; for a GPU."""
    return BertSettings(vocab=vocab, pooler=True)


SIZES = {"tiny": bert_tiny, "mini": bert_mini, "small": bert_small, "base": bert_base}


class Scores(NamedTuple):
    """What the heads say: words (m, v) at the places asked for; strange (n, 2), column 1 = B does not come next."""

    words: Tensor
    strange: Tensor | None


class BertPretraining(nn.Module):
    """The encoder `bert` and its heads; weights are drawn from torch's generator: seed it before.

    Args:
        settings: of the encoder; of the family "bert", with a pooler where `next_sentence` is wanted.
        next_sentence: whether there is a head for it.

    Raises:
        ModelError: another family, whose heads have other shapes; or next_sentence without pooler or segments.
    """

    def __init__(self, settings: BertSettings, *, next_sentence: bool = True) -> None:
        super().__init__()
        _check(settings, next_sentence)
        self.bert = Bert(settings)
        self.transform = nn.Linear(settings.dims, settings.dims)
        self.norm = nn.LayerNorm(settings.dims, settings.eps)
        self.bias = nn.Parameter(torch.zeros(settings.vocab))
        self.next_sentence = nn.Linear(settings.dims, 2) if next_sentence else None
        for layer in (self.transform, self.next_sentence):
            if layer is not None and not layer.weight.is_meta:
                nn.init.normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    @staticmethod
    def drawn(settings: BertSettings, *, next_sentence: bool = True, seed: int = 0) -> BertPretraining:
        """A model with weights drawn from `seed`; torch's generator stays as it is."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return BertPretraining(settings, next_sentence=next_sentence)

    def forward(self, ids: Tensor, lengths: Tensor, types: Tensor | None, places: Tensor) -> Scores:
        """Scores of the heads.

        Args:
            ids: (t,) token ids, the sequences end to end.
            lengths: (n,) int64 on the CPU, tokens of each sequence.
            types: (t,) segment of each token; None = all in segment 0.
            places: (m,) where words are asked for.
        """
        settings = self.bert.settings
        hidden = self.bert(ids, lengths, types)
        asked = self.transform(hidden[places])
        kind = ACTIVATIONS[settings.activation]
        asked = self.norm(F.relu(asked) if kind == "relu" else F.gelu(asked, approximate=kind))
        words = F.linear(asked, self.bert.words.weight, self.bias)
        if self.next_sentence is None or self.bert.pooler is None:
            return Scores(words, None)
        first = (lengths.cumsum(0) - lengths).to(hidden.device)
        return Scores(words, self.next_sentence(torch.tanh(self.bert.pooler(hidden[first]))))

    def save(self, folder: Path | str, tokenizer: Tokenizer) -> None:
        """A folder that `BertPretraining.load`, `firth.load`, transformers and sentence-transformers read.

        Raises:
            StorageError: the disk is full or the folder cannot be written; an old folder is untouched.
        """
        settings = self.bert.settings
        tensors = {f"bert.{name}": value for name, value in tensors_of(self.bert).items()}
        state = self.state_dict()
        for ours, theirs in self._heads().items():
            tensors[theirs] = state[ours].detach().to("cpu", torch.float32).contiguous().clone()
        heads = "BertForPreTraining" if self.next_sentence is not None else "BertForMaskedLM"
        with write_folder(folder) as place:
            write_tensors(place / "model.safetensors", tensors)
            write_json(place / "config.json", settings.to_config() | {"architectures": [heads]})
            tokenizer.save(place)
            write_json(place / "tokenizer_config.json", _tokenizer_config(tokenizer, settings.longest))

    @staticmethod
    def load(
        folder: Path | str, *, next_sentence: bool | None = None, draw: bool = True, seed: int = 0
    ) -> BertPretraining:
        """Published weights, to score words with or to go on training.

        Args:
            folder: of a BERT.
            next_sentence: whether there is a head for it; None = where the folder has one.
            draw: heads that the folder does not hold are drawn from `seed`; False refuses it.

        Raises:
            ModelError: no model there, one that is no BERT or lacks a head; FormatError: a damaged file.
        """
        bert = load_bert(folder)
        _check(bert.settings, False)
        found = load_heads(folder, (*_WORD_HEAD.values(), *_NEXT_HEAD.values()))
        if not draw and not set(_WORD_HEAD.values()) <= set(found):
            raise ModelError(
                f"{folder}: has no masked-word head ({_WORD_HEAD['bias']}); take one that firth pretrain bert made, "
                "or a published model of the kind BertForPreTraining or BertForMaskedLM, such as bert-base-uncased"
            )
        if next_sentence is None:
            next_sentence = bert.settings.pooler and set(_NEXT_HEAD.values()) <= set(found)
        settings = bert.settings
        if next_sentence and bert.pooler is None:
            settings = replace(settings, pooler=True)
        model = BertPretraining.drawn(settings, next_sentence=next_sentence, seed=seed)
        model.bert.load_state_dict(bert.state_dict(), strict=bert.settings == settings)
        state = model.state_dict()
        for ours, theirs in model._heads().items():
            if theirs in found:
                if found[theirs].shape != state[ours].shape:
                    raise ModelError(
                        f"{folder}: {theirs} has shape {tuple(found[theirs].shape)}, this size of model "
                        f"{tuple(state[ours].shape)}; are the weights those of this config.json?"
                    )
                state[ours].copy_(found[theirs])
        return model.eval()

    def _heads(self) -> dict[str, str]:
        """Our parameter names -> transformers'."""
        return _WORD_HEAD | (_NEXT_HEAD if self.next_sentence is not None else {})


def _check(settings: BertSettings, next_sentence: bool) -> None:
    if settings.family != "bert":
        raise ModelError(f"architecture {settings.family!r} is not pre-trained by firth; only 'bert' is")
    if next_sentence and not (settings.pooler and settings.types > 1):
        raise ModelError("next-sentence prediction needs a pooler and two segments (pooler=True, types=2)")


def _tokenizer_config(tokenizer: Tokenizer, longest: int) -> dict[str, object]:
    names = {
        "unk_token": "[UNK]",
        "sep_token": "[SEP]",
        "pad_token": "[PAD]",
        "cls_token": "[CLS]",
        "mask_token": "[MASK]",
    }
    kept = {role: name for role, name in names.items() if tokenizer.id_of(name) is not None}
    return {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": longest, **kept}


_WORD_HEAD = {
    "bias": "cls.predictions.bias",
    "transform.weight": "cls.predictions.transform.dense.weight",
    "transform.bias": "cls.predictions.transform.dense.bias",
    "norm.weight": "cls.predictions.transform.LayerNorm.weight",
    "norm.bias": "cls.predictions.transform.LayerNorm.bias",
}
_NEXT_HEAD = {
    "next_sentence.weight": "cls.seq_relationship.weight",
    "next_sentence.bias": "cls.seq_relationship.bias",
}
