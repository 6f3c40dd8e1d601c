// SPDX-License-Identifier: GPL-2.0-only
/* floor_verbs.ko: what bare kernel verbs cost between two threads; its connections. */
#define KFLOOR_PORT	18517
#include "kfloor_rows.h"
#include "kverbs.h"

#include <linux/delay.h>
#include <linux/kthread.h>

#define CONNECT_TRIES	100
#define CONNECT_PAUSE	20	/* ms: the server may still be tearing down the row before */

static struct rdma_cm_id *listener;
static struct task_struct *server;
static DECLARE_WAIT_QUEUE_HEAD(server_wait);
static DEFINE_MUTEX(serving_lock);
/* The connection that is served, at most one: set by the cm handler, cleared by the thread. */
static struct kv_end *serving;

static struct rdma_conn_param conn_param(const struct kfloor_hello *h)
{
	return (struct rdma_conn_param){
		.private_data = h, .private_data_len = sizeof(*h),
		.responder_resources = 1, .initiator_depth = 1,
		.retry_count = 7, .rnr_retry_count = 7,
	};
}

static int serve_request(struct rdma_cm_id *id, const struct rdma_cm_event *ev)
{
	struct rdma_conn_param param;
	struct kfloor_hello h, answer;
	struct kfloor_cmd cmd;
	struct kv_end *end;
	int err;

	if (READ_ONCE(serving))
		return -EBUSY;
	if (ev->param.conn.private_data_len < sizeof(h))
		return -EPROTO;
	memcpy(&h, ev->param.conn.private_data, sizeof(h));
	err = kfloor_unpack(&h, &cmd);
	if (err)
		return err;
	end = kv_end_new(id, &cmd, true);
	if (IS_ERR(end))
		return PTR_ERR(end);
	end->peer_rkey = le32_to_cpu(h.rkey);
	end->peer_addr = le64_to_cpu(h.addr);
	id->context = end;
	kv_end_hello(end, &answer);
	param = conn_param(&answer);
	err = rdma_accept(id, &param);
	if (err) {
		kv_end_free(end);
		return err;
	}
	/* From here on the thread frees both, also if the connection never comes up. */
	smp_store_release(&serving, end);
	wake_up(&server_wait);
	return 0;
}

/* Returning an error makes rdma_cm destroy the id that the event came on. */
static int server_event(struct rdma_cm_id *id, struct rdma_cm_event *ev)
{
	struct kv_end *end = id->context;
	int err;

	switch (ev->event) {
	case RDMA_CM_EVENT_CONNECT_REQUEST:
		err = serve_request(id, ev);
		if (err && err != -EBUSY)
			pr_err("request refused: %d\n", err);
		return err;
	case RDMA_CM_EVENT_ESTABLISHED:
		if (end) {
			WRITE_ONCE(end->up, true);
			wake_up(&end->wait);
		}
		return 0;
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		if (cmpxchg(&listener, id, NULL) == id)
			return -ENODEV;
		fallthrough;
	default:
		if (end)
			kv_end_fail(end, -ECONNRESET);
		return 0;
	}
}

/* No handler uses @id's context once this returns. */
static void detach(struct rdma_cm_id *id)
{
	rdma_lock_handler(id);
	id->context = NULL;
	rdma_unlock_handler(id);
}

static int server_thread(void *unused)
{
	struct rdma_cm_id *id;
	struct kv_end *end;

	for (;;) {
		wait_event_idle(server_wait, smp_load_acquire(&serving) || kthread_should_stop());
		end = READ_ONCE(serving);
		if (!end)
			return 0;
		id = end->id;
		kfloor_watch_start(&end->chan);
		wait_event_idle(end->wait, READ_ONCE(end->up) || READ_ONCE(end->err));
		if (!end->cmd.softirq)
			kfloor_serve(&end->chan, &end->cmd);
		/* The client hangs up first, when it has the last answer. */
		wait_event_idle(end->wait, READ_ONCE(end->err));
		kfloor_watch_stop(&end->chan);
		mutex_lock(&serving_lock);
		WRITE_ONCE(serving, NULL);
		mutex_unlock(&serving_lock);
		detach(id);
		kv_end_free(end);
		rdma_destroy_id(id);
	}
}

struct client {
	struct kv_end *end;
	struct completion event;
	int status;
	struct kfloor_hello answer;
};

static int client_event(struct rdma_cm_id *id, struct rdma_cm_event *ev)
{
	struct client *c = id->context;

	if (!c)
		return 0;
	switch (ev->event) {
	case RDMA_CM_EVENT_ADDR_RESOLVED:
	case RDMA_CM_EVENT_ROUTE_RESOLVED:
	case RDMA_CM_EVENT_ESTABLISHED:
		c->status = 0;
		break;
	case RDMA_CM_EVENT_REJECTED:
		c->status = -EAGAIN;
		break;
	case RDMA_CM_EVENT_DISCONNECTED:
	case RDMA_CM_EVENT_DEVICE_REMOVAL:
		if (c->end)
			kv_end_fail(c->end, -ECONNRESET);
		c->status = -ECONNRESET;
		break;
	default:
		c->status = ev->status < 0 ? ev->status : -EHOSTUNREACH;
		break;
	}
	complete(&c->event);
	return 0;
}

static int client_wait(struct client *c)
{
	long left = wait_for_completion_killable_timeout(&c->event, KFLOOR_PATIENCE);

	if (left <= 0)
		return left ? left : -ETIMEDOUT;
	return c->status;
}

static int client_connect(struct client *c, struct rdma_cm_id *id, const struct kfloor_cmd *cmd)
{
	struct sockaddr *src = a ? (struct sockaddr *)&addr_a : NULL;
	struct rdma_conn_param param;
	struct kfloor_hello h;
	struct kv_end *end;
	int err;

	err = rdma_resolve_addr(id, src, (struct sockaddr *)&addr_b, 3000) ?: client_wait(c);
	if (err)
		return err;
	err = rdma_resolve_route(id, 3000) ?: client_wait(c);
	if (err)
		return err;
	end = kv_end_new(id, cmd, false);
	if (IS_ERR(end))
		return PTR_ERR(end);
	c->end = end;
	kv_end_hello(end, &h);
	param = conn_param(&h);
	return rdma_connect(id, &param) ?: client_wait(c) ?: kv_end_register(end);
}

static int client_try(const struct kfloor_cmd *cmd, struct kfloor_samples *s)
{
	struct client c = { };
	struct rdma_cm_id *id;
	int err;

	init_completion(&c.event);
	id = rdma_create_id(&init_net, client_event, &c, RDMA_PS_TCP, IB_QPT_RC);
	if (IS_ERR(id))
		return PTR_ERR(id);
	err = client_connect(&c, id, cmd);
	if (!err) {
		kfloor_watch_start(&c.end->chan);
		err = kfloor_ask(&c.end->chan, cmd, s);
		kfloor_watch_stop(&c.end->chan);
	}
	/* Until the server has heard: destroying the id takes back what isn't sent yet. */
	if (c.end && !rdma_disconnect(id))
		wait_for_completion_timeout(&c.event, HZ);
	detach(id);
	if (c.end)
		kv_end_free(c.end);
	rdma_destroy_id(id);
	return err;
}

static int client_run(const struct kfloor_cmd *cmd, struct kfloor_samples *s)
{
	int err, i;

	for (i = 0; i < CONNECT_TRIES; i++) {
		err = client_try(cmd, s);
		if (err != -EAGAIN)
			break;
		if (msleep_interruptible(CONNECT_PAUSE))
			return -EINTR;
	}
	return err;
}

static int server_start(void)
{
	struct rdma_cm_id *id;
	int err;

	server = kthread_run(server_thread, NULL, "floor_verbs");
	if (IS_ERR(server))
		return PTR_ERR(server);
	sched_set_fifo_low(server);	/* as the node's thread in popcorn.ko */
	id = rdma_create_id(&init_net, server_event, NULL, RDMA_PS_TCP, IB_QPT_RC);
	if (IS_ERR(id)) {
		err = PTR_ERR(id);
		goto stop;
	}
	err = rdma_bind_addr(id, (struct sockaddr *)&addr_b) ?: rdma_listen(id, 4);
	if (err) {
		pr_err("can't listen on %s: %d (is that address on an RDMA device here?)\n", b,
		       err);
		rdma_destroy_id(id);
		goto stop;
	}
	listener = id;
	return 0;
stop:
	kthread_stop(server);
	return err;
}

static void server_stop(void)
{
	struct rdma_cm_id *id = xchg(&listener, NULL);

	/* After this no new connection comes. */
	if (id)
		rdma_destroy_id(id);
	mutex_lock(&serving_lock);
	if (serving)
		kv_end_fail(serving, -ESHUTDOWN);
	mutex_unlock(&serving_lock);
	kthread_stop(server);
}

static struct kfloor floor = {
	.name = "kverbs", .path = "popcorn_floor_verbs",
	.start = server_start, .stop = server_stop, .run = client_run,
};

MODULE_DESCRIPTION("Bare kernel verbs ping-pong: the floor under Popcorn-RDMA's transport");
