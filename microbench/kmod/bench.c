// SPDX-License-Identifier: GPL-2.0-only
/*
 * popcorn_bench.ko: what messages and pages cost. Every node answers; rows are
 * run by whoever writes one to /proc/popcorn_bench, and read back as JSON.
 */
#include <linux/completion.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/sort.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "../../kernel/msg.h"

#undef pr_fmt
#define pr_fmt(fmt) "popcorn_bench: " fmt

/* Message types of the benchmark, far from those of the real layers. */
#define T_ECHO		240	/* request: answered with as many bytes */
#define T_PAGE		241	/* page request */
#define T_SINK		242	/* one-way: dropped */

#define ITERS_MAX	1000000
#define WINDOW_MAX	32
#define THREADS_MAX	64
#define BATCH		64	/* stream: one sample is the mean of so many */
#define RATE_BATCH	256	/* rate: the same, sent by all threads together */
#define RATE_INTERVALS	8	/* rate: samples at least */
#define SOURCES		256	/* pages on their way at a time, all peers together */
#define TIMEOUT_MS	30000
#define SETTLE_MS	1500	/* stream: until other messages don't count any more, see popcorn_conn_brisk() */
#define PACE_US		500	/* urgent_under_bulk: pause before each round trip, or twice that */

/* ------------------------------------------------------ the answering side */

struct source {
	struct popcorn_done done;
	struct popcorn_frame *frame;
	struct source *next;
};

static u8 *pattern;			/* PW_MSG_MAX bytes */
static struct source *sources, *source_free;
static DEFINE_SPINLOCK(source_lock);
static unsigned int source_out;
static DECLARE_WAIT_QUEUE_HEAD(source_wait);

static void echo(struct popcorn_msg *m)
{
	const void *buf = m->len <= PW_PAYLOAD ? m->data : pattern;
	int r = popcorn_answer(m, 0, buf, min(m->len, m->max));

	if (r)
		popcorn_answer(m, r, NULL, 0);
}

static void source_done(struct popcorn_done *d)
{
	struct source *s = container_of(d, struct source, done);

	spin_lock_bh(&source_lock);
	s->next = source_free;
	source_free = s;
	if (!--source_out)
		wake_up(&source_wait);
	spin_unlock_bh(&source_lock);
}

static void page(struct popcorn_msg *m)
{
	struct popcorn_frame *f[WINDOW_MAX];
	struct popcorn_done *d[WINDOW_MAX];
	unsigned int i;

	if (!m->pages || m->pages > WINDOW_MAX) {
		popcorn_answer(m, -EINVAL, NULL, 0);
		return;
	}
	spin_lock_bh(&source_lock);
	for (i = 0; i < m->pages; i++) {
		struct source *s = source_free;

		f[i] = s ? s->frame : NULL;
		d[i] = s ? &s->done : NULL;
		if (s) {
			source_free = s->next;
			source_out++;
		}
	}
	spin_unlock_bh(&source_lock);
	popcorn_answer_pages(m, f, d);
}

static void sink(struct popcorn_msg *m)
{
	popcorn_msg_done(m);
}

static const struct popcorn_msg_ops ops[] = {
	{ "bench_echo", echo }, { "bench_page", page }, { "bench_sink", sink },
};

/* ------------------------------------------------------------ the rows */

enum row { RTT, FETCH, STREAM, RATE, URGENT, ROWS };
static const char *const row_name[ROWS] = {
	"rtt", "fetch", "stream", "rate", "urgent_under_bulk"
};
static const char *const class_name[PW_CLASSES] = { "urgent", "sync", "bulk" };

struct cmd {
	u32 row, size, class, iters, from, to, window, threads, one_class, bounce;
};

struct run {
	struct cmd cmd;
	struct popcorn_node *node;
	u32 *ns;		/* samples */
	u32 n, per;		/* how many, and of how many operations each is the mean */
	u32 room;
	u64 ops;		/* operations, with those that warm up; 0: no one kind */
	u64 idle;		/* urgent_under_bulk: median without load, ns */
	u64 bulk_solo, bulk_loaded;	/* pages a second */
};

static void sample(struct run *run, u64 ns)
{
	if (run->n < run->room)
		run->ns[run->n++] = min_t(u64, ns, U32_MAX);
}

static u32 warm(const struct run *run)
{
	return run->cmd.iters / 10 + 16;
}

/* Round trips one after the other; @paced: now and then, as urgent ones come. */
static int pings(struct run *run, u8 class, bool paced)
{
	const struct cmd *c = &run->cmd;
	u8 *ans = kvmalloc(c->size, GFP_KERNEL);
	u32 i, skip = warm(run);
	int r = ans ? 0 : -ENOMEM;

	for (i = 0; r >= 0 && i < c->iters + skip; i++) {
		u64 t;

		if (paced)
			usleep_range(PACE_US, 2 * PACE_US);
		t = ktime_get_ns();
		r = popcorn_request(run->node, c->to, class, T_ECHO, pattern, c->size, ans,
				    c->size, TIMEOUT_MS);
		if (i >= skip)
			sample(run, ktime_get_ns() - t);
	}
	run->ops = i;
	if (r >= 0 && (r != c->size || memcmp(ans, pattern, c->size)))
		r = -EIO;
	kvfree(ans);
	return min(r, 0);
}

static int rtt(struct run *run, u8 class)
{
	return pings(run, class, false);
}

static bool page_wrong(const struct popcorn_frame *f)
{
	return memcmp(popcorn_frame_data(f), pattern, PAGE_SIZE);
}

static int fetch(struct run *run, u8 class)
{
	const struct cmd *c = &run->cmd;
	u32 i, skip = warm(run);
	void *copy = c->bounce ? (void *)__get_free_page(GFP_KERNEL) : NULL;
	int r = 0;

	if (c->bounce && !copy)
		return -ENOMEM;
	for (i = 0; !r && i < c->iters + skip; i++) {
		struct popcorn_frame *f;
		u64 t = ktime_get_ns();

		r = popcorn_request_page(run->node, c->to, class, T_PAGE, pattern, 64, &f,
					 TIMEOUT_MS);
		if (!r && copy)
			memcpy(copy, popcorn_frame_data(f), PAGE_SIZE);
		if (i >= skip)
			sample(run, ktime_get_ns() - t);
		if (!r && page_wrong(f))
			r = -EIO;
		popcorn_frame_free(f);
	}
	run->ops = i;
	free_page((unsigned long)copy);
	return r;
}

/* Half a window of pages: asked for with one message, waited for together. */
struct page_batch {
	struct completion c;
	atomic_t left;
	int status;
	u32 n;
	struct page_one {
		struct popcorn_async a;
		struct page_batch *batch;
	} page[WINDOW_MAX];
};

static void page_done(struct popcorn_done *d)
{
	struct page_batch *b = container_of(d, struct page_one, a.done)->batch;

	if (d->status)
		WRITE_ONCE(b->status, d->status);
	if (atomic_dec_and_test(&b->left))
		complete(&b->c);
}

static int batch_ask(struct run *run, u8 class, struct page_batch *b, u32 n)
{
	struct popcorn_async *a[WINDOW_MAX];
	u32 i;
	int r;

	for (i = 0; i < n; i++) {
		struct page_one *p = &b->page[i];

		if (!p->a.frame)
			p->a.frame = popcorn_frame_alloc(GFP_KERNEL);
		if (!p->a.frame)
			return -ENOMEM;
		p->batch = b;
		p->a.done.fn = page_done;
		a[i] = &p->a;
	}
	reinit_completion(&b->c);
	atomic_set(&b->left, n);
	b->status = 0;
	r = popcorn_request_pages(run->node, run->cmd.to, class, T_PAGE, pattern, 64, TIMEOUT_MS,
				  0, a, n);
	b->n = r ? 0 : n;
	return r;
}

static int batch_get(struct page_batch *b)
{
	wait_for_completion(&b->c); /* bounded by the requests' timeout */
	return b->status;
}

static u32 half_window(const struct cmd *c)
{
	return max(c->window / 2, 1u);
}

/* Pages until @n have come or *@stop; how many is added to *@count. */
static int pages(struct run *run, u8 class, u32 n, const bool *stop, u64 *count)
{
	struct page_batch *b = kcalloc(2, sizeof(*b), GFP_KERNEL);
	u32 i, half = half_window(&run->cmd), asked = 0, got = 0;
	u64 t = ktime_get_ns(), now;
	int r = b ? 0 : -ENOMEM;

	for (i = 0; b && i < 2; i++)
		init_completion(&b[i].c);
	for (i = 0; !r && i < min(run->cmd.window, 2u) && asked < n; i++, asked += half)
		r = batch_ask(run, class, &b[i], half);
	for (i = 0; !r && got < n && !READ_ONCE(*stop); i = run->cmd.window > 1 ? !i : 0) {
		if (!got)
			i = 0;
		r = batch_get(&b[i]);
		b[i].n = 0;
		if (!r && !(got % BATCH) && page_wrong(b[i].page[0].a.frame))
			r = -EIO;
		got += half;
		*count += half;
		if (!r && asked < n) {
			r = batch_ask(run, class, &b[i], half);
			asked += half;
		}
		if (fatal_signal_pending(current))
			r = -EINTR;
		if (n != U32_MAX && got % run->per == 0) {
			now = ktime_get_ns();
			sample(run, now - t);
			t = now;
		}
	}
	for (i = 0; b && i < 2; i++) {
		u32 k;

		if (b[i].n)
			batch_get(&b[i]);
		for (k = 0; k < WINDOW_MAX; k++)
			popcorn_frame_free(b[i].page[k].a.frame);
	}
	kfree(b);
	return r;
}

static int stream(struct run *run, u8 class)
{
	u32 half = half_window(&run->cmd);
	static const bool never;

	msleep(SETTLE_MS);
	run->per = rounddown(BATCH, half);
	return pages(run, class, round_up(run->cmd.iters, BATCH) + BATCH, &never, &run->ops);
}

/* All senders together: whoever sends the last message of an interval notes the time. */
struct senders {
	struct run *run;
	u8 class;
	u32 total;
	atomic_t sent;
	int r;		/* first error; ends all of them */
	u64 *when;
};

struct sender {
	struct senders *all;
	struct completion done;
};

static int sender_thread(void *arg)
{
	struct sender *me = arg;
	struct senders *s = me->all;
	const struct cmd *c = &s->run->cmd;
	u32 i;
	int r = 0;

	while (!READ_ONCE(s->r) && (i = atomic_inc_return(&s->sent)) <= s->total) {
		r = popcorn_send(s->run->node, c->to, s->class, T_SINK, pattern, c->size, 0);
		if (r)
			WRITE_ONCE(s->r, r);
		if (i % RATE_BATCH == 0)
			s->when[i / RATE_BATCH] = ktime_get_ns();
	}
	kthread_complete_and_exit(&me->done, 0);
	return 0;
}

static int send_all(struct senders *s, u32 threads)
{
	struct sender *t = kcalloc(threads, sizeof(*t), GFP_KERNEL);
	u32 i;

	if (!t)
		return -ENOMEM;
	for (i = 0; i < threads; i++) {
		t[i].all = s;
		init_completion(&t[i].done);
		if (IS_ERR(kthread_run(sender_thread, &t[i], "popcorn_bench/%u", i))) {
			WRITE_ONCE(s->r, -ENOMEM);
			complete(&t[i].done);
		}
	}
	for (i = 0; i < threads; i++) {
		if (!wait_for_completion_killable(&t[i].done))
			continue;
		WRITE_ONCE(s->r, -EINTR);
		wait_for_completion(&t[i].done); /* each send is bounded */
	}
	kfree(t);
	return s->r;
}

static int cmp_u64(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return (x > y) - (x < y);
}

/* Intervals of all threads together; the last ends when the peer has handled everything. */
static int rate(struct run *run, u8 class)
{
	const struct cmd *c = &run->cmd;
	u32 i, n = max_t(u32, DIV_ROUND_UP(c->iters, RATE_BATCH), RATE_INTERVALS);
	struct senders s = { .run = run, .class = class, .total = n * RATE_BATCH };
	u8 end[8];
	int r;

	s.when = kvcalloc(n + 1, sizeof(*s.when), GFP_KERNEL);
	if (!s.when)
		return -ENOMEM;
	s.when[0] = ktime_get_ns();
	r = send_all(&s, c->threads) ?:
	    min(popcorn_request(run->node, c->to, class, T_ECHO, pattern, sizeof(end), end,
				sizeof(end), TIMEOUT_MS), 0);
	s.when[n] = ktime_get_ns();
	/* Threads may note neighbouring intervals in the wrong order. */
	sort(s.when, n + 1, sizeof(*s.when), cmp_u64, NULL);
	run->per = RATE_BATCH;
	run->ops = s.total;
	for (i = 0; !r && i < n; i++)
		sample(run, s.when[i + 1] - s.when[i]);
	kvfree(s.when);
	return r;
}

static int cmp_u32(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return (x > y) - (x < y);
}

struct load {
	struct run *run;
	u8 class;
	bool stop;
	u64 count;
	int r;
	struct completion done;
};

static int load_thread(void *arg)
{
	struct load *l = arg;

	l->r = pages(l->run, l->class, U32_MAX, &l->stop, &l->count);
	kthread_complete_and_exit(&l->done, 0);
	return 0;
}

/* Bulk pages meanwhile: alone for as long as the idle round trips took, or beside urgent ones. */
static int with_load(struct run *run, u8 urgent, u8 bulk, u64 solo_ns, u64 *rate)
{
	struct load l = { .run = run, .class = bulk };
	u64 start, ns, before;
	int r = 0;

	init_completion(&l.done);
	if (IS_ERR(kthread_run(load_thread, &l, "popcorn_bench/load")))
		return -ENOMEM;
	msleep(20); /* until the window is full */
	start = ktime_get_ns();
	before = READ_ONCE(l.count);
	if (solo_ns)
		r = msleep_interruptible(max_t(u64, div_u64(solo_ns, 1000000), 100)) ? -EINTR : 0;
	else
		r = pings(run, urgent, true);
	ns = ktime_get_ns() - start;
	*rate = div64_u64((READ_ONCE(l.count) - before) * 1000000000ull, max(ns, 1ull));
	WRITE_ONCE(l.stop, true);
	wait_for_completion(&l.done);
	return r ?: l.r;
}

static int urgent_under_bulk(struct run *run, u8 class)
{
	u8 bulk = run->cmd.one_class ? class : PW_BULK;
	u64 start = ktime_get_ns(), ns;
	int r = pings(run, class, true);

	ns = ktime_get_ns() - start;
	if (r)
		return r;
	sort(run->ns, run->n, sizeof(*run->ns), cmp_u32, NULL);
	run->idle = run->ns[run->n / 2];
	run->n = 0;
	r = with_load(run, class, bulk, ns, &run->bulk_solo) ?:
	    with_load(run, class, bulk, 0, &run->bulk_loaded);
	run->ops = 0;
	return r;
}

/* --------------------------------------------------------------- commands */

static DEFINE_MUTEX(lock);	/* one row at a time; guards @line */
static char line[512];

static void put_us(const char *key, u64 ns, u32 per)
{
	u32 rest;
	u64 us = div_u64_rem(div_u64(ns, per), 1000, &rest);

	scnprintf(line + strlen(line), sizeof(line) - strlen(line), "\"%s\": %llu.%03u, ", key, us,
		  rest);
}

static void report(struct run *run)
{
	const struct cmd *c = &run->cmd;
	u64 sum = 0;
	u32 i;

	sort(run->ns, run->n, sizeof(*run->ns), cmp_u32, NULL);
	for (i = 0; i < run->n; i++)
		sum += run->ns[i];
	scnprintf(line, sizeof(line), "{\"name\": \"popcorn\", \"row\": \"%s\", \"size\": %u, \"class\": \"%s\", \"unit\": \"us\", ",
		  row_name[c->row], c->size, class_name[c->class]);
	put_us("median", run->ns[run->n / 2], run->per);
	put_us("p99", run->ns[run->n * 99ull / 100], run->per);
	put_us("p999", run->ns[run->n * 999ull / 1000], run->per);
	put_us("min", run->ns[0], run->per);
	put_us("avg", div_u64(sum, run->n), run->per);
	if (c->row == STREAM || c->row == RATE) {
		u64 ns = max_t(u64, div_u64(sum, run->n), 1);
		u64 kb = div64_u64((u64)c->size * run->per * 1000000, ns); /* kB/s */

		scnprintf(line + strlen(line), sizeof(line) - strlen(line),
			  "\"MB_per_s\": %llu.%03llu, ", kb / 1000, kb % 1000);
	}
	if (c->row == URGENT) {
		u64 solo = max(run->bulk_solo, 1ull);

		put_us("idle", run->idle, 1);
		scnprintf(line + strlen(line), sizeof(line) - strlen(line),
			  "\"bulk_solo\": %llu, \"bulk_loaded\": %llu, \"bulk_share\": %llu.%03llu, ",
			  run->bulk_solo, run->bulk_loaded, run->bulk_loaded / solo,
			  div64_u64(run->bulk_loaded % solo * 1000, solo));
	}
	if (run->ops)
		scnprintf(line + strlen(line), sizeof(line) - strlen(line), "\"operations\": %llu, ",
			  run->ops);
	scnprintf(line + strlen(line), sizeof(line) - strlen(line),
		  "\"threads\": %u, \"iters\": %u}\n", c->threads, run->n * run->per);
}

static int parse_word(struct cmd *c, const char *key, const char *value)
{
	const struct {
		const char *key;
		u32 *to;
	} num[] = {
		{ "size", &c->size }, { "iters", &c->iters }, { "from", &c->from },
		{ "to", &c->to }, { "window", &c->window }, { "threads", &c->threads },
		{ "one_class", &c->one_class }, { "bounce", &c->bounce },
	};
	unsigned int i;
	int r;

	if (!strcmp(key, "row") || !strcmp(key, "class")) {
		bool row = *key == 'r';

		r = row ? match_string(row_name, ROWS, value) :
			  match_string(class_name, PW_CLASSES, value);
		if (r < 0)
			return r;
		*(row ? &c->row : &c->class) = r;
		return 0;
	}
	for (i = 0; i < ARRAY_SIZE(num); i++)
		if (!strcmp(key, num[i].key))
			return kstrtou32(value, 10, num[i].to);
	return -EINVAL;
}

static int parse(char *text, struct cmd *c)
{
	char *word, *value;
	int r = 0;

	*c = (struct cmd) { .row = ROWS, .class = PW_SYNC, .iters = 1000, .to = 1, .window = 16,
			    .threads = 1 };
	while (!r && (word = strsep(&text, " \t\n"))) {
		if (!*word)
			continue;
		value = strchr(word, '=');
		if (!value)
			return -EINVAL;
		*value++ = 0;
		r = parse_word(c, word, value);
	}
	if (!c->size)
		c->size = c->row == FETCH || c->row == STREAM ? PAGE_SIZE : 64;
	if (r || c->row >= ROWS || c->size > PW_MSG_MAX || !c->iters || c->iters > ITERS_MAX ||
	    !c->window || c->window > WINDOW_MAX || !c->threads || c->threads > THREADS_MAX ||
	    ((c->row == FETCH || c->row == STREAM) && c->size != PAGE_SIZE))
		return -EINVAL;
	return 0;
}

static int run_row(struct run *run)
{
	static int (*const rows[ROWS])(struct run *run, u8 class) = {
		rtt, fetch, stream, rate, urgent_under_bulk
	};
	const struct cmd *c = &run->cmd;
	int r;

	run->per = 1;
	run->room = c->iters + THREADS_MAX * BATCH;
	run->node = popcorn_node_get(c->from);
	if (!run->node) {
		pr_err("node %u doesn't live here; see /proc/popcorn_peers\n", c->from);
		return -ENODEV;
	}
	run->ns = kvmalloc_array(run->room, sizeof(*run->ns), GFP_KERNEL);
	r = run->ns ? rows[c->row](run, c->one_class ? PW_SYNC : c->class) : -ENOMEM;
	if (!r && run->n)
		report(run);
	else if (r && !fatal_signal_pending(current))
		pr_err("row %s: %d\n", row_name[c->row], r);
	kvfree(run->ns);
	popcorn_node_put(run->node);
	return r;
}

static ssize_t bench_write(struct file *file, const char __user *ubuf, size_t len, loff_t *pos)
{
	struct run run = { };
	char *text;
	int r;

	if (len > 256)
		return -EINVAL;
	text = memdup_user_nul(ubuf, len);
	if (IS_ERR(text))
		return PTR_ERR(text);
	r = mutex_lock_killable(&lock);
	if (r)
		goto free;
	line[0] = 0;
	r = parse(text, &run.cmd);
	if (r)
		pr_err("write row=rtt|fetch|stream|rate|urgent_under_bulk [size=BYTES] [class=urgent|sync|bulk] [iters=N] [from=ID] [to=ID] [window=1..%u] [threads=1..%u] [one_class=1] [bounce=1]\n",
		       WINDOW_MAX, THREADS_MAX);
	else
		r = run_row(&run);
	mutex_unlock(&lock);
free:
	kfree(text);
	return r ?: len;
}

static int bench_show(struct seq_file *m, void *v)
{
	int r = mutex_lock_killable(&lock);

	if (r)
		return r;
	seq_puts(m, line);
	mutex_unlock(&lock);
	return 0;
}

static int bench_open(struct inode *inode, struct file *file)
{
	return single_open(file, bench_show, NULL);
}

static const struct proc_ops bench_ops = {
	.proc_open = bench_open,
	.proc_read = seq_read,
	.proc_write = bench_write,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

/* ----------------------------------------------------------------- module */

static void sources_free(void)
{
	u32 i;

	for (i = 0; sources && i < SOURCES; i++)
		popcorn_frame_free(sources[i].frame);
	kvfree(sources);
	kvfree(pattern);
}

static int sources_init(void)
{
	u32 i;

	pattern = kvmalloc(PW_MSG_MAX, GFP_KERNEL);
	sources = kvcalloc(SOURCES, sizeof(*sources), GFP_KERNEL);
	if (!pattern || !sources)
		return -ENOMEM;
	for (i = 0; i < PW_MSG_MAX; i++)
		pattern[i] = i * 31 + (i >> 8);
	for (i = 0; i < SOURCES; i++) {
		struct source *s = &sources[i];

		s->frame = popcorn_frame_alloc(GFP_KERNEL);
		if (!s->frame)
			return -ENOMEM;
		memcpy(popcorn_frame_data(s->frame), pattern, PAGE_SIZE);
		s->done.fn = source_done;
		s->next = source_free;
		source_free = s;
	}
	return 0;
}

static int __init bench_init(void)
{
	int r = sources_init();
	u16 i;

	if (r)
		goto free;
	for (i = 0; i < ARRAY_SIZE(ops); i++) {
		r = popcorn_msg_register(T_ECHO + i, &ops[i]);
		if (r)
			goto unregister;
	}
	if (proc_create("popcorn_bench", 0600, NULL, &bench_ops))
		return 0;
	r = -ENOMEM;
unregister:
	while (i--)
		popcorn_msg_unregister(T_ECHO + i);
free:
	sources_free();
	return r;
}

static void __exit bench_exit(void)
{
	u16 i;

	remove_proc_entry("popcorn_bench", NULL);
	for (i = 0; i < ARRAY_SIZE(ops); i++)
		popcorn_msg_unregister(T_ECHO + i);
	/* Pages on their way come back when acknowledged or when the peer is dead. */
	wait_event(source_wait, !READ_ONCE(source_out));
	synchronize_rcu(); /* nor is source_done() running */
	sources_free();
}

module_init(bench_init);
module_exit(bench_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Popcorn: what messages and pages cost");
