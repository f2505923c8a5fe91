"""Contributions of bases to a prediction: gradient × input, integrated gradients (captum), DeepLIFT (tangermeme).

All three give multipliers m of a window x against a background r. What base b contributes is (x - r) · m at its place,
what another base would contribute there is (e - r) · m with e its one-hot; averaged over backgrounds. A method is
complete where the contributions add up to value(x) - value(r); `delta` is by how much they miss it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from genopred.attribution.target import GroupValues, package
from genopred.errors import ModelError, check_choice

Floats = NDArray[np.float64]
Windows = NDArray[np.float32]

#: Points between two values of a module at which DeepLIFT takes its gradient, where it has no rule for it.
_LOCAL = 8


@dataclass(frozen=True)
class Contributions:
    """What one method says of N windows, G track groups, L bases."""

    method: str
    #: Of the base that is there, (G, N, L).
    actual: Floats
    #: Of each base, were it there, (G, N, L, 4).
    hypothetical: Floats = field(repr=False)
    #: Value of the windows, and mean value of their backgrounds, (G, N).
    value: Floats
    background: Floats

    @property
    def delta(self) -> Floats:
        """Sum of the contributions minus the difference of values, (G, N)."""
        return self.actual.sum(axis=2) - (self.value - self.background)

    @property
    def missed(self) -> float:
        """The largest |delta|, as a share of that window's difference of values."""
        scale = np.maximum(np.abs(self.value - self.background), 1e-12 + 1e-6 * np.abs(self.value))
        return float(np.max(np.abs(self.delta) / scale))


def contributions(
    values: GroupValues, windows: Windows, against: Windows, method: str, *,
    steps: int = 20, batch_size: int | None = None,
) -> Contributions:  # fmt: skip
    """Contributions of each base of some windows.

    Parameters
    ----------
    values : GroupValues
        What is attributed.
    windows : array, shape (N, L, 4)
        As the model reads them.
    against : array, shape (N, K, L, 4)
        K backgrounds of each; gradient × input takes their mean.
    method : {"gradient-input", "integrated-gradients", "deeplift"}
    steps : int
        Of integrated gradients (Gauss-Legendre).
    batch_size : int, optional
        Windows at a time.

    Returns
    -------
    Contributions

    Raises
    ------
    ModelError
        If captum or tangermeme is not installed, or a gradient is not finite.

    Notes
    -----
    Gradient × input against a background is x - r times the gradient at x: with the uniform one that is the gradient
    less its mean over the four bases, times the input (Majdandzic et al. 2023, doi:10.1186/s13059-023-02956-3).

    References
    ----------
    Sundararajan et al. (2017), arXiv:1703.01365. Shrikumar et al. (2017), arXiv:1704.02685.
    """
    check_choice("method", method, tuple(METHODS))
    n, k = against.shape[:2]
    step = max(1, (batch_size or values.batch) // k)
    shape = (len(values.names), n, windows.shape[1])
    out = Contributions(method, np.empty(shape), np.empty((*shape, 4)), np.empty(shape[:2]), np.empty(shape[:2]))
    for start in range(0, n, step):
        here = slice(start, start + step)
        x, r = windows[here], against[here]
        multipliers = METHODS[method](values, x, r, steps, batch_size or values.batch)  # (G, n, k, L, 4)
        if not np.isfinite(multipliers).all():
            raise ModelError(
                f"{values.named}: its gradients are not finite, so that nothing can be attributed; check its weights."
            )
        less = (r * multipliers).sum(axis=-1).mean(axis=2)  # (G, n, L)
        m = multipliers.mean(axis=2)
        out.hypothetical[:, here] = m - less[..., None]
        out.actual[:, here] = (x * m).sum(axis=-1) - less
        out.value[:, here] = values.of(x, batch_size).T
        lows = values.of(r.reshape(-1, *r.shape[2:]), batch_size)
        out.background[:, here] = lows.reshape(len(x), k, -1).mean(axis=1).T
    return out


def _gradient_input(values: GroupValues, x: Windows, r: Windows, steps: int, batch: int) -> Floats:
    explain = package("captum.attr").Saliency(values)
    at = values.tensor(x)
    found = [explain.attribute(at.clone().requires_grad_(True), target=g, abs=False) for g in range(len(values.names))]
    same = np.stack([one.detach().double().cpu().numpy() for one in found])[:, :, None]
    return np.repeat(same, r.shape[1], axis=2)


def integrated_gradients(values: GroupValues, x: Windows, r: Windows, steps: int, batch: int) -> Floats:
    """Multipliers (G, N, K, L, 4): gradients averaged over the way from each background to the window."""
    explain = package("captum.attr").IntegratedGradients(values, multiply_by_inputs=False)
    k = r.shape[1]
    ends, starts = values.tensor(np.repeat(x, k, axis=0)), values.tensor(r.reshape(-1, *r.shape[2:]))
    options = {"n_steps": steps, "method": "gausslegendre", "internal_batch_size": max(batch, len(ends))}
    found = [explain.attribute(ends, starts, target=g, **options) for g in range(len(values.names))]
    return np.stack([one.detach().double().cpu().numpy() for one in found]).reshape(-1, *r.shape)


def _deeplift(values: GroupValues, x: Windows, r: Windows, steps: int, batch: int) -> Floats:
    tangermeme = package("tangermeme.deep_lift_shap")
    given: dict[type, Callable[..., object]] = {
        kind: tangermeme.integrated_gradients_op(_LOCAL) for kind in values.integrated
    }
    channels = torch.from_numpy(np.ascontiguousarray(x.transpose(0, 2, 1)))
    lows = torch.from_numpy(np.ascontiguousarray(r.transpose(0, 1, 3, 2)))
    options = {
        "references": lows, "raw_outputs": True, "batch_size": batch, "device": values.device,
        "additional_nonlinear_ops": given, "only_warn": True,
    }  # fmt: skip
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of N, of a background that is no sequence, of deltas: those are returned
        for g in range(len(values.names)):
            one = tangermeme.deep_lift_shap(_Channels(values), channels, target=g, **options)
            found.append(one.double().cpu().numpy().transpose(0, 1, 3, 2))
    return np.stack(found)


class _Channels(torch.nn.Module):
    """Bases before positions, as tangermeme gives them."""

    def __init__(self, values: GroupValues) -> None:
        super().__init__()
        self.values = values
        self.eval()  # tangermeme leaves what it is given as it found it

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.values(channels.transpose(1, 2))
        return found


#: By name: multipliers (G, N, K, L, 4) of windows (N, L, 4) against backgrounds (N, K, L, 4).
METHODS: dict[str, Callable[[GroupValues, Windows, Windows, int, int], Floats]] = {
    "gradient-input": _gradient_input,
    "integrated-gradients": integrated_gradients,
    "deeplift": _deeplift,
}
