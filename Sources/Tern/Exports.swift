// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// `import Tern` is all that a user of the transport needs.
@_exported public import TernQMux
@_exported public import TernQUIC
@_exported public import TernTLS
@_exported public import TernTransport
