# SPDX-License-Identifier: Apache-2.0
# SPDX-FileCopyrightText: The Tern authors
"""Attacks on the carriers: what arrives at the ports before anybody is a client, and QMux that is not QMux."""

from __future__ import annotations
