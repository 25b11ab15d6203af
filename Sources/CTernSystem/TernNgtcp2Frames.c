// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#include "TernNgtcp2Internal.h"

/// What is left of a packet's payload.
typedef struct reader {
    const uint8_t *next;
    const uint8_t *end;
    bool failed;
} reader;

static uint64_t read_varint(reader *reader) {
    if (reader->failed || reader->next == reader->end) {
        reader->failed = true;
        return 0;
    }
    size_t length = (size_t)1 << (*reader->next >> 6);
    if ((size_t)(reader->end - reader->next) < length) {
        reader->failed = true;
        return 0;
    }
    uint64_t value = *reader->next & 0x3f;
    for (size_t i = 1; i < length; i++) { value = value << 8 | reader->next[i]; }
    reader->next += length;
    return value;
}

static void skip(reader *reader, uint64_t count) {
    if (reader->failed || (uint64_t)(reader->end - reader->next) < count) {
        reader->failed = true;
        return;
    }
    reader->next += count;
}

static void skip_varints(reader *reader, unsigned count) {
    while (count-- > 0 && !reader->failed) { read_varint(reader); }
}

static void skip_ack(reader *reader, bool counts_ecn) {
    skip_varints(reader, 2);
    uint64_t ranges = read_varint(reader);
    skip_varints(reader, 1);
    while (ranges-- > 0 && !reader->failed) { skip_varints(reader, 2); }
    if (counts_ecn) { skip_varints(reader, 3); }
}

static void skip_stream(reader *reader, uint64_t type) {
    skip_varints(reader, 1 + ((type & 0x04) != 0));
    if ((type & 0x02) != 0) {
        skip(reader, read_varint(reader));
    } else {
        reader->next = reader->end;
    }
}

/// Steps over a frame of RFC 9000, section 19, or RFC 9221; an unknown one ends the search.
static void skip_frame(reader *reader, uint64_t type) {
    switch (type) {
    case 0x00:
        // The first packets of a client are mostly padding.
        while (reader->next < reader->end && *reader->next == 0) { reader->next++; }
        return;
    case 0x01: case 0x1e: return;
    case 0x02: case 0x03: skip_ack(reader, type == 0x03); return;
    case 0x04: skip_varints(reader, 3); return;
    case 0x06: skip_varints(reader, 1); skip(reader, read_varint(reader)); return;
    case 0x07: case 0x31: skip(reader, read_varint(reader)); return;
    case 0x08: case 0x09: case 0x0a: case 0x0b: case 0x0c: case 0x0d: case 0x0e: case 0x0f:
        skip_stream(reader, type);
        return;
    case 0x10: case 0x12: case 0x13: case 0x14: case 0x16: case 0x17: case 0x19: skip_varints(reader, 1); return;
    case 0x05: case 0x11: case 0x15: skip_varints(reader, 2); return;
    case 0x18:
        skip_varints(reader, 2);
        skip(reader, read_varint(reader));
        skip(reader, 16);
        return;
    case 0x1a: case 0x1b: skip(reader, 8); return;
    // ngtcp2 goes on with the frames behind it.
    case 0x1c: case 0x1d:
        skip_varints(reader, type == 0x1c ? 2 : 1);
        skip(reader, read_varint(reader));
        return;
    default: reader->failed = true;
    }
}

_Thread_local size_t tern_quic_stop_count;
static _Thread_local tern_quic_stop stops[TERN_QUIC_PENDING_STOPS];

void tern_quic_tell_stops(tern_quic *quic) {
    for (size_t i = 0; i < tern_quic_stop_count; i++) {
        quic->events->stream_stopped(quic->context, stops[i].stream, stops[i].code);
    }
    tern_quic_stop_count = 0;
}

/// A PING, so that the packet is acknowledged as before, and padding.
static void hide(uint8_t *start, const reader *reader) {
    memset(start, 0, (size_t)(reader->next - start));
    *start = 0x01;
}

/// Returns false if the packet must not be taken.
static bool review_connection_id(tern_quic *quic, uint8_t *start, reader *reader) {
    struct reader fields = *reader;
    uint64_t number = read_varint(&fields);
    uint64_t retire_prior_to = read_varint(&fields);
    skip_frame(reader, 0x18);
    if (reader->failed) { return true; }
    if (quic->refuses_connection_ids) { return false; }
    if (!tern_quic_takes_cid(&quic->peer_cids, number, retire_prior_to)) { hide(start, reader); }
    return true;
}

static bool may_be_taken(tern_quic *quic, uint8_t *frames, size_t length) {
    reader reader = {.next = frames, .end = frames + length};
    while (!reader.failed && reader.next < reader.end) {
        uint8_t *start = frames + (reader.next - frames);
        uint64_t type = read_varint(&reader);
        if (type != 0x18) {
            skip_frame(&reader, type);
        } else if (!review_connection_id(quic, start, &reader)) {
            return false;
        }
    }
    // ngtcp2 would retire what the frames want, and then one or two more because of the packet's address.
    return !tern_quic_is_moving(quic) || !tern_quic_forbids_moves(quic);
}

static void note_stop(tern_quic *quic, reader fields) {
    uint64_t stream = read_varint(&fields);
    uint64_t code = read_varint(&fields);
    if (fields.failed || TERN_NGTCP2_TELLS_STOP_SENDING) { return; }
    if (tern_quic_stop_count == TERN_QUIC_PENDING_STOPS) { tern_quic_tell_stops(quic); }
    stops[tern_quic_stop_count++] = (tern_quic_stop){.stream = (int64_t)stream, .code = code};
}

bool tern_quic_review_frames(tern_quic *quic, uint8_t *frames, size_t length) {
    tern_quic_peer_cids before = quic->peer_cids;
    if (!may_be_taken(quic, frames, length)) {
        quic->peer_cids = before;
        return false;
    }
    reader reader = {.next = frames, .end = frames + length};
    while (!reader.failed && reader.next < reader.end) {
        uint64_t type = read_varint(&reader);
        struct reader fields = reader;
        skip_frame(&reader, type);
        if (reader.failed) { break; }
        if (type == 0x05) { note_stop(quic, fields); }
        if (type == 0x1a) { tern_quic_note_challenge(quic); }
    }
    return true;
}

void tern_quic_find_responses(tern_quic *quic, uint8_t *frames, size_t length) {
    reader reader = {.next = frames, .end = frames + length};
    while (!reader.failed && reader.next < reader.end) {
        uint8_t *start = frames + (reader.next - frames);
        uint64_t type = read_varint(&reader);
        const uint8_t *data = reader.next;
        skip_frame(&reader, type);
        if (reader.failed || type != 0x1b || !tern_quic_take_response(quic, data)) { continue; }
        hide(start, &reader);
    }
}

void tern_quic_find_retirements(tern_quic *quic, const uint8_t *frames, size_t length) {
    reader reader = {.next = frames, .end = frames + length};
    while (!reader.failed && reader.next < reader.end) {
        uint64_t type = read_varint(&reader);
        if (type == 0x19) {
            uint64_t number = read_varint(&reader);
            if (!reader.failed) { tern_quic_note_retirement(quic, number); }
        } else {
            skip_frame(&reader, type);
        }
    }
}

void tern_quic_find_responses_written(tern_quic *quic, const uint8_t *frames, size_t length) {
    reader reader = {.next = frames, .end = frames + length};
    while (!reader.failed && reader.next < reader.end) {
        uint64_t type = read_varint(&reader);
        if (type == 0x1b) { tern_quic_note_response(quic); }
        skip_frame(&reader, type);
    }
}

uint64_t tern_quic_largest_acknowledged(const uint8_t *frames, size_t length) {
    reader reader = {.next = frames, .end = frames + length};
    uint64_t largest = UINT64_MAX;
    while (!reader.failed && reader.next < reader.end) {
        uint64_t type = read_varint(&reader);
        if (type == 0x02 || type == 0x03) {
            struct reader fields = reader;
            uint64_t found = read_varint(&fields);
            if (!fields.failed && (largest == UINT64_MAX || found > largest)) { largest = found; }
        }
        skip_frame(&reader, type);
    }
    return largest;
}

#define RANGES_READ 33

/// Reads the ranges of an ACK frame (RFC 9000, section 19.3); `fields` is behind its type. Returns how many.
static size_t read_ranges(reader fields, tern_quic_range *ranges) {
    uint64_t last = read_varint(&fields);
    skip_varints(&fields, 1);
    uint64_t more = read_varint(&fields);
    size_t count = 0;
    while (count < RANGES_READ) {
        uint64_t length = read_varint(&fields);
        if (fields.failed || length > last) { break; }
        ranges[count++] = (tern_quic_range){.first = last - length, .last = last};
        if (more-- == 0) { break; }
        uint64_t gap = read_varint(&fields);
        if (fields.failed || last - length < gap + 2) { break; }
        last -= length + gap + 2;
    }
    return count;
}

void tern_quic_find_acknowledgements(tern_quic *quic, const uint8_t *frames, size_t length) {
    reader reader = {.next = frames, .end = frames + length};
    bool is_first = true;
    while (!reader.failed && reader.next < reader.end) {
        uint64_t type = read_varint(&reader);
        if (type == 0x02 || type == 0x03) {
            tern_quic_range ranges[RANGES_READ];
            size_t count = read_ranges(reader, ranges);
            if (count > 0) { tern_quic_note_acknowledgement(quic, ranges, count, is_first); }
            is_first = false;
        }
        skip_frame(&reader, type);
    }
}

#if !TERN_NGTCP2_1

/// A frame type of nobody: ngtcp2 refuses the packet there (RFC 9000, section 12.4).
#define NO_FRAME 0x21
/// More are opened by reading the packet once more.
#define OPENED_AT_ONCE 128

static size_t write_varint(uint8_t *to, uint64_t value) {
    size_t length = value < 64 ? 1 : value < 16384 ? 2 : value < 1073741824 ? 4 : 8;
    for (size_t i = 0; i < length; i++) { to[i] = (uint8_t)(value >> (8 * (length - 1 - i))); }
    to[0] |= (uint8_t)(length == 1 ? 0x00 : length == 2 ? 0x40 : length == 4 ? 0x80 : 0xc0);
    return length;
}

bool tern_quic_open_streams(tern_quic *quic, uint8_t *frames, size_t length) {
    reader reader = {.next = frames, .end = frames + length};
    uint64_t unknown[OPENED_AT_ONCE];
    size_t count = 0;
    size_t resets = 0;
    while (!reader.failed && reader.next < reader.end && count < OPENED_AT_ONCE) {
        uint64_t type = read_varint(&reader);
        if (type != 0x04) {
            skip_frame(&reader, type);
            continue;
        }
        uint64_t stream = read_varint(&reader);
        skip_varints(&reader, 2);
        // Those that the read before opened, or ngtcp2 did not want to.
        if (resets++ < quic->resets_read) { continue; }
        // Bidirectional streams of the peer (RFC 9000, section 2.1).
        if (reader.failed || (stream & 3) != (ngtcp2_conn_is_server(quic->conn) ? 0 : 1)) { continue; }
        if (ngtcp2_conn_set_stream_user_data(quic->conn, (int64_t)stream, NULL) != 0) { unknown[count++] = stream; }
    }
    quic->resets_read = resets;
    if (count == 0) { return false; }
    // It fits: a RESET_STREAM frame has two numbers where this has one byte.
    uint8_t *next = frames;
    for (size_t i = 0; i < count; i++) {
        *next++ = 0x0a;
        next += write_varint(next, unknown[i]);
        *next++ = 0;
    }
    *next = NO_FRAME;
    return true;
}

#endif
