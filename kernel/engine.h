/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the files of popcorn.ko share among themselves.
 */
#ifndef POPCORN_ENGINE_H
#define POPCORN_ENGINE_H

#include <linux/slab.h>

#include "driver.h"

#undef pr_fmt
#define pr_fmt(fmt) "popcorn: " fmt

/* ------------------------------------------------------------ parameters */

struct popcorn_params {
	struct pt_cfg cfg;
	ushort port;
	uint pool_chunks;
	bool eager;
	char *cluster;
};
extern struct popcorn_params popcorn_params;

/* Fault injection (fail_alloc=): is this allocation to fail? */
bool popcorn_alloc_fails(void);

static inline void *popcorn_zalloc(size_t size, gfp_t gfp)
{
	return popcorn_alloc_fails() ? NULL : kvzalloc(size, gfp);
}

/* ----------------------------------------------------------------- pool.c */

struct popcorn_pool_info {
	u32 chunks;
	u32 chunks_max;
	u32 frames;
	u32 free;
};

int popcorn_pool_init(u32 chunks_max);
void popcorn_pool_exit(void);
u32 popcorn_pool_trim(void);
void popcorn_pool_info(struct popcorn_pool_info *info);
int popcorn_pool_driver_add(struct popcorn_driver *drv);
void popcorn_pool_driver_remove(struct popcorn_driver *drv);
u32 popcorn_pool_generation(void);

/* Frame buffers of a message that doesn't fit one. */
void **popcorn_big_alloc(u32 len, const void *data, gfp_t gfp);
void popcorn_big_free(void **fv);

/* ---------------------------------------------------------------- nodes.c */

extern struct mutex popcorn_nodes_mutex;
extern struct list_head popcorn_nodes;	/* struct popcorn_node.list */
extern struct pt_table popcorn_table;

int popcorn_nodes_create(struct popcorn_driver *drv, const char *ip, const char *keyfile);
void popcorn_nodes_destroy(void);
int popcorn_nodes_add(const char *address);
void popcorn_nodes_exit(void);
bool popcorn_nodes_owned_by(const struct popcorn_driver *drv);

static inline void popcorn_node_hold(struct popcorn_node *node)
{
	kref_get(&node->ref);
}

/* -------------------------------------------------------------- drivers.c */

extern struct list_head popcorn_drivers;	/* best first */

struct popcorn_driver *popcorn_driver_best(void);
struct popcorn_driver *popcorn_driver_after(struct popcorn_driver *drv);
int popcorn_drivers_listen(struct popcorn_node *node);
void popcorn_drivers_unlisten(struct popcorn_node *node);

/* ----------------------------------------------------------------- link.c */

/**
 * struct popcorn_slot - beside a pt_slot
 * @buf:   pool page for the request
 * @big:   frames of a longer request, or NULL
 * @async: who is told; NULL when nobody is any more
 * @since: ms when it was asked
 * @pid:   who asked
 * @type:  message type
 */
struct popcorn_slot {
	void *buf;
	void **big;
	struct popcorn_async *async;
	u64 since;
	pid_t pid;
	u16 type;
};

/**
 * struct popcorn_ans - beside a pt_ans
 * @buf:  pool page for the answer
 * @big:  frames of a longer answer, or NULL
 * @done: who is told that the peer has it, or NULL
 */
struct popcorn_ans {
	void *buf;
	void **big;
	struct popcorn_done *done;
};

/**
 * struct popcorn_tx - one-way message of a lane
 * @pt:   the core's
 * @next: free list
 * @buf:  pool page
 * @big:  frames of a longer message, or NULL
 */
struct popcorn_tx {
	struct pt_tx pt;
	struct popcorn_tx *next;
	void *buf;
	void **big;
};

#define POPCORN_TXS	32	/* one-way messages unacknowledged, a lane */

extern struct workqueue_struct *popcorn_wq;

void popcorn_links_close(struct popcorn_node *node);
struct popcorn_link *popcorn_link_get(struct popcorn_node *node, u16 peer, bool want);
void popcorn_link_free(struct popcorn_link *l);
void popcorn_link_unlock(struct popcorn_link *l, bool may_sleep) __releases(&l->lock);
void popcorn_link_fault(struct popcorn_link *l, int error);
void popcorn_link_later(struct popcorn_link *l, u32 todo);
void popcorn_slot_end(struct popcorn_link *l, struct pt_slot *s, int status);
void popcorn_slot_put(struct popcorn_link *l, struct pt_slot *s);

#define POPCORN_TODO_KEYS	(1u << 31)	/* in popcorn_link.todo */

/* ------------------------------------------------------------------ msg.c */

struct popcorn_type_stats {
	u64 tx, tx_bytes, rx, rx_bytes;
};

int popcorn_msg_init(void);
void popcorn_msg_exit(void);
void popcorn_msg_type_stats(u16 type, struct popcorn_type_stats *sum);
const char *popcorn_msg_type_name(u16 type, char *buf, size_t len);
void popcorn_msg_received(struct popcorn_msg *msg);
void popcorn_msg_count_tx(u16 type, u32 len);
void popcorn_msg_count_rx(u16 type, u32 len);
int popcorn_node_worker(void *arg);
void popcorn_event(enum popcorn_event_what what, struct popcorn_node *node, u16 peer, u64 inc);

/* -------------------------------------------------------------- request.c */

/* Somebody who waits for a slot or a one-way entry; in popcorn_link.waiters. */
struct popcorn_waiter {
	struct list_head list;
	u64 since;
	pid_t pid;
	u16 type;
	u8 class;
};

void popcorn_tx_load(struct pt_tx *tx, void *buf, void **big, const void *data, u32 len);

/* ----------------------------------------------------------------- keys.c */

void popcorn_keys_received(struct popcorn_msg *m);
void popcorn_keys_send(struct popcorn_link *l);
void popcorn_keys_exit(void);

/* ----------------------------------------------------------------- proc.c */

int popcorn_proc_init(void);
void popcorn_proc_exit(void);

#endif
