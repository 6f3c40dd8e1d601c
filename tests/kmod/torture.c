// SPDX-License-Identifier: GPL-2.0-only
/*
 * popcorn_torture.ko: load whose every effect is checked, for the tests that
 * cut links and kill nodes meanwhile. Every node that has it loaded answers.
 *
 * /proc/popcorn_torture takes one command a write, and reads as one line of
 * JSON:
 *   start from=0 to=1 [ms=20]  three one-way streams (one a class), an echo
 *                              thread a class, and page fetchers of which some
 *                              time out after ms
 *   stop                       end the load; waits until it has ended
 *   hold CLASS | release       keep received one-way messages of that class
 *   send from=0 to=1 class=C n=N   N one-way messages that don't wait: -EAGAIN
 *                              ends it; how many went is in "pushed"
 *   pages from=0 to=1 n=N      ask for N pages at once, of a type that nobody
 *                              handles; how many said so is in "refused"
 *   reset                      zero the counters
 *
 * What is checked: one-way messages carry their stream's number and must come
 * exactly once and in order; echoes must be equal; a page must hold the pattern
 * that belongs to its request's tag, and once it is the fetcher's nothing else
 * may be written there (a stale write).
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/random.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/wait.h>

#include "../../kernel/msg.h"

#define T_STREAM	(PW_T_USER + 64)
#define T_ECHO		(PW_T_USER + 65)
#define T_PAGE		(PW_T_USER + 66)
#define T_NOBODY	(PW_T_USER + 67)

#define FETCHERS	6
#define THREADS		(2 * PW_CLASSES + FETCHERS)
#define WORDS		(PAGE_SIZE / sizeof(u64))
#define NODES		16	/* streams are told apart up to that id */

struct stream_msg {
	u64 run;
	u64 number;
};

struct load {
	struct task_struct *task;
	int kind;		/* 0 stream, 1 echo, 2 pages */
	int class;
	int index;
};

static struct load load[THREADS];
static struct popcorn_node *source;
static u16 target;
static unsigned int timeout_ms;
static u64 run;
static bool running;
static DEFINE_MUTEX(command_mutex);

static atomic64_t sent[PW_CLASSES], echoes, pages, timeouts, failed;
static atomic64_t bad_echo, bad_page, stale, bad_order, pushed, served;
static atomic64_t got[PW_CLASSES];

/* What each sender's stream is at; handlers of one node run one at a time. */
static struct stream_msg seen[NODES][NODES][PW_CLASSES];

static DEFINE_SPINLOCK(held_lock);
static int hold_class = -1;
static struct popcorn_msg *held;
static unsigned int held_count;
static int push_error;
static unsigned int refused;

/* --------------------------------------------------------------- answering */

static void on_stream(struct popcorn_msg *m)
{
	struct stream_msg s;
	u16 me = popcorn_node_id(m->node);

	if (m->len >= sizeof(s) && me < NODES && m->from < NODES) {
		struct stream_msg *last = &seen[me][m->from][m->class];

		popcorn_msg_copy(m, 0, &s, sizeof(s));
		if (s.run != last->run) {
			last->run = s.run;
			last->number = 0;
		}
		if (s.number != last->number + 1)
			atomic64_inc(&bad_order);
		last->number = s.number;
		atomic64_inc(&got[m->class]);
	}
	spin_lock(&held_lock);
	if (m->class == hold_class) {
		m->next = held;
		held = m;
		held_count++;
		m = NULL;
	}
	spin_unlock(&held_lock);
	if (m)
		popcorn_msg_done(m);
}

static void release_held(void)
{
	struct popcorn_msg *m, *next;

	spin_lock(&held_lock);
	hold_class = -1;
	m = held;
	held = NULL;
	held_count = 0;
	spin_unlock(&held_lock);
	for (; m; m = next) {
		next = m->next;
		popcorn_msg_done(m);
	}
}

static void on_echo(struct popcorn_msg *m)
{
	void *buf = kvmalloc(m->len + 1, GFP_KERNEL);

	if (!buf) {
		popcorn_answer(m, -ENOMEM, NULL, 0);
		return;
	}
	popcorn_msg_copy(m, 0, buf, m->len);
	popcorn_answer(m, 0, buf, m->len);
	kvfree(buf);
}

struct served_page {
	struct popcorn_done done;
	struct popcorn_frame *frame;
};

static atomic_t unacked;
static DECLARE_WAIT_QUEUE_HEAD(unacked_wait);

static void page_acked(struct popcorn_done *d)
{
	struct served_page *p = container_of(d, struct served_page, done);

	popcorn_frame_free(p->frame);
	kfree(p);
	if (atomic_dec_and_test(&unacked))
		wake_up(&unacked_wait);
}

static u64 pattern(u64 tag, unsigned int i)
{
	return (tag + i) * 0x9e3779b97f4a7c15ull;
}

static void on_page(struct popcorn_msg *m)
{
	struct served_page *p = kzalloc(sizeof(*p), GFP_KERNEL);
	unsigned int i;
	u64 tag, *w;

	if (p)
		p->frame = popcorn_frame_alloc(GFP_KERNEL);
	if (!p || !p->frame || popcorn_msg_copy(m, 0, &tag, sizeof(tag)) != sizeof(tag)) {
		if (p && p->frame)
			popcorn_frame_free(p->frame);
		kfree(p);
		popcorn_answer(m, -ENOMEM, NULL, 0);
		return;
	}
	w = popcorn_frame_data(p->frame);
	for (i = 0; i < WORDS; i++)
		w[i] = pattern(tag, i);
	p->done.fn = page_acked;
	atomic64_inc(&served);
	atomic_inc(&unacked);
	popcorn_answer_page(m, p->frame, &p->done);
}

static const struct popcorn_msg_ops ops[] = {
	{ .name = "torture-stream", .handle = on_stream },
	{ .name = "torture-echo", .handle = on_echo },
	{ .name = "torture-page", .handle = on_page },
};

/* ------------------------------------------------------------------ asking */

static void note(int err)
{
	if (err == -ETIMEDOUT || err == -ECANCELED)
		atomic64_inc(&timeouts);
	else
		atomic64_inc(&failed);
}

static void stream(struct load *l)
{
	u8 buf[256];
	struct stream_msg s = { .run = run };

	memset(buf, 0, sizeof(buf));
	while (!kthread_should_stop()) {
		int err;

		s.number++;
		memcpy(buf, &s, sizeof(s));
		err = popcorn_send(source, target, l->class, T_STREAM, buf,
				   sizeof(s) + get_random_u32() % (sizeof(buf) - sizeof(s)), 0);
		if (err) {
			s.number--;
			note(err);
			msleep(10);
			continue;
		}
		atomic64_inc(&sent[l->class]);
		if (!(s.number & 63))
			usleep_range(500, 1000);
	}
}

static void echo(struct load *l)
{
	u8 *out = kvmalloc(2 * PW_MSG_MAX, GFP_KERNEL), *in = out + PW_MSG_MAX;

	while (out && !kthread_should_stop()) {
		u32 len = get_random_u32() % (get_random_u32() % 8 ? 512 : 20000), i;
		u8 x = get_random_u32();
		int r;

		for (i = 0; i < len; i++)
			out[i] = x + i * 7;
		r = popcorn_request(source, target, l->class, T_ECHO, out, len, in, len, 30000);
		if (r < 0)
			note(r);
		else if (r != len || memcmp(in, out, len))
			atomic64_inc(&bad_echo);
		else
			atomic64_inc(&echoes);
		if (r < 0)
			msleep(10);
		else
			usleep_range(200, 1000);
	}
	kvfree(out);
}

/* Odd fetchers give up early, so that answers come late. */
static void fetch(struct load *l)
{
	while (!kthread_should_stop()) {
		struct popcorn_frame *f = NULL;
		u64 tag = get_random_u64(), *w;
		unsigned int i;
		int err;

		err = popcorn_request_page(source, target, l->class, T_PAGE, &tag, sizeof(tag),
					   &f, l->index & 1 ? timeout_ms : 30000);
		if (err) {
			note(err);
			if (err == -EHOSTDOWN)
				msleep(10);
			continue;
		}
		w = popcorn_frame_data(f);
		for (i = 0; i < WORDS && READ_ONCE(w[i]) == pattern(tag, i); i++)
			;
		if (i < WORDS)
			atomic64_inc(&bad_page);
		/* It is ours now: nobody else may write there. */
		for (i = 0; i < WORDS; i++)
			WRITE_ONCE(w[i], ~pattern(tag, i));
		if (!(get_random_u32() % 4))
			usleep_range(100, 5000);
		for (i = 0; i < WORDS && READ_ONCE(w[i]) == ~pattern(tag, i); i++)
			;
		if (i < WORDS)
			atomic64_inc(&stale);
		popcorn_frame_free(f);
		atomic64_inc(&pages);
	}
}

static int load_thread(void *arg)
{
	struct load *l = arg;

	if (l->kind == 0)
		stream(l);
	else if (l->kind == 1)
		echo(l);
	else
		fetch(l);
	while (!kthread_should_stop())
		msleep(10);
	return 0;
}

static void stop(void)
{
	int i;

	for (i = 0; i < THREADS; i++) {
		if (load[i].task)
			kthread_stop(load[i].task);
		load[i].task = NULL;
	}
	if (source)
		popcorn_node_put(source);
	source = NULL;
	running = false;
}

static int start(u16 from, u16 to, unsigned int ms)
{
	int i, err = 0;

	if (running)
		return -EBUSY;
	source = popcorn_node_get(from);
	if (!source)
		return -ENODEV;
	target = to;
	timeout_ms = ms;
	run = get_random_u64();
	running = true;
	for (i = 0; i < THREADS && !err; i++) {
		struct load *l = &load[i];
		struct task_struct *t;

		l->index = i;
		l->kind = min(i / PW_CLASSES, 2);
		/* Pages don't go on URGENT. */
		l->class = l->kind == 2 ? PW_SYNC + i / 2 % 2 : i % PW_CLASSES;
		t = kthread_run(load_thread, l, "torture/%d", i);
		if (IS_ERR(t))
			err = PTR_ERR(t);
		else
			l->task = t;
	}
	if (err)
		stop();
	return err;
}

static int push(u16 from, u16 to, unsigned int class, unsigned int n)
{
	struct popcorn_node *node = popcorn_node_get(from);
	struct stream_msg s = { .run = get_random_u64() };
	int err = 0;

	if (!node)
		return -ENODEV;
	atomic64_set(&pushed, 0);
	while (n-- && !err) {
		s.number++;
		err = popcorn_send(node, to, class, T_STREAM, &s, sizeof(s), POPCORN_NOWAIT);
		if (!err)
			atomic64_inc(&pushed);
	}
	push_error = err;
	popcorn_node_put(node);
	return err;
}

struct asked {
	struct popcorn_async a;
	struct completion c;
};

static void asked_done(struct popcorn_done *d)
{
	complete(&container_of(d, struct asked, a.done)->c);
}

static int ask_nobody(u16 from, u16 to, unsigned int n)
{
	struct popcorn_node *node = popcorn_node_get(from);
	struct popcorn_async *a[PW_WANTS_MAX];
	struct asked *all;
	unsigned int i;
	int err = 0;

	refused = 0;
	if (!node)
		return -ENODEV;
	n = min_t(unsigned int, n, PW_WANTS_MAX);
	all = kcalloc(n, sizeof(*all), GFP_KERNEL);
	if (!all)
		err = -ENOMEM;
	for (i = 0; i < n && !err; i++) {
		init_completion(&all[i].c);
		a[i] = &all[i].a;
		a[i]->done.fn = asked_done;
		a[i]->frame = popcorn_frame_alloc(GFP_KERNEL);
		if (!a[i]->frame)
			err = -ENOMEM;
	}
	if (!err)
		err = popcorn_request_pages(node, to, PW_BULK, T_NOBODY, "", 0, 5000, 0, a, n);
	for (i = 0; all && i < n; i++) {
		if (!err) {
			wait_for_completion(&all[i].c);
			refused += all[i].a.done.status == -EOPNOTSUPP;
		}
		if (all[i].a.frame)
			popcorn_frame_free(all[i].a.frame);
	}
	synchronize_rcu();	/* asked_done() */
	kfree(all);
	popcorn_node_put(node);
	return err;
}

static int hold(int class)
{
	if (class < 0)
		return -EINVAL;
	spin_lock(&held_lock);
	hold_class = class;
	spin_unlock(&held_lock);
	return 0;
}

static int class_of(const char *s)
{
	static const char *const name[] = { "urgent", "sync", "bulk" };

	return match_string(name, PW_CLASSES, s);
}

static ssize_t command(struct file *file, const char __user *ubuf, size_t len, loff_t *pos)
{
	unsigned int from, to, n, ms = 20;
	char buf[128], class[16];
	int err = 0;

	if (len >= sizeof(buf))
		return -EINVAL;
	if (copy_from_user(buf, ubuf, len))
		return -EFAULT;
	buf[len] = 0;
	mutex_lock(&command_mutex);
	if (sscanf(buf, "start from=%u to=%u ms=%u", &from, &to, &ms) >= 2)
		err = start(from, to, ms);
	else if (sscanf(buf, "send from=%u to=%u class=%15s n=%u", &from, &to, class, &n) == 4)
		err = class_of(class) < 0 ? -EINVAL : push(from, to, class_of(class), n);
	else if (sscanf(buf, "pages from=%u to=%u n=%u", &from, &to, &n) == 3)
		err = ask_nobody(from, to, n);
	else if (sscanf(buf, "hold %15s", class) == 1)
		err = hold(class_of(class));
	else if (!strncmp(buf, "release", 7))
		release_held();
	else if (!strncmp(buf, "stop", 4))
		stop();
	else if (!strncmp(buf, "reset", 5)) {
		atomic64_t *all[] = { &sent[0], &sent[1], &sent[2], &got[0], &got[1], &got[2],
				      &echoes, &pages, &timeouts, &failed, &bad_echo, &bad_page,
				      &stale, &bad_order, &pushed, &served };

		for (n = 0; n < ARRAY_SIZE(all); n++)
			atomic64_set(all[n], 0);
	} else {
		err = -EINVAL;
	}
	mutex_unlock(&command_mutex);
	return err ?: len;
}

static int show(struct seq_file *m, void *v)
{
#define N(x) atomic64_read(&x)
	seq_printf(m, "{\"running\":%d,\"sent\":[%lld,%lld,%lld],\"got\":[%lld,%lld,%lld],",
		   running, N(sent[0]), N(sent[1]), N(sent[2]), N(got[0]), N(got[1]), N(got[2]));
	seq_printf(m, "\"echoes\":%lld,\"pages\":%lld,\"served\":%lld,\"timeouts\":%lld,\"failed\":%lld,",
		   N(echoes), N(pages), N(served), N(timeouts), N(failed));
	seq_printf(m, "\"bad_echo\":%lld,\"bad_page\":%lld,\"stale\":%lld,\"bad_order\":%lld,",
		   N(bad_echo), N(bad_page), N(stale), N(bad_order));
	seq_printf(m, "\"pushed\":%lld,\"push_error\":%d,\"held\":%u,\"refused\":%u}\n",
		   N(pushed), push_error, held_count, refused);
#undef N
	return 0;
}

static int open(struct inode *inode, struct file *file)
{
	return single_open(file, show, NULL);
}

static const struct proc_ops proc_ops = {
	.proc_open = open,
	.proc_read = seq_read,
	.proc_write = command,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

static int __init torture_init(void)
{
	int i, err = 0;

	for (i = 0; i < ARRAY_SIZE(ops) && !err; i++)
		err = popcorn_msg_register(T_STREAM + i, &ops[i]);
	if (!err && !proc_create("popcorn_torture", 0600, NULL, &proc_ops))
		err = -ENOMEM;
	if (err)
		while (i--)
			popcorn_msg_unregister(T_STREAM + i);
	return err;
}

static void __exit torture_exit(void)
{
	int i;

	remove_proc_entry("popcorn_torture", NULL);
	stop();
	for (i = 0; i < ARRAY_SIZE(ops); i++)
		popcorn_msg_unregister(T_STREAM + i);
	release_held();
	/* Pages on their way are told of when the peer has them or is dead. */
	wait_event(unacked_wait, !atomic_read(&unacked));
	synchronize_rcu(); /* nor is page_acked() running */
}

module_init(torture_init);
module_exit(torture_exit);

MODULE_DESCRIPTION("Checked load for Popcorn's tests");
MODULE_LICENSE("GPL");
