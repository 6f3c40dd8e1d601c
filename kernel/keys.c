// SPDX-License-Identifier: GPL-2.0-only
/*
 * PW_T_KEYS tells the peer the remote keys of our chunks. They hold for one
 * session, and a message may be replayed in the next: each names its session.
 */
#include "engine.h"

#define KEYS_MAX (PW_MSG_MAX / sizeof(struct pw_key))

void popcorn_keys_received(struct popcorn_msg *m)
{
	struct popcorn_link *l = m->link;
	struct popcorn_conn *c[PW_CLASSES] = { NULL };
	struct pw_key *k = kvmalloc(m->len, GFP_KERNEL);
	u32 i, n = m->len / sizeof(*k);

	if (!k || !n || m->request)
		goto done;
	popcorn_msg_copy(m, 0, k, m->len);
	spin_lock_bh(&l->lock);
	if (le32_to_cpu(k->session) == (u32)l->pt.session)
		for (i = 0; i < PW_CLASSES; i++) {
			c[i] = l->conn[i];
			if (c[i])
				popcorn_conn_get(c[i]);
		}
	spin_unlock_bh(&l->lock);
	for (i = 0; i < PW_CLASSES; i++) {
		if (!c[i])
			continue;
		if (c[i]->driver->keys_received)
			c[i]->driver->keys_received(c[i], k, n);
		spin_lock_bh(&l->lock);
		l->pt.actions |= PT_ACT_TX(i);
		popcorn_link_unlock(l, true);
		popcorn_conn_put(c[i]);
	}
done:
	kvfree(k);
	if (m->request)
		popcorn_answer(m, -EINVAL, NULL, 0);
	else
		popcorn_msg_done(m);
}

/* Tell the peer what it doesn't know yet; the link's work. */
void popcorn_keys_send(struct popcorn_link *l)
{
	struct popcorn_tx *tx = l->keys.tx;
	struct popcorn_conn *c = NULL;
	struct pw_key *k = NULL;
	void **big = NULL;
	u32 i, n = 0;

	spin_lock_bh(&l->lock);
	l->keys.due = l->keys.sent;
	if (l->up && !l->keys.sent) {
		c = l->conn[PW_URGENT];
		if (c && c->driver->keys)
			popcorn_conn_get(c);
		else
			c = NULL;
	}
	if (c && l->keys.session != l->pt.session) {
		l->keys.session = l->pt.session;
		l->keys.next = 0;
	}
	spin_unlock_bh(&l->lock);
	if (!c)
		return;

	if (!l->keys.next)
		l->keys.generation = popcorn_pool_generation();
	k = kvcalloc(KEYS_MAX, sizeof(*k), GFP_KERNEL);
	if (k)
		n = c->driver->keys(c, k, KEYS_MAX, &l->keys.next);
	for (i = 0; i < n; i++)
		k[i].session = cpu_to_le32(l->keys.session);
	if (n)
		big = popcorn_big_alloc(n * sizeof(*k), k, GFP_KERNEL);
	spin_lock_bh(&l->lock);
	if (big && !l->keys.sent && !l->node->gone) {
		popcorn_tx_load(&tx->pt, NULL, big, NULL, 0);
		tx->pt.notify = true;
		if (!pt_send(&l->pt.lane[PW_URGENT], &tx->pt, PW_T_KEYS, n * sizeof(*k))) {
			tx->big = big;
			big = NULL;
			l->keys.sent = l->keys.due = true; /* go on when it is acknowledged */
			popcorn_msg_count_tx(PW_T_KEYS, n * sizeof(*k));
		}
	} else if (k && !n) {
		l->keys.next = 0;
		if (l->keys.generation != popcorn_pool_generation())
			popcorn_link_later(l, POPCORN_TODO_KEYS);
	} else if (!l->node->gone) {
		popcorn_link_fault(l, -ENOMEM); /* the next session tries again */
	}
	popcorn_link_unlock(l, true);
	popcorn_big_free(big);
	kvfree(k);
	popcorn_conn_put(c);
}

static void keys_work(struct work_struct *work)
{
	struct popcorn_node *node;
	struct popcorn_link *l;
	unsigned long i;

	mutex_lock(&popcorn_nodes_mutex);
	list_for_each_entry(node, &popcorn_nodes, list)
		xa_for_each(&node->links, i, l) {
			spin_lock_bh(&l->lock);
			if (l->up) {
				l->keys.next = 0;
				popcorn_link_later(l, POPCORN_TODO_KEYS);
			}
			popcorn_link_unlock(l, true);
		}
	mutex_unlock(&popcorn_nodes_mutex);
}
static DECLARE_WORK(keys_changed, keys_work);

/**
 * popcorn_keys_changed - a device came, or a chunk: tell the peers
 *
 * Any context.
 */
void popcorn_keys_changed(void)
{
	queue_work(system_wq, &keys_changed);
}
EXPORT_SYMBOL_GPL(popcorn_keys_changed);

void popcorn_keys_exit(void)
{
	cancel_work_sync(&keys_changed);
}
