// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory: what can't be done now is kept: for a page, until a time, or for a thread
 * that may wait for memory.
 */
#include "dsm.h"

/* r->lock held. */
static void due(struct dsm_region *r, u64 until)
{
	if (r->due && until >= r->due)
		return;
	r->due = until;
	hrtimer_start(&r->timer, ns_to_ktime(until), HRTIMER_MODE_ABS_SOFT);
}

/* Something is to be done for a page at @until. Locked or not. */
void dsm_pending(struct dsm_region *r, struct dsm_page *pg, u32 index, u64 until)
{
	spin_lock_bh(&r->lock);
	if (!pg->next) {
		pg->next = r->pending ?: U32_MAX;
		r->pending = index + 1;
	}
	due(r, until);
	spin_unlock_bh(&r->lock);
}

void dsm_due(struct dsm_region *r, u64 until)
{
	spin_lock_bh(&r->lock);
	due(r, until);
	spin_unlock_bh(&r->lock);
}

enum hrtimer_restart dsm_timer(struct hrtimer *t)
{
	struct dsm_region *r = container_of(t, struct dsm_region, timer);
	bool idle;

	spin_lock(&r->lock);
	idle = !r->pending && !r->later && !r->unsent && llist_empty(&r->dones) && !dsm_sync_due(r);
	if (idle)
		r->due = 0;
	spin_unlock(&r->lock);
	if (!idle)
		kthread_queue_work(dsm_worker, &r->fast);
	return HRTIMER_NORESTART;
}

/* No memory now: the message is tried again. */
void dsm_later(struct dsm_region *r, struct popcorn_msg *msg)
{
	spin_lock_bh(&r->lock);
	msg->next = r->later;
	r->later = msg;
	spin_unlock_bh(&r->lock);
	dsm_due(r, dsm_now() + DSM_RETRY_MAX_NS);
}

/* There was no room to send the op's page: it is tried again. */
void dsm_unsent(struct dsm_region *r, struct dsm_op *op)
{
	spin_lock_bh(&r->lock);
	op->next = r->unsent;
	r->unsent = op;
	due(r, dsm_now() + DSM_RETRY_NS);
	spin_unlock_bh(&r->lock);
}

/* The message needs memory that can't be waited for here. */
void dsm_to_slow(struct dsm_region *r, struct popcorn_msg *msg)
{
	spin_lock_bh(&r->lock);
	msg->next = r->slow_msgs;
	r->slow_msgs = msg;
	spin_unlock_bh(&r->lock);
	queue_work(dsm_wq, &r->slow);
}

void dsm_refuse(struct popcorn_msg *msg, int status)
{
	if (msg->request)
		popcorn_answer(msg, status, NULL, 0);
	else
		popcorn_msg_done(msg);
}
