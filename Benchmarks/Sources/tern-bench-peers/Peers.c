// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors
//
// The least that a program can do for the work that Tern is measured by: what the kernel and GnuTLS cost without Tern.

#include "Peers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

void fail(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(1);
}

uint64_t monotonic_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

static struct sockaddr_in loopback(uint16_t port) {
    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

int bind_and_tell(int type) {
    int descriptor = socket(AF_INET, type, 0);
    struct sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    if (descriptor < 0 || bind(descriptor, (struct sockaddr *)&address, sizeof address) != 0
        || getsockname(descriptor, (struct sockaddr *)&address, &length) != 0
        || (type == SOCK_STREAM && listen(descriptor, 1) != 0)) {
        fail("cannot bind");
    }
    printf("{\"port\":%u,\"certificateAuthority\":\"\"}\n", (unsigned)ntohs(address.sin_port));
    fflush(stdout);
    return descriptor;
}

int connect_to(int type, uint16_t port) {
    int descriptor = socket(AF_INET, type, 0);
    struct sockaddr_in address = loopback(port);
    if (descriptor < 0 || connect(descriptor, (struct sockaddr *)&address, sizeof address) != 0) {
        fail("cannot connect");
    }
    return descriptor;
}

void wait_for_end_of_input(void) {
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) {}
}

int main(int count, char **arguments) {
    signal(SIGPIPE, SIG_IGN);
    const char *role = count > 1 ? arguments[1] : "";
    if (strcmp(role, "udp-server") == 0) {
        serve_udp_echo();
    } else if (strcmp(role, "udp-client") == 0 && count == 5) {
        measure_udp_echo(
            (uint16_t)atoi(arguments[2]), strtoul(arguments[3], NULL, 10), strtoul(arguments[4], NULL, 10));
    } else if (strcmp(role, "tls-server") == 0 && count == 5) {
        serve_tls_records(arguments[2], arguments[3], strtoul(arguments[4], NULL, 10));
    } else if (strcmp(role, "tls-client") == 0 && count == 3) {
        fetch_tls_records((uint16_t)atoi(arguments[2]));
    } else {
        fprintf(stderr, "tern-bench starts this program\n");
        return 64;
    }
    return 0;
}
