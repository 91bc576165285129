"""Ready token ids: taken as they are, checked, and split where the text is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scratchlm.corpus.collect import collect_corpus
from scratchlm.corpus.documents import document_paths, token_paths
from scratchlm.corpus.ready_tokens import count_ends
from scratchlm.errors import InputError
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokenizer.measures import characters_of_ids
from scratchlm.tokens.ready import take_tokens
from scratchlm.tokens.tokenize import tokenize_corpus

INPUTS = Path("inputs/corpus")
CORPUS = Path("data/corpus")
END = 50_256


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_ids(name: str, ids: list[int], dtype: str = "<u2", metadata: str | None = None) -> str:
    Path(name).write_bytes(np.array(ids, dtype=dtype).tobytes())
    if metadata:
        Path(f"{name}.metadata").write_text(metadata)
    return name


@pytest.mark.parametrize(
    ("dtype", "metadata"), [("<u2", None), ("<u4", None), ("<u2", "gpt2|2\n4\n4 T"), ("<u4", "a/gpt2|4")]
)
def test_ids_are_kept_as_uint16_and_counted(dtype: str, metadata: str | None) -> None:
    name = write_ids("a.ds", [15, 16, END, 17], dtype, metadata)
    assert collect_corpus([name], CORPUS, INPUTS) == {"documents": 2, "tokens": 4}
    assert [path.name for path in token_paths(CORPUS)] == ["00001-a.bin"]
    assert np.fromfile(CORPUS / "00001-a.bin", "<u2").tolist() == [15, 16, END, 17]


def test_files_are_joined_by_one_end_of_text() -> None:
    source = [write_ids("a.bin", [1, 2, END]), write_ids("b.bin", [3]), write_ids("c.ds", [4])]
    counts = collect_corpus(source, CORPUS, INPUTS)
    paths = token_paths(CORPUS)
    assert np.concatenate([np.fromfile(path, "<u2") for path in paths]).tolist() == [1, 2, END, 3, END, 4]
    assert counts == {"documents": 3, "tokens": 6}


@pytest.mark.parametrize(
    ("files", "wanted", "documents"),
    [
        ([[END, 1, 2, END, 3]], [END, 1, 2, END, 3], 2),
        ([[END, 1], [END, 2, END, 3]], [END, 1, END, 2, END, 3], 3),
        ([[1], [END, 2]], [1, END, 2], 2),
        ([[1, END], [END, 2, END]], [1, END, END, 2, END], 2),
        ([[1, END, END, 2], [3]], [1, END, END, 2, END, 3], 3),
    ],
)
def test_an_end_of_text_may_stand_before_each_document(
    files: list[list[int]], wanted: list[int], documents: int
) -> None:
    source = [write_ids(f"{number}.bin", ids) for number, ids in enumerate(files)]
    counts = collect_corpus(source, CORPUS, INPUTS)
    paths = token_paths(CORPUS)
    assert np.concatenate([np.fromfile(path, "<u2") for path in paths]).tolist() == wanted
    assert counts == {"documents": documents, "tokens": len(wanted)}


def test_ends_of_documents_are_counted_over_the_border_of_two_blocks() -> None:
    ids = np.array([END, 1, END, END, 2, END, 3, END], dtype="<u2")
    for size in range(1, 9):
        blocks = np.split(ids, range(size, 8, size))
        befores = [END, *(int(block[-1]) for block in blocks[:-1])]
        assert sum(count_ends(block, before, END) for block, before in zip(blocks, befores, strict=True)) == 3


@pytest.mark.parametrize("name", ["openai-community/gpt2-large", "/models/GPT2/tokenizer.json", "Unknown Tokenizer"])
def test_the_names_of_gpt_2_s_tokenizer_are_known(name: str) -> None:
    assert collect_corpus([write_ids("a.bin", [1], metadata=f"{name}|2")], CORPUS, INPUTS)["tokens"] == 1


def test_ready_tokens_give_the_files_that_the_text_gives(mirror: Path) -> None:
    gpt2 = read_tokenizer(mirror.resolve())
    texts = ["The mill stood by the river. Café! \U0001f600\n" * 40, "A second story, shorter than the first.\n" * 30]
    for number, text in enumerate(texts):
        Path(f"{number}.txt").write_text(text)
    collect_corpus(["0.txt", "1.txt"], CORPUS, INPUTS)
    ids = gpt2.encode("<|endoftext|>".join(texts), allowed_special="all")
    characters = sum(map(len, texts))
    lengths = characters_of_ids(gpt2)
    # A split between two tokens: the ones of the text are not cut, so that both ways give the same.
    fraction = (int(lengths[ids[:300]].sum()) + 0.5) / characters
    from_text = tokenize_corpus(CORPUS, gpt2, Path("text"), 8, 8, fraction)
    collect_corpus([write_ids("ready.ds", ids)], CORPUS, INPUTS)
    ready = take_tokens(token_paths(CORPUS), gpt2, Path("ready"), 8, 8, (300 + 0.5) / len(ids))
    assert ready == from_text and ready.train_tokens == 300 and ready.characters == characters
    for name in ("train.bin", "validation.bin"):
        assert Path("ready", name).read_bytes() == Path("text", name).read_bytes()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: write_ids("a.bin", []), r"a\.bin has 0 bytes, wanted ids of 2 bytes each"),
        (lambda: Path("a.bin").write_bytes(b"\1\0\2"), r"a\.bin has 3 bytes, wanted ids of 2 bytes each: get it again"),
        (lambda: write_ids("a.bin", [1, 50_257]), r"a\.bin holds the id 50257 \(token 2\), GPT-2's largest is 50256: "),
        (lambda: write_ids("a.bin", [1, 2, 99_999], "<u4", "gpt2|4"), r"a\.bin holds the id 99999 \(token 3\)"),
        (lambda: write_ids("a.bin", [1], metadata="x/cosmo2|2"), r"was made by the tokenizer x/cosmo2, as a\.bin\.met"),
        (
            lambda: write_ids("a.bin", [1], metadata="dbmdz/german-gpt2|2"),
            r"the tokenizer dbmdz/german-gpt2, as ",
        ),
        (lambda: write_ids("a.bin", [END, END]), r"a\.bin holds no token but <\|endoftext\|>: leave it out"),
        (lambda: write_ids("a.bin", [1], metadata="gpt2"), r"a\.bin\.metadata does not say `TOKENIZER\|2` or"),
        (lambda: write_ids("a.bin", [20240520, 1, 7], "<u4"), r"without a file header"),
    ],
)
def test_ids_of_another_kind_are_refused(make: object, message: str) -> None:
    make()  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        collect_corpus(["a.bin"], CORPUS, INPUTS)
    assert not CORPUS.exists()


def test_ready_tokens_and_text_do_not_mix() -> None:
    Path("b.txt").write_text("text")
    with pytest.raises(InputError, match=r"a\.bin holds ready token ids, .*b\.txt holds text: give one or the other"):
        collect_corpus([write_ids("a.bin", [1]), "b.txt"], CORPUS, INPUTS)


def test_no_tokenizer_can_be_made_of_ready_tokens() -> None:
    collect_corpus([write_ids("a.bin", [1])], CORPUS, INPUTS)
    with pytest.raises(InputError, match=r"holds ready token ids and no text to make a tokenizer from: set"):
        document_paths(CORPUS)
