// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// A client reads nothing of 1-RTT before it has answered the handshake.
//
// A server has its 1-RTT keys when it writes its first flight, so a client may be handed 1-RTT packets in the very read that
// completes its handshake. ngtcp2 (0.12 to 1.25 at least) acts on them at once, though it leaves the handshake only when it
// writes next, and takes on then what the transport parameters say. A hostile server reaches what was never meant to be
// reached so: HANDSHAKE_DONE frees the keys that the write is about to use, and lets a key update in that asserts it to be over;
// NEW_CONNECTION_ID retires the connection ID whose reset token is still to come, or brings another one with the number of
// the preferred address. All of these end the process.
//
// So packets with a short header wait here, from the client's first packet until ngtcp2 has left the handshake, which it says by
// taking up the server's connection ID. What comes too early is mostly the server's answer to 0-RTT, and waits for less than
// a turn of the event loop. Delete this when no ngtcp2 is supported that reads 1-RTT packets in its state WAIT_HANDSHAKE.

#include "TernNgtcp2Internal.h"

/// The answer to 0-RTT, of a server whose congestion window is the initial one: ten packets, of 16 KiB inside a host. What is
/// more is lost, and comes again.
#define MOST_HELD ((size_t)192 << 10)

struct tern_quic_held {
    tern_quic_held *next;
    size_t length;
    uint8_t ecn;
    uint8_t bytes[];
};

/// Where the first packet with a short header begins; `length` if there is none.
static size_t short_header(const uint8_t *bytes, size_t length) {
    size_t offset = 0;
    while (offset < length && (bytes[offset] & 0x80) != 0) {
        ngtcp2_pkt_hd header;
        ngtcp2_ssize read = ngtcp2_pkt_decode_hd_long(&header, bytes + offset, length - offset);
        // What follows a packet that cannot be understood is not understood by ngtcp2 either; nor does anything follow a packet
        // without a length (RFC 9000, section 17.2).
        if (read < 0 || header.type == NGTCP2_PKT_RETRY || header.type == NGTCP2_PKT_VERSION_NEGOTIATION) { return length; }
        size_t left = length - offset - (size_t)read;
        if (header.len > left) { return length; }
        offset += (size_t)read + header.len;
    }
    return offset;
}

static bool is_ours(const tern_quic *quic, const uint8_t *packet, size_t length) {
    return length > quic->source.length && memcmp(packet + 1, quic->source.bytes, quic->source.length) == 0;
}

static void hold(tern_quic *quic, const uint8_t *bytes, size_t length, uint8_t ecn) {
    size_t size = sizeof(tern_quic_held) + length;
    if (quic->held_size + size > MOST_HELD) { return; }
    tern_quic_held *held = tern_quic_allocate(size);
    if (held == NULL) { return; }
    held->length = length;
    held->ecn = ecn;
    memcpy(held->bytes, bytes, length);
    tern_quic_held **last = &quic->held;
    while (*last != NULL) { last = &(*last)->next; }
    *last = held;
    quic->held_size += size;
}

size_t tern_quic_hold_back(tern_quic *quic, const uint8_t *bytes, size_t length, uint8_t ecn) {
    if (quic->has_answered || ngtcp2_conn_is_server(quic->conn)) { return length; }
    size_t early = short_header(bytes, length);
    // A short packet ends its datagram.
    if (early < length && is_ours(quic, bytes + early, length - early)) { hold(quic, bytes + early, length - early, ecn); }
    return early;
}

bool tern_quic_must_wait(const tern_quic *quic, const uint8_t *header, size_t length) {
    return !quic->has_answered && length > 0 && (header[0] & 0x80) == 0 && !ngtcp2_conn_is_server(quic->conn);
}

bool tern_quic_has_held(const tern_quic *quic) { return quic->has_answered && quic->held != NULL; }

tern_quic_result tern_quic_read_held(tern_quic *quic, uint64_t now) {
    tern_quic_held *held = quic->held;
    if (held == NULL || !quic->has_answered) { return TERN_QUIC_OK; }
    quic->held = held->next;
    tern_quic_result result = tern_quic_read(quic, held->ecn, held->bytes, held->length, now);
    tern_quic_deallocate(held);
    return result;
}

void tern_quic_drop_held(tern_quic *quic) {
    while (quic->held != NULL) {
        tern_quic_held *held = quic->held;
        quic->held = held->next;
        tern_quic_deallocate(held);
    }
}
