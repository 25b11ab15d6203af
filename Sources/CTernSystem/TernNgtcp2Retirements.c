// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// A server's client that moves on and on, and never acknowledges that its old connection IDs are retired.
//
// ngtcp2 (0.12 to 1.25 at least) has room for 16 retirements that the peer has not acknowledged. When there is one more it closes
// the connection, but if it is caused by a packet from a new address, it aborts the process. It does not tell how many there
// are, so they are counted here, from above: as many connection IDs as the client has given, but for those that are unused or
// in use, and for those whose RETIRE_CONNECTION_ID was certainly acknowledged. While too many may be left, packets from other
// addresses are taken as if they came from the current one.
//
// An acknowledgement is certain if ngtcp2 takes the packet that it is in (TernNgtcp2Taken.c), it is the first one there (later
// ngtcp2 looks at no other), and ngtcp2 had not forgotten the packet that it is for. It remembers every packet until a later
// one was acknowledged. After that the packet may be lost, but of the lost ones it keeps the latest three at least, and each
// for a probe timeout (ngtcp2_rtb_remove_excessive_lost_pkt and ngtcp2_rtb_remove_expired_lost_pkt, 0.12 to 1.25).
// Delete this when no ngtcp2 is supported that aborts.

#include "TernNgtcp2Internal.h"

/// ngtcp2 has room for 16, and a packet from a new address retires one or two.
#define MOST_RETIREMENTS 13
/// Loops hand packets over, so that acknowledgements may overtake each other by so much.
#define REORDERING 3
/// ngtcp2 looks at 32 more ranges than the first.
#define RANGES 32

bool tern_quic_forbids_moves(const tern_quic *quic) {
    return quic->peer_cids.given > 1 + MOST_RETIREMENTS + tern_quic_spare_cids(&quic->peer_cids);
}

void tern_quic_note_retiring(tern_quic *quic, const uint8_t *frames, size_t length) {
    if (quic->places != NULL || quic->peer_cids.retire_prior_to > 0) { tern_quic_find_retirements(quic, frames, length); }
}

void tern_quic_note_retirement(tern_quic *quic, uint64_t number) {
    size_t i = 0;
    while (i < quic->retirement_count && quic->retirements[i].number != number) { i++; }
    // One that finds no room counts for ever.
    if (i == TERN_QUIC_RETIREMENTS) { return; }
    if (i == quic->retirement_count) { quic->retirement_count++; }
    quic->retirements[i] = (tern_quic_retirement){
        .number = number,
        .packet = quic->spaces[TERN_QUIC_SPACE_APPLICATION].next_sealed - 1,
        .sent = quic->now,
        .least_timeout = UINT64_MAX,
    };
    tern_quic_note_timeouts(quic);
}

void tern_quic_note_timeouts(tern_quic *quic) {
    if (quic->retirement_count == 0) { return; }
    uint64_t timeout = ngtcp2_conn_get_pto(quic->conn);
    for (size_t i = 0; i < quic->retirement_count; i++) {
        if (timeout < quic->retirements[i].least_timeout) { quic->retirements[i].least_timeout = timeout; }
    }
}

/// Whether ngtcp2 certainly remembers the packet, when the largest one that was acknowledged is `largest`.
static bool is_remembered(const tern_quic *quic, const tern_quic_retirement *retirement, uint64_t largest) {
    if (retirement->packet > largest) { return true; }
    return retirement->packet + REORDERING > largest && quic->now - retirement->sent < retirement->least_timeout;
}

void tern_quic_note_opened(tern_quic *quic, const uint8_t *frames, size_t length) {
    if (quic->retirement_count == 0) { return; }
    tern_quic_note_timeouts(quic);
    tern_quic_find_acknowledgements(quic, frames, length);
}

void tern_quic_note_acknowledgement(tern_quic *quic, const tern_quic_range *ranges, size_t count, bool is_first) {
    uint64_t before = quic->largest_acknowledged;
    if (ranges[0].last > before) { quic->largest_acknowledged = ranges[0].last; }
    if (!is_first || ranges[0].last >= quic->spaces[TERN_QUIC_SPACE_APPLICATION].next_sealed) { return; }
    for (size_t i = 0; i < quic->retirement_count;) {
        tern_quic_retirement *retirement = &quic->retirements[i];
        bool is_acknowledged = false;
        for (size_t r = 0; r < count && r <= RANGES && is_remembered(quic, retirement, before); r++) {
            is_acknowledged |= retirement->packet >= ranges[r].first && retirement->packet <= ranges[r].last;
        }
        if (!is_acknowledged) {
            i++;
            continue;
        }
        tern_quic_note_retired(&quic->peer_cids, retirement->number);
        *retirement = quic->retirements[--quic->retirement_count];
    }
}
