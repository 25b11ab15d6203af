/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: The Tern authors */
#ifndef CTERNLAB_H
#define CTERNLAB_H

#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * What Linux offers for networks inside one machine: namespaces, TUN devices, and the messages that set up addresses
 * and routes. Every function returns 0 or a descriptor, or a negated error number; on other systems -ENOSYS.
 */

/* Namespaces.c */

/* Whether this thread may make network namespaces and devices: CAP_SYS_ADMIN and CAP_NET_ADMIN. */
bool ternlab_is_privileged(void);
/* Gives this process a user namespace in which it may do so, its user and group staying the same. Only while it has a
 * single thread. */
int ternlab_enter_user_namespace(void);
/* Gives this thread a network namespace of its own. */
int ternlab_enter_network_namespace(void);

/* Where ternlab_try stopped. */
enum ternlab_stage {
    TERNLAB_STAGE_FORK,
    TERNLAB_STAGE_USER_NAMESPACE,
    TERNLAB_STAGE_USER_MAPS,
    TERNLAB_STAGE_NETWORK_NAMESPACE,
    TERNLAB_STAGE_OPEN_TUN,
    TERNLAB_STAGE_MAKE_TUN,
    TERNLAB_STAGE_NETLINK,
    TERNLAB_STAGE_DONE,
};
/* Does all of it once in a process of its own, which ends then. Returns 0 with TERNLAB_STAGE_DONE, or the error of a
 * stage. */
int ternlab_try(enum ternlab_stage *stage);

/* Tun.c */

/* Makes a TUN device of this name in this thread's network namespace. It vanishes when the descriptor is closed, which
 * does not block and is not inherited. */
int ternlab_tun_open(const char *name);
/* ppoll with a relative time in nanoseconds; negative: for ever. */
int ternlab_poll(struct pollfd *descriptors, size_t count, int64_t nanoseconds);
/* For the thread that carries packets: wakes up as exactly as the kernel can, and before other threads if it may. */
void ternlab_be_punctual(void);
/* An event descriptor that does not block. */
int ternlab_event_open(void);

/* Netlink.c: the descriptor belongs to the namespace of the thread that opened it, and works from every thread. */

int ternlab_netlink_open(void);
/* The number of a device of this thread's network namespace. */
int ternlab_device_index(const char *name);
/* Zero leaves the MTU or the length of the queue as it is. */
int ternlab_device_up(int netlink, int index, uint32_t mtu, uint32_t queue_packets);
/* How many packets were to be sent through a device and found its queue full. */
int64_t ternlab_device_drops(int netlink, int index);
/* family: AF_INET or AF_INET6, which says how many bytes an address has. */
int ternlab_address(int netlink, bool add, int family, int index, const uint8_t *address, uint8_t prefix);
/* Waits until this address receives packets, which for IPv6 is not when ternlab_address returns. -ETIMEDOUT after a
 * second. */
int ternlab_await_address(int netlink, int family, const uint8_t *address);
/* destination NULL: the default route. source NULL: none preferred. */
int ternlab_route(
    int netlink, bool add, int family, const uint8_t *destination, uint8_t prefix, int index, const uint8_t *source,
    uint32_t table, uint32_t metric, const char *congestion_control);
/* What is sent from this address looks for its route in this table first. */
int ternlab_source_rule(int netlink, int family, const uint8_t *source, uint32_t table);

#endif
