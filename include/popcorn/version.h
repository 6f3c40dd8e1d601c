/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Version of this release, the same for modules, programs and package.
 */
#ifndef POPCORN_VERSION_H
#define POPCORN_VERSION_H

#define POPCORN_VERSION "0.1.0"

#endif
