"""Runs inside the sandbox, before the command: passes what arrives at a port of its own loopback to the proxy's Unix socket.

Its text is handed to the interpreter of the project: standard library only, any Python from 3.8. Arguments: the socket, then the command,
which takes this process over; a child that is nobody's child goes on forwarding until the sandbox ends.
"""

import contextlib
import os
import signal
import socket
import sys
import threading


def pump(source: socket.socket, sink: socket.socket) -> None:
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def forward(client: socket.socket, path: str) -> None:
    with client, socket.socket(socket.AF_UNIX) as proxy:
        proxy.connect(path)
        up = threading.Thread(target=pump, args=(client, proxy), daemon=True)
        up.start()
        pump(proxy, client)
        up.join()


def main() -> None:
    path, command = sys.argv[1], sys.argv[2:]
    server = socket.create_server(("127.0.0.1", 0), backlog=128)
    if os.fork() == 0:
        if os.fork():
            os._exit(0)
        for descriptor in (0, 1, 2):
            os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
        while True:
            client = server.accept()[0]
            try:
                threading.Thread(target=forward, args=(client, path), daemon=True).start()
            except RuntimeError:  # no more threads may be made
                client.close()
    os.wait()
    address = "http://127.0.0.1:" + str(server.getsockname()[1])
    server.close()
    for name in ("HTTP_PROXY", "HTTPS_PROXY"):
        os.environ[name] = os.environ[name.lower()] = address
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "localhost,127.0.0.1,::1"
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # this interpreter ignores them, and a command would inherit that
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        sys.stderr.write(command[0] + ": " + str(error.strerror) + "\n")
        sys.exit(127 if isinstance(error, FileNotFoundError) else 126)


if __name__ == "__main__":
    main()
