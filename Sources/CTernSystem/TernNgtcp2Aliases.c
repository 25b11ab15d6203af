// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// A server's client whose path ngtcp2 0.12 gave up.
//
// When a client's new address was validated by a small PATH_CHALLENGE only, ngtcp2 checks next that the path takes datagrams
// of 1200 bytes; if that fails, because the network is down for a second, every write fails from then on with NO_VIABLE_PATH.
// But it goes on reading, and a packet from an address that it does not know makes it start anew, there. So the next packet
// is shown to it with a port that no client has, and from then on that port stands for the client's real address. ngtcp2
// validates it as any other, within the limits for an address that is not validated yet.
//
// The same helps a server that has sent all that it may to an address that is not validated, and lost it: ngtcp2 0.12 disarms
// its loss detection timer at the amplification limit and arms it again only when something is acknowledged or sent. What the
// client sends then raises that limit, but the congestion window is full, for ever.

#include "TernNgtcp2Internal.h"

#include <netinet/in.h>

/// A connection needs one each time that it is stranded. Ports below it stand for other addresses, so that none may be a
/// client's own.
#define ALIASES 16

static in_port_t *port_of(const struct sockaddr *address) {
    return address->sa_family == AF_INET6 ? &((struct sockaddr_in6 *)(void *)address)->sin6_port
                                          : &((struct sockaddr_in *)(void *)address)->sin_port;
}

bool tern_quic_is_reserved(const ngtcp2_addr *remote) { return ntohs(*port_of(remote->addr)) < ALIASES; }

#if !TERN_NGTCP2_1
static bool start_anew(tern_quic *quic) {
    if (quic->aliases == NULL) { quic->aliases = tern_quic_allocate(ALIASES * sizeof *quic->aliases); }
    if (quic->aliases == NULL || quic->alias_count == ALIASES) { return false; }
    quic->is_stranded = true;
    return true;
}
#endif

bool tern_quic_strand(tern_quic *quic, int error) {
#if TERN_NGTCP2_1
    (void)quic, (void)error;
    return false;
#else
    if (error != NGTCP2_ERR_NO_VIABLE_PATH || !ngtcp2_conn_is_server(quic->conn)) { return false; }
    return start_anew(quic);
#endif
}

void tern_quic_note_silence(tern_quic *quic) {
#if TERN_NGTCP2_1
    (void)quic;
#else
    // Only a client that has moved has an address that is not validated.
    if (quic->places == NULL || quic->is_stranded) { return; }
    ngtcp2_conn_stat found;
    ngtcp2_conn_get_conn_stat(quic->conn, &found);
    if (found.loss_detection_timer != UINT64_MAX || found.bytes_in_flight < found.cwnd) { return; }
    uint64_t sent = found.last_tx_pkt_ts[NGTCP2_PKTNS_ID_APPLICATION];
    if (sent == UINT64_MAX || quic->now - sent < 3 * ngtcp2_conn_get_pto(quic->conn)) { return; }
    start_anew(quic);
#endif
}

static void name(ngtcp2_path_storage *storage, const ngtcp2_path *path, size_t number) {
    ngtcp2_path_storage_zero(storage);
    ngtcp2_path_copy(&storage->path, path);
    *port_of(storage->path.remote.addr) = htons((uint16_t)number);
}

const ngtcp2_path *tern_quic_shown_path(tern_quic *quic, ngtcp2_path_storage *storage) {
    const ngtcp2_path *path = &quic->read_path.path;
    if (quic->is_stranded) {
        struct sockaddr_storage *real = &quic->aliases[quic->alias_count];
        memset(real, 0, sizeof *real);
        memcpy(real, path->remote.addr, path->remote.addrlen);
        name(storage, path, quic->alias_count);
        return &storage->path;
    }
    for (size_t i = quic->alias_count; i > 0; i--) {
        if (!tern_quic_same_address(path->remote.addr, (const struct sockaddr *)&quic->aliases[i - 1])) { continue; }
        name(storage, path, i - 1);
        return &storage->path;
    }
    return path;
}

void tern_quic_note_shown(tern_quic *quic, const ngtcp2_path *shown) {
    if (!quic->is_stranded) { return; }
    if (!tern_quic_same_address(ngtcp2_conn_get_path(quic->conn)->remote.addr, shown->remote.addr)) { return; }
    quic->alias_count++;
    quic->is_stranded = false;
}

void tern_quic_real_address(const tern_quic *quic, const ngtcp2_addr *remote, struct sockaddr_storage *real) {
    memset(real, 0, sizeof *real);
    if (remote->addrlen > sizeof *real) { return; }
    memcpy(real, remote->addr, remote->addrlen);
    if (quic->aliases == NULL || !tern_quic_is_reserved(remote)) { return; }
    size_t number = ntohs(*port_of(remote->addr));
    if (number < quic->alias_count || (quic->is_stranded && number == quic->alias_count)) {
        *real = quic->aliases[number];
    }
}
