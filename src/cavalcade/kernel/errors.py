"""The one error tree. An error's text is help: what was wrong, what was expected, what to do next.

    CavalcadeError                    exit
      UsageError                      2   the command or the objective can't be carried out as it stands
        ObjectiveNotUnderstood            no recipe in it, and no model to ask
        SymbolNotFound                    nothing by that name; near matches are named
        SymbolAmbiguous                   more than one by that name
        NameNotUsable                     the new name is taken, a keyword or no identifier
        RecipeRefused                     the recipe would break what it can't see or change
      Refused                         4   the rules of a run forbid this command now
        Unsupervised                      nobody watched over the work any more
      ContentError                    5   the project or its object store
        NotARepository
        RepositoryNotUsable               empty, bare, objects missing ...
        ObjectMissing
        PathClash                         a path would be a file and a folder at once
      LedgerError                     6   the record
        LedgerDamaged                     names the first bad position
        LedgerUnwritable                  disk full, read-only
        VersionConflict                   somebody else appended first
        NotRecorded                       no such run, event or moment
        SequenceGap                       events of another origin are missing before these
        ChainDiverged                     two histories claim one origin's place
        ExportDamaged                     a file that is no export, or not a whole one
      SandboxUnavailable              7   generated code can't be run safely here
      ToolFailed                      8   an external program did not do its work
        ServerGone                        a resolver ended, or did not answer in time
      Busy                            9   another process holds it
      Defect                          1   a mistake of Cavalcade itself
      Interrupted                   130   Ctrl-C
      OutputClosed                  141   whoever read our output has gone, as `head` does

Exit status 3 is for a run that waits for a person, 10 for a run that stopped without landing, 11 for a replay that diverged.
"""

from __future__ import annotations

from typing import ClassVar


class CavalcadeError(Exception):
    """Base of all errors that a user may see.

    `what` says what was wrong, with the value; `expected` what would have been right; `hint` what to do next;
    `places` are locations as `path:line` or names that help.
    """

    code: ClassVar[str] = "error"
    exit_status: ClassVar[int] = 1

    def __init__(self, what: str, *, expected: str = "", hint: str = "", places: tuple[str, ...] = ()) -> None:
        super().__init__(what)
        self.what = what
        self.expected = expected
        self.hint = hint
        self.places = places

    def __str__(self) -> str:
        parts = [self.what]
        if self.expected:
            parts.append(f"expected: {self.expected}")
        parts.extend(f"  {place}" for place in self.places)
        if self.hint:
            parts.append(f"hint: {self.hint}")
        return "\n".join(parts)


class UsageError(CavalcadeError):
    code = "usage"
    exit_status = 2


class ObjectiveNotUnderstood(UsageError):
    code = "objective-not-understood"


class SymbolNotFound(UsageError):
    code = "symbol-not-found"


class SymbolAmbiguous(UsageError):
    code = "symbol-ambiguous"


class NameNotUsable(UsageError):
    code = "name-not-usable"


class RecipeRefused(UsageError):
    code = "recipe-refused"


class Refused(CavalcadeError):
    code = "refused"
    exit_status = 4


class Unsupervised(Refused):
    code = "unsupervised"


class ContentError(CavalcadeError):
    code = "content"
    exit_status = 5


class NotARepository(ContentError):
    code = "not-a-repository"


class RepositoryNotUsable(ContentError):
    code = "repository-not-usable"


class ObjectMissing(ContentError):
    """Also one that is there and damaged."""

    code = "object-missing"

    def at(self, places: tuple[str, ...]) -> ObjectMissing:
        """The same, saying which paths need the object."""
        return ObjectMissing(self.what, expected=self.expected, hint=self.hint, places=places)


class PathClash(ContentError):
    """`path` is the one that clashes."""

    code = "path-clash"

    def __init__(self, path: str, *, shown: str) -> None:
        super().__init__(f"{shown} would be a file and a folder at once", hint="remove one of them in the same commit")
        self.path = path


class LedgerError(CavalcadeError):
    code = "ledger"
    exit_status = 6


class LedgerDamaged(LedgerError):
    code = "ledger-damaged"


class LedgerUnwritable(LedgerError):
    code = "ledger-unwritable"


class VersionConflict(LedgerError):
    code = "version-conflict"


class NotRecorded(LedgerError):
    code = "not-recorded"


class SequenceGap(LedgerError):
    """`next_seq` is the sequence number of the first event that is missing."""

    code = "sequence-gap"

    def __init__(self, what: str, *, next_seq: int, expected: str = "", hint: str = "") -> None:
        super().__init__(what, expected=expected, hint=hint)
        self.next_seq = next_seq


class ChainDiverged(LedgerError):
    code = "chain-diverged"


class ExportDamaged(LedgerError):
    code = "export-damaged"


class SandboxUnavailable(CavalcadeError):
    code = "sandbox-unavailable"
    exit_status = 7


class ToolFailed(CavalcadeError):
    code = "tool-failed"
    exit_status = 8


class ServerGone(ToolFailed):
    code = "server-gone"


class Busy(CavalcadeError):
    code = "busy"
    exit_status = 9


class Defect(CavalcadeError):
    code = "defect"


class Interrupted(CavalcadeError):
    code = "interrupted"
    exit_status = 130


class OutputClosed(CavalcadeError):
    code = "output-closed"
    exit_status = 141
