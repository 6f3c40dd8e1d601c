/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Messages between nodes in user mode. The same calls as kernel/msg.h, as far
 * as a process can have them, so that a layer above reads the same in both.
 *
 * Context. One thread of a node polls at a time: one that waits, one in
 * popcorn_poll(), or the node's service thread. Handlers and completions run in
 * that thread and must not wait: they send with POPCORN_NOWAIT and use
 * asynchronous requests; what would wait returns -EDEADLK there.
 */
#ifndef POPCORN_RUNTIME_TRANSPORT_H
#define POPCORN_RUNTIME_TRANSPORT_H

#include <transport/core/core.h>

struct popcorn_node;

#define POPCORN_TYPES	256	/* message types are below that */

enum popcorn_wire { POPCORN_TCP, POPCORN_SHM };

/**
 * enum popcorn_mode - what a thread does that waits for a message
 * @POPCORN_BLOCK: looks for some microseconds, then sleeps
 * @POPCORN_BUSY:  looks until it comes; wants a core of its own
 */
enum popcorn_mode { POPCORN_BLOCK, POPCORN_BUSY };

/**
 * enum popcorn_event_what - what happened to a peer
 * @POPCORN_PEER_UP:    a session came up (also after a reconnect)
 * @POPCORN_PEER_DEAD:  that incarnation is gone for good
 * @POPCORN_LEASE_LOST: stop using what the peer granted
 * @POPCORN_LEASE_BACK: go on
 */
enum popcorn_event_what {
	POPCORN_PEER_UP,
	POPCORN_PEER_DEAD,
	POPCORN_LEASE_LOST,
	POPCORN_LEASE_BACK,
};

/**
 * struct popcorn_event - what @event of struct popcorn_opts is told
 * @node:        whose view
 * @what:        enum popcorn_event_what
 * @peer:        whom it is about
 * @incarnation: the peer's
 */
struct popcorn_event {
	struct popcorn_node *node;
	enum popcorn_event_what what;
	u16 peer;
	u64 incarnation;
};

/**
 * struct popcorn_opts - how a node is made; popcorn_opts_init() fills in defaults
 * @nodes:   addresses separated by commas, or the path of a file (with a '/' in it)
 *           that has one a line and comments after '#'
 * @self:    own position in @nodes, or -1: the first address that is local
 * @cluster: its name; nodes of another cluster are refused
 * @keyfile: secret shared by all nodes, mode 0600, or NULL
 * @port:    TCP port; part of the name of the socket with shared memory
 * @wire:    TCP, or shared memory for nodes of one machine
 * @mode:    see enum popcorn_mode
 * @spin_us: POPCORN_BLOCK: microseconds to look before sleeping
 * @service: a thread of the node's own polls when no other does. Without it the
 *           program must wait or call popcorn_poll() every few heartbeats.
 * @single:  one thread alone uses the node: no locks. Without @service
 * @frames:  pages in the pool
 * @backlog: one-way messages waiting or unacknowledged, a lane
 * @cfg:     the core's limits and times
 * @event:   told of peers, in the thread that polls; must not wait. Or NULL
 * @log:     takes one line without its newline; NULL: standard error
 * @above:   the layer above's: its handlers find it at the node
 */
struct popcorn_opts {
	const char *nodes;
	int self;
	const char *cluster;
	const char *keyfile;
	u16 port;
	enum popcorn_wire wire;
	enum popcorn_mode mode;
	u32 spin_us;
	bool service;
	bool single;
	u32 frames;
	u16 backlog;
	struct pt_cfg cfg;
	void (*event)(const struct popcorn_event *ev);
	void (*log)(const char *line);
	void *above;
};

void popcorn_opts_init(struct popcorn_opts *o);
int popcorn_node_new(const struct popcorn_opts *o, struct popcorn_node **out);
void popcorn_node_free(struct popcorn_node *n);
int popcorn_node_add(struct popcorn_node *n, const char *addr);
u16 popcorn_node_id(const struct popcorn_node *n);
u32 popcorn_node_count(const struct popcorn_node *n);
int popcorn_poll(struct popcorn_node *n, u32 timeout_us);
int popcorn_look(struct popcorn_node *n);
void popcorn_serve(struct popcorn_node *n, const _Atomic bool *stop);

/**
 * struct popcorn_frame - one page of a node's pool
 * @data: its bytes
 * @id:   its name on the wire
 */
struct popcorn_frame {
	void *data;
	struct popcorn_frame *next;
	u32 id;
};

struct popcorn_frame *popcorn_frame_alloc(struct popcorn_node *n);
void popcorn_frame_free(struct popcorn_node *n, struct popcorn_frame *f);

/**
 * struct popcorn_msg - a received message
 * @node:    the node that received it
 * @from:    id of the node that sent it
 * @type:    message type
 * @class:   enum pw_class
 * @request: an answer is wanted: end with popcorn_answer*(); else with
 *           popcorn_msg_done()
 * @pages:   pages that the request wants: with one, popcorn_answer_page() may
 *           be used, with several only popcorn_answer_pages(), or _some() in parts
 * @len:     payload bytes
 * @max:     longest answer, bytes
 * @data:    payload, all of it, 8-byte aligned
 *
 * It lives until it is answered or done, also if the link breaks meanwhile. The
 * rest of what belongs to it is the engine's.
 */
struct popcorn_msg {
	struct popcorn_node *node;
	u16 from;
	u16 type;
	u8 class;
	bool request;
	u8 pages;
	u32 len;
	u32 max;
	const void *data;
};

/**
 * struct popcorn_msg_ops - who handles a message type
 * @name:   for the log
 * @handle: gets the message. May end it at once or leave it for later; before
 *          another thread sees it, popcorn_msg_keep()
 */
struct popcorn_msg_ops {
	const char *name;
	void (*handle)(struct popcorn_msg *m);
};

int popcorn_msg_register(u16 type, const struct popcorn_msg_ops *ops);
void popcorn_msg_unregister(u16 type);
void popcorn_msg_keep(struct popcorn_msg *m);
void popcorn_msg_done(struct popcorn_msg *m);
int popcorn_answer(struct popcorn_msg *m, int status, const void *buf, u32 len);

/**
 * struct popcorn_done - told once when something has ended; the caller's memory
 * @fn:     called as handlers are; @d may be reused or freed there
 * @status: 0 or -errno
 * @next:   the engine's
 */
struct popcorn_done {
	void (*fn)(struct popcorn_done *d);
	int status;
	struct popcorn_done *next;
};

int popcorn_answer_page(struct popcorn_msg *m, const void *page, struct popcorn_done *d);
int popcorn_answer_pages(struct popcorn_msg *m, const void **page, struct popcorn_done **d);
int popcorn_answer_some(struct popcorn_msg *m, u32 first, u32 n, const void **page,
			struct popcorn_done **d, const int *error);

#define POPCORN_NOWAIT	1	/* -EAGAIN instead of waiting for a free entry */

int popcorn_send(struct popcorn_node *n, u16 dst, u8 class, u16 type,
		 const void *buf, u32 len, unsigned int flags);
int popcorn_request(struct popcorn_node *n, u16 dst, u8 class, u16 type, const void *req, u32 len,
		    void *ans, u32 ans_max, u32 timeout_ms);
int popcorn_request_page(struct popcorn_node *n, u16 dst, u8 class, u16 type, const void *req,
			 u32 len, struct popcorn_frame **frame, u32 timeout_ms);

/**
 * struct popcorn_async - a request that nobody waits for
 * @done:  fn is set by the caller; status as popcorn_request() returns
 * @len:   answer bytes when done
 * @frame: set by the caller: a frame for a page request, else NULL. When done
 *         with status 0 it holds the page and is the caller's again. With an
 *         error the engine has kept it and will free it: NULL
 */
struct popcorn_async {
	struct popcorn_done done;
	u32 len;
	struct popcorn_frame *frame;
};

int popcorn_request_async(struct popcorn_node *n, u16 dst, u8 class, u16 type, const void *req,
			  u32 len, void *ans, u32 ans_max, u32 timeout_ms, unsigned int flags,
			  struct popcorn_async *a);
int popcorn_request_pages(struct popcorn_node *n, u16 dst, u8 class, u16 type, const void *req,
			  u32 len, u32 timeout_ms, unsigned int flags, struct popcorn_async **a,
			  u32 count);

/**
 * struct popcorn_peer - how things stand with a peer
 * @state:    for people
 * @up:       messages flow
 * @leased:   what the peer granted may be used
 * @sessions: that came up so far
 * @error:    what ended the last one, -errno
 * @stats:    of each class
 */
struct popcorn_peer {
	const char *state;
	bool up;
	bool leased;
	u32 sessions;
	int error;
	struct pt_stats stats[PW_CLASSES];
};

int popcorn_peer(struct popcorn_node *n, u16 id, struct popcorn_peer *out);
bool popcorn_peer_lease_ok(struct popcorn_node *n, u16 id);
int popcorn_connect(struct popcorn_node *n, u16 id, u32 timeout_ms);

#endif
