"""Small networks whose workings are known, for tests of attribution; motifs from published consensus sequences."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from genopred.attribution.target import GroupValues
from genopred.sequence.effects import EffectSettings
from genopred.sequence.models.base import SequenceModel
from genopred.sequence.onehot import encode, onehot

#: IUPAC consensus sequences: ETS (Wei et al. 2010, doi:10.1038/emboj.2010.106), CRE (Montminy et al. 1986,
#: doi:10.1073/pnas.83.18.6682), AP-1 (Angel et al. 1987, doi:10.1016/0092-8674(87)90611-8), NRF1 (Evans and Scarpulla
#: 1990, doi:10.1101/gad.4.6.1023), TATA (Bucher 1990, doi:10.1016/0022-2836(90)90223-9), E box (Ephrussi et al. 1985,
#: doi:10.1126/science.3917574), GATA (Martin and Orkin 1990, doi:10.1101/gad.4.11.1886), octamer (Falkner and Zachau
#: 1984, doi:10.1038/310071a0), GC box (Dynan and Tjian 1983, doi:10.1016/0092-8674(83)90210-6).
CONSENSUS = {
    "ETS": "ACCGGAAGTG", "CRE": "TGACGTCA", "AP1": "TGASTCA", "NRF1": "YGCGCATGCGC", "TATA": "TATAWAAR",
    "EBOX": "CACGTG", "GATA": "WGATAAR", "OCT": "ATGCAAAT", "GC": "GGGGCGGGG",
}  # fmt: skip
IUPAC = {"A": "A", "C": "C", "G": "G", "T": "T", "R": "AG", "Y": "CT", "S": "CG", "W": "AT"}
PLANTED = CONSENSUS["ETS"]


def matrix(consensus):
    """Probabilities (w, 4): 0.94 or more shared by what the letter stands for."""
    out = np.full((len(consensus), 4), 0.02)
    for i, letter in enumerate(consensus):
        for base in IUPAC[letter]:
            out[i, "ACGT".index(base)] = (1 - 0.02 * (4 - len(IUPAC[letter]))) / len(IUPAC[letter])
    return out


def meme(names=tuple(CONSENSUS)):
    """A MEME file of these motifs."""
    lines = ["MEME version 4", "", "ALPHABET= ACGT", "", "strands: + -", ""]
    for name in names:
        rows = matrix(CONSENSUS[name])
        lines += [f"MOTIF {name} {name}", f"letter-probability matrix: alength= 4 w= {len(rows)} nsites= 20 E= 0"]
        lines += [" ".join(f"{value:.4f}" for value in row) for row in rows] + [""]
    return "\n".join(lines)


def jaspar(names=tuple(CONSENSUS)):
    """The same as counts, in JASPAR's format."""
    lines = []
    for name in names:
        counts = np.rint(100 * matrix(CONSENSUS[name])).astype(int)
        lines.append(f">{name}.1\t{name}")
        lines += [f"{base}  [ {' '.join(map(str, counts[:, i]))} ]" for i, base in enumerate("ACGT")]
    return "\n".join(lines) + "\n"


def turned(sequence):
    return sequence[::-1].translate(str.maketrans("ACGT", "TGCA"))


class Finder(nn.Module):
    """What fires where PLANTED stands, on either strand: two bins of two tracks, the second the negative of the first.

    A filter that is the motif itself, a threshold, and a sum: nothing is trained.
    """

    def __init__(self, length, misses=2.5):
        super().__init__()
        w = len(PLANTED)
        self.conv, self.fires = nn.Conv1d(4, 2, w), nn.ReLU()
        filters = np.stack([onehot(encode(text)).T for text in (PLANTED, turned(PLANTED))])
        self.conv.weight = nn.Parameter(torch.from_numpy(filters), requires_grad=False)
        self.conv.bias = nn.Parameter(torch.full((2,), misses - w), requires_grad=False)
        self.half = (length - w + 1) // 2

    def forward(self, onehot):
        fired = self.fires(self.conv(onehot.transpose(1, 2))).sum(1)
        bins = torch.stack([fired[:, : self.half].sum(1), fired[:, self.half :].sum(1)], dim=1)
        return torch.stack([bins, -bins], dim=2)


class Model(SequenceModel):
    """A module as a SequenceModel."""

    name = "known"
    bin_size = 50
    checkpoint_hash = "known-1"
    origin = {"by": "tests"}
    strand_aware = False
    tracks = ("up", "down")
    n_bins = 2

    def __init__(self, module, window=300, **attributes):
        self.module, self.window, self.tss_offset = module.eval(), window, window // 2
        for name, value in attributes.items():
            setattr(self, name, value)

    def torch_module(self):
        return self.module

    def predict_onehot(self, onehot):
        with torch.no_grad():
            return self.module(torch.from_numpy(np.asarray(onehot, dtype=np.float32))).numpy()


class Smooth(nn.Module):
    """Linear, tanh, max pooling, ReLU, softplus: not linear anywhere. Three bins of three tracks."""

    def __init__(self, length=48):
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(
            nn.Conv1d(4, 6, 5), nn.Tanh(), nn.MaxPool1d(4), nn.Conv1d(6, 5, 3), nn.ReLU(), nn.Flatten(),
            nn.Linear(5 * ((length - 4) // 4 - 2), 9), nn.Softplus(),
        )  # fmt: skip

    def forward(self, onehot):
        return self.layers(onehot.transpose(1, 2)).reshape(-1, 3, 3)


def smooth_model(**attributes):
    how = {"n_bins": 3, "bin_size": 16, "tracks": ("x", "y", "z"), "reverse_tracks": (0, 2, 1)} | attributes
    return Model(Smooth(), 48, **how)


class Line(nn.Module):
    """A weighted sum of the bases."""

    def __init__(self, length=20):
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(np.random.default_rng(1).normal(size=(length, 4))).float())

    def forward(self, onehot):
        return (onehot * self.weight).sum((1, 2)).reshape(-1, 1, 1) + 3


def line_model():
    return Model(Line(), 20, n_bins=1, bin_size=20, tracks=("x",))


def values_of(model, **settings):
    return GroupValues(model, EffectSettings.of(model, **settings))


def random_windows(n, length, seed=0):
    return np.eye(4, dtype=np.float32)[np.random.default_rng(seed).integers(0, 4, (n, length))]


def letters(window):
    return "".join("ACGT"[i] for i in window.argmax(axis=1))
