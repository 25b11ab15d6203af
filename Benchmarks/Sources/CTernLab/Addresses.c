/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: The Tern authors */
#include "CTernLab.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int ternlab_address_watch_open(void) {
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0) return -errno;
    struct sockaddr_nl address;
    memset(&address, 0, sizeof address);
    address.nl_family = AF_NETLINK;
    address.nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

int ternlab_address_watch_wait(int fd) {
    char buffer[8192];
    ssize_t count;
    do {
        count = recv(fd, buffer, sizeof buffer, 0);
    } while (count < 0 && errno == EINTR);
    // What was missed is a change, too.
    if (count < 0) return errno == ENOBUFS ? 0 : -errno;
    return 0;
}
