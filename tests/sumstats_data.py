"""People with LD, and the t of their variants, for the tests of summary statistics."""

from __future__ import annotations

import numpy as np
from scipy.special import ndtri


def people(n, m, seed, blocks=4, keep=0.95):
    """Dosages of haplotypes whose alleles go with those beside them, within blocks."""
    rng = np.random.default_rng(seed)
    frequency = np.random.default_rng(99).uniform(0.1, 0.9, m)  # of one population, whoever is drawn
    cut = ndtri(frequency)
    out = np.zeros((n, m))
    for _ in range(2):
        latent = np.empty((n, m))
        for j in range(m):
            fresh = rng.standard_normal(n)
            again = j % (m // blocks) == 0
            latent[:, j] = fresh if again else keep * latent[:, j - 1] + np.sqrt(1 - keep**2) * fresh
        out += latent < cut
    return out


def t_of(x, y):
    """t of each column alone."""
    x, y = x - x.mean(axis=0), y - y.mean()
    r = (y @ x) / np.sqrt((x**2).sum(axis=0) * (y @ y))
    return r * np.sqrt((len(y) - 2) / (1 - r * r))
