// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#include "TernNgtcp2Internal.h"

_Static_assert(
    sizeof(tern_quic_vec) == sizeof(ngtcp2_vec) && offsetof(tern_quic_vec, base) == offsetof(ngtcp2_vec, base)
        && offsetof(tern_quic_vec, length) == offsetof(ngtcp2_vec, len),
    "vectors are passed through as they are");

/// Whether the congestion controller or the pacer holds back all but acknowledgements for a client that was just heard from
/// another address.
///
/// ngtcp2 0.12 would send acknowledgement after acknowledgement there before its PATH_CHALLENGE, if only the port changed: then
/// it keeps the congestion window. So nothing is written before the challenge can go with it.
static bool holds_challenge(tern_quic *quic, uint64_t now) {
#if TERN_NGTCP2_1
    (void)quic, (void)now;
    return false;
#else
    if (quic->known_path.path.remote.addrlen == 0 || !ngtcp2_conn_is_server(quic->conn)
        || tern_quic_same_address(
            ngtcp2_conn_get_path(quic->conn)->remote.addr, quic->known_path.path.remote.addr)) {
        return false;
    }
    ngtcp2_conn_stat found;
    ngtcp2_conn_get_conn_stat(quic->conn, &found);
    // While a path is validated the window is the initial one, of at least ten small packets; after a probe timeout it does not
    // matter.
    uint64_t window = found.cwnd < 10 * NGTCP2_MAX_UDP_PAYLOAD_SIZE ? found.cwnd : 10 * NGTCP2_MAX_UDP_PAYLOAD_SIZE;
    if (found.bytes_in_flight >= window && found.pto_count == 0) { return true; }
    return now < quic->paced_until;
#endif
}

static tern_quic_written held_back(void) { return (tern_quic_written){.bytes = 0, .taken = -1, .ecn = 0}; }

static bool writes_nothing(tern_quic *quic, uint64_t now) { return quic->is_stranded || holds_challenge(quic, now); }

static tern_quic_written written(tern_quic *quic, ngtcp2_ssize bytes, ptrdiff_t taken, const ngtcp2_pkt_info *info) {
    tern_quic_writing = NULL;
    if (bytes < 0 && tern_quic_strand(quic, (int)bytes)) { return held_back(); }
    if (bytes > 0) {
        quic->unpaced_bytes += (uint64_t)bytes;
        if (!ngtcp2_path_eq(&quic->write_path.path, &quic->known_path.path)) {
            ngtcp2_path_copy(&quic->known_path.path, &quic->write_path.path);
            quic->write_path_number++;
            tern_quic_note_write_path(quic);
        }
        tern_quic_note_packet(quic, (size_t)bytes);
    }
    if (bytes == 0) { tern_quic_note_nothing_written(quic); }
    return (tern_quic_written){
        .bytes = bytes < 0 ? (ptrdiff_t)tern_quic_remember(quic, (int)bytes) : (ptrdiff_t)bytes,
        .taken = taken,
        .ecn = (uint8_t)(info->ecn & 3),
    };
}

tern_quic_written tern_quic_write_stream(
    tern_quic *quic, uint8_t *packet, size_t capacity, int64_t stream, const tern_quic_vec *vectors, size_t count,
    bool finish, bool more, uint64_t now) {
    ngtcp2_pkt_info info;
    memset(&info, 0, sizeof info);
    if (writes_nothing(quic, now)) { return held_back(); }
    quic->now = now;
    ngtcp2_ssize taken = -1;
    uint32_t flags = (finish ? NGTCP2_WRITE_STREAM_FLAG_FIN : 0) | (more ? NGTCP2_WRITE_STREAM_FLAG_MORE : 0);
    tern_quic_writing = quic;
    ngtcp2_ssize bytes = ngtcp2_conn_writev_stream(
        quic->conn, &quic->write_path.path, &info, packet, capacity, &taken, flags, stream, (const ngtcp2_vec *)vectors,
        count, now);
    return written(quic, bytes, taken, &info);
}

tern_quic_written tern_quic_write_datagram(
    tern_quic *quic, uint8_t *packet, size_t capacity, const uint8_t *bytes, size_t length, uint64_t number,
    uint64_t now) {
    ngtcp2_pkt_info info;
    memset(&info, 0, sizeof info);
    if (writes_nothing(quic, now)) { return held_back(); }
    quic->now = now;
    int taken = 0;
    ngtcp2_vec vector = {.base = (uint8_t *)bytes, .len = length};
    // An empty vector would be an assertion failure.
    size_t count = length > 0 ? 1 : 0;
    tern_quic_writing = quic;
    ngtcp2_ssize result = ngtcp2_conn_writev_datagram(
        quic->conn, &quic->write_path.path, &info, packet, capacity, &taken, NGTCP2_WRITE_DATAGRAM_FLAG_MORE, number,
        &vector, count, now);
    return written(quic, result, taken, &info);
}

tern_quic_written tern_quic_write_close(
    tern_quic *quic, uint8_t *packet, size_t capacity, bool application, uint64_t code, const uint8_t *reason,
    size_t length, uint64_t now) {
    ngtcp2_pkt_info info;
    memset(&info, 0, sizeof info);
#if TERN_NGTCP2_1
    ngtcp2_ccerr error;
    ngtcp2_ccerr_default(&error);
    if (application) {
        ngtcp2_ccerr_set_application_error(&error, code, reason, length);
    } else {
        ngtcp2_ccerr_set_transport_error(&error, code, reason, length);
    }
#else
    ngtcp2_connection_close_error error;
    ngtcp2_connection_close_error_default(&error);
    if (application) {
        ngtcp2_connection_close_error_set_application_error(&error, code, reason, length);
    } else {
        ngtcp2_connection_close_error_set_transport_error(&error, code, reason, length);
    }
#endif
    tern_quic_writing = quic;
    ngtcp2_ssize bytes = ngtcp2_conn_write_connection_close(
        quic->conn, &quic->write_path.path, &info, packet, capacity, &error, now);
    return written(quic, bytes, -1, &info);
}

static void copy_path(
    const tern_quic *quic, const ngtcp2_path *path, struct sockaddr_storage *local, struct sockaddr_storage *remote) {
    tern_quic_real_local(quic, &path->local, local);
    tern_quic_real_address(quic, &path->remote, remote);
}

uint64_t tern_quic_write_path(tern_quic *quic, struct sockaddr_storage *local, struct sockaddr_storage *remote) {
    copy_path(quic, &quic->known_path.path, local, remote);
    return quic->write_path_number;
}

uint64_t tern_quic_write_path_number(const tern_quic *quic) { return quic->write_path_number; }

void tern_quic_current_path(tern_quic *quic, struct sockaddr_storage *local, struct sockaddr_storage *remote) {
    copy_path(quic, ngtcp2_conn_get_path(quic->conn), local, remote);
}

void tern_quic_pace(tern_quic *quic, uint64_t now) {
#if !TERN_NGTCP2_1
    if (quic->unpaced_bytes > 0 && ngtcp2_conn_is_server(quic->conn)) {
        // As ngtcp2 computes it.
        ngtcp2_conn_stat found;
        ngtcp2_conn_get_conn_stat(quic->conn, &found);
        double rate = found.pacing_rate;
        if (!(rate > 0)) { rate = (double)found.cwnd / (double)found.smoothed_rtt * 1.25; }
        double interval = (double)quic->unpaced_bytes / rate;
        quic->paced_until = now + (interval < 1e9 ? (uint64_t)interval : 1000000000);
    }
#endif
    quic->unpaced_bytes = 0;
    ngtcp2_conn_update_pkt_tx_time(quic->conn, now);
}
size_t tern_quic_send_quantum(tern_quic *quic) { return ngtcp2_conn_get_send_quantum(quic->conn); }

tern_quic_result tern_quic_open_stream(tern_quic *quic, bool bidirectional, int64_t *stream) {
    int result = bidirectional ? ngtcp2_conn_open_bidi_stream(quic->conn, stream, NULL)
                               : ngtcp2_conn_open_uni_stream(quic->conn, stream, NULL);
    return tern_quic_remember(quic, result);
}

tern_quic_result tern_quic_reset_stream(tern_quic *quic, int64_t stream, uint64_t code) {
#if TERN_NGTCP2_1
    return tern_quic_remember(quic, ngtcp2_conn_shutdown_stream_write(quic->conn, 0, stream, code));
#else
    return tern_quic_remember(quic, ngtcp2_conn_shutdown_stream_write(quic->conn, stream, code));
#endif
}

tern_quic_result tern_quic_stop_stream(tern_quic *quic, int64_t stream, uint64_t code) {
#if TERN_NGTCP2_1
    return tern_quic_remember(quic, ngtcp2_conn_shutdown_stream_read(quic->conn, 0, stream, code));
#else
    return tern_quic_remember(quic, ngtcp2_conn_shutdown_stream_read(quic->conn, stream, code));
#endif
}

void tern_quic_credit_stream(tern_quic *quic, int64_t stream, uint64_t count) {
    // A stream that is gone needs no credit.
    (void)ngtcp2_conn_extend_max_stream_offset(quic->conn, stream, count);
}

void tern_quic_credit_connection(tern_quic *quic, uint64_t count) { ngtcp2_conn_extend_max_offset(quic->conn, count); }

void tern_quic_allow_stream(tern_quic *quic, bool bidirectional) {
    if (bidirectional) {
        ngtcp2_conn_extend_max_streams_bidi(quic->conn, 1);
    } else {
        ngtcp2_conn_extend_max_streams_uni(quic->conn, 1);
    }
}

bool tern_quic_keeps_ended_streams(void) {
    const ngtcp2_info *info = ngtcp2_version(0);
    return info != NULL && info->version_num < 0x010000;
}

void tern_quic_get_peer_close(tern_quic *quic, tern_quic_peer_close *close) {
    memset(close, 0, sizeof *close);
#if TERN_NGTCP2_1
    const ngtcp2_ccerr *error = ngtcp2_conn_get_ccerr(quic->conn);
    close->application = error->type == NGTCP2_CCERR_TYPE_APPLICATION;
#else
    ngtcp2_connection_close_error found, *error = &found;
    ngtcp2_conn_get_connection_close_error(quic->conn, error);
    close->application = error->type == NGTCP2_CONNECTION_CLOSE_ERROR_CODE_TYPE_APPLICATION;
#endif
    close->code = error->error_code;
    close->frame_type = error->frame_type;
    close->reason_length = error->reasonlen < sizeof close->reason ? error->reasonlen : sizeof close->reason;
    if (close->reason_length > 0) { memcpy(close->reason, error->reason, close->reason_length); }
}

size_t tern_quic_path_payload(tern_quic *quic) { return ngtcp2_conn_get_path_max_tx_udp_payload_size(quic->conn); }

tern_quic_result tern_quic_update_keys(tern_quic *quic, uint64_t now) {
    return tern_quic_remember(quic, ngtcp2_conn_initiate_key_update(quic->conn, now));
}

uint64_t tern_quic_connection_credit(tern_quic *quic) { return ngtcp2_conn_get_max_data_left(quic->conn); }

uint64_t tern_quic_peer_idle_timeout(tern_quic *quic) {
    const ngtcp2_transport_params *remote = ngtcp2_conn_get_remote_transport_params(quic->conn);
    return remote == NULL ? 0 : remote->max_idle_timeout;
}

size_t tern_quic_peer_maximum_payload(tern_quic *quic) {
    const ngtcp2_transport_params *remote = ngtcp2_conn_get_remote_transport_params(quic->conn);
    return remote == NULL ? 0 : (size_t)remote->max_udp_payload_size;
}

size_t tern_quic_maximum_datagram(tern_quic *quic, size_t capacity) {
    const ngtcp2_transport_params *remote = ngtcp2_conn_get_remote_transport_params(quic->conn);
    if (remote == NULL || remote->max_datagram_frame_size == 0) { return 0; }
    const ngtcp2_cid *destination = ngtcp2_conn_get_dcid(quic->conn);
    // Short header with the longest packet number, AEAD tag, frame type and a two-byte length.
    size_t overhead = 1 + (destination == NULL ? NGTCP2_MAX_CIDLEN : destination->datalen) + 4 + 16 + 3;
    size_t path = ngtcp2_conn_get_path_max_tx_udp_payload_size(quic->conn);
    if (capacity < path) { path = capacity; }
    size_t fitting = path > overhead ? path - overhead : 0;
    uint64_t allowed = remote->max_datagram_frame_size > 3 ? remote->max_datagram_frame_size - 3 : 0;
    return allowed < fitting ? (size_t)allowed : fitting;
}

void tern_quic_get_statistics(tern_quic *quic, tern_quic_statistics *statistics) {
    statistics->packets_lost = UINT64_MAX;
    statistics->pacing_rate = 0;
    statistics->delivery_rate = 0;
#if TERN_NGTCP2_1
    ngtcp2_conn_info found;
    memset(&found, 0, sizeof found);
    ngtcp2_conn_get_conn_info(quic->conn, &found);
#if NGTCP2_VERSION_NUM >= 0x011000
    statistics->packets_lost = found.pkt_lost;
#endif
#else
    ngtcp2_conn_stat found;
    memset(&found, 0, sizeof found);
    ngtcp2_conn_get_conn_stat(quic->conn, &found);
    // Bytes per nanosecond.
    statistics->pacing_rate = found.pacing_rate > 0 && found.pacing_rate < 1e9 ? (uint64_t)(found.pacing_rate * 1e9) : 0;
    statistics->delivery_rate = found.delivery_rate_sec;
#endif
    statistics->rtt_variation = found.rttvar;
    statistics->slow_start_threshold = found.ssthresh;
    statistics->latest_rtt = found.latest_rtt;
    statistics->minimum_rtt = found.min_rtt;
    statistics->smoothed_rtt = found.smoothed_rtt;
    statistics->congestion_window = found.cwnd;
    statistics->bytes_in_flight = found.bytes_in_flight;
}
