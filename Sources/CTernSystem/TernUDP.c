// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// in6_pktinfo and in_pktinfo are extensions to POSIX.
#define _GNU_SOURCE 1
#define __APPLE_USE_RFC_3542 1

#include "TernUDP.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#ifdef __linux__
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#define TERN_NOSIGNAL MSG_NOSIGNAL
#else
#define TERN_NOSIGNAL 0
#endif

static socklen_t tern_address_length(const struct sockaddr *address) {
    return address->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
}

// Whether packets to this address are IPv4 packets, even if the socket is an IPv6 one.
static bool tern_is_ipv4(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) return true;
    return IN6_IS_ADDR_V4MAPPED(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

// Appends one control message; the caller's buffer is large enough for all that tern_udp_send writes.
static void tern_append_control(struct msghdr *message, int level, int type, const void *data, size_t length) {
    struct cmsghdr *control = (struct cmsghdr *)((char *)message->msg_control + message->msg_controllen);
    control->cmsg_level = level;
    control->cmsg_type = type;
    control->cmsg_len = CMSG_LEN(length);
    memcpy(CMSG_DATA(control), data, length);
    message->msg_controllen += CMSG_SPACE(length);
}

static void tern_append_source(struct msghdr *message, const struct sockaddr *source) {
    if (source->sa_family == AF_INET) {
        struct in_pktinfo info;
        memset(&info, 0, sizeof info);
        info.ipi_spec_dst = ((const struct sockaddr_in *)source)->sin_addr;
        tern_append_control(message, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
    } else {
        struct in6_pktinfo info;
        memset(&info, 0, sizeof info);
        info.ipi6_addr = ((const struct sockaddr_in6 *)source)->sin6_addr;
        info.ipi6_ifindex = ((const struct sockaddr_in6 *)source)->sin6_scope_id;
        tern_append_control(message, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
    }
}

static void tern_append_ecn(struct msghdr *message, const struct sockaddr *destination, uint8_t ecn) {
    int value = ecn & 3;
    if (tern_is_ipv4(destination)) {
        tern_append_control(message, IPPROTO_IP, IP_TOS, &value, sizeof value);
    } else {
        tern_append_control(message, IPPROTO_IPV6, IPV6_TCLASS, &value, sizeof value);
    }
}

int tern_udp_send(int descriptor, const void *bytes, size_t length, size_t segment_size,
                  const struct sockaddr *destination, const struct sockaddr *source, uint8_t ecn) {
    union {
        struct cmsghdr alignment;
        char bytes[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(uint16_t))];
    } control;
    memset(&control, 0, sizeof control);
    struct iovec vector = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
    struct msghdr message;
    memset(&message, 0, sizeof message);
    message.msg_name = (void *)(uintptr_t)destination;
    message.msg_namelen = tern_address_length(destination);
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;

    if (source != NULL) tern_append_source(&message, source);
    if ((ecn & 3) != 0) tern_append_ecn(&message, destination, ecn);
    if (segment_size != 0 && segment_size < length) {
#ifdef __linux__
        uint16_t size = (uint16_t)segment_size;
        tern_append_control(&message, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size);
#else
        return EOPNOTSUPP;
#endif
    }
    if (message.msg_controllen == 0) message.msg_control = NULL;

    ssize_t sent;
    do {
        sent = sendmsg(descriptor, &message, MSG_DONTWAIT | TERN_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent < 0 ? errno : 0;
}

bool tern_udp_has_segmentation_offload(int descriptor) {
#ifdef __linux__
    int value = 0;
    socklen_t length = sizeof value;
    return getsockopt(descriptor, IPPROTO_UDP, UDP_SEGMENT, &value, &length) == 0;
#else
    (void)descriptor;
    return false;
#endif
}

static int tern_socket_family(int descriptor) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    if (getsockname(descriptor, (struct sockaddr *)&address, &length) != 0) return AF_UNSPEC;
    return address.ss_family;
}

static int tern_set(int descriptor, int level, int option, int value) {
    return setsockopt(descriptor, level, option, &value, sizeof value) == 0 ? 0 : errno;
}

int tern_udp_set_dont_fragment(int descriptor) {
#ifdef __linux__
    int ipv4 = tern_set(descriptor, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE);
    if (tern_socket_family(descriptor) != AF_INET6) return ipv4;
    return tern_set(descriptor, IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE);
#else
    if (tern_socket_family(descriptor) != AF_INET6) return tern_set(descriptor, IPPROTO_IP, IP_DONTFRAG, 1);
    return tern_set(descriptor, IPPROTO_IPV6, IPV6_DONTFRAG, 1);
#endif
}

int tern_udp_receive_ipv4_ecn(int descriptor) {
    return tern_set(descriptor, IPPROTO_IP, IP_RECVTOS, 1);
}

int tern_udp_share_port(int descriptor) {
    return tern_set(descriptor, SOL_SOCKET, SO_REUSEPORT, 1);
}

size_t tern_ip_address_bytes(const struct sockaddr *address, uint8_t *bytes) {
    if (address->sa_family == AF_INET) {
        memcpy(bytes, &((const struct sockaddr_in *)address)->sin_addr, 4);
        return 4;
    }
    if (address->sa_family == AF_INET6) {
        memcpy(bytes, &((const struct sockaddr_in6 *)address)->sin6_addr, 16);
        return 16;
    }
    return 0;
}

int tern_udp_probe_open(const struct sockaddr *destination) {
    int descriptor = socket(destination->sa_family, SOCK_DGRAM, 0);
    if (descriptor < 0) return -errno;
    int failure = 0;
    if (fcntl(descriptor, F_SETFL, O_NONBLOCK) != 0 || fcntl(descriptor, F_SETFD, FD_CLOEXEC) != 0
        || connect(descriptor, destination, tern_address_length(destination)) != 0) {
        failure = errno;
    }
#ifdef __linux__
    // Without it the kernel keeps "network unreachable" and "host unreachable" to itself.
    if (failure == 0) {
        int level = destination->sa_family == AF_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
        tern_set(descriptor, level, level == IPPROTO_IPV6 ? IPV6_RECVERR : IP_RECVERR, 1);
    }
#endif
    if (failure == 0) return descriptor;
    close(descriptor);
    return -failure;
}

int tern_udp_probe_send(int descriptor) {
    static const char byte = 0;
    return send(descriptor, &byte, sizeof byte, TERN_NOSIGNAL) < 0 ? errno : 0;
}

int tern_udp_probe_error(int descriptor) {
    int value = 0;
    socklen_t length = sizeof value;
    if (getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &value, &length) != 0) return errno;
    return value;
}

size_t tern_udp_probe_local_address(int descriptor, uint8_t *bytes) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    if (getsockname(descriptor, (struct sockaddr *)&address, &length) != 0) return 0;
    return tern_ip_address_bytes((const struct sockaddr *)&address, bytes);
}

void tern_udp_probe_close(int descriptor) {
    close(descriptor);
}
