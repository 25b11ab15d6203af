/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: The Tern authors */
#define _GNU_SOURCE
#include "CTernLab.h"

#include <errno.h>

#ifdef __linux__
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

bool ternlab_is_privileged(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    if (syscall(SYS_capget, &header, data) != 0) {
        return false;
    }
    uint32_t wanted = 1u << CAP_SYS_ADMIN | 1u << CAP_NET_ADMIN;
    return (data[0].effective & wanted) == wanted;
}

static int write_file(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0) {
        return -errno;
    }
    ssize_t written = write(file, text, strlen(text));
    int result = written == (ssize_t)strlen(text) ? 0 : -errno;
    close(file);
    return result;
}

static int write_maps(uid_t user, gid_t group) {
    char map[64];
    /* user_namespaces(7): without CAP_SETGID outside, groups can only be mapped once setgroups is given up. */
    int result = write_file("/proc/self/setgroups", "deny");
    if (result != 0 && result != -ENOENT) {
        return result;
    }
    snprintf(map, sizeof map, "%u %u 1", user, user);
    result = write_file("/proc/self/uid_map", map);
    if (result != 0) {
        return result;
    }
    snprintf(map, sizeof map, "%u %u 1", group, group);
    return write_file("/proc/self/gid_map", map);
}

int ternlab_enter_user_namespace(void) {
    uid_t user = geteuid();
    gid_t group = getegid();
    if (unshare(CLONE_NEWUSER) != 0) {
        return -errno;
    }
    return write_maps(user, group);
}

int ternlab_enter_network_namespace(void) {
    return unshare(CLONE_NEWNET) == 0 ? 0 : -errno;
}

struct trial {
    enum ternlab_stage stage;
    int error;
};

/* In the child: nothing but system calls, since other threads of the parent may have held locks. */
static struct trial trial(void) {
    uid_t user = geteuid();
    gid_t group = getegid();
    if (!ternlab_is_privileged()) {
        if (unshare(CLONE_NEWUSER) != 0) {
            return (struct trial){TERNLAB_STAGE_USER_NAMESPACE, errno};
        }
        int maps = write_maps(user, group);
        if (maps != 0) {
            return (struct trial){TERNLAB_STAGE_USER_MAPS, -maps};
        }
    }
    if (unshare(CLONE_NEWNET) != 0) {
        return (struct trial){TERNLAB_STAGE_NETWORK_NAMESPACE, errno};
    }
    int file = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (file < 0) {
        return (struct trial){TERNLAB_STAGE_OPEN_TUN, errno};
    }
    close(file);
    int device = ternlab_tun_open("lab0");
    if (device < 0) {
        return (struct trial){TERNLAB_STAGE_MAKE_TUN, -device};
    }
    int netlink = ternlab_netlink_open();
    if (netlink < 0) {
        return (struct trial){TERNLAB_STAGE_NETLINK, -netlink};
    }
    int up = ternlab_device_up(netlink, ternlab_device_index("lab0"), 0, 0);
    return (struct trial){up == 0 ? TERNLAB_STAGE_DONE : TERNLAB_STAGE_NETLINK, -up};
}

int ternlab_try(enum ternlab_stage *stage) {
    *stage = TERNLAB_STAGE_FORK;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        return -errno;
    }
    pid_t child = fork();
    if (child == 0) {
        struct trial result = trial();
        ssize_t written = write(ends[1], &result, sizeof result);
        _exit(written == sizeof result ? 0 : 1);
    }
    int error = errno;
    close(ends[1]);
    struct trial result = {TERNLAB_STAGE_FORK, child < 0 ? error : EIO};
    if (child > 0) {
        ssize_t count;
        do {
            count = read(ends[0], &result, sizeof result);
        } while (count < 0 && errno == EINTR);
        int status;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
    }
    close(ends[0]);
    *stage = result.stage;
    return -result.error;
}

#else

bool ternlab_is_privileged(void) { return false; }
int ternlab_enter_user_namespace(void) { return -ENOSYS; }
int ternlab_enter_network_namespace(void) { return -ENOSYS; }
int ternlab_try(enum ternlab_stage *stage) {
    *stage = TERNLAB_STAGE_FORK;
    return -ENOSYS;
}

#endif
