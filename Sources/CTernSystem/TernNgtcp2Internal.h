// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#pragma once

#include "TernNgtcp2.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <ngtcp2/ngtcp2_crypto_gnutls.h>
#include <string.h>

#if NGTCP2_VERSION_NUM >= 0x010000
#define TERN_NGTCP2_1 1
#else
#define TERN_NGTCP2_1 0
#endif

// From 1.24 on ngtcp2 says when STOP_SENDING comes; before, the frames of each decrypted packet are looked through for
// it.
#if NGTCP2_VERSION_NUM >= 0x011800
#define TERN_NGTCP2_TELLS_STOP_SENDING 1
#else
#define TERN_NGTCP2_TELLS_STOP_SENDING 0
#endif

/// STOP_SENDING frames of the packets of one datagram that are not told yet; more are told by the next write.
#define TERN_QUIC_PENDING_STOPS 64

typedef struct tern_quic_stop {
    int64_t stream;
    uint64_t code;
} tern_quic_stop;

/// PATH_CHALLENGE frames whose answers are recognized.
#define TERN_QUIC_CHALLENGES 8

typedef struct tern_quic_challenge {
    uint8_t data[NGTCP2_PATH_CHALLENGE_DATALEN];
    /// Its datagram proves nothing about the path's MTU.
    bool undersized;
} tern_quic_challenge;

#define TERN_QUIC_RETIREMENTS 32

typedef struct tern_quic_retirement {
    uint64_t number;
    uint64_t packet;
    /// When the packet was written, and the shortest probe timeout since.
    uint64_t sent;
    uint64_t least_timeout;
} tern_quic_retirement;

/// Packets that an ACK frame acknowledges.
typedef struct tern_quic_range {
    uint64_t first;
    uint64_t last;
} tern_quic_range;

/// The packet numbers of the peer that came, of 0-RTT and 1-RTT packets.
#define TERN_QUIC_NUMBER_WORDS 8

typedef struct tern_quic_numbers {
    /// The one after the largest.
    uint64_t next;
    /// The latest 512; number n is bit n % 64 of word n / 64 % 8.
    uint64_t seen[TERN_QUIC_NUMBER_WORDS];
} tern_quic_numbers;

/// A packet number space: what was written there.
typedef struct tern_quic_space {
    /// The number after the packet that was written last.
    uint64_t next_sealed;
    /// The number after the largest one of the peer that was acknowledged, and the packet that did so first.
    uint64_t acknowledged;
    uint64_t first_answer;
} tern_quic_space;

typedef enum tern_quic_space_name {
    TERN_QUIC_SPACE_INITIAL,
    TERN_QUIC_SPACE_HANDSHAKE,
    TERN_QUIC_SPACE_APPLICATION,
    TERN_QUIC_SPACES,
} tern_quic_space_name;

/// What opens packets of the peer.
typedef struct tern_quic_key {
    const void *handle;
    /// The last eight bytes of its IV.
    uint64_t iv;
    bool has_iv;
} tern_quic_key;

/// ngtcp2 has the key in use, the one before, and the next.
#define TERN_QUIC_KEYS 4

/// A packet that came too early.
typedef struct tern_quic_held tern_quic_held;

/// How far the messages of TLS were read in one kind of packets.
typedef struct {
    uint8_t header_length;
    /// The Finished was among them.
    bool is_over;
    uint32_t rest;
} tern_quic_tls_messages;

struct tern_quic {
    ngtcp2_conn *conn;
    /// GnuTLS's session finds the connection through this, so it never moves.
    ngtcp2_crypto_conn_ref reference;
    const tern_quic_events *events;
    void *context;
    ngtcp2_path_storage read_path;
    ngtcp2_path_storage write_path;
    ngtcp2_path_storage known_path;
    uint64_t write_path_number;
    /// When the pacing interval is over; what the next one is for.
    uint64_t paced_until;
    uint64_t unpaced_bytes;
    int last_error;
    /// In packets of the handshake, and in those after it.
    tern_quic_tls_messages handshake_messages;
    tern_quic_tls_messages later_messages;
    bool has_decrypted;
    /// A client that sends 0-RTT data.
    bool offers_early_data;
    tern_quic_cid source;
    tern_quic_cid original;
    /// The key phase of the latest 1-RTT packet of the peer (RFC 9001, section 6).
    bool key_phase;
    uint8_t cid_prefix_length;
    uint8_t cid_prefix[12];
    uint8_t reset_secret[32];
    /// What ngtcp2 has allocated for the connection, and by what.
    size_t memory;
    ngtcp2_mem allocator;
    /// Of the read or write call that is running.
    uint64_t now;
    /// Since the latest path was settled; 0: none.
    uint64_t first_challenge;
    uint64_t latest_challenge;
    size_t challenge_count;
    tern_quic_challenge challenges[TERN_QUIC_CHALLENGES];
    bool is_writing_challenge;
    /// PATH_CHALLENGE frames that came and were not answered yet, and when nobody waits for the answers any more.
    uint8_t owed_responses;
    uint64_t owed_until;
    bool answered_undersized;
    /// ngtcp2 would leave the current path when the challenge is answered, so it is not told.
    bool is_probing;
    bool has_answer;
    ngtcp2_path_storage probed_path;
    bool refuses_preferred_address;
    /// ngtcp2 writes nothing more until a packet comes from an address that it does not know.
    bool is_stranded;
    /// Where the ports that stand for a client's address lead; NULL until one is needed.
    uint8_t alias_count;
    struct sockaddr_storage *aliases;
    /// The path of the datagram that is being read, as ngtcp2 is told.
    const ngtcp2_path *shown_path;
    /// The datagram that is being read, whether a packet of it was changed so that it opens streams, and how many of its
    /// RESET_STREAM frames were looked at for that.
    const uint8_t *datagram;
    size_t datagram_length;
    bool opens_streams;
    size_t resets_read;
    /// ngtcp2 took something of that datagram.
    bool read_taken;
    /// ngtcp2 stopped in the middle of a packet.
    bool has_failed;
    /// Its path shares the local address with the current one.
    bool read_unplaced;
    /// No connection ID may come with it.
    bool refuses_connection_ids;
    tern_quic_peer_cids peer_cids;
    /// A server's names for its client's addresses; NULL until the client moves.
    struct tern_quic_places *places;
    /// A client: ngtcp2 has left the handshake; until then what packets with short headers brought is held.
    bool has_answered;
    tern_quic_held *held;
    size_t held_size;
    /// A client that writes a qlog, until the server's transport parameters were looked at; the beginning of its TLS messages.
    bool guards_qlog;
    bool refused_to_log;
    uint8_t *extensions;
    size_t extensions_length;
    tern_quic_space spaces[TERN_QUIC_SPACES];
    /// A server: the packets with RETIRE_CONNECTION_ID frames that are not acknowledged.
    size_t retirement_count;
    tern_quic_retirement retirements[TERN_QUIC_RETIREMENTS];
    /// The largest number that an ACK frame named.
    uint64_t largest_acknowledged;
    /// What came of the peer's packets, and what opens them: the first 1-RTT key and those of updates, by their count.
    tern_quic_numbers numbers;
    tern_quic_key early_key;
    uint64_t key_updates;
    tern_quic_key keys[TERN_QUIC_KEYS];
    /// The connection ID of ours that came last.
    bool has_latest_own;
    tern_quic_cid latest_own;
};

void tern_quic_on_qlog(void *user, uint32_t flags, const void *bytes, size_t length);
/// Where connections get their memory; NULL is malloc.
const ngtcp2_mem *tern_quic_memory(void);
/// Zeroed memory from there.
void *tern_quic_allocate(size_t length);
void tern_quic_deallocate(void *pointer);
/// The bytes that a block from there has.
size_t tern_quic_room(const void *pointer);
/// The same memory, counted for the connection; valid as long as `quic`.
const ngtcp2_mem *tern_quic_count_memory(tern_quic *quic);
/// Fills the callbacks that both ends share.
void tern_quic_set_callbacks(ngtcp2_callbacks *callbacks);
/// Tells of the STOP_SENDING frames that were seen.
void tern_quic_tell_stops(tern_quic *quic);
/// Whether ngtcp2 takes a packet of 0-RTT or 1-RTT that was decrypted by this key.
bool tern_quic_takes(
    tern_quic *quic, const void *key, const uint8_t *nonce, size_t nonce_length, const uint8_t *header,
    size_t header_length, uint64_t *number);
/// ngtcp2 takes the packet with this number. Returns whether no later one was taken before.
bool tern_quic_note_taken(tern_quic *quic, uint64_t number);
/// The peer's 1-RTT packets will be opened by this key, too; `iv` has twelve bytes.
void tern_quic_note_updated_key(tern_quic *quic, const void *key, const uint8_t *iv);
/// Notes the STOP_SENDING, PATH_CHALLENGE and NEW_CONNECTION_ID frames of a packet that ngtcp2 takes, and hides those that it
/// must not see. Returns false if it must not see the packet; then nothing is noted.
bool tern_quic_review_frames(tern_quic *quic, uint8_t *frames, size_t length);
void tern_quic_make_cid(tern_quic *quic, ngtcp2_cid *cid, size_t length);
tern_quic_result tern_quic_remember(tern_quic *quic, int error);
/// Whether family, port and IP address are the same, which is all that ngtcp2 looks at.
bool tern_quic_same_address(const struct sockaddr *left, const struct sockaddr *right);
/// Path validation, and the choice of the preferred address.
void tern_quic_use_paths(ngtcp2_callbacks *callbacks);
/// A packet was written.
void tern_quic_note_packet(tern_quic *quic, size_t length);
/// A packet went to another path than the one before. From 1.12 on ngtcp2 does not validate a path again to which a client
/// comes back, and tells nobody that it is in use: so it is told here.
void tern_quic_note_write_path(tern_quic *quic);
/// A PATH_CHALLENGE frame came.
void tern_quic_note_challenge(tern_quic *quic);
/// A PATH_RESPONSE frame is in the packet that is written.
void tern_quic_note_response(tern_quic *quic);
/// The write that was offered no more than owed answers may have had nothing to say.
void tern_quic_note_nothing_written(tern_quic *quic);
bool tern_quic_awaits_response(const tern_quic *quic);
/// Notes the data of a PATH_RESPONSE. Returns whether ngtcp2 must not see it.
bool tern_quic_take_response(tern_quic *quic, const uint8_t *data);
/// Looks for PATH_RESPONSE in a decrypted packet; one that ngtcp2 must not see becomes a PING and padding.
void tern_quic_find_responses(tern_quic *quic, uint8_t *frames, size_t length);
/// If the packet resets bidirectional streams that ngtcp2 does not know, replaces its frames by empty STREAM frames that open
/// them and one that makes ngtcp2 refuse the packet.
bool tern_quic_open_streams(tern_quic *quic, uint8_t *frames, size_t length);
/// Returns 0 when the parameters carry the preferred address of the settings, or there is none.
int tern_quic_offer_preferred_address(
    tern_quic *quic, const tern_quic_settings *from, ngtcp2_transport_params *parameters);
void tern_quic_tell_preferred_cid(tern_quic *quic, const ngtcp2_transport_params *parameters);
/// Whether the port is one that stands for another address; no client has such a port.
bool tern_quic_is_reserved(const ngtcp2_addr *remote);
/// Takes note of a failed write. Returns whether the connection can go on when the next packet comes.
bool tern_quic_strand(tern_quic *quic, int error);
/// Whether ngtcp2 may have no room for what a packet from a new address of the client retires.
bool tern_quic_forbids_moves(const tern_quic *quic);
/// The packet number space of a packet, by its header.
tern_quic_space_name tern_quic_space_of(const uint8_t *header);
/// The number that ends as the header does, and is close to the expected one (RFC 9000, appendix A.3).
uint64_t tern_quic_whole_number(uint64_t expected, const uint8_t *header, size_t length);
/// A packet is written.
void tern_quic_note_sealed(
    tern_quic *quic, const uint8_t *header, size_t header_length, const uint8_t *frames, size_t length);
/// A packet of a server's is written: looks for RETIRE_CONNECTION_ID.
void tern_quic_note_retiring(tern_quic *quic, const uint8_t *frames, size_t length);
/// Whether a packet with this number acknowledges what answered it, or a later one. A peer cannot know that.
bool tern_quic_foresees(
    const tern_quic *quic, tern_quic_space_name space, uint64_t number, const uint8_t *frames, size_t length);
/// ngtcp2 takes a 1-RTT packet of a server's client.
void tern_quic_note_opened(tern_quic *quic, const uint8_t *frames, size_t length);
/// A server: called before and after whatever changes what ngtcp2 knows of round trips.
void tern_quic_note_timeouts(tern_quic *quic);
/// A RETIRE_CONNECTION_ID frame is in the packet that is written.
void tern_quic_note_retirement(tern_quic *quic, uint64_t number);
/// An ACK frame came; `is_first` in its packet.
void tern_quic_note_acknowledgement(tern_quic *quic, const tern_quic_range *ranges, size_t count, bool is_first);
void tern_quic_find_retirements(tern_quic *quic, const uint8_t *frames, size_t length);
void tern_quic_find_responses_written(tern_quic *quic, const uint8_t *frames, size_t length);
/// The largest number that the ACK frames name; UINT64_MAX if there is none.
uint64_t tern_quic_largest_acknowledged(const uint8_t *frames, size_t length);
void tern_quic_find_acknowledgements(tern_quic *quic, const uint8_t *frames, size_t length);
/// The path of a datagram to be read, with the name that its local address has for ngtcp2; NULL: it is not to be read.
const ngtcp2_path *tern_quic_placed_path(tern_quic *quic, const ngtcp2_path *path, ngtcp2_path_storage *storage);
/// Called when the datagram was read.
void tern_quic_note_placed(tern_quic *quic, const ngtcp2_path *shown);
/// A server: whether the datagram that is being read comes from another address than the client's.
bool tern_quic_is_moving(tern_quic *quic);
/// Which address of ours one of ngtcp2's is.
void tern_quic_real_local(const tern_quic *quic, const ngtcp2_addr *local, struct sockaddr_storage *real);
/// A client: notes the connection ID that came with the server's preferred address.
void tern_quic_note_preferred_cid(tern_quic *quic);
/// Called when a datagram was read: takes note if nothing can be sent any more, not even a probe.
void tern_quic_note_silence(tern_quic *quic);
/// The path of the datagram to be read, as ngtcp2 is to be told.
const ngtcp2_path *tern_quic_shown_path(tern_quic *quic, ngtcp2_path_storage *storage);
/// Called when the datagram was read.
void tern_quic_note_shown(tern_quic *quic, const ngtcp2_path *shown);
/// Where an address of ngtcp2's is.
void tern_quic_real_address(const tern_quic *quic, const ngtcp2_addr *remote, struct sockaddr_storage *real);
/// A client: keeps the part of a datagram that comes too early. Returns how many bytes are to be read now.
size_t tern_quic_hold_back(tern_quic *quic, const uint8_t *bytes, size_t length, uint8_t ecn);
/// Whether a packet with this header comes too early; the bytes that ngtcp2 sees should never hold one.
bool tern_quic_must_wait(const tern_quic *quic, const uint8_t *header, size_t length);
void tern_quic_drop_held(tern_quic *quic);
/// A client that writes a qlog: the server's transport parameters are to be looked at first, if this ngtcp2 needs it.
void tern_quic_guard_qlog(tern_quic *quic);
/// The next bytes of TLS, of the handshake or after it. Returns false if the peer may not say this.
bool tern_quic_takes_messages(tern_quic *quic, bool is_handshake, const uint8_t *bytes, size_t length);
/// The next bytes that the server's TLS encrypted for its handshake. Returns false if its parameters must not be logged.
bool tern_quic_may_log(tern_quic *quic, const uint8_t *bytes, size_t length);
/// When the handshake is done: tells ngtcp2 if the server took no 0-RTT data.
int tern_quic_settle_early_data(tern_quic *quic);

/// Shows the token of the settings, and hears of new ones.
void tern_quic_use_client_token(const tern_quic_settings *from, ngtcp2_settings *settings, ngtcp2_callbacks *callbacks);
/// Takes the client's address as proven by the token of the settings.
void tern_quic_use_server_token(
    const tern_quic_settings *from, ngtcp2_settings *settings, ngtcp2_transport_params *parameters);

/// The connection whose datagram this thread is reading: ngtcp2's decrypt callback does not say.
extern _Thread_local tern_quic *tern_quic_reading;
/// The connection that writes a packet on this thread.
extern _Thread_local tern_quic *tern_quic_writing;
/// The STOP_SENDING frames of what is read: only while a datagram is read there are any, so connections of a thread share the room.
extern _Thread_local size_t tern_quic_stop_count;

static inline tern_quic_cid tern_quic_cid_from(const ngtcp2_cid *cid) {
    tern_quic_cid result = {.length = (uint8_t)cid->datalen};
    memcpy(result.bytes, cid->data, cid->datalen);
    return result;
}
