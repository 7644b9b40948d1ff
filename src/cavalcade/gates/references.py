"""Gate `references`: every import and use of a name that another file of the tree defines still finds it.

Only what the change broke is reported: a reference that found its target in the tree before (or was not there) and finds none
now, in files of the change and in all others. A name is looked for by its bytes first, so only files that hold it are analysed.
"""

from __future__ import annotations

import re
import tomllib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

from cavalcade.content.port import TreeReader
from cavalcade.gates.change import changed_files, is_regular, moves
from cavalcade.gates.port import Judgement, Question, from_findings
from cavalcade.gates.surface import Surfaces, import_folder
from cavalcade.gates.uses import global_uses
from cavalcade.kernel.ids import TreeId
from cavalcade.protocol.receipt import Finding
from cavalcade.terrain.facts import Import
from cavalcade.terrain.index import INDEX_VERSION, Index
from cavalcade.terrain.modules import ModuleMap

RULES = "1"
_KEPT_TREES = 4
_FEW_WORDS = 48
"""Up to so many words, one byte search for each is faster than one expression for all."""


_STAR = re.compile(rb"import\s*\*")
_FROM_DOTS = re.compile(rb"\bfrom\s+\.+\s+import\b|\bfrom\s+\.+import\b")
"""An import from the package itself, which doesn't name it."""


class Reference(NamedTuple):
    """`kind` is `module`, `name`, `attribute`, `export`, `star` or `entry-point`; `start` a byte offset in the file's body."""

    kind: str
    module: str
    name: str
    start: int
    line: int

    @property
    def key(self) -> tuple[str, str, str]:
        return self.kind, self.module, self.name


class ReferencesGate:
    """Setting: `moves`. With an `index` over the same reader, what it has analysed is not analysed again."""

    name = "references"

    def __init__(self, index: Index | None = None) -> None:
        self._index = index
        self._trees: OrderedDict[TreeId, Surfaces] = OrderedDict()

    def tool(self) -> tuple[str, str]:
        return "cavalcade-references", f"{RULES} (index {INDEX_VERSION})"

    async def judge(self, question: Question, reader: TreeReader) -> Judgement:
        if not any(path.endswith((".py", ".pyi", "pyproject.toml")) for path in question.paths):
            return Judgement("passed", (), "no Python changed")
        index = self._index or Index(reader)
        before = self._tree(question.before, reader, index)
        after = self._tree(question.after, reader, index)
        search = _Search(before, after, index, reader, question)
        findings = search.findings()
        return from_findings(findings, search.looked_at)

    def _tree(self, tree: TreeId, reader: TreeReader, index: Index) -> Surfaces:
        known = self._trees.get(tree) if self._index is not None else None
        if known is None:
            entries = reader.entries(tree)
            settings = entries.get("pyproject.toml")
            pyproject = reader.read(settings.blob) if settings is not None and is_regular(settings) else None
            known = Surfaces(entries, index, ModuleMap(entries, pyproject))
        self._trees[tree] = known
        self._trees.move_to_end(tree)
        if len(self._trees) > _KEPT_TREES:
            self._trees.popitem(last=False)
        return known


class _Search:
    """One question being answered."""

    def __init__(self, before: Surfaces, after: Surfaces, index: Index, reader: TreeReader, question: Question) -> None:
        self._before = before
        self._after = after
        self._index = index
        self._reader = reader
        self._changed = frozenset(change.path for change in changed_files(question, reader))
        self._origins = moves(question)
        self._gone_modules = dict(self._vanished_modules())
        self._words = frozenset(self._vanished_words())
        self.looked_at = 0

    def findings(self) -> list[Finding]:
        found: list[Finding] = []
        for path in self._candidates():
            self.looked_at += 1
            found.extend(self._of_file(path))
        found.extend(self._stale_stubs())
        found.extend(self._entry_points())
        return list(dict.fromkeys(found))

    def _vanished_modules(self) -> Iterator[tuple[str, str]]:
        """Modules that were and are not, each with the folder whose files could import it; all, when that is ""."""
        for path in sorted(self._changed):
            for module in self._before.modules.names(path):
                parts = module.split(".")
                is_own = module == self._before.modules.name(path)
                folder = "" if is_own else import_folder(path, module)
                for count in range(1, len(parts) + 1):
                    name = ".".join(parts[:count])
                    if self._before.modules.exists(name) and not self._after.modules.exists(name):
                        yield name, folder

    def _vanished_words(self) -> Iterator[str]:
        """Every name by which something that is gone could be referred to."""
        yield from (module.rpartition(".")[2] for module in self._gone_modules)
        for path in sorted(self._changed):
            for module in self._before.modules.names(path):
                old, new = self._before.file_of(module, path), self._after.file_of(module, path)
                if not old or not new:
                    continue
                now = self._after.surface(new)
                if not now.open:
                    yield from self._before.surface(old).names - now.names

    def _candidates(self) -> Iterator[str]:
        """Changed files, and those that hold one of the words and the name of a module that lost it. Each file is read once."""
        modules = self._after.modules
        if not self._words:
            yield from (path for path in modules.python_paths if path in self._changed)
            return
        holds = _holder(self._words)
        hits: dict[str, bytes] = {}
        stars: dict[str, bytes] = {}
        for path in modules.python_paths:
            data = self._raw(path)
            if path in self._changed or holds(data):
                hits[path] = data
            if _STAR.search(data):
                stars[path] = data
        names = _holder(self._affected_tails(stars))
        yield from (
            path for path, data in hits.items() if path in self._changed or names(data) or _FROM_DOTS.search(data)
        )

    def _affected_tails(self, stars: Mapping[str, bytes]) -> frozenset[str]:
        """Last names of the modules that may have lost a name: those changed, and those that star-import them, over any way."""
        tails = {m.rpartition(".")[2] for path in self._changed for m in self._before.modules.names(path)}
        tails.update(module.rpartition(".")[2] for module in self._gone_modules)
        grown = True
        while grown:
            names = _holder(frozenset(tails))
            importers = [path for path, data in stars.items() if names(data) or _FROM_DOTS.search(data)]
            found = {self._after.modules.name(path).rpartition(".")[2] for path in importers}
            grown = not found <= tails
            tails |= found
        return frozenset(tails)

    def _raw(self, path: str) -> bytes:
        entry = self._after.entries[path]
        return self._reader.read(entry.blob) if is_regular(entry) else b""

    def _of_file(self, path: str) -> Iterator[Finding]:
        origin = self._origins.get(path, path)
        was = (
            {r.key for r in _references(origin, self._before)}
            if origin in self._before.entries
            else set[tuple[str, str, str]]()
        )
        for reference in _references(path, self._after):
            if self._is_broken(reference, path, origin, is_new=reference.key not in was):
                yield self._finding(path, reference)
        for reference in [*self._attributes(path), *self._starred(path)]:
            yield self._finding(path, reference)

    def _is_broken(self, reference: Reference, path: str, origin: str, *, is_new: bool) -> bool:
        kind, module, name = reference.key
        if kind == "module":
            return self._is_gone(module, path) or (is_new and self._after.lacks_module(module))
        if not is_new and name not in self._words:
            return False
        if kind == "export":
            return not self._exports(self._after, path, name) and (is_new or self._exports(self._before, origin, name))
        if self._is_gone(f"{module}.{name}", path):
            return True
        return not self._after.offers(module, name, path) and (is_new or self._before.offers(module, name, origin))

    def _is_gone(self, module: str, path: str) -> bool:
        folder = self._gone_modules.get(module)
        return folder is not None and path.startswith(folder)

    def _exports(self, tree: Surfaces, path: str, name: str) -> bool:
        return (
            tree.offers(tree.modules.name(path), name, path)
            if tree.file_of(tree.modules.name(path), path) == path
            else True
        )

    def _attributes(self, path: str) -> list[Reference]:
        """Uses like `module.gone`, by way of what the file imports."""
        facts = self._after.facts(path)
        heads: dict[str, list[Import]] = {}
        for item in facts.imports:
            heads.setdefault(item.alias.split(".")[0], []).append(item)
        suspects: list[Reference] = []
        for use in facts.uses:
            if self._words.isdisjoint(use.chain[1:]):
                continue
            for item in heads.get(use.chain[0], ()):
                missing = self._missing(item, use.chain, path)
                if missing is not None:
                    suspects.append(Reference("attribute", *missing, use.start, use.line))
                    break
        if not suspects:
            return []
        used = global_uses(self._raw(path), frozenset(heads))
        lines = {line for line, _ in used}
        return [suspect for suspect in suspects if suspect.line in lines]

    def _missing(self, item: Import, chain: tuple[str, ...], path: str) -> tuple[str, str] | None:
        """The first link of a chain that is gone: the module, and the name it had before."""
        module = self._after.imported_module(item, path)
        for name in chain[1:]:
            if not module or not self._after.modules.exists(module):
                return None
            behind = self._after.module_behind(module, name, path)
            if not behind:
                gone = name in self._words and not self._after.offers(module, name, path)
                return (module, name) if gone and self._before.offers(module, name, path) else None
            module = behind
        return None

    def _starred(self, path: str) -> list[Reference]:
        """Names that came by `from module import *` and no longer do."""
        lost: dict[str, str] = {}
        for item in self._after.facts(path).imports:
            module = self._after.modules.absolute(path, item.level, item.module) if item.name == "*" else ""
            old, new = self._before.file_of(module, path), self._after.file_of(module, path)
            if not module or not old or not new or self._after.starred(new).open:
                continue
            for name in (self._before.starred(old).names - self._after.starred(new).names) & self._words:
                lost[name] = module
        surface = self._after.surface(path)
        lost = {name: module for name, module in lost.items() if name not in surface.names}
        if not lost or surface.open:
            return []
        uses = sorted(global_uses(self._raw(path), frozenset(lost)))
        return [Reference("star", lost[name], name, -1, line) for line, name in uses]

    def _stale_stubs(self) -> Iterator[Finding]:
        """Stubs that declare what the module beside them no longer has."""
        for path in sorted(self._changed):
            stub = f"{path}i"
            if (
                not path.endswith(".py")
                or not is_regular(self._after.entries.get(stub))
                or path not in self._before.entries
            ):
                continue
            if path not in self._after.entries:
                yield Finding(path=stub, code="stale-stub", message=f"the module {path} beside this stub is gone")
                continue
            old, new = self._before.surface(path), self._after.surface(path)
            if new.open:
                continue
            for definition in self._after.facts(stub).definitions:
                if not definition.scope and definition.name in old.names - new.names:
                    message = f"declares {definition.name!r}, which {path} no longer has"
                    yield Finding(path=stub, line=definition.line, code="stale-stub", message=message)

    def _entry_points(self) -> Iterator[Finding]:
        path = "pyproject.toml"
        entry = self._after.entries.get(path)
        if entry is None or not is_regular(entry):
            return
        data = self._raw(path)
        if path not in self._changed and not (self._words and _holder(self._words)(data)):
            return
        old = self._before.entries.get(path)
        known = set(entry_points(self._reader.read(old.blob))) if old is not None else set[tuple[str, str]]()
        for module, name in entry_points(data):
            gone = self._is_gone(module, path) or (name and not self._after.offers(module, name, path))
            if gone and ((module, name) not in known or self._resolves(module, name)):
                line = 1 + data[: max(0, data.find(f"{module}:{name}".encode()))].count(b"\n")
                message = f"the entry point {module}:{name} no longer leads anywhere"
                yield Finding(path=path, line=line, code="broken-entry-point", message=message)

    def _resolves(self, module: str, name: str) -> bool:
        return self._before.modules.exists(module) and self._before.offers(module, name, "pyproject.toml")

    def _finding(self, path: str, reference: Reference) -> Finding:
        column = 0
        if reference.start >= 0:
            column = self._index.source(self._after.entries[path].blob).place(path, reference.start).column
        message = _MESSAGES[reference.kind].format(module=reference.module, name=reference.name)
        return Finding(path=path, line=reference.line, column=column, code=_CODES[reference.kind], message=message)


_CODES = {
    "module": "broken-import",
    "name": "broken-import",
    "attribute": "broken-attribute",
    "export": "broken-export",
    "star": "broken-star-import",
}
_MESSAGES = {
    "module": "there is no module {module!r}",
    "name": "{module!r} has no {name!r}",
    "attribute": "module {module!r} has no {name!r}",
    "export": "__all__ names {name!r}, which this module doesn't have",
    "star": "{name!r} no longer comes from {module!r} by `import *`",
}


def entry_points(pyproject: bytes) -> list[tuple[str, str]]:
    """Module and name of every entry point that a `pyproject.toml` declares."""
    try:
        table = tomllib.loads(pyproject.decode(errors="replace"))
    except (tomllib.TOMLDecodeError, RecursionError):
        return []
    project, tool = _table(table.get("project")), _table(_table(table.get("tool")).get("poetry"))
    groups = [project.get("scripts"), project.get("gui-scripts"), tool.get("scripts")]
    groups.extend([*_table(project.get("entry-points")).values(), *_table(tool.get("plugins")).values()])
    texts = [text for group in groups for text in _table(group).values() if isinstance(text, str)]
    found = (re.fullmatch(r"([\w.]+)(?::(\w+)[\w.]*)?(?:\s*\[.*\])?", text.strip()) for text in texts)
    return sorted({(match[1], match[2] or "") for match in found if match})


def _table(value: object) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _references(path: str, tree: Surfaces) -> Iterator[Reference]:
    """What a file imports and exports by name, its relative imports made absolute."""
    if not is_regular(tree.entries.get(path)) or not tree.modules.name(path):
        return
    facts = tree.facts(path)
    for item in facts.imports:
        module = tree.modules.absolute(path, item.level, item.module)
        if not module:
            continue
        yield Reference("module", module, "", item.start, item.line)
        if item.name and item.name != "*":
            yield Reference("name", module, item.name, item.start, item.line)
    own = tree.modules.name(path)
    for export in facts.exports or ():
        yield Reference("export", own, export.name, export.start, export.line)


def _holder(words: frozenset[str]) -> Callable[[bytes], bool]:
    """A test whether bytes hold one of the words."""
    plain = [word.encode() for word in sorted(words)]
    expression = re.compile(rb"\b(?:%s)\b" % b"|".join(map(re.escape, plain)))

    def holds(data: bytes) -> bool:
        if len(plain) <= _FEW_WORDS and not any(word in data for word in plain):
            return False
        return expression.search(data) is not None

    return holds
