"""Why a line is as it is, and how it came to be.

answers        what is answered: plain data, the same for people and as JSON
explainer      from a line to the commit that made it, and from there to the record
record         what the record says of one commit: a run's edit, a program's change, the move of a file
matching       a line that somebody brought without its history: which result has it too, and how sure that is
planning       how the plan came about: rounds, decisions, guidance. Whatever else takes part in planning joins here
conversation   what was said to a recorded program before it changed a file
lines          lines in two versions of a file, hunks of a difference
"""

from cavalcade.supervisor.why.answers import (
    Approval,
    EditOrigin,
    GitOrigin,
    Hint,
    LineHistory,
    Move,
    RecordedOrigin,
    Why,
)
from cavalcade.supervisor.why.explainer import Explainer, tip_of
from cavalcade.supervisor.why.lines import hunk_with, line_in

__all__ = [
    "Approval",
    "EditOrigin",
    "Explainer",
    "GitOrigin",
    "Hint",
    "LineHistory",
    "Move",
    "RecordedOrigin",
    "Why",
    "hunk_with",
    "line_in",
    "tip_of",
]
