# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""The bytes of Tern messages and requests, written from Docs/PROTOCOL.md alone."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import struct
import time
from dataclasses import dataclass, field

VERSION = 1
FIRST_GROUP = 1 << 36

# Kinds of streams (section 3).
CONTROL, CHANNEL_SEND, CHANNEL_PUSH, REQUESTS = 0, 1, 2, 3

# Types of messages (section 4.1).
ACKNOWLEDGEMENT, TEXT = 1, 32
AUTHENTICATION, PING, PONG, ECHO, ERROR, GO_OFFLINE = 96, 97, 98, 99, 100, 101
INBOX, TYPING, PRESENCE, RECEIPT = 103, 104, 105, 106

# Flags (section 4.2).
ENCRYPTED, DUPLICATE, RETRYABLE, PULL = 1, 2, 4, 8

# Extensions (section 4.3).
CLIENT_MESSAGE_ID, EPOCH, PREVIOUS_SEQUENCE, SENDER_DEVICE, DURABILITY = 1, 2, 3, 4, 5
ERROR_CODE, RETRY_AFTER, SUPPORTED_VERSIONS, RECEIPT_KIND, CLIENT_PROGRAM = 6, 7, 8, 9, 10
DELIVERED, READ = 1, 2
CRITICAL = 0x80

# Resources (section 8).
NO_OPERATION, CANCEL, RESOLVE_USER, USER_NAMES = 0, 1, 16, 17
CREATE_GROUP, FIND_GROUP, JOIN_GROUP, LEAVE_GROUP, LIST_MEMBERS = 32, 33, 34, 35, 36
INVITE_MEMBER = 37
SYNC_INDEX, CHANNEL_STATE, HISTORY, OFFSETS = 48, 49, 50, 51

# Error codes (section 9.1).
MALFORMED, UNSUPPORTED_VERSION, UNKNOWN_CRITICAL_EXTENSION, PAYLOAD_TOO_LARGE = 0x10, 0x11, 0x12, 0x13
UNSUPPORTED_TYPE, UNSUPPORTED_RESOURCE, INVALID_NAME, WRONG_CHANNEL = 0x14, 0x15, 0x16, 0x17
UNAUTHENTICATED, TOKEN_EXPIRED, WRONG_AUDIENCE, TOKEN_NOT_YET_VALID = 0x20, 0x21, 0x22, 0x23
NO_SUCH_USER, NO_SUCH_CHANNEL, NOT_A_MEMBER, ALREADY_EXISTS, CONFLICT = 0x30, 0x31, 0x32, 0x33, 0x34
NOT_INVITED = 0x37

# Codes of connections and streams (sections 9.2 and 9.3).
PROTOCOL_VIOLATION, AUTHENTICATION_FAILED, AUTHENTICATION_TIMEOUT, CLOSE_UNSUPPORTED_VERSION = 0x101, 0x102, 0x103, 0x104
STREAM_CANCELLED, UNKNOWN_STREAM_KIND, STREAM_MALFORMED, STREAM_UNSUPPORTED_VERSION = 0x200, 0x201, 0x202, 0x203
STREAM_FRAME_TOO_LARGE = 0x205


class WireError(Exception):
    """Bytes that are not what the page says."""


def encode_varint(value: int) -> bytes:
    for size, prefix, bits in ((1, 0, 6), (2, 1, 14), (4, 2, 30), (8, 3, 62)):
        if value < 1 << bits:
            return (prefix << (size * 8 - 2) | value).to_bytes(size, "big")
    raise ValueError(value)


def decode_varint(data: bytes, offset: int = 0) -> tuple[int, int] | None:
    """The value and where it ends; None when bytes are missing."""
    if offset >= len(data):
        return None
    size = 1 << (data[offset] >> 6)
    if offset + size > len(data):
        return None
    return int.from_bytes(data[offset : offset + size], "big") & ((1 << (size * 8 - 2)) - 1), offset + size


@dataclass
class Message:
    type: int
    sender: int = 0
    receiver: int = 0
    sequence: int = 0
    payload: bytes = b""
    flags: int = 0
    timestamp: int = 0
    node: int = 0
    version: int = VERSION
    #: Value by type; encoded as critical when the type is in `critical`.
    extensions: dict[int, bytes] = field(default_factory=dict)
    critical: frozenset[int] = frozenset({CLIENT_MESSAGE_ID, RECEIPT_KIND})

    def encode(self) -> bytes:
        area = b""
        for kind, value in self.extensions.items():
            area += bytes([kind | (CRITICAL if kind in self.critical else 0), len(value)]) + value
        area += bytes(-len(area) % 4)
        return self.header(len(area), len(self.payload)) + area + self.payload

    def header(self, extension_bytes: int, payload_bytes: int) -> bytes:
        return struct.pack(
            ">QQQQ",
            self.version << 58 | self.flags << 46 | self.sender,
            self.node << 46 | self.receiver,
            self.type << 52 | (extension_bytes // 4) << 46 | self.timestamp,
            payload_bytes << 44 | self.sequence,
        )

    def number(self, extension: int) -> int | None:
        value = self.extensions.get(extension)
        return None if value is None else int.from_bytes(value, "big")

    @property
    def error_code(self) -> int | None:
        return self.number(ERROR_CODE) if self.type == ERROR else None


def decode_message(data: bytes, offset: int = 0) -> tuple[Message, int] | None:
    """The message at the offset and where it ends; None when bytes are missing."""
    if len(data) - offset < 32:
        return None
    words = struct.unpack_from(">QQQQ", data, offset)
    extension_end = offset + 32 + (words[2] >> 46 & 0x3F) * 4
    end = extension_end + (words[3] >> 44)
    if len(data) < end:
        return None
    message = Message(
        type=words[2] >> 52, sender=words[0] & (1 << 46) - 1, receiver=words[1] & (1 << 46) - 1,
        sequence=words[3] & (1 << 44) - 1, payload=bytes(data[extension_end:end]), flags=words[0] >> 46 & 0xFFF,
        timestamp=words[2] & (1 << 46) - 1, node=words[1] >> 46, version=words[0] >> 58,
        extensions=decode_extensions(bytes(data[offset + 32 : extension_end])))
    if message.version != VERSION:
        raise WireError(f"version {message.version}")
    return message, end


def decode_extensions(area: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    position = 0
    while position < len(area):
        kind = area[position] & 0x7F
        if kind == 0:
            if len(area) - position > 3 or any(area[position:]):
                raise WireError("padding of an extension area")
            break
        if position + 2 > len(area) or position + 2 + area[position + 1] > len(area) or kind in found:
            raise WireError("extensions")
        critical = area[position] & CRITICAL
        if critical and kind > 11:
            raise WireError(f"critical extension {kind}")
        found[kind] = area[position + 2 : position + 2 + area[position + 1]]
        position += 2 + area[position + 1]
    return found


@dataclass
class Frame:
    identifier: int
    resource: int
    status: int = 0
    body: bytes = b""

    def encode(self) -> bytes:
        return struct.pack(">IQHH", len(self.body), self.identifier, self.resource, self.status) + self.body


def decode_frame(data: bytes, offset: int = 0) -> tuple[Frame, int] | None:
    if len(data) - offset < 16:
        return None
    length, identifier, resource, status = struct.unpack_from(">IQHH", data, offset)
    end = offset + 16 + length
    if length > 1 << 21:
        raise WireError("a response over 2^21")
    return None if len(data) < end else (Frame(identifier, resource, status, bytes(data[offset + 16 : end])), end)


def encode_name(name: str) -> bytes:
    return bytes([len(name.encode())]) + name.encode()


class Reader:
    """Reads the fields of a body from its start; what follows them is ignored, as the page asks."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, count: int) -> bytes:
        if self.position + count > len(self.data):
            raise WireError("a body that is too short")
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def name(self) -> str:
        return self.take(self.number(1)).decode()

    def entries(self) -> list[Reader]:
        return [Reader(self.take(self.number(2))) for _ in range(self.number(2))]

    def channel(self) -> tuple[int, int]:
        return self.number(8), self.number(8)


@dataclass
class ChannelState:
    channel: tuple[int, int]
    epoch: int
    head: int
    first: int
    delivered: int
    read: int
    unread: int
    timestamp: int
    name: str

    @classmethod
    def decode(cls, body: Reader) -> ChannelState:
        channel = body.channel()
        numbers = [body.number(8) for _ in range(5)]
        return cls(channel, *numbers, body.number(4), body.number(8), body.name())


def channel_of(one: int, other: int) -> tuple[int, int]:
    """The channel between a user and another party."""
    return (other, other) if other >= FIRST_GROUP else (min(one, other), max(one, other))


def encode_channel(channel: tuple[int, int]) -> bytes:
    return struct.pack(">QQ", *channel)


def json_web_token(secret: bytes, algorithm: str = "HS256", **claims: object) -> str:
    def part(value: bytes) -> bytes:
        return base64.urlsafe_b64encode(value).rstrip(b"=")

    signed = part(json.dumps({"alg": algorithm, "typ": "JWT"}).encode()) + b"." + part(json.dumps(claims).encode())
    signature = b"" if algorithm == "none" else hmac.new(secret, signed, hashlib.sha256).digest()
    return (signed + b"." + part(signature)).decode()


def in_seconds(seconds: float) -> int:
    return int(time.time() + seconds)
