# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""What a link saw, taken apart: packets, and with the secrets that one of the peers logged (SSLKEYLOGFILE) their frames.
aioquic's packet protection does the decryption."""

from __future__ import annotations

import collections
import dataclasses

from aioquic._crypto import CryptoError
from aioquic.buffer import Buffer, BufferReadError
from aioquic.quic.crypto import CryptoContext, CryptoPair, apply_key_phase, next_key_phase
from aioquic.quic.packet import QuicPacketType, QuicProtocolVersion, pull_quic_header
from aioquic.tls import CipherSuite

import link

INITIAL, ZERO_RTT, HANDSHAKE, RETRY, ONE_RTT = (
    QuicPacketType.INITIAL, QuicPacketType.ZERO_RTT, QuicPacketType.HANDSHAKE, QuicPacketType.RETRY,
    QuicPacketType.ONE_RTT)

ACK_ECN, CRYPTO, NEW_CONNECTION_ID, PATH_CHALLENGE, PATH_RESPONSE = 0x03, 0x06, 0x18, 0x1A, 0x1B
CONNECTION_CLOSE, APPLICATION_CLOSE = 0x1C, 0x1D

#: TLS handshake messages.
CLIENT_HELLO, SERVER_HELLO, NEW_SESSION_TICKET, ENCRYPTED_EXTENSIONS, CERTIFICATE = 1, 2, 4, 8, 11


@dataclasses.dataclass
class Packet:
    seen: link.Seen
    kind: QuicPacketType
    destination: bytes
    source: bytes
    token: bytes
    size: int
    #: `None` when it could not be decrypted.
    frames: list[tuple[int, object]] | None = None
    key_phase: int = 0
    number: int = -1

    def frames_of(self, *kinds: int) -> list:
        return [value for kind, value in self.frames or [] if kind in kinds]


class Connection:
    """One handshake and what followed it, as seen between the peers."""

    def __init__(self, original_destination: bytes) -> None:
        self.packets: list[Packet] = []
        self.random: bytes | None = None
        self.initial = CryptoPair()
        self.initial.setup_initial(original_destination, is_client=False, version=QuicProtocolVersion.VERSION_1)
        self.cipher: int | None = None
        #: (kind, from_client): protection, and the largest packet number.
        self.contexts: dict[tuple, CryptoContext] = {}
        self.largest: dict[tuple, int] = collections.defaultdict(int)
        #: (kind, from_client): offset: bytes of CRYPTO frames.
        self.crypto: dict[tuple, dict[int, bytes]] = collections.defaultdict(dict)

    def handshake(self, kind: QuicPacketType, from_client: bool) -> list[tuple[int, bytes]]:
        """The TLS messages that travelled in packets of a kind, as far as they are without a gap."""
        data, pieces = bytearray(), self.crypto[kind, from_client]
        for offset in sorted(pieces):
            if offset > len(data):
                break
            piece = pieces[offset]
            data[offset:offset + len(piece)] = piece
        messages, position = [], 0
        while position + 4 <= len(data):
            end = position + 4 + int.from_bytes(data[position + 1:position + 4], "big")
            if end > len(data):
                break
            messages.append((data[position], bytes(data[position + 4:end])))
            position = end
        return messages

    def message(self, kind: QuicPacketType, from_client: bool, wanted: int) -> bytes | None:
        return next((body for number, body in self.handshake(kind, from_client) if number == wanted), None)

    @property
    def server_ids(self) -> set[bytes]:
        return {packet.source for packet in self.packets if not packet.seen.from_client and packet.kind == HANDSHAKE}


class Trace:
    """Everything that passed a link."""

    def __init__(self, seen: list[link.Seen], key_log: str) -> None:
        self.secrets = _secrets(key_log)
        self.retries: list[Packet] = []
        self.versions = 0
        self.connections: list[Connection] = []
        self._by_id: dict[bytes, Connection] = {}
        self._lengths: set[int] = set()
        #: The one that was chosen last.
        self._cipher = CipherSuite.AES_128_GCM_SHA256
        self.undecrypted = 0
        for datagram in seen:
            self._datagram(datagram)

    @property
    def packets(self) -> list[Packet]:
        return [packet for connection in self.connections for packet in connection.packets]

    @property
    def handshakes(self) -> list[Connection]:
        """Those that got an answer."""
        return [connection for connection in self.connections if connection.server_ids]

    def _datagram(self, seen: link.Seen) -> None:
        data, position = seen.data, 0
        while position < len(data):
            try:
                if data[position] & 0x80:
                    # The second bit may be 0 by agreement (RFC 9287), which aioquic knows nothing of.
                    first = bytes([data[position] | 0x40])
                    header = pull_quic_header(Buffer(data=first + data[position + 1:]))
                    size, destination, source = header.packet_length, header.destination_cid, header.source_cid
                    kind, token = header.packet_type, header.token
                else:
                    size, kind, token, source = len(data) - position, ONE_RTT, b"", b""
                    destination = self._known_prefix(data[position + 1:position + 21])
            except (ValueError, BufferReadError):
                return
            if size <= 0 or destination is None:
                return
            packet = Packet(seen, kind, destination, source, token, size)
            self._packet(packet, data[position:position + size])
            position += size

    def _known_prefix(self, data: bytes) -> bytes | None:
        for length in sorted(self._lengths, reverse=True):
            if data[:length] in self._by_id:
                return data[:length]
        return None

    def _remember(self, connection: Connection, name: bytes) -> None:
        self._by_id[name] = connection
        self._lengths.add(len(name))

    def _packet(self, packet: Packet, data: bytes) -> None:
        if packet.kind == RETRY:
            self.retries.append(packet)
            return
        if packet.kind == QuicPacketType.VERSION_NEGOTIATION:
            self.versions += 1
            return
        connection = self._by_id.get(packet.destination)
        # After a Retry too: from then on the packets are protected by the ID that the server chose.
        if packet.kind == INITIAL and packet.seen.from_client and connection is None:
            connection = Connection(packet.destination)
            self.connections.append(connection)
            self._remember(connection, packet.destination)
        if connection is None:
            return
        connection.packets.append(packet)
        if packet.source and packet.kind != ONE_RTT:
            self._remember(connection, packet.source)
        self._decrypt(connection, packet, data)

    def _decrypt(self, connection: Connection, packet: Packet, data: bytes) -> None:
        key = (packet.kind, packet.seen.from_client)
        if packet.kind == INITIAL:
            context = connection.initial.recv if packet.seen.from_client else connection.initial.send
        else:
            context = self._context(connection, key)
        if context is None:
            self.undecrypted += 1
            return
        # Where the packet number begins.
        if packet.kind == ONE_RTT:
            offset = 1 + len(packet.destination)
        else:
            buffer = Buffer(data=data)
            buffer.seek(7 + len(packet.destination) + len(packet.source))
            if packet.kind == INITIAL:
                buffer.pull_bytes(buffer.pull_uint_var())
            buffer.pull_uint_var()
            offset = buffer.tell()
        space = (packet.kind if packet.kind != ZERO_RTT else ONE_RTT, packet.seen.from_client)
        try:
            header, payload, number, is_updated = context.decrypt_packet(data, offset, connection.largest[space] + 1)
        except (CryptoError, ValueError):
            self.undecrypted += 1
            return
        if is_updated:
            apply_key_phase(context, next_key_phase(context), "trace")
        packet.number = number
        connection.largest[space] = max(number, connection.largest[space])
        packet.key_phase = header[0] >> 2 & 1 if packet.kind == ONE_RTT else 0
        packet.frames = list(_frames(payload))
        for offset, piece in packet.frames_of(CRYPTO):
            pieces = connection.crypto[key]
            if len(piece) > len(pieces.get(offset, b"")):
                pieces[offset] = piece
        for name in packet.frames_of(NEW_CONNECTION_ID):
            self._remember(connection, name)

    def _context(self, connection: Connection, key: tuple) -> CryptoContext | None:
        if key in connection.contexts:
            return connection.contexts[key]
        hello = connection.message(INITIAL, True, CLIENT_HELLO)
        if hello is None:
            return None
        kind, from_client = key
        if kind == ZERO_RTT:
            # That of the connection which the ticket is from.
            cipher = self._cipher
        else:
            answer = connection.message(INITIAL, False, SERVER_HELLO)
            if answer is None:
                return None
            cipher = self._cipher = CipherSuite(int.from_bytes(answer[35 + answer[34]:37 + answer[34]], "big"))
        label = {ZERO_RTT: "CLIENT_EARLY_TRAFFIC_SECRET"}.get(
            kind, ("CLIENT_" if from_client else "SERVER_")
            + ("HANDSHAKE_TRAFFIC_SECRET" if kind == HANDSHAKE else "TRAFFIC_SECRET_0"))
        secret = self.secrets.get((label, hello[2:34]))
        if secret is None:
            return None
        context = connection.contexts[key] = CryptoContext()
        context.setup(cipher_suite=cipher, secret=secret, version=QuicProtocolVersion.VERSION_1)
        return context


def _secrets(key_log: str) -> dict[tuple[str, bytes], bytes]:
    """Reads an NSS key log: label, client random, secret."""
    secrets = {}
    for line in key_log.splitlines():
        words = line.split()
        if len(words) == 3 and not line.startswith("#"):
            # aioquic and others prefix the labels of QUIC.
            secrets[words[0].removeprefix("QUIC_"), bytes.fromhex(words[1])] = bytes.fromhex(words[2])
    return secrets


def _frames(payload: bytes):
    """(type, what matters of it) for each frame."""
    buffer = Buffer(data=payload)
    while not buffer.eof():
        kind = buffer.pull_uint_var()
        value: object = None
        if kind == 0x00 or kind in (0x01, 0x1E):
            continue
        if kind in (0x02, ACK_ECN):
            buffer.pull_uint_var(), buffer.pull_uint_var()
            for _ in range(1 + 2 * buffer.pull_uint_var()):
                buffer.pull_uint_var()
            if kind == ACK_ECN:
                value = tuple(buffer.pull_uint_var() for _ in range(3))
        elif kind == CRYPTO:
            offset = buffer.pull_uint_var()
            value = (offset, buffer.pull_bytes(buffer.pull_uint_var()))
        elif kind == 0x07:
            buffer.pull_bytes(buffer.pull_uint_var())
        elif 0x08 <= kind <= 0x0F:
            stream = buffer.pull_uint_var()
            if kind & 4:
                buffer.pull_uint_var()
            size = buffer.pull_uint_var() if kind & 2 else buffer.capacity - buffer.tell()
            buffer.pull_bytes(size)
            value = (stream, size)
        elif kind == NEW_CONNECTION_ID:
            buffer.pull_uint_var(), buffer.pull_uint_var()
            value = buffer.pull_bytes(buffer.pull_uint8())
            buffer.pull_bytes(16)
        elif kind in (PATH_CHALLENGE, PATH_RESPONSE):
            value = buffer.pull_bytes(8)
        elif kind in (CONNECTION_CLOSE, APPLICATION_CLOSE):
            value = buffer.pull_uint_var()
            if kind == CONNECTION_CLOSE:
                buffer.pull_uint_var()
            buffer.pull_bytes(buffer.pull_uint_var())
        elif kind in (0x30, 0x31):
            buffer.pull_bytes(buffer.pull_uint_var() if kind == 0x31 else buffer.capacity - buffer.tell())
        else:
            count = {0x04: 3, 0x05: 2, 0x10: 1, 0x11: 2, 0x12: 1, 0x13: 1, 0x14: 1, 0x15: 2, 0x16: 1, 0x17: 1, 0x19: 1}
            for _ in range(count[kind]):
                buffer.pull_uint_var()
        yield kind, value


def cipher_suites(client_hello: bytes) -> list[int]:
    """What a ClientHello offers."""
    buffer = Buffer(data=client_hello)
    buffer.seek(34)
    buffer.pull_bytes(buffer.pull_uint8())
    return [buffer.pull_uint16() for _ in range(buffer.pull_uint16() // 2)]


def transport_parameters(hello: bytes, is_client: bool) -> dict[int, bytes]:
    """Those of a ClientHello or of EncryptedExtensions."""
    buffer = Buffer(data=hello)
    if is_client:
        buffer.seek(34)
        buffer.pull_bytes(buffer.pull_uint8())
        buffer.pull_bytes(buffer.pull_uint16())
        buffer.pull_bytes(buffer.pull_uint8())
    end = buffer.pull_uint16() + buffer.tell()
    while buffer.tell() < end:
        kind, body = buffer.pull_uint16(), buffer.pull_bytes(buffer.pull_uint16())
        if kind == 0x39:
            inner, found = Buffer(data=body), {}
            while not inner.eof():
                name = inner.pull_uint_var()
                found[name] = inner.pull_bytes(inner.pull_uint_var())
            return found
    return {}
