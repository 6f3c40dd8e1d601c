/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Two nodes of a table of three and the link between them, with wires that do
 * what a test says: hold frames, lose them, bring them. Memory is a fresh
 * allocation for each thing, so that the sanitizers see every overrun.
 */
#ifndef PAIR_H
#define PAIR_H

#include "tap.h"
#include "../../transport/core/lane.h"

#define PAGE		4096
#define WIRE_MAX	256

struct wire_frame {
	struct pt_out out;
	u32 len;
	u8 *data;		/* header and payload; NULL: written page */
};

struct side {
	struct pt_node node;
	struct pt_link l;
	struct pt_slot *slots;
	struct pt_ans *ans;
	void *text_of[64];		/* where slots' answers go */
	struct pt_hs hs[PW_CLASSES];
	struct wire_frame wire[PW_CLASSES][WIRE_MAX];	/* sent, not arrived */
	u32 head[PW_CLASSES], tail[PW_CLASSES];
	u32 acts;		/* all actions seen */
	u32 failed;		/* slots from pt_link_fail_next() */
	s32 fail_status;
	u32 reaped;		/* messages acknowledged */
	u32 dropped;		/* messages failed */
	/* what the last events were */
	struct pt_event ev;
	u8 text[PW_MSG_MAX];
	u32 text_len;
	u32 events[8];		/* by kind */
	u32 types[4096];	/* types of PT_EV_MSG and PT_EV_REQ, in order */
	u32 type_n;
	bool keep;		/* don't consume messages */
};

struct pair {
	struct pt_table table;
	u64 now;
	bool lossy;		/* a wire loses what doesn't fit: credit was forged */
	struct side s[2];
};

extern const struct pt_env pair_env;
extern u8 pair_key[2];		/* keys by node id; 0: hmac fails */

struct pt_cfg pair_cfg(void);
struct pair *pair_new(const struct pt_cfg *a, const struct pt_cfg *b);
struct pair *pair_up(void);			/* made and connected, imm off */
void pair_free(struct pair *p);
void pair_restart(struct pair *p, int i);	/* a new incarnation */
int pair_connect(struct pair *p, int initiator);	/* 0, or why a side refused */
void side_act(struct pair *p, int i);
void pair_pump(struct pair *p, int i);
int pair_rx(struct pair *p, int to, int class);	/* one frame: what the core returned */
void pair_settle(struct pair *p);		/* all frames, both ways, until quiet */
void pair_tick(struct pair *p, u64 ms);
void pair_cut(struct pair *p);			/* both fault and drain; frames are lost */
void pair_lose(struct pair *p, int from);	/* what it has sent */
void pair_lose_lane(struct pair *p, int from, int class);

void **msg_buffers(u32 len);
struct pt_tx *msg_new(u32 len, u8 byte);
void msg_free(struct pt_tx *tx);
struct pt_slot *pair_ask(struct pair *p, int i, int class, u32 len, u32 ans_max, u64 deadline);
struct pt_slot *pair_ask_page(struct pair *p, int i, int class, u32 frame, void *page);
u32 pair_ask_pages(struct pair *p, int i, int class, u32 n, u16 type, u32 frame, void *page,
		   struct pt_slot **s);
void side_sane(struct side *s);
int pair_answer(struct pair *p, int i, int class, const struct pt_event *ev, int status,
		u32 len, u8 byte);
void slot_release(struct pair *p, int i, int class, struct pt_slot *s);

#endif
