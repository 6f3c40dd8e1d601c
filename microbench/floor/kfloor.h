/* SPDX-License-Identifier: GPL-2.0-only */
/* What the two kernel floors share: a row as a command, as a greeting, and the channel it uses. */
#ifndef POPCORN_KFLOOR_H
#define POPCORN_KFLOOR_H

#undef pr_fmt
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/types.h>
#include <linux/workqueue.h>

#define KFLOOR_MAGIC		0x726f6c66
#define KFLOOR_REQUEST		64
#define KFLOOR_PAGE		4096
#define KFLOOR_MAX		65536
#define KFLOOR_WINDOW		32	/* messages on their way at most */
#define KFLOOR_BATCH		64	/* stream and rate: one sample is the mean of so many */
#define KFLOOR_ITERS		1000000
#define KFLOOR_PATIENCE		(10 * HZ)

enum kfloor_row { KFLOOR_RTT, KFLOOR_FETCH, KFLOOR_STREAM, KFLOOR_RATE, KFLOOR_ROWS };

/**
 * struct kfloor_cmd - one row to run
 * @row:	which
 * @size:	bytes of the message that is measured
 * @iters:	measured operations; stream and rate round up to whole batches
 * @window:	stream and rate: unacknowledged messages at most, a power of two
 * @softirq:	rtt and fetch: answer in the completion's context, wake no thread there
 */
struct kfloor_cmd {
	u32 row, size, iters, window, softirq;
};

/* A command on its way to the server: the first bytes that it gets on a connection. */
struct kfloor_hello {
	__le32 magic, row, size, iters, window;
	__le32 rkey;	/* verbs: where the server may write pages; zero in TCP */
	__le64 addr;
	__le32 softirq, reserved;
};

/**
 * struct kfloor_chan - one end of a connection while a row runs over it
 * @send:	sends one message of @tx_len bytes
 * @put:	the same for a page; may place it at the peer instead
 * @recv:	sleeps until @n more messages of @rx_len bytes have arrived
 * @abort:	makes a sleeper in any of these return; any context that may sleep
 * @tx_len:	bytes of each message sent
 * @rx_len:	bytes of each message received
 * @done:	operations so far: what the watchdog looks at
 * @seen:	@done when the watchdog last looked
 * @watch:	aborts a row that stands still, so that no wait needs a timer of its own
 */
struct kfloor_chan {
	int (*send)(struct kfloor_chan *c);
	int (*put)(struct kfloor_chan *c);
	int (*recv)(struct kfloor_chan *c, u32 n);
	void (*abort)(struct kfloor_chan *c);
	u32 tx_len, rx_len;
	u32 done, seen;
	struct delayed_work watch;
};

static inline u32 kfloor_warm(const struct kfloor_cmd *cmd)
{
	return cmd->iters / 10 + 16;
}

static inline bool kfloor_windowed(const struct kfloor_cmd *cmd)
{
	return cmd->row == KFLOOR_STREAM || cmd->row == KFLOOR_RATE;
}

static inline bool kfloor_valid(const struct kfloor_cmd *cmd)
{
	if (cmd->softirq && (cmd->softirq > 1 || kfloor_windowed(cmd)))
		return false;
	return cmd->row < KFLOOR_ROWS && cmd->iters && cmd->iters <= KFLOOR_ITERS &&
	       cmd->size >= 8 && cmd->size <= KFLOOR_MAX &&
	       (cmd->row == KFLOOR_RTT ||
		cmd->size == (cmd->row == KFLOOR_RATE ? KFLOOR_REQUEST : KFLOOR_PAGE)) &&
	       cmd->window >= 2 && cmd->window <= KFLOOR_WINDOW && is_power_of_2(cmd->window);
}

static inline void kfloor_pack(const struct kfloor_cmd *cmd, struct kfloor_hello *h)
{
	*h = (struct kfloor_hello){
		.magic = cpu_to_le32(KFLOOR_MAGIC), .row = cpu_to_le32(cmd->row),
		.size = cpu_to_le32(cmd->size), .iters = cpu_to_le32(cmd->iters),
		.window = cpu_to_le32(cmd->window), .softirq = cpu_to_le32(cmd->softirq),
	};
}

static inline int kfloor_unpack(const struct kfloor_hello *h, struct kfloor_cmd *cmd)
{
	*cmd = (struct kfloor_cmd){
		.row = le32_to_cpu(h->row), .size = le32_to_cpu(h->size),
		.iters = le32_to_cpu(h->iters), .window = le32_to_cpu(h->window),
		.softirq = le32_to_cpu(h->softirq),
	};
	return le32_to_cpu(h->magic) == KFLOOR_MAGIC && kfloor_valid(cmd) ? 0 : -EPROTO;
}

/* Message sizes at each end: all but a round trip ask with a small request. */
static inline void kfloor_lengths(struct kfloor_chan *c, const struct kfloor_cmd *cmd, bool server)
{
	u32 ask = cmd->row == KFLOOR_RTT ? cmd->size : KFLOOR_REQUEST;

	c->tx_len = server ? cmd->size : ask;
	c->rx_len = server ? ask : cmd->size;
}

#endif
