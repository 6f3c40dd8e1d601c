// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a user sees: /proc/popcorn_peers, _stat, _waits; and _ctl, which adds
 * nodes. All in lines of columns with a heading, for people and for the tool.
 */
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

#include "engine.h"

#define LONG_WAIT_MS	1000	/* a wait that is shown */

static const char *const class_name[PW_CLASSES] = { "urgent", "sync", "bulk" };

static void show_addr(struct seq_file *m, u16 id)
{
	struct sockaddr_storage ss;
	char buf[48];

	popcorn_addr_sockaddr(pt_table_addr(&popcorn_table, id), 0, &ss);
	snprintf(buf, sizeof(buf), "%pISc", &ss);
	seq_printf(m, "%-40s", buf);
}

/* ------------------------------------------------------------------ peers */

static void show_peer(struct seq_file *m, struct popcorn_node *node, u16 id)
{
	struct popcorn_link *l = xa_load(&node->links, id);
	const char *state = "idle", *wire = "-", *refusal = "-";
	u32 sessions = 0, attempts = 0;
	int error = 0;

	if (l) {
		spin_lock_bh(&l->lock);
		state = pt_link_state_str(&l->pt);
		if (l->conn[PW_URGENT])
			wire = l->conn[PW_URGENT]->driver->name;
		sessions = l->pt.sessions;
		attempts = l->pt.attempts;
		error = l->pt.error;
		if (l->pt.refusal)
			refusal = pt_refusal_str(l->pt.refusal);
		spin_unlock_bh(&l->lock);
	}
	seq_printf(m, "- %5u %5u ", node->pt.id, id);
	show_addr(m, id);
	seq_printf(m, " %-10s %-9s %8u %8u %5d %s\n", state, wire, sessions, attempts, error,
		   refusal);
}

static int peers_show(struct seq_file *m, void *v)
{
	struct popcorn_node *node;
	u32 i;

	mutex_lock(&popcorn_nodes_mutex);
	seq_printf(m, "# %5s %5s %-40s %-10s %-9s %8s %8s %5s %s\n", "node", "id", "address",
		   "state", "transport", "sessions", "attempts", "error", "refusal");
	list_for_each_entry(node, &popcorn_nodes, list)
		for (i = 0; i < popcorn_table.n; i++) {
			if (i != node->pt.id) {
				show_peer(m, node, i);
				continue;
			}
			seq_printf(m, "* %5u %5u ", node->pt.id, i);
			show_addr(m, i);
			seq_printf(m, " %-10s %-9s %8u %8u %5d -\n", "own", "-", 0, 0, 0);
		}
	mutex_unlock(&popcorn_nodes_mutex);
	return 0;
}

/* ------------------------------------------------------------- statistics */

struct class_sum {
	struct pt_stats s;
	u64 queued, credits, reconnects;
};

static void sum_lane(struct class_sum *c, struct popcorn_link *l, u8 class)
{
	const struct pt_lane *la = &l->pt.lane[class];
	const struct pt_tx *tx;

	c->s.tx_msgs += la->stats.tx_msgs;
	c->s.tx_bytes += la->stats.tx_bytes;
	c->s.rx_msgs += la->stats.rx_msgs;
	c->s.rx_bytes += la->stats.rx_bytes;
	c->s.stalls += la->stats.stalls;
	c->s.replays += la->stats.replays;
	c->s.nops += la->stats.nops;
	c->s.late += la->stats.late;
	for (tx = la->ansq.head; tx; tx = tx->next)
		c->queued++;
	for (tx = la->msgq.head; tx; tx = tx->next)
		c->queued++;
	for (tx = la->sent.head; tx; tx = tx->next)
		c->queued++;
	if (l->pt.state == PT_LINK_UP)
		c->credits += la->crd_limit - la->crd_used;
	if (l->pt.sessions)
		c->reconnects += l->pt.sessions - 1;
}

/* Bytes a second in thousandths of MB/s since the last read by anybody. */
static u64 rate(u64 bytes, u64 *last, u64 ns)
{
	u64 n = bytes - *last;

	*last = bytes;
	return ns ? div64_u64(n * 1000, max_t(u64, ns / 1000, 1)) : 0;
}

static void show_rate(struct seq_file *m, const char *name, u64 r)
{
	seq_printf(m, "%s %llu.%03llu\n", name, r / 1000, r % 1000);
}

static int stat_show(struct seq_file *m, void *v)
{
	static u64 last_tx, last_rx, last_ns;	/* nodes_mutex */
	struct class_sum sum[PW_CLASSES] = { };
	struct popcorn_type_stats t;
	struct popcorn_pool_info pool;
	struct popcorn_node *node;
	struct popcorn_link *l;
	u64 tx = 0, rx = 0, txb = 0, rxb = 0, now = ktime_get_ns();
	unsigned long i;
	char name[32];
	u16 type;
	u8 c;

	mutex_lock(&popcorn_nodes_mutex);
	list_for_each_entry(node, &popcorn_nodes, list)
		xa_for_each(&node->links, i, l) {
			spin_lock_bh(&l->lock);
			for (c = 0; c < PW_CLASSES; c++)
				sum_lane(&sum[c], l, c);
			spin_unlock_bh(&l->lock);
		}
	for (c = 0; c < PW_CLASSES; c++) {
		tx += sum[c].s.tx_msgs;
		rx += sum[c].s.rx_msgs;
		txb += sum[c].s.tx_bytes;
		rxb += sum[c].s.rx_bytes;
	}
	if (txb < last_tx || rxb < last_rx) /* nodes went since */
		last_tx = last_rx = 0;
	seq_printf(m, "sent_messages %llu\nsent_bytes %llu\n", tx, txb);
	seq_printf(m, "received_messages %llu\nreceived_bytes %llu\n", rx, rxb);
	show_rate(m, "sent_MB/s", rate(txb, &last_tx, now - last_ns));
	show_rate(m, "received_MB/s", rate(rxb, &last_rx, now - last_ns));
	last_ns = now;

	popcorn_pool_info(&pool);
	seq_printf(m, "pool_chunks %u\npool_chunks_max %u\npool_pages %u\npool_pages_free %u\n",
		   pool.chunks, pool.chunks_max, pool.frames, pool.free);

	seq_printf(m, "# class  %10s %10s %10s %10s %10s %10s %10s\n", "queued", "credits",
		   "stalls", "replays", "control", "late", "reconnects");
	for (c = 0; c < PW_CLASSES; c++)
		seq_printf(m, "class %-6s %6llu %10llu %10llu %10llu %10llu %10llu %10llu\n",
			   class_name[c], sum[c].queued, sum[c].credits, sum[c].s.stalls,
			   sum[c].s.replays, sum[c].s.nops, sum[c].s.late, sum[c].reconnects);
	seq_printf(m, "# type %5s %-16s %12s %16s %12s %16s\n", "id", "name", "sent",
		   "sent_bytes", "received", "received_bytes");
	for (type = 1; type < POPCORN_TYPES; type++) {
		popcorn_msg_type_stats(type, &t);
		if (t.tx || t.rx)
			seq_printf(m, "type %7u %-16s %12llu %16llu %12llu %16llu\n", type,
				   popcorn_msg_type_name(type, name, sizeof(name)), t.tx,
				   t.tx_bytes, t.rx, t.rx_bytes);
	}
	mutex_unlock(&popcorn_nodes_mutex);
	return 0;
}

/* ------------------------------------------------------------------ waits */

static void show_wait(struct seq_file *m, struct popcorn_link *l, u8 class, u16 type, pid_t pid,
		      u64 since, u64 now)
{
	if (now >= since + LONG_WAIT_MS)
		seq_printf(m, "%6u %5u %-6s %5u %8d %8llu\n", l->node->pt.id, l->peer,
			   class_name[class], type, pid, now - since);
}

static void show_waits(struct seq_file *m, struct popcorn_link *l, u64 now)
{
	struct popcorn_waiter *w;
	u8 c;
	u16 i;

	spin_lock_bh(&l->lock);
	for (c = 0; c < PW_CLASSES; c++)
		for (i = 0; i < l->node->pt.cfg.slots; i++) {
			const struct popcorn_slot *ps = &l->lane[c].slot[i];

			if (l->pt.lane[c].slots[i].state == PT_SLOT_WAITING)
				show_wait(m, l, c, ps->type, ps->pid, ps->since, now);
		}
	list_for_each_entry(w, &l->waiters, list)
		show_wait(m, l, w->class, w->type, w->pid, w->since, now);
	spin_unlock_bh(&l->lock);
}

static int waits_show(struct seq_file *m, void *v)
{
	struct popcorn_node *node;
	struct popcorn_link *l;
	u64 now = popcorn_now();
	unsigned long i;

	seq_printf(m, "# node %5s %-6s %5s %8s %8s\n", "peer", "class", "type", "pid", "ms");
	mutex_lock(&popcorn_nodes_mutex);
	list_for_each_entry(node, &popcorn_nodes, list)
		xa_for_each(&node->links, i, l)
			show_waits(m, l, now);
	mutex_unlock(&popcorn_nodes_mutex);
	return 0;
}

/* -------------------------------------------------------------- administration */

/* End the session of a link, as a cable that is pulled does; it comes back. */
static int link_reset(u16 id, u16 peer)
{
	struct popcorn_node *node = popcorn_node_get(id);
	struct popcorn_link *l;
	int r = -ENOENT;

	if (!node)
		return r;
	l = xa_load(&node->links, peer);
	if (l) {
		spin_lock_bh(&l->lock);
		r = l->pt.state == PT_LINK_UP ? 0 : -ENOTCONN;
		popcorn_link_fault(l, -ECONNRESET);
		popcorn_link_unlock(l, true);
	}
	popcorn_node_put(node);
	return r;
}

static ssize_t ctl_write(struct file *file, const char __user *ubuf, size_t len, loff_t *pos)
{
	u16 node, peer;
	char *line, *s;
	int r = -EINVAL;

	if (len > 128)
		return -EINVAL;
	line = memdup_user_nul(ubuf, len);
	if (IS_ERR(line))
		return PTR_ERR(line);
	s = strim(line);
	if (!strncmp(s, "add ", 4))
		r = popcorn_nodes_add(strim(s + 4));
	else if (sscanf(s, "reset %hu %hu", &node, &peer) == 2)
		r = link_reset(node, peer);
	else
		pr_err("popcorn_ctl takes: add ADDRESS, or: reset NODE PEER\n");
	kfree(line);
	return r ?: len;
}

static const struct proc_ops ctl_ops = {
	.proc_write = ctl_write,
};

int popcorn_proc_init(void)
{
	if (proc_create_single("popcorn_peers", 0444, NULL, peers_show) &&
	    proc_create_single("popcorn_stat", 0444, NULL, stat_show) &&
	    proc_create_single("popcorn_waits", 0444, NULL, waits_show) &&
	    proc_create("popcorn_ctl", 0200, NULL, &ctl_ops))
		return 0;
	popcorn_proc_exit();
	return -ENOMEM;
}

void popcorn_proc_exit(void)
{
	remove_proc_subtree("popcorn_peers", NULL);
	remove_proc_subtree("popcorn_stat", NULL);
	remove_proc_subtree("popcorn_waits", NULL);
	remove_proc_subtree("popcorn_ctl", NULL);
}
