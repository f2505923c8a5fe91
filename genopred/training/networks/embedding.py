"""A pre-trained DNA language model as encoder: any that transformers loads from a folder without running its code."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from genopred.errors import ModelError, examples, shortened
from genopred.sequence.onehot import N_CODE, decode
from genopred.training.networks.gene import GeneInputs, GeneNetwork, GeneShape, Link
from genopred.training.networks.stem import AttentionPool

#: What an encoder's folder must hold, and what says that it would run code of its own.
_CONFIG, _WEIGHTS, _CODE = "config.json", "model.safetensors", "auto_map"
#: Letters of a DNA model's words.
_LETTERS = set("ACGTNU")
#: What a vocabulary is tried on: all words of up to three bases are in it.
_PROBE = "AAACAAGAATACCACGACTAGCAGGAGTATCATGATTCCCGCCTCGGCGTCTGCTTGGGTGTTTAACCGGTT"
#: Whether a folder may lack its weights.
_LATER: ContextVar[bool] = ContextVar("filled later", default=False)
#: Sequences whose embedding is kept, of a frozen encoder.
_KEPT = 50_000


class Embedding(GeneNetwork):
    """Pieces of the window through an encoder, the mean of each piece's words, and attention that pools pieces.

    `folder` holds a Hugging Face model and its tokenizer; `tune` trains the encoder, too, and without it each sequence
    is encoded once. `piece` bases are encoded at a time, which must fit the encoder's longest input.
    """

    kind = "embedding"
    differentiable = False
    SIZES = {"folder": "", "tune": False, "piece": 1000, "heads": 2, "dropout": 0.2}

    def __init__(self, n_cells: int, shape: GeneShape, sizes: dict[str, Any], link: Link = "identity") -> None:
        super().__init__(n_cells, shape, sizes, link)
        self.folder = Path(sizes["folder"])
        self.tokenizer, self.encoder, self.word = open_encoder(self.folder, sizes["piece"])
        self.encoder.requires_grad_(bool(sizes["tune"]))
        self._check_length()
        width = int(self.encoder.config.hidden_size)
        pieces = -(-shape.window // sizes["piece"])
        self.norm = nn.LayerNorm(width)
        self.pool = AttentionPool(width, sizes["heads"], pieces, shape.before, sizes["piece"])
        self.dropout = nn.Dropout(sizes["dropout"])
        self.finish(width * sizes["heads"])
        self._kept: dict[bytes, torch.Tensor] = {}

    @classmethod
    def check(cls, shape: GeneShape, sizes: dict[str, Any]) -> None:
        if shape.tracks:
            raise ModelError(
                f"network.kind 'embedding' reads sequence alone, and [[inputs.tracks]] names {shape.tracks} tracks; "
                "leave them out, or use another network."
            )
        if not sizes["folder"]:
            raise ModelError("network.folder is missing: the folder of a Hugging Face DNA model (config.json).")

    @classmethod
    def kept(cls, shape: GeneShape, sizes: dict[str, Any]) -> int:
        return shape.window

    def train(self, mode: bool = True) -> Embedding:
        super().train(mode)
        if not self.sizes["tune"]:
            self.encoder.eval()  # no dropout in what is not learned
        return self

    def tokens(self, inputs: GeneInputs) -> torch.Tensor:
        return self.norm(self._pieces(inputs.window))  # type: ignore[no-any-return]

    def _pieces(self, window: torch.Tensor) -> torch.Tensor:
        """The encoder's mean over each piece, (B, pieces, width)."""
        known = window[..., :4].detach()
        codes = torch.where(known.amax(2) > 0, known.argmax(2), N_CODE).cpu().numpy().astype(np.int8)
        size = self.sizes["piece"]
        texts = [decode(row[at : at + size]) for row in codes for at in range(0, codes.shape[1], size)]
        found = self._encoded(texts) if self.sizes["tune"] else self._remembered(texts)
        return found.to(window).view(len(codes), -1, found.shape[-1])

    def _remembered(self, texts: list[str]) -> torch.Tensor:
        keys = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
        new = {key: text for key, text in zip(keys, texts) if key not in self._kept}
        if len(self._kept) + len(new) > _KEPT:
            self._kept, new = {}, dict(zip(keys, texts))
        for at in range(0, len(new), 32):
            part = list(new)[at : at + 32]
            with torch.no_grad():
                self._kept.update(zip(part, self._encoded([new[key] for key in part]).cpu()))
        return torch.stack([self._kept[key] for key in keys])

    def _encoded(self, texts: list[str]) -> torch.Tensor:
        """Mean of the last hidden state over words, special ones left out, (texts, width)."""
        given = self.tokenizer(
            [spaced(text, self.word) for text in texts], return_tensors="pt", padding=True,
            return_special_tokens_mask=True,
        )  # fmt: skip
        inner = given.pop("attention_mask")
        special = given.pop("special_tokens_mask")
        place = next(self.encoder.parameters()).device
        hidden = self.encoder(input_ids=given["input_ids"].to(place), attention_mask=inner.to(place)).last_hidden_state
        keep = (inner * (1 - special)).to(hidden)[..., None]
        return (hidden * keep).sum(1) / keep.sum(1).clamp(min=1)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._kept.clear()  # of other weights
        super()._load_from_state_dict(*args, **kwargs)

    def described(self) -> dict[str, str]:
        """The files (name: text) that say what the encoder is, without its weights, and its tokenizer's."""
        with tempfile.TemporaryDirectory() as place:
            self.encoder.config.save_pretrained(place)
            self.tokenizer.save_pretrained(place)
            return {file.name: file.read_text(encoding="utf-8") for file in sorted(Path(place).iterdir())}

    def _check_length(self) -> None:
        """Refuse a piece of more words than the encoder takes, by giving it one: what it takes is not always said."""
        size = self.sizes["piece"]
        words = len(self.tokenizer(spaced(_probe(size), self.word))["input_ids"])
        most = getattr(self.encoder.config, "max_position_embeddings", None)
        try:
            with torch.no_grad():
                self._encoded([_probe(size)])
        except (IndexError, RuntimeError):
            said = "fewer" if most is None else f"about {most:,}"
            raise ModelError(
                f"network.piece = {size:,} bp are {words:,} words, and {self.folder} takes {said}; lower network.piece."
            ) from None


@contextmanager
def filled_later() -> Iterator[None]:
    """Networks that are built here get their weights from what genopred saved, their encoders' included."""
    token = _LATER.set(True)
    try:
        yield
    finally:
        _LATER.reset(token)


def _probe(length: int) -> str:
    return (_PROBE * (length // len(_PROBE) + 1))[:length]


def spaced(text: str, word: int) -> str:
    """A sequence as a tokenizer takes it: as it is, or (`word` bases) as overlapping words with spaces between them.

    >>> spaced("ACGTA", 0), spaced("ACGTA", 3)
    ('ACGTA', 'ACG CGT GTA')
    """
    return text if not word else " ".join(text[i : i + word] for i in range(max(len(text) - word + 1, 1)))


def open_encoder(folder: Path, piece: int) -> tuple[Any, Any, int]:
    """Tokenizer, encoder and length of the words (0 where the tokenizer cuts pieces itself) of a model's folder.

    Within `filled_later` a folder without weights gives a network that is not filled yet.

    Raises
    ------
    ModelError
        If there is no such folder, it wants to run code of its own, has no weights or pickled ones alone, or a
        vocabulary that is none of DNA.
    """
    _check_folder(folder)
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging as chatter

    chatter.set_verbosity_error()
    how: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **how)
        if _has_weights(folder):
            encoder = AutoModel.from_pretrained(folder, use_safetensors=True, **how)
        else:
            encoder = AutoModel.from_config(AutoConfig.from_pretrained(folder, **how))
    except Exception as bad:  # transformers and safetensors have their own errors
        said = shortened(next(iter(str(bad).splitlines()), type(bad).__name__), 200)
        raise ModelError(
            f"network.folder {folder}: transformers cannot load it ({said}); needed a model of a kind that "
            "transformers knows, with its tokenizer."
        ) from None
    if not isinstance(getattr(encoder.config, "hidden_size", None), int):
        raise ModelError(f"network.folder {folder}: its config has no hidden_size; needed an encoder of words.")
    word = _word(tokenizer, folder, piece)
    if len(tokenizer) > encoder.get_input_embeddings().num_embeddings:
        raise ModelError(
            f"network.folder {folder}: the tokenizer has {len(tokenizer):,} words and the model "
            f"{encoder.get_input_embeddings().num_embeddings:,}; they are of different models."
        )
    return tokenizer, encoder.float().eval(), word


def _check_folder(folder: Path) -> None:
    if not (folder / _CONFIG).is_file():
        raise ModelError(
            f"network.folder {folder}: no {_CONFIG} there; needed a local folder of a Hugging Face model (nothing is "
            "downloaded)."
        )
    for name in (_CONFIG, "tokenizer_config.json"):
        try:
            about = json.loads((folder / name).read_text(encoding="utf-8")) if (folder / name).is_file() else {}
        except (ValueError, OSError) as bad:
            raise ModelError(f"network.folder {folder}: {name} is not JSON ({shortened(bad)}).") from None
        if isinstance(about, dict) and about.get(_CODE):
            raise ModelError(
                f"network.folder {folder}: {name} wants to run code of its own ({_CODE}), which genopred does not do; "
                "use a model of a kind that transformers has itself."
            )
    pickled = [file.name for file in folder.iterdir() if file.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl")]
    if pickled and not _has_weights(folder):
        raise ModelError(
            f"network.folder {folder}: its weights are pickled ({examples(pickled)}), and reading them could run code; "
            f"convert them to {_WEIGHTS}."
        )

    if not _has_weights(folder) and not _LATER.get():
        raise ModelError(f"network.folder {folder}: no {_WEIGHTS} there; needed the model's weights, copied whole.")


def _has_weights(folder: Path) -> bool:
    """In one file or in shards."""
    return any((folder / name).is_file() for name in (_WEIGHTS, f"{_WEIGHTS}.index.json"))


def _word(tokenizer: Any, folder: Path, piece: int) -> int:
    """Length of the words that must be cut for the tokenizer, 0 for none; a ModelError where it knows no DNA."""
    special = set(tokenizer.all_special_tokens)
    words = [text.lstrip("#Ġ▁").upper() for text in tokenizer.get_vocab() if text not in special]
    dna = [text for text in words if text and set(text) <= _LETTERS]
    refusal = ModelError(
        f"network.folder {folder}: {len(dna):,} of {len(words):,} words of its vocabulary are made of A, C, G, T and N "
        f"(others are {examples([text for text in words if text not in dna]) or 'none'}); needed a model of DNA."
    )
    if len(dna) < 4 or 2 * len(dna) <= len(words):
        raise refusal
    unknown = tokenizer.unk_token_id
    # a tokenizer may know short texts only, and take a longer one for one word that it does not know
    for word in (0, *range(1, 9)):
        ids = tokenizer(spaced(_probe(piece), word), add_special_tokens=False)["input_ids"]
        if len(ids) > 1 and unknown not in ids:
            return word
    raise refusal
