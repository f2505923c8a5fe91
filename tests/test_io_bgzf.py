"""bgzip's blocks, against files that the gzip module reads."""

from __future__ import annotations

import gzip
import struct
import zlib

import pytest

from genopred.errors import FormatError
from genopred.io.bgzf import END, block_size, check_end, expanded_size, is_block


def block(data):
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = packer.compress(data) + packer.flush()
    head = struct.pack("<4BI2BH2BHH", 31, 139, 8, 4, 0, 0, 255, 6, 66, 67, 2, len(body) + 25)
    return head + body + struct.pack("<II", zlib.crc32(data), len(data))


@pytest.fixture
def blocks(tmp_path):
    parts = [block(b"a" * 500), block(bytes(range(200))), block(b"the end"), END]
    path = tmp_path / "x.gz"
    path.write_bytes(b"".join(parts))
    assert len(gzip.decompress(path.read_bytes())) == 707
    return path, parts


def test_blocks_follow_one_another(blocks):
    path, parts = blocks
    data = path.read_bytes()
    at = 0
    for part in parts:
        assert is_block(data, at) and block_size(data, at) == len(part)
        at += len(part)
    assert at == len(data) and not is_block(data, 3)
    assert not is_block(gzip.compress(b"plain gzip"))


def test_a_file_that_is_cut_off(blocks, tmp_path):
    path, _ = blocks
    check_end(path)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(FormatError, match="x.gz is cut off"):
        check_end(path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(FormatError, match="x.gz is cut off"):
        check_end(path)
    (tmp_path / "plain").write_bytes(b"no gzip at all")
    check_end(tmp_path / "plain")


def test_size_from_any_block_and_none_from_elsewhere(blocks):
    path, parts = blocks
    starts = [0, len(parts[0]), len(parts[0]) + len(parts[1])]
    for start, before in zip(starts, [0, 500, 700]):
        assert expanded_size(path, start, before) == 707
    assert expanded_size(path, starts[1] + 1, 500) is None, "no block starts there"
    assert expanded_size(path, len(path.read_bytes()) + 9, 0) is None, "behind the end"
    path.write_bytes(path.read_bytes()[:-40])
    assert expanded_size(path, starts[2], 700) is None, "the last block is cut"
