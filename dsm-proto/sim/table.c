// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Every transition that the core took: state, event, next state, actions. A file lists
 * those that are allowed; what it doesn't list is a bug, or a change that has to be read.
 *
 * A node's state is what it has, ">" and what it asked for, and flags: d the data are
 * here, g the right is here, o the home counts on this copy, p PUT was sent, a asked for
 * ahead, l lost; after "/" what follows when the mapping is gone.
 *
 * The home's is the directory entry (h the home has a copy, ? in doubt, l lost, - none of
 * these) and the transaction under way: r or w, "h" if the home asked, "l" if the requester
 * is listed, then steps: n needs data, f supplier asked, s it has sent, x and died, i
 * invalidated, a acks awaited, g granted, o over. When one ends ("end"), what the next one
 * begins with is what it would have begun with on an idle page, and isn't said again.
 */
#include <stdlib.h>

#include "sim.h"

struct trans {
	u32 before, after;
	s32 ret;
	u8 event, n;
	u8 act[PD_ACTS];
};

#define TABLE	(1u << 14)

static struct trans table[TABLE];
static bool used[TABLE], told[TABLE];
static u32 count;
static char **allowed;
static size_t alloweds;

static const char *const event_name[C_EVENTS] = {
	"fault-r", "fault-w", "ahead", "ahead-w", "granted", "granted+data", "granted-lost", "refused", "data",
	"nodata", "inv", "fwd-r", "fwd-w", "fetch-r", "fetch-w", "unmapped", "drop",
	"ask-r", "ask-w", "ask-upgrade", "ask-idle", "ask-idle-w", "ask-idle-up",
	"ack", "sent", "miss", "done", "fail", "dead"
};

static const char *const act_name[] = {
	"", "ASK", "FWD", "INV", "GRANT", "DATA", "ACK", "SENT", "DONE", "NODATA", "PUT", "unmap",
	"protect", "free", "wake", "defer", "LOST", "MISS", "FAIL"
};

u32 table_node(const struct pd_page *p)
{
	return p->state | p->want << 2 | p->doing << 4 |
	       (p->flags & ~PD_P_MAPPED & 0xff) << 8;
}

static u32 flag(bool v, u32 bit)
{
	return (u32)v << bit;
}

u32 table_home(const struct pd_cfg *c, const struct page *pp)
{
	const struct pd_dir *d = &pp->dir;
	const struct pd_txn *x = pp->now;
	u32 r = flag(d->sharers >> c->home & 1, 0) | flag(d->flags & PD_D_DOUBT, 1) |
		flag(d->flags & PD_D_LOST, 2);

	if (x)
		r |= flag(true, 6) | flag(x->flags & PD_F_WRITE, 7) | (u32)x->steps << 8 |
		     flag(x->acks, 15) | flag(x->node == c->home, 16) |
		     flag(d->sharers >> x->node & 1, 17);
	return r;
}

void table_add(enum core_event e, u32 before, u32 after, int ret, const struct pd_acts *a)
{
	struct trans t;
	u32 i, h = 2166136261u;

	memset(&t, 0, sizeof(t));
	t.event = e;
	t.before = before;
	t.after = after;
	t.ret = ret;
	t.n = after == TABLE_END ? 0 : a->n;
	for (i = 0; i < t.n; i++) {
		t.act[i] = a->a[i].what;
		if (a->a[i].what == PD_SEND_GRANT && a->a[i].status)
			t.act[i] = 16;
		else if (a->a[i].what == PD_SEND_SENT && a->a[i].status)
			t.act[i] = 17;
		else if (a->a[i].what == PD_SEND_DONE && a->a[i].flags & PD_F_FAIL)
			t.act[i] = 18;
	}
	if (before == after && !a->n)
		return;
	for (i = 0; i < sizeof(t); i++)
		h = (h ^ ((u8 *)&t)[i]) * 16777619;
	for (h %= TABLE; used[h]; h = (h + 1) % TABLE)
		if (!memcmp(&table[h], &t, sizeof(t)))
			return;
	if (count == TABLE - 1)
		return;
	count++;
	table[h] = t;
	used[h] = true;
}

static void put(char **at, const char *end, const char *s)
{
	while (*s && *at < end)
		*(*at)++ = *s++;
	**at = 0;
}

static void node_text(char **at, const char *end, u32 v)
{
	static const char *const st[] = { "I", "S", "M", "?" };
	static const char *const doing[] = { "", "/inv", "/give", "/share", "/drop", "/miss", "/?", "/?" };
	static const struct { u8 flag; const char *s; } fl[] = {
		{ PD_P_DATA, "d" }, { PD_P_GRANT, "g" }, { PD_P_OWNER, "o" }, { PD_P_PUT, "p" },
		{ PD_P_AHEAD, "a" }, { PD_P_LOST, "l" }
	};
	u32 i;

	put(at, end, st[v & 3]);
	if (v >> 2 & 3) {
		put(at, end, ">");
		put(at, end, st[v >> 2 & 3]);
	}
	if (v >> 8)
		put(at, end, ":");
	for (i = 0; i < sizeof(fl) / sizeof(fl[0]); i++)
		if (v >> 8 & fl[i].flag)
			put(at, end, fl[i].s);
	put(at, end, doing[v >> 4 & 7]);
}

static void home_text(char **at, const char *end, u32 v)
{
	static const char *const dir[] = { "h", "?", "l" };
	static const struct { u8 bit; const char *s; } step[] = {
		{ 11, "n" }, { 8, "f" }, { 9, "s" }, { 14, "x" }, { 12, "i" }, { 15, "a" },
		{ 10, "g" }, { 13, "o" }
	};
	u32 i;

	if (v == TABLE_END) {
		put(at, end, "end");
		return;
	}
	if (!(v & 7))
		put(at, end, "-");
	for (i = 0; i < 3; i++)
		if (v & 1u << i)
			put(at, end, dir[i]);
	if (!(v & 1u << 6))
		return;
	put(at, end, v & 1u << 7 ? " w" : " r");
	if (v & 1u << 16)
		put(at, end, "h");
	if (v & 1u << 17)
		put(at, end, "l");
	put(at, end, ":");
	for (i = 0; i < sizeof(step) / sizeof(step[0]); i++)
		if (v & 1u << step[i].bit)
			put(at, end, step[i].s);
}

static void text(const struct trans *t, char *line, size_t len)
{
	void (*state)(char **at, const char *end, u32 v) = t->event < C_HOME ? node_text : home_text;
	char *at = line, num[16];
	const char *end = line + len - 1;
	u32 i;

	put(&at, end, t->event < C_HOME ? "node " : "home ");
	state(&at, end, t->before);
	put(&at, end, " ");
	put(&at, end, event_name[t->event]);
	put(&at, end, " ");
	state(&at, end, t->after);
	for (i = 0; i < t->n && i < PD_ACTS; i++) {
		put(&at, end, " ");
		put(&at, end, act_name[t->act[i]]);
	}
	if (t->ret && t->ret != -EINPROGRESS) {
		snprintf(num, sizeof(num), " = %s", t->ret == -ESTALE ? "stale" :
			 t->ret == -EBUSY ? "busy" : t->ret == -EIO ? "lost" : "again");
		put(&at, end, num);
	}
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int table_load(const char *path)
{
	FILE *f = fopen(path, "r");
	char line[256];
	size_t max = 0;

	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		if (!line[0] || line[0] == '#')
			continue;
		if (alloweds == max) {
			max = max ? 2 * max : 1024;
			allowed = realloc(allowed, max * sizeof(*allowed));
		}
		allowed[alloweds++] = strdup(line);
	}
	fclose(f);
	qsort(allowed, alloweds, sizeof(*allowed), by_text);
	return 0;
}

/* A transition that was taken, isn't allowed and hasn't been told of yet. */
bool table_unknown(char *line, size_t len)
{
	u32 at;

	for (at = 0; allowed && at < TABLE; at++) {
		if (!used[at] || told[at])
			continue;
		told[at] = true;
		text(&table[at], line, len);
		if (!bsearch(&line, allowed, alloweds, sizeof(*allowed), by_text))
			return true;
	}
	return false;
}

void table_print(FILE *f)
{
	char **line = calloc(count, sizeof(*line)), buf[256];
	u32 i, k = 0;

	for (i = 0; i < TABLE; i++) {
		if (!used[i])
			continue;
		text(&table[i], buf, sizeof(buf));
		line[k++] = strdup(buf);
	}
	qsort(line, k, sizeof(*line), by_text);
	for (i = 0; i < k; i++) {
		if (!i || strcmp(line[i], line[i - 1]))
			fprintf(f, "%s\n", line[i]);
	}
	for (i = 0; i < k; i++)
		free(line[i]);
	free(line);
}
