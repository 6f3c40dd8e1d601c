// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tracepoints' code.
 */
#include <asm/syscall.h>
#include <linux/types.h>

#include "dsm.h"

#define CREATE_TRACE_POINTS
#include "trace.h"
