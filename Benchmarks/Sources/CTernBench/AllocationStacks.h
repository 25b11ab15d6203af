// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#pragma once

#include <stdint.h>

/// Notes who allocates, if the environment variable TERN_BENCH_ALLOCATION_STACKS is set.
void tern_bench_note_stack(void);
