// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * A user-mode node that tests drive: arguments name=value make it, each line of
 * standard input is a command, each is answered by one line.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <signal.h>

#include <runtime/transport.h>

#define PAGE	4096
#define PAGES	16
#define THREADS	8

enum { T_ECHO = PW_T_USER, T_PAGE, T_SEQ, T_KEEP };

static struct popcorn_node *node;
static u8 page[PAGES][PAGE];

/* What T_SEQ messages said: their number by class and sender, and any out of order. */
static struct {
	u64 next[PW_CLASSES][8];
	u64 wrong;
} seq;

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static struct popcorn_msg *kept[4096];
static u32 nkept;
static bool keeping;

static u64 now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void fill_page(u8 *p, u32 number)
{
	u64 x = number * 0x9e3779b97f4a7c15ull + 1, *w = (u64 *)p;
	u32 i;

	for (i = 0; i < PAGE / 8; i++)
		w[i] = x = x * 6364136223846793005ull + 1442695040888963407ull;
}

/* --------------------------------------------------------------- handlers */

static void echo(struct popcorn_msg *m)
{
	static __thread u8 out[PW_MSG_MAX];
	u32 i;

	for (i = 0; i < m->len; i++)
		out[i] = ((const u8 *)m->data)[i] ^ 0x5a;
	popcorn_answer(m, 0, out, m->len);
}

static void give_page(struct popcorn_msg *m)
{
	const void *p[PW_WANTS_MAX];
	struct popcorn_done *none[PW_WANTS_MAX] = { NULL };
	u32 first, i;

	if (!m->pages || m->len != sizeof(first)) {
		popcorn_answer(m, -EINVAL, NULL, 0);
		return;
	}
	memcpy(&first, m->data, sizeof(first));
	for (i = 0; i < m->pages; i++)
		p[i] = page[(first + i) % PAGES];
	popcorn_answer_pages(m, p, none);
}

static void count(struct popcorn_msg *m)
{
	u64 n;

	memcpy(&n, m->data, sizeof(n));
	if (n != seq.next[m->class][m->from])
		seq.wrong++;
	seq.next[m->class][m->from] = n + 1;
	popcorn_msg_done(m);
}

static void keep(struct popcorn_msg *m)
{
	pthread_mutex_lock(&kept_lock);
	if (keeping && nkept < 4096) {
		popcorn_msg_keep(m);
		kept[nkept++] = m;
		m = NULL;
	}
	pthread_mutex_unlock(&kept_lock);
	if (m)
		popcorn_msg_done(m);
}

static const struct popcorn_msg_ops ops[] = {
	{ "echo", echo }, { "page", give_page }, { "seq", count }, { "keep", keep },
};

/* --------------------------------------------------------------- commands */

static int exchange_one(u16 dst, u8 class, u32 len, u32 *seed)
{
	static __thread u8 out[PW_MSG_MAX], in[PW_MSG_MAX];
	u32 i;
	int r;

	for (i = 0; i < len; i += 4) {
		u32 x = rand_r(seed);

		memcpy(out + i, &x, len - i < 4 ? len - i : 4);
	}
	memset(in, 0, len);
	r = popcorn_request(node, dst, class, T_ECHO, out, len, in, len, 60000);
	if (r < 0)
		return r;
	for (i = 0; i < len; i++)
		if (in[i] != (out[i] ^ 0x5a))
			return -EBADMSG;
	return r == (int)len ? 0 : -EBADMSG;
}

/* exchange DST COUNT SEED: all sizes near the frames' limits, then random ones */
static void exchange(u32 dst, u32 n, u32 seed)
{
	u32 i, k, len;
	int r;

	for (i = 0; i < n; i++) {
		k = i / 9;
		len = i % 9 < 3 ? k * PW_PAYLOAD + i % 3 : (u32)rand_r(&seed) % (PW_MSG_MAX + 1);
		if (i % 9 == 8)
			len = rand_r(&seed) % 200;
		if (len > PW_MSG_MAX)
			len = PW_MSG_MAX;
		r = exchange_one(dst, i % PW_CLASSES, len, &seed);
		if (r) {
			printf("error %d at %u of %u bytes\n", r, i, len);
			return;
		}
	}
	printf("ok %u\n", n);
}

static bool page_is(const void *p, u32 number)
{
	return !memcmp(p, page[number % PAGES], PAGE);
}

struct ask {
	struct popcorn_async async;
	struct popcorn_frame *frame;
	_Atomic int left;
};

static void asked(struct popcorn_done *d)
{
	atomic_store(&((struct ask *)d)->left, 0);
}

/* pages DST COUNT: one at a time, and several with one request */
static void pages(u32 dst, u32 n)
{
	struct popcorn_async *list[8];
	struct popcorn_frame *f;
	struct ask ask[8];
	u32 i, k;
	int r;

	for (i = 0; i < n; i++) {
		f = popcorn_frame_alloc(node);
		memset(f->data, 0, PAGE);
		r = popcorn_request_page(node, dst, i & 1 ? PW_BULK : PW_SYNC, T_PAGE, &i,
					 sizeof(i), &f, 60000);
		if (r || !page_is(f->data, i)) {
			printf("error %d page %u\n", r, i);
			return;
		}
		popcorn_frame_free(node, f);
		if (i % 4)
			continue;
		for (k = 0; k < 8; k++) {
			ask[k].async = (struct popcorn_async){ .done.fn = asked };
			ask[k].async.frame = ask[k].frame = popcorn_frame_alloc(node);
			memset(ask[k].frame->data, 0, PAGE);
			atomic_store(&ask[k].left, 1);
			list[k] = &ask[k].async;
		}
		r = popcorn_request_pages(node, dst, PW_BULK, T_PAGE, &i, sizeof(i), 60000, 0,
					  list, 8);
		for (k = 0; !r && k < 8; k++) {
			while (atomic_load(&ask[k].left))
				popcorn_poll(node, 1000);
			r = ask[k].async.done.status ?:
			    page_is(ask[k].frame->data, i + k) ? 0 : -EBADMSG;
		}
		if (r) {
			printf("error %d pages %u\n", r, i);
			return;
		}
		for (k = 0; k < 8; k++)
			popcorn_frame_free(node, ask[k].frame);
	}
	printf("ok %u\n", n);
}

/* seq DST COUNT: numbered one-way messages in all classes */
static void send_seq(u32 dst, u32 n)
{
	static u64 next[PW_CLASSES][8];
	u8 buf[6000] = { 0 };
	u32 i, len;
	int r;

	for (i = 0; i < n; i++) {
		u8 c = i % PW_CLASSES;

		memcpy(buf, &next[c][dst], sizeof(u64));
		len = i % 7 ? 8 + i % 100 : 5000;
		r = popcorn_send(node, dst, c, T_SEQ, buf, len, 0);
		if (r) {
			printf("error %d at %u\n", r, i);
			return;
		}
		next[c][dst]++;
	}
	printf("ok %u\n", n);
}

static struct {
	pthread_t thread[THREADS];
	_Atomic bool stop;
	_Atomic u32 good;
	u32 dst;
	int status[THREADS];
} load;

static void *load_thread(void *arg)
{
	u32 i = (long)arg, seed = i + 1;
	int r = 0;

	while (!r && !atomic_load(&load.stop)) {
		struct popcorn_frame *f = popcorn_frame_alloc(node);

		r = popcorn_request_page(node, load.dst, PW_BULK, T_PAGE, &i, sizeof(i), &f,
					 60000);
		if (!r && !page_is(f->data, i))
			r = -EBADMSG;
		popcorn_frame_free(node, f);
		r = r ?: exchange_one(load.dst, i % PW_CLASSES, rand_r(&seed) % 20000, &seed);
		atomic_fetch_add(&load.good, !r);
	}
	load.status[i] = r;
	return NULL;
}

/* load DST: threads that ask until an error; loadend: what it was and how many went well */
static void load_start(u32 dst)
{
	long i;

	atomic_store(&load.stop, false);
	atomic_store(&load.good, 0);
	load.dst = dst;
	for (i = 0; i < THREADS; i++)
		if (pthread_create(&load.thread[i], NULL, load_thread, (void *)i))
			abort();
	printf("ok\n");
}

/* loadend STOP: wait for the threads, with STOP 1 also if nothing goes wrong */
static void load_end(u32 stop)
{
	u64 start = now_ms();
	int i;

	if (stop)
		atomic_store(&load.stop, true);
	for (i = 0; i < THREADS; i++)
		pthread_join(load.thread[i], NULL);
	printf("ok %u ms %llu status", load.good, (unsigned long long)(now_ms() - start));
	for (i = 0; i < THREADS; i++)
		printf(" %d", load.status[i]);
	printf("\n");
}

/* flood DST CLASS: messages that the peer keeps, until there is no room */
static void flood(u32 dst, u32 class)
{
	u8 buf[4000] = { 0 };
	u64 end = now_ms() + 2000;
	u32 n = 0;
	int r = 0;

	/* What the peer still takes makes room for a while. */
	while (now_ms() < end) {
		r = popcorn_send(node, dst, class, T_KEEP, buf, sizeof(buf), POPCORN_NOWAIT);
		if (r == -EAGAIN)
			popcorn_poll(node, 1000);
		else if (r)
			break;
		else
			n++;
	}
	printf("%s %d sent %u\n", r == -EAGAIN ? "ok" : "error", r, n);
}

static void keep_on(bool on)
{
	u32 i, n = 0;

	pthread_mutex_lock(&kept_lock);
	keeping = on;
	if (!on) {
		n = nkept;
		nkept = 0;
	}
	/* The handler waits for the lock, and no end of a message waits for it. */
	for (i = 0; i < n; i++)
		popcorn_msg_done(kept[i]);
	pthread_mutex_unlock(&kept_lock);
	printf("ok %u\n", n);
}

/*
 * To every connection of this process: it ends at once, with what is in it; or, with
 * @small, it is left so little buffer that hardly a frame fits.
 */
static void reset(bool small)
{
	struct sockaddr_storage ss;
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	socklen_t len;
	u32 n = 0;
	int fd, least = 1;

	for (fd = 3; fd < 256; fd++) {
		len = sizeof(ss);
		if (getpeername(fd, (struct sockaddr *)&ss, &len))
			continue;
		if (small)
			setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
		else if (ss.ss_family == AF_UNIX)
			shutdown(fd, SHUT_RDWR);
		else
			connect(fd, &none, sizeof(none));
		n++;
	}
	printf("ok %u\n", n);
}

static void show_peer(u32 id)
{
	struct popcorn_peer p;
	int r = popcorn_peer(node, id, &p);

	printf("%s %d state %s sessions %u error %d\n", r ? "error" : "ok", r, r ? "-" : p.state,
	       r ? 0 : p.sessions, r ? 0 : p.error);
}

static void show_seq(u32 from)
{
	printf("ok %llu %llu %llu wrong %llu\n", (unsigned long long)seq.next[0][from],
	       (unsigned long long)seq.next[1][from], (unsigned long long)seq.next[2][from],
	       (unsigned long long)seq.wrong);
}

static void show_memory(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	printf("ok %ld\n", u.ru_maxrss);
}

/* Frames that can be had now. */
static void show_frames(void)
{
	struct popcorn_frame *f, *all = NULL;
	u32 n = 0;

	while ((f = popcorn_frame_alloc(node))) {
		f->next = all;
		all = f;
		n++;
	}
	while ((f = all)) {
		all = f->next;
		popcorn_frame_free(node, f);
	}
	printf("ok %u\n", n);
}

static void command(char *line)
{
	char what[16] = "";
	u32 a = 0, b = 0, c = 0;

	sscanf(line, "%15s %u %u %u", what, &a, &b, &c);
	if (!strcmp(what, "exchange"))
		exchange(a, b, c);
	else if (!strcmp(what, "pages"))
		pages(a, b);
	else if (!strcmp(what, "seq"))
		send_seq(a, b);
	else if (!strcmp(what, "seqstat"))
		show_seq(a);
	else if (!strcmp(what, "load"))
		load_start(a);
	else if (!strcmp(what, "loadend"))
		load_end(a);
	else if (!strcmp(what, "flood"))
		flood(a, b);
	else if (!strcmp(what, "keep"))
		keep_on(a);
	else if (!strcmp(what, "reset"))
		reset(false);
	else if (!strcmp(what, "shrink"))
		reset(true);
	else if (!strcmp(what, "peer"))
		show_peer(a);
	else if (!strcmp(what, "frames"))
		show_frames();
	else if (!strcmp(what, "memory"))
		show_memory();
	else if (!strcmp(what, "connect"))
		printf("ok %d\n", popcorn_connect(node, a, b));
	else if (!strcmp(what, "send"))
		printf("ok %d\n", popcorn_send(node, a, b, c, "x", 1, 0));
	else if (!strcmp(what, "request"))
		printf("ok %d\n", popcorn_request(node, a, b, c, NULL, 0, NULL, 0, 60000));
	else
		printf("error unknown command\n");
	fflush(stdout);
}

static void option(struct popcorn_opts *o, char *arg)
{
	char *v = strchr(arg, '=');

	if (!v)
		exit(2);
	*v++ = 0;
	if (!strcmp(arg, "nodes"))
		o->nodes = v;
	else if (!strcmp(arg, "cluster"))
		o->cluster = v;
	else if (!strcmp(arg, "key"))
		o->keyfile = v;
	else if (!strcmp(arg, "self"))
		o->self = atoi(v);
	else if (!strcmp(arg, "port"))
		o->port = atoi(v);
	else if (!strcmp(arg, "wire"))
		o->wire = !strcmp(v, "shm") ? POPCORN_SHM : POPCORN_TCP;
	else if (!strcmp(arg, "mode"))
		o->mode = !strcmp(v, "busy") ? POPCORN_BUSY : POPCORN_BLOCK;
	else if (!strcmp(arg, "dead"))
		o->cfg.dead_ms = atoi(v);
	else if (!strcmp(arg, "lease"))
		o->cfg.lease_ms = atoi(v);
	else if (!strcmp(arg, "hb"))
		o->cfg.hb_ms = atoi(v);
	else if (!strcmp(arg, "connect"))
		o->cfg.connect_ms = atoi(v);
	else
		exit(2);
}

int main(int argc, char **argv)
{
	struct popcorn_opts o;
	char line[256];
	u32 i;
	int r;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	popcorn_opts_init(&o);
	for (i = 1; i < (u32)argc; i++)
		option(&o, argv[i]);
	for (i = 0; i < PAGES; i++)
		fill_page(page[i], i);
	for (i = 0; i < sizeof(ops) / sizeof(*ops); i++)
		popcorn_msg_register(T_ECHO + i, &ops[i]);
	r = popcorn_node_new(&o, &node);
	printf("%s %d\n", r ? "error" : "ok", r);
	fflush(stdout);
	if (r)
		return 1;
	while (fgets(line, sizeof(line), stdin))
		command(line);
	popcorn_node_free(node);
	return 0;
}
