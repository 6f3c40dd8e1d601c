// SPDX-License-Identifier: GPL-2.0-only
/*
 * Shared memory: programs make regions, attach to them and leave, and so do their nodes.
 */
#include <linux/cred.h>
#include <linux/delay.h>
#include <linux/random.h>

#include "dsm.h"

#define ATTACH_MS	10000	/* until the home must have answered */
#define LEAVE_MS	10	/* between two rounds of giving pages back */

static DEFINE_MUTEX(attach_mutex);	/* outside dsm_mutex: nodes attach and leave */

/* -------------------------------------------------- creating and attaching */

/* May @uid use it? Reading and writing aren't told apart. */
static bool allowed(const struct dsm_region *r, kuid_t uid)
{
	if (uid_eq(uid, GLOBAL_ROOT_UID))
		return true;
	if (uid_eq(uid, r->uid))
		return (r->perm & 0600) == 0600;
	return (r->perm & 06) == 06;
}

static void told(const struct dsm_region *r, struct popcorn_ioc_region *u)
{
	u->id = r->id;
	u->node = r->cfg.self;
	u->home = r->cfg.home;
	u->bytes = (u64)r->pages << PAGE_SHIFT;
	u->perm = r->perm;
	u->hold_us = r->cfg.hold_ns / 1000;
}

static bool is_there(struct popcorn_node *node, u16 home, u32 id)
{
	struct dsm_region *r = dsm_region_by_id(node, home, id);

	if (r)
		dsm_region_put(r);
	return r;
}

/**
 * dsm_region_create - make a region whose home is a node
 * @node: node
 * @u:    as POPCORN_IOC_CREATE
 * @out:  the region, counted, with one attachment
 *
 * Process context. Return: 0 or -errno.
 */
int dsm_region_create(struct popcorn_node *node, struct popcorn_ioc_region *u,
		      struct dsm_region **out)
{
	u64 pages = DIV_ROUND_UP_ULL(u->bytes, PAGE_SIZE);
	u16 self = popcorn_node_id(node);
	struct pd_attach at = {
		.pages = cpu_to_le32(pages), .gen = cpu_to_le32(get_random_u32() | 1),
		.uid = cpu_to_le32(from_kuid(&init_user_ns, current_fsuid())),
		.perm = cpu_to_le16(u->perm), .hold_us = cpu_to_le32(u->hold_us ?: DSM_HOLD_US),
	};
	struct dsm_region *r;
	u32 id = u->id;
	int e = 0;

	if (self >= PD_NODES)
		return -ERANGE;
	if (!u->bytes || u->bytes > (u64)PD_PAGES_MAX << PAGE_SHIFT || u->perm & ~0777 ||
	    u->hold_us > DSM_HOLD_MAX_US)
		return -EINVAL;
	if (mutex_lock_killable(&dsm_mutex))
		return -EINTR;
	while (!id || (!u->id && is_there(node, self, id)))
		id = get_random_u32() >> 1;
	if (is_there(node, self, id)) {
		e = -EEXIST;
	} else {
		at.region = cpu_to_le32(id);
		r = dsm_region_new(node, &at, self);
		if (r) {
			told(r, u);
			*out = r;
		} else {
			e = -ENOMEM;
		}
	}
	mutex_unlock(&dsm_mutex);
	return e;
}

/* Another attachment of a region that this node has, if it has it. With dsm_mutex. */
static int join(struct popcorn_node *node, struct popcorn_ioc_region *u, struct dsm_region **out)
{
	struct dsm_region *r = dsm_region_by_id(node, u->home, u->id);
	int e = 0;

	if (!r)
		return u->home == popcorn_node_id(node) ? -ENOENT : -EAGAIN;
	if (!allowed(r, current_fsuid()))
		e = -EACCES;
	else if (u->bytes && DIV_ROUND_UP_ULL(u->bytes, PAGE_SIZE) != r->pages)
		e = -EINVAL;
	if (e) {
		dsm_region_put(r);
		return e;
	}
	r->files++;
	r->leaving = false;
	told(r, u);
	*out = r;
	return 0;
}

/* Ask the home. Return: 0 or -errno. */
static int attach_ask(struct popcorn_node *node, struct popcorn_ioc_region *u, struct pd_attach *at)
{
	int e;

	*at = (struct pd_attach){
		.region = cpu_to_le32(u->id), .page_size = cpu_to_le32(PAGE_SIZE),
		.pages = cpu_to_le32(DIV_ROUND_UP_ULL(u->bytes, PAGE_SIZE)),
		.uid = cpu_to_le32(from_kuid(&init_user_ns, current_fsuid())),
		.mode = POPCORN_MODE_KERNEL,
	};
	e = popcorn_request(node, u->home, PW_SYNC, PD_T_ATTACH, at, sizeof(*at), at, sizeof(*at),
			    ATTACH_MS);
	if (e < 0)
		return e == -EOPNOTSUPP ? -EPROTO : e;
	if (e != sizeof(*at) || le32_to_cpu(at->page_size) != PAGE_SIZE ||
	    at->mode != POPCORN_MODE_KERNEL || !at->pages ||
	    le32_to_cpu(at->pages) > PD_PAGES_MAX || le32_to_cpu(at->region) != u->id ||
	    le32_to_cpu(at->hold_us) > DSM_HOLD_MAX_US)
		return -EPROTO;
	return 0;
}

/**
 * dsm_region_attach - attach a node to a region
 * @node: node
 * @u:    as POPCORN_IOC_ATTACH
 * @out:  the region, counted, with one attachment
 *
 * Process context; waits for the home, killable and bounded. Return: 0 or -errno.
 */
int dsm_region_attach(struct popcorn_node *node, struct popcorn_ioc_region *u,
		      struct dsm_region **out)
{
	u16 self = popcorn_node_id(node);
	struct pd_attach at;
	struct dsm_region *r;
	int e, tries;

	if (self >= PD_NODES || u->home >= PD_NODES)
		return -ERANGE;
	if (u->home >= popcorn_node_count() || u->bytes > (u64)PD_PAGES_MAX << PAGE_SHIFT)
		return -EINVAL;
	for (tries = 0;; tries++) {
		if (mutex_lock_killable(&attach_mutex))
			return -EINTR;
		mutex_lock(&dsm_mutex);
		e = join(node, u, out);
		mutex_unlock(&dsm_mutex);
		if (e == -EAGAIN) {
			e = attach_ask(node, u, &at);
			if (!e) {
				mutex_lock(&dsm_mutex);
				r = dsm_region_new(node, &at, u->home);
				if (r) {
					told(r, u);
					*out = r;
				} else {
					e = -ENOMEM;
				}
				mutex_unlock(&dsm_mutex);
			}
		}
		mutex_unlock(&attach_mutex);
		/* The home still buries this node's last life. */
		if (e != -EAGAIN || tries == ATTACH_MS / LEAVE_MS)
			return e;
		if (msleep_interruptible(LEAVE_MS))
			return -EINTR;
	}
}

/* ATTACH at the home. */
void dsm_attach_msg(struct popcorn_msg *msg)
{
	struct pd_attach at;
	struct dsm_region *r;
	u64 bit = msg->from < PD_NODES ? 1ull << msg->from : 0;
	u32 pages;
	int e = 0;

	if (!msg->request || msg->len != sizeof(at)) {
		if (msg->request)
			popcorn_answer(msg, -EINVAL, NULL, 0);
		else
			popcorn_msg_done(msg);
		return;
	}
	memcpy(&at, msg->data, sizeof(at));
	pages = le32_to_cpu(at.pages);
	r = dsm_region_by_id(msg->node, popcorn_node_id(msg->node), le32_to_cpu(at.region));
	if (!r)
		e = -ENOENT;
	else if (at.mode != POPCORN_MODE_KERNEL || le32_to_cpu(at.page_size) != PAGE_SIZE)
		e = -EPROTO;
	else if (!bit)
		e = -ERANGE;
	else if (!allowed(r, make_kuid(&init_user_ns, le32_to_cpu(at.uid))))
		e = -EACCES;
	else if (pages && pages != r->pages)
		e = -EINVAL;
	if (!e) {
		spin_lock_bh(&r->lock);
		if (r->dying & bit)
			e = -EAGAIN;
		else
			r->members |= bit;
		spin_unlock_bh(&r->lock);
	}
	if (!e) {
		at.gen = cpu_to_le32(r->gen);
		at.pages = cpu_to_le32(r->pages);
		at.page_size = cpu_to_le32(PAGE_SIZE);
		at.uid = cpu_to_le32(from_kuid(&init_user_ns, r->uid));
		at.perm = cpu_to_le16(r->perm);
		at.hold_us = cpu_to_le32(r->cfg.hold_ns / 1000);
		at.mode = POPCORN_MODE_KERNEL;
	}
	popcorn_answer(msg, e, &at, sizeof(at));
	if (r)
		dsm_region_put(r);
}

/* ------------------------------------------------------------------- leaving */

/*
 * The last attachment of a member has gone: what the home counts on is given back, then
 * it is told. Until then the node can attach again and finds its pages.
 */
void dsm_leave_work(struct work_struct *work)
{
	struct dsm_region *r = container_of(work, struct dsm_region, leave.work);
	struct pd_msg m = { .region = cpu_to_le32(r->id), .gen = cpu_to_le32(r->gen) };
	bool left = false, again = dsm_put_again(r);
	int e = 0;

	if (!r->over && r->leaving && dsm_drop(r, 0, r->pages, again))
		goto again;
	mutex_lock(&attach_mutex); /* nobody attaches meanwhile */
	if (r->leaving) {
		if (!r->over)
			e = popcorn_request(r->node, r->cfg.home, PW_SYNC, PD_T_DETACH, &m,
					    sizeof(m), NULL, 0, ATTACH_MS);
		if (e == -EAGAIN) {
			mutex_unlock(&attach_mutex);
			goto again;
		}
		dsm_region_unhash(r);
		left = true;
	}
	mutex_unlock(&attach_mutex);
	if (left && !cmpxchg(&r->over, 0, -ENOENT))
		dsm_end(r);
	dsm_region_put(r);
	return;
again:
	/* Unless somebody attached and left meanwhile: then it is queued, with a reference. */
	if (!queue_delayed_work(dsm_wq, &r->leave, msecs_to_jiffies(LEAVE_MS)))
		dsm_region_put(r);
}

/**
 * dsm_region_close - an attachment has gone
 * @r: its region, counted
 */
void dsm_region_close(struct dsm_region *r)
{
	mutex_lock(&dsm_mutex);
	if (!--r->files) {
		if (dsm_home(r)) {
			dsm_region_unhash(r);
			dsm_region_over(r, -ENOENT);
		} else {
			r->leaving = true;
			dsm_region_get(r);
			if (!queue_delayed_work(dsm_wq, &r->leave, 0))
				dsm_region_put(r); /* it was to leave before */
		}
	}
	mutex_unlock(&dsm_mutex);
	dsm_region_put(r);
}

/* Home: is a page that this member has sent still on its way to another one? */
static bool still_gives(struct dsm_region *r, u16 node)
{
	struct dsm_dir *dir;
	bool gives = false;
	u32 i;

	for (i = 0; i < r->pages && !gives; i++) {
		dir = dsm_dir(r, i);
		if (!dir) {
			i |= DSM_CHUNK - 1;
		} else if (READ_ONCE(dir->now)) {
			spin_lock_bh(dsm_lock(r, i));
			gives = dir->now && dir->now->from == node && (dir->now->steps & PD_X_FWD);
			spin_unlock_bh(dsm_lock(r, i));
		}
	}
	return gives;
}

/*
 * DETACH: a member leaves, which is refused as long as the region would lose by it; or from
 * the home, one-way: the region has ended.
 */
void dsm_detach_msg(struct popcorn_msg *msg)
{
	const struct pd_msg *m = msg->data;
	struct dsm_region *r = NULL;
	int e = 0;

	if (msg->len == sizeof(*m))
		r = dsm_region_find(msg->node, le32_to_cpu(m->region), le32_to_cpu(m->gen));
	if (r && dsm_home(r) && msg->request && msg->from < PD_NODES && still_gives(r, msg->from))
		e = -EAGAIN;
	else if (r && dsm_home(r) && msg->request && msg->from < PD_NODES)
		dsm_region_bury(r, msg->from, false);
	else if (r && r->cfg.home == msg->from && !msg->request)
		dsm_region_over(r, -ESTALE);
	if (msg->request)
		popcorn_answer(msg, e, NULL, 0);
	else
		popcorn_msg_done(msg);
	if (r)
		dsm_region_put(r);
}

