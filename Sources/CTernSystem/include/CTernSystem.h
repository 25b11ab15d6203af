// SPDX-License-Identifier: Apache-2.0
// SPDX-FileCopyrightText: The Tern authors

#pragma once

#include "TernNetwork.h"
#include "TernNgtcp2.h"
#include "TernTCP.h"
#include "TernUDP.h"
