"""What stands in front of the nodes besides our gateway: nginx, HAProxy, any peer.

They pass unsigned requests on for a public bucket, and check nothing. A node that fails
is not replaced by others, which have not its objects: its errors are to be seen.
"""

from __future__ import annotations

import grp
import os
import pwd
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

START_SECONDS = 30.0
STOP_SECONDS = 30.0

NGINX = """\
daemon off;
user {user} {group};
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/nginx-error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log {folder}/nginx-access.log combined;
    client_body_temp_path {folder}/nginx-body;
    proxy_temp_path {folder}/nginx-proxy;
    fastcgi_temp_path {folder}/nginx-fastcgi;
    uwsgi_temp_path {folder}/nginx-uwsgi;
    scgi_temp_path {folder}/nginx-scgi;
    client_max_body_size 0;
    keepalive_requests 1000000000;
    upstream nodes {{
        hash $request_uri consistent;
{servers}
        keepalive 128;
        keepalive_requests 1000000000;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://nodes;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_next_upstream off;
            proxy_request_buffering off;
            proxy_max_temp_file_size 0;
            proxy_buffer_size 16k;
            proxy_buffers 8 256k;
            proxy_busy_buffers_size 512k;
        }}
    }}
}}
"""
HAPROXY = """\
global
    nbthread 2
    maxconn 8000
    maxpipes 512
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    option splice-request
    option splice-response
    timeout connect 5s
    timeout client 300s
    timeout server 300s
frontend clients
    bind 127.0.0.1:{port}
    default_backend nodes
backend nodes
    balance {balance}
    http-reuse always
{servers}
"""
"""Large bodies pass through pipes in the kernel; with as many pipes as it would like it
may not start, for want of files. Buffers of 256 KiB, as nginx has them, would make
large objects cheaper, too, but small ones dearer.
"""
BY_URI = "uri\n    hash-type consistent"
IN_TURNS = "roundrobin"


class Program:
    """A server started by a command, in a process group of its own."""

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        log: Path,
        environ: Mapping[str, str] | None = None,
        folder: Path | None = None,
    ) -> None:
        """Take what it is started by, and the port of loopback that it will have.

        `folder`: where it works; None: where this process does.
        """
        self.port = port
        self._command = command
        self._log = log
        self._environ = {**os.environ, **(environ or {})}
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Its process id, once started."""
        if self._process is None:
            raise RuntimeError("not started")
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it takes connections. Raises: RuntimeError."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environ,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS
        while not takes_connections(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                tail = self._log.read_text(errors="replace")[-1000:]
                raise RuntimeError(f"{self._command[0]} does not serve: {tail}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop it and all it started in its group. Harmless if it doesn't run.

        A shell ends before what it has started, which is then nobody's child: the
        whole group is told to end, and waited for.
        """
        if self._process is None:
            return
        process, self._process = self._process, None
        deadline = time.monotonic() + STOP_SECONDS
        with suppress(ProcessLookupError):  # nobody is left
            os.killpg(process.pid, signal.SIGTERM)
            while time.monotonic() < deadline:
                process.poll()  # ended and not waited for, it would still be there
                os.killpg(process.pid, 0)
                time.sleep(0.02)
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_SECONDS)


def takes_connections(port: int) -> bool:
    """Whether somebody listens on a port of loopback."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def find_program(name: str) -> str | None:
    """Return where a program is; daemons are not on everybody's PATH."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def nginx(path: str, port: int, nodes: Sequence[int], folder: Path) -> Program:
    """Return nginx in front of the nodes with these ports."""
    config = folder / "nginx.conf"
    user = pwd.getpwuid(os.geteuid()).pw_name
    group = grp.getgrgid(os.getegid()).gr_name
    servers = "\n".join(
        f"        server 127.0.0.1:{node} max_fails=0;" for node in nodes
    )
    config.write_text(
        NGINX.format(user=user, group=group, port=port, folder=folder, servers=servers)
    )
    command = [path, "-p", str(folder), "-c", str(config)]
    return Program(command, port, folder / "nginx.log")


def haproxy(
    path: str, port: int, nodes: Sequence[int], folder: Path, balance: str = BY_URI
) -> Program:
    """Return HAProxy in front of the servers with these ports."""
    config = folder / f"haproxy-{port}.cfg"
    servers = "\n".join(
        f"    server node-{n} 127.0.0.1:{node}" for n, node in enumerate(nodes, 1)
    )
    config.write_text(HAPROXY.format(port=port, balance=balance, servers=servers))
    command = [path, "-db", "-f", str(config)]
    return Program(command, port, folder / f"haproxy-{port}.log")


@dataclass(frozen=True)
class Peer:
    """Another system to measure: how it is started, and where its objects are."""

    name: str
    command: Sequence[str]
    """With `{port}` and `{nodes}` in it."""
    path: str = "/object/{key}"


def parse_peers(text: str) -> list[Peer]:
    """Read PEERS: `name=command[;path=/.../{key}]`, one a line. Raises: ValueError."""
    peers = []
    for line in filter(None, map(str.strip, text.splitlines())):
        name, has_command, rest = line.partition("=")
        command, has_path, path = rest.partition(";path=")
        if not has_command or not command.strip():
            raise ValueError(f"PEERS needs name=command, not {line!r}")
        peer = Peer(name.strip(), shlex.split(command))
        peers.append(Peer(name.strip(), peer.command, path) if has_path else peer)
    return peers


def peer_program(peer: Peer, port: int, nodes: str, folder: Path) -> Program:
    """Return a peer on a port, and make its own folder; `nodes`: the setting NODES."""
    command = [
        word.replace("{port}", str(port)).replace("{nodes}", nodes)
        for word in peer.command
    ]
    if "/" in command[0]:
        command[0] = str(Path(command[0]).absolute())  # it will work elsewhere
    environ = {"PORT": str(port), "NODES": nodes}
    own = folder / f"peer-{port}"
    own.mkdir()
    return Program(command, port, folder / f"peer-{port}.log", environ, own)
