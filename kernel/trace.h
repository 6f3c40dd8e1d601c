/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints popcorn:*: every message sent and received, pages, waits and
 * changes of a link.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM popcorn

#if !defined(POPCORN_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define POPCORN_TRACE_H

#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(popcorn_message,
	TP_PROTO(u16 node, u16 peer, u8 class, u8 kind, u16 type, u32 len),
	TP_ARGS(node, peer, class, kind, type, len),
	TP_STRUCT__entry(
		__field(u16, node)
		__field(u16, peer)
		__field(u8, class)
		__field(u8, kind)
		__field(u16, type)
		__field(u32, len)
	),
	TP_fast_assign(
		__entry->node = node;
		__entry->peer = peer;
		__entry->class = class;
		__entry->kind = kind;
		__entry->type = type;
		__entry->len = len;
	),
	TP_printk("node=%u peer=%u class=%u kind=%u type=%u len=%u", __entry->node,
		  __entry->peer, __entry->class, __entry->kind, __entry->type, __entry->len)
);

/* kind is enum pw_kind */
DEFINE_EVENT(popcorn_message, popcorn_send,
	TP_PROTO(u16 node, u16 peer, u8 class, u8 kind, u16 type, u32 len),
	TP_ARGS(node, peer, class, kind, type, len));
DEFINE_EVENT(popcorn_message, popcorn_recv,
	TP_PROTO(u16 node, u16 peer, u8 class, u8 kind, u16 type, u32 len),
	TP_ARGS(node, peer, class, kind, type, len));

TRACE_EVENT(popcorn_link,
	TP_PROTO(u16 node, u16 peer, u8 state, u32 actions, int error),
	TP_ARGS(node, peer, state, actions, error),
	TP_STRUCT__entry(
		__field(u16, node)
		__field(u16, peer)
		__field(u8, state)
		__field(u32, actions)
		__field(int, error)
	),
	TP_fast_assign(
		__entry->node = node;
		__entry->peer = peer;
		__entry->state = state;
		__entry->actions = actions;
		__entry->error = error;
	),
	TP_printk("node=%u peer=%u state=%u actions=%#x error=%d", __entry->node,
		  __entry->peer, __entry->state, __entry->actions, __entry->error)
);

TRACE_EVENT(popcorn_page,
	TP_PROTO(u16 node, u16 peer, u8 class, u32 frame, int status),
	TP_ARGS(node, peer, class, frame, status),
	TP_STRUCT__entry(
		__field(u16, node)
		__field(u16, peer)
		__field(u8, class)
		__field(u32, frame)
		__field(int, status)
	),
	TP_fast_assign(
		__entry->node = node;
		__entry->peer = peer;
		__entry->class = class;
		__entry->frame = frame;
		__entry->status = status;
	),
	TP_printk("node=%u peer=%u class=%u frame=%u status=%d", __entry->node, __entry->peer,
		  __entry->class, __entry->frame, __entry->status)
);

TRACE_EVENT(popcorn_wait,
	TP_PROTO(u16 node, u16 peer, u8 class, u16 type, u64 ns, int status),
	TP_ARGS(node, peer, class, type, ns, status),
	TP_STRUCT__entry(
		__field(u16, node)
		__field(u16, peer)
		__field(u8, class)
		__field(u16, type)
		__field(u64, ns)
		__field(int, status)
	),
	TP_fast_assign(
		__entry->node = node;
		__entry->peer = peer;
		__entry->class = class;
		__entry->type = type;
		__entry->ns = ns;
		__entry->status = status;
	),
	TP_printk("node=%u peer=%u class=%u type=%u ns=%llu status=%d", __entry->node,
		  __entry->peer, __entry->class, __entry->type, __entry->ns, __entry->status)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH kernel
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
