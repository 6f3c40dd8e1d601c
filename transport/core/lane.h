/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the core's own files share; engines don't include it.
 */
#ifndef PT_LANE_H
#define PT_LANE_H

#include "core.h"

void pt_lane_init(struct pt_lane *la, struct pt_link *l, u8 class,
		  struct pt_slot *slots, struct pt_ans *ans);
void pt_lane_reset(struct pt_lane *la);
int pt_lane_resume(struct pt_lane *la, u32 rx_seq, u32 credit, u16 slots);
void pt_lane_tell(struct pt_lane *la, struct pw_state *st);
void pt_lane_kick(struct pt_lane *la);
void pt_lane_tick(struct pt_lane *la, u64 now);
void pt_lane_fail(struct pt_lane *la, int status);
struct pt_slot *pt_lane_fail_next(struct pt_lane *la, int status);

void pt_link_begin(struct pt_link *l, enum pt_link_state state, u64 session, u64 now);
void pt_link_heartbeat(struct pt_link *l, u64 sent, u64 echo);
void pt_link_bye_received(struct pt_link *l);
void pt_link_lane_up(struct pt_link *l, u8 class, u64 now);

#endif
