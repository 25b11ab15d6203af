# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""The test cases of the quic-interop-runner: what is fetched, over which network, and what must be seen on the wire."""

from __future__ import annotations

import dataclasses
import random
from typing import Callable

import packets as wire
from link import Conditions, Link
from packets import INITIAL, ONE_RTT, ZERO_RTT, Trace

KB, MB = 1 << 10, 1 << 20

#: What the runner puts between the peers unless a case says otherwise.
LINK = Conditions(delay=0.015, rate=10e6, queue=25)


class Wrong(Exception):
    """The files came, but not as the case wants it."""


class Unverified(Exception):
    """The files came; whether as the case wants it can't be seen, because neither peer logged its secrets."""


@dataclasses.dataclass
class Case:
    name: str
    #: Sizes of the files.
    files: list[int]
    check: Callable[[Trace, Link], None]
    link: Conditions = LINK
    #: TESTCASE of the client and of the server, where it is not the name.
    client: str | None = None
    server: str | None = None
    #: Certificates between the server's and the authority's.
    intermediates: int = 0
    host: str = "127.0.0.1"
    #: Characters in the name of a file.
    name_length: int = 10
    #: Seconds.
    patience: float = 60
    #: For the run that is part of every test run: other sizes, over another link.
    quick_files: list[int] | None = None
    quick_link: Conditions | None = None

    def names(self, count: int) -> list[str]:
        dice = random.Random(self.name)
        return ["".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=self.name_length)) for _ in range(count)]

    def quick(self) -> Case:
        """The same, in a moment."""
        return dataclasses.replace(
            self, files=self.quick_files or self.files, link=self.quick_link or Conditions(), patience=20)


def require(condition: bool, complaint: str) -> None:
    if not condition:
        raise Wrong(complaint)


def handshakes(trace: Trace, count: int) -> None:
    require(len(trace.handshakes) == count, f"{len(trace.handshakes)} handshakes instead of {count}")


def needs_frames(trace: Trace, *kinds) -> None:
    """Whether the packets of these kinds can be looked into."""
    for connection in trace.handshakes:
        for kind in kinds:
            packets = [packet for packet in connection.packets if packet.kind == kind and packet.seen.fate == "passed"]
            if packets and not any(packet.frames is not None for packet in packets):
                raise Unverified(f"no secrets for {kind.name} packets")


def one_handshake(trace: Trace, _link: Link) -> None:
    handshakes(trace, 1)
    require(not trace.retries, "a Retry that nobody asked for")
    closes = [code for packet in trace.packets for code in packet.frames_of(wire.APPLICATION_CLOSE)]
    # H3_NO_ERROR
    require(not set(closes) - {0, 0x100}, f"closed with {closes}")
    closes = [code for packet in trace.packets for code in packet.frames_of(wire.CONNECTION_CLOSE)]
    require(not any(closes), f"closed because of transport errors {closes}")


def long_round_trip(trace: Trace, link: Link) -> None:
    one_handshake(trace, link)
    hellos = [packet for packet in trace.packets if packet.kind == INITIAL and packet.seen.from_client
              and any(offset == 0 for offset, _ in packet.frames_of(wire.CRYPTO))]
    require(len(hellos) >= 2, "the ClientHello was sent only once")


def only_chacha20(trace: Trace, link: Link) -> None:
    one_handshake(trace, link)
    hello = trace.handshakes[0].message(INITIAL, True, wire.CLIENT_HELLO)
    offered = wire.cipher_suites(hello or b"")
    require(offered == [0x1303], f"offered the cipher suites {[hex(suite) for suite in offered]}")


def many_streams(trace: Trace, link: Link) -> None:
    one_handshake(trace, link)
    needs_frames(trace, wire.HANDSHAKE)
    extensions = trace.handshakes[0].message(wire.HANDSHAKE, False, wire.ENCRYPTED_EXTENSIONS)
    parameters = wire.transport_parameters(extensions or b"", is_client=False)
    limit = int.from_bytes(parameters.get(8, b"\0"), "big") & 0x3FFF
    require(len(parameters.get(8, b"")) <= 2 and 0 < limit <= 1000, f"initial_max_streams_bidi is {limit}")


def retry(trace: Trace, _link: Link) -> None:
    require(bool(trace.retries), "no Retry was sent")
    handshakes(trace, 1)
    token = trace.retries[0].token
    initials = [packet for packet in trace.packets if packet.kind == INITIAL and packet.seen.from_client]
    answers = [packet for packet in initials if packet.token]
    require(bool(answers) and all(packet.token == token for packet in answers), "the token did not come back")
    before = max(packet.number for packet in initials if not packet.token)
    require(min(packet.number for packet in answers) > before, "the packet numbers began anew after the Retry")


def resumption(trace: Trace, _link: Link) -> None:
    handshakes(trace, 2)
    needs_frames(trace, wire.HANDSHAKE)
    full, resumed = (
        connection.message(wire.HANDSHAKE, False, wire.CERTIFICATE) is not None for connection in trace.handshakes)
    require(full, "the first handshake has no certificate")
    require(not resumed, "the second handshake has a certificate")


def early_data(trace: Trace, link: Link) -> None:
    resumption(trace, link)
    second = trace.handshakes[1]

    def request_bytes(kind) -> int:
        return sum(size for packet in second.packets if packet.kind == kind and packet.seen.from_client
                   for number, value in packet.frames or [] if 0x08 <= number <= 0x0F for _, size in [value])

    packets = [packet for packet in second.packets if packet.kind == ZERO_RTT]
    require(bool(packets), "no 0-RTT packets")
    needs_frames(trace, ZERO_RTT, ONE_RTT)
    early, late = request_bytes(ZERO_RTT), request_bytes(ONE_RTT)
    require(early > 0 and late <= early / 2, f"{early} bytes of requests in 0-RTT and {late} in 1-RTT")


def key_update(trace: Trace, link: Link) -> None:
    one_handshake(trace, link)
    needs_frames(trace, ONE_RTT)
    for from_client in (True, False):
        updated = [packet for packet in trace.packets if packet.key_phase == 1 and packet.seen.from_client == from_client]
        require(bool(updated), f"the {'client' if from_client else 'server'} kept to its first keys")


def marks(trace: Trace, link: Link) -> None:
    one_handshake(trace, link)
    for from_client in (True, False):
        who = "client" if from_client else "server"
        require(any(seen.ecn in (1, 2) for seen in link.seen if seen.from_client == from_client),
                f"the {who} marks no packet")
        acknowledged = [packet for packet in trace.packets if packet.seen.from_client == from_client
                        and packet.frames_of(wire.ACK_ECN)]
        if not acknowledged:
            needs_frames(trace, ONE_RTT)
        require(bool(acknowledged), f"the {who} does not count marks")


def amplification(trace: Trace, link: Link) -> None:
    handshakes(trace, 1)
    proof = next((packet.seen for packet in trace.packets if packet.kind == wire.HANDSHAKE
                  and packet.seen.from_client and packet.seen.fate == "passed"), None)
    received = sent = 0
    was_limited = False
    for seen in link.seen:
        if seen is proof:
            break
        if not seen.from_client:
            sent += len(seen.data)
            require(sent <= 3 * received, f"{sent} bytes sent to an address that sent {received}")
            was_limited = was_limited or sent + 1200 > 3 * received
        elif seen.fate == "passed":
            received += len(seen.data)
    require(was_limited, f"only {sent} bytes before the address was proven: nothing was limited")


def connection_per_file(trace: Trace, _link: Link) -> None:
    require(len(trace.handshakes) >= 2, "one connection for all files")


def paths(trace: Trace, from_client_point: bool) -> dict[tuple, list[wire.Packet]]:
    """By the address under which the server knows the client, or the client's own: the packets that the server sent there."""
    found: dict[tuple, list[wire.Packet]] = {}
    for packet in trace.packets:
        if not packet.seen.from_client:
            key = packet.seen.client if from_client_point else packet.seen.path
            found.setdefault(key[:2], []).append(packet)
    return found


def validated(trace: Trace, by_path: dict[tuple, list[wire.Packet]], *first_frames: int) -> None:
    """The first datagram to a new address has one of these frames, and a challenge there is answered."""
    require(len(by_path) > 1, "the client never changed its address")
    needs_frames(trace, ONE_RTT)
    for path, packets in list(by_path.items())[1:]:
        datagram = packets[0].seen
        first = [packet for packet in packets if packet.seen is datagram]
        require(any(packet.frames_of(*first_frames) for packet in first),
                f"the first datagram to {path} has no PATH_CHALLENGE")
    responses = {data for packet in trace.packets for data in packet.frames_of(wire.PATH_RESPONSE)
                 if packet.seen.from_client}
    for packets in list(by_path.values())[1:]:
        challenges = {data for packet in packets for data in packet.frames_of(wire.PATH_CHALLENGE)}
        require(bool(challenges & responses), "a PATH_CHALLENGE stayed without answer")


def rebinding(trace: Trace, link: Link) -> None:
    one_handshake(trace, link)
    validated(trace, paths(trace, from_client_point=False), wire.PATH_CHALLENGE)


def migration(trace: Trace, link: Link) -> None:
    one_handshake(trace, link)
    if len({seen.path[-1] for seen in link.seen if seen.from_client}) == 1:
        # A client that moves on purpose challenges the path itself, and is answered first.
        validated(trace, paths(trace, from_client_point=True), wire.PATH_CHALLENGE, wire.PATH_RESPONSE)
    ids: dict[tuple, set[bytes]] = {}
    for packet in trace.packets:
        if packet.seen.from_client and packet.kind == ONE_RTT:
            ids.setdefault((packet.seen.client, packet.seen.path[-1]), set()).add(packet.destination)
    require(len(ids) > 1, "the client stayed where it was")
    groups = list(ids.values())
    for index, group in enumerate(groups):
        for other in groups[index + 1:]:
            require(not group & other, "a connection ID was used on two paths")


def lossy(**changes) -> Conditions:
    return dataclasses.replace(LINK, **changes)


CASES = [
    Case("handshake", [KB], one_handshake),
    Case("transfer", [2 * MB, 3 * MB, 5 * MB], one_handshake, quick_files=[200 * KB, 300 * KB, 500 * KB]),
    Case("longrtt", [KB], long_round_trip, client="handshake", server="handshake", link=lossy(delay=0.75),
         quick_link=Conditions(delay=0.75)),
    Case("chacha20", [3 * MB], only_chacha20, quick_files=[100 * KB]),
    Case("multiplexing", [32] * 1999, many_streams, client="transfer", server="transfer"),
    Case("retry", [KB], retry),
    Case("resumption", [5 * KB, 10 * KB], resumption),
    Case("zerortt", [32] * 40, early_data, name_length=250),
    Case("http3", [5 * KB, 10 * KB, 500 * KB], one_handshake),
    Case("blackhole", [10 * MB], one_handshake, client="transfer", server="transfer",
         link=lossy(alternating=(5, 2)), patience=120, quick_files=[MB],
         quick_link=Conditions(rate=10e6, queue=200, alternating=(0.3, 0.5))),
    Case("keyupdate", [3 * MB], key_update, server="transfer", quick_files=[500 * KB],
         quick_link=Conditions(rate=20e6, queue=400)),
    Case("ecn", [100 * KB], marks),
    Case("amplificationlimit", [5 * KB], amplification, client="transfer", server="transfer", intermediates=9,
         link=lossy(drops_from_client=frozenset(range(2, 8))),
         quick_link=Conditions(drops_from_client=frozenset(range(2, 8)))),
    Case("handshakeloss", [KB] * 50, connection_per_file, client="multiconnect", server="handshakeloss",
         link=lossy(loss=0.3), patience=300, quick_files=[KB] * 3, quick_link=Conditions(loss=0.3)),
    Case("handshakecorruption", [KB] * 50, connection_per_file, client="multiconnect", server="handshakecorruption",
         link=lossy(corruption=0.3), patience=300, quick_files=[KB] * 3, quick_link=Conditions(corruption=0.3)),
    Case("transferloss", [2 * MB], one_handshake, client="transfer", server="transfer", link=lossy(loss=0.02),
         quick_files=[300 * KB], quick_link=Conditions(delay=0.002, loss=0.02)),
    Case("transfercorruption", [2 * MB], one_handshake, client="transfer", server="transfer",
         link=lossy(corruption=0.02), quick_files=[300 * KB], quick_link=Conditions(delay=0.002, corruption=0.02)),
    Case("ipv6", [5 * MB, 10 * KB], one_handshake, host="::1", quick_files=[100 * KB]),
    Case("rebind-port", [10 * MB], rebinding, link=lossy(rebind_after=1, rebind_every=5), patience=120,
         quick_files=[MB], quick_link=Conditions(rate=20e6, queue=400, rebind_after=0.2)),
    Case("rebind-addr", [10 * MB], rebinding, link=lossy(rebind_after=1, rebind_every=5, rebinds_address=True),
         patience=120, quick_files=[MB],
         quick_link=Conditions(rate=20e6, queue=400, rebind_after=0.2, rebinds_address=True)),
    Case("connectionmigration", [2 * MB], migration, quick_files=[MB],
         quick_link=Conditions(rate=20e6, queue=400)),
    Case("v2", [KB], one_handshake),
]
