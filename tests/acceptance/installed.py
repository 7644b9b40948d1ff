"""The product as people get it: the built wheel in an environment of its own, with the locked dependencies and nothing else."""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from pathlib import Path

from repositories import CACHE, ROOT, call, locked, tool

_KEPT = 3
"""Environments of earlier sources that stay, for test runs that began before the last change."""


def ensure_installed() -> Path:
    """The `cavalcade` command of an environment `.cache/acceptance/wheel-<digest>` made for exactly this source."""
    folder = CACHE / f"wheel-{_digest()[:12]}"
    command = folder / "bin" / "cavalcade"
    mark = folder / "complete"
    with locked("wheel"):
        if not mark.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            with tempfile.TemporaryDirectory() as scratch:
                _install(_build(Path(scratch)), folder, Path(scratch))
            mark.touch()
            _forget_old(folder)
    return command


def _build(scratch: Path) -> Path:
    call([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(scratch), str(ROOT)])
    (wheel,) = scratch.glob("*.whl")
    return wheel


def _install(wheel: Path, folder: Path, scratch: Path) -> None:
    """The lock's versions as constraints: what the wheel asks for, no more, as it was locked."""
    pins = [
        line.split(" \\")[0] for line in (ROOT / "requirements.lock").read_text().splitlines() if line[:1].isalnum()
    ]
    constraints = scratch / "constraints.txt"
    constraints.write_text("\n".join(pins))
    call([tool("uv"), "venv", "--quiet", "--python", sys.executable, str(folder)])
    install = [tool("uv"), "pip", "install", "--quiet", "--python", str(folder / "bin" / "python")]
    call([*install, "--constraints", str(constraints), str(wheel)])


def _digest() -> str:
    """Of everything that goes into the wheel or decides what is installed beside it."""
    files = [ROOT / name for name in ("pyproject.toml", "requirements.lock", "README.md", "LICENSE")]
    files += sorted(path for path in (ROOT / "src").rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    whole = hashlib.sha256(sys.version.encode())
    for path in files:
        data = path.read_bytes()
        whole.update(f"{path.relative_to(ROOT)}\0{len(data)}\0".encode() + data)
    return whole.hexdigest()


def _forget_old(current: Path) -> None:
    others = [folder for folder in CACHE.glob("wheel-*") if folder != current]
    for folder in sorted(others, key=lambda folder: folder.stat().st_mtime, reverse=True)[_KEPT:]:
        shutil.rmtree(folder)


if __name__ == "__main__":
    sys.stdout.write(f"{ensure_installed()}\n")
