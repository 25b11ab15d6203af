// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#include "TernNgtcp2Internal.h"

#include <stdlib.h>

static ngtcp2_conn *connection_of(ngtcp2_crypto_conn_ref *reference) {
    return ((tern_quic *)reference->user_data)->conn;
}

static void set_path(ngtcp2_path_storage *storage, tern_quic_path path) {
    ngtcp2_path_storage_init(storage, path.local, path.local_length, path.remote, path.remote_length, NULL);
}

static ngtcp2_cid native_cid(tern_quic_cid cid) {
    ngtcp2_cid native;
    ngtcp2_cid_init(&native, cid.bytes, cid.length);
    return native;
}

static ngtcp2_cc_algo algorithm(tern_quic_congestion congestion) {
    switch (congestion) {
    case TERN_QUIC_RENO: return NGTCP2_CC_ALGO_RENO;
    case TERN_QUIC_CUBIC: return NGTCP2_CC_ALGO_CUBIC;
    case TERN_QUIC_BBR: break;
    }
    return NGTCP2_CC_ALGO_BBR;
}

static void fill_settings(tern_quic *quic, const tern_quic_settings *from, ngtcp2_settings *settings) {
    ngtcp2_settings_default(settings);
    settings->cc_algo = algorithm(from->congestion);
    settings->initial_ts = from->now;
    settings->max_tx_udp_payload_size = from->maximum_udp_payload;
    // The caller tunes the windows. ngtcp2 would take the memory for the connection's from nowhere; and when the
    // MAX_STREAM_DATA that grows a stream's does not fit the packet, 0.12 sends it with the next one but forgets that the
    // limit rose (mended in 0.19), so that a peer that keeps to it dies of FLOW_CONTROL_ERROR.
    settings->max_window = 0;
    settings->max_stream_window = 0;
    // The defaults differ between versions: 10 s in 0.12, none in 1.x.
    settings->handshake_timeout = from->handshake_timeout == 0 ? UINT64_MAX : from->handshake_timeout;
    settings->no_pmtud = !from->discovers_mtu || from->caller_sizes_packets;
    settings->no_tx_udp_payload_size_shaping = from->caller_sizes_packets;
    settings->rand_ctx.native_handle = quic;
#if TERN_NGTCP2_1
    if (from->writes_qlog) { settings->qlog_write = tern_quic_on_qlog; }
#else
    if (from->writes_qlog) { settings->qlog.write = tern_quic_on_qlog; }
#endif
}

static void fill_parameters(const tern_quic_settings *from, ngtcp2_transport_params *parameters) {
    ngtcp2_transport_params_default(parameters);
    parameters->initial_max_data = from->connection_window;
    parameters->initial_max_stream_data_bidi_local = from->stream_window;
    parameters->initial_max_stream_data_bidi_remote = from->stream_window;
    parameters->initial_max_stream_data_uni = from->stream_window;
    parameters->initial_max_streams_bidi = from->bidirectional_streams;
    parameters->initial_max_streams_uni = from->unidirectional_streams;
    parameters->max_idle_timeout = from->idle_timeout;
    parameters->max_datagram_frame_size = from->datagram_frame_size;
    parameters->active_connection_id_limit = 8;
}

static tern_quic *allocate(const tern_quic_settings *settings, tern_quic_path path) {
    if (settings->cid_length > NGTCP2_MAX_CIDLEN || settings->cid_prefix_length > settings->cid_length
        || settings->cid_prefix_length > sizeof settings->cid_prefix) {
        return NULL;
    }
    tern_quic *quic = tern_quic_allocate(sizeof *quic);
    if (quic == NULL) { return NULL; }
    quic->events = settings->events;
    quic->context = settings->context;
    quic->reference.get_conn = connection_of;
    quic->reference.user_data = quic;
    quic->cid_prefix_length = settings->cid_prefix_length;
    memcpy(quic->cid_prefix, settings->cid_prefix, sizeof quic->cid_prefix);
    memcpy(quic->reset_secret, settings->reset_secret, sizeof quic->reset_secret);
    tern_quic_begin_cids(&quic->peer_cids);
    set_path(&quic->read_path, path);
    ngtcp2_path_storage_zero(&quic->write_path);
    ngtcp2_path_storage_zero(&quic->known_path);
    ngtcp2_path_storage_zero(&quic->probed_path);
    quic->refuses_preferred_address = settings->refuses_preferred_address;
    return quic;
}

static tern_quic *attach(tern_quic *quic, void *tls) {
    gnutls_session_set_ptr(tls, &quic->reference);
    ngtcp2_conn_set_tls_native_handle(quic->conn, tls);
    return quic;
}

tern_quic *tern_quic_client(const tern_quic_settings *from, tern_quic_path path, void *tls) {
    tern_quic *quic = allocate(from, path);
    if (quic == NULL) { return NULL; }
    ngtcp2_settings settings;
    ngtcp2_transport_params parameters;
    fill_settings(quic, from, &settings);
    fill_parameters(from, &parameters);
    ngtcp2_callbacks callbacks;
    memset(&callbacks, 0, sizeof callbacks);
    tern_quic_set_callbacks(&callbacks);
    callbacks.client_initial = ngtcp2_crypto_client_initial_cb;
    callbacks.recv_retry = ngtcp2_crypto_recv_retry_cb;
    tern_quic_use_client_token(from, &settings, &callbacks);
    ngtcp2_cid source, destination;
    tern_quic_make_cid(quic, &source, from->cid_length);
    quic->source = tern_quic_cid_from(&source);
    uint8_t random[18];
    quic->events->fill_random(quic->context, random, sizeof random);
    ngtcp2_cid_init(&destination, random, sizeof random);
    quic->original = tern_quic_cid_from(&destination);
    if (ngtcp2_crypto_gnutls_configure_client_session(tls) != 0
        || ngtcp2_conn_client_new(
               &quic->conn, &destination, &source, &quic->read_path.path, NGTCP2_PROTO_VER_V1, &callbacks, &settings,
               &parameters, tern_quic_count_memory(quic), quic) != 0) {
        tern_quic_deallocate(quic);
        return NULL;
    }
    if (from->writes_qlog) { tern_quic_guard_qlog(quic); }
    return attach(quic, tls);
}

tern_quic *tern_quic_server(
    const tern_quic_settings *from, tern_quic_path path, void *tls, uint32_t version, tern_quic_cid original,
    tern_quic_cid peer) {
    tern_quic *quic = allocate(from, path);
    if (quic == NULL) { return NULL; }
    ngtcp2_settings settings;
    ngtcp2_transport_params parameters;
    fill_settings(quic, from, &settings);
    fill_parameters(from, &parameters);
    ngtcp2_callbacks callbacks;
    memset(&callbacks, 0, sizeof callbacks);
    tern_quic_set_callbacks(&callbacks);
    callbacks.recv_client_initial = ngtcp2_crypto_recv_client_initial_cb;
    ngtcp2_cid source, destination = native_cid(peer);
    tern_quic_make_cid(quic, &source, from->cid_length);
    quic->source = tern_quic_cid_from(&source);
    quic->original = original;
    parameters.original_dcid = native_cid(original);
#if !TERN_NGTCP2_1
    settings.qlog.odcid = parameters.original_dcid;
#endif
#if TERN_NGTCP2_1
    parameters.original_dcid_present = 1;
#endif
    tern_quic_use_server_token(from, &settings, &parameters);
    parameters.stateless_reset_token_present = 1;
    parameters.disable_active_migration = from->forbids_migration;
    // When a client comes back to its old path ngtcp2 0.12 starts path MTU discovery without asking whether it is wanted, and
    // aborts the process if it is not. With nothing to find it ends at once.
    settings.no_pmtud = 0;
    if (!from->discovers_mtu) { settings.max_tx_udp_payload_size = NGTCP2_MAX_UDP_PAYLOAD_SIZE; }
    if (tern_quic_offer_preferred_address(quic, from, &parameters) != 0 || ngtcp2_crypto_generate_stateless_reset_token(
            parameters.stateless_reset_token, quic->reset_secret, sizeof quic->reset_secret, &source) != 0
        || ngtcp2_crypto_gnutls_configure_server_session(tls) != 0
        || ngtcp2_conn_server_new(
               &quic->conn, &destination, &source, &quic->read_path.path, version, &callbacks, &settings, &parameters,
               tern_quic_count_memory(quic), quic) != 0) {
        tern_quic_deallocate(quic);
        return NULL;
    }
    tern_quic_tell_preferred_cid(quic, &parameters);
    return attach(quic, tls);
}

void tern_quic_forget_tls(tern_quic *quic) { ngtcp2_conn_set_tls_native_handle(quic->conn, NULL); }

void tern_quic_free(tern_quic *quic) {
    if (quic == NULL) { return; }
    ngtcp2_conn_del(quic->conn);
    tern_quic_drop_held(quic);
    tern_quic_deallocate(quic->extensions);
    tern_quic_deallocate(quic->aliases);
    tern_quic_deallocate(quic->places);
    tern_quic_deallocate(quic);
}

tern_quic_cid tern_quic_original_cid(const tern_quic *quic) { return quic->original; }
tern_quic_cid tern_quic_source_cid(const tern_quic *quic) { return quic->source; }

void tern_quic_set_read_path(tern_quic *quic, tern_quic_path path) { set_path(&quic->read_path, path); }

tern_quic_result tern_quic_remember(tern_quic *quic, int error) {
    if (error >= 0) { return TERN_QUIC_OK; }
    if (error != NGTCP2_ERR_WRITE_MORE) { quic->last_error = error; }
    switch (error) {
    case NGTCP2_ERR_STREAM_NOT_FOUND: return TERN_QUIC_STREAM_NOT_FOUND;
    case NGTCP2_ERR_STREAM_SHUT_WR: return TERN_QUIC_STREAM_SHUT;
    case NGTCP2_ERR_STREAM_DATA_BLOCKED: return TERN_QUIC_STREAM_BLOCKED;
    case NGTCP2_ERR_STREAM_ID_BLOCKED: return TERN_QUIC_STREAM_LIMIT;
    case NGTCP2_ERR_WRITE_MORE: return TERN_QUIC_WRITE_MORE;
    case NGTCP2_ERR_DRAINING: return TERN_QUIC_DRAINING;
    case NGTCP2_ERR_CLOSING: return TERN_QUIC_CLOSING;
    case NGTCP2_ERR_DROP_CONN: return TERN_QUIC_DROP;
    case NGTCP2_ERR_RETRY: return TERN_QUIC_RETRY;
    case NGTCP2_ERR_IDLE_CLOSE: return TERN_QUIC_IDLE;
    case NGTCP2_ERR_HANDSHAKE_TIMEOUT: return TERN_QUIC_HANDSHAKE_TIMEOUT;
    case NGTCP2_ERR_RECV_VERSION_NEGOTIATION: return TERN_QUIC_VERSION_NEGOTIATION;
    case NGTCP2_ERR_CRYPTO: return TERN_QUIC_CRYPTO;
    case NGTCP2_ERR_INVALID_ARGUMENT: case NGTCP2_ERR_INVALID_STATE: return TERN_QUIC_INVALID;
    default: return TERN_QUIC_FAILED;
    }
}

tern_quic_result tern_quic_read(tern_quic *quic, uint8_t ecn, const uint8_t *bytes, size_t length, uint64_t now) {
    ngtcp2_pkt_info info;
    memset(&info, 0, sizeof info);
    info.ecn = ecn & 3;
    quic->now = now;
    length = tern_quic_hold_back(quic, bytes, length, ecn);
    if (length == 0) { return TERN_QUIC_OK; }
    // Of the packet before ngtcp2 knows one half, and not even its number.
    if (quic->has_failed) { return tern_quic_remember(quic, quic->last_error); }
    if (ngtcp2_conn_is_server(quic->conn) && tern_quic_is_reserved(&quic->read_path.path.remote)) { return TERN_QUIC_OK; }
    ngtcp2_path_storage storage;
    quic->shown_path = tern_quic_placed_path(quic, tern_quic_shown_path(quic, &storage), &storage);
    if (quic->shown_path == NULL) { return TERN_QUIC_OK; }
    quic->read_taken = false;
    tern_quic_reading = quic;
    quic->datagram = bytes;
    quic->datagram_length = length;
    quic->resets_read = 0;
    int result;
    // ngtcp2 0.12 forgets a stream whose first frame resets it, so that nothing could be sent on it and its opener would wait
    // for ever. So such streams are opened first, and nothing else comes of the packet then: not even its number is noted.
    do {
        quic->opens_streams = false;
        result = ngtcp2_conn_read_pkt(quic->conn, quic->shown_path, &info, bytes, length, now);
    } while (quic->opens_streams && result == NGTCP2_ERR_FRAME_ENCODING);
    quic->datagram_length = 0;
    quic->has_failed = result < 0;
    tern_quic_reading = NULL;
    tern_quic_note_shown(quic, quic->shown_path);
    tern_quic_note_placed(quic, quic->shown_path);
    quic->shown_path = NULL;
    tern_quic_note_silence(quic);
    if (result == 0) { tern_quic_tell_stops(quic); }
    tern_quic_stop_count = 0;
    return tern_quic_remember(quic, result);
}

bool tern_quic_has_decrypted(const tern_quic *quic) { return quic->has_decrypted; }

uint64_t tern_quic_expiry(tern_quic *quic) { return ngtcp2_conn_get_expiry(quic->conn); }

tern_quic_result tern_quic_expire(tern_quic *quic, uint64_t now) {
    tern_quic_note_timeouts(quic);
    int result = ngtcp2_conn_handle_expiry(quic->conn, now);
    tern_quic_note_timeouts(quic);
    return tern_quic_remember(quic, result);
}

uint64_t tern_quic_probe_timeout(tern_quic *quic) { return ngtcp2_conn_get_pto(quic->conn); }

void tern_quic_keep_alive(tern_quic *quic, uint64_t interval) {
#if TERN_NGTCP2_1
    if (interval == 0) { interval = UINT64_MAX; }
#endif
    ngtcp2_conn_set_keep_alive_timeout(quic->conn, interval);
}

int tern_quic_last_error(const tern_quic *quic) { return quic->last_error; }
const char *tern_quic_error_text(int error) { return ngtcp2_strerror(error); }
uint64_t tern_quic_error_code(int error) { return ngtcp2_err_infer_quic_transport_error_code(error); }
uint8_t tern_quic_tls_alert(tern_quic *quic) { return ngtcp2_conn_get_tls_alert(quic->conn); }
