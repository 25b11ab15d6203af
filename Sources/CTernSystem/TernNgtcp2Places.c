// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// A server's client gets a connection ID of its own for each address that it moves to.
//
// ngtcp2 goes on using a connection ID when the client's address changes and the client's packets carry the old one, as after
// a NAT rebinding. Then the path that is validated and the one to fall back to share a connection ID, and a client that moves
// on with a new one before all that is over makes ngtcp2 retire the shared one while it still holds it: it counts a retired
// connection ID as active, and closes the connection with CONNECTION_ID_LIMIT_ERROR, or retires it twice, and aborts the
// process. RFC 9000, section 9.5 allows a new connection ID for every change, and ngtcp2 takes one when its own address
// changes as well. What a path is called means nothing to ngtcp2, so each address of the client is given a local address of
// its own here: a name that no socket has, and that is translated back wherever ngtcp2 tells a path.

#include "TernNgtcp2Internal.h"

#include <netinet/in.h>

/// ngtcp2 holds at most a dozen paths.
#define PLACES 16

typedef union ip_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
} ip_address;

typedef struct place {
    ip_address local;
    /// As ngtcp2 is told.
    ip_address remote;
    /// 0: the local address is told as it is.
    uint32_t name;
    uint32_t used_at;
} place;

struct tern_quic_places {
    size_t count;
    uint32_t latest_name;
    uint32_t clock;
    /// Becomes one of the others when the datagram is known to be the client's.
    place next;
    bool has_next;
    /// The client had no connection ID to spare when it moved, so that two paths may share one.
    bool shares;
    uint64_t shared_at;
    /// The first is the address that was the client's when it moved first, and stays.
    place list[PLACES];
};

/// Longer than ngtcp2 tries to validate a path: three probe timeouts, at least those of an unknown round trip (3.1 s), after the
/// latest challenge.
#define SHARING (5 * NGTCP2_SECONDS)

static bool copy(ip_address *to, const ngtcp2_addr *from) {
    memset(to, 0, sizeof *to);
    if (from->addrlen > sizeof *to) { return false; }
    memcpy(to, from->addr, from->addrlen);
    return true;
}

static bool is_current(tern_quic *quic, const ngtcp2_path *path) {
    return ngtcp2_path_eq(ngtcp2_conn_get_path(quic->conn), path);
}

/// Writes the local address that stands for a place: 0.0.0.x or ::x, and port 0.
static void name_path(ngtcp2_path_storage *storage, const ngtcp2_path *path, uint32_t name) {
    if (&storage->path != path) {
        ngtcp2_path_storage_zero(storage);
        ngtcp2_path_copy(&storage->path, path);
    }
    if (storage->path.local.addr->sa_family == AF_INET6) {
        struct sockaddr_in6 *local = (struct sockaddr_in6 *)(void *)storage->path.local.addr;
        memset(&local->sin6_addr, 0, sizeof local->sin6_addr);
        for (int i = 0; i < 4; i++) { local->sin6_addr.s6_addr[15 - i] = (uint8_t)(name >> 8 * i); }
        local->sin6_port = 0;
    } else {
        struct sockaddr_in *local = (struct sockaddr_in *)(void *)storage->path.local.addr;
        local->sin_addr.s_addr = htonl(name);
        local->sin_port = 0;
    }
}

/// The name that `local` is; 0 if it is an address of ours.
static uint32_t name_of(const ngtcp2_addr *local) {
    if (local->addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *address = (const struct sockaddr_in6 *)(const void *)local->addr;
        if (address->sin6_port != 0) { return 0; }
        uint32_t name = 0;
        for (int i = 12; i < 16; i++) { name = name << 8 | address->sin6_addr.s6_addr[i]; }
        return name;
    }
    const struct sockaddr_in *address = (const struct sockaddr_in *)(const void *)local->addr;
    return address->sin_port != 0 ? 0 : ntohl(address->sin_addr.s_addr);
}

static struct tern_quic_places *places(tern_quic *quic) {
    if (quic->places != NULL) { return quic->places; }
    struct tern_quic_places *made = tern_quic_allocate(sizeof *made);
    if (made == NULL) { return NULL; }
    const ngtcp2_path *current = ngtcp2_conn_get_path(quic->conn);
    if (!copy(&made->list[0].local, &current->local) || !copy(&made->list[0].remote, &current->remote)) {
        tern_quic_deallocate(made);
        return NULL;
    }
    made->count = 1;
    quic->places = made;
    return made;
}

/// Whether two of ngtcp2's paths may share a connection ID still.
static bool is_sharing(tern_quic *quic) {
    if (quic->places == NULL || !quic->places->shares) { return false; }
    if (quic->is_stranded) { return true; }
    uint64_t since = quic->places->shared_at;
    if (quic->latest_challenge > since) { since = quic->latest_challenge; }
    uint64_t longest = 16 * ngtcp2_conn_get_pto(quic->conn);
    return quic->now - since < (longest > SHARING ? longest : SHARING);
}

bool tern_quic_is_moving(tern_quic *quic) {
    return quic->shown_path != NULL && ngtcp2_conn_is_server(quic->conn)
        && ngtcp2_conn_get_handshake_completed(quic->conn) && !is_current(quic, quic->shown_path);
}

/// The path of a client that has no connection ID to spare: with the local address that the current path has for ngtcp2, so
/// that it goes on with the connection ID in use.
static const ngtcp2_path *shared_path(tern_quic *quic, const ngtcp2_path *path, ngtcp2_path_storage *storage) {
    const ngtcp2_addr *current = &ngtcp2_conn_get_path(quic->conn)->local;
    struct sockaddr_storage real;
    tern_quic_real_local(quic, current, &real);
    if (!tern_quic_same_address((const struct sockaddr *)&real, path->local.addr)) { return path; }
    if (&storage->path != path) {
        ngtcp2_path_storage_zero(storage);
        ngtcp2_path_copy(&storage->path, path);
    }
    memcpy(storage->path.local.addr, current->addr, current->addrlen);
    // Only a move begins a validation; what comes after it on the same path does not.
    quic->read_unplaced = !is_current(quic, &storage->path);
    return &storage->path;
}

static const ngtcp2_path *current_path(tern_quic *quic, ngtcp2_path_storage *storage) {
    ngtcp2_path_storage_zero(storage);
    ngtcp2_path_copy(&storage->path, ngtcp2_conn_get_path(quic->conn));
    return &storage->path;
}

const ngtcp2_path *tern_quic_placed_path(tern_quic *quic, const ngtcp2_path *path, ngtcp2_path_storage *storage) {
    quic->read_unplaced = false;
    quic->refuses_connection_ids = false;
    if (!ngtcp2_conn_is_server(quic->conn) || !ngtcp2_conn_get_handshake_completed(quic->conn)
        || is_current(quic, path) || ngtcp2_conn_get_dcid(quic->conn)->datalen == 0) {
        return path;
    }
    struct tern_quic_places *known = places(quic);
    if (known == NULL) { return NULL; }
    known->has_next = false;
    known->clock++;
    if (tern_quic_forbids_moves(quic)) { return current_path(quic, storage); }
    if (is_sharing(quic)) {
        // A new connection ID for a third path is what must not happen.
        if (tern_quic_has_spare_cid(&quic->peer_cids)) { return current_path(quic, storage); }
        quic->refuses_connection_ids = true;
    }
    for (size_t i = 0; i < known->count; i++) {
        place *place = &known->list[i];
        if (!tern_quic_same_address(&place->local.any, path->local.addr)
            || !tern_quic_same_address(&place->remote.any, path->remote.addr)) {
            continue;
        }
        place->used_at = known->clock;
        // ngtcp2 knows it by no other name, and would not find the path that it may fall back to.
        if (place->name == 0) {
            // Otherwise ngtcp2 takes a new connection ID, because the local address changes.
            quic->read_unplaced = name_of(&ngtcp2_conn_get_path(quic->conn)->local) == 0;
            return path;
        }
        name_path(storage, path, place->name);
        return &storage->path;
    }
    if (!tern_quic_has_spare_cid(&quic->peer_cids)) { return shared_path(quic, path, storage); }
    if (!copy(&known->next.local, &path->local) || !copy(&known->next.remote, &path->remote)) { return NULL; }
    // Names are used once; after sixteen millions the connection stays where it is.
    if (known->latest_name == 0xffffff) { return NULL; }
    known->next.name = known->latest_name + 1;
    known->next.used_at = known->clock;
    known->has_next = true;
    name_path(storage, path, known->next.name);
    return &storage->path;
}

/// Where the next place goes: instead of the one that was used longest ago, unless it is the current one.
static place *room(tern_quic *quic) {
    struct tern_quic_places *known = quic->places;
    if (known->count < PLACES) { return &known->list[known->count++]; }
    uint32_t current = name_of(&ngtcp2_conn_get_path(quic->conn)->local);
    place *oldest = NULL;
    for (size_t i = 1; i < PLACES; i++) {
        place *place = &known->list[i];
        if (place->name == current) { continue; }
        if (oldest == NULL || place->used_at < oldest->used_at) { oldest = place; }
    }
    return oldest;
}

void tern_quic_note_placed(tern_quic *quic, const ngtcp2_path *shown) {
    struct tern_quic_places *known = quic->places;
    quic->refuses_connection_ids = false;
    if (known == NULL) { return; }
    if (known->has_next && quic->read_taken) {
        known->latest_name = known->next.name;
        *room(quic) = known->next;
    }
    known->has_next = false;
    if (quic->read_unplaced && is_current(quic, shown)) {
        known->shares = true;
        known->shared_at = quic->now;
    }
    quic->read_unplaced = false;
}

void tern_quic_real_local(const tern_quic *quic, const ngtcp2_addr *local, struct sockaddr_storage *real) {
    memset(real, 0, sizeof *real);
    if (local->addrlen > sizeof *real) { return; }
    memcpy(real, local->addr, local->addrlen);
    uint32_t name = quic->places == NULL ? 0 : name_of(local);
    if (name == 0) { return; }
    const struct tern_quic_places *known = quic->places;
    // A name that was forgotten: nearly always there is one local address.
    const place *found = &known->list[0];
    if (known->has_next && known->next.name == name) { found = &known->next; }
    for (size_t i = 1; i < known->count; i++) {
        if (known->list[i].name == name) { found = &known->list[i]; }
    }
    memcpy(real, &found->local, sizeof found->local);
}
