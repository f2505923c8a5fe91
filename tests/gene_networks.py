"""Networks of genes small enough for tests, and a language model of DNA that knows nothing."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import torch

#: Sizes of each kind; an `embedding` needs its folder, too.
SMALL: dict[str, dict[str, Any]] = {
    "hybrid": {"channels": 16, "hidden": 8, "dropout": 0.1},
    "dual-path": {"channels": 16, "distal": 8, "dropout": 0.1},
    "transformer": {"channels": 16, "layers": 1, "heads": 2, "dropout": 0.1},
    "embedding": {"piece": 120, "dropout": 0.1},
    "cnn": {"channels": 16, "layers": 1, "dropout": 0.1},
    "enformer-small": {"dim": 48, "depth": 1, "heads": 2, "attn_dim_key": 8, "dim_divisible_by": 12},
}


def dna_model(folder: Path, k: int = 1, hidden: int = 16) -> Path:
    """A BERT of random weights whose words are all k-mers, as a folder of Hugging Face's."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += ["".join(word) for word in itertools.product("ACGT", repeat=k)] + (["N"] if k == 1 else [])
    if k == 1:
        words += ["##A", "##C", "##G", "##T", "##N"]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    tokenizer = BertTokenizer(str(folder / "vocab.txt"), do_lower_case=False)
    tokenizer.save_pretrained(folder)
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        config = BertConfig(
            vocab_size=len(words), hidden_size=hidden, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=16, max_position_embeddings=130,
        )  # fmt: skip
        BertModel(config).save_pretrained(folder, safe_serialization=True)
    return folder


def rewrite(file: Path, **values: Any) -> None:
    """Set some keys of a JSON file."""
    file.write_text(json.dumps(json.loads(file.read_text()) | values))
