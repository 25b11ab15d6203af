// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// The connection IDs that the peer gives (RFC 9000, sections 5.1 and 19.15).
//
// Before 1.10 ngtcp2 aborts the process when a NEW_CONNECTION_ID frame comes again whose connection ID was retired because of
// another frame's Retire Prior To, and the retirement is not acknowledged yet. So it does not get to see such frames.

#include "TernNgtcp2Internal.h"

void tern_quic_begin_cids(tern_quic_peer_cids *cids) {
    // Number 0 came with the handshake.
    cids->seen = 1;
    cids->used = 1;
    cids->given = 1;
}

static void slide(tern_quic_peer_cids *cids, uint64_t number) {
    if (number <= cids->top) { return; }
    uint64_t shift = number - cids->top;
    uint64_t leaving = shift >= 64 ? UINT64_MAX : ~(UINT64_MAX >> shift);
    if ((cids->seen & ~cids->used & leaving) != 0) { cids->lost_sight = true; }
    cids->seen = shift >= 64 ? 0 : cids->seen << shift;
    cids->used = shift >= 64 ? 0 : cids->used << shift;
    cids->retired = shift >= 64 ? 0 : cids->retired << shift;
    cids->top = number;
}

/// - Returns: 0 if it is too long ago to be known.
static uint64_t bit(const tern_quic_peer_cids *cids, uint64_t number) {
    uint64_t age = cids->top - number;
    return age >= 64 ? 0 : UINT64_C(1) << age;
}

bool tern_quic_takes_cid(tern_quic_peer_cids *cids, uint64_t number, uint64_t retire_prior_to) {
    if (retire_prior_to > number) { return true; }
    slide(cids, number);
    uint64_t mine = bit(cids, number);
    if (mine == 0) { return false; }
    if (retire_prior_to > cids->retire_prior_to) { cids->retire_prior_to = retire_prior_to; }
    bool seen = (cids->seen & mine) != 0;
    if (!seen) { cids->given++; }
    cids->seen |= mine;
    return number >= cids->retire_prior_to || !seen;
}

void tern_quic_note_given_cid(tern_quic_peer_cids *cids, uint64_t number) {
    slide(cids, number);
    if ((cids->seen & bit(cids, number)) == 0) { cids->given++; }
    cids->seen |= bit(cids, number);
}

void tern_quic_note_used_cid(tern_quic_peer_cids *cids, uint64_t number) {
    slide(cids, number);
    uint64_t mine = bit(cids, number);
    cids->seen |= mine;
    cids->used |= mine;
}

void tern_quic_note_retired(tern_quic_peer_cids *cids, uint64_t number) {
    if (number > cids->top) { return; }
    // What is out of sight may have been noted before.
    uint64_t mine = bit(cids, number);
    if (mine == 0 || (cids->retired & mine) != 0) { return; }
    cids->retired |= mine;
    cids->given--;
}

static uint64_t spare(const tern_quic_peer_cids *cids) {
    uint64_t oldest = cids->top - cids->retire_prior_to;
    uint64_t valid = oldest >= 63 ? UINT64_MAX : (UINT64_C(1) << (oldest + 1)) - 1;
    return cids->seen & ~cids->used & valid;
}

bool tern_quic_has_spare_cid(const tern_quic_peer_cids *cids) { return cids->lost_sight || spare(cids) != 0; }

uint64_t tern_quic_spare_cids(const tern_quic_peer_cids *cids) { return (uint64_t)__builtin_popcountll(spare(cids)); }
