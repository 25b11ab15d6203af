// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// The one place that knows which ngtcp2 is installed. Distributions carry 0.12 (Debian 12, Ubuntu 24.04) and 1.x
// (Debian 13, Homebrew), whose names, structures and error numbers differ. Nothing of either shows here: Swift sees
// only these types.

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#ifdef __cplusplus
extern "C" {
#endif

/// One QUIC connection. Not thread-safe; never call it from inside one of its own events.
typedef struct tern_quic tern_quic;

/// What a call found; 0 or more is success.
typedef enum tern_quic_result {
    TERN_QUIC_OK = 0,
    /// The stream exists no more.
    TERN_QUIC_STREAM_NOT_FOUND = -1,
    /// The sending side of the stream is over.
    TERN_QUIC_STREAM_SHUT = -2,
    /// The peer's flow control of this stream is exhausted.
    TERN_QUIC_STREAM_BLOCKED = -3,
    /// The peer allows no more streams.
    TERN_QUIC_STREAM_LIMIT = -4,
    /// The packet has room for more frames.
    TERN_QUIC_WRITE_MORE = -5,
    /// The peer closed, or reset us statelessly: only wait.
    TERN_QUIC_DRAINING = -6,
    /// We closed.
    TERN_QUIC_CLOSING = -7,
    /// Forget the connection without a word.
    TERN_QUIC_DROP = -8,
    TERN_QUIC_IDLE = -9,
    TERN_QUIC_HANDSHAKE_TIMEOUT = -10,
    /// The peer speaks no version of ours.
    TERN_QUIC_VERSION_NEGOTIATION = -11,
    /// TLS failed; see tern_quic_tls_alert.
    TERN_QUIC_CRYPTO = -12,
    TERN_QUIC_INVALID = -13,
    /// Anything else: close with tern_quic_error_code of tern_quic_last_error.
    TERN_QUIC_FAILED = -14,
    /// A server: the first packets are out of order; a Retry lets them come again.
    TERN_QUIC_RETRY = -15,
} tern_quic_result;

typedef struct tern_quic_vec {
    const uint8_t *base;
    size_t length;
} tern_quic_vec;

typedef struct tern_quic_cid {
    uint8_t length;
    uint8_t bytes[20];
} tern_quic_cid;

typedef struct tern_quic_path {
    const struct sockaddr *local;
    socklen_t local_length;
    const struct sockaddr *remote;
    socklen_t remote_length;
} tern_quic_path;

typedef enum tern_quic_path_outcome {
    /// It is validated, and in use unless it was only probed.
    TERN_QUIC_PATH_VALID,
    TERN_QUIC_PATH_FAILED,
    /// Another path is validated instead.
    TERN_QUIC_PATH_ABANDONED,
    /// A probe was answered. ngtcp2 goes on sending challenges for some seconds; then TERN_QUIC_PATH_FAILED follows.
    TERN_QUIC_PATH_ANSWERED,
} tern_quic_path_outcome;

/// What happens inside a call. An event may only record; `context` is the one of the settings.
typedef struct tern_quic_events {
    void (*handshake_completed)(void *context);
    void (*handshake_confirmed)(void *context);
    void (*stream_opened)(void *context, int64_t stream);
    /// The server took no 0-RTT data: ngtcp2 has forgotten the streams that carried it. Comes before handshake_completed.
    void (*early_data_rejected)(void *context);
    /// `early`: in a 0-RTT packet. False stops the connection: a limit is exceeded.
    bool (*stream_data)(
        void *context, int64_t stream, const uint8_t *bytes, size_t length, bool finished, bool early);
    /// `opened`: whether the stream exists. Without, the reset was its first frame, and ngtcp2 neither made it nor will.
    void (*stream_reset)(void *context, int64_t stream, uint64_t code, bool opened);
    /// STOP_SENDING came.
    void (*stream_stopped)(void *context, int64_t stream, uint64_t code);
    /// Everything below `offset` is acknowledged.
    void (*stream_acknowledged)(void *context, int64_t stream, uint64_t offset);
    void (*stream_credit)(void *context, int64_t stream);
    void (*stream_closed)(void *context, int64_t stream);
    void (*streams_available)(void *context, bool bidirectional);
    bool (*datagram)(void *context, const uint8_t *bytes, size_t length);
    /// A datagram that was written with this number arrived, or is considered lost; a lost one may arrive later.
    void (*datagram_settled)(void *context, uint64_t number, bool arrived);
    /// The first packet under new 1-RTT keys of the peer came.
    void (*keys_updated)(void *context);
    /// A piece of the connection's qlog; the last ones come from tern_quic_free.
    void (*qlog)(void *context, const uint8_t *bytes, size_t length);
    void (*cid_issued)(void *context, tern_quic_cid cid);
    void (*cid_retired)(void *context, tern_quic_cid cid);
    /// `elapsed` since the first PATH_CHALLENGE. `undersized`: the challenge that was answered had fewer than 1200 bytes.
    void (*path_settled)(
        void *context, tern_quic_path_outcome outcome, tern_quic_path path, uint64_t elapsed, bool undersized);
    void (*stateless_reset)(void *context);
    /// NEW_TOKEN came.
    void (*token_received)(void *context, const uint8_t *token, size_t length);
    void (*fill_random)(void *context, uint8_t *bytes, size_t length);
} tern_quic_events;

typedef enum tern_quic_congestion { TERN_QUIC_RENO, TERN_QUIC_CUBIC, TERN_QUIC_BBR } tern_quic_congestion;

/// Durations and times in nanoseconds; 0 switches a timeout off.
typedef struct tern_quic_settings {
    void *context;
    const tern_quic_events *events;
    uint64_t now;
    uint64_t handshake_timeout;
    uint64_t idle_timeout;
    uint64_t connection_window;
    uint64_t stream_window;
    uint64_t bidirectional_streams;
    uint64_t unidirectional_streams;
    uint64_t datagram_frame_size;
    size_t maximum_udp_payload;
    tern_quic_congestion congestion;
    bool discovers_mtu;
    /// The caller bounds the size of each packet by the capacity that it gives, and searches for the path's MTU itself: ngtcp2
    /// 0.12 tries no size above 1444.
    bool caller_sizes_packets;
    bool writes_qlog;
    uint8_t cid_length;
    uint8_t cid_prefix_length;
    uint8_t cid_prefix[12];
    uint8_t reset_secret[32];
    /// A client: shown in its first packets. A server: what the client showed, if it proved the client's address.
    const uint8_t *token;
    size_t token_length;
    /// A server: the connection ID of the Retry that the token came from; of length 0 if it came from NEW_TOKEN.
    tern_quic_cid retry_source;
    /// A server: clients may not migrate, but for a rebinding of their NAT.
    bool forbids_migration;
    /// A server: where clients should go after the handshake; port 0: nowhere else.
    uint8_t preferred_ipv4[4];
    uint16_t preferred_ipv4_port;
    uint8_t preferred_ipv6[16];
    uint16_t preferred_ipv6_port;
    /// A client: stays where it is.
    bool refuses_preferred_address;
} tern_quic_settings;

/// A client's connection to be; `tls` is a gnutls_session_t that outlives it. NULL: out of memory or invalid settings.
tern_quic *tern_quic_client(const tern_quic_settings *settings, tern_quic_path path, void *tls);
/// A server's end, for a client's Initial with these connection IDs.
tern_quic *tern_quic_server(
    const tern_quic_settings *settings, tern_quic_path path, void *tls, uint32_t version, tern_quic_cid destination,
    tern_quic_cid source);
/// A server whose handshake is done, and which has sent its tickets: the TLS session may go. Any CRYPTO frame that follows is
/// answered as TLS answers what a client must not send.
void tern_quic_forget_tls(tern_quic *quic);
void tern_quic_free(tern_quic *quic);

/// The connection ID that the client chose for the server first.
tern_quic_cid tern_quic_original_cid(const tern_quic *quic);
/// The connection ID that we chose first.
tern_quic_cid tern_quic_source_cid(const tern_quic *quic);

/// Names the path of the datagrams that tern_quic_read gets from now on.
void tern_quic_set_read_path(tern_quic *quic, tern_quic_path path);
tern_quic_result tern_quic_read(tern_quic *quic, uint8_t ecn, const uint8_t *bytes, size_t length, uint64_t now);

/// A client: whether packets wait that came before ngtcp2 had left the handshake, and can be read now.
bool tern_quic_has_held(const tern_quic *quic);
/// Reads one of them. Not while a packet is being written.
tern_quic_result tern_quic_read_held(tern_quic *quic, uint64_t now);

/// Whether any packet of the peer could be decrypted yet.
bool tern_quic_has_decrypted(const tern_quic *quic);

/// What the last write call produced.
typedef struct tern_quic_written {
    /// Bytes of the packet; 0 nothing to send; negative a tern_quic_result.
    ptrdiff_t bytes;
    /// Stream bytes that were taken; -1 if not even an empty frame. For a datagram 1 if it was taken.
    ptrdiff_t taken;
    uint8_t ecn;
} tern_quic_written;

/// Writes a packet with stream data (`stream` -1: only what is due anyway). `more` keeps the packet open while it has
/// room.
tern_quic_written tern_quic_write_stream(
    tern_quic *quic, uint8_t *packet, size_t capacity, int64_t stream, const tern_quic_vec *vectors, size_t count,
    bool finish, bool more, uint64_t now);
/// `number`: what datagram_settled tells; 0 if nobody asks.
tern_quic_written tern_quic_write_datagram(
    tern_quic *quic, uint8_t *packet, size_t capacity, const uint8_t *bytes, size_t length, uint64_t number,
    uint64_t now);
/// CONNECTION_CLOSE, of the application or of the transport.
tern_quic_written tern_quic_write_close(
    tern_quic *quic, uint8_t *packet, size_t capacity, bool application, uint64_t code, const uint8_t *reason,
    size_t reason_length, uint64_t now);

/// Where the last written packet goes. The number changes when the addresses do.
uint64_t tern_quic_write_path(tern_quic *quic, struct sockaddr_storage *local, struct sockaddr_storage *remote);
uint64_t tern_quic_write_path_number(const tern_quic *quic);
/// The path in use.
void tern_quic_current_path(tern_quic *quic, struct sockaddr_storage *local, struct sockaddr_storage *remote);

/// Starts the pacing interval of what was written since the last call.
void tern_quic_pace(tern_quic *quic, uint64_t now);
size_t tern_quic_send_quantum(tern_quic *quic);

/// When tern_quic_expire is due; UINT64_MAX never.
uint64_t tern_quic_expiry(tern_quic *quic);
tern_quic_result tern_quic_expire(tern_quic *quic, uint64_t now);
/// The probe timeout (RFC 9002, section 6.2.1).
uint64_t tern_quic_probe_timeout(tern_quic *quic);
/// Protects what is written from now on by new keys. TERN_QUIC_INVALID: not before the update before is confirmed.
tern_quic_result tern_quic_update_keys(tern_quic *quic, uint64_t now);
/// 0 switches it off.
void tern_quic_keep_alive(tern_quic *quic, uint64_t interval);

/// What a client must remember of the server's transport parameters for 0-RTT (RFC 9000, section 7.4.1), readable by the same
/// version of ngtcp2 only. Returns the bytes written; 0 if there is nothing or no room.
size_t tern_quic_remember_parameters(tern_quic *quic, uint8_t *bytes, size_t capacity);
/// Lets a new client send 0-RTT data under these. False: they can't be read.
bool tern_quic_recall_parameters(tern_quic *quic, const uint8_t *bytes, size_t length);

tern_quic_result tern_quic_open_stream(tern_quic *quic, bool bidirectional, int64_t *stream);
tern_quic_result tern_quic_reset_stream(tern_quic *quic, int64_t stream, uint64_t code);
tern_quic_result tern_quic_stop_stream(tern_quic *quic, int64_t stream, uint64_t code);
void tern_quic_credit_stream(tern_quic *quic, int64_t stream, uint64_t count);
void tern_quic_credit_connection(tern_quic *quic, uint64_t count);
void tern_quic_allow_stream(tern_quic *quic, bool bidirectional);
/// Whether this ngtcp2 keeps the unidirectional streams of the peer until the connection is freed.
bool tern_quic_keeps_ended_streams(void);
/// The bytes that ngtcp2 has allocated for the connection.
size_t tern_quic_memory_in_use(const tern_quic *quic);

/// The ngtcp2 error behind the last result, for messages.
int tern_quic_last_error(const tern_quic *quic);
const char *tern_quic_error_text(int error);
/// The transport error code that fits an ngtcp2 error (RFC 9000, section 20.1).
uint64_t tern_quic_error_code(int error);
/// A client: the server prefers another address, and this ngtcp2 may not write that to a qlog.
bool tern_quic_refused_to_log(const tern_quic *quic);
/// The TLS alert that was raised, 0 if none.
uint8_t tern_quic_tls_alert(tern_quic *quic);

/// The CONNECTION_CLOSE that the peer sent.
typedef struct tern_quic_peer_close {
    bool application;
    uint64_t code;
    uint64_t frame_type;
    size_t reason_length;
    uint8_t reason[1024];
} tern_quic_peer_close;
void tern_quic_get_peer_close(tern_quic *quic, tern_quic_peer_close *close);

/// The largest DATAGRAM payload that fits the path, the peer and a packet of `capacity` bytes; 0 if the peer takes none.
size_t tern_quic_maximum_datagram(tern_quic *quic, size_t capacity);
/// The largest UDP payload that ngtcp2 puts on the path now.
size_t tern_quic_path_payload(tern_quic *quic);
/// How many bytes may be sent on all streams together.
uint64_t tern_quic_connection_credit(tern_quic *quic);
/// The peer's max_idle_timeout; 0 if it has none, or before its transport parameters came.
uint64_t tern_quic_peer_idle_timeout(tern_quic *quic);
/// The largest UDP payload that the peer takes (max_udp_payload_size); 0 before its transport parameters came.
size_t tern_quic_peer_maximum_payload(tern_quic *quic);

typedef struct tern_quic_statistics {
    uint64_t latest_rtt;
    uint64_t minimum_rtt;
    uint64_t smoothed_rtt;
    uint64_t rtt_variation;
    /// UINT64_MAX before the first loss.
    uint64_t slow_start_threshold;
    /// Bytes per second; 0 when this ngtcp2 or its congestion control does not tell.
    uint64_t pacing_rate;
    uint64_t delivery_rate;
    uint64_t congestion_window;
    uint64_t bytes_in_flight;
    /// UINT64_MAX when this ngtcp2 does not count.
    uint64_t packets_lost;
} tern_quic_statistics;
void tern_quic_get_statistics(tern_quic *quic, tern_quic_statistics *statistics);

/// Blocks of several KiB that the connections of this process hold; 0 where malloc serves alone.
size_t tern_quic_arenas_in_use(void);
typedef enum tern_quic_move_result {
    TERN_QUIC_MOVE_STARTED,
    /// The handshake is not confirmed, the peer forbids it, or the preferred address is being validated.
    TERN_QUIC_MOVE_FORBIDDEN,
    TERN_QUIC_MOVE_SAME_PATH,
    /// The peer has given no connection ID to spare.
    TERN_QUIC_MOVE_NO_CID,
    TERN_QUIC_MOVE_FAILED,
} tern_quic_move_result;

/// A client: validates `path`, and uses it from now on unless `probes`. Ends the validation before; path_settled follows.
tern_quic_move_result tern_quic_move(tern_quic *quic, tern_quic_path path, bool probes, uint64_t now);
bool tern_quic_peer_forbids_migration(tern_quic *quic);
/// Whether the next packet answers a PATH_CHALLENGE. ngtcp2 0.12 pads it to the size that it is offered, which the path may
/// not take any more: offer 1200 bytes. ngtcp2 does not answer all of them, so this ends with time, and when a write of a client
/// has nothing to say.
bool tern_quic_owes_response(tern_quic *quic, uint64_t now);
/// When it ends; UINT64_MAX if it is not owed.
uint64_t tern_quic_owes_until(const tern_quic *quic);

// Packets without a connection.

typedef enum tern_quic_kind {
    /// Not QUIC.
    TERN_QUIC_KIND_NONE,
    TERN_QUIC_KIND_SHORT,
    /// A long header of version 1 that cannot open a connection.
    TERN_QUIC_KIND_LONG,
    /// A client's Initial that may open one.
    TERN_QUIC_KIND_INITIAL,
    /// A long header of an unknown version that deserves an answer.
    TERN_QUIC_KIND_UNKNOWN_VERSION,
} tern_quic_kind;

typedef struct tern_quic_header {
    tern_quic_kind kind;
    uint32_t version;
    tern_quic_cid destination;
    tern_quic_cid source;
    /// The token of an Initial, inside the datagram.
    const uint8_t *token;
    size_t token_length;
} tern_quic_header;

tern_quic_header tern_quic_inspect(const uint8_t *bytes, size_t length, size_t short_cid_length);
/// Answers the unknown version of a datagram that tern_quic_inspect saw. Returns the bytes written, 0 if it does not
/// fit.
size_t tern_quic_write_version_negotiation(
    uint8_t *packet, size_t capacity, const uint8_t *trigger, size_t trigger_length, uint8_t random);
/// `random` fills what precedes the token. Returns the bytes written, 0 if it does not fit.
size_t tern_quic_write_stateless_reset(
    uint8_t *packet, size_t capacity, tern_quic_cid cid, const uint8_t *secret, size_t secret_length,
    const uint8_t *random, size_t random_length);

// Address validation (RFC 9000, section 8.1). Times are nanoseconds since 1970, so that a token outlives the process.

typedef enum tern_quic_token_kind {
    TERN_QUIC_TOKEN_NONE,
    /// Made like the tokens of our Retry packets, though perhaps not by us.
    TERN_QUIC_TOKEN_RETRY,
    /// The same for NEW_TOKEN.
    TERN_QUIC_TOKEN_REGULAR,
    TERN_QUIC_TOKEN_FOREIGN,
} tern_quic_token_kind;

tern_quic_token_kind tern_quic_token_kind_of(const uint8_t *token, size_t length);
/// Answers an Initial with a Retry whose token holds for `remote` alone. Returns the bytes written, 0 if it fails.
size_t tern_quic_write_retry(
    uint8_t *packet, size_t capacity, tern_quic_header initial, tern_quic_cid source, const struct sockaddr *remote,
    socklen_t remote_length, const uint8_t *secret, size_t secret_length, uint64_t now);
/// `original` is what the client's first Initial was sent to.
bool tern_quic_verify_retry_token(
    tern_quic_header initial, const uint8_t *token, size_t token_length, const struct sockaddr *remote,
    socklen_t remote_length, const uint8_t *secret, size_t secret_length, uint64_t lifetime, uint64_t now,
    tern_quic_cid *original);
/// Makes a token for NEW_TOKEN, of at most 128 bytes, that holds for the IP address of `remote`.
size_t tern_quic_make_token(
    uint8_t *token, size_t capacity, const struct sockaddr *remote, socklen_t remote_length, const uint8_t *secret,
    size_t secret_length, uint64_t now);
bool tern_quic_verify_token(
    const uint8_t *token, size_t token_length, const struct sockaddr *remote, socklen_t remote_length,
    const uint8_t *secret, size_t secret_length, uint64_t lifetime, uint64_t now);
/// Refuses an Initial with a CONNECTION_CLOSE. Returns the bytes written, 0 if it fails.
size_t tern_quic_write_refusal(uint8_t *packet, size_t capacity, tern_quic_header initial, uint64_t code);
/// Gives the client a token in a NEW_TOKEN frame.
bool tern_quic_submit_token(tern_quic *quic, const uint8_t *token, size_t length);
/// Fills 32 bytes (HMAC-SHA256).
void tern_quic_derive_secret(
    uint8_t *derived, const uint8_t *secret, size_t secret_length, const char *label, size_t label_length);

// MARK: The connection IDs of the peer (pure bookkeeping)

/// The latest 64 connection IDs that the peer gave; the lowest bit is number `top`, the next one `top` - 1.
typedef struct tern_quic_peer_cids {
    uint64_t top;
    uint64_t seen;
    uint64_t used;
    uint64_t retire_prior_to;
    /// An unused one is older than that.
    bool lost_sight;
    /// Those whose retirement the peer has acknowledged.
    uint64_t retired;
    /// How many came in all, but for those.
    uint64_t given;
} tern_quic_peer_cids;

void tern_quic_begin_cids(tern_quic_peer_cids *cids);
/// Notes a NEW_CONNECTION_ID frame. Returns whether ngtcp2 may see it.
bool tern_quic_takes_cid(tern_quic_peer_cids *cids, uint64_t number, uint64_t retire_prior_to);
/// One that came in another way.
void tern_quic_note_given_cid(tern_quic_peer_cids *cids, uint64_t number);
void tern_quic_note_used_cid(tern_quic_peer_cids *cids, uint64_t number);
/// The peer has certainly acknowledged that it is retired.
void tern_quic_note_retired(tern_quic_peer_cids *cids, uint64_t number);
/// Whether ngtcp2 may have a connection ID of the peer that it has not used; it may be wrong if there is none.
bool tern_quic_has_spare_cid(const tern_quic_peer_cids *cids);
/// How many it has at least that it has not used.
uint64_t tern_quic_spare_cids(const tern_quic_peer_cids *cids);

#ifdef __cplusplus
}
#endif
