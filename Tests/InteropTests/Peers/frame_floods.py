# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""Floods of frames on a QUIC connection whose handshake is done: what they make the server keep is bounded, and other
clients are served. frame_floods.py --help."""

from __future__ import annotations

import asyncio
import os
import sys

import hostile
from client import Target
from hostile import attack, friend, good_client
from hostile_carriers import inject
from message_client import arguments, target_of
from wire import encode_varint

hostile.ATTACKS.clear()

#: Bytes of frames in a packet.
ROOM = 1100


async def flood(target: Target, frames, packets: int) -> None:
    """Sends packets full of frames, until the server closes; `frames(n)` is the n-th frame."""
    client = await friend(target, "quic")
    connection, number = client.carrier.connection, 0
    for count in range(packets):
        if client.ending.done():
            break
        payload = frames(number)
        number += 1
        while True:
            frame = frames(number)
            if len(payload) + len(frame) > ROOM:
                break
            payload += frame
            number += 1
        inject(connection, payload)
        client.carrier.protocol.transmit()
        # Its acknowledgements must be read, or aioquic stops sending.
        await asyncio.sleep(0)
        if count % 16 == 0:
            await asyncio.sleep(0.001)
        if count % 500 == 499:
            await good_client(target)
    assert number > 1000, f"only {number} frames were tried"
    client.carrier.abort()


@attack("quic", mebibytes=16)
async def pings(target: Target) -> None:
    await flood(target, lambda number: b"\x01", 1000)


@attack("quic", mebibytes=16)
async def path_challenges(target: Target) -> None:
    await flood(target, lambda number: b"\x1a" + number.to_bytes(8, "big"), 1000)


@attack("quic", mebibytes=16)
async def connection_ids(target: Target) -> None:
    """Each retires all before it, so the server owes a RETIRE_CONNECTION_ID for each."""

    def frame(number: int) -> bytes:
        sequence = number + 8
        return (b"\x18" + encode_varint(sequence) + encode_varint(sequence) + b"\x08" + sequence.to_bytes(8, "big")
                + os.urandom(16))

    await flood(target, frame, 1000)


@attack("quic", mebibytes=32)
async def stream_bytes_with_gaps(target: Target) -> None:
    """One byte in every second place of a stream, which nobody can read because the first is missing."""
    await flood(target, lambda number: b"\x0e\x08" + encode_varint(2 * number + 1) + b"\x01x", 1000)


@attack("quic", mebibytes=32)
async def stream_bytes_far_apart(target: Target) -> None:
    """One byte in each KiB that the window allows."""
    await flood(target, lambda number: b"\x0e\x08" + encode_varint(1024 * (number % 250) + 1) + b"\x01x", 200)


@attack("quic", mebibytes=16)
async def crypto_bytes_with_gaps(target: Target) -> None:
    await flood(target, lambda number: b"\x06" + encode_varint(2 * number + 1000) + b"\x01x", 1000)


@attack("quic", mebibytes=16)
async def blocked_notices(target: Target) -> None:
    kinds = [b"\x14" + encode_varint(1), b"\x16" + encode_varint(1), b"\x17" + encode_varint(1)]
    await flood(target, lambda number: kinds[number % 3], 1000)


@attack("quic", mebibytes=16)
async def empty_stream_frames(target: Target) -> None:
    """No byte and no end: they say nothing, again and again."""
    await flood(target, lambda number: b"\x0a\x08\x00", 1000)


@attack("quic", mebibytes=16)
async def acknowledgements_of_little(target: Target) -> None:
    """ACK frames with a range for each packet number that the server used, as costly to read as can be."""
    await flood(target, lambda number: b"\x02\x00\x00\x00\x00", 1000)


def main() -> None:
    options = arguments(list(hostile.ATTACKS), __doc__)
    sys.exit(1 if asyncio.run(hostile.run(options.names or list(hostile.ATTACKS), target_of(options))) else 0)


if __name__ == "__main__":
    main()
