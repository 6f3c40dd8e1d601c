/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Checks that print what is wrong; a program's output is the same on all ISAs. */
#ifndef CHECK_H
#define CHECK_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed;

#define CHECK(what)                                                                                    \
	do {                                                                                           \
		if (!(what)) {                                                                         \
			printf("line %d: %s (errno %d)\n", __LINE__, #what, errno);                    \
			failed = 1;                                                                    \
		}                                                                                      \
	} while (0)

#endif
