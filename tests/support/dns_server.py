"""A DNS server on loopback that answers as a test wants."""

from __future__ import annotations

import socket
import threading
from collections.abc import Sequence

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
from dns.rdatatype import RdataType
from dns.resolver import Resolver

PATIENCE_SECONDS = 10.0


class DnsServer:
    """Speaks UDP and TCP on one port; knows no name until told."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, RdataType], Sequence[str]] = {}
        """Texts of records, by name (with its last dot) and type."""
        self.failure: dns.rcode.Rcode | None = None
        """While set, what every question is answered with."""
        self.is_silent = False
        self.is_truncating = False
        """Whether answers over UDP hold nothing but a hint to use TCP."""
        self.questions: list[tuple[str, str]] = []
        """Name and type of each, in order."""
        self._tcp, self._udp = sockets_of_one_port()
        self._port = self._tcp.getsockname()[1]
        self._threads = [
            threading.Thread(target=work) for work in (self._serve_udp, self._serve_tcp)
        ]
        for thread in self._threads:
            thread.start()

    def resolver(self, patience_seconds: float = PATIENCE_SECONDS) -> Resolver:
        """Return a resolver that asks this server, for so long."""
        resolver = Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
        resolver.port = self._port
        resolver.timeout = resolver.lifetime = patience_seconds
        return resolver

    def close(self) -> None:
        """End it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as farewell:
            farewell.sendto(b"", ("127.0.0.1", self._port))
        self._tcp.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)
        self._udp.close()
        self._tcp.close()

    def _serve_udp(self) -> None:
        while data := (packet := self._udp.recvfrom(65535))[0]:
            answer = self._answer(data)
            if self.is_truncating and answer:
                answer.flags |= dns.flags.TC
                answer.answer.clear()
            if answer:
                self._udp.sendto(answer.to_wire(), packet[1])

    def _serve_tcp(self) -> None:
        while True:
            try:
                sock, _ = self._tcp.accept()
            except OSError:
                return
            sock.settimeout(PATIENCE_SECONDS)
            with sock, sock.makefile("rwb") as stream:
                data = stream.read(int.from_bytes(stream.read(2), "big"))
                answer = self._answer(data)
                if answer:
                    wire = answer.to_wire()
                    stream.write(len(wire).to_bytes(2, "big") + wire)

    def _answer(self, data: bytes) -> dns.message.Message | None:
        query = dns.message.from_wire(data)
        (question,) = query.question
        name, kind = question.name.to_text(), RdataType.make(question.rdtype)
        self.questions.append((name, kind.name))
        if self.is_silent:
            return None
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        texts = self.records.get((name, kind))
        if self.failure is not None:
            answer.set_rcode(self.failure)
        elif texts:
            answer.answer.append(dns.rrset.from_text_list(name, 5, "IN", kind, texts))
        elif all(name != known for known, _ in self.records):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer


def sockets_of_one_port() -> tuple[socket.socket, socket.socket]:
    """Return sockets for TCP and UDP, of which the second may find its port taken."""
    for _ in range(100):
        tcp = socket.create_server(("127.0.0.1", 0))
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            udp.bind(tcp.getsockname())
        except OSError:
            tcp.close()
            udp.close()
        else:
            return tcp, udp
    raise AssertionError("no port is free for both")
