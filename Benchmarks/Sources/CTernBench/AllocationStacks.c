// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#include "AllocationStacks.h"

#include "CTernBench.h"

#ifdef __GLIBC__
#include <execinfo.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { depth = 24, skipped = 2, capacity = 4096 };

struct stack {
    uint64_t count;
    int size;
    void *frames[depth];
};

static struct stack stacks[capacity];
static uint64_t overflow;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
// What the unwinder allocates is not to be noted.
static __thread bool is_inside;

static bool is_wanted(void) {
    static int answer = -1;
    if (answer < 0) { answer = getenv("TERN_BENCH_ALLOCATION_STACKS") != NULL; }
    return answer;
}

static uint64_t hash(void *const *frames, int size) {
    uint64_t hash = 14695981039346656037u;
    for (int i = 0; i < size; i++) { hash = (hash ^ (uint64_t)(uintptr_t)frames[i]) * 1099511628211u; }
    return hash;
}

void tern_bench_note_stack(void) {
    if (!is_wanted() || is_inside) { return; }
    is_inside = true;
    void *frames[depth + skipped];
    int size = backtrace(frames, depth + skipped) - skipped;
    if (size > 0) {
        pthread_mutex_lock(&lock);
        uint64_t place = hash(frames + skipped, size) % capacity;
        int tries = 0;
        for (; tries < capacity; tries++, place = (place + 1) % capacity) {
            struct stack *stack = &stacks[place];
            bool is_same = stack->count > 0 && stack->size == size
                           && memcmp(stack->frames, frames + skipped, (size_t)size * sizeof(void *)) == 0;
            if (stack->count > 0 && !is_same) { continue; }
            stack->size = size;
            memcpy(stack->frames, frames + skipped, (size_t)size * sizeof(void *));
            stack->count += 1;
            break;
        }
        if (tries == capacity) { overflow += 1; }
        pthread_mutex_unlock(&lock);
    }
    is_inside = false;
}

static int by_count(const void *left, const void *right) {
    uint64_t a = ((const struct stack *)left)->count, b = ((const struct stack *)right)->count;
    return a < b ? 1 : a > b ? -1 : 0;
}

void tern_bench_print_stacks(uint64_t messages) {
    if (!is_wanted()) { return; }
    is_inside = true;
    pthread_mutex_lock(&lock);
    qsort(stacks, capacity, sizeof stacks[0], by_count);
    for (int i = 0; i < capacity && stacks[i].count * 1000 > messages; i++) {
        dprintf(STDERR_FILENO, "\n%.3f allocations per message:\n", (double)stacks[i].count / (double)messages);
        backtrace_symbols_fd(stacks[i].frames, stacks[i].size, STDERR_FILENO);
    }
    if (overflow > 0) { dprintf(STDERR_FILENO, "\n%llu from other places\n", (unsigned long long)overflow); }
    pthread_mutex_unlock(&lock);
    is_inside = false;
}
#else
void tern_bench_note_stack(void) {}
void tern_bench_print_stacks(uint64_t messages) { (void)messages; }
#endif
