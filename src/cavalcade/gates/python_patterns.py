"""Dangerous patterns in Python, by syntax tree and with import aliases followed.

A reference counts, not only a call: `run = os.system` and `map(eval, lines)` are what they lead to. A name that the file binds
itself (`def eval`, a parameter, an import from elsewhere) is not the builtin.
"""

from __future__ import annotations

import ast
import re
import unicodedata
from collections.abc import Callable, Iterator
from typing import NamedTuple, cast

from cavalcade.gates.patterns import TEXT_PATTERNS
from cavalcade.gates.scopes import IMPORTERS, Scope, open_scope
from cavalcade.gates.syntax import DEFAULT_MAX_BYTES, parse_python


class Place(NamedTuple):
    pattern: str
    line: int
    column: int


_BY_NAME = {
    "exec": ("builtins.exec", "code.interact", "code.InteractiveInterpreter", "runpy.run_path", "runpy.run_module"),
    "eval": ("builtins.eval",),
    "compile": ("builtins.compile", "types.CodeType"),
    "shell": (
        "os.system", "os.popen", "posix.system", "nt.system", "subprocess.getoutput", "subprocess.getstatusoutput",
        "asyncio.create_subprocess_shell", "commands.getoutput", "commands.getstatusoutput", "popen2.popen2",
    ),
    "process-image": (
        *(f"{module}.{prefix}{suffix}" for module in ("os", "posix") for prefix, suffixes in (
            ("exec", ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
            ("spawn", ("l", "le", "lp", "lpe", "v", "ve", "vp", "vpe")),
            ("posix_spawn", ("", "p")),
        ) for suffix in suffixes),
        "pty.spawn",
    ),
    "unpickle": (
        *(f"{module}.{name}" for module in ("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal")
          for name in ("load", "loads", "Unpickler")),
        "shelve.open", "jsonpickle.decode", "joblib.load", "pandas.read_pickle", "numpy.core.multiarray.scalar",
    ),
    "yaml-load": ("yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all", "yaml.UnsafeLoader"),
    "no-tls-check": (
        "ssl._create_unverified_context", "ssl._create_default_https_context", "ssl.CERT_NONE", "ssl.VerifyMode.CERT_NONE",
        "urllib3.disable_warnings", "requests.packages.urllib3.disable_warnings", "paramiko.AutoAddPolicy",
        "paramiko.WarningPolicy", "paramiko.client.AutoAddPolicy",
    ),
}  # fmt: skip
_PATTERN_OF = {name: pattern for pattern, names in _BY_NAME.items() for name in names}
_LAST_NAMES = frozenset(name.rpartition(".")[2] for name in _PATTERN_OF)
_BUILTINS = frozenset(n.partition(".")[2] for n in _PATTERN_OF if n.startswith("builtins.")) | {
    "__import__",
    "getattr",
    "open",
}
_NATIVE = ("ctypes", "_ctypes", "cffi", "_cffi_backend")
_WATCHED_MODULES = ("os", "subprocess", "builtins", "posix", "importlib")
_DECODERS = (
    "base64.", "binascii.", "codecs.decode", "zlib.decompress", "gzip.decompress", "bz2.decompress", "lzma.decompress",
    "builtins.bytes.fromhex", "urllib.request.urlopen", "requests.get", "httpx.get",
)  # fmt: skip
_STARTERS = ("os.", "subprocess.", "asyncio.create_subprocess", "posix.", "pty.")
_INTERNALS = ("__subclasses__", "__globals__", "__builtins__")
_INTERNAL_ROOTS = ("__class__", "__base__", "__bases__", "__mro__", "__init__")
_REQUESTS = (
    "urllib.request.urlopen",
    "urllib.request.urlretrieve",
    "urllib.request.Request",
    "requests.",
    "httpx.",
    "aiohttp.",
)
_DIALS = ("socket.create_connection", "asyncio.open_connection")
_ADDRESS_URL = re.compile(
    r"(?:https?|ftp|ws|wss|tcp)://(?!127\.|0\.0\.0\.0|169\.254\.|10\.|192\.168\.)\d{1,3}(?:\.\d{1,3}){3}\b"
)
_LOCAL_HOSTS = ("", "localhost", "0.0.0.0", "::1", "::", "example.com", "example.org")
_SECRET_PATH = re.compile(
    r"(?:^|/)\.ssh(?:/|$)|(?:^|/)\.aws/credentials|(?:^|/)\.gnupg(?:/|$)|^/etc/(?:shadow|sudoers)|^/proc/\w+/mem"
)
_SHELL_TEXT = tuple(p for p in TEXT_PATTERNS if p.language == "shell")
_DIRECT = re.compile(
    r"\bexec|\beval\b|(?<![.\w])compile\b|\b(?:os\.)?system\b|popen|spawn|\bshell\b|getoutput|getstatusoutput|subprocess|pickle|marshal"
    r"|\bdill\b|shelve|joblib|\btorch\b|allow_|\byaml\b|ctypes|cffi|__import__|import_module|__subclasses__|__globals__|__builtins__"
    r"|builtins|\bconnect|create_connection|open_connection|://\d|\bverify|CERT_NONE|check_hostname|_create_|disable_warnings"
    r"|AutoAddPolicy|WarningPolicy|rmtree|\.ssh|\.aws|\.gnupg|/etc/s|/proc/|runpy|CodeType|\binteract\b|InteractiveInterpreter"
    r"|multiarray"
)
_INDIRECT = re.compile(r"\bgetattr\b|\bvars\b|__dict__")
_MODULES = re.compile(r"\b(?:os|posix|importlib)\b")
"""A file without any of these has nothing to find, and need not be parsed. (`subprocess` and `builtins` are among the direct ones.)"""


def find_in_python(data: bytes) -> list[Place] | None:
    """Every place of a dangerous pattern; None when the file can't be parsed."""
    if len(data) > DEFAULT_MAX_BYTES:
        return None
    if not _may_hold(data):
        return []
    try:
        tree = parse_python(data)
    except (SyntaxError, ValueError, LookupError, RecursionError, MemoryError):
        return None
    return sorted(_walk(tree), key=lambda place: (place.line, place.column, place.pattern))


def _may_hold(data: bytes) -> bool:
    """Whether the text has a word that any pattern needs. Identifiers are compared as Python does, normalised."""
    if b"coding" in data[:200]:
        return True
    text = data.decode("utf-8", "replace")
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text)
    if _DIRECT.search(text):
        return True
    return _INDIRECT.search(text) is not None and _MODULES.search(text) is not None


def _walk(tree: ast.Module) -> Iterator[Place]:
    """With a stack of its own: generated code nests deeper than the interpreter's."""
    todo: list[tuple[ast.AST, Scope]] = [(tree, open_scope(tree, None, _BUILTINS))]
    while todo:
        node, scope = todo.pop()
        judge = _JUDGES.get(type(node))
        if judge is not None:
            for pattern in judge(node, scope):
                yield Place(pattern, getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1)
        if isinstance(node, _SCOPED):
            scope = open_scope(node, scope, _BUILTINS)
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                todo.extend((child, scope) for child in cast("list[object]", value) if isinstance(child, ast.AST))
            elif isinstance(value, ast.AST) and not isinstance(value, _LEAVES):
                todo.append((value, scope))


_SCOPED = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)
_LEAVES = (ast.Constant, ast.expr_context, ast.operator, ast.unaryop, ast.boolop)


def _of_name(node: ast.Name, scope: Scope) -> Iterator[str]:
    pattern = _PATTERN_OF.get(scope.lookup(node.id))
    if pattern is not None and isinstance(node.ctx, ast.Load):
        yield pattern


def _of_attribute(node: ast.Attribute, scope: Scope) -> Iterator[str]:
    if node.attr in _LAST_NAMES:
        dotted = scope.dotted(node)
        if dotted in _PATTERN_OF and (isinstance(node.ctx, ast.Load) or dotted.startswith("ssl.")):
            yield _PATTERN_OF[dotted]
    if node.attr in _INTERNALS:
        chain = _attributes(node.value)
        if any(name in _INTERNAL_ROOTS for name in chain) or (node.attr == "__subclasses__" and "type" in chain):
            yield "escape"


def _of_import(node: ast.Import, _scope: Scope) -> Iterator[str]:
    yield from ("native" for alias in node.names if alias.name.split(".")[0] in _NATIVE)


def _of_from_import(node: ast.ImportFrom, _scope: Scope) -> Iterator[str]:
    if not node.level and (node.module or "").split(".")[0] in _NATIVE:
        yield "native"


def _of_call(node: ast.Call, scope: Scope) -> Iterator[str]:
    callee = scope.dotted(node.func)
    keywords = _keywords(node)
    yield from _of_process(node, callee, keywords, scope)
    yield from _of_names(node, callee, scope)
    yield from _of_network(node, callee, keywords)
    if callee in ("yaml.load", "yaml.load_all") and not _loads_safely(node, keywords):
        yield "yaml-load"
    if callee == "torch.load" and not _is_constant(keywords.get("weights_only"), True):
        yield "unpickle"
    if callee == "numpy.load" and _is_constant(keywords.get("allow_pickle"), True):
        yield "unpickle"
    if any(_SECRET_PATH.search(text) for text in _texts(node.args)):
        yield "secret-path"
    if callee == "shutil.rmtree" and node.args and _is_root(node.args[0], scope):
        yield "delete-root"


def _loads_safely(node: ast.Call, keywords: dict[str, ast.expr]) -> bool:
    loader = keywords.get("Loader") or (node.args[1] if len(node.args) > 1 else None)
    name = _attributes(loader)[0] if loader is not None and _attributes(loader) else ""
    return "Safe" in name or name in ("BaseLoader", "CBaseLoader")


def _of_process(node: ast.Call, callee: str, keywords: dict[str, ast.expr], scope: Scope) -> Iterator[str]:
    shell = keywords.get("shell")
    if shell is not None and (
        _is_truthy(shell) or (callee.startswith("subprocess.") and not isinstance(shell, ast.Constant))
    ):
        yield "shell"
    if callee in ("builtins.exec", "builtins.eval", "builtins.compile") and any(
        _decodes(arg, scope) for arg in node.args
    ):
        yield "hidden-code"
    if callee.startswith(_STARTERS) or _is_truthy(shell):
        command = " ".join(_texts(node.args))
        yield from {pattern.id for pattern in _SHELL_TEXT if pattern.expression.search(command)}


def _of_names(node: ast.Call, callee: str, scope: Scope) -> Iterator[str]:
    first = node.args[0] if node.args else None
    if callee in IMPORTERS:
        if first is None or not isinstance(first, ast.Constant):
            yield "dynamic-import"
        elif str(first.value).split(".")[0] in _NATIVE:
            yield "native"
    if callee == "builtins.getattr" and len(node.args) > 1:
        if isinstance(node.args[1], ast.Constant):
            yield from filter(None, [_PATTERN_OF.get(scope.dotted(node))])
        elif scope.dotted(node.args[0]) in _WATCHED_MODULES:
            yield "dynamic-attribute"


def _of_network(node: ast.Call, callee: str, keywords: dict[str, ast.expr]) -> Iterator[str]:
    if _is_constant(keywords.get("verify"), False) or _is_constant(keywords.get("verify_ssl"), False):
        yield "no-tls-check"
    if _is_constant(keywords.get("check_hostname"), False):
        yield "no-tls-check"
    dials = callee in _DIALS or (isinstance(node.func, ast.Attribute) and node.func.attr in ("connect", "connect_ex"))
    if dials and _names_host(node):
        yield "hard-coded-host"
    if callee.startswith(_REQUESTS) and any(_ADDRESS_URL.match(text) for text in _texts(node.args)):
        yield "hard-coded-host"


def _of_assignment(node: ast.Assign, _scope: Scope) -> Iterator[str]:
    for target in node.targets:
        if (
            isinstance(target, ast.Attribute)
            and target.attr in ("check_hostname", "verify")
            and _is_constant(node.value, False)
        ):
            yield "no-tls-check"


def _of_subscript(node: ast.Subscript, scope: Scope) -> Iterator[str]:
    """`__builtins__["eval"]`, `globals()["__builtins__"]`, `vars(os)["system"]`, `os.__dict__[name]`."""
    value, key = node.value, node.slice
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == "vars" and value.args:
        owner = scope.dotted(value.args[0])
    elif isinstance(value, ast.Attribute) and value.attr == "__dict__":
        owner = scope.dotted(value.value)
    else:
        owner = "builtins" if isinstance(value, ast.Name) and value.id == "__builtins__" else ""
    if owner in _WATCHED_MODULES:
        yield _lookup(owner, key)
    if isinstance(key, ast.Constant) and key.value == "__builtins__":
        yield "escape"


def _lookup(owner: str, key: ast.expr) -> str:
    if isinstance(key, ast.Constant):
        return _PATTERN_OF.get(f"{owner}.{key.value}", "dynamic-attribute")
    return "dynamic-attribute"


def _keywords(node: ast.Call) -> dict[str, ast.expr]:
    """By name, those of a literal `**{...}` included."""
    found: dict[str, ast.expr] = {}
    for keyword in node.keywords:
        if keyword.arg is not None:
            found[keyword.arg] = keyword.value
        elif isinstance(keyword.value, ast.Dict):
            for key, value in zip(keyword.value.keys, keyword.value.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    found[key.value] = value
    return found


def _names_host(node: ast.Call) -> bool:
    host: ast.expr | None = node.args[0] if node.args else None
    if isinstance(host, ast.Tuple) and len(host.elts) >= 2:
        host = host.elts[0]
    elif isinstance(node.func, ast.Attribute) and node.func.attr in ("connect", "connect_ex"):
        return False
    return isinstance(host, ast.Constant) and isinstance(host.value, str) and _is_remote(host.value)


def _is_remote(host: str) -> bool:
    return (
        host.lower() not in _LOCAL_HOSTS
        and not host.startswith("127.")
        and not host.endswith((".example", ".test", ".invalid"))
    )


def _texts(nodes: list[ast.expr]) -> list[str]:
    """String constants in order, those in lists, tuples, f-strings and sums included."""
    found: list[str] = []
    todo = list(reversed(nodes))
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
        elif isinstance(node, ast.List | ast.Tuple):
            todo.extend(reversed(node.elts))
        elif isinstance(node, ast.JoinedStr):
            todo.extend(reversed(node.values))
        elif isinstance(node, ast.BinOp):
            todo.extend((node.right, node.left))
    return found


def _decodes(node: ast.expr, scope: Scope) -> bool:
    return any(isinstance(inner, ast.Call) and _is_decoder(inner, scope) for inner in ast.walk(node))


def _is_decoder(call: ast.Call, scope: Scope) -> bool:
    if isinstance(call.func, ast.Attribute) and call.func.attr == "fromhex":
        return True
    return scope.dotted(call.func).startswith(_DECODERS)


def _is_root(node: ast.expr, scope: Scope) -> bool:
    if isinstance(node, ast.Constant):
        return node.value in ("/", "~", "/etc", "/usr", "/home", "/var")
    if not isinstance(node, ast.Call):
        return False
    callee = scope.dotted(node.func)
    return callee == "pathlib.Path.home" or (callee == "os.path.expanduser" and _texts(node.args)[:1] == ["~"])


def _attributes(node: ast.expr) -> list[str]:
    """Attribute and plain names from the outside in, through calls and subscripts."""
    found: list[str] = []
    at: ast.expr | None = node
    while at is not None:
        if isinstance(at, ast.Attribute):
            found.append(at.attr)
            at = at.value
        elif isinstance(at, ast.Call):
            at = at.func
        elif isinstance(at, ast.Subscript):
            at = at.value
        else:
            found.extend([at.id] if isinstance(at, ast.Name) else [])
            at = None
    return found


def _is_constant(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def _is_truthy(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and bool(node.value)


_JUDGES = cast(
    "dict[type[ast.AST], Callable[[ast.AST, Scope], Iterator[str]]]",
    {
        ast.Name: _of_name,
        ast.Attribute: _of_attribute,
        ast.Call: _of_call,
        ast.Import: _of_import,
        ast.ImportFrom: _of_from_import,
        ast.Assign: _of_assignment,
        ast.Subscript: _of_subscript,
    },
)
