// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#include "Peers.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static int watch(int descriptor) {
    int queue = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    if (queue < 0 || epoll_ctl(queue, EPOLL_CTL_ADD, descriptor, &event) != 0) { fail("epoll"); }
    return queue;
}

static ssize_t receive(int descriptor, void *bytes, size_t capacity, struct sockaddr_in *from) {
    struct iovec vector = {.iov_base = bytes, .iov_len = capacity};
    struct msghdr message = {.msg_name = from, .msg_namelen = sizeof *from, .msg_iov = &vector, .msg_iovlen = 1};
    return recvmsg(descriptor, &message, MSG_DONTWAIT);
}

static void send_to(int descriptor, void *bytes, size_t length, struct sockaddr_in *to) {
    struct iovec vector = {.iov_base = bytes, .iov_len = length};
    struct msghdr message = {
        .msg_name = to, .msg_namelen = to == NULL ? 0 : sizeof *to, .msg_iov = &vector, .msg_iovlen = 1};
    if (sendmsg(descriptor, &message, MSG_DONTWAIT) < 0) { fail("sendmsg"); }
}

void serve_udp_echo(void) {
    int descriptor = bind_and_tell(SOCK_DGRAM);
    int queue = watch(descriptor);
    struct epoll_event input = {.events = EPOLLIN | EPOLLHUP, .data.fd = STDIN_FILENO};
    if (epoll_ctl(queue, EPOLL_CTL_ADD, STDIN_FILENO, &input) != 0) { fail("epoll"); }
    char bytes[2048];
    while (1) {
        struct epoll_event event;
        if (epoll_wait(queue, &event, 1, -1) <= 0) { continue; }
        if (event.data.fd == STDIN_FILENO) { return; }
        struct sockaddr_in from;
        ssize_t length = receive(descriptor, bytes, sizeof bytes, &from);
        if (length >= 0) { send_to(descriptor, bytes, (size_t)length, &from); }
    }
}

static int compare(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

static double microseconds(const uint64_t *sorted, size_t count, double quantile) {
    size_t rank = (size_t)(quantile * (double)count);
    return (double)sorted[rank < count ? rank : count - 1] / 1e3;
}

void measure_udp_echo(uint16_t port, size_t warm_up, size_t round_trips) {
    int descriptor = connect_to(SOCK_DGRAM, port);
    int queue = watch(descriptor);
    uint64_t *times = calloc(round_trips, sizeof *times);
    if (times == NULL || round_trips == 0) { fail("no memory"); }
    char bytes[64] = {0}, answer[2048];
    for (size_t trip = 0; trip < warm_up + round_trips; trip++) {
        uint64_t start = monotonic_nanoseconds();
        send_to(descriptor, bytes, sizeof bytes, NULL);
        while (1) {
            struct epoll_event event;
            if (epoll_wait(queue, &event, 1, 5000) == 0) {
                errno = ETIMEDOUT;
                fail("a datagram was lost");
            }
            struct sockaddr_in from;
            if (receive(descriptor, answer, sizeof answer, &from) == sizeof bytes) { break; }
        }
        if (trip >= warm_up) { times[trip - warm_up] = monotonic_nanoseconds() - start; }
    }
    qsort(times, round_trips, sizeof *times, compare);
    printf(
        "{\"p50Microseconds\":%.3f,\"p90Microseconds\":%.3f,\"p99Microseconds\":%.3f,\"p999Microseconds\":%.3f,"
        "\"minimumMicroseconds\":%.3f,\"maximumMicroseconds\":%.3f}\n",
        microseconds(times, round_trips, 0.5), microseconds(times, round_trips, 0.9),
        microseconds(times, round_trips, 0.99), microseconds(times, round_trips, 0.999),
        microseconds(times, round_trips, 0), microseconds(times, round_trips, 1));
    free(times);
}
