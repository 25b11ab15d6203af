// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#pragma once

#include <stddef.h>
#include <stdint.h>

/// Ends the program with a line on the standard error.
_Noreturn void fail(const char *what);
uint64_t monotonic_nanoseconds(void);
/// Binds a socket of `type` to a port of 127.0.0.1 that the kernel chooses, and prints it as JSON.
int bind_and_tell(int type);
/// Connects a socket of `type` to 127.0.0.1.
int connect_to(int type, uint16_t port);
/// Returns when the standard input ends: whoever started this program wants no more.
void wait_for_end_of_input(void);

/// Sends every datagram back until the standard input ends: epoll, recvmsg, sendmsg.
void serve_udp_echo(void);
/// Sends 64 bytes, waits for them, and again; prints the percentiles as JSON.
void measure_udp_echo(uint16_t port, size_t warm_up, size_t round_trips);

/// Sends `bytes` zeros in TLS 1.3 records of 16 KiB to the first client.
void serve_tls_records(const char *certificate, const char *key, size_t bytes);
/// Reads to the end and prints how many bytes came, and in which time.
void fetch_tls_records(uint16_t port);
