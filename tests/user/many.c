// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Several nodes in one process: all of them ask all others, from several threads.
 * Prints TAP. Usage: user-many WIRE MODE ADDRESS,ADDRESS,...
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include <runtime/transport.h>

#define NODES_MAX	8
#define ROUNDS		200

enum { T_ECHO = PW_T_USER, T_LATER, T_UNKNOWN };

static struct popcorn_node *node[NODES_MAX];
static u32 nodes;
static int test, failed;

static void say(bool good, const char *what, int detail)
{
	printf("%sok %d - %s", good ? "" : "not ", ++test, what);
	printf(good ? "\n" : " (%d)\n", detail);
	failed += !good;
}

static void echo(struct popcorn_msg *m)
{
	popcorn_answer(m, 0, m->data, m->len);
}

static void *later_thread(void *arg)
{
	struct popcorn_msg *m = arg;

	popcorn_answer(m, 0, m->data, m->len);
	return NULL;
}

/* Answered by another thread, after the handler. */
static void later(struct popcorn_msg *m)
{
	pthread_t t;

	popcorn_msg_keep(m);
	if (pthread_create(&t, NULL, later_thread, m))
		abort();
	pthread_detach(t);
}

static const struct popcorn_msg_ops echo_ops = { "echo", echo }, later_ops = { "later", later };

struct asker {
	pthread_t thread;
	u32 from;
	int status;
};

static void *ask_all(void *arg)
{
	struct asker *a = arg;
	static __thread u8 out[PW_MSG_MAX], in[PW_MSG_MAX];
	u32 i, k, to, len, seed = a->from + 1;
	int r;

	for (i = 0; i < ROUNDS && !a->status; i++) {
		to = (a->from + 1 + i % (nodes - 1)) % nodes;
		len = rand_r(&seed) % (i % 20 ? 500 : PW_MSG_MAX + 1);
		for (k = 0; k < len; k++)
			out[k] = rand_r(&seed);
		r = popcorn_request(node[a->from], to, i % PW_CLASSES, i % 5 ? T_ECHO : T_LATER,
				    out, len, in, len, 60000);
		if (r != (int)len || memcmp(in, out, len))
			a->status = r < 0 ? r : -EBADMSG;
	}
	return NULL;
}

static void check_limits(void)
{
	static u8 big[PW_MSG_MAX + 1];
	struct popcorn_node *n = node[0];
	int r;

	r = popcorn_request(n, 1, PW_SYNC, T_UNKNOWN, NULL, 0, NULL, 0, 60000);
	say(r == -EOPNOTSUPP, "a type that nobody takes", r);
	r = popcorn_request(n, 0, PW_SYNC, T_ECHO, NULL, 0, NULL, 0, 60000);
	say(r == -EINVAL, "a message to itself", r);
	r = popcorn_request(n, nodes, PW_SYNC, T_ECHO, NULL, 0, NULL, 0, 60000);
	say(r == -ENOENT, "a node that is not in the table", r);
	r = popcorn_request(n, 1, PW_SYNC, T_ECHO, big, sizeof(big), big, 0, 60000);
	say(r == -EMSGSIZE, "a message that is too long", r);
	r = popcorn_request(n, 1, PW_CLASSES, T_ECHO, NULL, 0, NULL, 0, 60000);
	say(r == -EINVAL, "a class that is none", r);
	r = popcorn_request(n, 1, PW_SYNC, T_ECHO, big, 100, big, 10, 60000);
	say(r == -EIO, "an answer that is longer than its room", r);
	r = popcorn_send(n, 1, PW_SYNC, 0, NULL, 0, 0);
	say(r == -EINVAL, "a type of the transport's own", r);
}

static void echo_or_fail(struct popcorn_msg *m)
{
	if (popcorn_answer(m, 0, m->data, m->len))
		popcorn_msg_done(m);
}

static const struct popcorn_msg_ops checked_ops = { "echo", echo_or_fail };

int main(int argc, char **argv)
{
	struct asker a[2 * NODES_MAX] = { 0 };
	struct popcorn_opts o;
	const char *s;
	u32 i;
	int r, bad = 0;

	if (argc != 4)
		return 2;
	popcorn_opts_init(&o);
	o.wire = !strcmp(argv[1], "shm") ? POPCORN_SHM : POPCORN_TCP;
	o.mode = !strcmp(argv[2], "busy") ? POPCORN_BUSY : POPCORN_BLOCK;
	o.nodes = argv[3];
	for (nodes = 1, s = argv[3]; *s; s++)
		nodes += *s == ',';
	if (nodes < 2 || nodes > NODES_MAX)
		return 2;
	popcorn_msg_register(T_ECHO, &checked_ops);
	popcorn_msg_register(T_LATER, &later_ops);
	say(popcorn_msg_register(T_ECHO, &echo_ops) == -EBUSY, "a type is taken once", 0);
	for (i = 0; i < nodes; i++) {
		o.self = i;
		r = popcorn_node_new(&o, &node[i]);
		if (r)
			break;
	}
	say(i == nodes, "nodes of one process", r);
	if (r)
		return 1;
	for (i = 0; i < 2 * nodes; i++) {
		a[i].from = i / 2;
		if (pthread_create(&a[i].thread, NULL, ask_all, &a[i]))
			abort();
	}
	for (i = 0; i < 2 * nodes; i++) {
		pthread_join(a[i].thread, NULL);
		bad = bad ?: a[i].status;
	}
	say(!bad, "all ask all, two threads each", bad);
	check_limits();
	for (i = 0; i < nodes; i++)
		popcorn_node_free(node[i]);
	printf("1..%d\n", test);
	return failed;
}
