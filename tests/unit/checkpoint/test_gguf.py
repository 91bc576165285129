"""GGUF files: the gguf library's numbers for sound ones, and one clear error, at once, for any other."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlm.checkpoint.gguf import GGUF, MAX_HEADER_BYTES, QUANTIZATIONS, read_gguf, read_tensor
from scratchlm.errors import InputError

RANDOM = np.random.default_rng(3).normal(size=(6, 64)).astype(np.float32)


def text(content: str | bytes) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return struct.pack("<Q", len(content)) + content


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def tensor(name: str = "w", dimensions: tuple[int, ...] = (4, 2), kind: int = 0, offset: int = 0) -> bytes:
    shape = struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
    return text(name) + shape + struct.pack("<IQ", kind, offset)


def file_of(
    *keys: bytes,
    tensors: tuple[bytes, ...] = (tensor(),),
    data: bytes = bytes(32),
    n_keys: int | None = None,
    **head: Any,
) -> bytes:
    """Return a GGUF file; `head` are other values of its first fields."""
    magic, version = head.get("magic", b"GGUF"), head.get("version", 3)
    counts = struct.pack("<QQ", head.get("n_tensors", len(tensors)), len(keys) if n_keys is None else n_keys)
    header = magic + struct.pack("<I", version) + counts + b"".join(keys) + b"".join(tensors)
    return header + bytes(-len(header) % 32) + data


SOUND = file_of(key("a", 4, struct.pack("<I", 7)), key("b", 9, struct.pack("<IQ", 8, 2) + text("x") + text("é")))
HUGE = 2**63
BAD = {
    "it does not begin with GGUF": file_of(magic=b"GGML"),
    "version 1, wanted 2 or 3": file_of(version=1),
    "version 50331648": file_of(version=3 << 24),  # big-endian
    "9,223,372,036,854,775,808 tensors, at most 10,000": file_of(n_tensors=HUGE),
    "the header ends early": file_of(n_keys=HUGE),
    "the header ends early, or": file_of(key("a", 8, struct.pack("<Q", HUGE))),
    "the header ends early, or has": file_of(key("a", 9, struct.pack("<IQ", 4, HUGE))),
    "the header ends early, or has more": file_of(key("a", 9, struct.pack("<IQ", 8, HUGE))),
    "a list of type 9": file_of(key("a", 9, struct.pack("<IQ", 9, 1))),
    "a value of type 13": file_of(key("a", 13, b"")),
    "the key a is there twice": file_of(key("a", 0, b"\1"), key("a", 0, b"\1")),
    "a text is not UTF-8": file_of(key("a", 8, text(b"\xff"))),
    "a name is too long": file_of(key("a" * 300, 0, b"\1")),
    "a name is too long, or has characters": file_of(tensors=(tensor("w\x1b[31m"),)),
    "general.alignment is 0": file_of(key("general.alignment", 4, struct.pack("<I", 0))),
    "general.alignment is 24": file_of(key("general.alignment", 4, struct.pack("<I", 24))),
    "general.alignment is 'x'": file_of(key("general.alignment", 8, text("x"))),
    "general.alignment is 2147483648": file_of(key("general.alignment", 4, struct.pack("<I", 2**31))),
    "w has 0 dimensions": file_of(tensors=(tensor(dimensions=()),)),
    "w has 4,294,967,295 dimensions": file_of(tensors=(text("w") + struct.pack("<I", 2**32 - 1),)),
    r"w has the shape \[0, 2\]": file_of(tensors=(tensor(dimensions=(0, 2)),)),
    r"w has the shape \[33\], wanted rows of whole blocks of 32": file_of(tensors=(tensor(dimensions=(33,), kind=8),)),
    "w has type 2, wanted one of F32, F16, Q4_1, Q8_0": file_of(tensors=(tensor(kind=2),)),
    "w has type 4294967295": file_of(tensors=(tensor(kind=2**32 - 1),)),
    "w lies outside": file_of(tensors=(tensor(dimensions=(HUGE, HUGE, 2)),)),
    "w lies outside of": file_of(tensors=(tensor(offset=2**64 - 32),)),
    "w lies outside of the file": file_of(data=bytes(31)),
    "w lies outside of the file or of its place": file_of(tensors=(tensor(offset=8, dimensions=(2,)),)),
    "the tensor w is there twice": file_of(tensors=(tensor(), tensor(offset=32)), data=bytes(64)),
    "the tensors w and v overlap": file_of(tensors=(tensor(dimensions=(16,)), tensor("v", offset=32)), data=bytes(64)),
}


def read(folder: Path, content: bytes) -> GGUF:
    path = folder / "a.gguf"
    path.write_bytes(content)
    return read_gguf(path)


def test_a_sound_file_is_read(tmp_path: Path) -> None:
    found = read(tmp_path, SOUND)
    assert found.values == {"a": 7, "b": ["x", "é"]}
    assert read_tensor(found, "w").shape == (2, 4)


@pytest.mark.parametrize("problem", BAD)
def test_what_is_wrong_is_named_and_takes_no_memory(tmp_path: Path, problem: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=f"a.gguf is not a GGUF file that can be used: {problem}"):
            read(tmp_path, BAD[problem])
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("length", range(0, len(SOUND), 7))
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(InputError, match="not a GGUF file that can be used"):
        read(tmp_path, SOUND[:length])


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a.gguf cannot be read \(No such file or directory\)"):
        read_gguf(tmp_path / "a.gguf")


def test_a_header_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has more than 4,194,304 bytes"):
        read(tmp_path, file_of(key("a", 8, text(bytes(MAX_HEADER_BYTES)))))


@pytest.mark.parametrize(
    ("kind", "one"),
    [(1, b"\x9c"), (2, b"\xff\xff"), (10, b"\xff" * 8), (8, text("é")), (8, text("ab"))],
)
def test_the_largest_header_takes_little_memory(tmp_path: Path, kind: int, one: bytes) -> None:
    count = (MAX_HEADER_BYTES - 200) // len(one)
    content = file_of(key("a", 9, struct.pack("<IQ", kind, count) + one * count))
    tracemalloc.start()
    try:
        assert len(read(tmp_path, content).values["a"]) == count
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()


@given(
    st.lists(st.tuples(st.integers(0, len(SOUND) - 1), st.integers(1, 255)), min_size=1, max_size=3),
    st.integers(0, 40),
    st.binary(max_size=20),
)
def test_any_damage_gives_a_header_within_the_file_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], cut: int, added: bytes
) -> None:
    data = bytearray(SOUND)
    for position, mask in flips:
        data[position] ^= mask
    content = bytes(data[: len(data) - cut]) + added
    try:
        found = read(tmp_path_factory.mktemp("damage"), content)
    except InputError as error:
        assert "\n" not in str(error)
        return
    for name, stored in found.tensors.items():
        assert stored.start + stored.size_bytes <= len(content)
        try:
            assert read_tensor(found, name).shape == stored.shape
        except InputError as error:
            assert "holds NaN or infinity" in str(error)


@pytest.mark.parametrize("kind", QUANTIZATIONS.values(), ids=lambda kind: kind.name)
def test_every_kind_of_tensor_gives_the_library_s_numbers(tmp_path: Path, kind: gguf.GGMLQuantizationType) -> None:
    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_array("list", [1, -2, 3])
    writer.add_float64("double", 1.5)
    writer.add_bool("bool", True)
    quantized = gguf.quants.quantize(RANDOM, kind)
    writer.add_tensor("first", np.ones(3, np.float32))
    writer.add_tensor("second", quantized, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    found, theirs = read_gguf(path), gguf.GGUFReader(path)
    for name, field in theirs.fields.items():
        if not name.startswith("GGUF."):
            value = found.values[name]
            assert (value.tolist() if isinstance(value, memoryview) else value) == field.contents()
    for stored in theirs.tensors:
        numbers = read_tensor(found, stored.name)
        assert np.array_equal(numbers, gguf.quants.dequantize(stored.data, stored.tensor_type))
    assert found.tensors["second"].shape == RANDOM.shape
    assert np.abs(read_tensor(found, "second") - RANDOM).max() < {"F32": 1e-9, "F16": 0.002}.get(kind.name, 0.3)


def test_a_tensor_with_nan_is_refused(tmp_path: Path) -> None:
    found = read(tmp_path, file_of(data=struct.pack("<8f", *[1.0] * 7, float("nan"))))
    with pytest.raises(InputError, match="w holds NaN or infinity"):
        read_tensor(found, "w")


def test_a_file_that_shrinks_is_refused(tmp_path: Path) -> None:
    found = read(tmp_path, SOUND)
    (tmp_path / "a.gguf").write_bytes(SOUND[:-8])
    with pytest.raises(InputError, match="has become shorter"):
        read_tensor(found, "w")
