// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * TCP in user space: a connection for each lane.
 *
 * A stream is received into one buffer and frames are handled where they lie
 * there; a page that did not arrive whole is received into its frame directly.
 * (For one that did, a second system call would cost more than the copy.)
 *
 * System calls on the way of a message are made by syscall(): where a thread can be
 * cancelled, as in send(), the C library has locked instructions around them, and who
 * holds the poll role must not be.
 */
#define _GNU_SOURCE
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <stdlib.h>
#include <unistd.h>

#include <runtime/engine.h>

#define RX_BUF		65536
#define IOV_MAX_TX	34
#define TX_FLAGS	(MSG_NOSIGNAL | MSG_DONTWAIT)

/*
 * How much is sent or received at a time. Between two pieces of bulk the poller looks
 * whether something urgent has come: two frames would halve bulk's rate, six double
 * what the urgent waits.
 */
#define BULK_FRAMES	3
#define BULK_PIECE	(BULK_FRAMES * (PW_HDR + UE_PAGE))
#define FRAMES_AT_ONCE	8
#define PIECE		32768

/**
 * struct usock - a lane's TCP connection
 * @c:     the engine's
 * @buf:   received, not yet handled: from @head to @tail
 * @page:  PW_PAGE: where the rest goes; @page_got bytes are there
 * @hdr:   its header
 * @tries: receives since the socket was full
 * @iov:   being sent, from @iov_at to @iov_n
 * @ctl:   copy of an unsequenced frame, which the core keeps for a moment only
 */
struct usock {
	struct ue_conn c;
	u8 *buf;
	u32 head;
	u32 tail;
	struct popcorn_frame *page;
	u32 page_got;
	struct pw_hdr hdr;
	u32 tries;
	u32 iov_at;
	u32 iov_n;
	u32 ctl_used;
	struct iovec iov[IOV_MAX_TX];
	struct {
		struct pw_hdr hdr;
		struct pw_heartbeat hb;
	} ctl[2];
};

/* -------------------------------------------------------------- addresses */

static socklen_t sockaddr(const struct pt_addr *a, u16 port, struct sockaddr_storage *ss)
{
	struct sockaddr_in6 *s6 = (struct sockaddr_in6 *)ss;
	struct sockaddr_in *s4 = (struct sockaddr_in *)ss;

	memset(ss, 0, sizeof(*ss));
	if (IN6_IS_ADDR_V4MAPPED((struct in6_addr *)a->ip)) {
		s4->sin_family = AF_INET;
		s4->sin_port = htons(port);
		memcpy(&s4->sin_addr, a->ip + 12, 4);
		return sizeof(*s4);
	}
	s6->sin6_family = AF_INET6;
	s6->sin6_port = htons(port);
	memcpy(&s6->sin6_addr, a->ip, 16);
	return sizeof(*s6);
}

static void from_sockaddr(const struct sockaddr_storage *ss, struct pt_addr *a)
{
	const struct sockaddr_in6 *s6 = (const struct sockaddr_in6 *)ss;
	const struct sockaddr_in *s4 = (const struct sockaddr_in *)ss;

	if (ss->ss_family == AF_INET) {
		memset(a->ip, 0, 10);
		memset(a->ip + 10, 0xff, 2);
		memcpy(a->ip + 12, &s4->sin_addr, 4);
	} else {
		memcpy(a->ip, &s6->sin6_addr, 16);
	}
}

static int new_socket(struct popcorn_node *n, struct sockaddr_storage *ss, socklen_t *len,
		      u16 port)
{
	int fd, one = 1;

	*len = sockaddr(pt_table_addr(&n->table, n->pt.id), port, ss);
	fd = socket(ss->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd >= 0 && port)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	return fd < 0 ? -errno : fd;
}

static int tcp_listen(struct popcorn_node *n)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int fd = new_socket(n, &ss, &len, n->o.port), r;

	if (fd < 0)
		return fd;
	if (!bind(fd, (struct sockaddr *)&ss, len) && !listen(fd, 128))
		return fd;
	r = -errno;
	close(fd);
	return r;
}

/* Delay is what counts, on every lane; the network is told which is urgent. */
static void set_options(int fd, u8 class)
{
	static const int tos[PW_CLASSES] = { 0xb8, 0x48, 0x28 };	/* EF, AF21, AF11 */
	static const int prio[PW_CLASSES] = { 6, 4, 2 };
	int one = 1;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	/* One of the first two is refused, according to the family. */
	setsockopt(fd, IPPROTO_IP, IP_TOS, &tos[class], sizeof(int));
	setsockopt(fd, IPPROTO_IPV6, IPV6_TCLASS, &tos[class], sizeof(int));
	setsockopt(fd, SOL_SOCKET, SO_PRIORITY, &prio[class], sizeof(int));
}

static int tcp_connect(struct popcorn_node *n, u16 peer, u8 class)
{
	struct sockaddr_storage ss;
	socklen_t len;
	int fd = new_socket(n, &ss, &len, 0), one = 1, r;

	if (fd < 0)
		return fd;
	set_options(fd, class);
	/* From the node's own address: peers check it. */
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&ss, len))
		goto fail;
	len = sockaddr(pt_table_addr(&n->table, peer), n->o.port, &ss);
	if (!connect(fd, (struct sockaddr *)&ss, len) || errno == EINPROGRESS)
		return fd;
fail:
	r = -errno;
	close(fd);
	return r;
}

static int tcp_accepted(struct ue_conn *c)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	if (getpeername(c->fd, (struct sockaddr *)&ss, &len))
		return -errno;
	from_sockaddr(&ss, &c->from);
	c->has_from = true;
	return 0;
}

static int tcp_live(struct ue_conn *c)
{
	struct usock *u = (struct usock *)c;

	set_options(c->fd, c->class);
	u->buf = ue_alloc(RX_BUF);
	return u->buf ? 0 : -ENOMEM;
}

static void tcp_free(struct ue_conn *c)
{
	free(((struct usock *)c)->buf);
}

/* ---------------------------------------------------------------- sending */

/* Takes frames from the core. Return: false if there are none. Lock held. */
static bool gather(struct usock *u, struct ue_lane *ln)
{
	u32 bytes = 0, piece = ln->la->class == PW_BULK ? BULK_PIECE : PIECE;
	struct pt_out out;
	void *base;

	u->iov_at = u->iov_n = u->ctl_used = 0;
	while (bytes < piece && u->iov_n < IOV_MAX_TX - 1 && pt_lane_tx(ln->la, &out)) {
		base = out.hdr;
		if (unlikely(out.hdr->kind < PW_MSG)) {
			memcpy(&u->ctl[u->ctl_used], base, PW_HDR + out.len);
			base = &u->ctl[u->ctl_used++];
		}
		u->iov[u->iov_n++] = (struct iovec){ base, PW_HDR + out.len };
		bytes += PW_HDR + out.len;
		if (out.page) {
			u->iov[u->iov_n++] = (struct iovec){ out.page, UE_PAGE };
			bytes += UE_PAGE;
		}
		if (u->ctl_used == 2)
			break;
	}
	return u->iov_n;
}

/* Return: 0: all is sent; -EAGAIN: the socket is full; -errno. Lock not held. */
static int push(struct usock *u)
{
	struct iovec *v = &u->iov[u->iov_at];
	u32 n = u->iov_n - u->iov_at;
	struct msghdr m = { .msg_iov = v, .msg_iovlen = n };
	ssize_t r;

	r = n == 1 ? syscall(SYS_sendto, u->c.fd, v->iov_base, v->iov_len, TX_FLAGS, NULL, 0)
		   : syscall(SYS_sendmsg, u->c.fd, &m, TX_FLAGS);
	if (unlikely(r < 0))
		return errno == EINTR ? -EAGAIN : -errno;
	for (; n && (size_t)r >= v->iov_len; v++, n--, u->iov_at++)
		r -= v->iov_len;
	if (likely(!n))
		return 0;
	v->iov_base = (u8 *)v->iov_base + r;
	v->iov_len -= r;
	return -EAGAIN;
}

static void tcp_tx(struct ue_lane *ln)
{
	struct usock *u = (struct usock *)ln->conn;
	struct ue_link *ul = ln->ul;
	int r;

	if (!u || ln->tx_busy || u->c.full)
		return;
	while (u->iov_at < u->iov_n || gather(u, ln)) {
		/* Something will come of it. */
		ue_set_idle(&u->c, 0);
		ln->tx_busy = true;
		ue_unlock(&ul->lock);
		r = push(u);
		ue_lock(&ul->lock);
		ln->tx_busy = false;
		if (unlikely(r == -EAGAIN)) {
			u->c.full = true;
			return;
		}
		if (unlikely(r)) {
			u->iov_n = 0;
			ul->fault = r;
			ue_link_todo(ul, UE_WORK_FAULT);
			return;
		}
		if (ln->la->class == PW_BULK && pt_lane_tx_pending(ln->la)) {
			ue_lane_more(ln);
			return;
		}
	}
}

/* -------------------------------------------------------------- receiving */

/* Return: 1: a frame was delivered, 0: it isn't complete yet, or -errno. */
static int frame(struct usock *u)
{
	u32 have = u->tail - u->head, len;
	u8 *at = u->buf + u->head, *payload;
	struct ue_lane *ln = u->c.ln;
	struct pw_hdr h;

	if (have < PW_HDR)
		return 0;
	memcpy(&h, at, PW_HDR);
	len = le16_to_cpu(h.len);
	if (unlikely(h.kind == PW_PAGE)) {
		struct popcorn_frame *f;

		ue_lock(&ln->ul->lock);
		f = pt_lane_rx_page(ln->la, &h);
		ue_unlock(&ln->ul->lock);
		if (!f || len != UE_PAGE)
			return -EPROTO;
		have -= PW_HDR;
		if (have > len)
			have = len;
		memcpy(f->data, at + PW_HDR, have);
		u->head += PW_HDR + have;
		if (have < len) {
			u->page = f;
			u->page_got = have;
			u->hdr = h;
			return 0;
		}
		return ue_deliver(ln, &h, NULL, len) ?: 1;
	}
	if (unlikely(len > PW_PAYLOAD))
		return -EPROTO;
	if (have < PW_HDR + len)
		return 0;
	payload = at + PW_HDR;
	u->head += PW_HDR + len;
	/* Handlers see words, and a message of odd length has gone before. */
	if (unlikely((uintptr_t)payload & 7)) {
		payload -= (uintptr_t)payload & 7;
		memmove(payload, at + PW_HDR, len);
	}
	return ue_deliver(ln, &h, payload, len) ?: 1;
}

/* Return: bytes, 0 if there are none, or -errno. */
static int receive(struct usock *u, void *to, u32 room)
{
	ssize_t r = syscall(SYS_recvfrom, u->c.fd, to, (size_t)room, MSG_DONTWAIT, NULL, NULL);

	if (likely(r > 0))
		return r;
	return !r ? -ECONNRESET : errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

static int rest_of_page(struct usock *u)
{
	int r = receive(u, (u8 *)u->page->data + u->page_got, UE_PAGE - u->page_got);

	if (r <= 0)
		return r;
	u->page_got += r;
	if (u->page_got < UE_PAGE)
		return 0;
	u->page = NULL;
	return ue_deliver(u->c.ln, &u->hdr, NULL, UE_PAGE) ?: 1;
}

static int fill(struct usock *u)
{
	u32 room, piece = u->c.class == PW_BULK ? BULK_PIECE : PIECE;
	int r;

	if (u->head == u->tail) {
		u->head = u->tail = 0;
	} else if (u->tail > RX_BUF - PIECE) {
		memmove(u->buf, u->buf + u->head, u->tail - u->head);
		u->tail -= u->head;
		u->head = 0;
	}
	room = RX_BUF - u->tail;
	r = receive(u, u->buf + u->tail, room < piece ? room : piece);
	if (r > 0)
		u->tail += r;
	return r;
}

static int failed(struct usock *u, int error)
{
	struct ue_link *ul = u->c.ul;

	ue_lock(&ul->lock);
	pt_link_fault(&ul->pt, error, ue_now(u->c.node));
	ue_link_finish(ul, NULL);
	return error;
}

static int tcp_rx(struct ue_conn *c)
{
	struct usock *u = (struct usock *)c;
	u32 most = c->class == PW_BULK ? BULK_FRAMES : FRAMES_AT_ONCE, n = 0;
	bool cork = c->class == PW_BULK;
	int r;

	/* Each try is a system call. */
	if (unlikely(c->full) && !(++u->tries & 3)) {
		ue_lock(&c->ul->lock);
		c->full = false;
		tcp_tx(c->ln);
		ue_link_finish(c->ul, NULL);
	}
	if (cork)
		ue_link_cork(c->ul, true);
	r = !u->page && u->tail - u->head >= PW_HDR ? frame(u) : 0;
	if (!r && unlikely(u->page)) {
		r = rest_of_page(u);
	} else if (!r) {
		r = fill(u);
		if (likely(!r))
			goto out;
		if (r > 0)
			r = frame(u);
	}
	while (r > 0 && ++n < most && u->head < u->tail) {
		if (!cork)
			ue_link_cork(c->ul, cork = true);
		r = frame(u);
	}
out:
	if (cork)
		ue_link_cork(c->ul, false);
	if (unlikely(r < 0))
		return failed(u, r);
	return n;
}

static void tcp_stop(struct ue_conn *c)
{
	shutdown(c->fd, SHUT_RDWR);
}

/* What the kernel still has of it reaches nobody. */
static bool tcp_drained(struct ue_conn *c)
{
	(void)c;
	return true;
}

const struct ue_driver ue_tcp = {
	.name = "tcp",
	.size = sizeof(struct usock),
	.listen = tcp_listen,
	.connect = tcp_connect,
	.accepted = tcp_accepted,
	.live = tcp_live,
	.tx = tcp_tx,
	.rx = tcp_rx,
	.stop = tcp_stop,
	.drained = tcp_drained,
	.free = tcp_free,
};
