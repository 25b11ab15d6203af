/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: The Tern authors */
#ifndef CTERNLAB_H
#define CTERNLAB_H

/* Opens a descriptor that tells when this network namespace's addresses or routes change; a negated errno on failure. */
int ternlab_address_watch_open(void);
/* Waits for the next change; 0, or a negated errno. */
int ternlab_address_watch_wait(int fd);

#endif
