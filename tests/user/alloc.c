// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Every allocation of the engine fails once: making two nodes either gives -ENOMEM
 * or they can talk. What leaks is found by the sanitizer. Prints TAP. Usage:
 * user-alloc WIRE ADDRESS,ADDRESS KEYFILE
 */
#include <stdio.h>
#include <stdlib.h>

#include <runtime/engine.h>

#define T_ECHO	PW_T_USER

static void echo(struct popcorn_msg *m)
{
	popcorn_answer(m, 0, m->data, m->len);
}

static const struct popcorn_msg_ops ops = { "echo", echo };

static void quiet(const char *line)
{
	(void)line;
}

/* Return: 0 if all went well, -ENOMEM, or what should not have come. */
static int once(struct popcorn_opts *o)
{
	struct popcorn_node *a = NULL, *b = NULL;
	char out[6000] = "these words", in[6000] = "";
	int r;

	o->self = 0;
	r = popcorn_node_new(o, &a);
	if (r)
		return r;
	o->self = 1;
	r = popcorn_node_new(o, &b);
	if (r)
		goto out;
	r = popcorn_request(a, 1, PW_SYNC, T_ECHO, out, sizeof(out), in, sizeof(in), 60000);
	if (r == sizeof(in))
		r = memcmp(out, in, sizeof(in)) ? -EBADMSG : 0;
	else if (r >= 0)
		r = -EMSGSIZE;
	popcorn_node_free(b);
out:
	popcorn_node_free(a);
	return r;
}

int main(int argc, char **argv)
{
	struct popcorn_opts o;
	u32 nth, left, tests = 0, failed = 0, refused = 0;
	int r;

	if (argc != 4)
		return 2;
	popcorn_opts_init(&o);
	o.wire = !strcmp(argv[1], "shm") ? POPCORN_SHM : POPCORN_TCP;
	o.nodes = argv[2];
	o.keyfile = argv[3];
	o.log = quiet;
	o.cfg.backoff_ms = 5;
	o.cfg.connect_ms = 500;
	popcorn_msg_register(T_ECHO, &ops);
	for (nth = 1, left = 0; !left && nth < 1000; nth++) {
		ue_fail_alloc(nth);
		r = once(&o);
		left = ue_fail_alloc(0);
		if (r && r != -ENOMEM) {
			failed++;
			printf("not ");
		}
		printf("ok %u - allocation %u fails: %d\n", ++tests, nth, r);
		refused += r == -ENOMEM;
		if (left && r)
			printf("not ok %u - none failed, yet %d\n", ++tests, r), failed++;
	}
	printf("%sok %u - some were refused, the last not\n", refused ? "" : "not ", ++tests);
	printf("1..%u\n", tests);
	return failed || !refused;
}
