// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Prints what the real core does in each state at each event: the tables of docs/coherence.md.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "dsm-proto/core/dsm.h"

#define SELF	1
#define OTHER	2
#define REQ	7

static char text[400];

static void say(const char *fmt, ...)
{
	size_t n = strlen(text);
	va_list ap;

	if (n) {
		strcat(text, ", ");
		n += 2;
	}
	va_start(ap, fmt);
	vsnprintf(text + n, sizeof(text) - n, fmt, ap);
	va_end(ap);
}

static const char *name(u16 node)
{
	static const char * const of[] = { "home", "A", "B", "C" };

	return of[node];
}

static void actions(const struct pd_acts *out)
{
	for (u32 i = 0; i < out->n; i++) {
		const struct pd_act *a = &out->a[i];
		bool write = a->flags & PD_F_WRITE;

		switch (a->what) {
		case PD_SEND_ASK:
			say("ASK %s%s%s", write ? "write" : "read",
			    a->flags & PD_F_HOLDS ? " holds" : "", a->flags & PD_F_IDLE ? " idle" : "");
			break;
		case PD_SEND_FWD:
			say("%s %s to %s", a->node ? "FWD" : "FETCH", write ? "write" : "read", name(a->to));
			break;
		case PD_SEND_INV:
			for (u16 n = 0; n < 4; n++)
				if (a->mask >> n & 1)
					say("INV to %s", name(n));
			break;
		case PD_SEND_GRANT:
			if (a->status)
				say("GRANT EIO");
			else
				say("GRANT");
			break;
		case PD_SEND_DATA: say("DATA"); break;
		case PD_SEND_ACK: say("ACK"); break;
		case PD_SEND_SENT: say(a->status ? "MISS" : "SENT"); break;
		case PD_SEND_DONE: say(a->flags & PD_F_FAIL ? "DONE fail" : "DONE"); break;
		case PD_SEND_NODATA: say("NODATA"); break;
		case PD_SEND_PUT: say("PUT"); break;
		case PD_DO_UNMAP: say("unmap"); break;
		case PD_DO_PROTECT: say("protect"); break;
		case PD_DO_DEFER: say("defer"); break;
		}
	}
}

/* ------------------------------------------------------------------------ a node */

static const struct pd_page states[] = {
	{ .req = REQ },
	{ .state = PD_S, .req = REQ },
	{ .state = PD_S, .req = REQ, .flags = PD_P_OWNER },
	{ .state = PD_S, .req = REQ, .flags = PD_P_OWNER | PD_P_PUT },
	{ .state = PD_M, .req = REQ, .flags = PD_P_OWNER },
	{ .state = PD_M, .req = REQ, .flags = PD_P_OWNER | PD_P_PUT },
	{ .want = PD_S, .req = REQ },
	{ .want = PD_S, .req = REQ, .flags = PD_P_GRANT },
	{ .want = PD_S, .req = REQ, .flags = PD_P_DATA },
	{ .want = PD_M, .req = REQ },
	{ .want = PD_M, .req = REQ, .flags = PD_P_GRANT },
	{ .want = PD_M, .req = REQ, .flags = PD_P_DATA },
	{ .state = PD_S, .want = PD_M, .req = REQ, .flags = PD_P_DATA },
	{ .state = PD_S, .want = PD_M, .req = REQ, .flags = PD_P_DATA | PD_P_OWNER },
	{ .state = PD_S, .req = REQ, .doing = PD_DROPS },
	{ .state = PD_S, .req = REQ, .doing = PD_MISSES, .to = OTHER },
	{ .state = PD_S, .req = REQ, .doing = PD_INVALIDATES },
	{ .state = PD_S, .want = PD_M, .req = REQ, .doing = PD_INVALIDATES,
	  .flags = PD_P_DATA },
	{ .state = PD_S, .req = REQ, .doing = PD_SHARES, .to = OTHER,
	  .flags = PD_P_OWNER },
	{ .state = PD_M, .req = REQ, .doing = PD_GIVES, .to = OTHER,
	  .flags = PD_P_OWNER },
};

/* S°: the home counts on it; →: a request under way; +: what has come for it. */
static const char *called(const struct pd_page *p)
{
	static const char * const doing[] = {
		"", " invalidates", " gives", " shares", " drops", " misses"
	};
	static char at[8][40];
	static u32 turn;
	char *s = at[turn++ % 8];

	if (p->flags & PD_P_LOST)
		return "lost";
	snprintf(s, sizeof(at[0]), "%c%s%s%s%s%s%s", "ISM"[p->state],
		 p->state == PD_S && p->flags & PD_P_OWNER ? "°" : "",
		 p->want ? p->want == PD_S ? "→S" : "→M" : "",
		 p->want && p->flags & PD_P_GRANT ? " +right" : "",
		 p->want && p->flags & PD_P_DATA && !p->state ? " +data" : "",
		 p->flags & PD_P_PUT ? " put" : "", doing[p->doing]);
	return s;
}

enum { READ, WRITE, AHEAD, AHEADW, DROP, AGAIN, GRANT, PAGE, EIO_, EAGAIN_, DATA, NODATA, OLD, INV, FWDR, FWDW,
	FETCHR, UNMAPPED, EVENTS };
static const char * const events[EVENTS] = {
	"fault to read", "fault to write", "ask ahead to read", "ask ahead to write", "drop", "drop again",
	"GRANT", "GRANT with page", "GRANT EIO", "GRANT EAGAIN", "DATA", "NODATA", "any of these, old", "INV", "FWD read", "FWD write",
	"FETCH read", "mapping gone",
};

/* The columns are states first..last. */
static void node_table(const char *title, u32 first, u32 last, u32 mask)
{
	struct pd_cfg c = { .self = SELF, .home = 0 };

	printf("\n**%s**\n\n| event |", title);
	for (u32 i = first; i <= last; i++)
		printf(" %s |", called(&states[i]));
	printf("\n|---|");
	for (u32 i = first; i <= last; i++)
		printf("---|");
	printf("\n");
	for (u32 e = 0; e < EVENTS; e++) {
		if (!(mask >> e & 1))
			continue;
		printf("| %s |", events[e]);
		for (u32 i = first; i <= last; i++) {
			struct pd_page p = states[i], was = p;
			struct pd_acts out = { 0 };
			u64 now = 1000;
			int ret = 0;

			text[0] = 0;
			switch (e) {
			case READ: ret = pd_fault(&c, &p, false, &out); break;
			case WRITE: ret = pd_fault(&c, &p, true, &out); break;
			case AHEAD: ret = pd_ahead(&c, &p, false, &out); break;
			case AHEADW: ret = pd_ahead(&c, &p, true, &out); break;
			case DROP: ret = pd_drop(&c, &p, false, &out); break;
			case AGAIN: ret = pd_drop(&c, &p, true, &out); break;
			case GRANT: ret = pd_granted(&c, &p, REQ, 0, false, now, &out); break;
			case PAGE: ret = pd_granted(&c, &p, REQ, 0, true, now, &out); break;
			case EIO_: ret = pd_granted(&c, &p, REQ, -EIO, false, now, &out); break;
			case EAGAIN_: ret = pd_granted(&c, &p, REQ, -EAGAIN, false, now, &out); break;
			case DATA: ret = pd_data(&c, &p, REQ, now, &out); break;
			case NODATA: pd_nodata(&c, &p, REQ, &out); break;
			case OLD:
				pd_granted(&c, &p, REQ - 1, 0, true, now, &out);
				pd_data(&c, &p, REQ - 1, now, &out);
				pd_nodata(&c, &p, REQ - 1, &out);
				break;
			case INV: pd_inv(&c, &p, now, &out); break;
			case FWDR: pd_fwd(&c, &p, OTHER, 3, 0, now, &out); break;
			case FWDW: pd_fwd(&c, &p, OTHER, 3, PD_F_WRITE, now, &out); break;
			case FETCHR: pd_fwd(&c, &p, 0, 3, 0, now, &out); break;
			case UNMAPPED: pd_unmapped(&c, &p, &out); break;
			}
			actions(&out);
			if ((e == READ || e == WRITE) && !ret)
				say("map");
			if ((e == READ || e == WRITE) && ret == -EINPROGRESS && !out.n)
				say("wait");
			if (strcmp(called(&p), called(&was)))
				printf(" %s%s**%s** |", text, text[0] ? " ⇒ " : "⇒ ", called(&p));
			else
				printf(" %s |", text[0] ? text : "–");
		}
		printf("\n");
	}
}

/* ---------------------------------------------------------------------- the home */

static const struct kind {
	const char *name;
	struct pd_dir d;
} kinds[] = {
	{ "home only", { .sharers = 1, .owner = 0, .state = PD_M } },
	{ "home, A", { .sharers = 3, .owner = 0, .state = PD_S } },
	{ "A only", { .sharers = 2, .owner = 1, .state = PD_M } },
	{ "A°, B", { .sharers = 6, .owner = 1, .state = PD_S } },
	{ "B?, C (A° died)", { .sharers = 12, .owner = 2, .state = PD_S, .flags = PD_D_DOUBT } },
	{ "none: lost", { .flags = PD_D_LOST } },
};

static const struct demand {
	const char *name;
	u16 node;
	u8 flags;
} demands[] = {
	{ "read by C", 3, 0 }, { "write by C", 3, PD_F_WRITE },
	{ "write by A, holds", 1, PD_F_WRITE | PD_F_HOLDS },
	{ "read by C, idle", 3, PD_F_IDLE }, { "write by C, idle", 3, PD_F_WRITE | PD_F_IDLE },
	{ "write by A, holds, idle", 1, PD_F_WRITE | PD_F_HOLDS | PD_F_IDLE },
	{ "read by home", 0, 0 }, { "write by home", 0, PD_F_WRITE },
};

static void directory(const struct pd_dir *d)
{
	bool any = false;

	printf("{");
	for (u16 n = 0; n < 4; n++)
		if (d->sharers >> n & 1) {
			printf("%s%s%s", any ? " " : "", name(n),
			       n && n == d->owner ? d->flags & PD_D_DOUBT ? "?" : "°" : "");
			any = true;
		}
	printf("%s}", d->flags & PD_D_LOST ? any ? " lost" : "lost" : "");
}

static void home_asked(void)
{
	struct pd_cfg c = { .self = 0, .home = 0 };

	printf("\n**The home, page idle: an ASK begins a transaction**\n\n| listed |");
	for (size_t i = 0; i < sizeof(demands) / sizeof(*demands); i++)
		printf(" %s |", demands[i].name);
	printf("\n|---|---|---|---|---|---|---|---|---|\n");
	for (size_t k = 0; k < sizeof(kinds) / sizeof(*kinds); k++) {
		printf("| %s |", kinds[k].name);
		for (size_t i = 0; i < sizeof(demands) / sizeof(*demands); i++) {
			struct pd_dir d = kinds[k].d;
			struct pd_txn x = { .node = demands[i].node, .flags = demands[i].flags, .req = REQ };
			struct pd_txn *now = NULL;
			struct pd_home h = { .dir = &d, .now = &now };
			struct pd_acts out = { 0 };

			text[0] = 0;
			if (demands[i].node == 0 && d.sharers & 1) {
				printf(" %s |", demands[i].flags & PD_F_WRITE && d.sharers != 1 ? "as holds" : "map");
				continue;
			}
			if (pd_home_ask(&c, &h, &x, &out))
				say("GRANT EAGAIN");
			actions(&out);
			printf(" %s |", text[0] ? text : "–");
		}
		printf("\n");
	}
}

/* A transaction under way: made by events that are letters, shown at each event. */
static const struct course {
	const char *name;
	u8 kind, demand;
	const char *events;
} courses[] = {
	{ "read, home gives", 0, 0, "" },
	{ "read, home has given", 0, 0, "h" },
	{ "read, A asked, granted", 2, 0, "" },
	{ "read, A has sent", 2, 0, "s" },
	{ "read, A asked, DONE came", 2, 0, "d" },
	{ "write, home waits for A's ACK", 1, 1, "" },
	{ "write, home gives", 1, 1, "a" },
	{ "write, A asked", 3, 1, "" },
	{ "write, A has sent, B invalidated", 3, 1, "s" },
	{ "write, A has sent, all ACKs", 3, 1, "sb" },
	{ "upgrade of A, B invalidated", 3, 2, "" },
	{ "upgrade of A, granted", 3, 2, "b" },
	{ "write, B asked first (doubt)", 4, 1, "" },
};
static const struct { char c; const char *name; } inputs[] = {
	{ 'a', "ACK of A" }, { 'b', "ACK of B" }, { 's', "SENT" }, { 'm', "MISS" },
	{ 'd', "DONE" }, { 'f', "DONE fail" }, { 'A', "A dies" }, { 'R', "requester dies" },
	{ 'q', "another ASK" },
};

static struct pd_txn *input(const struct pd_cfg *c, struct pd_home *h, struct pd_txn *x, char e,
			    struct pd_txn *second, struct pd_acts *out)
{
	switch (e) {
	case 'a': return pd_home_ack(c, h, 1, out);
	case 'b': return pd_home_ack(c, h, 2, out);
	case 'h':
	case 's': return pd_home_sent(c, h, x->from, 0, out);
	case 'm': return pd_home_sent(c, h, x->from, -ENODATA, out);
	case 'd': return pd_home_done(c, h, x->node, x->req, 0, out);
	case 'f': return pd_home_done(c, h, x->node, x->req, PD_F_FAIL, out);
	case 'A': return pd_home_dead(c, h, 1, out);
	case 'R': return pd_home_dead(c, h, x->node, out);
	default: pd_home_ask(c, h, second, out); return NULL;
	}
}

static void home_under_way(void)
{
	struct pd_cfg c = { .self = 0, .home = 0 };

	printf("\n**The home, a transaction under way**\n\n| under way |");
	for (size_t e = 0; e < sizeof(inputs) / sizeof(*inputs); e++)
		printf(" %s |", inputs[e].name);
	printf("\n|---|---|---|---|---|---|---|---|---|---|\n");
	for (size_t k = 0; k < sizeof(courses) / sizeof(*courses); k++) {
		printf("| %s |", courses[k].name);
		for (size_t e = 0; e < sizeof(inputs) / sizeof(*inputs); e++) {
			const struct demand *q = &demands[courses[k].demand];
			struct pd_dir d = kinds[courses[k].kind].d, was;
			struct pd_txn x = { .node = q->node, .flags = q->flags, .req = REQ }, was_x;
			struct pd_txn second = { .node = 2, .req = 1 };
			struct pd_txn *now = NULL, *over;
			struct pd_home h = { .dir = &d, .now = &now };
			struct pd_acts out = { 0 };

			text[0] = 0;
			pd_home_ask(&c, &h, &x, &out);
			for (const char *s = courses[k].events; *s; s++)
				input(&c, &h, &x, *s, &second, &out);
			out.n = 0;
			was = d;
			was_x = x;
			over = input(&c, &h, &x, inputs[e].c, &second, &out);
			actions(&out);
			if (inputs[e].c == 'q')
				say("queued");
			if (over)
				say("end");
			printf(" %s", text);
			if (memcmp(&was, &d, sizeof(d))) {
				printf("%s", text[0] ? " " : "");
				directory(&d);
			} else if (!text[0]) {
				printf("%s", memcmp(&was_x, &x, sizeof(x)) ? "noted" : "–");
			}
			printf(" |");
		}
		printf("\n");
	}
}

int main(void)
{
	u32 faults = 1 << READ | 1 << WRITE, takes = 1 << INV | 1 << FWDR | 1 << FWDW | 1 << FETCHR;
	u32 comes = 1 << GRANT | 1 << PAGE | 1 << EIO_ | 1 << EAGAIN_ | 1 << DATA | 1 << NODATA | 1 << OLD;

	node_table("A node, no request under way", 0, 5, faults | takes | 1 << AHEAD | 1 << AHEADW | 1 << DROP | 1 << AGAIN);
	node_table("A node, a request under way (→: for what; + what has come)", 6, 13,
		   faults | comes | takes);
	node_table("A node, the mapping is being taken away", 14, 19,
		   faults | 1 << INV | 1 << FWDR | 1 << UNMAPPED);
	home_asked();
	home_under_way();
	return 0;
}
