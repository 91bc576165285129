"""Shards: the same ids however they are cut, read, tokenized, killed and taken up again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scratchlm.corpus.documents import document_paths
from scratchlm.errors import InputError, OutputError
from scratchlm.sample.corpus import documents
from scratchlm.stage.snapshots import Snapshots
from scratchlm.tokenizer.bpe import BytePairTokenizer, train_bpe
from scratchlm.tokenizer.folder import read_tokenizer, write_tokenizer
from scratchlm.tokens.bigram import bigram_loss
from scratchlm.tokens.blocks import Place, read_blocks
from scratchlm.tokens.folder import open_tokens
from scratchlm.tokens.ready import take_tokens
from scratchlm.tokens.shards import Shard, ShardWriter, TokenIds, cut_back
from scratchlm.tokens.tokenize import tokenize_corpus
from scratchlm.tokens.windows import Windows, read_windows

DTYPE = np.dtype("<u2")
IDS = np.random.default_rng(1).integers(0, 500, 1000).astype(DTYPE)


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, *train_bpe(list(documents().values())[:50], 600))
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short documents, and two that are longer than a piece."""
    folder = tmp_path_factory.mktemp("corpus")
    texts = list(documents().values())
    texts[7:7] = ["\n".join(texts[:150]), "\n".join(texts[150:])]
    for number, text in enumerate(texts):
        (folder / f"{number:05}.txt").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def whole(corpus: Path, tokenizer_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpus by one thread as one shard for each split."""
    folder = tmp_path_factory.mktemp("whole") / "tokens"
    tokenize_corpus(corpus, read_tokenizer(tokenizer_folder), folder, 64, 64, 0.7)
    return folder


def content(folder: Path) -> list[bytes]:
    """The bytes of both splits, their shards joined."""
    return [b"".join(path.read_bytes() for path in sorted(folder.glob(f"{split}*.bin"))) for split in ("t", "v")]


def shards_of(folder: Path, ids: np.ndarray, sizes: list[int]) -> TokenIds:
    shards = []
    for number, part in enumerate(np.split(ids, np.cumsum(sizes)[:-1])):
        part.tofile(folder / f"{number}.bin")
        shards.append(Shard(folder / f"{number}.bin", len(part)))
    return TokenIds(shards, DTYPE.str, 500)


# --- reading ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [[1000], [1, 999], [300, 1, 2, 400, 297], [10] * 100])
def test_windows_and_baseline_over_shards_are_those_of_one_array(tmp_path: Path, sizes: list[int]) -> None:
    ids = shards_of(tmp_path, IDS, sizes)
    for max_length, stride in ((1, 1), (7, 3), (25, 25), (64, 10)):
        ours, plain = Windows(ids, max_length, stride), Windows(IDS, max_length, stride)
        order = torch.randperm(len(plain)).tolist()
        assert len(ours) == len(plain)
        assert all(map(torch.equal, ours.__getitems__(order), plain.__getitems__(order)))
    assert bigram_loss(ids, ids, 500) == bigram_loss(IDS, IDS, 500)
    for start in range(0, 1001, 50):
        assert np.array_equal(ids[start : start + 130], IDS[start : start + 130])


def test_an_id_outside_the_vocabulary_is_found_where_it_is_read(tmp_path: Path) -> None:
    damaged = IDS.copy()
    damaged[700] = 500
    ids = shards_of(tmp_path, damaged, [600, 400])
    assert len(ids[:700]) == 700
    with pytest.raises(OutputError, match=r"1\.bin holds the id 500, expected at most 499"):
        ids[690:710]


# --- writing ------------------------------------------------------------------------------------------------


@given(parts=st.lists(st.integers(0, 40), max_size=12), shard_tokens=st.integers(1, 50), kept=st.integers(0, 12))
def test_shards_are_full_but_the_last_and_what_came_after_a_place_is_cut_off(
    tmp_path_factory: pytest.TempPathFactory, parts: list[int], shard_tokens: int, kept: int
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    writer = ShardWriter(folder, "train", DTYPE, shard_tokens)
    position = place = 0
    for number, size in enumerate(parts):
        writer.write(IDS[position : position + size])
        position += size
        place = position if number < kept else place
    writer.close()
    sizes = [size for _, size in writer.shards()]
    assert sum(sizes) == position and all(size == shard_tokens for size in sizes[:-1])
    assert b"".join(path.read_bytes() for path, _ in writer.shards()) == IDS[:position].tobytes()
    assert not cut_back(folder, "train", DTYPE, shard_tokens, position + 1)
    assert not cut_back(folder, "validation", DTYPE, shard_tokens, 1)  # of which no file is there
    assert cut_back(folder, "train", DTYPE, shard_tokens, place)
    again = ShardWriter(folder, "train", DTYPE, shard_tokens, place)
    again.write(IDS[place:position])
    again.close()
    assert b"".join(path.read_bytes() for path, _ in again.shards()) == IDS[:position].tobytes()


def test_a_file_that_has_a_second_name_is_never_cut(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, "train", DTYPE, 100)
    writer.write(IDS[:50])
    writer.close()
    os.link(tmp_path / "train-00000.bin", tmp_path / "cached")
    assert not cut_back(tmp_path, "train", DTYPE, 100, 40)
    assert not cut_back(tmp_path, "train", DTYPE, 100, 50)
    assert (tmp_path / "cached").read_bytes() == IDS[:50].tobytes()


# --- tokenizing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_threads", "shard_tokens"), [(1, 1000), (2, 30_000), (5, 777), (3, 1 << 27)])
def test_threads_and_shards_change_no_byte(
    corpus: Path, tokenizer_folder: Path, whole: Path, tmp_path: Path, n_threads: int, shard_tokens: int
) -> None:
    tokenizer = read_tokenizer(tokenizer_folder)
    manifest = tokenize_corpus(
        corpus, tokenizer, tmp_path / "tokens", 64, 64, 0.7, n_threads=n_threads, shard_tokens=shard_tokens
    )
    assert content(tmp_path / "tokens") == content(whole)
    opened, one = open_tokens(tmp_path / "tokens"), open_tokens(whole)
    assert opened.manifest == manifest
    if shard_tokens == 1 << 27:
        assert (tmp_path / "tokens/manifest.json").read_bytes() == (whole / "manifest.json").read_bytes()
    else:
        for split, sizes in manifest.shards.items():
            assert len(sizes) > 1 and all(size == shard_tokens for size in sizes[:-1])
            assert sorted(path.name for path in (tmp_path / "tokens").glob(f"{split}*")) == [
                f"{split}-{number:05}.bin" for number in range(len(sizes))
            ]
    for split in ("train", "validation"):
        ours, plain = read_windows(opened, split), read_windows(one, split)
        everything = list(range(len(plain)))
        assert all(map(torch.equal, ours.__getitems__(everything), plain.__getitems__(everything)))


def test_an_error_of_a_thread_ends_it_and_leaves_nothing(corpus: Path, tokenizer_folder: Path, tmp_path: Path) -> None:
    class Failing(BytePairTokenizer):
        def encode_to_numpy(self, text, **options):  # type: ignore[no-untyped-def]
            raise InputError("an unknown word")

    tokenizer = read_tokenizer(tokenizer_folder)
    tokenizer.__class__ = Failing
    with pytest.raises(InputError, match="an unknown word"):
        tokenize_corpus(corpus, tokenizer, tmp_path / "tokens", 64, 64, 0.7, n_threads=3)
    assert list(tmp_path.iterdir()) == []


def test_blocks_from_the_end_of_any_block_are_the_rest(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scratchlm.corpus.documents.READ_CHARACTERS", 10_000)
    monkeypatch.setattr("scratchlm.tokens.blocks.BLOCK_CHARACTERS", 20_000)
    paths = document_paths(corpus)
    every = list(read_blocks(paths, 100_000, Place()))
    assert any(block.end.pieces > 1 for block in every) and every[-1].end.file == len(paths) - 1
    for number, block in enumerate(every):
        assert list(read_blocks(paths, 100_000, block.end)) == every[number + 1 :]


RUN = """
import sys
from pathlib import Path
from scratchlm.stage.interruption import listen, Interrupted
from scratchlm.stage.snapshots import Snapshots
from scratchlm.tokenizer.folder import read_tokenizer
from scratchlm.tokens import tokenize
from scratchlm.tokens.tokenize import tokenize_corpus
import time
corpus, tokenizer, folder, checkpoints = map(Path, sys.argv[1:5])
encode = tokenize.encode_block
def slow(*arguments, **options):
    time.sleep(float(sys.argv[5]))
    print("encoded", flush=True)
    return encode(*arguments, **options)
tokenize.encode_block = slow
listen()
try:
    snapshots = Snapshots(checkpoints, 0.0)
    tokenize_corpus(corpus, read_tokenizer(tokenizer), folder, 64, 64, 0.7,
                    n_threads=2, snapshots=snapshots, shard_tokens=20_000)
except Interrupted as stopped:
    sys.exit(f"interrupted {stopped}")
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_tokenizing_goes_on_where_it_was(
    corpus: Path, tokenizer_folder: Path, whole: Path, tmp_path: Path, number: signal.Signals
) -> None:
    checkpoints = tmp_path / "checkpoints"

    def start(delay_s: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", RUN, *map(str, (corpus, tokenizer_folder, tmp_path / "tokens", checkpoints))]
        return subprocess.Popen([*command, str(delay_s)], stdout=-1, stderr=-1, text=True)

    process = start(0.3)
    deadline = time.monotonic() + 60
    while not list(checkpoints.glob("00000003-*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    before, error = process.communicate(timeout=60)
    assert process.returncode != 0 and not (tmp_path / "tokens").exists()
    assert (number == signal.SIGKILL) or "interrupted after " in error, error
    resumed = start(0)
    after, error = resumed.communicate(timeout=60)
    assert resumed.returncode == 0, error
    assert after.startswith("resuming after ")
    n_blocks = 11  # of this corpus
    assert before.count("encoded") >= 3 and after.count("encoded") <= n_blocks - 3
    assert content(tmp_path / "tokens") == content(whole)


def test_shards_that_were_lost_are_made_again(
    corpus: Path, tokenizer_folder: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = read_tokenizer(tokenizer_folder)
    run = partial(tokenize_corpus, corpus, tokenizer, tmp_path / "tokens", 64, 64, 0.7, shard_tokens=10_000)
    snapshots = Snapshots(tmp_path / "checkpoints")
    run(snapshots=snapshots)
    shutil.rmtree(tmp_path / "tokens")  # as DVC does before a run
    run(snapshots=snapshots)
    assert capsys.readouterr().out.startswith("resuming after ")
    shutil.rmtree(tmp_path / "tokens")
    (tmp_path / "checkpoints/shards/train-00001.bin").unlink()
    run(snapshots=snapshots)
    captured = capsys.readouterr()
    assert "is damaged, or DVC has stored it: starting again" in captured.err and not captured.out
    assert content(tmp_path / "tokens") == content(whole)


def test_a_later_run_writes_nothing_into_a_stored_result(
    corpus: Path, tokenizer_folder: Path, whole: Path, tmp_path: Path
) -> None:
    run = partial(tokenize_corpus, corpus, read_tokenizer(tokenizer_folder), tmp_path / "tokens", 64, 64, 0.7)
    snapshots = Snapshots(tmp_path / "checkpoints")
    run(snapshots=snapshots)
    (tmp_path / "tokens").rename(tmp_path / "cache")
    stored = {path.name: path.stat() for path in (tmp_path / "cache").glob("*.bin")}
    for path in (tmp_path / "cache").glob("*.bin"):
        path.chmod(0o444)
    run(snapshots=snapshots)
    assert content(tmp_path / "tokens") == content(tmp_path / "cache") == content(whole)
    for name, before in stored.items():
        after, new = (tmp_path / "cache" / name).stat(), (tmp_path / "tokens" / name).stat()
        assert after.st_mtime_ns == before.st_mtime_ns and new.st_ino != before.st_ino
        assert new.st_mode & 0o200  # writable


# --- ready ids ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.5, 0.9])
def test_ready_ids_are_cut_where_training_ends(
    whole: Path, tokenizer_folder: Path, tmp_path: Path, fraction: float
) -> None:
    tokenizer = read_tokenizer(tokenizer_folder)
    paths = [whole / "train.bin", whole / "validation.bin"]
    made = open_tokens(whole).manifest
    manifest = take_tokens(paths, tokenizer, tmp_path / "tokens", 64, 64, fraction)
    assert open_tokens(tmp_path / "tokens").manifest == manifest
    ids = b"".join(content(whole))
    border = 2 * int(fraction * (made.train_tokens + made.validation_tokens))
    assert content(tmp_path / "tokens") == [ids[:border], ids[border:]]
    assert (manifest.documents, manifest.characters) == (made.documents, made.characters)
    assert len(list((tmp_path / "tokens").iterdir())) == 4  # two files, one of them cut, and the manifest


def test_ready_ids_of_another_vocabulary_are_refused(tokenizer_folder: Path, tmp_path: Path) -> None:
    np.array([1, 2, 600, 3] * 100, dtype=DTYPE).tofile(tmp_path / "00001.bin")
    tokenizer = read_tokenizer(tokenizer_folder)
    with pytest.raises(InputError, match="holds the id 600, but the tokenizer has 600 tokens"):
        take_tokens([tmp_path / "00001.bin"], tokenizer, tmp_path / "tokens", 4, 4, 0.5)
    assert [path.name for path in tmp_path.iterdir()] == ["00001.bin"]
