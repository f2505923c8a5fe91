"""LD and clumping: kernels against plain loops, EM against a search over the likelihood, clumps against plink1.9."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from bed_reader import open_bed, to_bed
from hypothesis import given, settings
from hypothesis import strategies as st

from genopred.errors import GenopredError
from genopred.genetics import ld
from genopred.genetics.moments import Moments

HERE = Path(__file__).parent
GOLDEN = HERE / "golden" / "plink_prs"
SHARED = Path(os.environ.get("GENOPRED_SHARED", HERE.parent.parent / "shared"))


def linked(rng, n, m, missing=0.0, soft=False):
    """Dosages with LD: haplotypes copied from a few founders."""
    founders = rng.random((6, m)) < rng.uniform(0.2, 0.8, m)
    source = np.cumsum(rng.random((2 * n, m)) < 0.1, axis=1) * 5 + rng.integers(6, size=(2 * n, 1))
    alleles = founders[source % 6, np.arange(m)].astype(float)
    x = alleles[:n] + alleles[n:]
    if soft:
        x = np.clip(x + rng.normal(scale=0.1, size=x.shape), 0, 2)
    x[rng.random(x.shape) < missing] = np.nan
    return x.astype(np.float32)


def naive_r2(a, b):
    have = ~np.isnan(a) & ~np.isnan(b)
    a, b = a[have].astype(float), b[have].astype(float)
    if len(a) < 2 or a.std() < 1e-6 or b.std() < 1e-6:
        return np.nan
    return np.corrcoef(a, b)[0, 1] ** 2


def searched_r2(a, b):
    """Haplotype r² by trying out every split of the double heterozygotes on a fine grid."""
    have = ~np.isnan(a) & ~np.isnan(b)
    a, b = a[have].astype(int), b[have].astype(int)
    known = np.zeros((2, 2))
    both = 0
    for i, j in zip(a, b):
        if i == 1 and j == 1:
            both += 1
            continue
        first, second = {0: (0, 0), 1: (0, 1), 2: (1, 1)}[i], {0: (0, 0), 1: (0, 1), 2: (1, 1)}[j]
        for allele_a, allele_b in zip(first, second):
            known[allele_a, allele_b] += 1
    total = known.sum() + 2 * both
    if not total:
        return np.nan
    share = np.linspace(0, both, 200_001) if both else np.zeros(1)
    f00, f01 = (known[0, 0] + share) / total, (known[0, 1] + both - share) / total
    f10, f11 = (known[1, 0] + both - share) / total, (known[1, 1] + share) / total
    with np.errstate(divide="ignore", invalid="ignore"):
        loglik = both * np.log(f00 * f11 + f01 * f10)
        for count, f in ((known[0, 0], f00), (known[0, 1], f01), (known[1, 0], f10), (known[1, 1], f11)):
            loglik = loglik + (count * np.log(f) if count else 0)
    best = int(np.argmax(loglik))
    p, q = f10[best] + f11[best], f01[best] + f11[best]
    return (f11[best] - p * q) ** 2 / (p * (1 - p) * q * (1 - q)) if 0 < p < 1 and 0 < q < 1 else np.nan


def naive_clump(r2, p, pos, p1, limit, kb, chrom=None):
    free, index = ~np.isnan(p), []
    for i in sorted(np.flatnonzero(free), key=lambda j: (p[j], j)):
        if p[i] > p1 or not free[i]:
            continue
        index.append(i)
        near = np.abs(pos - pos[i]) < kb * 1000
        if chrom is not None:
            near &= chrom == chrom[i]
        free &= ~(near & (np.nan_to_num(r2[i]) > limit))
        free[i] = False
    return index


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.15]), st.booleans(), st.sampled_from([3, 63, 64, 65, 130]))
def test_genotype_r2_is_the_squared_correlation_of_samples_that_have_both(seed, missing, soft, n):
    x = linked(np.random.default_rng(seed), n, 9, missing, soft)
    x[:, 4] = 1
    out = ld.r2_matrix(x)
    expected = np.array([[naive_r2(a, b) for b in x.T] for a in x.T])
    np.testing.assert_allclose(out, expected, atol=2e-5 if soft else 1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.2]), st.sampled_from([4, 12, 70]))
def test_em_r2_is_at_the_highest_likelihood(seed, missing, n):
    x = linked(np.random.default_rng(seed), n, 4, missing)
    out = ld.r2_matrix(x, "em")
    for i in range(4):
        for j in range(i):
            np.testing.assert_allclose(out[i, j], searched_r2(x[:, i], x[:, j]), atol=2e-4)
            np.testing.assert_allclose(ld.em_r2(2 - x[:, i], x[:, j]), out[i, j], atol=1e-9)


def test_em_r2_of_phase_known_and_of_double_heterozygotes_alone():
    assert ld.em_r2([0, 0, 2, 2], [0, 0, 2, 2]) == 1
    assert ld.em_r2([0, 0, 2, 2], [0, 2, 0, 2]) == 0
    assert ld.em_r2([1, 1, 1], [1, 1, 1]) == pytest.approx(1)
    assert np.isnan(ld.em_r2([0, 1, 2], [1, 1, np.nan]) * 0 + ld.em_r2([0, 0, 0], [0, 1, 2]))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from(["genotype", "em"]),
    st.sampled_from([0.0, 0.1]),
    st.booleans(),
    st.booleans(),
)
def test_clumps_are_those_of_a_plain_loop(seed, r2, missing, soft, shuffled):
    rng = np.random.default_rng(seed)
    m = 60
    soft = soft and r2 == "genotype"
    x = linked(rng, 50, m, missing, soft)
    pos = np.sort(rng.integers(1, 300_000, m))
    p = np.round(rng.random(m) ** 2, 2)  # with ties
    p[rng.random(m) < 0.05] = np.nan
    chrom = rng.integers(1, 3, m) if shuffled else None
    if shuffled:
        pos = rng.permutation(pos)
    square = ld.r2_matrix(x, r2)
    limits = (0.0912, 0.3337, 0.777)
    grid = ld.clump_grid(x, p, pos, p_thresholds=(1, 0.2, 0.01), r2_thresholds=limits, kb=40, r2=r2, chrom=chrom)
    for (p1, limit), index in grid.items():
        assert index.tolist() == naive_clump(square, p, pos, p1, limit, 40, chrom)
        alone = ld.clump(x, p, pos, p1=p1, p2=1, r2_threshold=limit, kb=40, r2=r2, chrom=chrom)
        assert alone.tolist() == index.tolist()


def test_members_are_near_correlated_below_p2_and_in_one_clump():
    rng = np.random.default_rng(3)
    x, p = linked(rng, 80, 100), rng.random(100)
    pos = np.arange(100) * 1000
    square = ld.r2_matrix(x)
    clumps = ld.clump_members(x, p, pos, p1=0.5, p2=0.9, r2_threshold=0.2, kb=20)
    assert list(clumps) == ld.clump(x, p, pos, p1=0.5, p2=1, r2_threshold=0.2, kb=20).tolist()
    taken = np.concatenate(list(clumps.values()))
    assert len(taken) == len(set(taken.tolist())) > 0 and not set(taken.tolist()) & set(clumps)
    for index, members in clumps.items():
        assert (p[members] < 0.9).all() and (np.abs(pos[members] - pos[index]) < 20_000).all()
        assert (square[index, members] > 0.2).all()


def test_the_bounds_are_plinks():
    """A distance of exactly the window is outside, p1 itself is inside, p2 itself is outside."""
    g = np.tile([0, 1, 2, 1], 20)
    for distance, count in ((249_999, 1), (250_000, 2)):
        for far in (1_000_000 - distance, 1_000_000 + distance):
            out = ld.clump(np.column_stack([g, g]), [0.01, 0.02], [1_000_000, far], p1=1, p2=1)
            assert len(out) == count
    assert ld.clump(g[:, None], [0.05], [1], p1=0.05, p2=1).tolist() == [0]
    pair = np.column_stack([g, g])
    assert ld.clump_members(pair, [0.01, 0.02], [1, 2], p1=0.01, p2=0.02)[0].tolist() == []


def golden_clumps():
    table = [line.split("\t") for line in (GOLDEN / "clumps.tsv").read_text().splitlines()[1:]]
    out = {}
    for r2, p1, index, members in table:
        out.setdefault((float(r2), float(p1)), {})[index] = [] if members == "-" else members.split(",")
    return out


def test_goldens_of_plinks_clump():
    bed = open_bed(GOLDEN / "cohort.bed", num_threads=1)
    founders = bed.father == "0"
    x = bed.read(dtype="float32")[founders]
    cells = [line.split()[8] for line in (GOLDEN / "linear.txt").read_text().splitlines()[1:]]
    p = np.array([np.nan if cell == "NA" else float(cell) for cell in cells])
    pos, sid = bed.bp_position, bed.sid
    goldens = golden_clumps()
    assert len(goldens) == 21
    for (limit, p1), golden in goldens.items():
        p2, kb = (0.05, 50) if limit == 0.3 else (1, 100)
        out = ld.clump_members(x, p, pos, p1=p1, p2=p2, r2_threshold=limit, kb=kb, r2="em")
        assert {sid[i]: sid[members].tolist() for i, members in out.items()} == golden
        assert sid[list(out)].tolist() == list(golden)


def plink_index(folder, limit, p1):
    (folder / "o.clumped").unlink(missing_ok=True)
    command = f"plink1.9 --bfile w --allow-no-sex --clump w.p --clump-p1 {p1} --clump-p2 1 --clump-r2 {limit} --out o"
    subprocess.run([*command.split(), "--threads", "1"], cwd=folder, check=True, capture_output=True)
    if not (folder / "o.clumped").exists():  # nothing passes p1
        return []
    rows = (folder / "o.clumped").read_text().splitlines()[1:]
    return [int(row.split()[2][1:]) for row in rows if row.split()]


@pytest.mark.skipif(shutil.which("plink1.9") is None, reason="plink1.9 is not installed")
@pytest.mark.parametrize("missing", [0.0, 0.05])
def test_the_installed_plink_clumps_alike(tmp_path, missing):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        m = 150
        x = linked(rng, 60, m, missing)
        pos = np.sort(rng.integers(1, 1_000_000, m))
        cells = [f"{value:.3g}" for value in rng.random(m) ** 4]
        properties = {"chromosome": ["1"] * m, "sid": [f"v{j}" for j in range(m)], "bp_position": pos}
        to_bed(tmp_path / "w.bed", x, properties=properties)
        (tmp_path / "w.p").write_text("SNP P\n" + "".join(f"v{j} {cell}\n" for j, cell in enumerate(cells)))
        p = [float(cell) for cell in cells]
        grid = ld.clump_grid(x, p, pos, p_thresholds=(1, 0.01, 1e-5), r2_thresholds=(0.1, 0.5), r2="em")
        for (p1, limit), index in grid.items():
            assert index.tolist() == plink_index(tmp_path, limit, f"{p1:f}")


@pytest.mark.skipif(not (SHARED / "peers").exists(), reason="../shared is not there")
def test_a_real_gene_clumps_as_plink_did():
    """plink_gene0: 286 training people, 2,758 SNPs; its index SNPs at p1 = 1 and four r²."""
    cyvcf2 = pytest.importorskip("cyvcf2")
    folder = SHARED / "peers" / "plink_gene0"
    train = [line.split()[1] for line in (folder / "train.keep").read_text().splitlines()]
    vcf = cyvcf2.VCF(str(SHARED / "data/geuvadis_chr22/genotypes.chr22.vcf.gz"), gts012=True, samples=train)
    records = [(v.POS, f"22:{v.POS}:{v.REF}:{v.ALT[0]}", v.gt_types.copy()) for v in vcf("chr22:46163858-47163858")]
    pos, ids = np.array([r[0] for r in records]), [r[1] for r in records]
    x = np.array([r[2] for r in records], dtype=np.float32).T
    rows = dict(line.split() for line in (folder / "g0.pval").read_text().splitlines())
    p = np.array([float(rows[name]) for name in ids])
    limits = (0.1, 0.2, 0.5, 0.8)
    grid = ld.clump_grid(x, p, pos, p_thresholds=(1,), r2_thresholds=limits, r2="em")
    for limit in limits:
        assert [ids[i] for i in grid[1, limit]] == (folder / f"g0_r{limit}.idx").read_text().split()


def test_a_masked_subset_is_the_subset():
    x = linked(np.random.default_rng(5), 150, 20, 0.1)
    keep = np.random.default_rng(6).random(150) < 0.7
    calls, part = ld.pack(x).masked(keep), ld.pack(x[keep])
    order, thresholds = np.arange(20), np.array([0.2])
    low, high = np.zeros(20, dtype=np.int64), np.full(20, 20)
    for r2 in ("genotype", "em"):
        a, b = (ld.greedy(c, order, 20, low, high, thresholds, r2) for c in (calls, part))
        assert np.array_equal(a, b)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 2))
def test_sums_of_hard_calls_clump_as_the_calls_to_the_last_bit(seed, n_out):
    """The r² thresholds are among the values that occur, so that one more bit would show."""
    rng = np.random.default_rng(seed)
    m = 40
    x = linked(rng, 90, m)
    x[:, 7] = 1
    group = rng.integers(0, 4, 90)
    keep = group >= n_out
    pos = np.sort(rng.integers(1, 300_000, m))
    low, high = ld.windows(pos, 60)
    order = rng.permutation(m)
    values = ld.r2_matrix(x[keep])[np.triu_indices(m, 1)]
    thresholds = np.sort(rng.choice(values[(values > 0) & (values < 1)], 8))
    whole, out = (
        Moments.of(x, np.zeros(90)),
        [Moments.of(x[group == g], np.zeros((group == g).sum())) for g in range(2)],
    )
    calls = ld.pack(x).masked(keep)
    for n_index in (5, m):
        a = ld.greedy(calls, order, n_index, low, high, thresholds)
        b = ld.greedy(ld.Products.without(whole, out[:n_out]), order, n_index, low, high, thresholds)
        assert np.array_equal(a, b)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.booleans())
def test_clumps_from_sums_and_from_correlations_are_those_of_dosages(seed, soft, shuffled):
    rng = np.random.default_rng(seed)
    m = 50
    x = linked(rng, 70, m, soft=soft)
    pos, p = np.sort(rng.integers(1, 300_000, m)), np.round(rng.random(m) ** 2, 2)
    p[rng.random(m) < 0.05] = np.nan
    chrom = rng.integers(1, 3, m) if shuffled else None
    pos = rng.permutation(pos) if shuffled else pos
    # away from any value that occurs: what is summed in single precision differs in the seventh digit
    values = np.unique(naive := ld.r2_matrix(x.astype(np.float64)))
    values = values[~np.isnan(values)]
    widest = np.argsort(np.diff(values))[-4:]
    limits = ((values[widest] + values[widest + 1]) / 2).tolist()
    more = {"p_thresholds": (1, 0.2, 0.01), "r2_thresholds": limits, "kb": 40, "chrom": chrom}
    expected = ld.clump_grid(x, p, pos, **more)
    moments = Moments.of(x, np.zeros(70))
    with np.errstate(invalid="ignore"):
        correlations = ld.Products.of(np.corrcoef(x.T.astype(np.float64)))
    for source in (moments, moments.centred(), correlations):
        found = ld.clump_grid(source, p, pos, **more)
        assert {key: index.tolist() for key, index in found.items()} == {
            key: index.tolist() for key, index in expected.items()
        }
    for (p1, limit), index in expected.items():
        assert index.tolist() == naive_clump(naive, p, pos, p1, limit, 40, chrom)
    options = {"p1": 0.5, "p2": 0.9, "r2_threshold": limits[0], "kb": 20}
    a, b = (ld.clump_members(source, p, pos, **options) for source in (x, moments))
    assert {i: of.tolist() for i, of in a.items()} == {i: of.tolist() for i, of in b.items()}
    flipped = moments.flipped(rng.random(m) < 0.5)
    assert ld.clump(flipped, p, pos, **options).tolist() == list(a)


def test_what_does_not_vary_is_in_no_clump_of_sums():
    """The variance that rounding leaves a constant dosage would give it an r² with anything, here above 0."""
    rng = np.random.default_rng(0)
    x = np.repeat(rng.uniform(0, 2, (1, 30)), 3000, axis=0).astype(np.float32)
    x[:, 3] = rng.random(3000)
    moments = Moments.of(x, np.zeros(3000))
    for source in (moments, moments.centred(), moments.flipped(np.arange(30) % 2 == 0)):
        options = {"p1": 1, "p2": 1, "r2_threshold": 0.0}
        assert ld.clump(source, np.arange(30) / 30, np.arange(30), **options).tolist() == list(range(30))


def test_sums_that_cannot_be_clumped_are_refused():
    holed = Moments.of([[0, np.nan], [1, 2], [2, 1]], np.zeros(3))
    arguments = ([0.1, 0.2], [1, 2])
    with pytest.raises(GenopredError, match=r"1 variants have missing dosages in the sums; fill them"):
        ld.clump(holed, *arguments)
    with pytest.raises(GenopredError, match="r2='em' needs hard calls of people, here are sums"):
        ld.clump(holed.filled(), *arguments, r2="em")
    with pytest.raises(GenopredError, match=r"correlations have shape \(2, 3\)"):
        ld.Products.of(np.ones((2, 3)))
    with pytest.raises(GenopredError, match=r"pval has shape \(2,\); dosage has 3 columns"):
        ld.clump(ld.Products.of(np.eye(3)), *arguments)
    assert ld.clump(holed.filled(), *arguments, p1=1, p2=1).tolist() == [0, 1]


def test_no_variants_and_no_candidates():
    empty = np.zeros((5, 0))
    assert ld.clump(empty, [], [], p1=1, p2=1).tolist() == []
    assert ld.r2_matrix(empty).shape == (0, 0)
    assert ld.clump(np.zeros((5, 2)), [0.5, np.nan], [1, 2], p1=0.1, p2=1).tolist() == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pval": [0.1]}, r"pval has shape \(1,\)"),
        ({"pos": [1]}, "pos has shape"),
        ({"pval": [5.0, 0.1]}, r"1 p-values are outside 0 to 1 \(columns 0\)"),
        ({"p1": 2.0}, "p1 is 2.0"),
        ({"p1": 0.5, "p2": 0.1}, "p2 is 0.1; it must be between p1"),
        ({"kb": 0}, "kb"),
        ({"r2_threshold": 1.5}, "r2 thresholds"),
        ({"r2": "dprime"}, "choose one of genotype, em"),
        ({"r2": "em"}, r"1 variants have other dosages \(columns 1\)"),
        ({"dosage": [1.0, 2.0]}, r"\(samples, variants\)"),
    ],
)
def test_bad_input_is_named(change, message):
    arguments = {"dosage": [[0, 0.5], [1, 1], [2, 1]], "pval": [0.1, 0.2], "pos": [1, 2]} | change
    with pytest.raises(GenopredError, match=message):
        ld.clump(arguments.pop("dosage"), arguments.pop("pval"), arguments.pop("pos"), **arguments)
