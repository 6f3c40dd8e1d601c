/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The protocol of dsm-proto/core as a model for spin: the same states, messages and
 * actions, under every order of messages and a crash at any moment.
 *
 * Inlines are named after the functions of node.c and home.c that they follow. Each call
 * of the core is one atomic step; a message waits in a slot of its own (a kind, a pair of
 * nodes) and is received at any later time, so nothing has an order. That a slot is
 * free when its message is sent is asserted. What a node sends to itself goes the same way, which
 * allows more than an engine does. The number of requests has no bound:
 *
 * - Data are one bit: is it what was written last? A write clears the bit of every
 *   other copy, at nodes and in messages.
 * - A request's number is its age: 0 is the one under way, 1 the one before, ... A new
 *   request makes all numbers of its node that are kept or in flight one older.
 * - The hold time is when a node chooses to receive FWD and INV.
 *
 * A node other than the home (node 0) may crash, once. What was in flight from it arrives
 * or doesn't, until its receiver is told; each is told at a time of its own.
 *
 * Checked: single writer, data value, the directory lists all copies, nothing is lost
 * unless a node died, all requests end (at the end of a run in which, from a moment
 * on, nobody asks for more: CALM), and with PROGRESS that each fault ends in an access.
 *
 * Options: N (nodes), PAGES, NOCRASH, CALM, PROGRESS=node, BUG_* (seeded mistakes), and HARM (only
 * what a program would notice is checked, no invariant of the protocol's own).
 */
#ifndef N
#define N 3
#endif
#ifndef PAGES
#define PAGES 1
#endif

#define HOME	0
#define NONE	N
#define BIT(n)	(1 << (n))

#define I	0
#define S	1
#define M	2

/* what the unmapping is for: enum pd_doing */
#define IDLE		0
#define INVALIDATES	1
#define GIVES		2
#define SHARES		3
#define DROPS		4
#define MISSES		5

/* status of a grant */
#define OK	0
#define EIO	1
#define EAGAIN	2

#define OLD	3	/* age of all requests that are older */

typedef Page {			/* struct pd_page; PD_P_AHEAD and the times aren't needed */
	unsigned st : 2;
	unsigned want : 2;
	unsigned doing : 3;
	unsigned to : 3;
	unsigned toreq : 2;
	bit data;
	bit grant;
	bit owner;
	bit put;
	bit lost;
	bit fresh;		/* the frame has what was written last */
	unsigned pend : 2;	/* PROGRESS: a thread waits to read (S) or write (M) */
	bit hold;		/* PROGRESS: granted to that thread and not used yet */
	bit early		/* BUG_DONE: DONE was sent */
};

typedef Grant {
	bit on;
	unsigned status : 2;
	bit data;
	bit fresh;
	unsigned req : 2
};

typedef Slots {			/* messages between the home and a node */
	bit ask;  bit askw;  bit askh;  bit aski;
	bit fwd;  bit fwdw;  unsigned fwdn : 3;  unsigned fwdr : 2;
	bit inv;
	Grant gr[2];		/* NODATA may overtake one, then a second is sent */
	bit nod;  unsigned nodr : 2;
	bit ack;
	bit sent;  bit sentok;  bit sentpage;  bit sentfresh;  unsigned sentr : 2;
	bit done;  bit donefail;  unsigned doner : 2;
	bit put
};

typedef Data {			/* DATA between two nodes */
	bit on;
	bit fresh;
	unsigned req : 2
};

typedef Txn {			/* struct pd_txn */
	unsigned node : 3;
	unsigned req : 2;
	bit w;
	bit h
};

typedef World {
	Page page[N];
	Slots slot[N];
	Data data[N * N];	/* from * N + to */
	/* struct pd_dir; its state says nothing that the sharers don't */
	unsigned sharers : N;
	unsigned owner : 3;
	bit lost;
	bit doubt;
	/* the transaction under way, txn[0], and those queued */
	unsigned txns : 3;
	Txn txn[N + 1];
	unsigned acks : N;
	unsigned from : 3;
	bit fwd;
	bit sent;
	bit granted;
	bit needs;
	bit invs;
	bit over;
	bit gone
};

World g[PAGES];
unsigned dead : 3 = NONE;
bool told[N];
bool calm;

#define P(n)	g[pg].page[n]
#define L(n)	g[pg].slot[n]
#define G(n, x)	g[pg].slot[n].gr[x]
#define D(a, b)	g[pg].data[(a) * N + (b)]
#define W	g[pg]
#define X	g[pg].txn[0]

/* scratch of a step */
hidden byte j, k, to_, low, was, had;

#define may_read(n)	(P(n).st >= S && (P(n).doing == IDLE || \
			 (P(n).doing == SHARES && P(n).st == S)))
#define may_write(n)	(P(n).st == M && P(n).doing == IDLE)

/* ---------------------------------------------------------------- what must hold */

inline check()
{
	for (j : 0 .. N - 1) {
		if
		:: j != dead && P(j).st ->
			assert(P(j).fresh || !may_read(j));	/* data value */
#ifndef HARM
			assert((W.sharers & BIT(j)) || (W.txns && X.node == j)); /* I2 */
#endif
			for (k : 0 .. N - 1) {			/* I1: single writer */
				assert(k == j || k == dead || P(j).st != M || P(k).st == I)
			}
		:: else
		fi
	}
	assert(!W.lost || dead != NONE || (W.txns && W.over));
#ifndef HARM
	if					/* I3: the supplier keeps its copy */
	:: !W.txns && !W.lost && !W.doubt && W.owner != dead && (W.sharers & BIT(W.owner)) ->
		assert(P(W.owner).st && (W.owner == HOME || P(W.owner).owner))
	:: else
	fi
#endif
}

/* ------------------------------------------------------------------------ a node */

#define AGE(on, r)	if :: (on) && (r) < OLD -> r++ :: else fi

/* Node n begins a request: what is kept or in flight of its others gets older. */
inline n_older(n)
{
	for (j : 0 .. N - 1) {
		AGE(L(j).fwd && L(j).fwdn == n, L(j).fwdr);
		AGE(L(j).sent && L(j).sentpage && n == HOME, L(j).sentr);
		AGE(P(j).doing >= GIVES && P(j).doing != DROPS && P(j).to == n, P(j).toreq);
		AGE(D(j, n).on, D(j, n).req)
	}
	AGE(G(n, 0).on, G(n, 0).req);
	AGE(G(n, 1).on, G(n, 1).req);
	AGE(L(n).nod, L(n).nodr);
	for (j : 0 .. N) {
		if
		:: j < W.txns && W.txn[j].node == n ->
			/* DONE is compared with it: two ages mustn't become one */
			assert(!L(n).done || L(n).doner == W.txn[j].req ||
			       L(n).doner < OLD - 1 || W.txn[j].req < OLD - 1);
			AGE(true, W.txn[j].req)
		:: else
		fi
	}
	AGE(L(n).done, L(n).doner)
}

inline n_ask(n, right, idle)
{
	assert(!L(n).ask);
	n_older(n);
	P(n).want = right;
	P(n).grant = 0;
	P(n).data = (P(n).st == S);
	L(n).ask = 1;
	L(n).askw = (right == M);
	L(n).askh = (P(n).st == S);
	L(n).aski = idle
}

inline n_end(n, fail, tell)
{
	P(n).want = I;
	P(n).data = 0;
	P(n).grant = 0;
	if
	:: tell && !P(n).early ->
		assert(!L(n).done);
		L(n).done = 1;
		L(n).donefail = fail;
		L(n).doner = 0
	:: else
	fi;
	P(n).early = 0
}

inline n_arrived(n)
{
	if
	:: P(n).data && P(n).grant ->
		P(n).st = P(n).want;
#ifndef BUG_HOLD		/* what is granted may be taken away before it is used */
		P(n).hold = (P(n).pend && P(n).pend <= P(n).st);
#endif
		if :: P(n).st == M -> P(n).owner = 1 :: else fi;
		n_end(n, 0, true)
	:: else ->
#ifdef BUG_EARLY		/* a write is used before all have dropped their copies */
		if :: P(n).data && P(n).want == M -> P(n).st = M :: else fi
#endif
#ifdef BUG_DONE			/* DONE before the page is in place */
		if
		:: !P(n).early -> P(n).early = 1; L(n).done = 1; L(n).donefail = 0; L(n).doner = 0
		:: else
		fi;
#endif
		skip
	fi
}

#ifdef BUG_STALE			/* a grant or page of another request is taken */
#define OTHER(r)	false
#else
#define OTHER(r)	((r) != 0)
#endif

inline n_granted(n, x)
{
	if
	:: !P(n).want || P(n).grant || OTHER(G(n, x).req) -> skip
	:: else ->
		if
		:: G(n, x).status != OK ->
			if :: G(n, x).status == EIO -> P(n).lost = 1 :: else fi;
			n_end(n, 1, G(n, x).status == EIO)
		:: else ->
			P(n).grant = 1;
			if
			:: G(n, x).data -> P(n).data = 1; P(n).fresh = G(n, x).fresh
			:: else
			fi;
			n_arrived(n)
		fi
	fi
}

inline n_data(n, age, new)
{
	if
	:: !P(n).want || P(n).data || OTHER(age) -> skip
	:: else ->
		P(n).data = 1;
		P(n).fresh = new;
		n_arrived(n)
	fi
}

inline n_nodata(n)
{
	if
	:: P(n).want && L(n).nodr == 0 && !P(n).data -> n_end(n, 1, true)
	:: else
	fi
}

inline n_take_away(n, what)
{
	assert(P(n).doing == IDLE || (P(n).doing == DROPS && what == INVALIDATES));
	P(n).doing = what
}

inline n_acked(n)
{
	assert(!L(n).ack);
	L(n).ack = 1
}

inline n_inv(n)
{
	if
	:: P(n).st == I -> n_acked(n)
	:: else -> n_take_away(n, INVALIDATES)
	fi
}

inline send_grant(whom, how, which, page_, value)
{
	low = G(whom, 0).on;
	assert(!G(whom, low).on);
	G(whom, low).on = 1;
	G(whom, low).status = how;
	G(whom, low).req = which;
	G(whom, low).data = page_;
	G(whom, low).fresh = value
}

inline forget_grant(n, x)
{
	G(n, x).on = 0;
	G(n, x).status = 0;
	G(n, x).req = 0;
	G(n, x).data = 0;
	G(n, x).fresh = 0
}

/* Answers the FWD; the home's own page goes with the right, that of a FETCH with the answer. */
inline n_sent(n, ok)
{
	assert(!L(n).sent);
	L(n).sent = 1;
	L(n).sentok = ok;
	L(n).sentpage = (ok && P(n).to == HOME);
	if
	:: L(n).sentpage -> L(n).sentfresh = P(n).fresh; L(n).sentr = P(n).toreq
	:: else
	fi;
	to_ = P(n).to;
	if
	:: ok && to_ != HOME && to_ != dead ->
		if
		:: n == HOME ->
			send_grant(to_, OK, P(n).toreq, 1, P(n).fresh)
		:: else ->
			assert(!D(n, to_).on);
			D(n, to_).on = 1;
			D(n, to_).req = P(n).toreq;
			D(n, to_).fresh = P(n).fresh
		fi
	:: else
	fi;
	P(n).to = 0;
	P(n).toreq = 0
}

inline n_shares(n)
{
	if
	:: P(n).to == HOME -> P(n).owner = 0; P(n).put = 0
	:: else -> P(n).owner = 1
	fi
}

inline n_fwd(n)
{
	P(n).to = L(n).fwdn;
	P(n).toreq = L(n).fwdr;
	if
	:: P(n).st == I -> n_sent(n, 0)
	:: else ->
		if
		:: P(n).doing == DROPS -> P(n).doing = MISSES
		:: else ->
			if
			:: L(n).fwdw -> n_take_away(n, GIVES)
			:: else ->
				n_shares(n);
				if
				:: P(n).st == S -> n_sent(n, 1)
				:: else ->
					P(n).st = S;
					n_take_away(n, SHARES)
				fi
			fi
		fi
	fi
}

inline n_unmapped(n)
{
	was = P(n).doing;
	P(n).doing = IDLE;
	if
	:: was == GIVES || was == SHARES -> n_sent(n, 1)
	:: was == MISSES -> n_sent(n, 0)
	:: else
	fi;
	if
	:: was != SHARES ->
		P(n).st = I;
		P(n).owner = 0;
		P(n).put = 0;
		P(n).data = 0;
		P(n).hold = 0;
		P(n).fresh = 0
	:: else
	fi;
	if :: was == INVALIDATES -> n_acked(n) :: else fi
}

inline n_drop(n)
{
	if
#ifndef BUG_DROP
	:: P(n).owner -> P(n).put = 1; L(n).put = 1
#endif
	:: else -> n_take_away(n, DROPS)
	fi
}

/* The node writes: every other copy, wherever, isn't what was written last any more. */
inline n_store(n)
{
	for (j : 0 .. N - 1) {
		P(j).fresh = 0;
		G(j, 0).fresh = 0;
		G(j, 1).fresh = 0;
		L(j).sentfresh = 0;
		for (k : 0 .. N - 1) {
			D(j, k).fresh = 0
		}
	}
	P(n).fresh = 1
}

/* ---------------------------------------------------------------------- the home */

inline h_elect()
{
	W.doubt = 0;
	if
	:: W.sharers ->
		low = 0;
		do
		:: W.sharers & BIT(low) -> break
		:: else -> low++
		od;
		W.owner = low;
		W.doubt = (low != HOME)	/* the home has the lowest number */
	:: else
	fi
}

inline h_supplier()
{
	if :: !(W.sharers & BIT(W.owner)) -> h_elect() :: else fi;
	if
	:: W.sharers & BIT(HOME) -> W.from = HOME
	:: else -> W.from = W.owner
	fi
}

inline h_grant(status)
{
	W.granted = 1;
	if
	:: X.node != dead ->
		send_grant(X.node, status, X.req, 0, 0)
	:: else
	fi
}

inline h_forward()
{
	W.fwd = 1;
	W.sent = 0;
	if
	:: W.from != dead ->
		assert(!L(W.from).fwd);
		L(W.from).fwd = 1;
		L(W.from).fwdw = X.w;
		L(W.from).fwdn = X.node;
		L(W.from).fwdr = X.req
	:: else
	fi
}

inline h_nodata()
{
	if
	:: X.node != dead ->
		assert(!L(X.node).nod);
		L(X.node).nod = 1;
		L(X.node).nodr = X.req
	:: else
	fi
}

inline h_lose()
{
	W.lost = 1;
	W.needs = 0;
	if
	:: W.over -> skip
	:: else ->
		if
		:: W.granted -> h_nodata()
		:: else -> h_grant(EIO)
		fi
	fi
}

inline h_invalidate()
{
	W.invs = 1;
	W.acks = W.sharers & ~BIT(X.node);
	if :: W.needs -> W.acks = W.acks & ~BIT(W.from) :: else fi;
	for (j : 0 .. N - 1) {
		if
		:: (W.acks & BIT(j)) && j != dead ->
			assert(!L(j).inv);
			L(j).inv = 1
		:: else
		fi
	}
#ifdef BUG_ACK			/* the last one's ack isn't waited for */
	W.acks = W.acks & (W.acks - 1)
#endif
}

inline h_step()
{
	if
	:: W.over || W.lost -> skip
	:: else ->
		if
		:: X.w && !W.invs && (!W.needs || W.from == HOME || W.sent ||
		   (!W.doubt && !(W.sharers & ~BIT(X.node) & ~BIT(W.from)))) -> h_invalidate()
		:: else
		fi;
		if
		:: W.needs && !W.fwd && (W.from != HOME || X.node == HOME || !W.acks) -> h_forward()
		:: else
		fi;
		if
		:: !W.granted && !W.acks && !(W.needs && W.from == HOME) && (!X.w || W.invs) ->
			h_grant(OK);
			if :: W.gone -> h_nodata() :: else fi
		:: else
		fi
	fi
}

inline h_in_doubt()
{
	if
	:: W.granted -> h_nodata()
	:: else -> W.gone = 1
	fi
}

inline h_begin()
{
	W.needs = !(X.h && (W.sharers & BIT(X.node)));
	if
	:: W.needs ->
		W.sharers = W.sharers & ~BIT(X.node);
		if
		:: !W.lost && W.sharers -> h_supplier(); h_step()
		:: else -> h_lose()
		fi
	:: else -> h_step()
	fi
}

/* The queue moves up from place n on. */
inline h_unqueue(n)
{
	for (j : n .. N - 1) {
		W.txn[j].node = W.txn[j + 1].node;
		W.txn[j].req = W.txn[j + 1].req;
		W.txn[j].w = W.txn[j + 1].w;
		W.txn[j].h = W.txn[j + 1].h
	}
	W.txn[N].node = 0;
	W.txn[N].req = 0;
	W.txn[N].w = 0;
	W.txn[N].h = 0;
	W.txns--
}

inline h_finish()
{
	if
#ifdef BUG_NEXT			/* the next one begins when this one is granted */
	:: (W.over || (W.granted && X.node != HOME)) && !W.acks && (!W.fwd || W.sent) ->
		if
		:: !W.over && X.w -> W.sharers = BIT(X.node); W.owner = X.node
		:: !W.over && !X.w -> W.sharers = W.sharers | BIT(X.node)
		:: else
		fi;
#else
	:: W.over && !W.acks && (!W.fwd || W.sent) ->
#endif
		if
		:: !W.sharers -> W.lost = 1
		:: W.sharers && !(W.sharers & BIT(W.owner)) -> h_elect()
		:: else
		fi;
		W.from = 0;
		W.fwd = 0;
		W.sent = 0;
		W.granted = 0;
		W.needs = 0;
		W.invs = 0;
		W.over = 0;
		W.gone = 0;
		h_unqueue(0);
		if :: W.txns -> h_begin() :: else fi
	:: else
	fi
}

inline h_ask(n)
{
	if
	:: L(n).aski && n != HOME && (W.txns || W.lost ||
				       !(W.sharers & (L(n).askh -> BIT(n) : BIT(HOME)))) ->
		send_grant(n, EAGAIN, 0, 0, 0)
	:: else ->
		assert(W.txns <= N);
		W.txn[W.txns].node = n;
		W.txn[W.txns].req = 0;
		W.txn[W.txns].w = L(n).askw;
		W.txn[W.txns].h = L(n).askh;
		W.txns++;
		if :: W.txns == 1 -> h_begin() :: else fi
	fi
}

inline h_ack(n)
{
	if
	:: W.txns && (W.acks & BIT(n)) ->
		W.acks = W.acks & ~BIT(n);
		W.sharers = W.sharers & ~BIT(n);
		h_step();
		h_finish()
	:: else
	fi
}

inline h_missed()
{
	W.sharers = W.sharers & ~BIT(W.from);
	W.sent = 1;
	if
	:: W.over -> skip
	:: else ->
		if
		:: !W.sharers -> h_lose()
		:: else ->
			h_supplier();
			W.fwd = 0;
			W.sent = 0;
			h_step()
		fi
	fi
}

inline h_sent(n)
{
	if
	:: W.txns && W.from == n && W.fwd && !W.sent ->
		if
		:: !L(n).sentok -> h_missed()
		:: else ->
			W.sent = 1;
			W.doubt = 0;
			if :: X.w -> W.sharers = W.sharers & ~BIT(n) :: else fi;
			if :: n == HOME -> W.granted = 1 :: else fi;
			h_step()
		fi;
		h_finish()
	:: else
	fi
}

inline h_done(n)
{
	if
	:: W.txns && X.node == n && X.req == L(n).doner && !W.over ->
		W.over = 1;
		if
		:: L(n).donefail -> skip
		:: else ->
			if
			:: X.w -> W.sharers = BIT(n); W.owner = n; W.doubt = 0
			:: else ->
				W.sharers = W.sharers | BIT(n);
				if
				:: n == HOME -> W.owner = n; W.doubt = 0
				:: else
				fi
			fi;
			W.lost = 0
		fi;
		h_finish()
	:: else ->
#ifdef HARM
		skip
#else
		assert(false)		/* no DONE comes that fits nothing */
#endif
	fi
}

inline h_dead(n)
{
	k = 1;
	do
	:: k >= W.txns -> break
	:: else ->
		if :: W.txn[k].node == n -> h_unqueue(k) :: else -> k++ fi
	od;
	had = ((W.sharers & BIT(n)) != 0);
	W.sharers = W.sharers & ~BIT(n);
	if :: had && W.owner == n -> h_elect() :: else fi;
	if
	:: !W.txns ->
		if :: had && !W.sharers -> W.lost = 1 :: else fi
	:: else ->
		if :: X.node == n -> W.over = 1 :: else fi;
		W.acks = W.acks & ~BIT(n);
		if
		:: W.from == n && W.fwd && !W.sent -> h_missed()
		:: else ->
#ifndef BUG_GONE		/* who has sent and died isn't thought of any more */
			if
			:: W.from == n && W.needs && !W.over -> h_in_doubt()
			:: else
			fi;
#endif
			h_step()
		fi;
		h_finish()
	fi
}

/* ----------------------------------------------------------- what happens when */

#define ALL	0
#define ALIVE(n) ((n) != dead)

/* Events of kind on of node n and page pg, or all; a process is scheduled fairly. */
proctype event(byte on; byte n; byte pg)
{
#define ON(x)	(on == ALL || on == x)
end:	do
	/* at the home, from n */
	:: d_step { ON(1) && L(n).ask -> h_ask(n);
		L(n).ask = 0; L(n).askw = 0; L(n).askh = 0; L(n).aski = 0; check() }
	:: d_step { ON(2) && L(n).ack -> L(n).ack = 0; h_ack(n); check() }
	:: d_step { ON(3) && L(n).sent ->
		if
		:: L(n).sentpage -> n_data(HOME, L(n).sentr, L(n).sentfresh)
		:: else
		fi;
		L(n).sent = 0;
		h_sent(n);
		L(n).sentok = 0; L(n).sentpage = 0; L(n).sentfresh = 0; L(n).sentr = 0; check() }
	:: d_step { ON(4) && L(n).done -> L(n).done = 0; h_done(n);
		L(n).donefail = 0; L(n).doner = 0; check() }
	/* PUT: the home fetches the page ahead, unless it has it */
	:: d_step { ON(5) && L(n).put && (P(HOME).st || P(HOME).want || P(HOME).doing == IDLE) ->
		L(n).put = 0;
		if
		:: !P(HOME).st && !P(HOME).want && !P(HOME).lost && !P(HOME).pend -> n_ask(HOME, S, 1)
		:: else
		fi; check() }

	/* at node n, from the home or (DATA) another */
	:: d_step { ON(6) && L(n).fwd && !P(n).hold -> n_fwd(n);
		L(n).fwd = 0; L(n).fwdw = 0; L(n).fwdn = 0; L(n).fwdr = 0; check() }
	:: d_step { ON(7) && L(n).inv && !P(n).hold -> L(n).inv = 0; n_inv(n); check() }
	:: d_step { ON(8) && G(n, 0).on -> n_granted(n, 0); forget_grant(n, 0); check() }
	:: d_step { ON(8) && G(n, 1).on -> n_granted(n, 1); forget_grant(n, 1); check() }
	:: d_step { ON(9) && L(n).nod -> L(n).nod = 0; n_nodata(n); L(n).nodr = 0; check() }
#define RECEIVE(a) \
	:: d_step { ON(10) && D(a, n).on -> D(a, n).on = 0; n_data(n, D(a, n).req, D(a, n).fresh); \
		D(a, n).req = 0; D(a, n).fresh = 0; check() }
#if N > 1
	RECEIVE(1)
#endif
#if N > 2
	RECEIVE(2)
#endif
#if N > 3
	RECEIVE(3)
#endif

	/* node n's own */
	:: d_step { ON(11) && P(n).doing != IDLE -> n_unmapped(n); check() }
#define IDLING(n) (ALIVE(n) && !calm && !P(n).lost && !P(n).want && P(n).doing == IDLE)
#define DROPPABLE(n) (ALIVE(n) && !calm && n != HOME && P(n).st && !P(n).want && \
		      P(n).doing == IDLE && !P(n).put && !L(n).put)
#ifndef PROGRESS
	:: d_step { ON(12) && IDLING(n) && !may_read(n) -> n_ask(n, S, 0); check() }
	:: d_step { ON(12) && IDLING(n) && !may_write(n) -> n_ask(n, M, 0); check() }
	:: d_step { ON(12) && ALIVE(n) && !calm && may_write(n) -> n_store(n); check() }
	:: d_step { ON(13) && IDLING(n) && P(n).st == I && n != HOME -> n_ask(n, S, 1); check() }
	:: d_step { ON(13) && IDLING(n) && P(n).st != M && n != HOME -> n_ask(n, M, 1); check() }
	:: d_step { ON(14) && DROPPABLE(n) -> n_drop(n); check() }
#else	/* a thread that reads and writes for ever; it is before fetching ahead and dropping */
	:: d_step { ON(12) && ALIVE(n) && !P(n).pend && !P(n).lost -> P(n).pend = S }
	:: d_step { ON(12) && ALIVE(n) && !P(n).pend && !P(n).lost -> P(n).pend = M }
	:: d_step { ON(12) && P(n).pend == S && may_read(n) -> P(n).pend = 0; P(n).hold = 0 }
	:: d_step { ON(12) && P(n).pend == M && may_write(n) -> P(n).pend = 0; P(n).hold = 0;
		n_store(n); check() }
	:: d_step { ON(12) && P(n).pend && P(n).lost -> P(n).pend = 0; P(n).hold = 0 }
	:: d_step { ON(12) && P(n).pend == S && IDLING(n) && !may_read(n) -> n_ask(n, S, 0); check() }
	:: d_step { ON(12) && P(n).pend == M && IDLING(n) && !may_write(n) -> n_ask(n, M, 0); check() }
	:: d_step { ON(13) && IDLING(n) && !P(n).pend && P(n).st == I && n != HOME ->
		n_ask(n, S, 1); check() }
	:: d_step { ON(13) && IDLING(n) && !P(n).pend && P(n).st != M && n != HOME ->
		n_ask(n, M, 1); check() }
	:: d_step { ON(14) && DROPPABLE(n) && !P(n).pend -> n_drop(n); check() }
#endif
	od
}

/* Node n is no more: its state and what is under way to it are of no consequence. */
inline forget(n)
{
	P(n).st = 0; P(n).want = 0; P(n).doing = 0; P(n).to = 0; P(n).toreq = 0; P(n).data = 0;
	P(n).grant = 0; P(n).owner = 0; P(n).put = 0; P(n).lost = 0; P(n).fresh = 0;
	P(n).pend = 0; P(n).hold = 0; P(n).early = 0;
	L(n).fwd = 0; L(n).fwdw = 0; L(n).fwdn = 0; L(n).fwdr = 0; L(n).inv = 0;
	forget_grant(n, 0);
	forget_grant(n, 1);
	L(n).nod = 0; L(n).nodr = 0;
	for (j : 0 .. N - 1) {
		D(j, n).on = 0;
		D(j, n).req = 0;
		D(j, n).fresh = 0
	}
}

/* Nothing from n arrives at the home any more. */
inline cut(n)
{
	L(n).ask = 0; L(n).askw = 0; L(n).askh = 0; L(n).aski = 0;
	L(n).ack = 0;
	L(n).sent = 0; L(n).sentok = 0; L(n).sentpage = 0; L(n).sentfresh = 0; L(n).sentr = 0;
	L(n).done = 0; L(n).donefail = 0; L(n).doner = 0;
	L(n).put = 0
}

proctype crash(byte n)
{
	byte pg;

end:	if
	:: d_step {
		dead == NONE && !calm -> dead = n;
		for (pg : 0 .. PAGES - 1) {
			forget(n)
		}
		pg = 0;
		told[n] = 1
	}
#ifdef PROGRESS
	:: skip		/* fairness must not make it crash */
#endif
	fi
}

proctype notice(byte n)		/* of the death, at node n */
{
	byte pg;

end:	d_step {
		dead != NONE && n != dead ->
		told[n] = 1;
		for (pg : 0 .. PAGES - 1) {
			if
			:: n == HOME -> cut(dead); h_dead(dead)
			:: else ->
				D(dead, n).on = 0;
				D(dead, n).req = 0;
				D(dead, n).fresh = 0
			fi;
			check()
		}
		pg = 0
	}
}

/* From now on nobody asks for anything. In the end, all that was asked is answered. */
proctype quiet()
{
	byte pg, n;

	calm = 1;
	timeout ->
	d_step {
		for (pg : 0 .. PAGES - 1) {
			for (n : 0 .. N - 1) {
				assert(n == dead || (!P(n).want && P(n).doing == IDLE));
				assert(n == dead || !P(n).put)
			}
			assert(!W.txns)
		}
		pg = 0; n = 0
	}
}

init
{
	byte pg, n, on;

	d_step {
		for (pg : 0 .. PAGES - 1) {
			P(HOME).st = M;
			P(HOME).fresh = 1;
			W.sharers = BIT(HOME);
			W.owner = HOME
		}
		pg = 0
	}
	atomic {
		for (pg : 0 .. PAGES - 1) {
			for (n : 0 .. N - 1) {
#ifdef PROGRESS
				for (on : 1 .. 14) {
					run event(on, n, pg)
				}
#else
				run event(ALL, n, pg)
#endif
			}
		}
#ifndef NOCRASH
		for (n : 1 .. N - 1) {
			run crash(n);
			run notice(n)
		}
		run notice(HOME);
#endif
#ifdef CALM
		run quiet();
#endif
		pg = 0; n = 0; on = 0
	}
}

#ifdef PROGRESS
/* A fault of node PROGRESS ends: by an access, or because the page is lost, or with the node. */
ltl progress { [] (g[0].page[PROGRESS].pend != 0 -> <> (g[0].page[PROGRESS].pend == 0)) }
#endif
