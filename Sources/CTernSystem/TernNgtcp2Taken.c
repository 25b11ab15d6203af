// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// Which packets ngtcp2 takes.
//
// The bridge reads the frames of each packet of the application's number space (0-RTT and 1-RTT share it) before ngtcp2 does,
// and remembers what it read. If ngtcp2 then drops the packet, the two see different connections, and a peer with keys decides
// how: it may seal what it likes, under numbers that it has used. So all that ngtcp2 (0.12 to 1.25) may drop after it was
// decrypted is dropped here first, as if it could not be decrypted: numbers that came before, key phases that are not the one
// of their key, and connection IDs that are not ours. What is left ngtcp2 takes, or it closes the connection; Docs/NGTCP2.md
// lists each place. Nothing is remembered of a packet before that is decided.

#include "TernNgtcp2Internal.h"

/// A number that came longer ago than so many counts as used (RFC 9000, section 12.3). ngtcp2 has a list of gaps, and forgets
/// the first when there are more than 256; between that one and the largest number there are 510 more by then.
#define REMEMBERED 500
/// ngtcp2 asserts that packet numbers stay away from 2^62 (ngtcp2_pkt_adjust_pkt_num); a peer may skip what it likes.
#define MOST_NUMBERS (UINT64_C(1) << 61)
/// RFC 9001, section 5.3.
#define NONCE 12
#define FEW_IDS 16

static uint64_t big_endian(const uint8_t *bytes, size_t length) {
    uint64_t value = 0;
    for (size_t i = 0; i < length; i++) { value = value << 8 | bytes[i]; }
    return value;
}

uint64_t tern_quic_whole_number(uint64_t expected, const uint8_t *header, size_t length) {
    size_t size = (size_t)(header[0] & 3) + 1;
    if (size >= length) { return expected; }
    uint64_t truncated = big_endian(header + length - size, size);
    uint64_t window = UINT64_C(1) << (8 * size);
    uint64_t half = window / 2;
    uint64_t candidate = (expected & ~(window - 1)) | truncated;
    if (candidate + half <= expected) { return candidate + window; }
    if (candidate > expected + half && candidate >= window) { return candidate - window; }
    return candidate;
}

// MARK: Keys

void tern_quic_note_updated_key(tern_quic *quic, const void *handle, const uint8_t *iv) {
    quic->key_updates++;
    quic->keys[quic->key_updates % TERN_QUIC_KEYS] =
        (tern_quic_key){.handle = handle, .iv = big_endian(iv + NONCE - 8, 8), .has_iv = true};
}

/// The key of a packet with a short header, and its phase; the phases of keys alternate, and the first has 0. A handle may be the
/// one of a key that is gone, so the latest counts.
static tern_quic_key *key_of(tern_quic *quic, const void *handle, bool *phase) {
    for (uint64_t back = 0; back < TERN_QUIC_KEYS && back <= quic->key_updates; back++) {
        uint64_t update = quic->key_updates - back;
        tern_quic_key *key = &quic->keys[update % TERN_QUIC_KEYS];
        // The first one is not told, so it is the one that is not known.
        if (update == 0 && key->handle == NULL) { key->handle = handle; }
        if (key->handle != handle) { continue; }
        *phase = (update & 1) != 0;
        return key;
    }
    return NULL;
}

// MARK: Connection IDs

static bool is_ours(tern_quic *quic, const uint8_t *bytes, size_t length) {
    tern_quic_cid *latest = &quic->latest_own;
    if (quic->has_latest_own && latest->length == length && memcmp(latest->bytes, bytes, length) == 0) { return true; }
#if TERN_NGTCP2_1
    size_t count = ngtcp2_conn_get_scid(quic->conn, NULL);
#else
    size_t count = ngtcp2_conn_get_num_scid(quic->conn);
#endif
    ngtcp2_cid few[FEW_IDS];
    ngtcp2_cid *ours = count <= FEW_IDS ? few : tern_quic_allocate(count * sizeof *ours);
    if (ours == NULL) { return false; }
    count = ngtcp2_conn_get_scid(quic->conn, ours);
    bool found = false;
    for (size_t i = 0; i < count && !found; i++) {
        found = ours[i].datalen == length && memcmp(ours[i].data, bytes, length) == 0;
        if (found) { *latest = tern_quic_cid_from(&ours[i]); }
    }
    quic->has_latest_own |= found;
    if (ours != few) { tern_quic_deallocate(ours); }
    return found;
}

/// 0-RTT goes to the connection ID that the client made up, too.
static bool names_us_early(tern_quic *quic, const uint8_t *header, size_t length) {
    // Behind the first byte and the version (RFC 9000, section 17.2).
    if (!ngtcp2_conn_is_server(quic->conn) || length < 6 || length < 6 + (size_t)header[5]) { return false; }
    const ngtcp2_cid *initial = ngtcp2_conn_get_client_initial_dcid(quic->conn);
    if (initial->datalen == header[5] && memcmp(initial->data, header + 6, header[5]) == 0) { return true; }
    return is_ours(quic, header + 6, header[5]);
}

static bool names_us(tern_quic *quic, const uint8_t *header, size_t length) {
    return length > 1 + (size_t)quic->source.length && is_ours(quic, header + 1, quic->source.length);
}

// MARK: Numbers

static bool is_new(const tern_quic_numbers *numbers, uint64_t number) {
    if (number >= numbers->next) { return true; }
    if (numbers->next - number > REMEMBERED) { return false; }
    return (numbers->seen[number / 64 % TERN_QUIC_NUMBER_WORDS] >> number % 64 & 1) == 0;
}

bool tern_quic_takes(
    tern_quic *quic, const void *handle, const uint8_t *nonce, size_t nonce_length, const uint8_t *header,
    size_t header_length, uint64_t *number) {
    size_t size = (size_t)(header[0] & 3) + 1;
    if (nonce_length != NONCE || header_length < 1 + size) { return false; }
    bool is_early = (header[0] & 0x80) != 0;
    bool phase = false;
    tern_quic_key *key = is_early ? &quic->early_key : key_of(quic, handle, &phase);
    if (key == NULL) { return false; }
    // The header has only the end of the number, but the nonce is the IV with all of it (RFC 9001, section 5.3). So only for the
    // IV of the first key the end must do, and what came before is known for certain.
    uint64_t end = big_endian(nonce + NONCE - 8, 8);
    if (!key->has_iv) {
        key->iv = end ^ tern_quic_whole_number(quic->numbers.next, header, header_length);
        key->has_iv = true;
    }
    *number = end ^ key->iv;
    if (*number >= MOST_NUMBERS || !is_new(&quic->numbers, *number)) { return false; }
    if (is_early) { return names_us_early(quic, header, header_length); }
    return phase == ((header[0] & 0x04) != 0) && names_us(quic, header, header_length);
}

bool tern_quic_note_taken(tern_quic *quic, uint64_t number) {
    tern_quic_numbers *numbers = &quic->numbers;
    bool is_latest = number >= numbers->next;
    if (is_latest) {
        if (number - numbers->next >= TERN_QUIC_NUMBER_WORDS * 64) { memset(numbers->seen, 0, sizeof numbers->seen); }
        for (uint64_t next = numbers->next; next < number && number - next < TERN_QUIC_NUMBER_WORDS * 64; next++) {
            numbers->seen[next / 64 % TERN_QUIC_NUMBER_WORDS] &= ~(UINT64_C(1) << next % 64);
        }
        numbers->next = number + 1;
    }
    numbers->seen[number / 64 % TERN_QUIC_NUMBER_WORDS] |= UINT64_C(1) << number % 64;
    return is_latest;
}
