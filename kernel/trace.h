/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints popcorn:*: every message sent and received, pages, waits and
 * changes of a link; of shared memory: who waits where for a page, pages that
 * came and mappings that were taken away, which `popcorn dsm-prof` records.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM popcorn

#if !defined(POPCORN_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define POPCORN_TRACE_H

#include <linux/tracepoint.h>

struct dsm_page;
struct dsm_region;
struct vm_fault;

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

/*
 * A thread needs a page that isn't here, or for more than it may be used for, until
 * popcorn_dsm_end. ip: of the user's; call: within a system call, before ip.
 */
TRACE_EVENT(popcorn_dsm_fault,
	TP_PROTO(const struct dsm_region *r, const struct dsm_page *pg, const struct vm_fault *vmf,
		 bool write),
	TP_ARGS(r, pg, vmf, write),
	TP_STRUCT__entry(
		__field(u16, node)
		__field(u16, home)
		__field(u32, region)
		__field(u64, at)
		__field(u64, ip)
		__field(u32, tgid)
		__field(u8, kind)
		__field(bool, call)
	),
	TP_fast_assign(
		__entry->node = r->cfg.self;
		__entry->home = r->cfg.home;
		__entry->region = r->id;
		__entry->at = ((u64)vmf->pgoff << PAGE_SHIFT) | offset_in_page(vmf->real_address);
		__entry->ip = 0;
		__entry->call = false;
		if (!(current->flags & (PF_KTHREAD | PF_IO_WORKER))) {
			__entry->ip = instruction_pointer(current_pt_regs());
			__entry->call = syscall_get_nr(current, current_pt_regs()) >= 0;
		}
		__entry->tgid = current->tgid;
		__entry->kind = !write ? 0 : pg->p.state == PD_S ? 2 : 1;
	),
	TP_printk("node=%u home=%u region=%u at=%#llx kind=%s ip=%#llx call=%d tgid=%u",
		  __entry->node, __entry->home, __entry->region, __entry->at,
		  __print_symbolic(__entry->kind, { 0, "read" }, { 1, "write" }, { 2, "upgrade" }),
		  __entry->ip, __entry->call, __entry->tgid)
);

DECLARE_EVENT_CLASS(popcorn_dsm_page,
	TP_PROTO(const struct dsm_region *r, u32 index, int what),
	TP_ARGS(r, index, what),
	TP_STRUCT__entry(
		__field(u16, node)
		__field(u16, home)
		__field(u32, region)
		__field(u32, index)
		__field(int, what)
	),
	TP_fast_assign(
		__entry->node = r->cfg.self;
		__entry->home = r->cfg.home;
		__entry->region = r->id;
		__entry->index = index;
		__entry->what = what;
	),
	TP_printk("node=%u home=%u region=%u page=%u status=%d", __entry->node, __entry->home,
		  __entry->region, __entry->index, __entry->what)
);

/* This node's request for a page has ended: 0 or -errno. */
DEFINE_EVENT(popcorn_dsm_page, popcorn_dsm_end,
	TP_PROTO(const struct dsm_region *r, u32 index, int what),
	TP_ARGS(r, index, what));

/* A page's bytes came from another node. */
DEFINE_EVENT_PRINT(popcorn_dsm_page, popcorn_dsm_data,
	TP_PROTO(const struct dsm_region *r, u32 index, int what),
	TP_ARGS(r, index, what),
	TP_printk("node=%u home=%u region=%u page=%u from=%d", __entry->node, __entry->home,
		  __entry->region, __entry->index, __entry->what));

/* A page has left this node's mappings, or can't be written through them any more (shared). */
DEFINE_EVENT_PRINT(popcorn_dsm_page, popcorn_dsm_inv,
	TP_PROTO(const struct dsm_region *r, u32 index, int what),
	TP_ARGS(r, index, what),
	TP_printk("node=%u home=%u region=%u page=%u how=%s", __entry->node, __entry->home,
		  __entry->region, __entry->index,
		  __print_symbolic(__entry->what, { PD_INVALIDATES, "invalidated" },
				   { PD_GIVES, "given" }, { PD_SHARES, "shared" },
				   { PD_DROPS, "dropped" }, { PD_MISSES, "dropped" })));

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH kernel
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
