"""The table of dangerous patterns: what each is and why it is refused when an edit introduces it.

Python is judged by its syntax tree (`python_patterns.py`), everything else, and secrets everywhere, by the expressions here.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Language = Literal["any", "shell", "python-text", "javascript"]
"""What a regular expression is applied to: every text file; all but documentation and Python; Python that can't be parsed; JavaScript."""


class Pattern(NamedTuple):
    id: str
    what: str
    why: str


class TextPattern(NamedTuple):
    """`expression` matches within one line; quantifiers are bounded, so that matching stays linear. Text without any of the
    `hints` can't match, and is searched for those only, which is much faster."""

    id: str
    language: Language
    expression: re.Pattern[str]
    hints: tuple[str, ...]


PATTERNS = {
    pattern.id: pattern
    for pattern in (
        Pattern("exec", "exec() runs text as code", "what runs is decided by data, no gate can judge it"),
        Pattern(
            "eval", "eval() runs text as code", "what runs is decided by data; ast.literal_eval reads plain values"
        ),
        Pattern("compile", "compile() or types.CodeType makes code at run time", "what runs is decided by data"),
        Pattern("hidden-code", "decoded data is run as code", "the usual shape of a hidden payload"),
        Pattern("dynamic-import", "a module whose name is computed is imported", "what is loaded is decided by data"),
        Pattern(
            "dynamic-attribute",
            "a computed attribute of os, subprocess or builtins",
            "hides which dangerous call is made",
        ),
        Pattern(
            "escape",
            "interpreter internals are walked (__subclasses__, __globals__)",
            "the usual way out of a restriction",
        ),
        Pattern(
            "shell",
            "a command line goes through a shell",
            "quoting mistakes become command execution; pass a list of arguments",
        ),
        Pattern(
            "process-image", "os.exec*, os.spawn* or pty.spawn", "replaces or detaches the process, out of supervision"
        ),
        Pattern(
            "unpickle", "pickle, marshal, shelve, dill, joblib load objects", "loading runs code chosen by the data"
        ),
        Pattern(
            "yaml-load", "YAML loaded without a safe loader", "loading may run code chosen by the data; use safe_load"
        ),
        Pattern("native", "ctypes or cffi calls native code", "can read and write any memory"),
        Pattern(
            "delete-root",
            "a root or home folder is deleted, overwritten or opened to all",
            "destroys the machine it runs on",
        ),
        Pattern(
            "download-run", "downloaded text goes straight into a shell", "whoever holds the address runs code here"
        ),
        Pattern("hard-coded-host", "a connection to a host written in the code", "a way to send data out unnoticed"),
        Pattern("reverse-shell", "a shell is connected to the network", "gives control of this machine away"),
        Pattern("fork-bomb", "a process that multiplies itself", "exhausts the machine"),
        Pattern(
            "no-tls-check",
            "certificate or host key verification is off",
            "anybody on the way can read and change the traffic",
        ),
        Pattern(
            "secret-path",
            "credentials of this machine's user are opened",
            "keys and tokens are not the project's business",
        ),
        Pattern("private-key", "a private key", "whoever reads the repository holds the key"),
        Pattern("token", "text in the shape of an access token", "whoever reads the repository can use it"),
        Pattern("javascript-eval", "eval() or new Function() in JavaScript", "what runs is decided by data"),
        Pattern(
            "javascript-shell", "child_process.exec in JavaScript", "a command line goes through a shell; use execFile"
        ),
    )
}


def _text(identifier: str, language: Language, hints: str, expression: str) -> TextPattern:
    return TextPattern(identifier, language, re.compile(expression, re.MULTILINE), tuple(hints.split()))


_DOWNLOAD = r"\b(?:curl|wget|fetch)\b[^\n|;&]{0,300}"
_RUNNER = r"(?:sudo\s+(?:-\w+\s+)?)?(?:env\s+)?(?:/(?:usr/)?bin/)?(?:ba|z|da|k|c|fi)?sh\b"
_SCRIPT_RUNNER = r"(?:sudo\s+)?(?:python[\d.]*|perl|ruby|node|php)\b"
_ROOTS = r"""["']?(?:/|~|\$HOME|\$\{HOME\}|/(?:etc|usr|var|home|bin|lib|boot|root))/?\*?["']?(?=\s|$|[;&|"')\]])"""
_RECURSIVE = r"-(?:-recursive|\w{0,8}[rR]\w{0,8})"

TEXT_PATTERNS = (
    _text("private-key", "any", "PRIVATE", r"-----BEGIN (?:[A-Z0-9]{2,10} ){0,2}PRIVATE KEY(?: BLOCK)?-----"),
    _text("token", "any", "AKIA ASIA AIza", r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bAIza[0-9A-Za-z_-]{35}"),
    _text("token", "any", "ghp_ gho_ ghs_ ghu_ ghr_ github_pat_ glpat-",
          r"\bgh[opsur]_[A-Za-z0-9]{36,251}\b|\bgithub_pat_[A-Za-z0-9_]{50,251}\b|\bglpat-[A-Za-z0-9_-]{20,64}"),
    _text("token", "any", "xox", r"\bxox[abeoprs]-[A-Za-z0-9-]{10,250}"),
    _text("token", "any", "hooks.slack.com", r"hooks\.slack\.com/services/T[A-Z0-9]{6,12}/B[A-Z0-9]{6,12}/\w{20,32}"),
    _text("token", "any", "sk- k_live_",
          r"\bsk-(?:ant-|proj-|or-)?[A-Za-z0-9_-]{32,200}\b|\b[sr]k_live_[A-Za-z0-9]{20,120}\b"),
    _text("token", "any", "npm_ pypi-AgE hf_",
          r"\bnpm_[A-Za-z0-9]{36}\b|\bpypi-AgE[A-Za-z0-9_-]{40,400}|\bhf_[A-Za-z]{34}\b"),
    _text("token", "any", "dop_v1_ SG.", r"\bdop_v1_[0-9a-f]{64}\b|\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\b"),
    _text("delete-root", "shell", "rm",
          r"\brm\s+(?:-[\w-]+\s+){0,5}" + _RECURSIVE + r"\s+(?:-[\w-]+\s+){0,5}(?:--\s+)?" + _ROOTS),
    _text("delete-root", "shell", "--no-preserve-root", r"\brm\s[^\n;|&]{0,80}--no-preserve-root"),
    _text("delete-root", "shell", "chmod chown",
          r"\bch(?:mod|own)\s+(?:-[\w-]+\s+){0,3}" + _RECURSIVE + r"\s+\S{1,40}\s+" + _ROOTS),
    _text("delete-root", "shell", "dd /dev/",
          r"\bdd\b[^\n]{0,200}\bof=/dev/(?:sd|nvme|hd|vd|mmcblk)|>\s*/dev/(?:sd|nvme|vd)"),
    _text("delete-root", "shell", "mkfs", r"\bmkfs(?:\.\w+)?\s+[^\n]{0,80}/dev/"),
    _text("download-run", "shell", "curl wget fetch", _DOWNLOAD + r"\|\s*" + _RUNNER),
    _text("download-run", "shell", "curl wget fetch", _DOWNLOAD + r"\|\s*" + _SCRIPT_RUNNER + r"\s*(?:-\s*)?(?:$|[;&|\"'])"),
    _text("download-run", "shell", "curl wget",
          r"(?:\b(?:ba|z|da|k)?sh|\bsource|\beval|(?:^|\s)\.)\s+(?:-c\s+)?[\"']?(?:<\(|\$\(|`)\s*(?:curl|wget)\b"),
    _text("hidden-code", "shell", "base64 base32",
          r"\bbase(?:64|32)\s+(?:-d|-D|--decode)\b[^\n|]{0,200}\|\s*(?:" + _RUNNER + "|" + _SCRIPT_RUNNER + ")"),
    _text("reverse-shell", "shell", "/dev/tcp /dev/udp socat", r"/dev/(?:tcp|udp)/|\bsocat\b[^\n]{0,120}\bexec:"),
    _text("reverse-shell", "shell", "nc netcat", r"\bn(?:c|cat|etcat)\b[^\n]{0,80}\s-\w{0,6}[ec]\w{0,6}\s+\S{0,20}sh\b"),
    _text("fork-bomb", "shell", "|", r"(\w{1,20}|:)\s*\(\)\s*\{\s*\1\s*\|\s*\1\s*&\s*\}\s*;"),
    _text("no-tls-check", "shell", "curl", r"\bcurl\b[^\n|;]{0,200}\s(?:-[a-zA-Z]{0,8}k[a-zA-Z]{0,8}|--insecure)(?![\w-])"),
    _text("no-tls-check", "shell", "--no-check-certificate GIT_SSL_NO_VERIFY strict-ssl",
          r"\bwget\b[^\n|;]{0,200}--no-check-certificate|GIT_SSL_NO_VERIFY|strict-ssl\s*=\s*false"),
    _text("no-tls-check", "shell", "sslVerify StrictHostKeyChecking",
          r"http\.sslVerify[=\s]+[\"']?false|StrictHostKeyChecking[=\s]+no\b"),
    _text("no-tls-check", "shell", "NODE_TLS PYTHONHTTPSVERIFY",
          r"NODE_TLS_REJECT_UNAUTHORIZED\W{1,6}0|PYTHONHTTPSVERIFY\s*=\s*[\"']?0"),
    _text("no-tls-check", "shell", "rejectUnauthorized InsecureSkipVerify",
          r"rejectUnauthorized[\"']?\s*:\s*false|InsecureSkipVerify\s*:\s*true"),
    _text("secret-path", "shell", ".ssh/ .aws/ .gnupg/",
          r"\b(?:cat|cp|scp|tar|curl|base64)\b[^\n]{0,120}(?:\.ssh/(?:id_|\s|$)|\.aws/credentials|\.gnupg/)"),
    _text("secret-path", "shell", "/etc/shadow", r"\b(?:cat|cp|scp|tar|curl|base64)\b[^\n]{0,120}/etc/shadow"),
    _text("javascript-eval", "javascript", "eval Function", r"(?<![\w.$])eval\s*\(|\bnew\s+Function\s*\("),
    _text("javascript-shell", "javascript", "child_process", r"\bchild_process\b[^\n]{0,80}\.exec(?:Sync)?\s*\("),
    _text("exec", "python-text", "exec", r"(?<![\w.])exec\s*[(\"']|^\s*exec\s+\w"),
    _text("eval", "python-text", "eval", r"(?<![\w.])eval\s*\("),
    _text("shell", "python-text", "os. shell commands", r"\bos\.(?:system|popen)\b|\bshell\s*=\s*True\b|\bcommands\.get"),
    _text("unpickle", "python-text", "load", r"\b(?:c?[pP]ickle|marshal|dill)\.loads?\b"),
    _text("native", "python-text", "ctypes cffi", r"\b(?:import|from)\s+(?:ctypes|cffi)\b"),
    _text("dynamic-import", "python-text", "__import__", r"(?<![\w.])__import__\s*\(\s*[^\s\"']"),
    _text("no-tls-check", "python-text", "verify CERT_NONE _create_unverified_context",
          r"\bverify\s*=\s*False\b|\bCERT_NONE\b|\b_create_unverified_context\b"),
)  # fmt: skip
