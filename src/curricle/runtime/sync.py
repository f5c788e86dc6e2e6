"""A folder copied to another place and proved: a mounted disk, or whatever fsspec opens (s3://, gs://, sftp://, memory://).

What has arrived is read back and its SHA256 written to a manifest at the destination, in the form that `sha256sum -c`
reads. Copying again, after a break or after a change, copies only what the manifest does not vouch for:

    source            manifest at the destination      size there
    a.txt  3f..       3f..  a.txt                       equal        left as it is (with `verify`: read back once more)
    b.txt  77..       51..  b.txt                                    copied: it has changed
    c.txt  08..                                                      copied: a copy that broke off left no line

A source that has such a manifest is itself a copy, and is held against it, so that damage is not passed on as new.
Nothing is ever deleted: files that only the destination has are counted and left alone.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from ..errors import MissingExtra, RecipeError, RunError
from .progress import bar, counted, say

MANIFEST = "MANIFEST.sha256"
SAVED_EVERY = 5.0
"""Seconds between two writings of a manifest that grows."""
_CHUNK = 4 * 2**20
_UNFINISHED = (".tmp", ".part", ".partial")
_PRIVATE = (".lock", MANIFEST)


@dataclass(frozen=True)
class Place:
    """A folder somewhere."""

    files: Any
    """The file system, as fsspec has it."""
    root: str
    shown: str

    @property
    def local(self) -> bool:
        return "file" in (self.files.protocol if isinstance(self.files.protocol, tuple) else (self.files.protocol,))

    def at(self, name: str) -> str:
        return f"{self.root}/{name}"

    def named(self, name: str) -> str:
        """A file as the user would write it."""
        return f"{self.shown.rstrip('/')}/{name}"

    def sizes(self) -> dict[str, int]:
        """Every finished file below, by its path from here."""
        found = self.files.find(self.root, detail=True)
        names = {path[len(self.root) :].lstrip("/"): about["size"] for path, about in found.items()}
        return {name: size for name, size in sorted(names.items()) if name and not _skipped(name)}

    def manifest(self) -> dict[str, str]:
        """What is vouched for: path -> SHA256."""
        if not self.files.exists(self.at(MANIFEST)):
            return {}
        try:
            lines = self.files.cat_file(self.at(MANIFEST)).decode().splitlines()
        except UnicodeDecodeError as error:
            raise RunError(f"{self.named(MANIFEST)} is no text, so it is damaged; delete it ({error})") from error
        return {name.removeprefix("./"): digest for digest, _, name in (line.partition("  ") for line in lines) if name}

    def vouch(self, digests: dict[str, str]) -> None:
        text = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
        with self.writing(MANIFEST) as handle:
            handle.write(text.encode())

    def digest(self, name: str) -> str:
        with self.files.open(self.at(name), "rb") as handle:
            return _digest(handle)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """A file that has its name when it is whole; elsewhere than on disks that is so anyway."""
        path = self.at(name)
        scratch = f"{path}.part" if self.local else path
        self.files.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            with self.files.open(scratch, "wb") as handle:
                yield handle
            if scratch != path:
                os.replace(scratch, path)
        finally:
            if scratch != path:
                Path(scratch).unlink(missing_ok=True)


@dataclass
class Synced:
    """What a copying came to."""

    dest: str
    copied: int = 0
    there: int = 0
    repaired: int = 0
    num_bytes: int = 0
    others: int = 0
    verified: bool = False
    """Whether what was there already has been read back too."""

    def __str__(self) -> str:
        told = f"{counted(self.copied, 'file')} copied to {self.dest}"
        told += f" and read back ({self.num_bytes / 2**20:,.1f} MiB)" if self.copied else ""
        unread = self.there > 0 and not self.verified
        if self.there:
            told += (
                f", {self.there:,} there already and {'not read back (--verify does that)' if unread else 'read back'}"
            )
        told += f", {self.repaired:,} of the copied were damaged there" if self.repaired else ""
        told += f"; {counted(self.others, 'other file')} there left alone" if self.others else ""
        return f"{told}; {MANIFEST} {'lists' if unread else 'vouches for'} {self.copied + self.there:,}"


def sync(source: str | Path, dest: str | Path, verify: bool = False) -> Synced:
    """Copy what `dest` lacks of the folder `source`; with `verify` what is there already is read back too.

    >>> sync("runs/quickstart", "s3://bucket/runs/quickstart")           # doctest: +SKIP
    """
    here, there = place(source), place(dest)
    _refuse(here, there)
    try:
        return _copy_all(here, there, verify)
    except OSError as error:
        said = error.strerror or f"{type(error).__name__}: {error}"
        raise RunError(
            f"{there.shown}: {said}; what has arrived is in {MANIFEST}, so the same command goes on"
        ) from error


def place(where: str | Path) -> Place:
    """A folder by its path or its address."""
    import fsspec

    try:
        files, root = fsspec.core.url_to_fs(str(where))
    except ImportError as error:
        raise MissingExtra(f"{where} needs a package that is not installed: {error}") from error
    except ValueError as error:
        raise RecipeError(f"{where} is no folder and no address that fsspec knows: {error}") from error
    return Place(files, str(root).rstrip("/"), str(where))


def _refuse(here: Place, there: Place) -> None:
    if not here.files.isdir(here.root):
        raise RunError(f"{here.shown} is no folder; sync copies what is in a folder")
    if type(here.files) is type(there.files) and f"{there.root}/".startswith(f"{here.root}/"):
        raise RunError(f"{there.shown} lies in {here.shown}, which would be copied into itself; give another place")
    if there.files.exists(there.root) and not there.files.isdir(there.root):
        raise RunError(f"{there.shown} is a file; give a folder to copy into")


def _copy_all(here: Place, there: Place, verify: bool) -> Synced:
    wanted, present, vouched = here.sizes(), there.sizes(), there.manifest()
    promised = here.manifest()
    _tell_lost(here, sorted(promised.keys() - wanted.keys()))
    done = Synced(there.shown, others=len(present.keys() - wanted.keys()), verified=verify)
    saved = time.monotonic()
    try:
        with bar(f"to {there.shown}", sum(wanted.values())) as move:
            for name, size in wanted.items():
                digest = here.digest(name) if here.local else promised.get(name)  # a disk is read, changes and all
                _hold(here, name, promised.get(name), digest)
                known = digest is not None and vouched.get(name) == digest and present.get(name) == size
                damaged = known and verify and there.digest(name) != digest
                if known and not damaged:
                    done.there += 1
                else:
                    vouched.pop(name, None)
                    vouched[name] = _copy(here, there, name, promised.get(name))
                    done.copied, done.repaired, done.num_bytes = (
                        done.copied + 1,
                        done.repaired + damaged,
                        done.num_bytes + size,
                    )
                if move is not None:
                    move(advance=size)
                if time.monotonic() - saved > SAVED_EVERY:
                    there.vouch(vouched)
                    saved = time.monotonic()
    finally:
        gone = vouched.keys() - present.keys() - wanted.keys()
        there.vouch({name: digest for name, digest in vouched.items() if name not in gone})
    return done


def _hold(here: Place, name: str, promised: str | None, found: str | None) -> None:
    """A file that its own manifest contradicts is refused."""
    if promised is not None and found != promised:
        raise RunError(
            f"{here.named(name)} is not what {here.named(MANIFEST)} says (SHA256 {promised[:12]}..., the file has "
            f"{str(found)[:12]}...); fetch it again from where it came, or delete the manifest if the change was meant"
        )


def _tell_lost(here: Place, lost: list[str]) -> None:
    if lost:
        more = f" and {len(lost) - 1:,} more" if len(lost) > 1 else ""
        say(f"{here.shown} lacks {counted(len(lost), 'file')} of its {MANIFEST}: {lost[0]}{more}")


def _copy(here: Place, there: Place, name: str, promised: str | None) -> str:
    """One file, read back; a second try before it is given up."""
    for attempt in (1, 2):
        with here.files.open(here.at(name), "rb") as source, there.writing(name) as target:
            sent = _digest(source, target)
            _hold(here, name, promised, sent)  # before the file has its name
        if there.digest(name) == sent:
            return sent
        say(f"{name} arrived damaged{', sent again' if attempt == 1 else ''}")
    raise RunError(
        f"{there.at(name)} does not hold what was written to it, twice; is the disk or the connection sound?"
    )


def _digest(source: IO[bytes], target: IO[bytes] | None = None) -> str:
    """The SHA256 of a file, which is copied on the way where a target is given."""
    total = hashlib.sha256()
    while chunk := source.read(_CHUNK):
        total.update(chunk)
        if target is not None:
            target.write(chunk)
    return total.hexdigest()


def _skipped(name: str) -> bool:
    """A lock, a manifest, or a file that is being written."""
    last = name.rpartition("/")[2]
    return last in _PRIVATE or last.endswith(_UNFINISHED)
