/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a kernel floor is but for its connections: parameters, rows, statistics, command
 * file, coming and going. Included once, by its main file, which defines KFLOOR_PORT and
 * the struct kfloor named floor.
 */
#ifndef POPCORN_KFLOOR_ROWS_H
#define POPCORN_KFLOOR_ROWS_H

#include <linux/inet.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/proc_fs.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>
#include <linux/stringify.h>
#include <linux/uaccess.h>

#include "kfloor.h"

static const char *const kfloor_row_name[KFLOOR_ROWS] = { "rtt", "fetch", "stream", "rate" };

/* The samples of one row; grown by the client before it starts. */
struct kfloor_samples {
	u32 *ns;
	u32 n, per;
	u32 ops;	/* with those that warm up */
};

/* Set when the module goes: a row that runs ends at its next iteration. */
static bool kfloor_leaving;

static void kfloor_watch(struct work_struct *work)
{
	struct kfloor_chan *c = container_of(work, struct kfloor_chan, watch.work);
	u32 done = READ_ONCE(c->done);

	if (done == c->seen)
		c->abort(c);
	c->seen = done;
	schedule_delayed_work(&c->watch, KFLOOR_PATIENCE);
}

static void kfloor_watch_start(struct kfloor_chan *c)
{
	c->done = 0;
	c->seen = U32_MAX;
	INIT_DELAYED_WORK(&c->watch, kfloor_watch);
	schedule_delayed_work(&c->watch, KFLOOR_PATIENCE);
}

static void kfloor_watch_stop(struct kfloor_chan *c)
{
	cancel_delayed_work_sync(&c->watch);
}

static u32 kfloor_pages(const struct kfloor_cmd *cmd)
{
	return round_up(cmd->iters + kfloor_warm(cmd), KFLOOR_BATCH);
}

/**
 * kfloor_serve() - the answering side of a row
 *
 * Context: the server thread; sleeps in @recv. Returns 0 or a negative errno.
 */
static int kfloor_serve(struct kfloor_chan *c, const struct kfloor_cmd *cmd)
{
	u32 n = kfloor_windowed(cmd) ? kfloor_pages(cmd) : cmd->iters + kfloor_warm(cmd);
	int (*reply)(struct kfloor_chan *c);
	u32 i, room = cmd->window, half = cmd->window / 2;
	int err = 0;

	reply = cmd->row == KFLOOR_FETCH || cmd->row == KFLOOR_STREAM ? c->put : c->send;
	if (!kfloor_windowed(cmd)) {
		for (i = 0; !err && i < n; i++) {
			err = c->recv(c, 1) ?: reply(c);
			WRITE_ONCE(c->done, i);
		}
		return err;
	}
	err = c->recv(c, 1);
	for (i = 0; !err && i < n; i++, room--) {
		if (!room) {
			err = c->recv(c, 1);
			room = half;
		}
		err = err ?: reply(c);
		WRITE_ONCE(c->done, i);
	}
	/* The last acknowledgements: then the client has everything. */
	return err ?: c->recv(c, (cmd->window - room) / half);
}

/* Answers that come before the asker waits never put it to sleep, so look for SIGKILL here. */
static int kfloor_unwanted(void)
{
	if (READ_ONCE(kfloor_leaving))
		return -ESHUTDOWN;
	return fatal_signal_pending(current) ? -EINTR : 0;
}

/**
 * kfloor_ask() - the measuring side of a row
 * @s:	gets one sample an iteration (rtt, fetch) or batch (stream, rate)
 *
 * Context: the writer of the command file; sleeps in @recv. Returns 0 or a negative errno.
 */
static int kfloor_ask(struct kfloor_chan *c, const struct kfloor_cmd *cmd,
		      struct kfloor_samples *s)
{
	u32 i, n, half = cmd->window / 2, warm = kfloor_warm(cmd);
	u64 t, last;
	int err = 0;

	s->n = 0;
	s->per = kfloor_windowed(cmd) ? KFLOOR_BATCH : 1;
	last = ktime_get_ns();
	if (!kfloor_windowed(cmd)) {
		for (i = 0; !err && i < cmd->iters + warm; i++, last = t) {
			err = kfloor_unwanted() ?: c->send(c) ?: c->recv(c, 1);
			t = ktime_get_ns();
			if (i >= warm)
				s->ns[s->n++] = t - last;
			WRITE_ONCE(c->done, i);
		}
		s->ops = i;
		return err;
	}
	err = c->send(c);
	n = kfloor_pages(cmd);
	for (i = half; !err && i <= n; i += half) {
		err = kfloor_unwanted() ?: c->recv(c, half) ?: c->send(c);
		if (i % KFLOOR_BATCH == 0) {
			t = ktime_get_ns();
			if (i > warm)
				s->ns[s->n++] = t - last;
			last = t;
		}
		WRITE_ONCE(c->done, i);
	}
	s->ops = n;
	return err;
}

static int kfloor_cmp(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;

	return (x > y) - (x < y);
}

static char *a, *b;
module_param(a, charp, 0444);
MODULE_PARM_DESC(a, "address that asks (default: chosen by the route to b)");
module_param(b, charp, 0444);
MODULE_PARM_DESC(b, "address that answers (no default)");
static char *role = "both";
module_param(role, charp, 0444);
MODULE_PARM_DESC(role, "server, client or both (default both)");
static ushort port = KFLOOR_PORT;
module_param(port, ushort, 0444);
MODULE_PARM_DESC(port, "port of the server (default " __stringify(KFLOOR_PORT) ")");

static struct sockaddr_storage addr_a, addr_b;

/**
 * struct kfloor - a floor's module and its command file
 * @name:	in results
 * @path:	of the command file in /proc
 * @start:	begins to answer at @b; logs why it can't
 * @stop:	ends that, and every row of it
 * @run:	one row, in the context of the command file's writer
 * @lock:	one row at a time; guards @line
 * @line:	result until the next row
 */
struct kfloor {
	const char *name, *path;
	int (*start)(void);
	void (*stop)(void);
	int (*run)(const struct kfloor_cmd *cmd, struct kfloor_samples *s);
	struct mutex lock;
	char line[320];
};

static struct kfloor floor;

static void kfloor_one(char *out, size_t room, const char *key, u64 ns, u32 per)
{
	u64 tenths = div_u64(ns * 10, per);	/* of a nanosecond */
	u32 rest;
	u64 us = div_u64_rem(tenths, 10000, &rest);

	scnprintf(out + strlen(out), room - strlen(out), "\"%s\": %llu.%04u, ", key, us, rest);
}

static void kfloor_report(struct kfloor *f, const struct kfloor_cmd *cmd,
			  struct kfloor_samples *s)
{
	size_t room = sizeof(f->line);
	u64 sum = 0;
	u32 i;

	sort(s->ns, s->n, sizeof(*s->ns), kfloor_cmp, NULL);
	for (i = 0; i < s->n; i++)
		sum += s->ns[i];
	scnprintf(f->line, room, "{\"name\": \"%s%s\", \"row\": \"%s\", \"size\": %u, "
		  "\"unit\": \"us\", ", f->name, cmd->softirq ? "_softirq" : "",
		  kfloor_row_name[cmd->row], cmd->size);
	kfloor_one(f->line, room, "median", s->ns[s->n / 2], s->per);
	kfloor_one(f->line, room, "p99", s->ns[s->n * 99ULL / 100], s->per);
	kfloor_one(f->line, room, "p999", s->ns[s->n * 999ULL / 1000], s->per);
	kfloor_one(f->line, room, "min", s->ns[0], s->per);
	kfloor_one(f->line, room, "avg", div_u64(sum, s->n), s->per);
	scnprintf(f->line + strlen(f->line), room - strlen(f->line), "\"operations\": %u, \"iters\": %u}\n", s->ops, s->n * s->per);
}

static int kfloor_parse(char *text, struct kfloor_cmd *cmd)
{
	char *word, *value;
	int err, i;

	*cmd = (struct kfloor_cmd){ .row = KFLOOR_ROWS, .iters = 1000, .window = 16 };
	while ((word = strsep(&text, " \t\n"))) {
		if (!*word)
			continue;
		value = strchr(word, '=');
		if (!value)
			return -EINVAL;
		*value++ = '\0';
		if (!strcmp(word, "row")) {
			i = match_string(kfloor_row_name, KFLOOR_ROWS, value);
			err = i < 0 ? i : 0;
			cmd->row = i;
		} else if (!strcmp(word, "size")) {
			err = kstrtou32(value, 10, &cmd->size);
		} else if (!strcmp(word, "iters")) {
			err = kstrtou32(value, 10, &cmd->iters);
		} else if (!strcmp(word, "window")) {
			err = kstrtou32(value, 10, &cmd->window);
		} else if (!strcmp(word, "answer")) {
			cmd->softirq = !strcmp(value, "softirq");
			err = cmd->softirq || !strcmp(value, "thread") ? 0 : -EINVAL;
		} else {
			err = -EINVAL;
		}
		if (err)
			return err;
	}
	if (!cmd->size)
		cmd->size = cmd->row == KFLOOR_RTT || cmd->row == KFLOOR_RATE ? KFLOOR_REQUEST :
										KFLOOR_PAGE;
	return kfloor_valid(cmd) ? 0 : -EINVAL;
}

static ssize_t kfloor_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct kfloor *f = pde_data(file_inode(file));
	struct kfloor_samples s = { };
	struct kfloor_cmd cmd;
	char text[128];
	int err;

	if (len >= sizeof(text))
		return -EINVAL;
	if (copy_from_user(text, buf, len))
		return -EFAULT;
	text[len] = '\0';
	if (mutex_lock_killable(&f->lock))
		return -EINTR;
	f->line[0] = '\0';
	err = kfloor_parse(text, &cmd);
	if (err) {
		pr_warn_ratelimited("write \"row=rtt|fetch|stream|rate size=BYTES iters=N window=N answer=thread|softirq\", window a power of two to %u\n",
			KFLOOR_WINDOW);
		goto out;
	}
	s.ns = kvmalloc_array(kfloor_pages(&cmd), sizeof(*s.ns), GFP_KERNEL);
	err = s.ns ? f->run(&cmd, &s) : -ENOMEM;
	if (err && !fatal_signal_pending(current))
		pr_err("row %s: %d\n", kfloor_row_name[cmd.row], err);
	if (!err && s.n)
		kfloor_report(f, &cmd, &s);
	kvfree(s.ns);
out:
	mutex_unlock(&f->lock);
	return err ?: len;
}

static int kfloor_show(struct seq_file *m, void *v)
{
	struct kfloor *f = m->private;

	if (mutex_lock_killable(&f->lock))
		return -EINTR;
	seq_puts(m, f->line);
	mutex_unlock(&f->lock);
	return 0;
}

static int kfloor_open(struct inode *inode, struct file *file)
{
	return single_open(file, kfloor_show, pde_data(inode));
}

static const struct proc_ops kfloor_proc_ops = {
	.proc_open = kfloor_open,
	.proc_read = seq_read,
	.proc_write = kfloor_write,
	.proc_lseek = seq_lseek,
	.proc_release = single_release,
};

/**
 * kfloor_addr() - parse a module parameter's address
 * @port:	0 to 65535, goes into @sa
 *
 * IPv4 or IPv6. Returns 0 or -EINVAL with a log line.
 */
static int kfloor_addr(const char *text, u16 port, struct sockaddr_storage *sa)
{
	char service[8];

	scnprintf(service, sizeof(service), "%u", port);
	if (text && !inet_pton_with_scope(&init_net, AF_UNSPEC, text, service, sa))
		return 0;
	pr_err("'%s' is no IP address\n", text ?: "");
	return -EINVAL;
}

static bool serves, asks;

static void __exit kfloor_exit(void)
{
	/* The server first: a client that waits for it here then gives up at once. */
	if (serves)
		floor.stop();
	if (!asks)
		return;
	WRITE_ONCE(kfloor_leaving, true);
	remove_proc_entry(floor.path, NULL); /* returns once no row runs any more */
}

static int __init kfloor_init(void)
{
	int err;

	mutex_init(&floor.lock);
	serves = strcmp(role, "client");
	asks = strcmp(role, "server");
	if (serves && asks && strcmp(role, "both")) {
		pr_err("role is server, client or both, not '%s'\n", role);
		return -EINVAL;
	}
	err = kfloor_addr(b, port, &addr_b) ?: (a ? kfloor_addr(a, 0, &addr_a) : 0);
	if (err)
		return err;
	if (serves) {
		err = floor.start();
		if (err)
			return err;
	}
	if (!asks || proc_create_data(floor.path, 0600, NULL, &kfloor_proc_ops, &floor))
		return 0;
	if (serves)
		floor.stop();
	return -ENOMEM;
}

module_init(kfloor_init);
module_exit(kfloor_exit);
MODULE_LICENSE("GPL");

#endif
