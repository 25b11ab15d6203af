// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

// Users, channels, sequences and error codes are what the client's API is made of.
@_exported public import TernMessages
