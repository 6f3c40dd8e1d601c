// SPDX-License-Identifier: GPL-2.0-only
/*
 * Frames over an open TCP connection: sent by whoever has some, received in
 * the socket's own callback, straight to their place.
 */
#include <linux/delay.h>
#include <linux/skbuff.h>
#include <net/tcp.h>

#include "ksocket.h"

#define BULK_PAGES	2	/* of bulk that may always be on the wire */
#define CWND_MAX	65536	/* packets */
#define ACK_LATER	256	/* bytes of small frames that an answer may acknowledge */
#define FLUSH_MS	100	/* for what was taken to be acknowledged at a close */

/* ---------------------------------------------------------------- sending */

/*
 * Take what the lane has, up to a batch. Return: is there anything to send?
 * @k->more then tells whether the lane may have more.
 */
static bool tx_fill(struct ksock_conn *k)
{
	struct pt_lane *la = popcorn_conn_lock(&k->c);
	unsigned int max, n, i = 0;
	struct pt_out out;

	k->brisk = k->c.class == PW_BULK && popcorn_conn_brisk(&k->c);
	max = k->brisk ? KSOCK_BULK_BATCH : KSOCK_BATCH;
	k->first = 0;
	k->left = 0;
	for (n = 0; n < max && pt_lane_tx(la, &out); n++) {
		void *hdr = out.hdr;
		size_t len = sizeof(*out.hdr) + out.len;

		if (out.hdr->kind < PW_MSG) { /* valid until the next call only */
			hdr = &k->ctl[n];
			memcpy(hdr, out.hdr, len);
		}
		k->vec[i++] = (struct kvec) { hdr, len };
		k->left += len;
		if (out.page) {
			void *page = popcorn_frame_data(out.page);

			k->vec[i++] = (struct kvec) { page, PAGE_SIZE };
			k->left += PAGE_SIZE;
		}
	}
	k->more = n == max && pt_lane_tx_pending(la);
	popcorn_conn_unlock(&k->c);
	k->vecs = i;
	return i;
}

static void tx_advance(struct ksock_conn *k, size_t sent)
{
	k->left -= sent;
	while (sent && sent >= k->vec[k->first].iov_len)
		sent -= k->vec[k->first++].iov_len;
	if (sent) {
		k->vec[k->first].iov_base += sent;
		k->vec[k->first].iov_len -= sent;
	}
}

/*
 * Bulk must not stand in queues that urgent messages have to pass. While there
 * are such, no more of it is on the wire than keeps it busy, which is what arrives
 * in the shortest round trip seen, and a quarter more so that it finds out when
 * there is room; but always a few pages, since acknowledgements in smaller
 * portions cost more than the queue. What exceeds it waits in the socket.
 */
static void bulk_limit(struct sock *sk, bool brisk)
{
	struct tcp_sock *tp = tcp_sk(sk);
	u32 least = BULK_PAGES * DIV_ROUND_UP(PW_HDR + PAGE_SIZE, max_t(u32, tp->mss_cache, 1));
	u64 packets = 0;

	lock_sock(sk);
	if (tp->rate_interval_us && tcp_min_rtt(tp) != ~0U)
		packets = div_u64((u64)tp->rate_delivered * tcp_min_rtt(tp),
				  tp->rate_interval_us);
	packets = brisk ? clamp_t(u64, packets + packets / 4 + 1, least, CWND_MAX) : CWND_MAX;
	tp->snd_cwnd_clamp = packets;
	if (tcp_snd_cwnd(tp) > packets)
		tcp_snd_cwnd_set(tp, packets);
	release_sock(sk);
}

/*
 * Give the socket up to @batches of frames. When it is full it calls
 * write_space() later. Return: -EAGAIN if there may be more that it would take.
 */
static int tx_push(struct ksock_conn *k, unsigned int batches)
{
	while (k->left || tx_fill(k)) {
		struct msghdr msg = { .msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL };
		struct kvec vec[ARRAY_SIZE(k->vec)];
		unsigned int n = k->vecs - k->first;
		int r;

		if (k->c.class == PW_BULK)
			bulk_limit(k->sock->sk, k->brisk);
		memcpy(vec, &k->vec[k->first], n * sizeof(vec[0]));
		r = kernel_sendmsg(k->sock, &msg, vec, n, k->left);
		if (r == -EAGAIN)
			return 0;
		if (r <= 0) {
			popcorn_conn_failed(&k->c, r ?: -EPIPE);
			k->left = 0;
			return 0;
		}
		tx_advance(k, r);
		if (k->left) /* full: it is tried again at write_space() */
			continue;
		if (!k->more)
			return 0; /* who adds something later kicks */
		if (!--batches)
			return -EAGAIN;
	}
	return 0;
}

static void tx_later(struct ksock_conn *k)
{
	queue_work(k->c.class == PW_BULK ? ksock_bulk_wq : ksock_tx_wq, &k->tx_work);
}

static void tx_run(struct ksock_conn *k, unsigned int batches)
{
	int r = 0;

	while (test_bit(0, &k->tx_again) && mutex_trylock(&k->tx_lock)) {
		clear_bit(0, &k->tx_again);
		smp_mb__after_atomic(); /* before the lane is looked at */
		if (k->sock)
			r = tx_push(k, batches);
		mutex_unlock(&k->tx_lock);
		if (r)
			set_bit(0, &k->tx_again);
		smp_mb(); /* the lock is free before the bit is looked at */
		if (r) {
			tx_later(k);
			break;
		}
	}
}

static void tx_work(struct work_struct *work)
{
	tx_run(container_of(work, struct ksock_conn, tx_work), 16);
}

/**
 * ksock_kick - driver.h's kick()
 * @c:         connection
 * @may_sleep: send from here; else a worker does
 *
 * One batch is sent by the caller, who may be the thread that runs all
 * handlers; a stream of them by the worker.
 */
void ksock_kick(struct popcorn_conn *c, bool may_sleep)
{
	struct ksock_conn *k = ksock_of(c);

	set_bit(0, &k->tx_again);
	smp_mb__after_atomic(); /* before the lock is tried */
	if (may_sleep)
		tx_run(k, 1);
	else
		tx_later(k);
}

/* -------------------------------------------------------------- receiving */

static void rx_fail(struct ksock_conn *k, int error)
{
	k->rx_error = error;
	popcorn_conn_failed(&k->c, error);
}

static bool rx_buf(struct ksock_conn *k)
{
	if (!k->buf) {
		popcorn_conn_lock(&k->c);
		k->buf = popcorn_rxbuf_get(&k->c);
		popcorn_conn_unlock(&k->c);
	}
	return k->buf;
}

/* The header is there: where does the payload go? */
static bool rx_begin(struct ksock_conn *k)
{
	u16 len = le16_to_cpu(k->hdr.len);

	if (k->hdr.kind == PW_PAGE) {
		struct popcorn_frame *f = popcorn_conn_rx_page(&k->c, &k->hdr);

		if (!f) {
			k->rx_error = -EPROTO;
			return false;
		}
		k->to = popcorn_frame_data(f);
	} else {
		/* Who keeps to its credit never finds the lane without a buffer. */
		if (len > PW_PAYLOAD || !rx_buf(k)) {
			rx_fail(k, -EPROTO);
			return false;
		}
		k->to = k->buf->data + PW_HDR;
	}
	k->need = len;
	return true;
}

static bool rx_end(struct ksock_conn *k)
{
	bool page = k->hdr.kind == PW_PAGE;
	int r = popcorn_conn_rx(&k->c, &k->hdr, k->to, k->need, page ? NULL : k->buf);

	k->have = 0;
	if (r < 0) {
		k->rx_error = r;
		return false;
	}
	if (r)
		k->buf = NULL;
	return true;
}

static int rx_actor(read_descriptor_t *desc, struct sk_buff *skb, unsigned int off, size_t len)
{
	struct ksock_conn *k = desc->arg.data;
	size_t done = 0;

	while (done < len && !k->rx_error) {
		size_t part;
		void *to;

		if (k->have < PW_HDR) {
			part = PW_HDR - k->have;
			to = (void *)&k->hdr + k->have;
		} else {
			part = PW_HDR + k->need - k->have;
			to = k->to + (k->have - PW_HDR);
		}
		part = min(part, len - done);
		if (skb_copy_bits(skb, off + done, to, part)) {
			rx_fail(k, -EFAULT);
			break;
		}
		done += part;
		k->have += part;
		if (k->have == PW_HDR && !rx_begin(k))
			break;
		if (k->have >= PW_HDR && k->have == PW_HDR + k->need && !rx_end(k))
			break;
	}
	if (k->rx_error)
		desc->count = 0;
	return done;
}

/*
 * The second of two small segments TCP acknowledges at once. Here an answer most often
 * follows, and takes that along; but no more than a few segments wait for one, since their
 * sender may not have many under way.
 */
static void ack_later(struct sock *sk)
{
	struct tcp_sock *tp = tcp_sk(sk);

	if (tp->rcv_nxt - tp->rcv_wup <= ACK_LATER)
		inet_csk(sk)->icsk_ack.pending &= ~ICSK_ACK_PUSHED2;
}

/* Socket's lock held, by whoever called back. */
static void rx_read(struct ksock_conn *k, struct sock *sk)
{
	read_descriptor_t desc = { .arg.data = k, .count = 1 };

	ack_later(sk);
	if (!k->rx_error)
		tcp_read_sock(sk, &desc, rx_actor);
}

static void data_ready(struct sock *sk)
{
	struct ksock_conn *k;

	read_lock_bh(&sk->sk_callback_lock);
	k = sk->sk_user_data;
	if (k)
		rx_read(k, sk);
	read_unlock_bh(&sk->sk_callback_lock);
}

static void write_space(struct sock *sk)
{
	struct ksock_conn *k;

	read_lock_bh(&sk->sk_callback_lock);
	k = sk->sk_user_data;
	if (k && sk_stream_is_writeable(sk)) {
		clear_bit(SOCK_NOSPACE, &sk->sk_socket->flags);
		ksock_kick(&k->c, false);
	}
	read_unlock_bh(&sk->sk_callback_lock);
}

static void state_change(struct sock *sk)
{
	struct ksock_conn *k;

	read_lock_bh(&sk->sk_callback_lock);
	k = sk->sk_user_data;
	if (k && sk->sk_state != TCP_ESTABLISHED)
		popcorn_conn_failed(&k->c, sk->sk_err ? -sk->sk_err : -ECONNRESET);
	read_unlock_bh(&sk->sk_callback_lock);
}

/* ----------------------------------------------------------- start and end */

void ksock_stream_init(struct ksock_conn *k)
{
	mutex_init(&k->tx_lock);
	INIT_WORK(&k->tx_work, tx_work);
}

/* The handshake is over: from here on the socket calls back. */
void ksock_stream_start(struct ksock_conn *k)
{
	struct sock *sk = k->sock->sk;

	lock_sock(sk);
	write_lock_bh(&sk->sk_callback_lock);
	sk->sk_user_data = k;
	k->saved_data_ready = sk->sk_data_ready;
	k->saved_write_space = sk->sk_write_space;
	k->saved_state_change = sk->sk_state_change;
	sk->sk_data_ready = data_ready;
	sk->sk_write_space = write_space;
	sk->sk_state_change = state_change;
	write_unlock_bh(&sk->sk_callback_lock);
	rx_read(k, sk); /* what came meanwhile */
	if (sk->sk_state != TCP_ESTABLISHED)
		popcorn_conn_failed(&k->c, -ECONNRESET);
	release_sock(sk);
}

/**
 * ksock_stream_stop - nothing is received or sent any more
 * @k:     connection
 * @flush: first let what was taken from the lane arrive
 *
 * The socket is gone when this returns, with a reset rather than in peace, so
 * that nothing of it stays behind.
 */
void ksock_stream_stop(struct ksock_conn *k, bool flush)
{
	struct socket *sock = k->sock;
	struct sock *sk = sock->sk;
	unsigned int ms;

	for (ms = 0; flush && ms < FLUSH_MS && sk->sk_state == TCP_ESTABLISHED &&
	     READ_ONCE(sk->sk_wmem_queued); ms += 5)
		msleep(5);

	lock_sock(sk);
	write_lock_bh(&sk->sk_callback_lock);
	if (sk->sk_user_data == k) {
		sk->sk_user_data = NULL;
		sk->sk_data_ready = k->saved_data_ready;
		sk->sk_write_space = k->saved_write_space;
		sk->sk_state_change = k->saved_state_change;
	}
	write_unlock_bh(&sk->sk_callback_lock);
	release_sock(sk);

	mutex_lock(&k->tx_lock);
	k->sock = NULL;
	mutex_unlock(&k->tx_lock);
	cancel_work_sync(&k->tx_work);
	sock_no_linger(sk);
	sock_release(sock);

	if (k->buf) {
		popcorn_conn_lock(&k->c);
		popcorn_rxbuf_put(&k->c, k->buf);
		popcorn_conn_unlock(&k->c);
		k->buf = NULL;
	}
}
