// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Would netfilter let a peer's packets in? The rules of nft (which are iptables' too) are read as
 * nft prints them and applied to a connection from each peer. What isn't understood is a "maybe".
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tool.h"

#define DEPTH	16	/* of jumps; the kernel allows as many */
#define PEERS	64	/* tried */

struct chain {
	char family[8];
	char table[64];
	char name[64];
	bool input;		/* base chain that a packet to this machine passes */
	bool drops;		/* its policy */
	char **rules;
	size_t n;
};

struct packet {
	bool tcp;
	int port;
	const struct member *from, *to;
};

static struct chain *chains;
static size_t n_chains;

/* ---------------------------------------------------------------- reading */

static void read_rules(char *text)
{
	char family[8] = "", table[64] = "", *line;
	struct chain *c = NULL;

	while ((line = strsep(&text, "\n"))) {
		line += strspn(line, " \t");
		if (sscanf(line, "table %7s %63s", family, table) == 2) {
			c = NULL;
		} else if (!strncmp(line, "chain ", 6)) {
			chains = grow(chains, n_chains, sizeof(*chains));
			c = &chains[n_chains++];
			memset(c, 0, sizeof(*c));
			memcpy(c->family, family, sizeof(family));
			memcpy(c->table, table, sizeof(table));
			sscanf(line, "chain %63s", c->name);
		} else if (*line == '}') {
			c = NULL;
		} else if (c && !strncmp(line, "type ", 5)) {
			c->input = !strncmp(line, "type filter", 11) &&
				   (strstr(line, "hook input") || strstr(line, "hook prerouting")) &&
				   (!strcmp(family, "ip") || !strcmp(family, "ip6") ||
				    !strcmp(family, "inet"));
			c->drops = strstr(line, "policy drop");
		} else if (c && *line && *line != '#') {
			c->rules = grow(c->rules, c->n, sizeof(*c->rules));
			c->rules[c->n++] = line;
		}
	}
}

/* --------------------------------------------------------------- matching */

enum match { NO, MAYBE, YES };

static enum match both(enum match a, enum match b)
{
	return a < b ? a : b;
}

static bool in_prefix(const char *s, const struct in6_addr *a)
{
	char text[64];
	struct in6_addr net;
	char *slash;
	int bits, i;

	snprintf(text, sizeof(text), "%s", s);
	slash = strchr(text, '/');
	if (slash)
		*slash = 0;
	if (!parse_address(text, &net))
		return false;
	bits = slash ? atoi(slash + 1) + (is_v4(&net) ? 96 : 0) : 128;
	for (i = 0; i < bits; i++)
		if ((net.s6_addr[i / 8] ^ a->s6_addr[i / 8]) & 0x80 >> i % 8)
			return false;
	return true;
}

enum what { PORT, ADDR, NAME };

/* One element of a right-hand side: number, range, prefix, name. */
static enum match element(const char *s, enum what what, const struct packet *p,
			  const struct in6_addr *addr, const char *name)
{
	const char *dash = strchr(s, '-');
	char *end;
	long from, to;

	if (*s == '@')
		return MAYBE;
	switch (what) {
	case PORT:
		from = strtol(s, &end, 10);
		if (end == s)
			return MAYBE;
		to = dash ? atol(dash + 1) : from;
		return p->port >= from && p->port <= to ? YES : NO;
	case ADDR:
		if (dash)
			return MAYBE;
		return in_prefix(s, addr) ? YES : NO;
	default:
		if (s[strlen(s) - 1] == '*')
			return strncmp(s, name, strlen(s) - 1) ? NO : YES;
		return strcmp(s, name) ? NO : YES;
	}
}

/* A word with its quotes and comma taken off; the rest follows in *s. */
static char *word(char **s)
{
	char *w, *end;

	*s += strspn(*s, " \t,");
	if (!**s)
		return NULL;
	if (**s == '"') {
		w = ++*s;
		end = w + strcspn(w, "\"");
		*s = *end ? end + 1 : end;
	} else {
		w = *s;
		end = w + strcspn(w, " \t");
		*s = *end ? end + 1 : end;
		if (end > w && end[-1] == ',' && end - w > 1)
			end--;
	}
	*end = 0;
	return w;
}

/* The right-hand side: [!=|==] ELEMENT, or { ELEMENT, ... }. */
static enum match side(char **s, enum what what, const struct packet *p,
		       const struct in6_addr *addr, const char *name)
{
	char *w = word(s);
	bool negate = w && !strcmp(w, "!=");
	enum match m = NO, e;

	if (w && (negate || !strcmp(w, "==")))
		w = word(s);
	if (!w || !strcmp(w, "vmap") || !strcmp(w, "&"))
		return MAYBE;
	if (!strcmp(w, "{")) {
		while ((w = word(s)) && strcmp(w, "}")) {
			e = element(w, what, p, addr, name);
			m = e > m ? e : m;
		}
	} else {
		m = element(w, what, p, addr, name);
	}
	return negate ? (enum match)(YES - m) : m;
}

/* A new connection: which states of a "ct state" expression fit? */
static enum match ct_state(char **s)
{
	char *w = word(s);
	bool negate = w && !strcmp(w, "!=");
	enum match m = NO;

	if (negate)
		w = word(s);
	if (w && !strcmp(w, "vmap")) {
		while ((w = word(s)) && strcmp(w, "}"))
			if (!strcmp(w, "new"))
				m = MAYBE;
	} else if (w && !strcmp(w, "{")) {
		while ((w = word(s)) && strcmp(w, "}"))
			if (!strcmp(w, "new"))
				m = YES;
	} else if (w) {
		m = strstr(w, "new") ? YES : NO;
	}
	return negate ? (enum match)(YES - m) : m;
}

/* Verdict of a chain for a packet. */
enum fate { PASS, STOP, UNSURE, RETURN };

static enum fate run(const struct chain *c, const struct packet *p, int depth, const char **why);

static const struct chain *find(const struct chain *from, const char *name)
{
	size_t i;

	for (i = 0; i < n_chains; i++)
		if (!strcmp(chains[i].name, name) && !strcmp(chains[i].table, from->table) &&
		    !strcmp(chains[i].family, from->family))
			return &chains[i];
	return NULL;
}

/* Applies one rule; *m says how sure it is that it matches. RETURN: it decides nothing. */
static enum fate rule(const struct chain *c, const char *text, const struct packet *p, int depth,
		      enum match *m, const char **why)
{
	char *copy = xprintf("%s", text), *s = copy, *w;
	bool v4 = is_v4(&p->from->addr);
	enum fate fate = RETURN;

	*m = YES;
	while (*m != NO && (w = word(&s))) {
		if (!strcmp(w, "accept")) {
			fate = PASS;
			break;
		} else if (!strcmp(w, "drop") || !strcmp(w, "reject")) {
			fate = STOP;
			break;
		} else if (!strcmp(w, "return")) {
			break;
		} else if (!strcmp(w, "jump") || !strcmp(w, "goto")) {
			const struct chain *to = (w = word(&s)) ? find(c, w) : NULL;

			fate = to && depth < DEPTH ? run(to, p, depth + 1, why) : UNSURE;
			break;
		} else if (!strcmp(w, "tcp") || !strcmp(w, "udp") || !strcmp(w, "th")) {
			if (*w != (p->tcp ? 't' : 'u') && strcmp(w, "th"))
				*m = NO;
			w = word(&s);
			if (w && !strcmp(w, "dport"))
				*m = both(*m, side(&s, PORT, p, NULL, NULL));
			else
				*m = both(*m, MAYBE);
		} else if (!strcmp(w, "ip") || !strcmp(w, "ip6")) {
			bool four = !strcmp(w, "ip");

			if (four != v4)
				*m = NO;
			w = word(&s);
			if (w && !strcmp(w, "saddr"))
				*m = both(*m, side(&s, ADDR, p, &p->from->addr, NULL));
			else if (w && !strcmp(w, "daddr"))
				*m = both(*m, side(&s, ADDR, p, &p->to->addr, NULL));
			else if (w && (!strcmp(w, "protocol") || !strcmp(w, "nexthdr")))
				*m = both(*m, side(&s, NAME, p, NULL, p->tcp ? "6" : "17"));
			else
				*m = both(*m, MAYBE);
		} else if (!strcmp(w, "iif") || !strcmp(w, "iifname")) {
			*m = both(*m, side(&s, NAME, p, NULL, p->to->netdev));
		} else if (!strcmp(w, "ct")) {
			w = word(&s);
			*m = both(*m, w && !strcmp(w, "state") ? ct_state(&s) : MAYBE);
		} else if (!strcmp(w, "meta")) {
			w = word(&s);
			if (w && !strcmp(w, "l4proto"))
				*m = both(*m, side(&s, NAME, p, NULL, p->tcp ? "6" : "17"));
			else if (w && !strcmp(w, "nfproto"))
				*m = both(*m, side(&s, NAME, p, NULL, v4 ? "ipv4" : "ipv6"));
			else
				*m = both(*m, MAYBE);
		} else if (!strcmp(w, "icmp") || !strcmp(w, "icmpv6")) {
			*m = NO;
		} else if (!strcmp(w, "counter")) {
			if (!strncmp(s, "packets ", 8))
				word(&s), word(&s), word(&s), word(&s);
		} else if (!strcmp(w, "comment")) {
			word(&s);
		} else if (!strcmp(w, "log")) {
			while (!strncmp(s, "prefix ", 7) || !strncmp(s, "level ", 6) ||
			       !strncmp(s, "flags ", 6) || !strncmp(s, "group ", 6))
				word(&s), word(&s);
		} else {
			*m = both(*m, MAYBE);
			/* A map of verdicts: its words aren't the rule's. */
			if (strstr(s, "vmap")) {
				fate = UNSURE;
				break;
			}
		}
	}
	if (*m != NO && fate == RETURN && strstr(text, " vmap "))
		fate = UNSURE;
	free(copy);
	return fate;
}

static enum fate run(const struct chain *c, const struct packet *p, int depth, const char **why)
{
	bool unsure = false;
	enum match m;
	size_t i;

	for (i = 0; i < c->n; i++) {
		const char *inner = NULL;
		enum fate f = rule(c, c->rules[i], p, depth, &m, &inner);

		if (m == NO)
			continue;
		if (f == RETURN) {
			/* "return" ends the chain, anything else goes on. */
			if (m == YES && strstr(c->rules[i], "return"))
				break;
			continue;
		}
		if (m == YES && f != UNSURE) {
			if (f == STOP)
				*why = inner ? inner : c->rules[i];
			/* An earlier rule may have decided otherwise. */
			return unsure ? UNSURE : f;
		}
		unsure = true;
		*why = inner ? inner : c->rules[i];
	}
	if (!c->input)
		return unsure ? UNSURE : RETURN;
	if (c->drops && !unsure)
		*why = "policy drop";
	return unsure ? UNSURE : c->drops ? STOP : PASS;
}

/* Whether the packet gets in; @where names the chain that stops it. */
static enum fate judge(const struct packet *p, const struct chain **where, const char **why)
{
	enum fate worst = PASS;
	size_t i;

	for (i = 0; i < n_chains; i++) {
		const struct chain *c = &chains[i];
		const char *reason = NULL;
		enum fate f;

		if (!c->input || (!strcmp(c->family, "ip") && !is_v4(&p->from->addr)) ||
		    (!strcmp(c->family, "ip6") && is_v4(&p->from->addr)))
			continue;
		f = run(c, p, 0, &reason);
		if (f == STOP || (f == UNSURE && worst == PASS)) {
			*where = c;
			*why = reason;
			worst = f;
		}
		if (f == STOP)
			break;
	}
	return worst;
}

static void check_packet(const char *proto, int port, const char *what)
{
	const struct member *here = NULL;
	enum fate worst = PASS;
	struct packet p = { .tcp = *proto == 't', .port = port };
	const struct chain *where = NULL;
	const char *why = NULL;
	char *mend;
	size_t i, tried = 0, bad = 0;

	for (i = 0; i < n_members && !here; i++)
		if (*members[i].netdev)
			here = &members[i];
	for (i = 0; i < n_members && here && tried < PEERS; i++) {
		const struct chain *c = NULL;
		const char *reason = NULL;
		enum fate f;

		/* Nodes of one kernel talk over its own interfaces. */
		if (*members[i].netdev)
			continue;
		tried++;
		p.from = &members[i];
		p.to = here;
		f = judge(&p, &c, &reason);
		bad += f != PASS;
		if (f == STOP ? worst != STOP : f == UNSURE && worst == PASS) {
			worst = f;
			where = c;
			why = reason;
		}
	}
	if (worst == PASS) {
		if (tried)
			verdict(OK, "firewall", NULL, "%s port %d (%s) is open to the peers", proto, port,
				what);
		return;
	}
	mend = xprintf("nft insert rule %s %s %s %s dport %d accept (and in the firewall's own"
		       " configuration)", where->family, where->table, where->name, proto, port);
	verdict(worst == STOP ? FAIL : WARN, "firewall", mend,
		"%s port %d (%s) %s dropped for %zu of %zu peers: %s %s %s: %s", proto, port, what,
		worst == STOP ? "is" : "may be", bad, tried, where->family, where->table, where->name,
		why ? why : "");
	free(mend);
}

void check_firewall(void)
{
	char *legacy = slurp("/proc/net/ip_tables_names");
	char *text;

	if (legacy && *legacy)
		verdict(WARN, "firewall", "iptables-legacy -L INPUT -n; iptables-legacy -I INPUT -p tcp"
			" --dport 7471 -j ACCEPT", "there are legacy iptables rules, which aren't looked at");
	free(legacy);
	if (geteuid()) {
		verdict(WARN, "firewall", "sudo popcorn doctor", "only root can read the rules");
		return;
	}
	/* Protocols by number: their names would be those that /etc/protocols has, if it is there. */
	text = output("nft -s -p list ruleset");
	if (!text && exists("/sys/module/nf_tables")) {
		verdict(WARN, "firewall", "apt install nftables",
			"nf_tables is loaded, but its rules can't be read without nft");
		return;
	}
	if (text)
		read_rules(text);
	/* The text stays: the chains point into it. */
	check_packet("tcp", number("popcorn", "port", 7471), "msg_socket");
	if (soft_roce)
		check_packet("udp", 4791, "RoCE v2 in software");
}
