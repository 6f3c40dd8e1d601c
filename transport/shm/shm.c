// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Shared memory between nodes of one machine: for each lane a memfd with a ring a
 * direction.
 *
 * The handshake goes over a unix socket, which then only tells that the peer is
 * gone. PROOF carries the memfd that the initiator made, and each side's pool, so
 * that nothing is shown to who has not proved the key. A page is written by its
 * owner into the frame that the requester named.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <runtime/engine.h>

#include "ring.h"

#define FRAMES_AT_ONCE	8

/**
 * struct shm - a lane's shared memory
 * @c:      the engine's
 * @map:    both rings, @size bytes
 * @fd:     initiator: their memfd, if @has_fd
 * @out:    ring to the peer, @in: from it
 * @out_data, @in_data: blocks for long payloads
 * @mask:   slots - 1
 * @sent:   frames put into @out
 * @head:   @out->head as last seen
 * @got:    frames taken from @in
 * @peer:   the peer's pool: a page with its bell, then its frames
 * @wake:   the peer may sleep: it must be woken
 */
struct shm {
	struct ue_conn c;
	u8 *map;
	size_t size;
	int fd;
	bool has_fd;
	struct shm_ring *out;
	struct shm_ring *in;
	u8 *out_data;
	u8 *in_data;
	u32 mask;
	u32 sent;
	u32 head;
	u32 got;
	u8 *peer;
	size_t peer_size;
	u32 peer_frames;
	bool wake;
};

/* -------------------------------------------------------------- addresses */

/* Abstract names belong to the network namespace, as the nodes' addresses do. */
static socklen_t sockname(struct popcorn_node *n, u16 id, struct sockaddr_un *sa)
{
	const u8 *ip = pt_table_addr(&n->table, id)->ip;
	int at, i;

	memset(sa, 0, sizeof(*sa));
	sa->sun_family = AF_UNIX;
	at = 1 + sprintf(sa->sun_path + 1, "popcorn/%u/", n->o.port);
	for (i = 0; i < 16; i++)
		at += sprintf(sa->sun_path + at, "%02x", ip[i]);
	return offsetof(struct sockaddr_un, sun_path) + at;
}

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static int shm_listen(struct popcorn_node *n)
{
	struct sockaddr_un sa;
	socklen_t len = sockname(n, n->pt.id, &sa);
	int fd = new_socket(), r;

	if (fd < 0)
		return fd;
	if (!bind(fd, (struct sockaddr *)&sa, len) && !listen(fd, 128))
		return fd;
	r = -errno;
	close(fd);
	return r;
}

static int shm_connect(struct popcorn_node *n, u16 peer, u8 class)
{
	struct sockaddr_un sa;
	socklen_t len = sockname(n, peer, &sa);
	int fd = new_socket(), r;

	(void)class;
	if (fd < 0 || !connect(fd, (struct sockaddr *)&sa, len))
		return fd;
	r = -errno;
	close(fd);
	return r;
}

/* Only processes of the same user may share memory. */
static int shm_accepted(struct ue_conn *c)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len))
		return -errno;
	if (cred.uid == geteuid())
		return 0;
	ue_log(c->node, "refused a connection from user %u: not the user of this node", cred.uid);
	return -EACCES;
}

/* ----------------------------------------------------------------- set-up */

static u32 slots(const struct popcorn_node *n)
{
	u32 k = 64;

	while (k < pt_cfg_receives(&n->pt.cfg))
		k *= 2;
	return k;
}

static size_t ring_size(u32 k)
{
	size_t s = sizeof(struct shm_ring) + k * sizeof(struct shm_slot);

	return ((s + UE_PAGE - 1) & ~(size_t)(UE_PAGE - 1)) + (size_t)k * UE_PAGE;
}

/* With the descriptors of the handshake: the initiator's lane first, then a pool. */
static int shm_give(struct ue_conn *c, int *fds)
{
	struct shm *s = (struct shm *)c;
	size_t size = 2 * ring_size(slots(c->node));
	int n = 0;

	if (c->state == UE_CONN_READY) {
		s->fd = ue_inject() ? -1 :
			memfd_create("popcorn-lane", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (s->fd < 0)
			return -ENOMEM;
		s->has_fd = true;
		if (ftruncate(s->fd, size) ||
		    fcntl(s->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL))
			return -errno;
		fds[n++] = s->fd;
	}
	fds[n++] = c->node->pool.fd;
	return n;
}

static void *map_fd(int fd, size_t size)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;
	void *p;

	/* Less than that, now or later, would end in SIGBUS. */
	if (ue_inject() || fstat(fd, &st) || (size_t)st.st_size < size || seals < 0 ||
	    !(seals & F_SEAL_SHRINK))
		return NULL;
	p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

static int shm_live(struct ue_conn *c)
{
	struct shm *s = (struct shm *)c;
	bool initiator = c->ul->pt.initiator;
	u32 k = slots(c->node);
	size_t one = ring_size(k);
	struct stat st;
	int pool;

	if (c->nfds != (initiator ? 1 : 2))
		return -EPROTO;
	pool = c->fds[c->nfds - 1];
	if (fstat(pool, &st) || st.st_size < UE_PAGE)
		return -EPROTO;
	s->peer_size = st.st_size;
	s->peer_frames = st.st_size / UE_PAGE - 1;
	s->size = 2 * one;
	s->map = map_fd(initiator ? s->fd : c->fds[0], s->size);
	s->peer = map_fd(pool, s->peer_size);
	if (!s->map || !s->peer)
		return -ENOMEM;
	s->out = (struct shm_ring *)(s->map + (initiator ? 0 : one));
	s->in = (struct shm_ring *)(s->map + (initiator ? one : 0));
	s->out_data = (u8 *)s->out + one - (size_t)k * UE_PAGE;
	s->in_data = (u8 *)s->in + one - (size_t)k * UE_PAGE;
	s->mask = k - 1;
	c->stamp = &s->in->slot[0].stamp;
	c->next_stamp = 1;
	s->wake = ((struct ue_bell *)s->peer)->blocks;
	return 0;
}

static void shm_free(struct ue_conn *c)
{
	struct shm *s = (struct shm *)c;

	if (s->map)
		munmap(s->map, s->size);
	if (s->peer)
		munmap(s->peer, s->peer_size);
	if (s->has_fd)
		close(s->fd);
	s->map = s->peer = NULL;
	s->has_fd = false;
}

/* ---------------------------------------------------------------- sending */

static void ring_bell(struct shm *s)
{
	struct ue_bell *bell = (struct ue_bell *)s->peer;

	/* The sleeper says so, then looks at the rings once more. */
	atomic_thread_fence(memory_order_seq_cst);
	if (likely(!atomic_load_explicit(&bell->asleep, memory_order_relaxed)))
		return;
	atomic_fetch_add(&bell->seq, 1);
	ue_futex_wake(&bell->seq, true);
}

static void put(struct shm *s, const struct pt_out *out)
{
	u32 at = s->sent & s->mask;
	struct shm_slot *slot = &s->out->slot[at];
	u32 len = out->len;

	slot->hdr = *out->hdr;
	if (unlikely(out->page)) {
		len = UE_PAGE;
		memcpy(s->peer + ((size_t)out->frame + 1) * UE_PAGE, out->page, UE_PAGE);
	} else if (likely(len <= SHM_INLINE)) {
		memcpy(slot->data, out->hdr + 1, len);
	} else {
		memcpy(s->out_data + (size_t)at * UE_PAGE, out->hdr + 1, len);
	}
	slot->len = len;
	atomic_store_explicit(&slot->stamp, ++s->sent, memory_order_release);
}

static void shm_tx(struct ue_lane *ln)
{
	struct shm *s = (struct shm *)ln->conn;
	struct pt_out out;

	if (!s)
		return;
	for (;;) {
		if (unlikely(s->sent - s->head > s->mask)) {
			s->head = atomic_load_explicit(&s->out->head, memory_order_acquire);
			if (s->sent - s->head > s->mask) {
				ue_lane_more(ln);
				break;
			}
		}
		if (!pt_lane_tx(ln->la, &out))
			return;
		if (unlikely(out.page && out.frame >= s->peer_frames)) {
			ln->ul->fault = -EPROTO;
			ue_link_todo(ln->ul, UE_WORK_FAULT);
			return;
		}
		put(s, &out);
		if (s->wake)
			ring_bell(s);
		if (out.hdr->kind >= PW_MSG && ln->la->class == PW_BULK &&
		    pt_lane_tx_pending(ln->la)) {
			ue_lane_more(ln);
			break;
		}
	}
}

/* -------------------------------------------------------------- receiving */

static int shm_rx(struct ue_conn *c)
{
	struct shm *s = (struct shm *)c;
	int most = c->class == PW_BULK ? 1 : FRAMES_AT_ONCE, n, r;

	for (n = 0; n < most; n++) {
		u32 at = s->got & s->mask, len;
		struct shm_slot *slot = &s->in->slot[at];
		const u8 *payload = slot->data;
		struct pw_hdr h;

		if (atomic_load_explicit(&slot->stamp, memory_order_acquire) != s->got + 1)
			break;
		/* Checked and used must be the same. */
		h = slot->hdr;
		len = *(volatile u32 *)&slot->len;
		if (len > SHM_INLINE)
			payload = s->in_data + (size_t)at * UE_PAGE;
		if (unlikely(len > PW_PAYLOAD && (len != UE_PAGE || h.kind != PW_PAGE)))
			r = -EPROTO;
		else
			r = ue_deliver(c->ln, &h, payload, len);
		s->got++;
		c->stamp = &s->in->slot[s->got & s->mask].stamp;
		c->next_stamp = s->got + 1;
		atomic_store_explicit(&s->in->head, s->got, memory_order_release);
		if (unlikely(r)) {
			ue_lock(&c->ul->lock);
			pt_link_fault(&c->ul->pt, r, ue_now(c->node));
			ue_link_finish(c->ul, NULL);
			return r;
		}
	}
	return n;
}

/* ------------------------------------------------------------------- end */

static void shm_stop(struct ue_conn *c)
{
	struct shm *s = (struct shm *)c;

	atomic_store_explicit(&s->out->closed, 1, memory_order_release);
	shutdown(c->fd, SHUT_WR);
}

/* The peer has said that it writes no more, or its process is gone. */
static bool shm_drained(struct ue_conn *c)
{
	struct shm *s = (struct shm *)c;
	struct pollfd p = { .fd = c->fd };

	if (atomic_load_explicit(&s->in->closed, memory_order_acquire))
		return true;
	return poll(&p, 1, 0) == 1 && p.revents & (POLLHUP | POLLERR);
}

const struct ue_driver ue_shm = {
	.name = "shm",
	.size = sizeof(struct shm),
	.cheap = true,
	.listen = shm_listen,
	.connect = shm_connect,
	.accepted = shm_accepted,
	.give = shm_give,
	.live = shm_live,
	.tx = shm_tx,
	.rx = shm_rx,
	.stop = shm_stop,
	.drained = shm_drained,
	.free = shm_free,
};
