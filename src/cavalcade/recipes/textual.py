"""What a word in a string, comment or document is: a reference after all, code in disguise, or a mention."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from tree_sitter import Node

from cavalcade.protocol.plan import Mention
from cavalcade.terrain.judges import MemberJudge, ModuleLevelJudge
from cavalcade.terrain.meaning import UNKNOWN, ClassId, Meaning
from cavalcade.terrain.python import text_of
from cavalcade.terrain.references import Findings
from cavalcade.terrain.source import SourceText
from cavalcade.terrain.symbols import Symbol
from cavalcade.terrain.terrain import Terrain
from cavalcade.terrain.tokens import Token

Sort = Literal["reference", "unresolved", "mention"]

_ATTRIBUTE_CALLS = frozenset({"getattr", "setattr", "hasattr", "delattr", "object", "attrgetter", "methodcaller"})
_SELF_NAMING = frozenset({"__slots__", "__match_args__"})
_DOCUMENTS = (".rst", ".md", ".txt", ".html", ".htm", ".tex", ".adoc", ".org", ".po", ".pot", ".1")
_CODE_FILES = (
    ".pyx",
    ".pxd",
    ".pxi",
    ".ipynb",
    ".js",
    ".ts",
    ".c",
    ".h",
    ".cpp",
    ".rs",
    ".jinja",
    ".j2",
    ".in",
    ".tmpl",
    ".sh",
)


class Reading(NamedTuple):
    """`kind` is the kind of mention, for what is asked to change by kind."""

    sort: Sort
    kind: Mention
    why: str


class Texts:
    """Reads the text occurrences of one symbol. `distinctive`: the word means nothing else anywhere in the tree's code."""

    def __init__(self, terrain: Terrain, symbol: Symbol, findings: Findings) -> None:
        self._terrain = terrain
        self._symbol = symbol
        self._judge = terrain.judge(symbol) if symbol.kind != "parameter" else None
        telling = {"attribute", "function", "class", "bind", "import"}
        strange = (token for token in findings.other if token.role in telling and not self._is_local(token))
        self.distinctive = next(strange, None) is None

    def _is_local(self, token: Token) -> bool:
        file = self._terrain.files.python(token.path)
        scope = file.scope_of(token) if token.role != "attribute" else None
        return scope is not None and scope.type not in {"module", "class_definition"}

    def read(self, token: Token) -> Reading:
        """For a text token of a Python file."""
        match token.role:
            case "export":
                return self._export(token)
            case "annotation":
                return self._annotation(token)
            case "equal":
                return self._equal(token)
            case "fstring":
                return Reading("unresolved", "strings", "in the text of an f-string, which may become code")
            case "doctest":
                source = self._terrain.files.python(token.path).source
                if self._looks_like_use(source, token.start, token.end):
                    return Reading("unresolved", "docs", "example in a docstring, run where doctests are run")
                return Reading("mention", "docs", "docstring")
            case "docstring":
                return Reading("mention", "docs", "docstring")
            case "comment":
                return self._comment(token)
            case _:
                return self._string(token)

    def _export(self, token: Token) -> Reading:
        if isinstance(self._judge, ModuleLevelJudge):
            if self._judge.carries(token.path) == "same":
                return Reading("reference", "strings", "__all__")
            return Reading("unresolved", "strings", "an __all__ that lists the word")
        return Reading("mention", "strings", "__all__ lists something else by that name")

    def _annotation(self, token: Token) -> Reading:
        source = self._terrain.files.python(token.path).source
        if isinstance(self._judge, ModuleLevelJudge):
            if source.body[token.start - 1 : token.start] == b".":
                return Reading("unresolved", "strings", "in a type annotation written as a string")
            if self._judge.carries(token.path) == "same":
                return Reading("reference", "strings", "type annotation written as a string")
        return Reading("mention", "strings", "in a type annotation of something else")

    def _comment(self, token: Token) -> Reading:
        file = self._terrain.files.python(token.path)
        text = text_of(token.node)
        if (
            text.startswith("# type:")
            and not text.startswith("# type: ignore")
            and isinstance(self._judge, ModuleLevelJudge)
        ):
            verdict = self._judge.carries(token.path)
            if verdict == "same" and file.source.body[token.start - 1 : token.start] != b".":
                return Reading("reference", "comments", "type comment")
        return Reading("mention", "comments", "comment")

    def _equal(self, token: Token) -> Reading:
        if self._symbol.kind == "parameter":
            return Reading("unresolved", "strings", "a string equal to the parameter's name")
        if isinstance(self._judge, MemberJudge) and self._in_class_list(token):
            return Reading("reference", "strings", "names the attribute of its class")
        target = _attribute_target(token.node)
        if target is not None:
            return self._by_name(token, target)
        if isinstance(self._judge, ModuleLevelJudge) and self._judge.carries(token.path) == "same":
            facts = self._terrain.code.facts(token.path)
            if facts.dynamic and not facts.definitions_of(self._symbol.name):
                return Reading("reference", "strings", "the module makes its names from such strings")
        return Reading("unresolved", "strings", "a string equal to the name")

    def _by_name(self, token: Token, target: Node) -> Reading:
        """`getattr(target, "name")` and the like."""
        meaning = UNKNOWN if target == token.node else self._terrain.reader.meaning(token.path, target)
        verdict = self._looked_up(meaning, token.path)
        if verdict == "same":
            return Reading("reference", "strings", "taken by its name")
        if verdict == "other":
            return Reading("mention", "strings", "the name of something else")
        if self.distinctive and self._symbol.owner is not None:
            return Reading("reference", "strings", "taken by its name, which nothing else has")
        return Reading("unresolved", "strings", "taken by its name from something whose type is not known")

    def _looked_up(self, meaning: Meaning, near: str) -> Literal["same", "other", "unknown"]:
        if isinstance(self._judge, ModuleLevelJudge):
            if meaning.kind != "module":
                return "unknown"
            carried = self._judge.module_carries(meaning.module, near)
            return "same" if carried == "same" else "other" if carried == "other" else "unknown"
        if meaning.kind not in {"class", "instance"} or meaning.owner is None:
            return "unknown"
        found = self._terrain.classes.finds(meaning.owner, self._symbol.name)
        if found is None:
            return "unknown"
        return "same" if found in self._terrain.family(self._symbol).owners else "other"

    def _in_class_list(self, token: Token) -> bool:
        file = self._terrain.files.python(token.path)
        chain = file.scope_chain(token.node)
        if not chain or chain[0].type != "class_definition":
            return False
        node = token.node
        while node.parent is not None and node.type != "assignment":
            node = node.parent
        left = node.child_by_field_name("left")
        owner = ClassId(token.path, file.qualname(chain[0]))
        return left is not None and text_of(left) in _SELF_NAMING and owner in self._terrain.family(self._symbol).owners

    def _string(self, token: Token) -> Reading:
        source = self._terrain.files.python(token.path).source
        if self._looks_like_use(source, token.start, token.end):
            return Reading("unresolved", "strings", "code or a dotted name in a string")
        return Reading("mention", "strings", "string")

    def _looks_like_use(self, source: SourceText, start: int, end: int) -> bool:
        """The text around a word reads like code that uses the symbol."""
        line = source.line_of(start)
        first = source.offset_of_line(line)
        before = source.body[first:start].decode(errors="replace")
        after = source.line_text(line).encode()[end - first :].decode(errors="replace")
        match self._symbol.kind:
            case "parameter":
                return re.match(r"\s*=(?!=)", after) is not None and re.search(r"[(,]\s*\Z", before) is not None
            case "method" | "attribute":
                return before.endswith(".") and re.match(r"\s*[(\[.,)=]|\Z|[\"']", after) is not None
            case _:
                imported = re.search(r"\bimport\s[\w\s,(]*\Z", before) is not None
                dotted = re.search(r"[\w]\.\Z", before) is not None and before.rstrip(".").rpartition(" ")[2] != ""
                return imported or (dotted and not after[:1].isspace()) or after.startswith("(") or ">>>" in before

    def document(self, path: str, source: SourceText, start: int, end: int) -> Reading:
        """For an occurrence in a file that is not Python."""
        lowered = path.lower()
        if lowered.endswith(_DOCUMENTS):
            return Reading("mention", "docs", "document")
        before = source.body[max(0, start - 200) : start].decode(errors="replace")
        dotted = self._symbol.module and before.rstrip(".:").endswith(self._symbol.module.rpartition(".")[2])
        if dotted and before[-1:] in {".", ":"}:
            return Reading("unresolved", "strings", "a dotted name outside Python")
        if lowered.endswith(_CODE_FILES) and self._looks_like_use(source, start, end):
            return Reading("unresolved", "strings", "code that is not Python")
        return Reading("mention", "strings", "text")


def _attribute_target(string: Node) -> Node | None:
    """The first argument of `getattr(x, "name")`, `mock.patch.object(x, "name")`, ...; the string itself for `attrgetter("name")`."""
    arguments = string.parent
    call = arguments.parent if arguments is not None and arguments.type == "argument_list" else None
    function = call.child_by_field_name("function") if call is not None and call.type == "call" else None
    if arguments is None or function is None:
        return None
    name = text_of(function).rpartition(".")[2]
    given = [child for child in arguments.named_children if child.type not in {"comment", "keyword_argument"}]
    if name in {"attrgetter", "methodcaller"}:
        return string
    if name in _ATTRIBUTE_CALLS and len(given) > 1 and given[1] == string:
        return given[0]
    return None
