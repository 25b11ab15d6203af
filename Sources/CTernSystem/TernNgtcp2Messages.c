// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// What TLS may say after a handshake over QUIC: a server its tickets, and nobody anything else.
//
// A KeyUpdate is a connection error (RFC 9001, section 6). GnuTLS (3.7 to 3.8 at least) follows it instead, and tells the new secrets to ngtcp2's
// glue, which installs keys that are there already: ngtcp2 (0.12 to 1.25 at least) asserts that they are not, and the process ends. A
// CertificateRequest is one as well (section 4.4). So the messages are looked at before GnuTLS sees them, byte by byte: a frame may end
// anywhere. What stands behind the Finished in the keys of the handshake would be read together with what comes later,
// and is refused, too.
//
// Delete this when no GnuTLS is supported that follows a KeyUpdate of a session with its own record layer's keys elsewhere.

#include "TernNgtcp2Internal.h"

// RFC 8446, section 4.
#define NEW_SESSION_TICKET 4
#define FINISHED 20
#define HEADER_LENGTH 4

static bool takes(tern_quic_tls_messages *messages, bool is_handshake, bool is_client, uint8_t type) {
    if (!is_handshake) { return is_client && type == NEW_SESSION_TICKET; }
    return !messages->is_over;
}

bool tern_quic_takes_messages(tern_quic *quic, bool is_handshake, const uint8_t *bytes, size_t length) {
    tern_quic_tls_messages *messages = is_handshake ? &quic->handshake_messages : &quic->later_messages;
    bool is_client = !ngtcp2_conn_is_server(quic->conn);
    while (length > 0) {
        if (messages->header_length == 0) {
            if (!takes(messages, is_handshake, is_client, *bytes)) { return false; }
            messages->is_over = *bytes == FINISHED;
            messages->rest = 0;
        }
        if (messages->header_length < HEADER_LENGTH) {
            // The type, and a length of three bytes.
            if (messages->header_length > 0) { messages->rest = messages->rest << 8 | *bytes; }
            messages->header_length += 1;
            bytes += 1;
            length -= 1;
        } else {
            size_t part = messages->rest < length ? messages->rest : length;
            messages->rest -= (uint32_t)part;
            bytes += part;
            length -= part;
        }
        if (messages->header_length == HEADER_LENGTH && messages->rest == 0) { messages->header_length = 0; }
    }
    return true;
}
