/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* How both halves of the protocol say what is to be done. */
#ifndef PD_ACT_H
#define PD_ACT_H

#include "dsm.h"

static inline void pd_act(struct pd_acts *out, struct pd_act a)
{
	if (out->n < PD_ACTS) /* no call has more: tests and the simulator check it */
		out->a[out->n] = a;
	out->n++;
}

#endif
