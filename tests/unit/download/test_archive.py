"""A zip from elsewhere gives the requested file, or one clear error and nothing at the target."""

from __future__ import annotations

import hashlib
import stat
import struct
import warnings
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scratchlm.download.archive import extract_member
from scratchlm.errors import InputError

TEXT = b"ham\tWill you come?\nspam\tWin a prize\n" * 1000


def make_zip(folder: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    path = folder / "a.zip"
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # zipfile warns of the duplicate that a test makes
        for name, content in members:
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)
    return path


def refusal(archive: Path, member: str, size_bytes: int | None = None, sha256: str | None = None) -> str:
    """Return the error; nothing may be left beside the archive."""
    target = archive.parent / "out" / "file"
    with pytest.raises(InputError) as caught:
        extract_member(archive, member, target, size_bytes, sha256)
    assert not target.parent.exists() or list(target.parent.iterdir()) == []
    assert str(archive) in str(caught.value)
    return str(caught.value)


def test_only_the_member_is_written(tmp_path: Path) -> None:
    archive = make_zip(tmp_path, ("readme", b"other"), ("SMS", TEXT), ("../evil", b"evil"))
    target = tmp_path / "out" / "sms.tsv"
    assert extract_member(archive, "SMS", target, len(TEXT), hashlib.sha256(TEXT).hexdigest()) == target
    assert target.read_bytes() == TEXT
    assert list(target.parent.iterdir()) == [target]
    assert not (tmp_path / "evil").exists()


def test_a_missing_member_is_named_with_the_members_there(tmp_path: Path) -> None:
    message = refusal(make_zip(tmp_path, ("readme", b""), ("sms", TEXT)), "SMS")
    assert "member SMS: not there; the zip holds readme, sms" in message


def test_a_duplicate_member_is_refused(tmp_path: Path) -> None:
    assert "there 2 times" in refusal(make_zip(tmp_path, ("SMS", TEXT), ("SMS", b"other")), "SMS")


@pytest.mark.parametrize("name", ["../SMS", "a/../../SMS", "/SMS", "..\\SMS", "C:/SMS"])
def test_a_name_that_leads_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    assert "leads out of the folder" in refusal(make_zip(tmp_path, (name, TEXT)), name)


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("SMS")
    link.create_system = 3  # Unix, whose mode bits stand in the upper half
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    assert "a folder or a link" in refusal(make_zip(tmp_path, (link, b"/etc/hostname")), "SMS")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "a folder or a link" in refusal(make_zip(tmp_path, ("SMS/", b"")), "SMS/")


def patched(archive: Path, local_offset: int, central_offset: int, value: bytes) -> Path:
    """Overwrite a field in the only member's local and central headers."""
    data = bytearray(archive.read_bytes())
    central = data.index(b"PK\x01\x02")
    for start in (local_offset, central + central_offset):
        data[start : start + len(value)] = value
    archive.write_bytes(data)
    return archive


def test_an_encrypted_member_is_refused(tmp_path: Path) -> None:
    archive = patched(make_zip(tmp_path, ("SMS", TEXT)), 6, 8, struct.pack("<H", 1))
    assert "encrypted" in refusal(archive, "SMS")


def test_an_unknown_compression_is_refused(tmp_path: Path) -> None:
    archive = patched(make_zip(tmp_path, ("SMS", TEXT)), 8, 10, struct.pack("<H", 97))
    assert "not a usable zip file" in refusal(archive, "SMS")


def test_a_wrong_size_is_refused(tmp_path: Path) -> None:
    message = refusal(make_zip(tmp_path, ("SMS", TEXT)), "SMS", size_bytes=5)
    assert f"size {len(TEXT):,}, expected 5" in message


def test_a_wrong_content_is_refused(tmp_path: Path) -> None:
    message = refusal(make_zip(tmp_path, ("SMS", TEXT)), "SMS", len(TEXT), "0" * 64)
    assert f"sha256 {hashlib.sha256(TEXT).hexdigest()}, expected 0000" in message


def test_a_huge_stated_size_is_refused_before_unpacking(tmp_path: Path) -> None:
    archive = patched(make_zip(tmp_path, ("SMS", TEXT)), 22, 24, struct.pack("<I", 2**31))
    assert "size 2,147,483,648, at most 1,073,741,824" in refusal(archive, "SMS")


def test_a_bomb_that_lies_about_its_size_is_cut_off(tmp_path: Path) -> None:
    archive = patched(make_zip(tmp_path, ("SMS", bytes(50_000_000))), 22, 24, struct.pack("<I", 1000))
    assert "not a usable zip file" in refusal(archive, "SMS", size_bytes=1000)


def test_a_member_shorter_than_stated_is_refused(tmp_path: Path) -> None:
    archive = patched(make_zip(tmp_path, ("SMS", TEXT)), 22, 24, struct.pack("<I", len(TEXT) + 1))
    refusal(archive, "SMS")


@pytest.mark.parametrize("keep", [0, 10, 100, -30])
def test_a_truncated_zip_is_refused(tmp_path: Path, keep: int) -> None:
    archive = make_zip(tmp_path, ("SMS", TEXT))
    archive.write_bytes(archive.read_bytes()[:keep])
    assert "not a usable zip file" in refusal(archive, "SMS")


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=4), st.integers(0, 100))
def test_any_damage_gives_the_member_or_one_clear_error(
    tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    archive = make_zip(folder, ("SMS", TEXT[:500]), ("readme", b"other"))
    data = bytearray(archive.read_bytes())
    for position, mask in flips:
        data[position % len(data)] ^= mask
    archive.write_bytes(data[: len(data) - cut])
    target = folder / "out" / "file"
    digest = hashlib.sha256(TEXT[:500]).hexdigest()
    try:
        extract_member(archive, "SMS", target, 500, digest)
    except InputError as error:
        assert str(archive) in str(error)
        assert not target.parent.exists() or list(target.parent.iterdir()) == []
    else:
        assert target.read_bytes() == TEXT[:500]


def test_flipped_bytes_are_refused(tmp_path: Path) -> None:
    archive = make_zip(tmp_path, ("SMS", TEXT))
    data = bytearray(archive.read_bytes())
    data[60] ^= 0xFF
    archive.write_bytes(data)
    assert "not a usable zip file" in refusal(archive, "SMS")
