// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Two kinds of input. First byte even: a few nodes in the simulator, and what chance would
 * decide is the input; all its checks apply. Odd: any call with any arguments that the
 * caller's checks let through, as from a peer that lies; nothing may break.
 */
#include <stdlib.h>

#include "../../dsm-proto/sim/sim.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

static void chance(const u8 *data, size_t size)
{
	static struct sim s;
	struct sim_cfg cfg = {
		.nodes = 2 + data[0] % 3, .regions = 1, .pages = 1 + data[1] % 2,
		.threads = 1 + data[1] / 2 % 2, .ops = 6 + data[2] % 32, .hold_us = 1 + data[3],
		.faults = F_ALL, .tape = data + 4, .tape_len = size - 4
	};

	if (sim_run(&s, &cfg)) {
		fprintf(stderr, "%s\n", s.why);
		abort();
	}
}

static void obeyed(const struct pd_acts *out)
{
	u32 i;

	if (out->n > PD_ACTS)
		abort();
	for (i = 0; i < out->n; i++)
		if (!out->a[i].what || out->a[i].what > PD_DO_DEFER || out->a[i].to >= PD_NODES)
			abort();
}

static void any_call(const u8 *data, size_t size)
{
	struct pd_cfg c = { .self = data[1] % PD_NODES, .home = data[2] % PD_NODES, .hold_ns = 50 };
	struct pd_page p = { 0 }, own = { 0 };
	struct pd_dir d = { 0 };
	struct pd_txn x[16], *now = NULL, *t;
	struct pd_home h = { &d, &now };
	struct pd_acts out;
	bool busy[16] = { 0 };
	const u8 *at = data + 3, *end = data + size;
	u32 i;

	pd_home_first(&c, &d, &own);
	for (; at + 4 <= end; at += 4) {
		u16 node = at[1] % PD_NODES;
		u32 req = at[2] & 7;
		u8 flags = at[3];
		int status = flags & 16 ? -EIO : flags & 32 ? -EAGAIN : 0;

		out.n = 0;
		t = NULL;
		switch (at[0] % 15) {
		case 0:
			pd_fault(&c, &p, flags & 1, &out);
			break;
		case 1:
			if (flags & 1)
				pd_number(&p, req);
			pd_ahead(&c, &p, flags & 2, &out);
			break;
		case 2:
			pd_granted(&c, &p, req, status, flags & 1, at[2], &out);
			break;
		case 3:
			pd_data(&c, &p, req, at[2], &out);
			break;
		case 4:
			pd_nodata(&c, &p, req, &out);
			break;
		case 5:
			pd_inv(&c, &p, at[2], &out);
			break;
		case 6:
			pd_fwd(&c, &p, node, req, flags, at[2], &out);
			break;
		case 7:
			if (p.doing)
				pd_unmapped(&c, &p, &out);
			break;
		case 8:
			pd_drop(&c, &p, flags & 1, &out);
			break;
		case 9:
			pd_mapped(&p, at[2]);
			break;
		case 10:
			for (i = 0; i < 16 && busy[i]; i++)
				;
			if (i == 16)
				break;
			memset(&x[i], 0xa5, sizeof(x[i]));
			x[i].cookie = &x[i];
			x[i].node = node;
			x[i].req = req;
			x[i].flags = flags;
			busy[i] = !pd_home_ask(&c, &h, &x[i], &out);
			break;
		case 11:
			t = pd_home_ack(&c, &h, node, &out);
			break;
		case 12:
			t = pd_home_sent(&c, &h, node, status, &out);
			break;
		case 13:
			t = pd_home_done(&c, &h, node, req, flags, &out);
			break;
		case 14:
			t = pd_home_dead(&c, &h, node, &out);
			break;
		}
		obeyed(&out);
		for (; t; t = t->next) {
			if (!busy[t - x])
				abort();
			busy[t - x] = false;
		}
		for (i = 0, t = now; t; t = t->next, i++)
			if (i > 16 || !busy[t - x])
				abort();
	}
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	if (size < 5)
		return 0;
	if (data[0] & 1)
		any_call(data, size);
	else
		chance(data, size);
	return 0;
}
