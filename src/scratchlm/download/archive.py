"""Extracting one file from a zip that may be broken or hostile."""

from __future__ import annotations

import lzma
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from scratchlm.errors import InputError
from scratchlm.files.atomic import atomic_path
from scratchlm.files.checksum import mismatch

CHUNK_BYTES = 2**20
MAX_MEMBER_BYTES = 2**30

ENCRYPTED_FLAG = 0x1  # bit 0 of a zip entry's general purpose flags (APPNOTE 4.4.4)


def extract_member(
    archive: Path, member: str, target: Path, size_bytes: int | None = None, sha256: str | None = None
) -> Path:
    """Write the zip member named exactly `member` to `target`, checked before it gets its name.

    `size_bytes` and `sha256` are those of the uncompressed member; without a size it may have at most 1 GiB.
    Nothing but `target` is written, whatever names the archive holds.

    Raises InputError for a broken zip, and for a member that is missing, there twice, encrypted, a link or a
    folder, named by an absolute path or one with "..", of another size, or of another content.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            info = find_member(opened, member, size_bytes)
            with atomic_path(target) as temporary:
                copy_member(opened, info, temporary, sha256)
    except Unusable as error:
        raise InputError(f"{archive}: member {member}: {error}") from None
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError) as error:
        raise InputError(f"{archive}: not a usable zip file ({error}); download it again") from None
    return target


class Unusable(Exception):
    """The member cannot be used, and why."""


def find_member(opened: zipfile.ZipFile, member: str, size_bytes: int | None) -> zipfile.ZipInfo:
    """Return the one harmless entry named `member`, or raise Unusable."""
    entries = [entry for entry in opened.infolist() if entry.filename == member]
    if not entries:
        raise Unusable(f"not there; the zip holds {', '.join(opened.namelist()[:5]) or 'nothing'}")
    if len(entries) > 1:
        raise Unusable(f"there {len(entries)} times, expected once")
    entry = entries[0]
    if member.startswith("/") or "\\" in member or ":" in member or ".." in PurePosixPath(member).parts:
        raise Unusable("the name leads out of the folder")
    if entry.is_dir() or stat.S_ISLNK(entry.external_attr >> 16):
        raise Unusable("a folder or a link, expected a file")
    if entry.flag_bits & ENCRYPTED_FLAG:
        raise Unusable("encrypted")
    if size_bytes is not None and entry.file_size != size_bytes:
        raise Unusable(f"size {entry.file_size:,}, expected {size_bytes:,}")
    if entry.file_size > MAX_MEMBER_BYTES:
        raise Unusable(f"size {entry.file_size:,}, at most {MAX_MEMBER_BYTES:,} are unpacked")
    return entry


def copy_member(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, sha256: str | None) -> None:
    """Stream the entry to `path`; zipfile stops at its stated size and checks its CRC."""
    with opened.open(entry) as packed, path.open("wb") as file:
        shutil.copyfileobj(packed, file, CHUNK_BYTES)
    if problem := mismatch(path, entry.file_size, sha256):
        raise Unusable(problem)
