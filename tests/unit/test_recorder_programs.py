"""A known program is known by its name, through the wrappers that are stated, and through nothing else."""

from __future__ import annotations

import shlex

import pytest

from cavalcade.recorder.sessions.known import program_name


@pytest.mark.parametrize(
    ("command", "program"),
    [
        ("claude", "claude"),
        ("/usr/local/bin/claude -p hello", "claude"),
        ("codex exec 'write it'", "codex"),
        ("gemini -y", "gemini"),
        ("./opencode.exe run x", "opencode"),
        ("env -i A=b claude", "claude"),
        ("timeout -k 5s 10m nice -n 5 codex", "codex"),
        ("nohup time gemini", "gemini"),
        ("npx @anthropic-ai/claude-code -p x", "claude"),
        ("npx -y @openai/codex@0.169.0 exec x", "codex"),
        ("npm exec -- @google/gemini-cli", "gemini"),
        ("pnpm dlx opencode-ai@latest", "opencode"),
        ("bunx opencode-ai", "opencode"),
        ("node --max-old-space-size=4096 /usr/lib/node_modules/@google/gemini-cli/dist/index.js -y", "gemini"),
        ("node /opt/codex.js", "codex"),
        ("bun run gemini", "gemini"),
        ("sh -c claude", ""),
        ("vim claude", ""),
        ("npx prettier claude", ""),
        ("node server.js", ""),
        ("echo codex", ""),
        ("env", ""),
        ("claude-code-helper", ""),
    ],
)
def test_programs_by_their_command(command: str, program: str) -> None:
    assert program_name(shlex.split(command)) == program
