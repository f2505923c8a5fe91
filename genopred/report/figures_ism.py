"""The picture of an in-silico mutagenesis: which bases matter, and what each change does."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genopred.errors import GenopredError
from genopred.files import safe_name
from genopred.report.figures import COLOURS, SMALL, _figure, _wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BASES = "ACGT"
_LETTERS = {"A": "#2e8b57", "C": "#2f6bb3", "G": "#c97b12", "T": "#b4433a"}
#: Below this many pixels a base, letters become bars.
_LEGIBLE = 4.0


def picture_names(groups: Sequence[str]) -> list[str]:
    """What the groups' pictures are called: the name as far as a file can have it, unless another's is the same.

    >>> picture_names(["CAGE:K562", "DNASE"])
    ['CAGE_K562', 'DNASE']
    """
    plain = [re.sub(r"[^\w.+-]+", "_", name)[:60] for name in groups]
    lower = [name.lower() for name in plain]
    return [name if lower.count(low) == 1 else safe_name(whole) for name, low, whole in zip(plain, lower, groups)]


def mutagenesis(
    effects: NDArray[np.floating],
    sequence: str,
    *,
    chrom: str,
    start: int,
    title: str = "",
    label: str = "effect",
    marks: Sequence[tuple[int, str]] = (),
    width: int = 1100,
) -> Figure:
    """Above, each base as high as what is lost on average when it is changed; below, the effect of each change.

    `effects`, shape (n, 4), are of changing each of the n bases of `sequence` (forward strand, the first at the 1-based
    position `start`) to A, C, G, T: 0 for the base that is there, NaN where unknown. `label` says beside the colours
    what an effect is. `marks` are SNPs to point at, (position, name); those outside the stretch are left out.
    """
    n = len(sequence)
    effects = np.asarray(effects, dtype=np.float64)
    if effects.shape != (n, 4):
        raise GenopredError(f"effects have shape {effects.shape}; needed ({n}, 4) for {n} bases.")
    known = np.isfinite(effects)
    if not known.any():
        raise GenopredError("There is no effect to draw; every base of the stretch is N.")
    # the base that is there has effect 0: the mean over the other three
    lost = -np.where(known, effects, 0.0).sum(axis=1) / 3
    limit = float(np.abs(effects[known]).max()) or 1.0
    shown = sorted((pos, name) for pos, name in marks if start <= pos < start + n)
    named = _levels(shown, start, n, width)
    rows = 1 + max((level for *_, level in named), default=-1)
    with _figure(width, 330 + 15 * rows) as figure:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[1.35, 1])
        legible = (width - 130) / n >= _LEGIBLE
        if legible:
            _letters(top, sequence, lost, start)
        else:
            colours = [_LETTERS.get(base, COLOURS["rule"]) for base in sequence]
            top.bar(start + np.arange(n), lost, width=1.0, color=colours)
        spread = float(np.abs(lost).max()) or 1.0
        low, high = min(0.0, float(lost.min())), max(0.0, float(lost.max()))
        top.set_ylim(low - 0.06 * spread, high + 0.06 * spread)
        top.axhline(0, color=COLOURS["soft"], linewidth=0.8)
        top.set_ylabel("lost by a change\n(mean of three)")
        top.tick_params(labelbottom=False)
        for pos, _ in shown:
            top.axvline(pos, color=COLOURS["ink"], linewidth=0.7, linestyle=(0, (2, 2)), zorder=0)
        text: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "fontsize": SMALL}
        text |= {"xycoords": ("data", "axes fraction"), "color": COLOURS["ink"]}
        for pos, name, level in named:
            top.annotate(name, (pos, 1), xytext=(0, 3 + 15 * level), **text)
        around = (start - 0.5, start + n - 0.5, 3.5, -0.5)
        shades: dict[str, Any] = {"cmap": "RdBu_r", "vmin": -limit, "vmax": limit, "interpolation": "nearest"}
        image = bottom.imshow(np.ma.masked_invalid(effects.T), aspect="auto", extent=around, **shades)
        bottom.set_facecolor(COLOURS["rule"])
        if legible:
            at = [(start + i, BASES.index(base)) for i, base in enumerate(sequence) if base in BASES]
            size = min(4.0, 0.2 * (width - 130) / n)
            bottom.scatter(*zip(*at), s=size**2, color=COLOURS["baseline"], linewidths=0, zorder=2)
        bottom.set_yticks(range(4), list(BASES))
        for tick in bottom.get_yticklabels():
            tick.set_color(COLOURS["ink"])  # the letters' own colours are too light for text
            tick.set_fontweight("bold")
        bottom.set_ylabel("changed to")
        bottom.set_xlim(start - 0.5, start + n - 0.5)
        where = f"{chrom}; grey dots: the reference's base" if legible else chrom
        _positions(bottom, where, 8 if width >= 500 else 2)
        figure.colorbar(image, ax=[top, bottom], label=label, fraction=0.02, pad=0.01)
        if title:
            top.set_title(_wrapped(title, width - 150), pad=6 + 15 * rows)
    return figure


def _positions(ax: Axes, chrom: str, nbins: int) -> None:
    """An axis of bases, whole ones alone."""
    ax.locator_params(axis="x", integer=True, nbins=nbins)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}" if abs(value - round(value)) < 1e-6 else "")
    ax.set_xlabel(f"position on {chrom}")


def _levels(shown: Sequence[tuple[int, str]], start: int, n: int, width: int) -> list[tuple[int, str, int]]:
    """Names of SNPs in rows above the picture, so that none covers another; those that three rows cannot hold go."""
    ends = [-np.inf] * 3
    out = []
    for pos, name in shown:
        middle = (pos - start + 0.5) / n * (width - 130)
        half = 3.8 * len(name) + 4
        level = next((i for i, end in enumerate(ends) if middle - half > end), None)
        if level is not None:
            ends[level] = middle + half
            out.append((pos, name, level))
    return out


def _letters(axes: Axes, sequence: str, heights: NDArray[np.float64], start: float) -> None:
    """Each base as a letter that fills its column from 0 to its height, upside down below 0."""
    for i, (base, height) in enumerate(zip(sequence, heights.tolist())):
        if base in BASES and height != 0:
            _letter(axes, base, start + i, 0.0, height)


def _stacks(axes: Axes, heights: NDArray[np.float64], start: float) -> None:
    """A logo: at each position the letters of all bases on each other, the highest on top; heights (n, 4) from 0 up."""
    for i, row in enumerate(heights):
        bottom = 0.0
        for at in np.argsort(row, kind="stable").tolist():
            if row[at] > 0:
                _letter(axes, BASES[at], start + i, bottom, float(row[at]))
                bottom += float(row[at])


def _letter(axes: Axes, base: str, x: float, bottom: float, height: float) -> None:
    """One letter, its column's middle at x."""
    from matplotlib.patches import PathPatch
    from matplotlib.transforms import Affine2D

    to = Affine2D().scale(0.92, height).translate(x - 0.46, bottom)
    axes.add_patch(PathPatch(to.transform_path(_shape(base)), facecolor=_LETTERS[base], linewidth=0))


@cache
def _shape(base: str) -> Any:
    """A letter's outline, in the unit square."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath
    from matplotlib.transforms import Affine2D

    path = TextPath((0, 0), base, size=1, prop=FontProperties(family="DejaVu Sans", weight="bold"))
    box = path.get_extents()
    return Affine2D().translate(-box.x0, -box.y0).scale(1 / box.width, 1 / box.height).transform_path(path)
