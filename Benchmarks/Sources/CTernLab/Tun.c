/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: The Tern authors */
#define _GNU_SOURCE
#include "CTernLab.h"

#include <errno.h>

#ifdef __linux__
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int ternlab_tun_open(const char *name) {
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (device < 0) {
        return -errno;
    }
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    if (ioctl(device, TUNSETIFF, &request) != 0) {
        int error = errno;
        close(device);
        return -error;
    }
    return device;
}

int ternlab_poll(struct pollfd *descriptors, size_t count, int64_t nanoseconds) {
    struct timespec limit = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    int ready = ppoll(descriptors, count, nanoseconds < 0 ? NULL : &limit, NULL);
    return ready < 0 ? -errno : ready;
}

void ternlab_be_punctual(void) {
    prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0);
    /* Of this thread alone. Without the privilege neither succeeds, which does no harm. */
    struct sched_param lowest = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &lowest) != 0) {
        setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), -15);
    }
}

int ternlab_event_open(void) {
    int event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    return event < 0 ? -errno : event;
}

#else

int ternlab_tun_open(const char *name) {
    (void)name;
    return -ENOSYS;
}
int ternlab_poll(struct pollfd *descriptors, size_t count, int64_t nanoseconds) {
    (void)descriptors;
    (void)count;
    (void)nanoseconds;
    return -ENOSYS;
}
void ternlab_be_punctual(void) {}
int ternlab_event_open(void) { return -ENOSYS; }

#endif
