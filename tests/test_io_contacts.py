"""genopred.io.contacts: BEDPE and cooler hold the same contacts; what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from gene_data import bedpe, simulate

from genopred.errors import FormatError
from genopred.io.contacts import read_contacts

LENGTHS = {"1": 5_000, "2": 3_000}
PLACES = {"1": np.array([500, 2_500])}


def read(tmp_path, text, **options):
    file = tmp_path / "c.bedpe"
    file.write_text(text)
    return read_contacts(file, LENGTHS, PLACES, **({"farthest": 10_000} | options))


def cooler_of(folder, table, lengths, width=1000, name="c.cool"):
    cooler = pytest.importorskip("cooler")
    import pandas as pd

    bins = [(c, i, min(i + width, n)) for c, n in lengths.items() for i in range(0, n, width)]
    at = {(c, a): i for i, (c, a, _) in enumerate(bins)}
    rows = [(at[c, a], at[c, b], w) for c, a, _, b, _, w in table.iter_rows()]
    pixels = pd.DataFrame(rows, columns=["bin1_id", "bin2_id", "count"]).sort_values(["bin1_id", "bin2_id"])
    made = pd.DataFrame(bins, columns=["chrom", "start", "end"])
    cooler.create_cooler(str(folder / name), made, pixels, dtypes={"count": float}, ordered=True)
    return folder / name


def test_a_cooler_holds_the_same_contacts(tmp_path):
    made = simulate()
    lengths = {chrom: len(codes) for chrom, codes in made["codes"].items()}
    places = {c: np.array([tss - 1 for _, chrom, tss, _ in made["genes"] if chrom == c]) for c in lengths}
    of_bedpe = read_contacts(bedpe(tmp_path), lengths, places, farthest=200_000).sort("chrom", "start1", "start2")
    file = cooler_of(tmp_path, of_bedpe, lengths)
    of_cooler = read_contacts(file, lengths, places, farthest=200_000).sort("chrom", "start1", "start2")
    assert of_bedpe.height > 300 and of_bedpe.equals(of_cooler)
    near = read_contacts(file, lengths, places, farthest=5_000)
    assert 0 < near.height < of_cooler.height
    with pytest.raises(FormatError, match="of another build"):
        read_contacts(file, lengths | {"chr1": 17}, places, farthest=5_000)


def test_resolutions_are_named(tmp_path):
    cooler = pytest.importorskip("cooler")
    table = read(tmp_path, "1\t0\t1000\t1\t2000\t3000\t.\t4\n")
    single = cooler_of(tmp_path, table, LENGTHS)
    cooler.zoomify_cooler([str(single)], str(tmp_path / "c.mcool"), [1000, 2000], 1000)
    with pytest.raises(FormatError, match=r"has 2 resolutions \(.*say contacts.resolution"):
        read_contacts(tmp_path / "c.mcool", LENGTHS, PLACES, farthest=10_000)
    with pytest.raises(FormatError, match="has no /resolutions/5; it has"):
        read_contacts(tmp_path / "c.mcool", LENGTHS, PLACES, farthest=10_000, resolution=5)
    for how in ({"resolution": 1000}, {"inside": "::resolutions/1000"}):
        assert read_contacts(tmp_path / "c.mcool", LENGTHS, PLACES, farthest=10_000, **how).equals(table)
    (tmp_path / "bad.cool").write_bytes(single.read_bytes()[:200])
    with pytest.raises(FormatError, match="cannot be read as a cooler"):
        read_contacts(tmp_path / "bad.cool", LENGTHS, PLACES, farthest=10_000)


def test_scores_and_other_chromosomes(tmp_path):
    text = (
        "#chrom1\tstart1\tend1\tchrom2\tstart2\tend2\tname\tscore\n"
        "chr1\t0\t1000\tchr1\t3000\t4000\ta\t2.5\nchr1\t0\t1000\tchr2\t0\t1000\tb\t9\nchr7\t0\t9000\tchr7\t9\t99\tc\t1\n"
    )
    assert read(tmp_path, text).rows() == [("1", 0, 1000, 3000, 4000, 2.5)]
    assert read(tmp_path, "1\t0\t9\t1\t20\t30\n")["weight"].to_list() == [1.0]
    assert read(tmp_path, "1\t0\t9\t1\t20\t30\t7\n")["weight"].to_list() == [7.0]
    assert read(tmp_path, "1\t0\t9\t1\t20\t30\tloop\n")["weight"].to_list() == [1.0]
    assert read(tmp_path, "1\t0\t9\t1\t20\t30\tloop\t.\n")["weight"].to_list() == [1.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1\t0\t9\t1\t20\n", "line 1: 5 fields; needed contacts in BEDPE"),
        ("1\t0\t9\t1\t20\t6000\n", r"line 1: 1:20-6000; which is beyond the chromosome's end"),
        ("#x\n1\t0\t9\t1\t20\t30\n1\t9\t9\t1\t20\t30\n", "line 3: 1:9-9; needed 0 <= start < end"),
        ("1\t0\tx\t1\t20\t30\n", "line 1, column 'end1': found 'x'"),
        ("1\t0\t9\t1\t20\t30\t.\t-2\n", "line 1: the score -2.0"),
        ("7\t0\t9\t7\t20\t30\n", "no contacts within the chromosomes of the genes"),
    ],
)
def test_bad_contacts_name_the_line(tmp_path, text, said):
    with pytest.raises(FormatError, match=said):
        read(tmp_path, text)
