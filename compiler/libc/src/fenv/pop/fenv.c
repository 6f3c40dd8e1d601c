/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* The floating-point environment is the shims': shim/fenv.c. */
