// SPDX-License-Identifier: GPL-2.0-only
/* floor_tcp.ko: what bare kernel TCP costs between two blocking threads. */
#define KFLOOR_PORT	18518
#include "kfloor_rows.h"

#include <linux/kthread.h>
#include <linux/net.h>
#include <linux/tcp.h>
#include <net/sock.h>

struct kt_end {
	struct kfloor_chan chan;
	struct socket *sock;
	void *tx, *rx;
};

static struct socket *listener;
static struct task_struct *server;
static DEFINE_MUTEX(serving_lock);
static struct socket *serving;	/* the accepted connection, for whoever ends it */

static int kt_xmit(struct socket *sock, void *buf, size_t len)
{
	struct msghdr msg = { .msg_flags = MSG_NOSIGNAL };
	struct kvec vec;
	int n;

	for (; len; buf += n, len -= n) {
		vec = (struct kvec){ .iov_base = buf, .iov_len = len };
		n = kernel_sendmsg(sock, &msg, &vec, 1, len);
		if (n <= 0)
			return n ?: -EPIPE;
	}
	return 0;
}

static int kt_collect(struct socket *sock, void *buf, size_t len)
{
	struct kvec vec = { .iov_base = buf, .iov_len = len };
	struct msghdr msg = { };
	int n = kernel_recvmsg(sock, &msg, &vec, 1, len, MSG_WAITALL);

	if (n < 0)
		return n;
	return n == len ? 0 : signal_pending(current) ? -EINTR : -ECONNRESET;
}

static int kt_send(struct kfloor_chan *c)
{
	struct kt_end *end = container_of(c, struct kt_end, chan);

	return kt_xmit(end->sock, end->tx, c->tx_len);
}

static int kt_recv(struct kfloor_chan *c, u32 n)
{
	struct kt_end *end = container_of(c, struct kt_end, chan);

	return kt_collect(end->sock, end->rx, (size_t)c->rx_len * n);
}

static void kt_abort(struct kfloor_chan *c)
{
	kernel_sock_shutdown(container_of(c, struct kt_end, chan)->sock, SHUT_RDWR);
}

static int kt_end_init(struct kt_end *end, struct socket *sock, const struct kfloor_cmd *cmd,
		       bool server_side)
{
	u32 most = kfloor_windowed(cmd) ? cmd->window : 1;

	*end = (struct kt_end){
		.chan = { .send = kt_send, .put = kt_send, .recv = kt_recv, .abort = kt_abort },
		.sock = sock,
	};
	kfloor_lengths(&end->chan, cmd, server_side);
	tcp_sock_set_nodelay(sock->sk);
	end->tx = kzalloc(end->chan.tx_len, GFP_KERNEL);
	end->rx = kvzalloc((size_t)end->chan.rx_len * most, GFP_KERNEL);
	return end->tx && end->rx ? 0 : -ENOMEM;
}

static void kt_end_free(struct kt_end *end)
{
	kfree(end->tx);
	kvfree(end->rx);
}

/* What came in before the row is known gets as much patience as a row that stands still. */
static int serve_hello(struct kt_end *end, struct kfloor_cmd *cmd)
{
	struct kfloor_hello h;
	int err;

	kfloor_watch_start(&end->chan);
	err = kt_collect(end->sock, &h, sizeof(h));
	kfloor_watch_stop(&end->chan);
	err = err ?: kfloor_unpack(&h, cmd);
	return !err && cmd->softirq ? -EPROTO : err;
}

static void serve(struct socket *sock)
{
	struct kt_end end = { .chan.abort = kt_abort, .sock = sock };
	struct kfloor_cmd cmd;
	char rest;
	int err;

	err = serve_hello(&end, &cmd);
	if (err) {
		pr_err("request refused: %d\n", err);
		return;
	}
	err = kt_end_init(&end, sock, &cmd, true);
	if (!err) {
		kfloor_watch_start(&end.chan);
		err = kfloor_serve(&end.chan, &cmd);
		/* The client hangs up first, when it has the last answer. */
		if (!err)
			kt_collect(sock, &rest, 1);
		kfloor_watch_stop(&end.chan);
	}
	kt_end_free(&end);
}

static int server_thread(void *unused)
{
	struct socket *sock;
	int err;

	while (!kthread_should_stop()) {
		err = kernel_accept(listener, &sock, 0);
		if (err) {
			/* Shut down by server_stop(), or out of memory: try again in a while. */
			schedule_timeout_idle(HZ / 10);
			continue;
		}
		mutex_lock(&serving_lock);
		serving = sock;
		mutex_unlock(&serving_lock);
		if (!kthread_should_stop())
			serve(sock);
		mutex_lock(&serving_lock);
		serving = NULL;
		mutex_unlock(&serving_lock);
		sock_release(sock);
	}
	return 0;
}

static size_t addr_len(const struct sockaddr_storage *sa)
{
	return sa->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) :
					   sizeof(struct sockaddr_in);
}

static int client_run(const struct kfloor_cmd *cmd, struct kfloor_samples *s)
{
	struct kfloor_hello h;
	struct kt_end end = { };
	struct socket *sock;
	int err;

	/* A socket can't be written to in softirq context. */
	if (cmd->softirq)
		return -EOPNOTSUPP;
	err = sock_create_kern(&init_net, addr_b.ss_family, SOCK_STREAM, IPPROTO_TCP, &sock);
	if (err)
		return err;
	if (a)
		err = kernel_bind(sock, (struct sockaddr *)&addr_a, addr_len(&addr_a));
	kfloor_pack(cmd, &h);
	err = err ?: kernel_connect(sock, (struct sockaddr *)&addr_b, addr_len(&addr_b), 0) ?:
	      kt_end_init(&end, sock, cmd, false) ?: kt_xmit(sock, &h, sizeof(h));
	if (!err) {
		kfloor_watch_start(&end.chan);
		err = kfloor_ask(&end.chan, cmd, s);
		kfloor_watch_stop(&end.chan);
	}
	kt_end_free(&end);
	sock_release(sock);
	return err;
}

static int server_start(void)
{
	int err;

	err = sock_create_kern(&init_net, addr_b.ss_family, SOCK_STREAM, IPPROTO_TCP, &listener);
	if (err)
		return err;
	sock_set_reuseaddr(listener->sk);
	err = kernel_bind(listener, (struct sockaddr *)&addr_b, addr_len(&addr_b)) ?:
	      kernel_listen(listener, 4);
	if (err) {
		pr_err("can't listen on %s: %d (is that an address of this machine?)\n", b, err);
		goto release;
	}
	server = kthread_run(server_thread, NULL, "floor_tcp");
	err = PTR_ERR_OR_ZERO(server);
	if (!err) {
		sched_set_fifo_low(server);	/* as the node's thread in popcorn.ko */
		return 0;
	}
release:
	sock_release(listener);
	return err;
}

static void server_stop(void)
{
	/* Ends an accept that waits and makes every later one fail. */
	kernel_sock_shutdown(listener, SHUT_RDWR);
	mutex_lock(&serving_lock);
	if (serving)
		kernel_sock_shutdown(serving, SHUT_RDWR);
	mutex_unlock(&serving_lock);
	kthread_stop(server);
	sock_release(listener);
}

static struct kfloor floor = {
	.name = "ktcp", .path = "popcorn_floor_tcp",
	.start = server_start, .stop = server_stop, .run = client_run,
};

MODULE_DESCRIPTION("Bare kernel TCP ping-pong: the floor under Popcorn-RDMA's transport");
