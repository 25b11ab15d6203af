// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// Paths (RFC 9000, sections 8.2 and 9): migration, probes, and the server's preferred address.

#include "TernNgtcp2Internal.h"

#include <netinet/in.h>

/// After this long a challenge is not expected to be answered any more.
#define CHALLENGE_LIFETIME (30 * NGTCP2_SECONDS)

bool tern_quic_same_address(const struct sockaddr *left, const struct sockaddr *right) {
    if (left->sa_family != right->sa_family) { return false; }
    if (left->sa_family == AF_INET6) {
        const struct sockaddr_in6 *one = (const struct sockaddr_in6 *)(const void *)left;
        const struct sockaddr_in6 *other = (const struct sockaddr_in6 *)(const void *)right;
        return one->sin6_port == other->sin6_port
            && memcmp(&one->sin6_addr, &other->sin6_addr, sizeof other->sin6_addr) == 0;
    }
    const struct sockaddr_in *one = (const struct sockaddr_in *)(const void *)left;
    const struct sockaddr_in *other = (const struct sockaddr_in *)(const void *)right;
    return one->sin_port == other->sin_port && one->sin_addr.s_addr == other->sin_addr.s_addr;
}

static int on_path_challenge(ngtcp2_conn *conn, uint8_t *data, void *user) {
    (void)conn;
    tern_quic *quic = user;
    quic->events->fill_random(quic->context, data, NGTCP2_PATH_CHALLENGE_DATALEN);
    if (quic->first_challenge == 0) { quic->first_challenge = quic->now; }
    quic->latest_challenge = quic->now;
    tern_quic_challenge *challenge = &quic->challenges[quic->challenge_count++ % TERN_QUIC_CHALLENGES];
    memcpy(challenge->data, data, sizeof challenge->data);
    challenge->undersized = false;
    quic->is_writing_challenge = true;
    return 0;
}

/// ngtcp2 keeps no more.
#define OWED_RESPONSES 4
/// In probe timeouts: so long the peer may wait (RFC 9000, section 8.2.4).
#define OWED_FOR 3

void tern_quic_note_challenge(tern_quic *quic) {
#if TERN_NGTCP2_1
    (void)quic;
#else
    if (quic->owed_responses < OWED_RESPONSES) { quic->owed_responses++; }
    quic->owed_until = quic->now + OWED_FOR * ngtcp2_conn_get_pto(quic->conn);
#endif
}

void tern_quic_note_response(tern_quic *quic) {
    if (quic->owed_responses > 0) { quic->owed_responses--; }
}

bool tern_quic_owes_response(tern_quic *quic, uint64_t now) {
    if (now >= quic->owed_until) { quic->owed_responses = 0; }
    return quic->owed_responses > 0;
}

uint64_t tern_quic_owes_until(const tern_quic *quic) {
    return quic->owed_responses > 0 ? quic->owed_until : UINT64_MAX;
}

void tern_quic_note_nothing_written(tern_quic *quic) {
    // A server's answer may wait until more comes from there (RFC 9000, section 8.1), and any answer for what was sent before it.
    if (quic->owed_responses == 0 || ngtcp2_conn_is_server(quic->conn) || quic->now < quic->paced_until) { return; }
    tern_quic_statistics found;
    tern_quic_get_statistics(quic, &found);
    if (found.bytes_in_flight < found.congestion_window) { quic->owed_responses = 0; }
}

void tern_quic_note_packet(tern_quic *quic, size_t length) {
    if (!quic->is_writing_challenge) { return; }
    quic->is_writing_challenge = false;
    tern_quic_challenge *challenge = &quic->challenges[(quic->challenge_count - 1) % TERN_QUIC_CHALLENGES];
    challenge->undersized = length < NGTCP2_MAX_UDP_PAYLOAD_SIZE;
}

bool tern_quic_awaits_response(const tern_quic *quic) {
    return quic->challenge_count > 0 && quic->now - quic->latest_challenge < CHALLENGE_LIFETIME;
}

static void tell(tern_quic *quic, tern_quic_path_outcome outcome, const ngtcp2_path *path) {
    struct sockaddr_storage local, remote;
    tern_quic_real_local(quic, &path->local, &local);
    tern_quic_real_address(quic, &path->remote, &remote);
    tern_quic_path told = {
        .local = (const struct sockaddr *)&local,
        .local_length = path->local.addrlen,
        .remote = (const struct sockaddr *)&remote,
        .remote_length = path->remote.addrlen,
    };
    uint64_t elapsed = quic->first_challenge == 0 ? 0 : quic->now - quic->first_challenge;
    quic->events->path_settled(quic->context, outcome, told, elapsed, quic->answered_undersized);
}

static bool is_on_other_path(tern_quic *quic) {
    return !tern_quic_same_address(
        quic->shown_path->remote.addr, ngtcp2_conn_get_path(quic->conn)->remote.addr);
}

bool tern_quic_take_response(tern_quic *quic, const uint8_t *data) {
    size_t known = quic->challenge_count < TERN_QUIC_CHALLENGES ? quic->challenge_count : TERN_QUIC_CHALLENGES;
    for (size_t i = 0; i < known; i++) {
        if (memcmp(quic->challenges[i].data, data, NGTCP2_PATH_CHALLENGE_DATALEN) != 0) { continue; }
        // 1.x takes care of that itself.
        quic->answered_undersized = !TERN_NGTCP2_1 && quic->challenges[i].undersized;
        // A server whose client comes back in this very packet: ngtcp2 0.12 aborts the process then. It sends again.
        if (!quic->is_probing) { return quic->answered_undersized && is_on_other_path(quic); }
        if (!quic->has_answer) { tell(quic, TERN_QUIC_PATH_ANSWERED, &quic->probed_path.path); }
        quic->has_answer = true;
        return true;
    }
    return false;
}

static void forget_challenges(tern_quic *quic) {
    quic->first_challenge = 0;
    quic->challenge_count = 0;
    quic->answered_undersized = false;
}

#if TERN_NGTCP2_1
static int on_path_validation(
    ngtcp2_conn *conn, uint32_t flags, const ngtcp2_path *path, const ngtcp2_path *old,
    ngtcp2_path_validation_result result, void *user) {
    (void)old;
#else
static int on_path_validation(
    ngtcp2_conn *conn, uint32_t flags, const ngtcp2_path *path, ngtcp2_path_validation_result result, void *user) {
#endif
    (void)conn, (void)flags;
    tern_quic *quic = user;
    switch (result) {
    case NGTCP2_PATH_VALIDATION_RESULT_SUCCESS: tell(quic, TERN_QUIC_PATH_VALID, path); break;
    case NGTCP2_PATH_VALIDATION_RESULT_FAILURE: tell(quic, TERN_QUIC_PATH_FAILED, path); break;
    default: tell(quic, TERN_QUIC_PATH_ABANDONED, path); break;
    }
    forget_challenges(quic);
    quic->is_probing = false;
    return 0;
}

void tern_quic_note_write_path(tern_quic *quic) {
#if TERN_NGTCP2_1
    const ngtcp2_path *current = ngtcp2_conn_get_path(quic->conn);
    if (!ngtcp2_conn_is_server(quic->conn) || !ngtcp2_conn_get_handshake_completed(quic->conn)
        || quic->write_path_number < 2 || quic->is_writing_challenge
        || !ngtcp2_path_eq(&quic->write_path.path, current)) {
        return;
    }
    tell(quic, TERN_QUIC_PATH_VALID, current);
#else
    (void)quic;
#endif
}

tern_quic_move_result tern_quic_move(tern_quic *quic, tern_quic_path path, bool probes, uint64_t now) {
    ngtcp2_path_storage storage;
    ngtcp2_path_storage_init(
        &storage, path.local, path.local_length, path.remote, path.remote_length, NULL);
    quic->now = now;
    int result = probes ? ngtcp2_conn_initiate_migration(quic->conn, &storage.path, now)
                        : ngtcp2_conn_initiate_immediate_migration(quic->conn, &storage.path, now);
    switch (result) {
    case 0: break;
    case NGTCP2_ERR_INVALID_STATE: return TERN_QUIC_MOVE_FORBIDDEN;
    case NGTCP2_ERR_INVALID_ARGUMENT: return TERN_QUIC_MOVE_SAME_PATH;
    case NGTCP2_ERR_CONN_ID_BLOCKED: return TERN_QUIC_MOVE_NO_CID;
    default: tern_quic_remember(quic, result); return TERN_QUIC_MOVE_FAILED;
    }
    forget_challenges(quic);
    quic->is_probing = probes;
    quic->has_answer = false;
    if (probes) {
        ngtcp2_path_storage_zero(&quic->probed_path);
        ngtcp2_path_copy(&quic->probed_path.path, &storage.path);
    }
    return TERN_QUIC_MOVE_STARTED;
}

bool tern_quic_peer_forbids_migration(tern_quic *quic) {
    const ngtcp2_transport_params *remote = ngtcp2_conn_get_remote_transport_params(quic->conn);
    return remote == NULL || remote->disable_active_migration != 0;
}

// MARK: The preferred address

static bool is_loopback(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) {
        return ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr) >> 24 == 127;
    }
    return address->sa_family == AF_INET6
        && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)(const void *)address)->sin6_addr);
}

static int on_preferred_address(ngtcp2_conn *conn, ngtcp2_path *path, const ngtcp2_preferred_addr *offered, void *user) {
    tern_quic *quic = user;
    if (quic->refuses_preferred_address) { return 0; }
    const struct sockaddr *chosen;
    size_t length;
    if (path->local.addr->sa_family == AF_INET && offered->ipv4_present && offered->ipv4.sin_port != 0) {
        chosen = (const struct sockaddr *)(const void *)&offered->ipv4;
        length = sizeof offered->ipv4;
    } else if (path->local.addr->sa_family == AF_INET6 && offered->ipv6_present && offered->ipv6.sin6_port != 0) {
        chosen = (const struct sockaddr *)(const void *)&offered->ipv6;
        length = sizeof offered->ipv6;
    } else {
        return 0;
    }
    // RFC 9000, section 21.5.3: a server elsewhere has no business with what listens inside this machine.
    if (is_loopback(chosen) && !is_loopback(ngtcp2_conn_get_path(conn)->remote.addr)) { return 0; }
    memcpy(path->remote.addr, chosen, length);
    path->remote.addrlen = (ngtcp2_socklen)length;
    return 0;
}

int tern_quic_offer_preferred_address(
    tern_quic *quic, const tern_quic_settings *from, ngtcp2_transport_params *parameters) {
    if (from->preferred_ipv4_port == 0 && from->preferred_ipv6_port == 0) { return 0; }
#if TERN_NGTCP2_1
    ngtcp2_preferred_addr *offered = &parameters->preferred_addr;
    parameters->preferred_addr_present = 1;
#else
    ngtcp2_preferred_addr *offered = &parameters->preferred_address;
    parameters->preferred_address_present = 1;
#endif
    memset(offered, 0, sizeof *offered);
    if (from->preferred_ipv4_port != 0) {
        offered->ipv4_present = 1;
        offered->ipv4.sin_family = AF_INET;
        offered->ipv4.sin_port = htons(from->preferred_ipv4_port);
        memcpy(&offered->ipv4.sin_addr, from->preferred_ipv4, sizeof from->preferred_ipv4);
    }
    if (from->preferred_ipv6_port != 0) {
        offered->ipv6_present = 1;
        offered->ipv6.sin6_family = AF_INET6;
        offered->ipv6.sin6_port = htons(from->preferred_ipv6_port);
        memcpy(&offered->ipv6.sin6_addr, from->preferred_ipv6, sizeof from->preferred_ipv6);
    }
    tern_quic_make_cid(quic, &offered->cid, from->cid_length);
    return ngtcp2_crypto_generate_stateless_reset_token(
        offered->stateless_reset_token, quic->reset_secret, sizeof quic->reset_secret, &offered->cid);
}

void tern_quic_tell_preferred_cid(tern_quic *quic, const ngtcp2_transport_params *parameters) {
#if TERN_NGTCP2_1
    bool present = parameters->preferred_addr_present;
    const ngtcp2_cid *cid = &parameters->preferred_addr.cid;
#else
    bool present = parameters->preferred_address_present;
    const ngtcp2_cid *cid = &parameters->preferred_address.cid;
#endif
    if (present) { quic->events->cid_issued(quic->context, tern_quic_cid_from(cid)); }
}

void tern_quic_note_preferred_cid(tern_quic *quic) {
    const ngtcp2_transport_params *remote = ngtcp2_conn_get_remote_transport_params(quic->conn);
    if (ngtcp2_conn_is_server(quic->conn) || remote == NULL) { return; }
#if TERN_NGTCP2_1
    bool present = remote->preferred_addr_present;
#else
    bool present = remote->preferred_address_present;
#endif
    if (present) { tern_quic_note_given_cid(&quic->peer_cids, 1); }
}

#if TERN_NGTCP2_1
typedef ngtcp2_connection_id_status_type cid_status;
#else
typedef int cid_status;
#endif

static int on_cid_status(
    ngtcp2_conn *conn, cid_status status, uint64_t number, const ngtcp2_cid *cid, const uint8_t *token, void *user) {
    (void)conn, (void)cid, (void)token;
    tern_quic *quic = user;
    if (status != NGTCP2_CONNECTION_ID_STATUS_TYPE_ACTIVATE) { return 0; }
    // The first one is taken up when the handshake is left.
    quic->has_answered = true;
    tern_quic_note_used_cid(&quic->peer_cids, number);
    return 0;
}

void tern_quic_use_paths(ngtcp2_callbacks *callbacks) {
    callbacks->dcid_status = on_cid_status;
    callbacks->path_validation = on_path_validation;
    callbacks->get_path_challenge_data = on_path_challenge;
    callbacks->select_preferred_addr = on_preferred_address;
}
