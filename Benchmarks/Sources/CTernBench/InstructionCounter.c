// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#include "CTernBench.h"

#ifdef __linux__
#include <linux/perf_event.h>
#include <sys/syscall.h>
#include <unistd.h>

bool tern_bench_has_instruction_counter(void) {
    struct perf_event_attr attributes = {
        .type = PERF_TYPE_HARDWARE,
        .size = sizeof attributes,
        .config = PERF_COUNT_HW_INSTRUCTIONS,
        .exclude_kernel = 1,
    };
    long descriptor = syscall(SYS_perf_event_open, &attributes, 0, -1, -1, 0);
    if (descriptor < 0) { return false; }
    close((int)descriptor);
    return true;
}
#else
bool tern_bench_has_instruction_counter(void) { return true; }
#endif
