"""A content store to throw away that borrows the objects of another: whatever is the same is not written again."""

from __future__ import annotations

from pathlib import Path

from cavalcade.content.git import GitContentStore
from cavalcade.kernel.ids import CommitId


class ScratchContentStore(GitContentStore):
    """In `folder`, over the objects of the content store in `lender`, which is only read. Nothing is ever published from here."""

    def __init__(self, folder: Path, lender: Path) -> None:
        super().__init__(folder)
        (folder / "objects" / "info" / "alternates").write_text(f"{lender.absolute() / 'objects'}\n")

    def publish(self, repo: Path, branch: str, commit: CommitId) -> None:  # noqa: ARG002
        """Only looks that the commit is there. Raises ObjectMissing."""
        self.info(commit)
