"""Gate `syntax`: files that could be parsed before the edit, or are new, can be parsed after it. Python, JSON, TOML."""

from __future__ import annotations

import ast
import json
import platform
import tomllib
import warnings
from functools import lru_cache

from cavalcade.content.port import TreeReader
from cavalcade.gates.change import changed_files, is_python, regular_bytes, setting
from cavalcade.gates.port import Judgement, Question, from_findings
from cavalcade.protocol.receipt import Finding

DEFAULT_MAX_BYTES = 4 * 1024 * 1024
"""CPython needs about a hundred times a file's size to parse it; no hand-written file comes near."""

_WITH_COMMENTS = ("tsconfig", "jsconfig", "devcontainer", ".devcontainer")


class SyntaxGate:
    """Setting `syntax.max_bytes`: larger files are not parsed; an edit that makes a file so large is refused."""

    name = "syntax"

    def tool(self) -> tuple[str, str]:
        return "cpython-ast", platform.python_version()

    async def judge(self, question: Question, reader: TreeReader) -> Judgement:
        limit = setting(question, "syntax.max_bytes", int, DEFAULT_MAX_BYTES)
        findings: list[Finding] = []
        checked = 0
        for change in changed_files(question, reader):
            after = regular_bytes(change.after, reader)
            if after is None or not has_syntax(change.path):
                continue
            checked += 1
            finding = syntax_error(change.path, after, limit)
            if finding is None:
                continue
            before = regular_bytes(change.before, reader)
            if before is None or syntax_error(change.path, before, limit) is None:
                findings.append(finding)
        return from_findings(findings, checked)


def has_syntax(path: str) -> bool:
    return is_python(path) or path.endswith(".toml") or (path.endswith(".json") and not _json_with_comments(path))


def syntax_error(path: str, data: bytes, max_bytes: int = DEFAULT_MAX_BYTES) -> Finding | None:
    """What keeps a file from being parsed, by its suffix; None when nothing does."""
    if len(data) > max_bytes:
        return Finding(path=path, code="too-large", message=f"{len(data)} bytes, more than {max_bytes}: not parsed")
    try:
        if is_python(path):
            parse_python(data)
        elif path.endswith(".json"):
            json.loads(data, parse_int=str, parse_float=str)
        else:
            tomllib.loads(data.decode())
    except SyntaxError as exc:
        message = f"{exc.msg} (Python {platform.python_version()})"
        return Finding(
            path=path, line=max(0, exc.lineno or 0), column=max(0, exc.offset or 0), code="syntax", message=message
        )
    except json.JSONDecodeError as exc:
        return Finding(path=path, line=exc.lineno, column=exc.colno, code="syntax", message=exc.msg)
    except (ValueError, LookupError) as exc:
        return Finding(path=path, code="syntax", message=str(exc))
    except (RecursionError, MemoryError):
        return Finding(path=path, code="too-deep", message="nested too deeply to be parsed")
    return None


@lru_cache(maxsize=4)
def parse_python(data: bytes) -> ast.Module:
    """The syntax tree, by the file's declared encoding. The last few are kept, for several gates look at the same file; don't
    change them. Raises SyntaxError, ValueError, LookupError, RecursionError, MemoryError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(data)


def _json_with_comments(path: str) -> bool:
    name = path.rpartition("/")[2]
    return name.startswith(_WITH_COMMENTS) or ".vscode/" in path
