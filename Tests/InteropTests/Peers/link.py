# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""A bad network between a QUIC client and a QUIC server, in user space: it delays, limits the rate, drops, corrupts, goes dead for
a while, and rebinds clients to other ports and addresses as a NAT does. It keeps every datagram that it saw, with its ECN mark."""

from __future__ import annotations

import asyncio
import collections
import dataclasses
import random
import socket
import struct
import time

#: IPV6_RECVTCLASS, IPV6_TCLASS and the forced buffer sizes are missing in some versions of the socket module.
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33


@dataclasses.dataclass(frozen=True)
class Conditions:
    """What each direction of a link does to datagrams. The defaults do nothing."""

    #: Seconds, one way.
    delay: float = 0
    #: Bits per second; `None` is unlimited.
    rate: float | None = None
    #: Datagrams that wait for the rate; more are dropped.
    queue: int = 25
    #: Bytes of an IP packet; larger ones are dropped.
    mtu: int = 1500
    #: Probability, and the most datagrams that are hit one after the other.
    loss: float = 0
    corruption: float = 0
    burst: int = 3
    #: Seconds on, then seconds off, again and again from the first datagram.
    alternating: tuple[float, float] | None = None
    #: Seconds from the first datagram to a new address of the client, and between those that follow.
    rebind_after: float | None = None
    rebind_every: float | None = None
    #: Whether a rebinding changes the address too, not only the port.
    rebinds_address: bool = False
    #: Numbers of the client's datagrams (from 1) that are dropped.
    drops_from_client: frozenset[int] = frozenset()
    #: Whether the ECN marks are wiped out.
    clears_ecn: bool = False


@dataclasses.dataclass
class Seen:
    """A datagram as it came to the link."""

    #: Seconds since the link began.
    time: float
    from_client: bool
    #: The client's address and the address under which the server knows it.
    client: tuple
    path: tuple
    ecn: int
    data: bytes
    #: "passed", "lost", "corrupted", "full", "dead" or "large".
    fate: str = "passed"


class Direction:
    """The datagrams of one direction."""

    def __init__(self, link: Link, conditions: Conditions, dice: random.Random) -> None:
        self.link, self.conditions, self.dice = link, conditions, dice
        self.busy_until = 0.0
        self.waiting: collections.deque[float] = collections.deque()
        self.streak = 0
        self.count = 0

    def take(self, seen: Seen, deliver) -> None:
        conditions, loop, now = self.conditions, self.link.loop, self.link.loop.time()
        self.count += 1
        seen.fate = self.fate(seen)
        self.link.seen.append(seen)
        if seen.fate in ("lost", "dead", "large"):
            return
        data = seen.data if seen.fate == "passed" else self.corrupted(seen.data)
        leaves = now
        if conditions.rate:
            while self.waiting and self.waiting[0] <= now:
                self.waiting.popleft()
            if len(self.waiting) >= conditions.queue:
                seen.fate = "full"
                return
            leaves = max(self.busy_until, now) + (len(data) + self.link.overhead) * 8 / conditions.rate
            self.waiting.append(self.busy_until)
            self.busy_until = leaves
        ecn = 0 if conditions.clears_ecn else seen.ecn
        if leaves + conditions.delay > now:
            loop.call_at(leaves + conditions.delay, deliver, data, ecn)
        else:
            deliver(data, ecn)

    def fate(self, seen: Seen) -> str:
        conditions = self.conditions
        if conditions.alternating and seen.time % sum(conditions.alternating) >= conditions.alternating[0]:
            return "dead"
        if len(seen.data) + self.link.overhead > conditions.mtu:
            return "large"
        if seen.from_client and self.count in conditions.drops_from_client:
            return "lost"
        for probability, fate in ((conditions.loss, "lost"), (conditions.corruption, "corrupted")):
            if probability and self.streak < conditions.burst and self.dice.random() < probability:
                self.streak += 1
                return fate
        self.streak = 0
        return "passed"

    def corrupted(self, data: bytes) -> bytes:
        changed = bytearray(data)
        changed[self.dice.randrange(len(changed))] ^= 1 << self.dice.randrange(8)
        return bytes(changed)


class Way:
    """One client and the socket through which the server sees it."""

    def __init__(self, link: Link, client: tuple) -> None:
        self.link, self.client = link, client
        self.socket: socket.socket | None = None
        self.rebind(changes_address=False)

    def rebind(self, changes_address: bool) -> None:
        self.close()
        host = self.link.host
        if changes_address:
            self.link.rebindings += 1
            host = f"127.0.1.{1 + self.link.rebindings % 250}" if self.link.family == socket.AF_INET else host
        self.socket = self.link.open(host)
        self.path = self.socket.getsockname()
        self.link.loop.add_reader(self.socket, self.readable, self.socket)

    def to_server(self, data: bytes, ecn: int) -> None:
        self.link.send(self.socket, data, ecn, self.link.server)

    def to_client(self, data: bytes, ecn: int, front: socket.socket) -> None:
        self.link.send(front, data, ecn, self.client)

    def readable(self, source: socket.socket) -> None:
        for data, ecn, _ in self.link.drain(source):
            seen = Seen(self.link.elapsed(), False, self.client, self.path, ecn, data)
            front = self.front
            self.link.down.take(seen, lambda data, ecn: self.to_client(data, ecn, front))

    def close(self) -> None:
        if self.socket:
            self.link.loop.remove_reader(self.socket)
            self.socket.close()
            self.socket = None


class Link:
    """Listens at `address`, where clients think the server is."""

    def __init__(self, server: tuple, conditions: Conditions, seed: int = 1) -> None:
        self.loop = asyncio.get_running_loop()
        self.server = server
        self.conditions = conditions
        self.host = server[0]
        self.family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        #: Bytes of IP and UDP.
        self.overhead = 48 if self.family == socket.AF_INET6 else 28
        dice = random.Random(seed)
        self.up = Direction(self, conditions, dice)
        self.down = Direction(self, conditions, dice)
        self.seen: list[Seen] = []
        self.ways: dict[tuple, Way] = {}
        self.rebindings = 0
        self.began: float | None = None
        self.timers: list[asyncio.TimerHandle] = []
        self.fronts: list[socket.socket] = []
        self.address = self.listen()

    def listen(self) -> tuple:
        """One more address of the server."""
        front = self.open(self.host)
        self.fronts.append(front)
        self.loop.add_reader(front, self.readable, front)
        return front.getsockname()[:2]

    def elapsed(self) -> float:
        if self.began is None:
            self.began = time.monotonic()
            if self.conditions.rebind_after is not None:
                self.timers.append(self.loop.call_later(self.conditions.rebind_after, self.rebind))
        return time.monotonic() - self.began

    def rebind(self) -> None:
        for way in self.ways.values():
            way.rebind(self.conditions.rebinds_address)
        if self.conditions.rebind_every:
            self.timers.append(self.loop.call_later(self.conditions.rebind_every, self.rebind))

    def readable(self, front: socket.socket) -> None:
        for data, ecn, client in self.drain(front):
            way = self.ways.get(client)
            if way is None:
                way = self.ways[client] = Way(self, client)
            way.front = front
            seen = Seen(self.elapsed(), True, client, way.path + (front.getsockname()[1],), ecn, data)
            self.up.take(seen, way.to_server)

    # Sockets.

    def open(self, host: str) -> socket.socket:
        made = socket.socket(self.family, socket.SOCK_DGRAM)
        made.setblocking(False)
        for option, forced in ((socket.SO_RCVBUF, SO_RCVBUFFORCE), (socket.SO_SNDBUF, SO_SNDBUFFORCE)):
            try:
                made.setsockopt(socket.SOL_SOCKET, forced, 8 << 20)
            except OSError:
                made.setsockopt(socket.SOL_SOCKET, option, 8 << 20)
        if self.family == socket.AF_INET:
            made.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
        else:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVTCLASS, 1)
        made.bind((host, 0))
        return made

    def drain(self, source: socket.socket):
        for _ in range(256):
            try:
                data, ancillary, _, address = source.recvmsg(65536, 64)
            except BlockingIOError:
                return
            except OSError:
                # An ICMP message for a peer that is gone, or the socket was closed by what came before.
                if source.fileno() < 0:
                    return
                continue
            ecn = 0
            for level, kind, value in ancillary:
                if (level, kind) in ((socket.IPPROTO_IP, socket.IP_TOS), (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)):
                    ecn = value[0] & 3
            yield data, ecn, address

    def send(self, target: socket.socket | None, data: bytes, ecn: int, address: tuple) -> None:
        if target is None or target.fileno() < 0:
            return
        level, kind = (socket.IPPROTO_IP, socket.IP_TOS) if self.family == socket.AF_INET \
            else (socket.IPPROTO_IPV6, socket.IPV6_TCLASS)
        try:
            target.sendmsg([data], [(level, kind, struct.pack("i", ecn))], 0, address)
        except OSError:
            pass  # As a network does: nobody hears of it.

    def close(self) -> None:
        for timer in self.timers:
            timer.cancel()
        for way in self.ways.values():
            way.close()
        for front in self.fronts:
            self.loop.remove_reader(front)
            front.close()
