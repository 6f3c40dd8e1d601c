// SPDX-License-Identifier: GPL-2.0-only
/*
 * msg_socket.ko: lanes over kernel TCP, one connection each. This file opens
 * connections, shakes hands and closes; kstream.c does the rest.
 */
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/module.h>
#include <linux/pkt_sched.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/tcp.h>
#include <popcorn/version.h>

#include "ksocket.h"

#define PENDING_MAX	64	/* accepted connections that haven't proved themselves */

static char *ip;
module_param(ip, charp, 0444);
MODULE_PARM_DESC(ip, "addresses of all nodes, IPv4 or IPv6, separated by commas, the same on every node (default: those in /etc/popcorn/nodes)");

static char *keyfile;
module_param(keyfile, charp, 0444);
MODULE_PARM_DESC(keyfile, "file of at least 16 bytes, root's, mode 0600, the same on every node; who can't prove it is refused (default: none, anybody may connect)");

struct workqueue_struct *ksock_tx_wq, *ksock_bulk_wq;
static struct workqueue_struct *shake_wq;
static struct popcorn_driver driver;

static DEFINE_SPINLOCK(conns_lock);
static LIST_HEAD(conns);		/* all connections */
static unsigned int conns_n, pending_n;
static DECLARE_WAIT_QUEUE_HEAD(conns_wait);

struct ksock_listener {
	struct popcorn_node *node;
	struct socket *sock;
	struct work_struct work;
	void (*saved_data_ready)(struct sock *sk);
};

/* ------------------------------------------------------------ connections */

static struct ksock_conn *conn_new(struct socket *sock, struct popcorn_node *node,
				   struct popcorn_link *link, u8 class,
				   void (*shake)(struct work_struct *work))
{
	struct ksock_conn *k = kzalloc(sizeof(*k), GFP_KERNEL);

	if (!k)
		return NULL;
	k->sock = sock;
	k->node = node;
	k->pending = !!node;
	INIT_WORK(&k->shake, shake);
	ksock_stream_init(k);
	popcorn_conn_init(&k->c, &driver, link, class);
	spin_lock_bh(&conns_lock);
	list_add_tail(&k->list, &conns);
	conns_n++;
	pending_n += k->pending;
	spin_unlock_bh(&conns_lock);
	return k;
}

/* It is the link's now, or gone: it doesn't count as pending any more. */
static void conn_settled(struct ksock_conn *k)
{
	spin_lock_bh(&conns_lock);
	pending_n -= k->pending;
	k->pending = false;
	spin_unlock_bh(&conns_lock);
}

static void conn_release(struct popcorn_conn *c)
{
	struct ksock_conn *k = ksock_of(c);

	spin_lock_bh(&conns_lock);
	list_del(&k->list);
	if (!--conns_n)
		wake_up(&conns_wait);
	spin_unlock_bh(&conns_lock);
	kfree(k);
}

static unsigned long shake_bound(const struct popcorn_node *node)
{
	return msecs_to_jiffies(node->pt.cfg.connect_ms);
}

static void set_options(struct sock *sk, u8 class, const struct popcorn_node *node)
{
	static const struct {
		u8 tos;
		u32 priority;
	} opt[PW_CLASSES] = {
		[PW_URGENT] = { 0xb8, TC_PRIO_CONTROL },	/* DSCP EF */
		[PW_SYNC]   = { 0x88, TC_PRIO_INTERACTIVE },	/* AF41 */
		[PW_BULK]   = { 0x20, TC_PRIO_BULK },		/* CS1 */
	};

	tcp_sock_set_nodelay(sk);
	/* Its own retransmits get ever rarer: a new session is up sooner than the next. */
	tcp_sock_set_user_timeout(sk, node->pt.cfg.connect_ms);
	if (sk->sk_family == AF_INET6)
		inet6_sk(sk)->tclass = opt[class].tos;
	else
		ip_sock_set_tos(sk, opt[class].tos);
	sock_set_priority(sk, opt[class].priority);
}

/* -------------------------------------------------------------- handshake */

static int shake_send(struct ksock_conn *k, const void *buf, size_t len)
{
	struct msghdr msg = { .msg_flags = MSG_NOSIGNAL };
	struct kvec vec = { (void *)buf, len };
	int r = kernel_sendmsg(k->sock, &msg, &vec, 1, len);

	return r == len ? 0 : r < 0 ? r : -EPIPE;
}

static int shake_recv(struct ksock_conn *k, void *buf, size_t len, unsigned long deadline)
{
	struct kvec vec = { buf, len };
	struct msghdr msg = { };
	long left = deadline - jiffies;
	int r;

	if (left <= 0 || READ_ONCE(k->closing))
		return -ETIMEDOUT;
	k->sock->sk->sk_rcvtimeo = left;
	r = kernel_recvmsg(k->sock, &msg, &vec, 1, len, MSG_WAITALL);
	if (r == len)
		return 0;
	if (r == -EAGAIN || time_after_eq(jiffies, deadline))
		return -ETIMEDOUT;
	return r < 0 ? r : r ? -EPROTO : -ECONNRESET;
}

static int initiate(struct ksock_conn *k)
{
	unsigned long bound = shake_bound(k->c.link->node), deadline = jiffies + bound;
	struct sockaddr_storage ss;
	struct pt_hs *hs = &k->c.hs;
	struct pw_welcome welcome;
	struct pw_ready ready;
	int r, len;

	len = popcorn_addr_sockaddr(popcorn_peer_addr(k->c.link), popcorn_port(), &ss);
	k->sock->sk->sk_sndtimeo = bound;
	if (READ_ONCE(k->closing))
		return -ESTALE;
	r = kernel_connect(k->sock, (struct sockaddr *)&ss, len, 0);
	if (r)
		return r == -EINPROGRESS || r == -EAGAIN ? -ETIMEDOUT : r;
	r = shake_send(k, &hs->hello, sizeof(hs->hello));
	if (!r)
		r = shake_recv(k, &welcome, sizeof(welcome), deadline);
	if (!r)
		r = popcorn_conn_welcome(&k->c, &welcome, sizeof(welcome));
	if (!r)
		r = shake_send(k, &hs->proof, sizeof(hs->proof));
	if (!r)
		r = shake_recv(k, &ready, sizeof(ready), deadline);
	if (!r)
		r = popcorn_conn_ready(&k->c, &ready, sizeof(ready));
	if (!r)
		ksock_stream_start(k);
	return r;
}

static void initiate_work(struct work_struct *work)
{
	struct ksock_conn *k = container_of(work, struct ksock_conn, shake);
	int r = initiate(k);

	if (r)
		popcorn_conn_failed(&k->c, r);
	popcorn_conn_put(&k->c);
}

/* Return: 0 if it is the link's now. */
static int respond(struct ksock_conn *k)
{
	unsigned long deadline = jiffies + shake_bound(k->node);
	struct sockaddr_storage ss;
	struct pt_hs *hs = &k->c.hs;
	struct pw_hello hello;
	struct pw_proof proof;
	struct pt_addr from;
	int r;

	r = kernel_getpeername(k->sock, (struct sockaddr *)&ss);
	if (r < 0)
		return r;
	r = popcorn_sockaddr_addr((struct sockaddr *)&ss, &from);
	if (r)
		return r;
	r = shake_recv(k, &hello, sizeof(hello), deadline);
	if (r == -ETIMEDOUT || r == -EPROTO)
		pr_warn_ratelimited("node %u: %pISc connected and said no hello (%d)\n",
				    popcorn_node_id(k->node), &ss, r);
	if (r)
		return r;
	r = popcorn_conn_accept(&k->c, k->node, &from, &hello, sizeof(hello));
	if (!r || r == -ECONNREFUSED)
		r = shake_send(k, &hs->welcome, sizeof(hs->welcome)) ?: r;
	if (r)
		return r;
	set_options(k->sock->sk, k->c.class, k->node);
	r = shake_recv(k, &proof, sizeof(proof), deadline);
	if (r)
		return r;
	r = popcorn_conn_proof(&k->c, &proof, sizeof(proof));
	if (r == -ECONNREFUSED)
		shake_send(k, &hs->ready, sizeof(hs->ready));
	if (r)
		return r;

	conn_settled(k);
	r = shake_send(k, &hs->ready, sizeof(hs->ready));
	if (!r)
		r = popcorn_conn_up(&k->c);
	if (!r)
		ksock_stream_start(k);
	else
		popcorn_conn_failed(&k->c, r);
	return 0;
}

static void respond_work(struct work_struct *work)
{
	struct ksock_conn *k = container_of(work, struct ksock_conn, shake);

	if (respond(k)) {
		/* Not with a reset: a refusal should arrive. */
		struct socket *sock = k->sock;

		conn_settled(k);
		mutex_lock(&k->tx_lock);
		k->sock = NULL;
		mutex_unlock(&k->tx_lock);
		sock_release(sock);
	}
	popcorn_conn_put(&k->c);
}

static int ksock_connect(struct popcorn_link *link, u8 class)
{
	const struct pt_addr *own = popcorn_node_addr(link->node);
	struct sockaddr_storage ss;
	struct ksock_conn *k;
	struct socket *sock;
	int r, len;

	len = popcorn_addr_sockaddr(own, 0, &ss);
	r = sock_create_kern(&init_net, ss.ss_family, SOCK_STREAM, IPPROTO_TCP, &sock);
	if (r)
		return r;
	r = kernel_bind(sock, (struct sockaddr *)&ss, len);
	if (r)
		goto release;
	sock->sk->sk_allocation = GFP_NOFS;
	set_options(sock->sk, class, link->node);
	r = -ENOMEM;
	k = conn_new(sock, NULL, link, class, initiate_work);
	if (!k)
		goto release;
	r = popcorn_conn_hello(&k->c);
	if (r) {
		popcorn_conn_put(&k->c);
		goto release;
	}
	queue_work(shake_wq, &k->shake); /* our count is the work's */
	return 0;
release:
	sock_release(sock);
	return r;
}

static void ksock_close(struct popcorn_conn *c, bool flush)
{
	struct ksock_conn *k = ksock_of(c);

	WRITE_ONCE(k->closing, true);
	if (!flush || work_busy(&k->shake))
		kernel_sock_shutdown(k->sock, SHUT_RDWR);
	flush_work(&k->shake);
	ksock_stream_stop(k, flush);
}

/* -------------------------------------------------------------- listening */

static void accept_work(struct work_struct *work)
{
	struct ksock_listener *ls = container_of(work, struct ksock_listener, work);
	struct ksock_conn *k;
	struct socket *sock;
	struct sock *sk;

	while (!kernel_accept(ls->sock, &sock, O_NONBLOCK)) {
		sk = sock->sk;
		write_lock_bh(&sk->sk_callback_lock); /* it has the listener's */
		sk->sk_user_data = NULL;
		sk->sk_data_ready = ls->saved_data_ready;
		write_unlock_bh(&sk->sk_callback_lock);
		k = READ_ONCE(pending_n) < PENDING_MAX ?
		    conn_new(sock, ls->node, NULL, 0, respond_work) : NULL;
		if (!k) {
			pr_warn_ratelimited("node %u: too many connections that don't say who they are\n",
					    popcorn_node_id(ls->node));
			sock_release(sock);
			continue;
		}
		sk->sk_allocation = GFP_NOFS;
		sk->sk_sndtimeo = shake_bound(ls->node);
		queue_work(shake_wq, &k->shake);
	}
}

static void listen_ready(struct sock *sk)
{
	struct ksock_listener *ls;

	read_lock_bh(&sk->sk_callback_lock);
	ls = sk->sk_user_data;
	if (ls && sk->sk_state == TCP_LISTEN)
		queue_work(ksock_tx_wq, &ls->work);
	read_unlock_bh(&sk->sk_callback_lock);
}

static void *ksock_listen(struct popcorn_node *node)
{
	struct ksock_listener *ls = kzalloc(sizeof(*ls), GFP_KERNEL);
	struct sockaddr_storage ss;
	struct sock *sk;
	int r, len;

	if (!ls)
		return ERR_PTR(-ENOMEM);
	ls->node = node;
	INIT_WORK(&ls->work, accept_work);
	len = popcorn_addr_sockaddr(popcorn_node_addr(node), popcorn_port(), &ss);
	r = sock_create_kern(&init_net, ss.ss_family, SOCK_STREAM, IPPROTO_TCP, &ls->sock);
	if (r)
		goto free;
	sk = ls->sock->sk;
	sock_set_reuseaddr(sk);
	r = kernel_bind(ls->sock, (struct sockaddr *)&ss, len);
	if (r)
		goto release;
	write_lock_bh(&sk->sk_callback_lock);
	ls->saved_data_ready = sk->sk_data_ready;
	sk->sk_user_data = ls;
	sk->sk_data_ready = listen_ready;
	write_unlock_bh(&sk->sk_callback_lock);
	r = kernel_listen(ls->sock, 128);
	if (!r)
		return ls;
release:
	sock_release(ls->sock);
free:
	kfree(ls);
	return ERR_PTR(r);
}

/* A connection to the node that hasn't proved itself, counted; each only once. */
static struct ksock_conn *pending_get(struct popcorn_node *node)
{
	struct ksock_conn *k;

	spin_lock_bh(&conns_lock);
	list_for_each_entry(k, &conns, list)
		if (k->node == node && k->pending && !k->closing) {
			WRITE_ONCE(k->closing, true);
			popcorn_conn_get(&k->c);
			spin_unlock_bh(&conns_lock);
			return k;
		}
	spin_unlock_bh(&conns_lock);
	return NULL;
}

static void ksock_unlisten(struct popcorn_node *node, void *listener)
{
	struct ksock_listener *ls = listener;
	struct sock *sk = ls->sock->sk;
	struct ksock_conn *k;

	write_lock_bh(&sk->sk_callback_lock);
	sk->sk_user_data = NULL;
	sk->sk_data_ready = ls->saved_data_ready;
	write_unlock_bh(&sk->sk_callback_lock);
	cancel_work_sync(&ls->work);
	sock_release(ls->sock);
	kfree(ls);

	/* Who is being waited for in a handshake is waited for no more. */
	while ((k = pending_get(node))) {
		mutex_lock(&k->tx_lock);
		if (k->sock)
			kernel_sock_shutdown(k->sock, SHUT_RDWR);
		mutex_unlock(&k->tx_lock);
		flush_work(&k->shake);
		popcorn_conn_put(&k->c);
	}
}

/* ----------------------------------------------------------------- module */

static struct popcorn_driver driver = {
	.name = "tcp",
	.preference = 1,
	.listen = ksock_listen,
	.unlisten = ksock_unlisten,
	.connect = ksock_connect,
	.close = ksock_close,
	.release = conn_release,
	.kick = ksock_kick,
};

static void queues_destroy(void)
{
	if (shake_wq)
		destroy_workqueue(shake_wq);
	if (ksock_bulk_wq)
		destroy_workqueue(ksock_bulk_wq);
	if (ksock_tx_wq)
		destroy_workqueue(ksock_tx_wq);
}

/* The driver isn't registered any more. */
static void finish(void)
{
	/*
	 * All connections are closed already. What is waited for are counts of those who
	 * were just kicking: they give the socket what it takes and don't wait for more.
	 */
	wait_event(conns_wait, !READ_ONCE(conns_n));
	synchronize_rcu(); /* nor is any in conn_release() or a socket's callback */
	queues_destroy();
}

static int __init ksocket_init(void)
{
	int r;

	ksock_tx_wq = alloc_workqueue("popcorn_tcp", WQ_HIGHPRI | WQ_MEM_RECLAIM, 0);
	ksock_bulk_wq = alloc_workqueue("popcorn_bulk", WQ_MEM_RECLAIM, 0);
	shake_wq = alloc_workqueue("popcorn_shake", WQ_UNBOUND | WQ_MEM_RECLAIM, 0);
	if (!ksock_tx_wq || !ksock_bulk_wq || !shake_wq) {
		queues_destroy();
		return -ENOMEM;
	}
	r = popcorn_driver_register(&driver, ip, keyfile);
	if (r)
		finish();
	return r;
}

static void __exit ksocket_exit(void)
{
	popcorn_driver_unregister(&driver);
	finish();
}

module_init(ksocket_init);
module_exit(ksocket_exit);
MODULE_LICENSE("GPL");
MODULE_VERSION(POPCORN_VERSION);
MODULE_DESCRIPTION("Popcorn: messages between kernels over TCP");
