/* SPDX-License-Identifier: Apache-2.0
 * SPDX-FileCopyrightText: The Tern authors */
#ifndef CTERNLAB_H
#define CTERNLAB_H

#endif
