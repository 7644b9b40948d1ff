"""The bare resolver's rename, as an editor would do it: `python -m bench._bare_rename FOLDER FILE OLD NEW`.

Starts ty's language server, asks it to rename the definition of `OLD` in `FILE`, and writes the edits to the files.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from cavalcade.terrain.lsp import LanguageServer
from cavalcade.terrain.resolvers import tool


async def rename(folder: Path, file: str, old: str, new: str) -> int:
    """Number of files written."""
    server = LanguageServer([str(tool("ty")), "server"], folder, environ=os.environ, settings=lambda _section: {})
    await server.start(
        {}, capabilities={"workspace": {"configuration": True, "workspaceEdit": {"documentChanges": True}}}
    )
    path = folder / file
    text = path.read_text()
    line = next(n for n, row in enumerate(text.splitlines()) if row.startswith(f"def {old}("))
    document = {"uri": path.as_uri()}
    server.notify(
        "textDocument/didOpen", {"textDocument": {**document, "languageId": "python", "version": 1, "text": text}}
    )
    position = {"line": line, "character": len("def ")}
    answer = await server.request(
        "textDocument/rename", {"textDocument": document, "position": position, "newName": new}
    )
    changes: dict[str, list[dict[str, Any]]] = dict(answer.get("changes") or {})
    documents: list[dict[str, Any]] = answer.get("documentChanges") or []
    for change in documents:
        changes[change["textDocument"]["uri"]] = change["edits"]
    for uri, edits in changes.items():
        _apply(Path(unquote(urlsplit(uri).path)), edits)
    await server.aclose()
    return len(changes)


def _apply(path: Path, edits: list[dict[str, Any]]) -> None:
    """Edits within one line each, from the end to the start so that positions hold."""
    lines: list[str] = path.read_text().splitlines(keepends=True)
    spans = [(edit["range"]["start"], edit["range"]["end"], str(edit["newText"])) for edit in edits]
    for start, end, text in sorted(spans, key=lambda span: (span[0]["line"], span[0]["character"]), reverse=True):
        row = lines[int(start["line"])]
        lines[int(start["line"])] = row[: start["character"]] + text + row[end["character"] :]
    path.write_text("".join(lines))


if __name__ == "__main__":
    folder, file, old, new = sys.argv[1:]
    sys.stdout.write(f"{asyncio.run(rename(Path(folder), file, old, new))}\n")
