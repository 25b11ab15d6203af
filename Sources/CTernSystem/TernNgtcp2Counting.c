// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#include "TernNgtcp2Internal.h"

#include <stdlib.h>

static void *counting_malloc(size_t length, void *user) {
    const ngtcp2_mem *inner = tern_quic_memory();
    void *pointer = inner == NULL ? malloc(length) : inner->malloc(length, inner->user_data);
    if (pointer != NULL) { ((tern_quic *)user)->memory += tern_quic_room(pointer); }
    return pointer;
}

static void counting_free(void *pointer, void *user) {
    if (pointer == NULL) { return; }
    const ngtcp2_mem *inner = tern_quic_memory();
    ((tern_quic *)user)->memory -= tern_quic_room(pointer);
    if (inner == NULL) {
        free(pointer);
    } else {
        inner->free(pointer, inner->user_data);
    }
}

static void *counting_calloc(size_t count, size_t length, void *user) {
    const ngtcp2_mem *inner = tern_quic_memory();
    void *pointer = inner == NULL ? calloc(count, length) : inner->calloc(count, length, inner->user_data);
    if (pointer != NULL) { ((tern_quic *)user)->memory += tern_quic_room(pointer); }
    return pointer;
}

static void *counting_realloc(void *old, size_t length, void *user) {
    const ngtcp2_mem *inner = tern_quic_memory();
    size_t before = old == NULL ? 0 : tern_quic_room(old);
    void *pointer = inner == NULL ? realloc(old, length) : inner->realloc(old, length, inner->user_data);
    if (pointer != NULL) { ((tern_quic *)user)->memory += tern_quic_room(pointer) - before; }
    return pointer;
}

const ngtcp2_mem *tern_quic_count_memory(tern_quic *quic) {
    quic->allocator = (ngtcp2_mem){quic, counting_malloc, counting_free, counting_calloc, counting_realloc};
    return &quic->allocator;
}

size_t tern_quic_memory_in_use(const tern_quic *quic) { return quic->memory; }
