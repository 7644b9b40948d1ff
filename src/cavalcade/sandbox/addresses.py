"""Which hosts a command may reach: names and addresses as they are written by those who mean well, and by those who don't.

A host is compared in one form only: lower case, without its last dot, in ASCII (punycode); an address as the standard library writes
it. Anything that some resolver could read as an address and that is not written plainly (`127.1`, `0x7f000001`, `2130706433`) is no host.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from cavalcade.kernel.errors import UsageError

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORT = re.compile(r"[0-9]{1,5}")
_NAT64 = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, order=True)
class Host:
    """`name` in its one form; an IPv6 address without brackets."""

    name: str
    port: int

    @property
    def address(self) -> Address | None:
        return read_address(self.name)


def allow_list(entries: tuple[str, ...]) -> frozenset[Host]:
    """`host:port` each; names may be written in any alphabet. Raises UsageError."""
    found: set[Host] = set()
    for entry in entries:
        text = entry
        if not entry.isascii():
            name, _, port = entry.rpartition(":")
            try:
                text = f"{name.encode('idna').decode('ascii')}:{port}"
            except UnicodeError as exc:
                raise UsageError(f"{entry!r} is no host name: {exc}", expected="host:port") from exc
        host = read_host(text)
        if host is None:
            raise UsageError(
                f"{entry!r} is not a host and a port", expected="host:port, as example.org:443 or [::1]:8080"
            )
        found.add(host)
    return frozenset(found)


def read_host(text: str, default_port: int | None = None) -> Host | None:
    """`host:port` or `[address]:port` in its one form; None for anything else, and for what is no plain way to write it."""
    if not text.isascii():
        return None
    if text.startswith("["):
        inner, closed, rest = text[1:].partition("]")
        name = _plain_ipv6(inner) if closed else None
    else:
        inner, colon, port = text.partition(":")
        name, rest = _plain_name(inner), colon + port
    if name is None:
        return None
    if not rest and default_port is not None:
        return Host(name, default_port)
    if not rest.startswith(":") or not _PORT.fullmatch(rest[1:]) or not 0 < int(rest[1:]) < 65536:
        return None
    return Host(name, int(rest[1:]))


def _plain_name(text: str) -> str | None:
    name = text.lower().removesuffix(".")
    labels = name.split(".")
    if _NUMERIC.fullmatch(labels[-1]):
        address = read_address(name)
        return None if address is None else str(address)
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return name


def _plain_ipv6(text: str) -> str | None:
    address = read_address(text)
    return str(address) if isinstance(address, ipaddress.IPv6Address) and address.scope_id is None else None


def read_address(text: str) -> Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def is_public(address: Address) -> bool:
    """Whether an address is one of the open internet: also the IPv4 address that an IPv6 one stands for."""
    if isinstance(address, ipaddress.IPv6Address):
        within = address.ipv4_mapped or address.sixtofour
        if within is None and any(address in network for network in _NAT64):
            within = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if within is not None:
            return is_public(within)
        if address.teredo is not None or address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)
