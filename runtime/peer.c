// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Peers as a program sees them: how things stand with one, and to connect to it.
 */
#define _GNU_SOURCE
#include "engine.h"

/**
 * popcorn_peer() - how things stand with a peer
 * @n:   node
 * @id:  peer
 * @out: result
 *
 * Any thread. Return: 0, -EINVAL, -ENOENT, -ENOMEM.
 */
int popcorn_peer(struct popcorn_node *n, u16 id, struct popcorn_peer *out)
{
	struct ue_link *ul;
	int r = ue_link_get(n, id, &ul);
	u8 c;

	if (r)
		return r;
	ue_lock(&ul->lock);
	out->state = pt_link_state_str(&ul->pt);
	out->up = ul->pt.state == PT_LINK_UP;
	out->leased = pt_link_lease_ok(&ul->pt, ue_clock_ms());
	out->sessions = ul->pt.sessions;
	out->error = ul->pt.error;
	for (c = 0; c < PW_CLASSES; c++)
		out->stats[c] = ul->pt.lane[c].stats;
	ue_unlock(&ul->lock);
	return 0;
}

/**
 * popcorn_peer_lease_ok() - may what a peer granted still be used?
 * @n:  node
 * @id: peer
 *
 * Any thread. Return: false also for a node that was never met.
 */
bool popcorn_peer_lease_ok(struct popcorn_node *n, u16 id)
{
	struct popcorn_peer p;

	return !popcorn_peer(n, id, &p) && p.leased;
}

/**
 * popcorn_connect() - connect to a peer now rather than on first use
 * @n:          node
 * @id:         peer
 * @timeout_ms: bound on the wait; 0 only asks for it
 *
 * Return: 0, -ETIMEDOUT, -EDEADLK, -EINVAL, -ENOENT, -ENOMEM.
 */
int popcorn_connect(struct popcorn_node *n, u16 id, u32 timeout_ms)
{
	u64 end = ue_clock_ms() + timeout_ms;
	struct ue_link *ul;
	bool up;
	int r;

	if (ue_handling && timeout_ms)
		return -EDEADLK;
	r = ue_link_get(n, id, &ul);
	if (r)
		return r;
	ue_lock(&ul->lock);
	pt_link_want(&ul->pt, ue_clock_ms());
	ue_link_finish(ul, NULL);
	do {
		ue_lock(&ul->lock);
		up = ul->pt.state == PT_LINK_UP;
		ue_unlock(&ul->lock);
		if (up || !timeout_ms)
			return 0;
		popcorn_poll(n, 1000);
	} while (ue_clock_ms() < end);
	return -ETIMEDOUT;
}
