"""Texts with secrets and texts without: what redaction is measured by.

Every key-shaped sample is put together at run time, so that nothing that looks like a key stands in this file.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import string
import uuid
from typing import NamedTuple

ALNUM = string.ascii_letters + string.digits
URLSAFE = ALNUM + "_-"
HEX = "0123456789abcdef"
BASE64 = ALNUM + "+/"
CONFIGURED_NAME = "SHOP_API_TOKEN"


class Hidden(NamedTuple):
    """`parts` are pieces of `text` of which none may be left; `kind` what the mark says."""

    name: str
    text: str
    parts: tuple[str, ...]
    kind: str


def drawn(alphabet: str, length: int, seed: str) -> str:
    """The same seed, the same characters; always with a digit and a letter of both cases where the alphabet has them."""
    source = random.Random(seed)
    text = [source.choice(alphabet) for _ in range(length)]
    for place, wanted in (
        (1, string.digits),
        (length // 2, string.ascii_lowercase),
        (length - 2, string.ascii_uppercase),
    ):
        fitting = [char for char in wanted if char in alphabet]
        if fitting:
            text[place] = source.choice(fitting)
    return "".join(text)


CONFIGURED = drawn(ALNUM, 9, "configured") + "/ é+=\"'\\" + drawn(ALNUM, 9, "more")
_AWS_ID = "AK" + "IA" + drawn(string.ascii_uppercase + "234567", 16, "aws")
_AWS_SECRET = drawn(BASE64, 40, "aws secret")


def tokens() -> dict[str, tuple[str, str]]:
    """Keys by what they are: the key, and the kind of its mark."""
    shapes: dict[str, tuple[str, str, int, str]] = {
        "OpenAI, project": ("sk" + "-proj-", URLSAFE, 120, "openai-key"),
        "OpenAI, service account": ("sk" + "-svcacct-", URLSAFE, 90, "openai-key"),
        "OpenAI, former": ("sk" + "-", ALNUM, 48, "api-key"),
        "DeepSeek": ("sk" + "-", HEX, 32, "api-key"),
        "Moonshot": ("sk" + "-", ALNUM, 48, "api-key"),
        "Anthropic": ("sk" + "-ant-api03-", URLSAFE, 95, "anthropic-key"),
        "OpenRouter": ("sk" + "-or-v1-", HEX, 64, "openrouter-key"),
        "GitHub, classic": ("gh" + "p_", ALNUM, 36, "github-token"),
        "GitHub, OAuth": ("gh" + "o_", ALNUM, 36, "github-token"),
        "GitHub, server": ("gh" + "s_", ALNUM, 36, "github-token"),
        "GitHub, fine-grained": ("github" + "_pat_", ALNUM, 82, "github-token"),
        "GitLab": ("gl" + "pat-", URLSAFE, 20, "gitlab-token"),
        "GitLab, runner": ("gl" + "rt-", URLSAFE, 20, "gitlab-token"),
        "AWS, temporary": ("AS" + "IA", string.ascii_uppercase + "234567", 16, "aws-access-key"),
        "Google": ("AI" + "za", URLSAFE, 35, "google-key"),
        "Google, OAuth secret": ("GOC" + "SPX-", URLSAFE, 28, "google-secret"),
        "Google, access token": ("ya" + "29.", URLSAFE, 60, "google-token"),
        "Slack, bot": ("xox" + "b-", string.digits, 12, "slack-token"),
        "Slack, app": ("xa" + "pp-1-", ALNUM, 40, "slack-token"),
        "Stripe": ("sk" + "_live_", ALNUM, 24, "stripe-key"),
        "Stripe, restricted": ("rk" + "_test_", ALNUM, 24, "stripe-key"),
        "Stripe, webhook": ("wh" + "sec_", ALNUM, 32, "stripe-secret"),
        "npm": ("np" + "m_", ALNUM, 36, "npm-token"),
        "PyPI": ("py" + "pi-AgE", URLSAFE, 150, "pypi-token"),
        "Hugging Face": ("h" + "f_", ALNUM, 34, "huggingface-token"),
        "Groq": ("gs" + "k_", ALNUM, 52, "groq-key"),
        "xAI": ("xa" + "i-", ALNUM, 80, "xai-key"),
        "Perplexity": ("pp" + "lx-", ALNUM, 48, "perplexity-key"),
        "Replicate": ("r" + "8_", ALNUM, 37, "replicate-token"),
        "NVIDIA": ("nv" + "api-", URLSAFE, 64, "nvidia-key"),
        "DigitalOcean": ("do" + "p_v1_", HEX, 64, "digitalocean-token"),
        "Docker": ("dc" + "kr_pat_", URLSAFE, 27, "docker-token"),
        "Databricks": ("da" + "pi", HEX, 32, "databricks-token"),
        "Shopify": ("sh" + "pat_", HEX, 32, "shopify-token"),
        "Vault": ("hv" + "s.", URLSAFE, 90, "vault-token"),
        "age": ("AGE-SECRET" + "-KEY-1", string.ascii_uppercase + string.digits, 58, "age-key"),
    }
    keys = {name: (prefix + drawn(chars, size, name), kind) for name, (prefix, chars, size, kind) in shapes.items()}
    keys["Slack, bot"] = (keys["Slack, bot"][0] + "-" + drawn(ALNUM, 24, "slack"), "slack-token")
    keys["AWS"] = (_AWS_ID, "aws-access-key")
    keys["SendGrid"] = ("S" + "G." + drawn(URLSAFE, 22, "sg1") + "." + drawn(URLSAFE, 43, "sg2"), "sendgrid-key")
    keys["Telegram"] = (drawn(string.digits, 10, "tg") + ":A" + "A" + drawn(URLSAFE, 33, "tg2"), "telegram-token")
    keys["Azure, application"] = (drawn(ALNUM, 3, "az1") + "8Q" + "~" + drawn(ALNUM, 34, "az2"), "azure-secret")
    keys["JWT"] = (jwt(), "jwt")
    return keys


def jwt() -> str:
    parts = [json.dumps(part).encode() for part in ({"alg": "HS256", "typ": "JWT"}, {"sub": "ada", "iat": 1516239022})]
    encoded = [base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts]
    return ".".join((*encoded, drawn(URLSAFE, 43, "jwt")))


def private_key(kind: str = "RSA ", lines: int = 5) -> str:
    body = "\n".join(drawn(BASE64, 64, f"{kind}{number}") for number in range(lines))
    return (
        f"-----BEGIN {kind}PRIVATE"
        + f" KEY-----\n{body}\n{drawn(BASE64, 18, kind)}==\n-----END {kind}PRIVATE"
        + " KEY-----\n"
    )


def _in_places(name: str, key: str, kind: str) -> list[Hidden]:
    """One key in the places where keys turn up; the place rotates with the name so that every pair isn't needed."""
    whole = (key,)
    half = len(key) // 2
    places = [
        Hidden("bare", key, whole, kind),
        Hidden("in prose", f"I used {key}, but it was refused.", whole, kind),
        Hidden("in code", f'client = Client("{key}")', whole, kind),
        Hidden("in an environment", f"export KEY={key}\nexport OTHER=1\n", whole, kind),
        Hidden("in JSON", json.dumps({"note": key, "n": 1}), whole, kind),
        Hidden("in JSON in JSON", json.dumps({"arguments": json.dumps({"command": f"echo {key}\nls"})}), whole, kind),
        Hidden("thrice in JSON", json.dumps(json.dumps(json.dumps(f"say {key}"))), whole, kind),
        Hidden("as a JSON key", json.dumps({key: True}), whole, kind),
        Hidden("escaped", '{"note":"' + "".join(f"\\u{ord(char):04x}" for char in key) + '"}', (), kind),
        Hidden("escaped in part", json.dumps({"a": '"' + f"\\u{ord(key[0]):04x}" + key[1:] + '"'}), (key[1:],), kind),
        Hidden("wrapped", f"token\n  {key[:half]}\n  {key[half:]}\nnext line\n", (key[:half], key[half:]), kind),
        Hidden(
            "wrapped in JSON", json.dumps({"text": f"{key[:half]}\r\n{key[half:]} end"}), (key[:half], key[half:]), kind
        ),
        Hidden("in colour", f"key: {key[:6]}\x1b[1m{key[6:]}\x1b[0m", (key[6:],), kind),
    ]
    return [place._replace(name=f"{name}: {place.name}") for place in places]


def _assigned() -> list[Hidden]:
    value, short = drawn(ALNUM, 24, "assigned"), "hun" + "ter2"
    symbols = "p4$$-" + drawn(ALNUM, 6, "symbols")
    written = {
        "Python": (f'api_key = "{value}"', value),
        "Python, keyword": (f"connect(user='ada', password='{symbols}')", symbols),
        "YAML": (f"auth:\n  token: {value}\n", value),
        "environment": (f"DB_PASSWORD={short}\n", short),
        "shell": (f"export GITHUB_TOKEN={value}", value),
        "JSON": (json.dumps({"client_secret": value}), value),
        "JSON, quoted inside": (json.dumps({"password": 'a"b' + value}), value),
        "JavaScript": (f"const apiKey = `{value}`;", value),
        "Ruby": (f':secret_key_base => "{value}"', value),
        "INI": (f"[db]\npasswd={short}\n", short),
        "header": (f"X-Api-Key: {value}", value),
        "option": (f"tool --password {short} --verbose", short),
        "option, joined": (f"tool --token={value}", value),
        "query": (f"https://h.example/x?access_token={value}&n=1", value),
        "AWS": (f"aws_secret_access_key = {_AWS_SECRET}", _AWS_SECRET),
        "Azure": ("DefaultEndpointsProtocol=https;AccountName=x;AccountKey=" + _AWS_SECRET * 2 + "==;", _AWS_SECRET),
        "npmrc": (f"//npm.example/:_authToken={value}", value),
        "Mistral": (f"MISTRAL_API_KEY={drawn(ALNUM, 32, 'mistral')}", drawn(ALNUM, 32, "mistral")),
        "passphrase": (f'passphrase: "{symbols}"', symbols),
        "Go": (f'Token: "{value}",', value),
    }
    return [Hidden(f"assigned: {name}", text, (part,), "assigned-secret") for name, (text, part) in written.items()]


def _around() -> list[Hidden]:
    password, token = "s3cr" + "3t-x", drawn(ALNUM, 30, "around")
    basic = base64.b64encode(b"ada:" + password.encode()).decode()
    pem, ssh = private_key(), private_key("OPENSSH ", 6)
    first, last = pem.splitlines()[1], pem.splitlines()[-2]
    return [
        Hidden("address", f"postgres://ada:{password}@db.example:5432/shop", (password,), "url-password"),
        Hidden("address, no user", f"redis://:{password}@cache/0", (password,), "url-password"),
        Hidden(
            "git address",
            f"fatal: unable to access 'https://ada:{password}@git.example/x.git/'",
            (password,),
            "url-password",
        ),
        Hidden("bearer", f"curl -H 'Authorization: Bearer {token}' https://h", (token,), "authorization"),
        Hidden("bearer alone", f"sent: Bearer {token}", (token,), "bearer-token"),
        Hidden("basic", f"Authorization: Basic {basic}", (basic,), "authorization"),
        Hidden("basic alone", f"header was Basic {basic} then", (basic,), "basic-credentials"),
        Hidden(
            "header in JSON", json.dumps({"headers": {"Authorization": f"token {token}"}}), (token,), "authorization"
        ),
        Hidden("AWS pair", f"{_AWS_ID},{_AWS_SECRET}\n", (_AWS_ID, _AWS_SECRET), "aws-secret-key"),
        Hidden("Slack hook", "https://hooks.slack" + f".com/services/T0AB/B0CD/{token}", (token,), "slack-webhook"),
        Hidden(
            "Azure signature",
            f"https://x.example/c?sv=2024&sig={drawn(ALNUM, 43, 'sig')}%3D",
            (drawn(ALNUM, 43, "sig"),),
            "azure-signature",
        ),
        Hidden("private key", pem, (first, last), "private-key"),
        Hidden("private key in JSON", json.dumps({"text": pem}), (first, last), "private-key"),
        Hidden("private key as lines", json.dumps(pem.splitlines()), (first, last), "private-key"),
        Hidden("private key cut off", pem[:200], (first,), "private-key"),
        Hidden("SSH key", f"cat id\n{ssh}$ ", tuple(ssh.splitlines()[1:-1]), "private-key"),
        Hidden(
            "encrypted key",
            pem.replace("-----\n", "-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n", 1),
            (first,),
            "private-key",
        ),
    ]


def _configured() -> list[Hidden]:
    from html import escape
    from urllib.parse import quote, quote_plus

    kind, value = f"configured:{CONFIGURED_NAME}", CONFIGURED
    raw = value.encode()
    written = {
        "bare": value,
        "in prose": f"with {value} it works",
        "in JSON": json.dumps({"a": value}),
        "in JSON, not ASCII": json.dumps({"a": value}, ensure_ascii=False),
        "in JSON in JSON": json.dumps({"a": json.dumps({"b": value})}),
        "in an address": f"https://h/?q={quote(value, safe='')}&x",
        "in a form": f"q={quote_plus(value)}&x=1",
        "in HTML": f"<b>{escape(value)}</b>",
        "as a JSON key": json.dumps({value: 1}),
        "wrapped": f"{value[:12]}\n    {value[12:]}",
        **{f"in base64 behind {n}": base64.b64encode(b"x" * n + raw + b"y").decode() for n in range(3)},
        "in URL-safe base64": base64.urlsafe_b64encode(raw).decode(),
    }
    return [Hidden(f"configured: {name}", text, (value[:9], value[-9:]), kind) for name, text in written.items()]


def positives() -> list[Hidden]:
    shaped = [place for name, (key, kind) in tokens().items() for place in _in_places(name, key, kind)]
    return [*shaped, *_assigned(), *_around(), *_configured()]


_CODE = """
token = self.token
token: str | None = None
api_key = os.environ["OPENAI_API_KEY"]
password = getpass.getpass("Password: ")
def authenticate(token: str, password: str = "") -> Token: ...
secret = load_secret(path)
tokens = tokenizer.encode(text)
max_tokens = 4096
"max_tokens": 4096, "total_tokens": 15123456
password_hash = hash_password(password1)
client = Client(token=token, secret=settings.SECRET_KEY)
token_url = "https://h.example/oauth2/token"
password: "Enter your password here"
PASSWORD = "password"
type="password" name="password" id="password-1"
api_key = "YOUR_API_KEY"
api_key: <your-api-key>
export GITHUB_TOKEN=${TOKEN}
TOKEN=$(cat token.txt)
password=********
secret: null
"token": "access_token"
access_token_lifetime = timedelta(minutes=60)
self.assertEqual(token.type, "bearer")
if token == TokenKind.IDENTIFIER2: pass
secret_name = "prod/db/password-v2"
password_field = forms.CharField(label="Password2")
tokens: list[Token] = []
token = next(tokens)
raise InvalidToken("token expired")
"secret": "{{ vault.secret }}"
The bearer of this letter; Bearer authentication is described in RFC 6750.
Basic understanding of basic authentication
http://user:password@host/ is the form; http://localhost:8080/a@b
ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 ada@localhost
-----BEGIN PUBLIC KEY-----
-----BEGIN CERTIFICATE-----
looks for -----BEGIN RSA PRIVATE KEY----- and ends at -----END RSA PRIVATE KEY----- marks
task-management-and-scheduling risk-assessment-2024-q3-report disk-usage
sk-learn sk-toggleable__content sk-estimator-doc-link
github.com/ada/shop/blob/main/src/shop/prices.py#L10-L20
npm_config_registry npm_lifecycle_event npm_package_json
hf_hub_download(repo_id="bert-base-uncased") gsk_buffer r8_format
xoxo-everybody pypi-simple AIzawa glpat
C:\\new\\table\\users\\ghost \\u0041 \\n \\x41
for key, value in mapping.items(): keys[key] = value
primary_key=True, foreign_key="users.id", sort_key = "created_at2"
monkeypatch.setattr(module, "key", "value") KeyError: 'token'
ANTHROPIC_API_KEY is not set; set OPENAI_API_KEY or pass --api-key
tokens per second: 1532.7, token count: 99182
eyJ is how a JWT begins. eyJhbGci alone is none.
password = base64Decode(input) ; secret=sha256(b"x").hexdigest()
exports.SOCKS5_NO_ACCEPTABLE_AUTH = exports.SOCKS5_CUSTOM_AUTH_END = 1
&lt;protocol&gt;://[&lt;user&gt;[:&lt;password&gt;]@]&lt;host&gt;
csrf_token: {% csrf_token %}
cavalcade/r01hk3c8m7abcd refs/runs/r01hk3c8m7abcd/tasks/t1
"""


def negatives() -> dict[str, str]:
    """Texts in which nothing may be changed: ids, digests and pictures by the hundred, code, prose."""
    found = {f"code {number}": line for number, line in enumerate(_CODE.strip().splitlines())}
    for number in range(80):
        seed = str(number)
        sha1, sha256 = (
            hashlib.sha1(seed.encode(), usedforsecurity=False).hexdigest(),
            hashlib.sha256(seed.encode()).hexdigest(),
        )
        found[f"git object {number}"] = f"commit {sha1}\ntree {sha1[::-1]}\nindex {sha1[:7]}..{sha1[-7:]} 100644"
        found[f"git ids in JSON {number}"] = json.dumps(
            {"commit": sha1, "parent": sha1[::-1], "blob": sha1, "tree": sha1}
        )
        found[f"digest {number}"] = f"sha256:{sha256}  requirements.lock --hash=sha256:{sha256}"
        found[f"plan hash {number}"] = json.dumps({"plan_hash": sha256, "context_hash": sha256, "prevhash": sha256})
        found[f"UUID {number}"] = json.dumps(
            {"id": str(uuid.UUID(sha256[:32])), "trace": sha256[:32], "spanid": sha256[:16]}
        )
        found[f"run {number}"] = (
            f"run r{drawn('0123456789abcdefghjkmnpqrstvwxyz', 12, seed)} by coder/t{number}, origin o{sha1[:20]}"
        )
        image = base64.b64encode(random.Random(seed).randbytes(300)).decode()
        found[f"image {number}"] = f"![](data:image/png;base64,{image})"
        found[f"integrity {number}"] = (
            f'"integrity": "sha512-{base64.b64encode(hashlib.sha512(seed.encode()).digest()).decode()}"'
        )
    return found
