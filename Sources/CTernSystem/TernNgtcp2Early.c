// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// 0-RTT (RFC 9001, section 4.6).

#include "TernNgtcp2Internal.h"

int tern_quic_settle_early_data(tern_quic *quic) {
    if (!quic->offers_early_data) { return 0; }
    gnutls_session_t session = ngtcp2_conn_get_tls_native_handle(quic->conn);
    if ((gnutls_session_get_flags(session) & GNUTLS_SFLAGS_EARLY_DATA) != 0) { return 0; }
#if TERN_NGTCP2_1
    int result = ngtcp2_conn_tls_early_data_rejected(quic->conn);
#else
    int result = ngtcp2_conn_early_data_rejected(quic->conn);
#endif
    if (result == 0) { quic->events->early_data_rejected(quic->context); }
    return result;
}

#if TERN_NGTCP2_1

size_t tern_quic_remember_parameters(tern_quic *quic, uint8_t *bytes, size_t capacity) {
    if (ngtcp2_conn_get_remote_transport_params(quic->conn) == NULL) { return 0; }
    ngtcp2_ssize written = ngtcp2_conn_encode_0rtt_transport_params(quic->conn, bytes, capacity);
    return written < 0 ? 0 : (size_t)written;
}

bool tern_quic_recall_parameters(tern_quic *quic, const uint8_t *bytes, size_t length) {
    quic->offers_early_data = ngtcp2_conn_decode_and_set_0rtt_transport_params(quic->conn, bytes, length) == 0;
    return quic->offers_early_data;
}

#else

/// RFC 9000, section 4.6.
#define MOST_STREAMS (UINT64_C(1) << 60)

/// What RFC 9000, section 7.4.1, lets a client remember.
typedef struct remembered {
    uint64_t initial_max_data;
    uint64_t initial_max_stream_data_bidi_local;
    uint64_t initial_max_stream_data_bidi_remote;
    uint64_t initial_max_stream_data_uni;
    uint64_t initial_max_streams_bidi;
    uint64_t initial_max_streams_uni;
    uint64_t active_connection_id_limit;
    uint64_t max_idle_timeout;
    uint64_t max_udp_payload_size;
    uint64_t max_datagram_frame_size;
    uint64_t disable_active_migration;
} remembered;

size_t tern_quic_remember_parameters(tern_quic *quic, uint8_t *bytes, size_t capacity) {
    const ngtcp2_transport_params *from = ngtcp2_conn_get_remote_transport_params(quic->conn);
    if (from == NULL || capacity < sizeof(remembered)) { return 0; }
    remembered to = {
        .initial_max_data = from->initial_max_data,
        .initial_max_stream_data_bidi_local = from->initial_max_stream_data_bidi_local,
        .initial_max_stream_data_bidi_remote = from->initial_max_stream_data_bidi_remote,
        .initial_max_stream_data_uni = from->initial_max_stream_data_uni,
        .initial_max_streams_bidi = from->initial_max_streams_bidi,
        .initial_max_streams_uni = from->initial_max_streams_uni,
        .active_connection_id_limit = from->active_connection_id_limit,
        .max_idle_timeout = from->max_idle_timeout,
        .max_udp_payload_size = from->max_udp_payload_size,
        .max_datagram_frame_size = from->max_datagram_frame_size,
        .disable_active_migration = from->disable_active_migration,
    };
    memcpy(bytes, &to, sizeof to);
    return sizeof to;
}

bool tern_quic_recall_parameters(tern_quic *quic, const uint8_t *bytes, size_t length) {
    remembered from;
    if (length != sizeof from) { return false; }
    memcpy(&from, bytes, sizeof from);
    // ngtcp2 relies on what it checks itself when it comes from a server.
    const uint64_t *numbers = (const uint64_t *)(const void *)&from;
    for (size_t i = 0; i < sizeof from / sizeof numbers[0]; i++) {
        if (numbers[i] > NGTCP2_MAX_VARINT) { return false; }
    }
    if (from.max_udp_payload_size < NGTCP2_MAX_UDP_PAYLOAD_SIZE || from.active_connection_id_limit < 2
        || from.initial_max_streams_bidi > MOST_STREAMS || from.initial_max_streams_uni > MOST_STREAMS) {
        return false;
    }
    ngtcp2_transport_params to;
    ngtcp2_transport_params_default(&to);
    to.initial_max_data = from.initial_max_data;
    to.initial_max_stream_data_bidi_local = from.initial_max_stream_data_bidi_local;
    to.initial_max_stream_data_bidi_remote = from.initial_max_stream_data_bidi_remote;
    to.initial_max_stream_data_uni = from.initial_max_stream_data_uni;
    to.initial_max_streams_bidi = from.initial_max_streams_bidi;
    to.initial_max_streams_uni = from.initial_max_streams_uni;
    to.active_connection_id_limit = from.active_connection_id_limit;
    to.max_idle_timeout = from.max_idle_timeout;
    to.max_udp_payload_size = from.max_udp_payload_size;
    to.max_datagram_frame_size = from.max_datagram_frame_size;
    to.disable_active_migration = from.disable_active_migration != 0;
    ngtcp2_conn_set_early_remote_transport_params(quic->conn, &to);
    quic->offers_early_data = true;
    return true;
}

#endif
