"""The data types: genotypes in memory and from pandas-plink's DataArray."""

from __future__ import annotations

import pickle

import numpy as np
import polars as pl
import pytest

from genopred.errors import AlignmentError, GenopredError
from genopred.types import Covariates, Expression, Genotypes, Interval, noted, plain_chrom, plain_gene, run_of

TABLE = pl.DataFrame(
    {"chrom": ["22", "22"], "pos": [100, 200], "id": ["rs1", "rs2"], "ref": ["A", "C"], "alt": ["G", "T"]}
)


class DataArray:
    """The part of an xarray.DataArray that from_xarray asks for, so that the suite needs no xarray."""

    class _Coordinate:
        def __init__(self, values):
            self.values = np.array(values)

    def __init__(self, data, dims=("sample", "variant"), **coords):
        self.data, self.dims = np.array(data, dtype=np.float32), dims
        self.coords = {name: self._Coordinate(values) for name, values in coords.items()}

    def transpose(self, *dims):
        if set(dims) != set(self.dims):
            raise ValueError(f"{self.dims}")
        coords = {name: held.values for name, held in self.coords.items()}
        return self if dims == self.dims else DataArray(self.data.T, dims, **coords)


def dataarray(data, dims=("sample", "variant")):
    # pandas-plink's a0 is the .bim's fifth column, plink's allele 1: our ALT.
    return DataArray(
        data,
        dims,
        iid=["a", "b", "c"],
        chrom=["22", "22"],
        pos=[100, 200],
        snp=["rs1", "rs2"],
        a0=["G", "T"],
        a1=["A", "C"],
    )


ALT = np.array([[0, 2], [1, np.nan], [2, 0]], dtype=np.float32)


@pytest.mark.parametrize("options, values", [({}, 2 - ALT), ({"counted": "a1"}, 2 - ALT), ({"counted": "a0"}, ALT)])
def test_from_xarray(options, values):
    for array in (dataarray(values), dataarray(values.T, ("variant", "sample"))):
        genotypes = Genotypes.from_xarray(array, **options)
        np.testing.assert_array_equal(genotypes.dosage(), ALT)
        assert genotypes.variants.rows() == TABLE.rows()
        assert genotypes.samples.tolist() == ["a", "b", "c"] and not genotypes.phased
        assert genotypes.haplotypes().alleles([1]).tolist() == [[[1], [1]], [[-1], [-1]], [[0], [0]]]


def test_from_xarray_refuses_others():
    with pytest.raises(GenopredError, match="choose 'a1' .* or 'a0'"):
        Genotypes.from_xarray(dataarray(ALT), counted="alt")
    with pytest.raises(GenopredError, match="read_plink1_bin"):
        Genotypes.from_xarray(ALT)
    with pytest.raises(GenopredError, match="read_plink1_bin"):
        Genotypes.from_xarray(dataarray(ALT, ("x", "y")))


def test_arrays():
    alleles = np.array([[[0, 1], [1, 1]], [[-1, 0], [0, 0]]], dtype=np.int8)
    genotypes = Genotypes.from_arrays(["a", "b"], TABLE, alleles=alleles)
    assert genotypes.phased
    np.testing.assert_array_equal(genotypes.dosage(), [[1, 2], [np.nan, 0]])
    part = pickle.loads(pickle.dumps(genotypes.select(samples=["b", "a"], variants=Interval("chr22", 150, 200))))
    assert part.haplotypes().alleles().tolist() == [[[0], [0]], [[1], [1]]]
    soft = Genotypes.from_arrays(["a"], TABLE, dosage=[[0.5, 2]])
    assert not soft.phased and soft.haplotypes().alleles([1]).tolist() == [[[1], [1]]]
    with pytest.raises(GenopredError, match="have no alleles"):
        soft.haplotypes().alleles()
    with pytest.raises(GenopredError, match="either dosage or alleles"):
        Genotypes.from_arrays(["a"], TABLE)
    with pytest.raises(GenopredError, match=r"shape \(1, 2\); its labels say \(2, 2\)"):
        Genotypes.from_arrays(["a", "b"], TABLE, dosage=[[0, 1]])
    with pytest.raises(AlignmentError, match=r"1 of 2 samples .*\(x\)"):
        genotypes.select(samples=["a", "x"])


def test_interval_is_half_open_and_positions_one_based():
    genotypes = Genotypes.from_arrays(["a"], TABLE, dosage=[[0, 1]])
    assert genotypes.index(Interval("22", 99, 200)).tolist() == [0, 1]
    assert genotypes.index(Interval("22", 100, 199)).tolist() == []
    assert genotypes.index(Interval.around("chr22", 150, 50)).tolist() == [0, 1]
    assert genotypes.index(np.array([False, True])).tolist() == [1]
    with pytest.raises(GenopredError, match="end must be after start"):
        Interval("22", 5, 5)


def test_labels_must_fit():
    with pytest.raises(GenopredError, match="Expression.values has shape"):
        Expression(np.zeros((2, 1)), np.array(["a"]), pl.DataFrame({"gene": ["g"]}))
    covariates = Covariates(np.eye(2), np.array(["a", "b"]), ("x", "y"))
    assert covariates.select(["b"]).values.tolist() == [[0, 1]]
    with pytest.raises(AlignmentError, match=r"\(z\)"):
        covariates.select(["z"])


def test_names():
    assert [plain_chrom(name) for name in ("chr1", "X", "chrX", "23", "chrMT", "26")] == [
        "1",
        "X",
        "X",
        "X",
        "MT",
        "MT",
    ]
    assert plain_gene("ENSG00000012817.10_PAR_Y") == "ENSG00000012817_PAR_Y"
    assert plain_gene("RP11-34P13.7") == "RP11-34P13.7"


@pytest.mark.parametrize("kind", [np.array, pl.Series])
def test_notes(kind):
    names = kind(["a", "b", "c", "d", "e"])
    assert noted("dropped", "rare", kind([False, True, True, True, True]), names) == [
        ("dropped", "rare", 4, "b, c, d, ...")
    ]
    assert noted("note", "odd", kind([True, False, False, False, False]), names) == [("note", "odd", 1, "a")]
    assert noted("note", "odd", kind([False] * 5), names) == []


def in_blocks(genotypes, size, where=None):
    """All blocks put together, which cover everybody once and in order."""
    at, parts = 0, []
    for people, block in genotypes.blocks(size, where):
        assert (people.start, people.stop) == (at, at + len(block)) and 0 < len(block) <= size
        assert block.dtype == np.float32
        at = people.stop
        parts.append(block)
    assert at == genotypes.n_samples
    return np.concatenate(parts)


@pytest.mark.parametrize("kind", ["alleles", "dosage", "lazy"])
def test_blocks_are_the_whole(kind):
    rng = np.random.default_rng(3)
    n, m = 23, 9
    alleles = rng.integers(0, 2, (n, 2, m)).astype(np.int8)
    alleles[rng.random((n, m)).nonzero()[0][:5], :, 3] = -1
    table = pl.DataFrame([("22", i + 1, f"rs{i}", "A", "G") for i in range(m)], TABLE.schema, orient="row")
    names = [f"p{i}" for i in range(n)]
    dosage = np.where((alleles < 0).any(axis=1), np.nan, alleles.sum(axis=1)).astype(np.float32)

    class Lazy(np.ndarray):
        def compute(self):
            return np.asarray(self)

    held = {"alleles": {"alleles": alleles}, "dosage": {"dosage": dosage}, "lazy": {"dosage": dosage.view(Lazy)}}[kind]
    genotypes = Genotypes.from_arrays(names, table, **held)
    people = rng.permutation(n)[:17]
    fewer = genotypes.select([names[i] for i in people], [7, 1, 1, 4])
    for size in (1, 4, 17, 23, 1000):
        np.testing.assert_array_equal(in_blocks(genotypes, size), dosage)
        np.testing.assert_array_equal(in_blocks(genotypes, size, Interval("chr22", 2, 6)), dosage[:, 2:6])
        np.testing.assert_array_equal(in_blocks(fewer, size), dosage[people][:, [7, 1, 1, 4]])
    assert in_blocks(genotypes, 5, []).shape == (n, 0)
    with pytest.raises(GenopredError, match="needed is at least 1"):
        next(genotypes.blocks(0))


@pytest.mark.parametrize("rows, run", [([], (0, 0)), ([4], (4, 5)), ([2, 3], (2, 4)), ([3, 2], None), ([1, 1], None)])
def test_rows_that_need_no_copy(rows, run):
    found = run_of(np.array(rows, dtype=np.int64))
    assert (None if found is None else (found.start, found.stop)) == run
