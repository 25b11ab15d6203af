// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// ngtcp2 takes memory in arenas of 4 to 12 KiB, a dozen for each connection, and an idle connection uses the first one
// or two KiB of each. From malloc they are made of memory that others used before, so all of it is resident. Here an
// arena begins in the middle of a page of its own, and the pages behind exist when they are touched; the first half of
// that page, which is resident anyway, serves a smaller block.

#include "TernNgtcp2Internal.h"

#include <stdlib.h>

#if defined(__APPLE__)
#include <malloc/malloc.h>
#define room_of_malloc malloc_size
#else
#include <malloc.h>
#define room_of_malloc(pointer) malloc_usable_size((void *)(pointer))
#endif

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define TERN_PLAIN_MEMORY 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__linux__)
#define TERN_PLAIN_MEMORY 1
#endif

#ifdef TERN_PLAIN_MEMORY

const ngtcp2_mem *tern_quic_memory(void) { return NULL; }
void *tern_quic_allocate(size_t length) { return calloc(1, length); }
void tern_quic_deallocate(void *pointer) { free(pointer); }
size_t tern_quic_room(const void *pointer) { return room_of_malloc(pointer); }
size_t tern_quic_arenas_in_use(void) { return 0; }

#else

#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE ((size_t)4096)
#define HALF (PAGE / 2)
/// Address space, not memory.
#define RESERVED ((size_t)8 << 30)
/// Each span holds slots of one size.
#define SPAN ((size_t)1 << 20)
#define SPANS (RESERVED / SPAN)
#define MOST_PAGES ((size_t)8)
/// Free slots of a size whose pages stay; the pages of more are given back, but for the first.
#define KEPT 256
/// Smaller blocks are malloc's.
#define LEAST_HALF 192

/// The free slots of one size (or, of size 0, the free halves) by the number of their first page.
typedef struct free_slots {
    uint32_t *numbers;
    size_t count;
    size_t taken;
    uint8_t *fresh;
    size_t fresh_count;
} free_slots;

static struct {
    pthread_once_t once;
    pthread_mutex_t lock;
    uint8_t *base;
    size_t spans_used;
    uint8_t span_pages[SPANS];
    free_slots sizes[MOST_PAGES + 1];
} arenas = {.once = PTHREAD_ONCE_INIT, .lock = PTHREAD_MUTEX_INITIALIZER};

static void *reserve(size_t length) {
    void *found = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return found == MAP_FAILED ? NULL : found;
}

/// Without address space (a limit, strict overcommit) malloc serves alone.
static void set_up(void) {
    if (sysconf(_SC_PAGESIZE) != (long)PAGE) { return; }
    uint8_t *base = reserve(RESERVED);
    if (base == NULL) { return; }
    // A huge page would make resident what is not touched.
    madvise(base, RESERVED, MADV_NOHUGEPAGE);
    for (size_t pages = 0; pages <= MOST_PAGES; pages++) {
        if (pages == 1) { continue; }
        size_t most = RESERVED / ((pages == 0 ? 2 : pages) * PAGE);
        arenas.sizes[pages].numbers = reserve(most * sizeof(uint32_t));
        if (arenas.sizes[pages].numbers == NULL) { return; }
    }
    arenas.base = base;
}

static bool is_ours(const void *pointer) {
    pthread_once(&arenas.once, set_up);
    uintptr_t base = (uintptr_t)arenas.base, address = (uintptr_t)pointer;
    return base != 0 && address >= base && address < base + RESERVED;
}

static void push(free_slots *slots, const uint8_t *slot) {
    slots->numbers[slots->count++] = (uint32_t)((size_t)(slot - arenas.base) / PAGE);
}

static uint8_t *pop(free_slots *slots) { return arenas.base + (size_t)slots->numbers[--slots->count] * PAGE; }

/// The second half of a slot's first page, and the pages behind it.
static uint8_t *take_arena(size_t pages) {
    free_slots *slots = &arenas.sizes[pages];
    uint8_t *slot = NULL;
    if (slots->count > 0) {
        slot = pop(slots);
    } else {
        if (slots->fresh_count == 0) {
            if (arenas.spans_used == SPANS) { return NULL; }
            slots->fresh = arenas.base + arenas.spans_used * SPAN;
            slots->fresh_count = SPAN / (pages * PAGE);
            arenas.span_pages[arenas.spans_used++] = (uint8_t)pages;
        }
        slot = slots->fresh;
        slots->fresh += pages * PAGE;
        slots->fresh_count--;
        push(&arenas.sizes[0], slot);
    }
    slots->taken++;
    return slot + HALF;
}

static void *try_take(size_t length) {
    size_t pages = (length + HALF + PAGE - 1) / PAGE;
    bool is_half = length >= LEAST_HALF && length <= HALF, is_arena = length >= PAGE && pages <= MOST_PAGES;
    if (!is_half && !is_arena) { return NULL; }
    pthread_once(&arenas.once, set_up);
    if (arenas.base == NULL) { return NULL; }
    uint8_t *found = NULL;
    pthread_mutex_lock(&arenas.lock);
    if (is_arena) {
        found = take_arena(pages);
    } else if (arenas.sizes[0].count > 0) {
        found = pop(&arenas.sizes[0]);
    }
    pthread_mutex_unlock(&arenas.lock);
    return found;
}

static void give_back(uint8_t *pointer) {
    bool is_half = ((uintptr_t)pointer & (PAGE - 1)) == 0;
    uint8_t *slot = is_half ? pointer : pointer - HALF;
    size_t pages = arenas.span_pages[(size_t)(slot - arenas.base) / SPAN];
    free_slots *slots = &arenas.sizes[is_half ? 0 : pages];
    pthread_mutex_lock(&arenas.lock);
    bool is_kept = is_half || slots->count < KEPT;
    pthread_mutex_unlock(&arenas.lock);
    if (!is_kept) { madvise(slot + PAGE, (pages - 1) * PAGE, MADV_DONTNEED); }
    pthread_mutex_lock(&arenas.lock);
    push(slots, slot);
    if (!is_half) { slots->taken--; }
    pthread_mutex_unlock(&arenas.lock);
}

static void *arena_malloc(size_t length, void *user) {
    (void)user;
    void *found = try_take(length);
    return found != NULL ? found : malloc(length);
}

static void arena_free(void *pointer, void *user) {
    (void)user;
    if (is_ours(pointer)) {
        give_back(pointer);
    } else {
        free(pointer);
    }
}

static void *arena_calloc(size_t count, size_t length, void *user) {
    (void)user;
    // Zeroing would touch all of a large block.
    if (length == 0 || count > HALF / length) { return calloc(count, length); }
    void *found = try_take(count * length);
    return found != NULL ? memset(found, 0, count * length) : calloc(count, length);
}

size_t tern_quic_room(const void *pointer) {
    if (!is_ours(pointer)) { return room_of_malloc(pointer); }
    bool is_half = ((uintptr_t)pointer & (PAGE - 1)) == 0;
    size_t pages = arenas.span_pages[(size_t)((const uint8_t *)pointer - arenas.base) / SPAN];
    return is_half ? HALF : pages * PAGE - HALF;
}

static void *arena_realloc(void *pointer, size_t length, void *user) {
    // ngtcp2 makes some of its tables so.
    if (pointer == NULL) { return arena_malloc(length, user); }
    if (!is_ours(pointer)) { return realloc(pointer, length); }
    size_t room = tern_quic_room(pointer);
    if (length <= room) { return pointer; }
    void *copy = arena_malloc(length, user);
    if (copy == NULL) { return NULL; }
    memcpy(copy, pointer, room);
    arena_free(pointer, user);
    return copy;
}

const ngtcp2_mem *tern_quic_memory(void) {
    static const ngtcp2_mem memory = {
        .user_data = NULL,
        .malloc = arena_malloc,
        .free = arena_free,
        .calloc = arena_calloc,
        .realloc = arena_realloc,
    };
    return &memory;
}

void *tern_quic_allocate(size_t length) { return arena_calloc(1, length, NULL); }
void tern_quic_deallocate(void *pointer) { arena_free(pointer, NULL); }

size_t tern_quic_arenas_in_use(void) {
    size_t count = 0;
    pthread_mutex_lock(&arenas.lock);
    for (size_t pages = 0; pages <= MOST_PAGES; pages++) { count += arenas.sizes[pages].taken; }
    pthread_mutex_unlock(&arenas.lock);
    return count;
}

#endif
