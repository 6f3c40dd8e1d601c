// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A node that doesn't keep to the rules of shared memory: it attaches with what can't be,
 * and sends messages about pages that no member would. Node 0 runs it as "home" and must
 * stay coherent; node 1 as "peer". TAP-like: the first thing that is wrong ends it with 1.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <popcorn/popcorn.h>
#include <popcorn/dsm_wire.h>
#include <runtime/transport.h>

#define PAGES	16
#define ROUNDS	3000

static struct popcorn_node *n;

static void wants(const char *what, int got, int want)
{
	if (got == want)
		return;
	printf("%s: %s, not %s\n", what, got < 0 ? strerror(-got) : "an answer", strerror(-want));
	exit(1);
}

static int attach(struct pd_attach *a, u32 len)
{
	struct pd_attach back;

	return popcorn_request(n, 0, PW_SYNC, PD_T_ATTACH, a, len, &back, sizeof(back), 20000);
}

static void bad_attach(void)
{
	const struct pd_attach good = {
		.region = cpu_to_le32(1), .page_size = cpu_to_le32(4096),
		.uid = cpu_to_le32(geteuid()), .mode = POPCORN_MODE_USER,
	};
	struct pd_attach a = good;

	a.mode = POPCORN_MODE_KERNEL;
	wants("kernel mode", attach(&a, sizeof(a)), -EPROTO);
	a = good;
	a.page_size = cpu_to_le32(65536);
	wants("page size", attach(&a, sizeof(a)), -EPROTO);
	a = good;
	a.pages = cpu_to_le32(PAGES + 1);
	wants("size", attach(&a, sizeof(a)), -EPROTO);
	wants("short", attach(&a, 8), -EPROTO);
	a = good;
	a.region = cpu_to_le32(99);
	wants("no region", attach(&a, sizeof(a)), -ENOENT);
	a = good;
	a.uid = cpu_to_le32(geteuid() + 4711);
	wants("another user", attach(&a, sizeof(a)), -EACCES);
}

static void over(struct popcorn_done *d)
{
	(void)d;
}

/* Messages about pages, of a member and of none, with fields at random. */
static void noise(u32 gen, u32 seed)
{
	static struct popcorn_async a[64];
	static u8 ans[64][64];
	u8 buf[sizeof(struct pd_msg) + 4096];
	struct pd_msg *m = (struct pd_msg *)buf;
	u32 i, len, k = 0;
	u16 type;

	memset(buf, 0, sizeof(buf));
	for (i = 0; i < ROUNDS; i++) {
		seed = seed * 1103515245 + 12345;
		*m = (struct pd_msg){
			.region = cpu_to_le32(1), .gen = cpu_to_le32(gen),
			.page = cpu_to_le32(seed >> 8 & 31), .req = cpu_to_le32(seed >> 13 & 3),
			.node = cpu_to_le16(seed >> 15 & 127), .flags = seed >> 20, .pages = 1,
		};
		type = PD_T_ASK + (seed >> 24) % (PD_T_END - PD_T_ASK);
		if (type == PD_T_DETACH || type == PD_T_ATTACH)
			continue;
		len = seed & 64 ? sizeof(*m) : (seed >> 7) % sizeof(buf);
		if (seed & 128 && k < 64) {
			a[k].done.fn = over;
			a[k].frame = seed & 256 ? popcorn_frame_alloc(n) : NULL;
			if (!popcorn_request_async(n, 0, PW_SYNC, type, buf, len, ans[k], 64, 60000,
						   POPCORN_NOWAIT, &a[k]))
				k++;
		} else {
			popcorn_send(n, 0, PW_URGENT, type, buf, len, 0);
		}
	}
}

static int peer(const char *list, bool shm)
{
	struct pd_attach a = {
		.region = cpu_to_le32(1), .page_size = cpu_to_le32(4096),
		.uid = cpu_to_le32(geteuid()), .mode = POPCORN_MODE_USER,
	}, back;
	struct popcorn_opts o;
	int i;

	popcorn_opts_init(&o);
	o.nodes = list;
	o.self = 1;
	o.wire = shm ? POPCORN_SHM : POPCORN_TCP;
	wants("node", popcorn_node_new(&o, &n), 0);
	for (i = 0; i < 10000; i++) {
		int e = popcorn_request(n, 0, PW_SYNC, PD_T_ATTACH, &a, sizeof(a), &back,
					sizeof(back), 20000);
		if (e == sizeof(back))
			break;
		if (e != -ENOENT)
			wants("attach", e, -ENOENT);
		usleep(1000);
	}
	wants("twice", attach(&a, sizeof(a)), -EBUSY);
	bad_attach();
	noise(le32_to_cpu(back.gen), 1);
	noise(le32_to_cpu(back.gen) + 1, 2);
	popcorn_node_free(n);
	return 0;
}

/* The home uses its pages all the while: what is its own stays right, or is lost, clearly. */
static int home(const char *list, bool shm)
{
	char spec[256];
	popcorn_region_t *r;
	popcorn_t *p;
	struct popcorn_ioc_stat st;
	int i;

	snprintf(spec, sizeof(spec), "user:0:%s:%s", shm ? "shm" : "tcp", list);
	wants("open", popcorn_open(spec, &p), 0);
	wants("create", popcorn_create(p, 1, PAGES * 4096, NULL, &r), 0);
	if (!popcorn_map(r, NULL))
		return 1;
	for (i = 0; i < 3000; i++) {
		wants("stat", popcorn_stat(r, &st), 0);
		usleep(1000);
	}
	popcorn_close(p);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	alarm(60);
	return (strcmp(argv[1], "home") ? peer : home)(argv[2], !strcmp(argv[3], "shm"));
}
