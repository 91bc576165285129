"""Reading GGUF files, llama.cpp's format for quantized weights: the header, checked, and one tensor at a time.

The header is read here and not by the `gguf` library, whose reader maps the file and believes it: a false length
costs gigabytes or ends in a traceback. The library turns blocks of quantized weights into numbers.
Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.constants import GGUF_DEFAULT_ALIGNMENT as DEFAULT_ALIGNMENT
from gguf.quants import dequantize

from scratchlm.errors import InputError

MAGIC, VERSIONS = b"GGUF", (2, 3)  # 3 adds files in big-endian order, which are not read
MAX_HEADER_BYTES = 2**22  # SmolLM2's has 1.8 MB, nearly all of it tokens and merges
MAX_NAME_BYTES = 256  # of keys and tensors
MAX_TENSORS = 10_000
MAX_DIMENSIONS = 4
MAX_ALIGNMENT = 2**16
ALIGNMENT_KEY = "general.alignment"
# The values that a key can have, by their number in the file; 8 is a text, 9 a list.
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
TEXT, LIST = 8, 9
QUANTIZATIONS = {kind.value: kind for kind in map(GGMLQuantizationType, (0, 1, 3, 8))}  # F32, F16, Q4_1, Q8_0


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in a GGUF file, and how."""

    kind: GGMLQuantizationType
    shape: tuple[int, ...]  # as in numpy: the last dimension is contiguous
    start: int  # its first byte in the file
    size_bytes: int


@dataclass(frozen=True)
class GGUF:
    """The header of a GGUF file: its keys with their values, and its tensors by name."""

    path: Path
    values: dict[str, Any]
    tensors: dict[str, StoredTensor]


class Unusable(Exception):
    """The file cannot be used, and why."""


def read_gguf(path: Path) -> GGUF:
    """Read the header of a GGUF file; the header may have 4 MiB, and takes at most 100 MB of memory to read.

    A list of numbers becomes a memoryview, a list of texts a list.

    Raises InputError if it is damaged, cut off, or of a kind that is not read: every length, count, type and place is
    compared with the file before it is used.
    """
    try:
        size_bytes = path.stat().st_size
        with path.open("rb") as file:
            header = Header(file.read(min(MAX_HEADER_BYTES, size_bytes)))  # as much as is asked for is allocated
        values, infos = header.read()
        tensors = place_tensors(infos, header.position, alignment_of(values), size_bytes)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}), wanted a GGUF file") from None
    except Unusable as error:
        raise InputError(f"{path} is not a GGUF file that can be used: {error}; get it again") from None
    return GGUF(path, values, tensors)


def read_tensor(gguf: GGUF, name: str) -> npt.NDArray[np.float32]:
    """Return one tensor as float32, in which nothing is lost.

    A weight of Q4_1 is a half-precision scale times a whole number from 0 to 15 plus a half-precision minimum, one of
    Q8_0 a half-precision scale times a signed byte. The products are exact in float32, and so are all sums of
    SmolLM2's; bfloat16 would round 75 % of them, float16 32 %.

    Raises InputError if the file has become shorter, or the tensor holds NaN or infinity.
    """
    stored = gguf.tensors[name]
    with gguf.path.open("rb") as file:
        file.seek(stored.start)
        content = file.read(stored.size_bytes)
    if len(content) != stored.size_bytes:
        raise InputError(f"{gguf.path} has become shorter while it was read; get it again")
    block, block_bytes = GGML_QUANT_SIZES[stored.kind]
    row_bytes = stored.shape[-1] // block * block_bytes
    rows = np.frombuffer(content, np.uint8).reshape(*stored.shape[:-1], row_bytes)
    with np.errstate(all="ignore"):  # told below, for the tensor as a whole
        tensor: npt.NDArray[np.float32] = dequantize(rows, stored.kind)
    # NaN and infinity show in the extremes, which need no copy of the tensor.
    if not (np.isfinite(tensor.min()) and np.isfinite(tensor.max())):
        raise InputError(f"{gguf.path}: {name} holds NaN or infinity; get the file again")
    return tensor


@dataclass(frozen=True)
class TensorInfo:
    """What a header says of one tensor; `offset` counts from the first tensor's place."""

    name: str
    dimensions: list[int]  # the contiguous one first
    kind: int
    offset: int


class Header:
    """The beginning of a file, read value by value; nothing is read that is not there."""

    def __init__(self, content: bytes) -> None:
        self.content, self.position = content, 0

    def read(self) -> tuple[dict[str, Any], list[TensorInfo]]:
        """Return the keys with their values, and the tensors."""
        if self.take(len(MAGIC)) != MAGIC:
            raise Unusable("it does not begin with GGUF")
        version = self.number("I")
        if version not in VERSIONS:
            raise Unusable(f"version {version}, wanted {' or '.join(map(str, VERSIONS))}")
        n_tensors, n_keys = self.number("Q"), self.number("Q")
        if n_tensors > MAX_TENSORS:
            raise Unusable(f"{n_tensors:,} tensors, at most {MAX_TENSORS:,} are read")
        values: dict[str, Any] = {}
        for _ in range(n_keys):  # every turn takes bytes, of which there are few
            key = self.name()
            if key in values:
                raise Unusable(f"the key {key} is there twice")
            values[key] = self.value(self.number("I"))
        return values, [self.tensor_info() for _ in range(n_tensors)]

    def take(self, size_bytes: int) -> bytes:
        if size_bytes > len(self.content) - self.position:
            raise Unusable(f"the header ends early, or has more than {MAX_HEADER_BYTES:,} bytes")
        self.position += size_bytes
        return self.content[self.position - size_bytes : self.position]

    def number(self, code: str) -> Any:
        return self.numbers(code, 1)[0]

    def numbers(self, code: str, count: int) -> tuple[Any, ...]:
        size_bytes = count * struct.calcsize(code)
        content = self.take(size_bytes)  # before a format with a false count is made
        return struct.unpack(f"<{count}{code}", content)

    def text(self) -> str:
        try:
            return self.take(self.number("Q")).decode()
        except UnicodeDecodeError:
            raise Unusable("a text is not UTF-8") from None

    def name(self) -> str:
        name = self.text()
        if len(name) > MAX_NAME_BYTES or not name.isprintable():
            raise Unusable("a name is too long, or has characters that cannot be printed")
        return name

    def value(self, kind: int) -> Any:
        if kind == TEXT:
            return self.text()
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind != LIST:
            raise Unusable(f"a value of type {kind}, which is unknown")
        kind, count = self.number("I"), self.number("Q")
        if kind in NUMBERS:
            content: Any = memoryview(self.take(count * struct.calcsize(NUMBERS[kind])))
            return content.cast(NUMBERS[kind])  # a list would take ten times the memory
        if kind != TEXT:
            raise Unusable(f"a list of type {kind}, wanted numbers or texts")
        return [self.text() for _ in range(count)]  # every turn takes bytes

    def tensor_info(self) -> TensorInfo:
        name, n_dimensions = self.name(), self.number("I")
        if not 1 <= n_dimensions <= MAX_DIMENSIONS:
            raise Unusable(f"{name} has {n_dimensions:,} dimensions, wanted 1 to {MAX_DIMENSIONS}")
        return TensorInfo(name, list(self.numbers("Q", n_dimensions)), self.number("I"), self.number("Q"))


def alignment_of(values: dict[str, Any]) -> int:
    """Return the number of bytes of which every tensor's place is a multiple."""
    alignment = values.get(ALIGNMENT_KEY, DEFAULT_ALIGNMENT)
    if type(alignment) is not int or not 1 <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        raise Unusable(f"{ALIGNMENT_KEY} is {alignment!r}, wanted a power of two up to {MAX_ALIGNMENT:,}")
    return alignment


def place_tensors(
    infos: list[TensorInfo], header_bytes: int, alignment: int, file_bytes: int
) -> dict[str, StoredTensor]:
    """Return the tensors by name, each of whole blocks, within the file and apart from all others."""
    begin = -(-header_bytes // alignment) * alignment
    tensors: dict[str, StoredTensor] = {}
    for info in infos:
        kind = QUANTIZATIONS.get(info.kind)
        if kind is None:
            wanted = ", ".join(known.name for known in QUANTIZATIONS.values())
            raise Unusable(f"{info.name} has type {info.kind}, wanted one of {wanted}")
        block, block_bytes = GGML_QUANT_SIZES[kind]
        count = math.prod(info.dimensions)
        size_bytes, start = count // block * block_bytes, begin + info.offset
        if info.name in tensors:
            raise Unusable(f"the tensor {info.name} is there twice")
        if count == 0 or info.dimensions[0] % block:
            raise Unusable(f"{info.name} has the shape {info.dimensions}, wanted rows of whole blocks of {block}")
        if info.offset % alignment or start + size_bytes > file_bytes:
            raise Unusable(f"{info.name} lies outside of the file or of its place in it: the file may be cut off")
        tensors[info.name] = StoredTensor(kind, tuple(reversed(info.dimensions)), start, size_bytes)
    in_order = sorted(tensors.items(), key=lambda item: item[1].start)
    for (name, tensor), (other, following) in pairwise(in_order):
        if tensor.start + tensor.size_bytes > following.start:
            raise Unusable(f"the tensors {name} and {other} overlap")
    return tensors
