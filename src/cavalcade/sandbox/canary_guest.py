"""The attacks of the live probe. Its text is run inside the sandbox, and the same functions outside, where they must succeed.

Standard library only, any Python from 3.8: it runs under the project's interpreter.
"""

import json
import os
import resource
import socket
import sys
import typing


def read_secret(target: typing.Dict[str, str]) -> bool:  # noqa: UP006 - Python 3.8
    with open(target["secret"], encoding="utf-8") as file:
        return file.read() == target["content"]


def write_outside(target: typing.Dict[str, str]) -> bool:  # noqa: UP006
    path = os.path.join(target["folder"], "written-by-" + str(os.getpid()))
    with open(path, "w", encoding="utf-8") as file:
        file.write("x")
    return True


def reach_listener(target: typing.Dict[str, str]) -> bool:  # noqa: UP006
    with socket.create_connection(("127.0.0.1", int(target["port"])), timeout=2):
        return True


def see_parent(target: typing.Dict[str, str]) -> bool:  # noqa: UP006
    """The process of that number and start time: inside, low numbers may be taken by others."""
    with open("/proc/" + target["pid"] + "/stat", encoding="utf-8", errors="replace") as file:
        return file.read().rpartition(")")[2].split()[19] == target["started"]


ATTACKS = (read_secret, write_outside, reach_listener, see_parent)


def attempt(target: typing.Dict[str, str]) -> typing.Dict[str, bool]:  # noqa: UP006
    """Name of each attack: did it succeed?"""
    outcome: typing.Dict[str, bool] = {}  # noqa: UP006
    for attack in ATTACKS:
        try:
            outcome[attack.__name__] = attack(target)
        except OSError:
            outcome[attack.__name__] = False
    return outcome


def guards() -> typing.Dict[str, bool]:  # noqa: UP006
    """Name of each guard: is it up?"""
    with open("/proc/self/status", encoding="utf-8") as file:
        status = {key: value.strip() for key, _, value in (line.partition(":") for line in file)}
    return {
        "no capabilities": all(int(status[name], 16) == 0 for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")),
        "no new privileges": status["NoNewPrivs"] == "1",
        "system call filter": status["Seccomp"] == "2",
        "not root": 0 not in (os.getuid(), os.geteuid()),
        "process limit": resource.getrlimit(resource.RLIMIT_NPROC)[1] != resource.RLIM_INFINITY,
        "system read-only": not any(os.access(path, os.W_OK) for path in ("/", "/usr", "/etc", "/dev")),
    }


def main() -> None:
    target = json.loads(sys.argv[1])
    with open("canary", "w", encoding="utf-8") as file:
        file.write(target["nonce"])
    json.dump({"nonce": target["nonce"], "attacks": attempt(target), "guards": guards()}, sys.stdout)


if __name__ == "__main__":
    main()
