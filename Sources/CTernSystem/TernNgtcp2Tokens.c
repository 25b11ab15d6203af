// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// Address validation (RFC 9000, section 8.1): Retry packets and the tokens of Retry and NEW_TOKEN.

#include "TernNgtcp2Internal.h"

#include <netinet/in.h>
#include <stdlib.h>

static ngtcp2_cid native_cid(tern_quic_cid cid) {
    ngtcp2_cid native;
    ngtcp2_cid_init(&native, cid.bytes, cid.length);
    return native;
}

// ngtcp2 aborts the process for any other family.
static bool is_ip(const struct sockaddr *address) {
    return address != NULL && (address->sa_family == AF_INET || address->sa_family == AF_INET6);
}

tern_quic_token_kind tern_quic_token_kind_of(const uint8_t *token, size_t length) {
    if (token == NULL || length == 0) { return TERN_QUIC_TOKEN_NONE; }
    if (length == NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN && token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_RETRY) {
        return TERN_QUIC_TOKEN_RETRY;
    }
    if (length == NGTCP2_CRYPTO_MAX_REGULAR_TOKENLEN && token[0] == NGTCP2_CRYPTO_TOKEN_MAGIC_REGULAR) {
        return TERN_QUIC_TOKEN_REGULAR;
    }
    return TERN_QUIC_TOKEN_FOREIGN;
}

size_t tern_quic_write_retry(
    uint8_t *packet, size_t capacity, tern_quic_header initial, tern_quic_cid source, const struct sockaddr *remote,
    socklen_t remote_length, const uint8_t *secret, size_t secret_length, uint64_t now) {
    if (!is_ip(remote)) { return 0; }
    ngtcp2_cid original = native_cid(initial.destination);
    ngtcp2_cid client = native_cid(initial.source);
    ngtcp2_cid server = native_cid(source);
    uint8_t token[NGTCP2_CRYPTO_MAX_RETRY_TOKENLEN];
    ngtcp2_ssize length = ngtcp2_crypto_generate_retry_token(
        token, secret, secret_length, initial.version, remote, remote_length, &server, &original, now);
    if (length <= 0) { return 0; }
    ngtcp2_ssize written = ngtcp2_crypto_write_retry(
        packet, capacity, initial.version, &client, &server, &original, token, (size_t)length);
    return written > 0 ? (size_t)written : 0;
}

bool tern_quic_verify_retry_token(
    tern_quic_header initial, const uint8_t *token, size_t token_length, const struct sockaddr *remote,
    socklen_t remote_length, const uint8_t *secret, size_t secret_length, uint64_t lifetime, uint64_t now,
    tern_quic_cid *original) {
    if (!is_ip(remote) || tern_quic_token_kind_of(token, token_length) != TERN_QUIC_TOKEN_RETRY) { return false; }
    ngtcp2_cid destination = native_cid(initial.destination);
    ngtcp2_cid found;
    if (ngtcp2_crypto_verify_retry_token(
            &found, token, token_length, secret, secret_length, initial.version, remote, remote_length, &destination,
            lifetime, now) != 0) {
        return false;
    }
    *original = tern_quic_cid_from(&found);
    return true;
}

size_t tern_quic_make_token(
    uint8_t *token, size_t capacity, const struct sockaddr *remote, socklen_t remote_length, const uint8_t *secret,
    size_t secret_length, uint64_t now) {
    if (!is_ip(remote) || capacity < NGTCP2_CRYPTO_MAX_REGULAR_TOKENLEN) { return 0; }
    ngtcp2_ssize length =
        ngtcp2_crypto_generate_regular_token(token, secret, secret_length, remote, remote_length, now);
    return length > 0 ? (size_t)length : 0;
}

bool tern_quic_verify_token(
    const uint8_t *token, size_t token_length, const struct sockaddr *remote, socklen_t remote_length,
    const uint8_t *secret, size_t secret_length, uint64_t lifetime, uint64_t now) {
    if (!is_ip(remote) || tern_quic_token_kind_of(token, token_length) != TERN_QUIC_TOKEN_REGULAR) { return false; }
    return ngtcp2_crypto_verify_regular_token(
               token, token_length, secret, secret_length, remote, remote_length, lifetime, now)
        == 0;
}

size_t tern_quic_write_refusal(uint8_t *packet, size_t capacity, tern_quic_header initial, uint64_t code) {
    ngtcp2_cid client = native_cid(initial.source);
    ngtcp2_cid server = native_cid(initial.destination);
    ngtcp2_ssize written = ngtcp2_crypto_write_connection_close(
        packet, capacity, initial.version, &client, &server, code, NULL, 0);
    return written > 0 ? (size_t)written : 0;
}

bool tern_quic_submit_token(tern_quic *quic, const uint8_t *token, size_t length) {
    // ngtcp2 aborts for both.
    if (length == 0 || !ngtcp2_conn_is_server(quic->conn)) { return false; }
    return ngtcp2_conn_submit_new_token(quic->conn, token, length) == 0;
}

void tern_quic_derive_secret(
    uint8_t *derived, const uint8_t *secret, size_t secret_length, const char *label, size_t label_length) {
    if (gnutls_hmac_fast(GNUTLS_MAC_SHA256, secret, secret_length, label, label_length, derived) != 0) {
        // Nothing may depend on a secret that everybody could know.
        abort();
    }
}

#if TERN_NGTCP2_1
static int on_token(ngtcp2_conn *conn, const uint8_t *token, size_t length, void *user) {
    (void)conn;
    tern_quic *quic = user;
    quic->events->token_received(quic->context, token, length);
    return 0;
}
#else
static int on_token(ngtcp2_conn *conn, const ngtcp2_vec *token, void *user) {
    (void)conn;
    tern_quic *quic = user;
    quic->events->token_received(quic->context, token->base, token->len);
    return 0;
}
#endif

void tern_quic_use_client_token(
    const tern_quic_settings *from, ngtcp2_settings *settings, ngtcp2_callbacks *callbacks) {
    callbacks->recv_new_token = on_token;
    if (from->token == NULL || from->token_length == 0) { return; }
#if TERN_NGTCP2_1
    settings->token = from->token;
    settings->tokenlen = from->token_length;
    settings->token_type = NGTCP2_TOKEN_TYPE_NEW_TOKEN;
#else
    settings->token.base = (uint8_t *)from->token;
    settings->token.len = from->token_length;
#endif
}

void tern_quic_use_server_token(
    const tern_quic_settings *from, ngtcp2_settings *settings, ngtcp2_transport_params *parameters) {
    if (from->token == NULL || from->token_length == 0) { return; }
#if TERN_NGTCP2_1
    settings->token = from->token;
    settings->tokenlen = from->token_length;
    settings->token_type = from->retry_source.length > 0 ? NGTCP2_TOKEN_TYPE_RETRY : NGTCP2_TOKEN_TYPE_NEW_TOKEN;
#else
    settings->token.base = (uint8_t *)from->token;
    settings->token.len = from->token_length;
#endif
    if (from->retry_source.length > 0) {
        parameters->retry_scid = native_cid(from->retry_source);
        parameters->retry_scid_present = 1;
    }
}
