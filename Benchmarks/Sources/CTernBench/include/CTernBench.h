// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#pragma once

#include <stdbool.h>
#include <stdint.h>

/// Starts to count the heap allocations of the whole process, in all its libraries.
void tern_bench_count_allocations(void);
/// Allocations (malloc, calloc, realloc and the aligned ones) since counting began. 0 where they cannot be counted.
uint64_t tern_bench_allocations(void);
/// Ends the counting. If the environment variable TERN_BENCH_ALLOCATION_STACKS is set, prints to the standard error which call
/// stacks allocated how often for each of so many messages; the rarest are left out.
void tern_bench_print_stacks(uint64_t messages);

/// Whether the processor's counter of instructions can be read here.
bool tern_bench_has_instruction_counter(void);
