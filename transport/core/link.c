// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Links: sessions come and go, leases run out, peers die. All changes of a
 * link's state are here, in set_state().
 *
 * Lease and death. A heartbeat carries the sender's time and echoes the
 * newest time heard from the other side. A's lease from B runs lease_ms from
 * the *sending* of A's newest heartbeat that B echoed; B counts dead_ms from
 * the *arrival* of A's frames, which is later. As dead_ms > lease_ms, A has
 * stopped using what B granted before B declares A dead, whichever direction
 * is cut, as long as their clocks run at the same speed to within
 * dead_ms - lease_ms over dead_ms. (Gray and Cheriton, Leases, SOSP 1989.)
 *
 * Death is for good: that incarnation is never talked with again. It takes
 * effect (waiters fail, frames are free) only when the session is drained.
 */
#include "lane.h"

static const u8 allowed[PT_LINK_STATES] = {
#define TO(state) (1u << PT_LINK_##state)
	[PT_LINK_IDLE]    = TO(CONNECT) | TO(ACCEPT),
	[PT_LINK_CONNECT] = TO(UP) | TO(CLOSE),
	[PT_LINK_ACCEPT]  = TO(UP) | TO(CLOSE),
	[PT_LINK_UP]      = TO(CLOSE),
	[PT_LINK_CLOSE]   = TO(WAIT),
	[PT_LINK_WAIT]    = TO(CONNECT) | TO(ACCEPT),
#undef TO
};

/* Return: false, and nothing changed, if the table doesn't allow it. */
static bool set_state(struct pt_link *l, enum pt_link_state to)
{
	if (!(allowed[l->state] & 1u << to))
		return false;
	l->state = to;
	return true;
}

/**
 * pt_cfg_check - are these limits possible?
 * @c: limits
 *
 * Return: 0 or -EINVAL.
 */
int pt_cfg_check(const struct pt_cfg *c)
{
	if (c->window < PW_FRAMES_MAX || c->prepaid < PW_FRAMES_MAX ||
	    c->slots < PT_SLOTS_MIN ||
	    c->prepaid < c->slots || c->window > 0x4000 || c->prepaid > 0x4000 ||
	    !c->hb_ms || !c->connect_ms || !c->backoff_ms || c->hb_ms * 2ull > c->lease_ms ||
	    c->lease_ms >= c->dead_ms)
		return -EINVAL;
	return 0;
}

/**
 * pt_link_init - a link to a peer not met yet
 * @l:     link
 * @node:  its node, with a checked cfg
 * @peer:  the peer's id
 * @slots: PW_CLASSES * cfg.slots of them, zeroed; tx.fv is the engine's to set
 * @ans:   as many, zeroed
 */
void pt_link_init(struct pt_link *l, struct pt_node *node, u16 peer,
		  struct pt_slot *slots, struct pt_ans *ans)
{
	u8 c;

	memset(l, 0, sizeof(*l));
	l->node = node;
	l->peer = peer;
	for (c = 0; c < PW_CLASSES; c++)
		pt_lane_init(&l->lane[c], l, c, slots + c * node->cfg.slots,
			     ans + c * node->cfg.slots);
}

/**
 * pt_link_actions - what is to be done
 * @l: link
 *
 * Return: PT_ACT_*, each told once.
 */
u32 pt_link_actions(struct pt_link *l)
{
	u32 a = l->actions;

	l->actions = 0;
	return a;
}

/* What belongs to one session alone. */
void pt_link_begin(struct pt_link *l, enum pt_link_state state, u64 session, u64 now)
{
	u8 c;

	if (!set_state(l, state))
		return;
	l->initiator = state == PT_LINK_CONNECT;
	l->session = session;
	l->up_lanes = 0;
	l->error = 0;
	l->deadline = now + l->node->cfg.connect_ms;
	if (!l->last_heard)
		l->last_heard = now;
	for (c = 0; c < PW_CLASSES; c++)
		l->lane[c].ready = false;
}

static void connect(struct pt_link *l, u64 now)
{
	u64 session;

	l->node->env->random(l->node->ctx, &session, sizeof(session));
	pt_link_begin(l, PT_LINK_CONNECT, session, now);
	l->actions |= PT_ACT_CONNECT;
}

/**
 * pt_link_want - keep this link connected from now on
 * @l:   link
 * @now: ms
 */
void pt_link_want(struct pt_link *l, u64 now)
{
	l->wanted = true;
	if (l->state == PT_LINK_IDLE)
		connect(l, now);
}

/**
 * pt_link_fault - the session can't go on
 * @l:     link
 * @error: why (-errno)
 * @now:   ms
 *
 * Every failure of a wire or a handshake ends here, any context.
 */
void pt_link_fault(struct pt_link *l, int error, u64 now)
{
	u8 c;

	(void)now;
	if (!set_state(l, PT_LINK_CLOSE))
		return;
	l->error = error;
	l->tx_open = false;
	for (c = 0; c < PW_CLASSES; c++)
		l->lane[c].ready = false;
	l->actions = (l->actions & ~(PT_ACT_TX_ALL | PT_ACT_UP | PT_ACT_CONNECT)) | PT_ACT_CLOSE;
}

/* Nothing of that incarnation can come any more: let everybody know. */
static void buried(struct pt_link *l)
{
	u8 c;

	l->dying = false;
	l->life++;
	if (l->peer_inc) {
		l->dead_inc = l->peer_inc;
		l->dead = true;
		l->peer_inc = 0;
		l->actions |= PT_ACT_DEAD;
	}
	if (l->leased) {
		l->leased = false;
		l->actions |= PT_ACT_LEASE_LOST;
	}
	l->lease_end = 0;
	l->peer_sent = 0;
	l->last_heard = l->now;
	for (c = 0; c < PW_CLASSES; c++)
		pt_lane_fail(&l->lane[c], l->fail_status);
	l->actions |= PT_ACT_FAIL;
}

/**
 * pt_link_drained - the session's wires are gone, nothing of them can come
 * @l:   link, after PT_ACT_CLOSE
 * @now: ms
 */
void pt_link_drained(struct pt_link *l, u64 now)
{
	u64 wait = (u64)l->node->cfg.backoff_ms << (l->attempts < 5 ? l->attempts : 5);
	u32 dice;

	if (!set_state(l, PT_LINK_WAIT))
		return;
	l->attempts++;
	/* Of two that call each other at once both fail, and must not go on in step. */
	l->node->env->random(l->node->ctx, &dice, sizeof(dice));
	l->deadline = now + wait / 2 + dice % wait;
	if (l->node->id > l->peer)
		l->deadline += 2 * l->node->cfg.backoff_ms;
	if (l->dying)
		buried(l);
}

/**
 * pt_link_kill - declare the peer's incarnation dead
 * @l:      link
 * @status: what waiters get (-errno)
 * @now:    ms
 */
void pt_link_kill(struct pt_link *l, int status, u64 now)
{
	if (l->dying)
		return;
	l->dying = true;
	l->fail_status = status;
	if (l->state == PT_LINK_CLOSE)
		return;
	if (l->state == PT_LINK_IDLE || l->state == PT_LINK_WAIT)
		buried(l);
	else
		pt_link_fault(l, status, now);
}

/**
 * pt_link_bye - tell the peer that this node goes
 * @l: link; the engine sends what is pending, then closes
 *
 * The peer takes it for a death and doesn't wait for our lease: it ends here.
 */
void pt_link_bye(struct pt_link *l)
{
	l->leaving = true;
	l->lease_end = 0;
	if (l->leased) {
		l->leased = false;
		l->actions |= PT_ACT_LEASE_LOST;
	}
	l->lane[PW_URGENT].due |= PT_DUE_BYE;
	pt_lane_kick(&l->lane[PW_URGENT]);
}

void pt_link_bye_received(struct pt_link *l)
{
	pt_link_kill(l, -EHOSTDOWN, l->now);
}

void pt_link_heartbeat(struct pt_link *l, u64 sent, u64 echo)
{
	u64 end = echo + l->node->cfg.lease_ms;

	if (sent > l->peer_sent)
		l->peer_sent = sent;
	if (!echo || echo > l->now || end <= l->lease_end || l->leaving)
		return;
	/* Only a tick knows the time: what comes now may have waited for long. */
	l->lease_end = end;
}

void pt_link_lane_up(struct pt_link *l, u8 class, u64 now)
{
	l->up_lanes |= 1u << class;
	if (l->up_lanes != (1u << PW_CLASSES) - 1 || !set_state(l, PT_LINK_UP))
		return;
	l->tx_open = true;
	l->dead = false;
	l->wanted = true;
	l->attempts = 0;
	l->sessions++;
	l->refusal = PW_OK;
	l->last_heard = now;
	l->now = now;
	l->hb_next = now + l->node->cfg.hb_ms;
	l->lane[PW_URGENT].due |= PT_DUE_HB;
	l->actions |= PT_ACT_UP | PT_ACT_TX_ALL;
}

static bool has_work(const struct pt_link *l)
{
	u8 c;

	for (c = 0; c < PW_CLASSES; c++) {
		const struct pt_lane *la = &l->lane[c];

		if (la->slots_used || la->msgq.head || la->ansq.head || la->sent.head)
			return true;
	}
	return false;
}

/**
 * pt_link_tick - time has passed
 * @l:   link
 * @now: ms of CLOCK_BOOTTIME
 *
 * To be called every 10 ms or so: the bounds are kept to within that.
 */
void pt_link_tick(struct pt_link *l, u64 now)
{
	const struct pt_cfg *cfg = &l->node->cfg;
	u8 c;

	l->now = now;
	/* Arrivals are dated late, never early: death is not hastened. */
	if (l->heard || (!l->peer_inc && !has_work(l)))
		l->last_heard = now;
	l->heard = false;
	if (l->leased != (now < l->lease_end)) {
		l->leased = !l->leased;
		l->actions |= l->leased ? PT_ACT_LEASE_BACK : PT_ACT_LEASE_LOST;
	}
	if (l->state != PT_LINK_IDLE && now - l->last_heard >= cfg->dead_ms)
		pt_link_kill(l, l->peer_inc ? -EHOSTDOWN : -EHOSTUNREACH, now);

	switch (l->state) {
	case PT_LINK_IDLE:
		if (l->wanted)
			connect(l, now);
		break;
	case PT_LINK_WAIT:
		if (l->wanted && now >= l->deadline)
			connect(l, now);
		break;
	case PT_LINK_CONNECT:
	case PT_LINK_ACCEPT:
		if (now >= l->deadline)
			pt_link_fault(l, -ETIMEDOUT, now);
		break;
	case PT_LINK_UP:
		if (now >= l->hb_next) {
			l->hb_next = now + cfg->hb_ms;
			l->lane[PW_URGENT].due |= PT_DUE_HB;
			pt_lane_kick(&l->lane[PW_URGENT]);
		}
		break;
	}
	for (c = 0; c < PW_CLASSES; c++)
		pt_lane_tick(&l->lane[c], now);
}

/**
 * pt_link_fail_next - next request that can't be answered any more
 * @l: link, after PT_ACT_FAIL
 *
 * Return: a slot that is PT_SLOT_DONE (wake its waiter, it has @status), or a
 * PT_SLOT_ZOMBIE (free what it holds, and put it before the next call); NULL
 * at the end.
 */
struct pt_slot *pt_link_fail_next(struct pt_link *l)
{
	struct pt_slot *s = NULL;
	u8 c;

	for (c = 0; c < PW_CLASSES && !s; c++)
		s = pt_lane_fail_next(&l->lane[c], l->fail_status);
	return s;
}

/**
 * pt_link_state_str - for people
 * @l: link
 */
const char *pt_link_state_str(const struct pt_link *l)
{
	static const char *const name[] = {
		"idle", "connecting", "accepting", "up", "closing", "waiting"
	};

	return l->dead && l->state != PT_LINK_UP ? "dead" : name[l->state];
}
