// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#include "include/TernTCP.h"
#include "include/TernUDP.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#ifdef __linux__

// The C library's struct tcp_info ends before the rates.
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <sys/ioctl.h>

static const uint32_t infinite_threshold = 0x7fffffff;

int tern_tcp_info(int descriptor, struct tern_tcp_info *info) {
    struct tcp_info raw;
    memset(&raw, 0, sizeof raw);
    socklen_t size = sizeof raw;
    if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &raw, &size) != 0) return errno;
    info->round_trip_time = raw.tcpi_rtt;
    info->round_trip_variation = raw.tcpi_rttvar;
    info->minimum_round_trip_time = raw.tcpi_min_rtt;
    info->segment_size = raw.tcpi_snd_mss;
    info->congestion_window = (uint64_t)raw.tcpi_snd_cwnd * raw.tcpi_snd_mss;
    info->in_flight = (uint64_t)raw.tcpi_unacked * raw.tcpi_snd_mss;
    info->slow_start_threshold = raw.tcpi_snd_ssthresh >= infinite_threshold
                                     ? UINT64_MAX
                                     : (uint64_t)raw.tcpi_snd_ssthresh * raw.tcpi_snd_mss;
    info->pacing_rate = raw.tcpi_pacing_rate;
    info->delivery_rate = raw.tcpi_delivery_rate;
    info->retransmitted_segments = raw.tcpi_total_retrans;
    return 0;
}

static int set_number(int descriptor, int option, uint32_t value) {
    return setsockopt(descriptor, IPPROTO_TCP, option, &value, sizeof value) == 0 ? 0 : errno;
}

int tern_tcp_set_unsent_low_watermark(int descriptor, uint32_t bytes) {
    return set_number(descriptor, TCP_NOTSENT_LOWAT, bytes);
}

int tern_tcp_set_user_timeout(int descriptor, uint32_t milliseconds) {
    return set_number(descriptor, TCP_USER_TIMEOUT, milliseconds);
}

int64_t tern_tcp_unacknowledged(int descriptor) {
    int count = 0;
    return ioctl(descriptor, SIOCOUTQ, &count) == 0 ? count : -1;
}

uint32_t tern_tcp_user_timeout(int descriptor) {
    uint32_t milliseconds = 0;
    socklen_t size = sizeof milliseconds;
    return getsockopt(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, &milliseconds, &size) == 0 ? milliseconds : 0;
}

int tern_tcp_set_congestion_control(int descriptor, const char *name) {
    return setsockopt(descriptor, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name)) == 0 ? 0 : errno;
}

int tern_tcp_congestion_control(int descriptor, char *name, uint32_t capacity) {
    if (capacity == 0) return EINVAL;
    memset(name, 0, capacity);
    socklen_t size = capacity - 1;
    return getsockopt(descriptor, IPPROTO_TCP, TCP_CONGESTION, name, &size) == 0 ? 0 : errno;
}

#else

int tern_tcp_info(int descriptor, struct tern_tcp_info *info) { return ENOPROTOOPT; }
int tern_tcp_set_unsent_low_watermark(int descriptor, uint32_t bytes) { return ENOPROTOOPT; }
int tern_tcp_set_user_timeout(int descriptor, uint32_t milliseconds) { return ENOPROTOOPT; }
int64_t tern_tcp_unacknowledged(int descriptor) { return -1; }
uint32_t tern_tcp_user_timeout(int descriptor) { return 0; }
int tern_tcp_set_congestion_control(int descriptor, const char *name) { return ENOPROTOOPT; }
int tern_tcp_congestion_control(int descriptor, char *name, uint32_t capacity) { return ENOPROTOOPT; }

#endif

size_t tern_tcp_peer_address(int descriptor, uint8_t *bytes) {
    struct sockaddr_storage address;
    socklen_t size = sizeof address;
    if (getpeername(descriptor, (struct sockaddr *)&address, &size) != 0) return 0;
    return tern_ip_address_bytes((const struct sockaddr *)&address, bytes);
}

void tern_descriptors(int64_t *limit, int64_t *lowest_free) {
    struct rlimit limits;
    *limit = INT32_MAX;
    if (getrlimit(RLIMIT_NOFILE, &limits) == 0 && limits.rlim_cur < INT32_MAX) *limit = (int64_t)limits.rlim_cur;
    int descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
    // Without /dev/null (as in a bare chroot) nothing is known of how many are in use.
    *lowest_free = descriptor >= 0 ? descriptor : errno == EMFILE || errno == ENFILE ? *limit : 0;
    if (descriptor >= 0) close(descriptor);
}
