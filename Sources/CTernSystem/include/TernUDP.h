// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/// Sends `length` bytes from `bytes` as UDP datagrams of `segment_size` bytes each (only the last may be shorter)
/// with one system call: UDP generic segmentation offload. With `segment_size` 0, or not less than `length`, they are
/// one datagram.
///
/// `source` is the local address to send from (IP_PKTINFO, IPV6_PKTINFO; its port is ignored), or NULL to let the
/// routing table choose. `ecn` holds the two ECN bits of the IP header (RFC 3168). IPv4-mapped addresses on an IPv6
/// socket are served.
///
/// Returns 0 when everything was handed to the kernel, else the errno; then nothing was. Interrupted calls are
/// repeated.
int tern_udp_send(int descriptor, const void *bytes, size_t length, size_t segment_size,
                  const struct sockaddr *destination, const struct sockaddr *source, uint8_t ecn);

/// Whether the kernel knows UDP_SEGMENT on this socket.
bool tern_udp_has_segmentation_offload(int descriptor);

/// Sets the don't-fragment bit without letting the kernel cut the packet size by ICMP (IP_PMTUDISC_PROBE): QUIC finds
/// the path MTU itself (RFC 9000, section 14). Returns 0 or the errno of the socket's own family.
int tern_udp_set_dont_fragment(int descriptor);

/// Asks for received ECN bits of IPv4 packets also on an IPv6 socket, which a dual-stack server needs. Returns 0 or
/// the errno.
int tern_udp_receive_ipv4_ecn(int descriptor);

/// Lets other sockets bind to the port of this one, which is bound already (SO_REUSEPORT). Returns 0 or the errno.
int tern_udp_share_port(int descriptor);

/// Copies the IP address without port, 4 or 16 bytes in network order, to `bytes`, which has room for 16. Returns how
/// many; 0 for another family.
size_t tern_ip_address_bytes(const struct sockaddr *address, uint8_t *bytes);

/// Opens a second, connected socket towards `destination`. Only a connected socket hears of ICMP errors, and the sockets
/// that carry connections are not connected.
///
/// Returns the descriptor, or minus the errno when the kernel refused at once (no route, for example).
int tern_udp_probe_open(const struct sockaddr *destination);
/// Sends one byte that no QUIC endpoint answers. Returns the errno when the kernel refused at once, else 0.
int tern_udp_probe_send(int descriptor);
/// Returns the errno that ICMP reported since the last call, or 0.
int tern_udp_probe_error(int descriptor);
/// Copies the local IP address that the routing table chose, like tern_ip_address_bytes.
size_t tern_udp_probe_local_address(int descriptor, uint8_t *bytes);
void tern_udp_probe_close(int descriptor);
