// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#pragma once

/// Opens a socket that becomes readable when the addresses or routes of this machine (of this network namespace) change; what is
/// read means nothing. Returns a descriptor that does not block, or the negated errno.
int tern_network_changes_open(void);
