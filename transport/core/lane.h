/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the core's own files share; engines don't include it.
 */
#ifndef PT_LANE_H
#define PT_LANE_H

#include "core.h"

static inline void pt_queue_init(struct pt_queue *q)
{
	q->head = NULL;
	q->tail = &q->head;
}

static inline void pt_queue_add(struct pt_queue *q, struct pt_tx *tx)
{
	tx->next = NULL;
	*q->tail = tx;
	q->tail = &tx->next;
}

static inline struct pt_tx *pt_queue_pop(struct pt_queue *q)
{
	struct pt_tx *tx = q->head;

	q->head = tx->next;
	if (!q->head)
		q->tail = &q->head;
	return tx;
}

static inline bool pt_queue_del(struct pt_queue *q, struct pt_tx *tx)
{
	struct pt_tx **p;

	for (p = &q->head; *p; p = &(*p)->next) {
		if (*p != tx)
			continue;
		*p = tx->next;
		if (q->tail == &tx->next)
			q->tail = p;
		return true;
	}
	return false;
}

/* Number of a message's last frame. */
static inline u32 pt_tx_last(const struct pt_tx *tx)
{
	return tx->seq + tx->frames - 1;
}

void pt_lane_init(struct pt_lane *la, struct pt_link *l, u8 class,
		  struct pt_slot *slots, struct pt_ans *ans);
void pt_lane_reset(struct pt_lane *la);
int pt_lane_resume(struct pt_lane *la, u32 rx_seq, u32 credit, u16 slots);
void pt_lane_tell(struct pt_lane *la, struct pw_state *st);
bool pt_lane_acked(struct pt_lane *la, u32 ack);
void pt_lane_kick(struct pt_lane *la);
void pt_lane_tick(struct pt_lane *la, u64 now);
void pt_lane_fail(struct pt_lane *la, int status);
struct pt_slot *pt_lane_fail_next(struct pt_lane *la, int status);

void pt_link_begin(struct pt_link *l, enum pt_link_state state, u64 session, u64 now);
void pt_link_heartbeat(struct pt_link *l, u64 sent, u64 echo);
void pt_link_bye_received(struct pt_link *l);
void pt_link_lane_up(struct pt_link *l, u8 class, u64 now);

#endif
