/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: The Tern authors */
#define _GNU_SOURCE
#include "CTernLab.h"

#include <errno.h>

#ifdef __linux__
#include <linux/fib_rules.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* A request with room for all attributes that are put into one here. */
struct request {
    struct nlmsghdr header;
    char body[256];
};

int ternlab_netlink_open(void) {
    int netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (netlink < 0) {
        return -errno;
    }
    struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
    if (connect(netlink, (struct sockaddr *)&kernel, sizeof kernel) != 0) {
        int error = errno;
        close(netlink);
        return -error;
    }
    return netlink;
}

/* Sends a request and waits for the kernel's answer, which comes at once. */
static ssize_t exchange(int netlink, struct request *request, void *answer, size_t size) {
    request->header.nlmsg_flags |= NLM_F_REQUEST;
    if (send(netlink, request, request->header.nlmsg_len, 0) < 0) {
        return -errno;
    }
    ssize_t count;
    do {
        count = recv(netlink, answer, size, 0);
    } while (count < 0 && errno == EINTR);
    return count < 0 ? -errno : count;
}

/* For requests that are answered by an error number alone. */
static int ask(int netlink, struct request *request) {
    char answer[1024] __attribute__((aligned(NLMSG_ALIGNTO)));
    request->header.nlmsg_flags |= NLM_F_ACK;
    ssize_t count = exchange(netlink, request, answer, sizeof answer);
    struct nlmsghdr *header = (struct nlmsghdr *)answer;
    if (count < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)) || header->nlmsg_type != NLMSG_ERROR) {
        return count < 0 ? (int)count : -EPROTO;
    }
    return ((struct nlmsgerr *)NLMSG_DATA(header))->error;
}

static void *begin(struct request *request, uint16_t type, uint16_t flags, size_t body) {
    memset(request, 0, sizeof *request);
    request->header.nlmsg_type = type;
    request->header.nlmsg_flags = flags;
    request->header.nlmsg_len = (uint32_t)NLMSG_LENGTH(body);
    return NLMSG_DATA(&request->header);
}

static void put(struct request *request, uint16_t type, const void *value, size_t size) {
    size_t length = NLMSG_ALIGN(request->header.nlmsg_len);
    struct rtattr *attribute = (struct rtattr *)((char *)request + length);
    attribute->rta_type = type;
    attribute->rta_len = (uint16_t)RTA_LENGTH(size);
    memcpy(RTA_DATA(attribute), value, size);
    request->header.nlmsg_len = (uint32_t)(length + RTA_ALIGN(attribute->rta_len));
}

static size_t address_size(int family) { return family == AF_INET ? 4 : 16; }

int ternlab_device_index(const char *name) {
    unsigned index = if_nametoindex(name);
    return index == 0 ? -errno : (int)index;
}

int ternlab_device_up(int netlink, int index, uint32_t mtu, uint32_t queue_packets) {
    struct request request;
    struct ifinfomsg *link = begin(&request, RTM_NEWLINK, 0, sizeof *link);
    link->ifi_family = AF_UNSPEC;
    link->ifi_index = index;
    link->ifi_flags = IFF_UP;
    link->ifi_change = IFF_UP;
    if (mtu != 0) {
        put(&request, IFLA_MTU, &mtu, sizeof mtu);
    }
    if (queue_packets != 0) {
        put(&request, IFLA_TXQLEN, &queue_packets, sizeof queue_packets);
    }
    return ask(netlink, &request);
}

int64_t ternlab_device_drops(int netlink, int index) {
    char answer[8192] __attribute__((aligned(NLMSG_ALIGNTO)));
    struct request request;
    struct if_stats_msg *message = begin(&request, RTM_GETSTATS, 0, sizeof *message);
    message->ifindex = (uint32_t)index;
    message->filter_mask = IFLA_STATS_FILTER_BIT(IFLA_STATS_LINK_64);
    ssize_t count = exchange(netlink, &request, answer, sizeof answer);
    struct nlmsghdr *header = (struct nlmsghdr *)answer;
    if (count < (ssize_t)NLMSG_LENGTH(sizeof *message) || header->nlmsg_type != RTM_NEWSTATS) {
        return count < 0 ? count : -EPROTO;
    }
    struct rtattr *attribute =
        (struct rtattr *)((char *)NLMSG_DATA(header) + NLMSG_ALIGN(sizeof(struct if_stats_msg)));
    struct rtnl_link_stats64 stats;
    if (count < (ssize_t)((char *)attribute - answer + RTA_LENGTH(sizeof stats)) ||
        attribute->rta_type != IFLA_STATS_LINK_64 || attribute->rta_len < RTA_LENGTH(sizeof stats)) {
        return -EPROTO;
    }
    memcpy(&stats, RTA_DATA(attribute), sizeof stats);
    return (int64_t)stats.tx_dropped;
}

int ternlab_address(int netlink, bool add, int family, int index, const uint8_t *address, uint8_t prefix) {
    struct request request;
    struct ifaddrmsg *message = begin(
        &request, add ? RTM_NEWADDR : RTM_DELADDR, add ? NLM_F_CREATE | NLM_F_REPLACE : 0, sizeof *message);
    message->ifa_family = (uint8_t)family;
    message->ifa_prefixlen = prefix;
    message->ifa_index = (uint32_t)index;
    /* Usable at once, rather than after a second of asking whether somebody else has it (RFC 4862, section 5.4). */
    message->ifa_flags = family == AF_INET6 && add ? IFA_F_NODAD : 0;
    put(&request, IFA_LOCAL, address, address_size(family));
    put(&request, IFA_ADDRESS, address, address_size(family));
    return ask(netlink, &request);
}

int ternlab_await_address(int netlink, int family, const uint8_t *address) {
    char answer[1024] __attribute__((aligned(NLMSG_ALIGNTO)));
    for (int attempt = 0; attempt < 5000; attempt++) {
        struct request request;
        struct rtmsg *route = begin(&request, RTM_GETROUTE, 0, sizeof *route);
        route->rtm_family = (uint8_t)family;
        route->rtm_dst_len = (uint8_t)(address_size(family) * 8);
        put(&request, RTA_DST, address, address_size(family));
        ssize_t count = exchange(netlink, &request, answer, sizeof answer);
        struct nlmsghdr *header = (struct nlmsghdr *)answer;
        if (count < 0) {
            return (int)count;
        }
        /* An error says that there is no route at all yet. */
        if (count >= (ssize_t)NLMSG_LENGTH(sizeof *route) && header->nlmsg_type == RTM_NEWROUTE &&
            ((struct rtmsg *)NLMSG_DATA(header))->rtm_type == RTN_LOCAL) {
            return 0;
        }
        struct timespec pause = {.tv_nsec = 200000};
        nanosleep(&pause, NULL);
    }
    return -ETIMEDOUT;
}

int ternlab_route(
    int netlink, bool add, int family, const uint8_t *destination, uint8_t prefix, int index, const uint8_t *source,
    uint32_t table, uint32_t metric, const char *congestion_control) {
    struct request request;
    struct rtmsg *route = begin(
        &request, add ? RTM_NEWROUTE : RTM_DELROUTE, add ? NLM_F_CREATE | NLM_F_REPLACE : 0, sizeof *route);
    uint32_t device = (uint32_t)index;
    route->rtm_family = (uint8_t)family;
    route->rtm_dst_len = destination == NULL ? 0 : prefix;
    route->rtm_table = RT_TABLE_UNSPEC;
    route->rtm_protocol = RTPROT_STATIC;
    /* What is deleted may have any scope; addresses behind a device without neighbours are on the link. */
    route->rtm_scope = !add ? RT_SCOPE_NOWHERE : family == AF_INET ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
    route->rtm_type = RTN_UNICAST;
    if (destination != NULL) {
        put(&request, RTA_DST, destination, address_size(family));
    }
    if (source != NULL) {
        put(&request, RTA_PREFSRC, source, address_size(family));
    }
    put(&request, RTA_OIF, &device, sizeof device);
    put(&request, RTA_TABLE, &table, sizeof table);
    if (metric != 0) {
        put(&request, RTA_PRIORITY, &metric, sizeof metric);
    }
    if (add && congestion_control != NULL && strlen(congestion_control) < 16) {
        /* TCP_CA_NAME_MAX is 16. */
        char name[RTA_LENGTH(16)] __attribute__((aligned(RTA_ALIGNTO)));
        struct rtattr *attribute = (struct rtattr *)name;
        size_t size = strlen(congestion_control) + 1;
        attribute->rta_type = RTAX_CC_ALGO;
        attribute->rta_len = (uint16_t)RTA_LENGTH(size);
        memcpy(RTA_DATA(attribute), congestion_control, size);
        put(&request, RTA_METRICS, name, attribute->rta_len);
    }
    return ask(netlink, &request);
}

int ternlab_source_rule(int netlink, int family, const uint8_t *source, uint32_t table) {
    struct request request;
    struct fib_rule_hdr *rule = begin(&request, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, sizeof *rule);
    rule->family = (uint8_t)family;
    rule->src_len = (uint8_t)(address_size(family) * 8);
    rule->table = RT_TABLE_UNSPEC;
    rule->action = FR_ACT_TO_TBL;
    put(&request, FRA_SRC, source, address_size(family));
    put(&request, FRA_TABLE, &table, sizeof table);
    return ask(netlink, &request);
}

#else

int ternlab_netlink_open(void) { return -ENOSYS; }
int ternlab_device_index(const char *name) {
    (void)name;
    return -ENOSYS;
}
int ternlab_device_up(int netlink, int index, uint32_t mtu, uint32_t queue_packets) {
    (void)netlink;
    (void)index;
    (void)mtu;
    (void)queue_packets;
    return -ENOSYS;
}
int64_t ternlab_device_drops(int netlink, int index) {
    (void)netlink;
    (void)index;
    return -ENOSYS;
}
int ternlab_address(int netlink, bool add, int family, int index, const uint8_t *address, uint8_t prefix) {
    (void)netlink;
    (void)add;
    (void)family;
    (void)index;
    (void)address;
    (void)prefix;
    return -ENOSYS;
}
int ternlab_await_address(int netlink, int family, const uint8_t *address) {
    (void)netlink;
    (void)family;
    (void)address;
    return -ENOSYS;
}
int ternlab_route(
    int netlink, bool add, int family, const uint8_t *destination, uint8_t prefix, int index, const uint8_t *source,
    uint32_t table, uint32_t metric, const char *congestion_control) {
    (void)congestion_control;
    (void)netlink;
    (void)add;
    (void)family;
    (void)destination;
    (void)prefix;
    (void)index;
    (void)source;
    (void)table;
    (void)metric;
    return -ENOSYS;
}
int ternlab_source_rule(int netlink, int family, const uint8_t *source, uint32_t table) {
    (void)netlink;
    (void)family;
    (void)source;
    (void)table;
    return -ENOSYS;
}

#endif
