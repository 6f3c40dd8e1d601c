// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Floor: user-space verbs, RC SEND and WRITE_WITH_IMM, polling the queue or waiting for events. */
#define _GNU_SOURCE
#include <errno.h>
#include <infiniband/verbs.h>
#include <netdb.h>
#include <poll.h>
#include <rdma/rdma_cma.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#include "floor.h"

#define PORT		"18516"
#define RX		80	/* posted receives: the largest window and its acknowledgements */
#define SQ		256
#define SIGNAL		16	/* one send in so many asks for a completion */
#define PAGES		64	/* where the peer may write: at least the largest window */
#define PATIENCE_MS	10000
#define ASKER_MS	60000	/* how long a server waits for its client */

/* Travels in the connection's private data; both ends are the same program. */
struct target {
	uint64_t addr;
	uint32_t rkey;
};

struct verbs_chan {
	struct floor_chan chan;
	struct rdma_cm_id *id;
	struct ibv_comp_channel *events;
	struct ibv_cq *cq;
	struct ibv_mr *mr;
	struct target peer;
	char *rx, *tx, *pages;
	unsigned int sent, put;
	int busy;
};

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int post_recv(struct verbs_chan *v, uint64_t slot)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)v->rx + slot * FLOOR_MAX,
		.length = FLOOR_MAX,
		.lkey = v->mr->lkey,
	};
	struct ibv_recv_wr wr = { .wr_id = slot, .sg_list = &sge, .num_sge = 1 }, *bad;

	return -ibv_post_recv(v->id->qp, &wr, &bad);
}

static int post_send(struct verbs_chan *v, struct ibv_send_wr *wr, size_t size)
{
	struct ibv_sge sge = {
		.addr = (uintptr_t)v->tx,
		.length = (uint32_t)size,
		.lkey = v->mr->lkey,
	};
	struct ibv_send_wr *bad;

	wr->wr_id = RX;
	wr->sg_list = &sge;
	wr->num_sge = 1;
	if (++v->sent % SIGNAL == 0)
		wr->send_flags = IBV_SEND_SIGNALED;
	return -ibv_post_send(v->id->qp, wr, &bad);
}

static int verbs_send(struct floor_chan *c, size_t size)
{
	struct ibv_send_wr wr = { .opcode = IBV_WR_SEND };

	return post_send((struct verbs_chan *)c, &wr, size);
}

static int verbs_put(struct floor_chan *c, size_t size)
{
	struct verbs_chan *v = (struct verbs_chan *)c;
	unsigned int page = v->put++ % PAGES;
	struct ibv_send_wr wr = {
		.opcode = IBV_WR_RDMA_WRITE_WITH_IMM,
		.imm_data = page,
		.wr.rdma = {
			.remote_addr = v->peer.addr + (uint64_t)page * FLOOR_PAGE,
			.rkey = v->peer.rkey,
		},
	};

	return post_send(v, &wr, size);
}

/* Sleep until the queue has something; the caller polls it again afterwards in any case. */
static int wait_event(struct verbs_chan *v)
{
	struct pollfd p = { .fd = v->events->fd, .events = POLLIN };
	struct ibv_cq *cq;
	void *ctx;
	int n;

	n = poll(&p, 1, PATIENCE_MS);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	if (!n)
		return -ETIMEDOUT;
	if (ibv_get_cq_event(v->events, &cq, &ctx))
		return -errno;
	ibv_ack_cq_events(cq, 1);
	return -ibv_req_notify_cq(cq, 0);
}

static int verbs_recv(struct floor_chan *c, size_t size)
{
	struct verbs_chan *v = (struct verbs_chan *)c;
	unsigned int spins = 0;
	uint64_t start = 0;
	struct ibv_wc wc;
	int n, err;

	for (;;) {
		n = ibv_poll_cq(v->cq, 1, &wc);
		if (n < 0)
			return -EIO;
		if (n && wc.status != IBV_WC_SUCCESS) {
			fprintf(stderr, "%s: completion failed: %s\n", program_invocation_short_name,
				ibv_wc_status_str(wc.status));
			return -EIO;
		}
		if (n && wc.wr_id < RX) {
			if (wc.byte_len != size)
				return -EBADMSG;
			return post_recv(v, wc.wr_id);
		}
		if (n)
			continue;
		if (!v->busy) {
			err = wait_event(v);
			if (err)
				return err;
		} else if (++spins % 65536 == 0) {
			if (!start)
				start = now_ms();
			else if (now_ms() - start > PATIENCE_MS)
				return -ETIMEDOUT;
		}
	}
}

static void verbs_setup(struct verbs_chan *v, struct rdma_cm_id *id, int busy)
{
	size_t size = (size_t)(RX + 1) * FLOOR_MAX + PAGES * FLOOR_PAGE;
	struct ibv_qp_init_attr attr = {
		.cap = {
			.max_send_wr = SQ, .max_recv_wr = RX, .max_send_sge = 1, .max_recv_sge = 1,
		},
		.qp_type = IBV_QPT_RC,
	};
	uint64_t i;

	*v = (struct verbs_chan){
		.chan = { .send = verbs_send, .put = verbs_put, .recv = verbs_recv },
		.id = id, .busy = busy,
	};
	v->rx = aligned_alloc(FLOOR_PAGE, size);
	if (!v->rx)
		floor_die("receive buffers", ENOMEM);
	memset(v->rx, 0, size);
	v->tx = v->rx + (size_t)RX * FLOOR_MAX;
	v->pages = v->tx + FLOOR_MAX;
	v->events = ibv_create_comp_channel(id->verbs);
	v->cq = v->events ? ibv_create_cq(id->verbs, SQ + RX, NULL, v->events, 0) : NULL;
	if (!v->cq || ibv_req_notify_cq(v->cq, 0))
		floor_die("completion queue", errno);
	attr.send_cq = attr.recv_cq = v->cq;
	if (rdma_create_qp(id, NULL, &attr))
		floor_die("queue pair", errno);
	v->mr = ibv_reg_mr(id->pd, v->rx, size, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
	if (!v->mr)
		floor_die("register memory (ulimit -l?)", errno);
	for (i = 0; i < RX; i++)
		if (post_recv(v, i))
			floor_die("post a receive", EIO);
}

static void verbs_close(struct verbs_chan *v)
{
	rdma_destroy_qp(v->id);
	ibv_dereg_mr(v->mr);
	ibv_destroy_cq(v->cq);
	ibv_destroy_comp_channel(v->events);
	rdma_destroy_id(v->id);
	free(v->rx);
}

static struct rdma_conn_param conn_param(struct verbs_chan *v, struct target *own)
{
	*own = (struct target){ .addr = (uintptr_t)v->pages, .rkey = v->mr->rkey };
	return (struct rdma_conn_param){
		.private_data = own, .private_data_len = sizeof(*own),
		.responder_resources = 1, .initiator_depth = 1,
		.retry_count = 7, .rnr_retry_count = 7,
	};
}

/* Wait for one event; copies the peer's private data to @peer if that is wanted. */
static struct rdma_cm_id *cm_event(struct rdma_event_channel *ch, enum rdma_cm_event_type want,
				   struct target *peer)
{
	int patience = want == RDMA_CM_EVENT_CONNECT_REQUEST ? ASKER_MS : PATIENCE_MS;
	struct pollfd p = { .fd = ch->fd, .events = POLLIN };
	struct rdma_cm_event *ev;
	struct rdma_cm_id *id;

	if (poll(&p, 1, patience) == 0)
		floor_die(rdma_event_str(want), ETIMEDOUT);
	if (rdma_get_cm_event(ch, &ev))
		floor_die("connection event", errno);
	if (ev->event != want) {
		fprintf(stderr, "%s: %s instead of %s (status %d)\n", program_invocation_short_name,
			rdma_event_str(ev->event), rdma_event_str(want), ev->status);
		exit(1);
	}
	if (peer && ev->param.conn.private_data_len >= sizeof(*peer))
		memcpy(peer, ev->param.conn.private_data, sizeof(*peer));
	id = ev->id;
	rdma_ack_cm_event(ev);
	return id;
}

static struct addrinfo *resolve(const char *host)
{
	struct addrinfo hint = { .ai_socktype = SOCK_STREAM }, *res;
	int err;

	if (!host)
		hint.ai_flags = AI_PASSIVE;
	err = getaddrinfo(host, PORT, &hint, &res);
	if (err)
		floor_die(gai_strerror(err), 0);
	return res;
}

static struct rdma_cm_id *new_id(void)
{
	struct rdma_event_channel *ch = rdma_create_event_channel();
	struct rdma_cm_id *id;

	if (!ch || rdma_create_id(ch, &id, NULL, RDMA_PS_TCP))
		floor_die("rdma_cm (is rdma_ucm loaded?)", errno);
	return id;
}

static struct rdma_cm_id *listen_on(const char *addr)
{
	struct addrinfo *ai = resolve(addr);
	struct rdma_cm_id *lid = new_id();

	if (rdma_bind_addr(lid, ai->ai_addr) || rdma_listen(lid, 1))
		floor_die("listen (is the address on an RDMA device?)", errno);
	freeaddrinfo(ai);
	return lid;
}

static int serve(struct rdma_cm_id *lid, const struct floor_opts *o, int busy, const char *name)
{
	struct verbs_chan v;
	struct rdma_conn_param p;
	struct target own, peer = { 0 };
	struct rdma_cm_id *id;
	int err;

	id = cm_event(lid->channel, RDMA_CM_EVENT_CONNECT_REQUEST, &peer);
	verbs_setup(&v, id, busy);
	v.peer = peer;
	p = conn_param(&v, &own);
	if (rdma_accept(id, &p))
		floor_die("accept", errno);
	cm_event(lid->channel, RDMA_CM_EVENT_ESTABLISHED, NULL);
	err = floor_rows(&v.chan, o, FLOOR_SERVER, name);
	/* The client hangs up: an earlier close here could overtake the last answer's delivery. */
	if (!err)
		cm_event(lid->channel, RDMA_CM_EVENT_DISCONNECTED, NULL);
	rdma_disconnect(id);
	verbs_close(&v);
	rdma_destroy_id(lid);
	return err;
}

static int ask(const char *addr, const struct floor_opts *o, int busy, const char *name)
{
	struct addrinfo *ai = resolve(addr);
	struct rdma_cm_id *id = new_id();
	struct verbs_chan v;
	struct rdma_conn_param p;
	struct target own;
	int err;

	if (rdma_resolve_addr(id, NULL, ai->ai_addr, 3000))
		floor_die("resolve address", errno);
	cm_event(id->channel, RDMA_CM_EVENT_ADDR_RESOLVED, NULL);
	if (rdma_resolve_route(id, 3000))
		floor_die("resolve route", errno);
	cm_event(id->channel, RDMA_CM_EVENT_ROUTE_RESOLVED, NULL);
	verbs_setup(&v, id, busy);
	p = conn_param(&v, &own);
	if (rdma_connect(id, &p))
		floor_die("connect", errno);
	cm_event(id->channel, RDMA_CM_EVENT_ESTABLISHED, &v.peer);
	err = floor_rows(&v.chan, o, FLOOR_CLIENT, name);
	/* Until the server has heard: destroying the id takes back what isn't sent yet. */
	if (!rdma_disconnect(id) && !err)
		cm_event(id->channel, RDMA_CM_EVENT_DISCONNECTED, NULL);
	verbs_close(&v);
	freeaddrinfo(ai);
	return err;
}

/* An address given twice, "A,A", or two addresses of this machine, "A,B": both ends here. */
static int both(char *server, const struct floor_opts *o, int busy, const char *name)
{
	int pid, go[2], err;
	char ready;

	if (pipe(go))
		floor_die("pipe", errno);
	pid = fork();
	if (pid < 0)
		floor_die("fork", errno);
	if (!pid) {
		struct rdma_cm_id *lid;

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		floor_pin(1);
		lid = listen_on(server);
		if (write(go[1], "", 1) != 1)
			_exit(1);
		_exit(!!serve(lid, o, busy, name));
	}
	floor_pin(0);
	close(go[1]);
	err = read(go[0], &ready, 1) == 1 ? ask(server, o, busy, name) : -ECONNREFUSED;
	close(go[0]);
	return floor_reap(pid, err);
}

static int run(const struct floor_opts *o, int busy)
{
	char name[64], *comma;

	snprintf(name, sizeof(name), "%s_%s", o->name ? o->name : "uverbs",
		 busy ? "busy" : "block");
	comma = o->arg ? strchr(o->arg, ',') : NULL;
	if (comma)
		return both(comma + 1, o, busy, name);
	return !!(o->arg ? ask(o->arg, o, busy, name) : serve(listen_on(NULL), o, busy, name));
}

int main(int argc, char **argv)
{
	struct ibv_device **list;
	struct floor_opts o;
	int n = 0, bad = 0;

	floor_options(argc, argv,
		      "User-space verbs: no ADDRESS serves, ADDRESS asks there, A,B does both here.",
		      "busy, block", &o);
	list = ibv_get_device_list(&n);
	if (list)
		ibv_free_device_list(list);
	if (!n)
		floor_die("no RDMA device (see rdma link)", 0);
	if (floor_mode_on(&o, "busy"))
		bad |= run(&o, 1);
	if (floor_mode_on(&o, "block"))
		bad |= run(&o, 0);
	return bad;
}
