/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Inside msg_rdma.ko: devices with their registrations of the page pool
 * (device.c), queue pairs (qp.c) and how they are connected (cm.c).
 *
 * Locks, inside those of kernel/node.h:
 *   devices_mutex    list of devices, their mappings of chunks; taken inside
 *                    the pool's mutex, never around it
 *   pending_lock     responders that are not a link's yet, listening nodes; leaf
 */
#ifndef POPCORN_RDMA_H
#define POPCORN_RDMA_H

#include <linux/irq_work.h>
#include <linux/refcount.h>
#include <rdma/ib_verbs.h>
#include <rdma/rdma_cm.h>

#include "../kernel/driver.h"

#define RDMA_DEVICES	8

struct rdma_conn;

/**
 * struct rdma_map - one chunk of the pool, seen from one device
 * @mr:    covers the whole chunk; remote peers may write
 * @valid: the device has carried out the registration
 * @dma:   address of each page for local use
 */
struct rdma_map {
	struct ib_mr *mr;
	bool valid;
	u64 dma[POPCORN_CHUNK_PAGES];
};

/* chunk->priv[]: by device index. */
struct rdma_maps {
	struct rdma_map *map[RDMA_DEVICES];
};

/**
 * struct rdma_dev - a device that is or was used
 * @dev:   its verbs device
 * @pd:    protection domain of all connections and registrations
 * @index: in rdma_maps
 * @users: connections, plus one while the device is there
 * @gone:  being removed: no new connection
 * @idle:  woken when @users falls to one
 * @conns: connections
 */
struct rdma_dev {
	struct list_head list;
	struct ib_device *dev;
	struct ib_pd *pd;
	unsigned int index;
	unsigned int users;
	bool gone;
	wait_queue_head_t idle;
	struct list_head conns;
};

/* Frames that don't lie in the pool are copied into the send ring: headers, handshakes. */
#define RDMA_COPY	128

/**
 * struct rdma_rx - a posted receive
 * @cqe:  completion
 * @conn: of which connection
 * @buf:  the lane's buffer that is posted here, or NULL
 * @wr, @sge: the request, filled in when it is posted first: a buffer stays
 *        where it is
 */
struct rdma_rx {
	struct ib_cqe cqe;
	struct rdma_conn *conn;
	struct popcorn_rxbuf *buf;
	struct ib_recv_wr wr;
	struct ib_sge sge;
};

/**
 * struct rdma_tx - place of one work request in the send ring
 * @cqe:  completion, when it is signalled
 * @conn: of which connection
 * @index: in the ring
 * @posted: bulk: when, if it is signalled, ns
 */
struct rdma_tx {
	struct ib_cqe cqe;
	struct rdma_conn *conn;
	u16 index;
	u64 posted;
};

/**
 * struct rdma_batch - work requests that are posted together
 * @wr, @sge: the requests, chained; each with one buffer
 * @n:        how many
 */
struct rdma_batch {
	struct ib_rdma_wr wr[8];
	struct ib_sge sge[8];
	unsigned int n;
};

/**
 * enum rdma_phase - how far a connection is
 * @RDMA_DIALLING: initiator, until ESTABLISHED
 * @RDMA_PROVING:  PROOF (responder) or READY (initiator) is awaited
 * @RDMA_OPEN:     frames go both ways
 * @RDMA_OVER:     it has failed or was refused
 */
enum rdma_phase { RDMA_DIALLING, RDMA_PROVING, RDMA_OPEN, RDMA_OVER };

/**
 * enum rdma_flow - sending stops for a registration
 * @RDMA_FLOWS: frames are sent
 * @RDMA_LAST:  one more, which is signalled
 * @RDMA_QUIET: none; when that one is complete the send queue is empty
 */
enum rdma_flow { RDMA_FLOWS, RDMA_LAST, RDMA_QUIET };

/**
 * struct rdma_conn - one lane's queue pair
 * @base:    the engine's part
 * @id:      communication identifier, its queue pair is id->qp
 * @dev:     device, counted
 * @on_dev:  in dev->conns
 * @pending: responder, not the link's yet: in the pending list
 * @node:    responder: node that was called
 * @reap:    ends a responder that isn't the link's
 * @phase:   enum rdma_phase
 * @flow:    enum rdma_flow; link's lock
 * @initiator: we called
 * @cq:      for both directions
 * @complete: what RDMA's core does when @cq has something
 * @completed: has an interrupt do it
 * @rx:      receives: pt_cfg_receives() for buffers of the lane
 * @hs_cqe:  completion of the one receive for the handshake
 * @hs_buf:  what that receives
 * @hs_dma:  where
 * @tx:      send ring, @depth work requests
 * @copy:    RDMA_COPY bytes for each of them
 * @copy_dma: where
 * @depth:   power of two
 * @limit:   work requests that may be under way; less than @depth for bulk
 * @unsignalled: posted since the last one that is signalled
 * @head, @tail: posted and completed work requests, modulo 2^16; link's lock,
 *           or before the connection is the link's, nobody else's
 * @batch:   being filled; whoever may move @head
 * @blocked: there was more to send than @limit lets
 * @done:    bulk: when the last completion came, ns
 * @narrow:  bulk: since when @limit is kept low, ns; or 0
 * @least_ns: shortest time from a post to its completion since then
 * @gap_ns:  between completions since then, while @limit sets the pace, for one
 * @drained: woken when @tail reaches @head
 * @reg_cqe, @reg_done, @reg_status: registration under way
 * @keys:    the peer's remote keys by chunk; link's lock
 * @nkeys:   entries there
 */
struct rdma_conn {
	struct popcorn_conn base;
	struct rdma_cm_id *id;
	struct rdma_dev *dev;
	struct list_head on_dev;
	struct list_head pending;
	struct popcorn_node *node;
	struct delayed_work reap;
	u8 phase;
	u8 flow;
	bool initiator;
	struct ib_cq *cq;
	void (*complete)(struct ib_cq *cq, void *conn);
	struct irq_work completed;
	struct rdma_rx *rx;
	struct ib_cqe hs_cqe;
	void *hs_buf;
	u64 hs_dma;
	struct rdma_tx *tx;
	void *copy;
	u64 copy_dma;
	u16 depth;
	u16 limit;
	u16 unsignalled;
	u16 head;
	u16 tail;
	bool blocked;
	struct rdma_batch batch;
	u64 done;
	u64 narrow;
	u32 least_ns;
	u32 gap_ns;
	wait_queue_head_t drained;
	struct ib_cqe reg_cqe;
	struct completion reg_done;
	int reg_status;
	struct pw_key *keys;
	u32 nkeys;
};

extern struct popcorn_driver rdma_driver;
extern struct workqueue_struct *rdma_wq;

static inline struct rdma_map *rdma_chunk_map(const struct rdma_dev *d,
					      const struct popcorn_chunk *chunk)
{
	const struct rdma_maps *maps = chunk->priv[rdma_driver.slot];

	return maps->map[d->index];
}

/* Local address of a byte of the pool; @off within the frame. */
static inline u64 rdma_frame_dma(const struct rdma_dev *d, const struct popcorn_frame *f)
{
	return rdma_chunk_map(d, f->chunk)->dma[f->id % POPCORN_CHUNK_PAGES];
}

int rdma_devices_init(void);
void rdma_devices_exit(void);
struct rdma_dev *rdma_dev_get(struct ib_device *dev, struct rdma_conn *c);
void rdma_dev_put(struct rdma_dev *d, struct rdma_conn *c);
int rdma_chunk_add(struct popcorn_chunk *chunk);
void rdma_chunk_remove(struct popcorn_chunk *chunk);

u32 rdma_dev_keys(struct rdma_dev *d, struct rdma_conn *c, struct pw_key *keys, u32 max,
		  u32 *chunk);

static inline struct rdma_conn *rdma_to_conn(struct popcorn_conn *pc)
{
	return container_of(pc, struct rdma_conn, base);
}

struct rdma_conn *rdma_conn_alloc(struct rdma_cm_id *id, bool initiator);
int rdma_conn_setup(struct rdma_conn *c);
void rdma_conn_teardown(struct rdma_conn *c);
int rdma_conn_receive_handshake(struct rdma_conn *c);
int rdma_conn_send_handshake(struct rdma_conn *c, const void *data, u32 len);
int rdma_conn_take_buffers(struct rdma_conn *c);
void rdma_conn_wc_failed(struct rdma_conn *c, const struct ib_wc *wc, const char *what);
void rdma_conn_handshake_done(struct ib_cq *cq, struct ib_wc *wc);
void rdma_conn_reap(struct work_struct *work);
int rdma_conn_register(struct rdma_conn *c, struct ib_mr *mr);
void rdma_conn_fail(struct rdma_conn *c, int error);
void *rdma_listen_add(struct popcorn_node *node);
void rdma_listen_del(struct popcorn_node *node, void *handle);
int rdma_conn_connect(struct popcorn_link *link, u8 class);
void rdma_conn_close(struct popcorn_conn *pc, bool flush);
void rdma_conn_release(struct popcorn_conn *pc);
void rdma_conns_wait(void);
int rdma_conn_pump(struct popcorn_conn *pc);
void rdma_conn_page_arrived(struct popcorn_conn *pc, struct popcorn_frame *f);
u32 rdma_conn_keys(struct popcorn_conn *pc, struct pw_key *keys, u32 max, u32 *chunk);
void rdma_conn_keys_received(struct popcorn_conn *pc, const struct pw_key *keys, u32 n);

/* Module parameters. */
extern char *rdma_param_device;
extern unsigned int rdma_param_port;

#endif
