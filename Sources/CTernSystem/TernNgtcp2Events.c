// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#include "TernNgtcp2Internal.h"

_Thread_local tern_quic *tern_quic_reading;
_Thread_local tern_quic *tern_quic_writing;

static int on_handshake_completed(ngtcp2_conn *conn, void *user) {
    (void)conn;
    tern_quic *quic = user;
    if (tern_quic_settle_early_data(quic) != 0) { return NGTCP2_ERR_CALLBACK_FAILURE; }
    tern_quic_note_preferred_cid(quic);
    quic->events->handshake_completed(quic->context);
    return 0;
}

static int on_handshake_confirmed(ngtcp2_conn *conn, void *user) {
    (void)conn;
    tern_quic *quic = user;
    quic->events->handshake_confirmed(quic->context);
    return 0;
}

static int on_stream_open(ngtcp2_conn *conn, int64_t stream, void *user) {
    (void)conn;
    tern_quic *quic = user;
    quic->events->stream_opened(quic->context, stream);
    return 0;
}

static int on_stream_data(
    ngtcp2_conn *conn, uint32_t flags, int64_t stream, uint64_t offset, const uint8_t *bytes, size_t length, void *user,
    void *stream_user) {
    (void)conn, (void)offset, (void)stream_user;
    tern_quic *quic = user;
    bool finished = (flags & NGTCP2_STREAM_DATA_FLAG_FIN) != 0;
#if TERN_NGTCP2_1
    bool early = (flags & NGTCP2_STREAM_DATA_FLAG_0RTT) != 0;
#else
    bool early = (flags & NGTCP2_STREAM_DATA_FLAG_EARLY) != 0;
#endif
    return quic->events->stream_data(quic->context, stream, bytes, length, finished, early)
        ? 0
        : NGTCP2_ERR_CALLBACK_FAILURE;
}

static int on_stream_reset(
    ngtcp2_conn *conn, int64_t stream, uint64_t final_size, uint64_t code, void *user, void *stream_user) {
    (void)final_size, (void)stream_user;
    tern_quic *quic = user;
    bool opened = ngtcp2_conn_set_stream_user_data(conn, stream, NULL) == 0;
    quic->events->stream_reset(quic->context, stream, code, opened);
    return 0;
}

static int on_acknowledged(
    ngtcp2_conn *conn, int64_t stream, uint64_t offset, uint64_t length, void *user, void *stream_user) {
    (void)conn, (void)stream_user;
    tern_quic *quic = user;
    quic->events->stream_acknowledged(quic->context, stream, offset + length);
    return 0;
}

static int on_stream_credit(ngtcp2_conn *conn, int64_t stream, uint64_t maximum, void *user, void *stream_user) {
    (void)conn, (void)maximum, (void)stream_user;
    tern_quic *quic = user;
    quic->events->stream_credit(quic->context, stream);
    return 0;
}

static int on_stream_close(
    ngtcp2_conn *conn, uint32_t flags, int64_t stream, uint64_t code, void *user, void *stream_user) {
    (void)conn, (void)flags, (void)code, (void)stream_user;
    tern_quic *quic = user;
    tern_quic_tell_stops(quic);
    quic->events->stream_closed(quic->context, stream);
    return 0;
}

static int on_bidirectional_streams(ngtcp2_conn *conn, uint64_t maximum, void *user) {
    (void)conn, (void)maximum;
    tern_quic *quic = user;
    quic->events->streams_available(quic->context, true);
    return 0;
}

static int on_unidirectional_streams(ngtcp2_conn *conn, uint64_t maximum, void *user) {
    (void)conn, (void)maximum;
    tern_quic *quic = user;
    quic->events->streams_available(quic->context, false);
    return 0;
}

static int on_datagram(ngtcp2_conn *conn, uint32_t flags, const uint8_t *bytes, size_t length, void *user) {
    (void)conn, (void)flags;
    tern_quic *quic = user;
    return quic->events->datagram(quic->context, bytes, length) ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
}

static int on_datagram_acknowledged(ngtcp2_conn *conn, uint64_t number, void *user) {
    (void)conn;
    tern_quic *quic = user;
    quic->events->datagram_settled(quic->context, number, true);
    return 0;
}

static int on_datagram_lost(ngtcp2_conn *conn, uint64_t number, void *user) {
    (void)conn;
    tern_quic *quic = user;
    quic->events->datagram_settled(quic->context, number, false);
    return 0;
}

void tern_quic_on_qlog(void *user, uint32_t flags, const void *bytes, size_t length) {
    (void)flags;
    tern_quic *quic = user;
    if (length > 0) { quic->events->qlog(quic->context, bytes, length); }
}

static int on_stateless_reset(ngtcp2_conn *conn, const ngtcp2_pkt_stateless_reset *reset, void *user) {
    (void)conn, (void)reset;
    tern_quic *quic = user;
    quic->events->stateless_reset(quic->context);
    return 0;
}

void tern_quic_make_cid(tern_quic *quic, ngtcp2_cid *cid, size_t length) {
    uint8_t bytes[NGTCP2_MAX_CIDLEN];
    quic->events->fill_random(quic->context, bytes, length);
    memcpy(bytes, quic->cid_prefix, quic->cid_prefix_length);
    ngtcp2_cid_init(cid, bytes, length);
}

static int on_new_connection_id(ngtcp2_conn *conn, ngtcp2_cid *cid, uint8_t *token, size_t length, void *user) {
    (void)conn;
    tern_quic *quic = user;
    tern_quic_make_cid(quic, cid, length);
    if (ngtcp2_crypto_generate_stateless_reset_token(token, quic->reset_secret, sizeof quic->reset_secret, cid) != 0) {
        return NGTCP2_ERR_CALLBACK_FAILURE;
    }
    quic->events->cid_issued(quic->context, tern_quic_cid_from(cid));
    return 0;
}

static int on_remove_connection_id(ngtcp2_conn *conn, const ngtcp2_cid *cid, void *user) {
    (void)conn;
    tern_quic *quic = user;
    quic->has_latest_own = false;
    quic->events->cid_retired(quic->context, tern_quic_cid_from(cid));
    return 0;
}

static void on_random(uint8_t *bytes, size_t length, const ngtcp2_rand_ctx *random) {
    tern_quic *quic = random->native_handle;
    quic->events->fill_random(quic->context, bytes, length);
}

#if TERN_NGTCP2_TELLS_STOP_SENDING
static int on_stop_sending(ngtcp2_conn *conn, int64_t stream, uint64_t code, void *user, void *stream_user) {
    (void)conn, (void)stream_user;
    tern_quic *quic = user;
    quic->events->stream_stopped(quic->context, stream, code);
    return 0;
}
#endif

#if !TERN_NGTCP2_1
/// Not during the handshake, and not a packet that ngtcp2 kept until it was done.
static bool can_be_read_again(tern_quic *quic, const uint8_t *sealed) {
    return sealed >= quic->datagram && sealed < quic->datagram + quic->datagram_length
        && ngtcp2_conn_get_handshake_completed(quic->conn);
}
#endif

/// Reads the frames of a packet before ngtcp2 does. Returns whether it may see the packet.
static bool review(
    tern_quic *quic, uint64_t number, const uint8_t *header, const uint8_t *sealed, uint8_t *plain, size_t length) {
#if !TERN_NGTCP2_1
    if (can_be_read_again(quic, sealed)) {
        quic->opens_streams = tern_quic_open_streams(quic, plain, length);
        if (quic->opens_streams) { return true; }
    }
#else
    (void)sealed;
#endif
    if (!tern_quic_review_frames(quic, plain, length)) { return false; }
    bool is_latest = tern_quic_note_taken(quic, number);
    quic->read_taken = true;
    if (tern_quic_awaits_response(quic)) { tern_quic_find_responses(quic, plain, length); }
    if ((header[0] & 0x80) != 0) { return true; }
    if (ngtcp2_conn_is_server(quic->conn)) { tern_quic_note_opened(quic, plain, length); }
    bool phase = (header[0] & 0x04) != 0;
    if (is_latest && phase != quic->key_phase) {
        quic->key_phase = phase;
        quic->events->keys_updated(quic->context);
    }
    return true;
}

static int on_decrypt(
    uint8_t *plain, const ngtcp2_crypto_aead *aead, const ngtcp2_crypto_aead_ctx *key, const uint8_t *sealed,
    size_t sealed_length, const uint8_t *nonce, size_t nonce_length, const uint8_t *header, size_t header_length) {
    tern_quic *quic = tern_quic_reading;
    if (quic != NULL && tern_quic_must_wait(quic, header, header_length)) { return NGTCP2_ERR_DECRYPT; }
    int result = ngtcp2_crypto_decrypt_cb(
        plain, aead, key, sealed, sealed_length, nonce, nonce_length, header, header_length);
    if (result != 0 || header_length == 0 || sealed_length < aead->max_overhead) { return result; }
    if (quic != NULL) { quic->has_decrypted = true; }
    size_t length = sealed_length - aead->max_overhead;
    tern_quic_space_name space = tern_quic_space_of(header);
    // What may not be seen is as if it had been lost: the peer sends it again.
    if (space != TERN_QUIC_SPACE_APPLICATION) {
        // What was kept of the handshake may be read in a write.
        if (quic == NULL) { quic = tern_quic_writing; }
        if (quic == NULL) { return 0; }
        // It is the number of ngtcp2 if it is one that was acknowledged: that is never above the largest.
        uint64_t number = tern_quic_whole_number(quic->spaces[space].acknowledged, header, header_length);
        return tern_quic_foresees(quic, space, number, plain, length) ? NGTCP2_ERR_DECRYPT : 0;
    }
    uint64_t number;
    if (quic == NULL
        || !tern_quic_takes(quic, key->native_handle, nonce, nonce_length, header, header_length, &number)
        || tern_quic_foresees(quic, space, number, plain, length)
        || !review(quic, number, header, sealed, plain, length)) {
        return NGTCP2_ERR_DECRYPT;
    }
    return 0;
}

static int on_update_key(
    ngtcp2_conn *conn, uint8_t *rx_secret, uint8_t *tx_secret, ngtcp2_crypto_aead_ctx *rx_key, uint8_t *rx_iv,
    ngtcp2_crypto_aead_ctx *tx_key, uint8_t *tx_iv, const uint8_t *old_rx_secret, const uint8_t *old_tx_secret,
    size_t length, void *user) {
    int result = ngtcp2_crypto_update_key_cb(
        conn, rx_secret, tx_secret, rx_key, rx_iv, tx_key, tx_iv, old_rx_secret, old_tx_secret, length, user);
    if (result == 0) { tern_quic_note_updated_key(user, rx_key->native_handle, rx_iv); }
    return result;
}

static int on_encrypt(
    uint8_t *sealed, const ngtcp2_crypto_aead *aead, const ngtcp2_crypto_aead_ctx *key, const uint8_t *plain,
    size_t plain_length, const uint8_t *nonce, size_t nonce_length, const uint8_t *header, size_t header_length) {
    if (tern_quic_writing != NULL && header_length > 0) {
        tern_quic_note_sealed(tern_quic_writing, header, header_length, plain, plain_length);
    }
    return ngtcp2_crypto_encrypt_cb(
        sealed, aead, key, plain, plain_length, nonce, nonce_length, header, header_length);
}

#if TERN_NGTCP2_1
typedef ngtcp2_encryption_level encryption_level;
#else
typedef ngtcp2_crypto_level encryption_level;
#endif

static int on_crypto_data(
    ngtcp2_conn *conn, encryption_level level, uint64_t offset, const uint8_t *bytes, size_t length, void *user) {
#if TERN_NGTCP2_1
    bool is_initial = level == NGTCP2_ENCRYPTION_LEVEL_INITIAL;
    bool is_handshake = level == NGTCP2_ENCRYPTION_LEVEL_HANDSHAKE;
#else
    bool is_initial = level == NGTCP2_CRYPTO_LEVEL_INITIAL;
    bool is_handshake = level == NGTCP2_CRYPTO_LEVEL_HANDSHAKE;
#endif
    if (is_handshake && !tern_quic_may_log(user, bytes, length)) {
        // handshake_failure: what this end cannot do is no fault of the server's.
        ngtcp2_conn_set_tls_alert(conn, GNUTLS_A_HANDSHAKE_FAILURE);
        return NGTCP2_ERR_CRYPTO;
    }
    if (ngtcp2_conn_get_tls_native_handle(conn) != NULL
        && (is_initial || tern_quic_takes_messages(user, is_handshake, bytes, length))) {
        return ngtcp2_crypto_recv_crypto_data_cb(conn, level, offset, bytes, length, user);
    }
    // After the handshake a client may send nothing, and a server nothing but tickets: neither a KeyUpdate (RFC 9001, section 6) nor a certificate that nobody
    // asked for (RFC 8446, section 4.6.2).
    ngtcp2_conn_set_tls_alert(conn, GNUTLS_A_UNEXPECTED_MESSAGE);
    return NGTCP2_ERR_CRYPTO;
}

void tern_quic_set_callbacks(ngtcp2_callbacks *callbacks) {
    callbacks->recv_crypto_data = on_crypto_data;
    callbacks->encrypt = on_encrypt;
    callbacks->hp_mask = ngtcp2_crypto_hp_mask_cb;
    callbacks->update_key = on_update_key;
    callbacks->delete_crypto_aead_ctx = ngtcp2_crypto_delete_crypto_aead_ctx_cb;
    callbacks->delete_crypto_cipher_ctx = ngtcp2_crypto_delete_crypto_cipher_ctx_cb;
    callbacks->version_negotiation = ngtcp2_crypto_version_negotiation_cb;
    callbacks->handshake_completed = on_handshake_completed;
    callbacks->handshake_confirmed = on_handshake_confirmed;
    callbacks->stream_open = on_stream_open;
    callbacks->recv_stream_data = on_stream_data;
    callbacks->stream_reset = on_stream_reset;
    callbacks->acked_stream_data_offset = on_acknowledged;
    callbacks->extend_max_stream_data = on_stream_credit;
    callbacks->stream_close = on_stream_close;
    callbacks->extend_max_local_streams_bidi = on_bidirectional_streams;
    callbacks->extend_max_local_streams_uni = on_unidirectional_streams;
    callbacks->recv_datagram = on_datagram;
    callbacks->ack_datagram = on_datagram_acknowledged;
    callbacks->lost_datagram = on_datagram_lost;
    callbacks->recv_stateless_reset = on_stateless_reset;
    callbacks->get_new_connection_id = on_new_connection_id;
    callbacks->remove_connection_id = on_remove_connection_id;
    callbacks->rand = on_random;
    tern_quic_use_paths(callbacks);
    callbacks->decrypt = on_decrypt;
#if TERN_NGTCP2_TELLS_STOP_SENDING
    callbacks->recv_stop_sending = on_stop_sending;
#endif
}
