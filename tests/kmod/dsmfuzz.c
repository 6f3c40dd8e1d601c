// SPDX-License-Identifier: GPL-2.0-only
/*
 * popcorn_dsmfuzz.ko: messages of shared memory that make no sense, from a node that ought to know
 * better: a member or home of a region, or neither.
 *
 * /proc/popcorn_dsmfuzz takes one command a write, which returns when all has been sent and answered:
 *   region=R home=H via=V from=F to=T n=N seed=S
 * Node V of this kernel attaches to region R of node H, as a program's node would, to learn what it is
 * called. Then node F, of this kernel as well, sends N messages to T, most of them nearly right.
 * What was sent and how it was answered is in the log.
 */
#include <linux/module.h>
#include <linux/prandom.h>
#include <linux/proc_fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <popcorn/dsm_wire.h>
#include <popcorn/uapi.h>

#include "../../kernel/msg.h"

#define UNDER_WAY	32		/* requests at a time */
#define ANSWER_MS	500
#define LONGEST		(2 * PAGE_SIZE)

struct asked {
	struct popcorn_async a;
	u16 type;
	u8 answer[64];
};

static DEFINE_MUTEX(command_mutex);
static atomic_t under_way = ATOMIC_INIT(0);
static DECLARE_WAIT_QUEUE_HEAD(ended);
static atomic_t answered, refused, odd_answers;
static struct rnd_state rnd;

static u32 below(u32 n)
{
	return prandom_u32_state(&rnd) % n;
}

static bool rarely(void)
{
	return !below(12);
}

static u32 odd(void)
{
	static const u32 v[] = { 0, 1, 2, 63, 64, 65, 4095, 4096, 0x7fffffff, 0x80000000, ~0u, ~1u };

	return below(3) ? v[below(ARRAY_SIZE(v))] : prandom_u32_state(&rnd);
}

static void header(struct pd_msg *m, const struct pd_attach *at)
{
	*m = (struct pd_msg){
		.region = rarely() ? cpu_to_le32(odd()) : at->region,
		.gen = rarely() ? cpu_to_le32(odd()) : at->gen,
		.page = cpu_to_le32(rarely() ? odd() : below(8)),
		.req = cpu_to_le32(rarely() ? odd() : below(200)),
		.node = cpu_to_le16(rarely() ? odd() : below(4)),
		.flags = rarely() ? odd() : below(16),
		.pages = rarely() ? odd() : 1,
		.mask = cpu_to_le32(below(2) ? odd() : below(4)),
	};
}

static void asked_done(struct popcorn_done *d)
{
	struct asked *q = container_of(d, struct asked, a.done);

	atomic_inc(d->status < 0 ? &refused : &answered);
	/* Only these two have something to say. */
	if (!d->status && q->a.len && q->type != PD_T_ATTACH && q->type != PD_T_INV)
		atomic_inc(&odd_answers);
	if (q->a.frame)
		popcorn_frame_free(q->a.frame);
	kfree(q);
	if (atomic_dec_return(&under_way) < UNDER_WAY)
		wake_up(&ended);
}

static int ask(struct popcorn_node *from, u16 to, u16 type, const void *buf, u32 len, bool page)
{
	struct asked *q = kzalloc(sizeof(*q), GFP_KERNEL);
	int e;

	if (q && page)
		q->a.frame = popcorn_frame_alloc(GFP_KERNEL);
	if (!q || (page && !q->a.frame)) {
		kfree(q);
		return -ENOMEM;
	}
	q->a.done.fn = asked_done;
	q->type = type;
	wait_event(ended, atomic_read(&under_way) < UNDER_WAY);
	atomic_inc(&under_way);
	e = popcorn_request_async(from, to, below(PW_CLASSES), type, buf, len,
				  page ? NULL : q->answer, page ? 0 : sizeof(q->answer), ANSWER_MS,
				  0, &q->a);
	if (e) {
		q->a.done.status = e;
		asked_done(&q->a.done);
	}
	return e;
}

/* Which messages are requests, and which of them name a frame? */
static bool is_request(u16 type)
{
	return type == PD_T_ASK || type == PD_T_FWD || type == PD_T_FETCH || type == PD_T_INV ||
	       type == PD_T_ATTACH || type == PD_T_DETACH;
}

static int one(struct popcorn_node *from, u16 to, const struct pd_attach *at, u8 *buf)
{
	/* DETACH ends the fun, as it would for a node that means it. */
	u16 type = rarely() && rarely() ? PD_T_DETACH :
		   PD_T_ASK + below(PD_T_END - PD_T_ASK);
	u32 len = sizeof(struct pd_msg), i;
	bool request, page;

	if (type == PD_T_DETACH && !rarely())
		type = PD_T_DONE;
	for (i = 0; i < 4; i++)
		header((struct pd_msg *)buf + i, at);
	if (type == PD_T_ATTACH) {
		struct pd_attach *b = (struct pd_attach *)buf;

		*b = *at;
		b->pages = cpu_to_le32(below(2) ? 0 : odd());
		b->page_size = cpu_to_le32(rarely() ? odd() : PAGE_SIZE);
		b->uid = cpu_to_le32(odd());
		b->mode = rarely() ? odd() : POPCORN_MODE_KERNEL;
		len = sizeof(*b);
	} else if (type == PD_T_DATA) {
		len += PAGE_SIZE;
	} else if (type == PD_T_BARRIER) {
		len += (((struct pd_msg *)buf)->pages = below(4)) * sizeof(struct pd_word);
	} else if (type == PD_T_TREE) {
		len = sizeof(struct pd_tree_msg);
	} else if (type == PD_T_ASK || type == PD_T_DONE) {
		len *= 1 + below(4);
	}
	if (rarely())
		len = below(LONGEST);
	request = is_request(type) != rarely();
	page = (type == PD_T_ASK || type == PD_T_FETCH) != rarely();
	return request ? ask(from, to, type, buf, len, page) :
			 popcorn_send(from, to, below(PW_CLASSES), type, buf, len, 0);
}

static int fuzz(struct popcorn_node *via, struct popcorn_node *from, u16 home, u16 to, u32 region, u32 n)
{
	struct pd_attach at = {
		.region = cpu_to_le32(region), .page_size = cpu_to_le32(PAGE_SIZE),
		.mode = POPCORN_MODE_KERNEL,
	};
	u8 *buf = kzalloc(LONGEST, GFP_KERNEL);
	u32 i, sent = 0;
	int e;

	if (!buf)
		return -ENOMEM;
	e = popcorn_request(via, home, PW_SYNC, PD_T_ATTACH, &at, sizeof(at), &at, sizeof(at), 5000);
	e = e < 0 ? e : e != sizeof(at) ? -EPROTO : 0;
	atomic_set(&answered, 0);
	atomic_set(&refused, 0);
	atomic_set(&odd_answers, 0);
	for (i = 0; i < n && !e; i++)
		sent += !one(from, to, &at, buf);
	wait_event(ended, !atomic_read(&under_way));
	kfree(buf);
	if (!e)
		pr_info("dsmfuzz: %u sent, %d answered, %d refused\n", sent, atomic_read(&answered),
			atomic_read(&refused));
	if (!e && atomic_read(&odd_answers)) {
		pr_err("dsmfuzz: %d answers that can't be\n", atomic_read(&odd_answers));
		e = -EPROTO;
	}
	return e;
}

static ssize_t command(struct file *file, const char __user *ubuf, size_t len, loff_t *pos)
{
	unsigned int region, home, via, from, to, n, seed;
	struct popcorn_node *v, *f;
	char buf[128];
	int e;

	if (len >= sizeof(buf))
		return -EINVAL;
	if (copy_from_user(buf, ubuf, len))
		return -EFAULT;
	buf[len] = 0;
	if (sscanf(buf, "region=%u home=%u via=%u from=%u to=%u n=%u seed=%u", &region, &home, &via,
		   &from, &to, &n, &seed) != 7)
		return -EINVAL;
	v = popcorn_node_get(via);
	f = popcorn_node_get(from);
	mutex_lock(&command_mutex);
	prandom_seed_state(&rnd, seed);
	e = v && f ? fuzz(v, f, home, to, region, n) : -ENODEV;
	mutex_unlock(&command_mutex);
	if (v)
		popcorn_node_put(v);
	if (f)
		popcorn_node_put(f);
	return e ?: len;
}

static const struct proc_ops proc_ops = {
	.proc_write = command,
};

static int __init dsmfuzz_init(void)
{
	return proc_create("popcorn_dsmfuzz", 0200, NULL, &proc_ops) ? 0 : -ENOMEM;
}

static void __exit dsmfuzz_exit(void)
{
	remove_proc_entry("popcorn_dsmfuzz", NULL);
	synchronize_rcu();	/* asked_done() */
}

module_init(dsmfuzz_init);
module_exit(dsmfuzz_exit);

MODULE_DESCRIPTION("Senseless messages for Popcorn's tests");
MODULE_LICENSE("GPL");
