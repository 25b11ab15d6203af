// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#include "TernNgtcp2Internal.h"

static tern_quic_cid cid_of(const uint8_t *bytes, size_t length) {
    tern_quic_cid cid = {0};
    if (length > sizeof cid.bytes) { length = sizeof cid.bytes; }
    cid.length = (uint8_t)length;
    if (length > 0) { memcpy(cid.bytes, bytes, length); }
    return cid;
}

tern_quic_header tern_quic_inspect(const uint8_t *bytes, size_t length, size_t short_cid_length) {
    tern_quic_header header = {.kind = TERN_QUIC_KIND_NONE};
    if (length == 0) { return header; }
    ngtcp2_version_cid found;
    memset(&found, 0, sizeof found);
    int result = ngtcp2_pkt_decode_version_cid(&found, bytes, length, short_cid_length);
    if (result != 0 && result != NGTCP2_ERR_VERSION_NEGOTIATION) { return header; }
    header.version = found.version;
    header.destination = cid_of(found.dcid, found.dcidlen);
    header.source = cid_of(found.scid, found.scidlen);
    if ((bytes[0] & 0x80) == 0) {
        header.kind = TERN_QUIC_KIND_SHORT;
        return header;
    }
    if (found.version != 0 && found.version != NGTCP2_PROTO_VER_V1) {
        // RFC 9000, section 6.1: only a datagram that could start a connection deserves an answer; it may not be
        // amplified.
        header.kind = length >= NGTCP2_MAX_UDP_PAYLOAD_SIZE ? TERN_QUIC_KIND_UNKNOWN_VERSION : TERN_QUIC_KIND_NONE;
        return header;
    }
    header.kind = TERN_QUIC_KIND_LONG;
    ngtcp2_pkt_hd initial;
    if (found.version != 0 && length >= NGTCP2_MAX_UDP_PAYLOAD_SIZE && ngtcp2_accept(&initial, bytes, length) == 0
        && initial.type == NGTCP2_PKT_INITIAL && found.dcidlen >= NGTCP2_MIN_INITIAL_DCIDLEN) {
        header.kind = TERN_QUIC_KIND_INITIAL;
#if TERN_NGTCP2_1
        header.token = initial.token;
        header.token_length = initial.tokenlen;
#else
        header.token = initial.token.base;
        header.token_length = initial.token.len;
#endif
    }
    return header;
}

size_t tern_quic_write_version_negotiation(
    uint8_t *packet, size_t capacity, const uint8_t *trigger, size_t trigger_length, uint8_t random) {
    ngtcp2_version_cid found;
    memset(&found, 0, sizeof found);
    int result = ngtcp2_pkt_decode_version_cid(&found, trigger, trigger_length, 0);
    if (result != 0 && result != NGTCP2_ERR_VERSION_NEGOTIATION) { return 0; }
    // A reserved version keeps clients honest about unknown entries (RFC 9000, section 6.3).
    uint32_t grease = 0x0a0a0a0aU | ((uint32_t)random & 0xf0U) << 24;
    uint32_t versions[] = {NGTCP2_PROTO_VER_V1, grease == found.version ? 0x1a2a3a4aU : grease};
    ngtcp2_ssize written = ngtcp2_pkt_write_version_negotiation(
        packet, capacity, random, found.scid, found.scidlen, found.dcid, found.dcidlen, versions,
        sizeof versions / sizeof versions[0]);
    return written > 0 ? (size_t)written : 0;
}

size_t tern_quic_write_stateless_reset(
    uint8_t *packet, size_t capacity, tern_quic_cid cid, const uint8_t *secret, size_t secret_length,
    const uint8_t *random, size_t random_length) {
    ngtcp2_cid native;
    ngtcp2_cid_init(&native, cid.bytes, cid.length);
    uint8_t token[NGTCP2_STATELESS_RESET_TOKENLEN];
    if (ngtcp2_crypto_generate_stateless_reset_token(token, secret, secret_length, &native) != 0) { return 0; }
    ngtcp2_ssize written = ngtcp2_pkt_write_stateless_reset(packet, capacity, token, random, random_length);
    return written > 0 ? (size_t)written : 0;
}
