// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// A qlog of a client, whose server chooses the transport parameters.
//
// ngtcp2 before 1.22.1 writes the peer's transport parameters to a buffer of 1024 bytes, whatever they are (CVE-2026-40170).
// Without a preferred address they are at most 984 bytes of text, with one up to 1227; only servers have one (RFC 9000, section
// 18.2). So the preferred address is looked for in the server's EncryptedExtensions before TLS gets to see them, and where a
// qlog is written its connection is refused. A distribution may have mended its ngtcp2 (Debian 12 has, in 0.12.1+dfsg-1+deb12u1),
// which no version number tells. Delete this when no older ngtcp2 is supported.

#include "TernNgtcp2Internal.h"

#define SAFE_VERSION 0x011601
/// A TLS message that is longer is not worth a look.
#define MOST_EXTENSIONS ((size_t)16 << 10)
/// RFC 9001, section 8.2; RFC 9000, section 18.2; RFC 8446, section 4.3.1.
#define QUIC_TRANSPORT_PARAMETERS 0x39
#define PREFERRED_ADDRESS 0x0d
#define ENCRYPTED_EXTENSIONS 8

void tern_quic_guard_qlog(tern_quic *quic) {
    const ngtcp2_info *info = ngtcp2_version(0);
    quic->guards_qlog = info == NULL || info->version_num < SAFE_VERSION;
}

static uint64_t number(const uint8_t **next, const uint8_t *end) {
    if (*next == end) { return UINT64_MAX; }
    size_t length = (size_t)1 << (**next >> 6);
    if ((size_t)(end - *next) < length) { return UINT64_MAX; }
    uint64_t value = **next & 0x3f;
    for (size_t i = 1; i < length; i++) { value = value << 8 | (*next)[i]; }
    *next += length;
    return value;
}

static bool prefers_address(const uint8_t *next, const uint8_t *end) {
    while (next < end) {
        uint64_t name = number(&next, end), length = number(&next, end);
        if (name == PREFERRED_ADDRESS) { return true; }
        // Nonsense is refused by ngtcp2, before it writes anything.
        if (length > (uint64_t)(end - next)) { return false; }
        next += length;
    }
    return false;
}

/// `bytes` are the body of EncryptedExtensions.
static bool is_safe(const uint8_t *bytes, size_t length) {
    const uint8_t *next = bytes + 2, *end = bytes + length;
    while (length >= 2 && end - next >= 4) {
        size_t type = (size_t)next[0] << 8 | next[1], size = (size_t)next[2] << 8 | next[3];
        next += 4;
        if (size > (size_t)(end - next)) { return true; }
        if (type == QUIC_TRANSPORT_PARAMETERS && prefers_address(next, next + size)) { return false; }
        next += size;
    }
    return true;
}

bool tern_quic_may_log(tern_quic *quic, const uint8_t *bytes, size_t length) {
    if (!quic->guards_qlog || length == 0) { return true; }
    if (quic->extensions == NULL) { quic->extensions = tern_quic_allocate(MOST_EXTENSIONS); }
    if (quic->extensions == NULL || length > MOST_EXTENSIONS - quic->extensions_length) {
        quic->refused_to_log = true;
        return false;
    }
    memcpy(quic->extensions + quic->extensions_length, bytes, length);
    quic->extensions_length += length;
    const uint8_t *message = quic->extensions;
    if (quic->extensions_length < 4) { return true; }
    size_t size = (size_t)message[1] << 16 | (size_t)message[2] << 8 | message[3];
    // The first message that the server encrypts; TLS refuses any other.
    if (message[0] == ENCRYPTED_EXTENSIONS && size > quic->extensions_length - 4) { return true; }
    quic->guards_qlog = false;
    quic->refused_to_log = message[0] == ENCRYPTED_EXTENSIONS && !is_safe(message + 4, size);
    tern_quic_deallocate(quic->extensions);
    quic->extensions = NULL;
    return !quic->refused_to_log;
}

bool tern_quic_refused_to_log(const tern_quic *quic) { return quic->refused_to_log; }
