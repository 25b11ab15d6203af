// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#pragma once

#include <gnutls/gnutls.h>
#include <gnutls/crypto.h>
#include <gnutls/x509.h>
#include <gnutls/abstract.h>

// gnutls_free is a global variable that holds a function pointer: Swift 6 rightly refuses to read it.
static inline void CGnuTLS_free(void *memory) { gnutls_free(memory); }

// Function-like macros are invisible to Swift.
static inline unsigned int CGnuTLS_curve_bits(gnutls_ecc_curve_t curve) { return GNUTLS_CURVE_TO_BITS(curve); }

// Enumerators that exist as macros too are ambiguous in Swift.
static inline unsigned int CGnuTLS_server_flags(void) { return GNUTLS_SERVER; }
static inline unsigned int CGnuTLS_client_flags(void) { return GNUTLS_CLIENT; }
