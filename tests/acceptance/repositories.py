"""The real repositories that the acceptance tests work on: source distributions, pinned and cached, with what their suites need.

Everything lies under `.cache/acceptance` of the clone: `sdist/` (verified archives), `src/<name>` (a git repository with one
commit, never worked in), `env/<name>` (a virtual environment with the suite's pinned dependencies, without the package itself),
`baseline/` (see `suites.py`). Each function brings its thing about when it is missing, costs next to nothing when it is there, and
may be called by several processes at once. Run this file to prepare all, or those named, before they are needed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache" / "acceptance"
TOOLS = ROOT / ".tools" / "uv" / "bin"
REQUIREMENTS = Path(__file__).resolve().parent / "requirements"

AUTHOR = {
    "GIT_AUTHOR_NAME": "A person",
    "GIT_AUTHOR_EMAIL": "person@example.invalid",
    "GIT_AUTHOR_DATE": "2026-01-02T03:04:05+00:00",
    "GIT_COMMITTER_NAME": "A person",
    "GIT_COMMITTER_EMAIL": "person@example.invalid",
    "GIT_COMMITTER_DATE": "2026-01-02T03:04:05+00:00",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_SYSTEM": os.devnull,
    # No housekeeping behind our back: it would run while the folder is being moved, copied or compared.
    "GIT_CONFIG_COUNT": "2",
    "GIT_CONFIG_KEY_0": "gc.auto",
    "GIT_CONFIG_VALUE_0": "0",
    "GIT_CONFIG_KEY_1": "maintenance.auto",
    "GIT_CONFIG_VALUE_1": "false",
}


class CommandFailed(Exception):
    """With the command and the end of what it said."""


@dataclass(frozen=True)
class Repository:
    """One project. `tests` are pytest's arguments, or the labels of Django's own runner when `runner` says so.

    `passes` is how many tests pass untouched, `import_root` what goes on PYTHONPATH. `metadata`: the suite asks for the version of
    the installed distribution, so the environment holds its metadata (and no code). `settings` are changes (path, old text, new
    text) to its settings that a person would make who works on it in such an environment; a new file has the old text "".
    """

    name: str
    version: str
    sha256: str
    passes: int
    import_root: str = "."
    tests: tuple[str, ...] = ()
    runner: str = "pytest"
    metadata: bool = False
    settings: tuple[tuple[str, str, str], ...] = ()

    @property
    def archive(self) -> str:
        return f"{self.name}-{self.version}.tar.gz"

    @property
    def requirements(self) -> Path:
        return REQUIREMENTS / f"{self.name}.txt"


_CATALOGUE = (
    Repository(
        "flask",
        "3.1.3",
        "0ef0e52b8a9cd932855379197dd8f94047b359ca0a78695144304cb45f87c9eb",
        passes=486,
        import_root="src",
    ),
    Repository(
        "click",
        "8.5.1",
        "9bbfada76703fd1d784b83eea012e3e8c6a001a876543ef104fa56aaaeb072b4",
        passes=2434,
        import_root="src",
        metadata=True,
    ),
    Repository(
        "jinja2",
        "3.1.6",
        "0137fb05990d35f1275a587e9aee6d56da821fc83491a0fb838183be43f66d6d",
        passes=909,
        import_root="src",
    ),
    Repository(
        "marshmallow",
        "4.4.0",
        "9e6ffa8511012ca89732324c1c253efd7b4d35632dcbdf80aa793fe01804af3e",
        passes=1192,
        import_root="src",
    ),
    Repository(
        "networkx",
        "3.6.1",
        "26b7c357accc0c8cde558ad486283728b65b6a95d85ee1cd66bafab4c8168509",
        passes=1431,
        tests=("networkx/tests", "networkx/classes"),
        # Of 5,837 tests those 1,431 that are worth their time here.
        settings=(("pytest.ini", "", "[pytest]\ntestpaths = networkx/tests networkx/classes\n"),),
    ),
    Repository(
        "httpx",
        "0.28.1",
        "75e98c5f16b0f35b567856f597f06ff2270a374470a5c2392242528e3e3e42fc",
        passes=1412,
    ),
    Repository(
        "tenacity",
        "9.2.1",
        "a606b5c808d0cded4a359d5b9932d867ff2a6a6b64d37350260fd01bbdf83839",
        passes=185,
    ),
    Repository(
        "werkzeug",
        "3.1.9",
        "55ca7c70a75689be937aa27f8ff4b018f06ff4838fc73045560bf0f5a1291060",
        passes=950,
        import_root="src",
        tests=("--ignore=tests/test_serving.py",),
        # Tests marked so start servers of an installed copy, and wait for ever when there is none.
        settings=(
            (
                "pyproject.toml",
                "[tool.pytest.ini_options]\n",
                "[tool.pytest.ini_options]\naddopts = \"-m 'not dev_server'\"\n",
            ),
        ),
    ),
    Repository(
        "tomlkit",
        "0.15.2",
        "83e32755ba1d20d9340bd069ee97e9f6232ba2346b63ffcba425de01f7e327a6",
        passes=1203,
    ),
    Repository(
        "django",
        "5.2.19",
        "ad03d8abc51dbff95ebf34b27123cf0c26a3b62db7ba0cd520783686362533d1",
        passes=2772,
        tests=(
            "custom_lookups",
            "db_functions",
            "file_storage",
            "syndication_tests",
            "template_tests",
            "timezones",
            "utils_tests",
        ),
        runner="django",
        # Not all labels: one test among the template tests fails for a superuser, and a command is judged as a whole.
        settings=(
            (
                "cavalcade.toml",
                "",
                '[tests]\ncommand = ["python", "tests/runtests.py", "--parallel=2", "custom_lookups", "db_functions", '
                '"file_storage", "syndication_tests", "timezones", "utils_tests"]\n',
            ),
        ),
    ),
)
CATALOGUE: Mapping[str, Repository] = {repository.name: repository for repository in _CATALOGUE}


def ensure_sdist(repository: Repository) -> Path:
    """The archive as the package registry has it, its SHA-256 verified (by pip before it looks inside, and again here)."""
    path = CACHE / "sdist" / repository.archive
    with locked(f"sdist-{repository.name}"):
        if not (path.is_file() and _sha256(path) == repository.sha256):
            _download(repository, path)
    return path


def ensure_source(repository: Repository) -> Path:
    """The unpacked archive as a git repository with one commit. Not to be changed: see `checkout`."""
    archive = ensure_sdist(repository)
    folder = CACHE / "src" / repository.name
    mark = CACHE / "src" / f"{repository.name}.digest"
    wanted = _digest(repository.sha256, repr(repository.settings))
    with locked(f"src-{repository.name}"):
        if not (folder.is_dir() and _text(mark) == wanted):
            shutil.rmtree(folder, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=_made(CACHE / "src")) as scratch:
                subprocess.run(["tar", "-xzf", str(archive), "-C", scratch, "--no-same-owner"], check=True)
                (unpacked,) = Path(scratch).iterdir()
                _commit_all(unpacked, repository)
                unpacked.rename(folder)
            mark.write_text(wanted)
    return folder


def ensure_environment(repository: Repository) -> Path:
    """The interpreter of an environment with the suite's pinned dependencies."""
    folder = CACHE / "env" / repository.name
    python = folder / "bin" / "python"
    mark = folder / "requirements.digest"
    metadata = _metadata(repository) if repository.metadata else b""
    wanted = _digest(repository.requirements.read_text(), sys.version, hashlib.sha256(metadata).hexdigest())
    with locked(f"env-{repository.name}"):
        if _text(mark) != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            call([tool("uv"), "venv", "--quiet", "--python", sys.executable, str(folder)])
            install = [tool("uv"), "pip", "install", "--quiet", "--no-deps", "--python", str(python)]
            call([*install, "--requirements", str(repository.requirements)])
            if metadata:
                _register(repository, folder, metadata)
            mark.write_text(wanted)
    return python


def checkout(repository: Repository, into: Path) -> Path:
    """A repository of the test's own in folder `into`, which must not exist yet."""
    shutil.copytree(ensure_source(repository), into, symlinks=True)
    git(into, "update-index", "-q", "--refresh")
    return into


def git(folder: Path, *arguments: str) -> str:
    """What git says. Raises CommandFailed."""
    return call(["git", *arguments], cwd=folder, env={**os.environ, **AUTHOR})


def call(command: Sequence[str], *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CommandFailed(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
    return done.stdout


@contextmanager
def locked(name: str) -> Generator[None]:
    """One process at a time; the kernel lets go when the process ends, however it ends."""
    with (_made(CACHE / "locks") / name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _download(repository: Repository, path: Path) -> None:
    """By pip, from wherever this machine's pip is set up to look. A hash on the requirement makes pip refuse any other archive."""
    with tempfile.TemporaryDirectory(dir=_made(path.parent)) as scratch:
        wanted = Path(scratch) / "wanted.txt"
        wanted.write_text(f"{repository.name}=={repository.version} --hash=sha256:{repository.sha256}\n")
        # Only the package itself comes as source: what builds its metadata may come as wheels.
        download = [tool("python"), "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        call([*download, "--no-binary", repository.name, "--dest", scratch, "--requirement", str(wanted)])
        found = Path(scratch) / repository.archive
        if _sha256(found) != repository.sha256:
            raise ValueError(f"{found.name} is not the archive that was pinned")
        found.replace(path)


def _commit_all(folder: Path, repository: Repository) -> None:
    for path, old, new in repository.settings:
        text = _text(folder / path)
        if old not in text:
            raise ValueError(f"{repository.archive}: {path} does not say {old!r}")
        (folder / path).write_text(text.replace(old, new, 1) if old else new)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", "--all", "--force")
    git(folder, "commit", "--quiet", "--message", f"{repository.name} {repository.version}")
    git(folder, "gc", "--quiet")


def _metadata(repository: Repository) -> bytes:
    return (ensure_source(repository) / "PKG-INFO").read_bytes()


def _register(repository: Repository, folder: Path, metadata: bytes) -> None:
    (packages,) = (folder / "lib").glob("python3.*/site-packages")
    info = packages / f"{repository.name}-{repository.version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_bytes(metadata)


def tool(name: str) -> str:
    """A program of the clone's own bootstrap folder (uv, pip's python). Raises FileNotFoundError."""
    path = TOOLS / name
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; `make setup` puts it there")
    return str(path)


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _text(path: Path) -> str:
    return path.read_text() if path.is_file() else ""


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    for chosen in sys.argv[1:] or CATALOGUE:
        sys.stdout.write(f"{chosen}: {ensure_source(CATALOGUE[chosen])}, {ensure_environment(CATALOGUE[chosen])}\n")
        sys.stdout.flush()
