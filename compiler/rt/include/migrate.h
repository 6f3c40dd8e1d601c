/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* The name by which programs for Popcorn know it. */
#include <popcorn/migrate.h>
