// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#pragma once

#include <stdint.h>

/// Starts to count the heap allocations of the whole process, in all its libraries.
void tern_bench_count_allocations(void);
/// Allocations (malloc, calloc, realloc and the aligned ones) since counting began. 0 where they cannot be counted.
uint64_t tern_bench_allocations(void);
