// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// A peer that acknowledges what it cannot have seen yet.
//
// ngtcp2 forgets that a packet of the peer came when the peer has acknowledged the acknowledgement. It does not expect to hear
// so in an earlier packet than that one: if it has forgotten the largest number in that way, and the ones just before it come
// then, the ACK frame that ngtcp2 0.12 writes begins with a gap of -1, which ends the process. Anybody can do that with Initial
// packets, without a handshake. Who writes its packets one after the other cannot know of an answer to a packet when it writes an
// earlier one, so such packets are dropped, as if they could not be decrypted. Later ngtcp2 has a case for it.

#include "TernNgtcp2Internal.h"

tern_quic_space_name tern_quic_space_of(const uint8_t *header) {
    // The form of the header, and the type of long ones (RFC 9000, section 17.2).
    if ((header[0] & 0x80) == 0 || (header[0] & 0x30) == 0x10) { return TERN_QUIC_SPACE_APPLICATION; }
    return (header[0] & 0x30) == 0x20 ? TERN_QUIC_SPACE_HANDSHAKE : TERN_QUIC_SPACE_INITIAL;
}

/// RFC 9000, section 17.1: the first packet number from `next` on that ends as the header does.
static uint64_t sealed_number(const uint8_t *header, size_t length, uint64_t next) {
    uint64_t window = UINT64_C(1) << (8 * ((header[0] & 3) + 1));
    return tern_quic_whole_number(next + window / 2 - 1, header, length);
}

void tern_quic_note_sealed(
    tern_quic *quic, const uint8_t *header, size_t header_length, const uint8_t *frames, size_t length) {
    tern_quic_space_name name = tern_quic_space_of(header);
    tern_quic_space *space = &quic->spaces[name];
    // Every packet is looked at, because the header has only the end of its number.
    space->next_sealed = sealed_number(header, header_length, space->next_sealed) + 1;
    uint64_t largest = tern_quic_largest_acknowledged(frames, length);
    if (largest != UINT64_MAX && largest >= space->acknowledged) {
        space->acknowledged = largest + 1;
        space->first_answer = space->next_sealed - 1;
    }
    if (name != TERN_QUIC_SPACE_APPLICATION) { return; }
    if (ngtcp2_conn_is_server(quic->conn)) { tern_quic_note_retiring(quic, frames, length); }
    if (quic->owed_responses > 0) { tern_quic_find_responses_written(quic, frames, length); }
}

bool tern_quic_foresees(
    const tern_quic *quic, tern_quic_space_name name, uint64_t number, const uint8_t *frames, size_t length) {
    const tern_quic_space *space = &quic->spaces[name];
    if (number >= space->acknowledged) { return false; }
    uint64_t largest = tern_quic_largest_acknowledged(frames, length);
    return largest != UINT64_MAX && largest >= space->first_answer;
}
