"""Which gates judge what, when nothing else is said."""

from __future__ import annotations

from cavalcade.gates.dangerous import DangerousGate
from cavalcade.gates.fence import FenceGate
from cavalcade.gates.lint import LintGate
from cavalcade.gates.port import Gate
from cavalcade.gates.references import ReferencesGate
from cavalcade.gates.ruff import Ruff
from cavalcade.gates.shrinkage import ShrinkageGate
from cavalcade.gates.syntax import SyntaxGate
from cavalcade.terrain.index import Index


def edit_gates(ruff: Ruff | None = None) -> list[Gate]:
    """For every single edit, within milliseconds. Lint is first, for its process then works beside the others."""
    return [LintGate(ruff), FenceGate(), ShrinkageGate(), SyntaxGate(), DangerousGate()]


def tree_gates(index: Index | None = None) -> list[Gate]:
    """For a whole tree, when a task is to be merged. `index` must read the same content store as the question's reader."""
    return [ReferencesGate(index)]
