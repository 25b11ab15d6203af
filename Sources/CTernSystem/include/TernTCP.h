// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/// What the kernel knows of a TCP connection (TCP_INFO). Times in microseconds, sizes in bytes, rates in bytes per second.
struct tern_tcp_info {
    uint32_t round_trip_time;
    uint32_t round_trip_variation;
    uint32_t minimum_round_trip_time;
    uint32_t segment_size;
    uint64_t congestion_window;
    uint64_t in_flight;
    /// UINT64_MAX until the first loss.
    uint64_t slow_start_threshold;
    /// UINT64_MAX where the kernel does not pace.
    uint64_t pacing_rate;
    uint64_t delivery_rate;
    uint32_t retransmitted_segments;
};

/// Returns 0 or the errno. What an old kernel does not know is 0.
int tern_tcp_info(int descriptor, struct tern_tcp_info *info);

/// TCP_NOTSENT_LOWAT, in bytes. Returns 0 or the errno.
int tern_tcp_set_unsent_low_watermark(int descriptor, uint32_t bytes);

/// TCP_CONGESTION. Returns 0 or the errno: ENOENT when the kernel has none of this name, EPERM when it is not for everybody.
int tern_tcp_set_congestion_control(int descriptor, const char *name);

/// Writes the name of the congestion control and a zero to `name`. Returns 0 or the errno.
int tern_tcp_congestion_control(int descriptor, char *name, uint32_t capacity);

/// TCP_USER_TIMEOUT, in milliseconds. Returns 0 or the errno.
int tern_tcp_set_user_timeout(int descriptor, uint32_t milliseconds);

/// Bytes that were written and are not acknowledged, sent or not (SIOCOUTQ); -1 when that is not known.
int64_t tern_tcp_unacknowledged(int descriptor);

/// TCP_USER_TIMEOUT, in milliseconds; 0 when it is not set or not known.
uint32_t tern_tcp_user_timeout(int descriptor);

/// Copies the peer's IP address, 4 or 16 bytes in network order, to `bytes`, which has room for 16. Returns how many; 0 when the
/// peer is gone.
size_t tern_tcp_peer_address(int descriptor, uint8_t *bytes);

/// How many descriptors the process may open (RLIMIT_NOFILE), and the lowest one that is free: about as many are in use.
void tern_descriptors(int64_t *limit, int64_t *lowest_free);
