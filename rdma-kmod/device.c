// SPDX-License-Identifier: GPL-2.0-only
/*
 * RDMA devices: a protection domain each, and the page pool mapped and
 * registered once. A device may go at any time (rdma link del, unplugging):
 * its connections are failed and closed, then its registrations are undone;
 * pages and messages stay, and go on over the next session.
 */
#include <linux/mutex.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "rdma.h"

static DEFINE_MUTEX(devices_mutex);
static LIST_HEAD(devices);
static unsigned long devices_used;	/* bit an index */
static bool unloading;

static void unmap_pages(struct rdma_dev *d, struct rdma_map *m, int n)
{
	while (n--)
		ib_dma_unmap_page(d->dev, m->dma[n], PAGE_SIZE, DMA_BIDIRECTIONAL);
}

/* devices_mutex held. */
static int map_chunk(struct rdma_dev *d, struct popcorn_chunk *chunk)
{
	struct rdma_maps *maps = chunk->priv[rdma_driver.slot];
	struct rdma_map *m;
	int i, err = -ENOMEM;

	if (!maps) {
		maps = kzalloc(sizeof(*maps), GFP_KERNEL);
		if (!maps)
			return -ENOMEM;
		chunk->priv[rdma_driver.slot] = maps;
	}
	if (maps->map[d->index])
		return 0;
	m = kvzalloc(sizeof(*m), GFP_KERNEL);
	if (!m)
		return -ENOMEM;
	for (i = 0; i < POPCORN_CHUNK_PAGES; i++) {
		m->dma[i] = ib_dma_map_page(d->dev, chunk->frame[i].page, 0, PAGE_SIZE,
					    DMA_BIDIRECTIONAL);
		if (ib_dma_mapping_error(d->dev, m->dma[i]))
			goto unmap;
	}
	m->mr = ib_alloc_mr(d->pd, IB_MR_TYPE_MEM_REG, POPCORN_CHUNK_PAGES);
	if (IS_ERR(m->mr)) {
		err = PTR_ERR(m->mr);
		goto unmap;
	}
	maps->map[d->index] = m;
	return 0;

unmap:
	unmap_pages(d, m, i);
	kvfree(m);
	return err;
}

/* devices_mutex held; no connection of the device is left. */
static void unmap_chunk(struct rdma_dev *d, struct popcorn_chunk *chunk)
{
	struct rdma_maps *maps = chunk->priv[rdma_driver.slot];
	struct rdma_map *m = maps ? maps->map[d->index] : NULL;

	if (!m)
		return;
	maps->map[d->index] = NULL;
	ib_dereg_mr(m->mr);
	unmap_pages(d, m, POPCORN_CHUNK_PAGES);
	kvfree(m);
}

static int map_one(struct popcorn_chunk *chunk, void *d)
{
	int err;

	mutex_lock(&devices_mutex);
	err = map_chunk(d, chunk);
	mutex_unlock(&devices_mutex);
	return err;
}

static int unmap_one(struct popcorn_chunk *chunk, void *d)
{
	mutex_lock(&devices_mutex);
	unmap_chunk(d, chunk);
	mutex_unlock(&devices_mutex);
	return 0;
}

/**
 * rdma_chunk_add - map a new chunk on all devices
 * @chunk: chunk
 *
 * Pool's mutex held. Return: 0 or -errno; nothing is mapped then.
 */
int rdma_chunk_add(struct popcorn_chunk *chunk)
{
	struct rdma_dev *d;
	int err = 0;

	mutex_lock(&devices_mutex);
	list_for_each_entry(d, &devices, list) {
		err = map_chunk(d, chunk);
		if (err)
			break;
	}
	mutex_unlock(&devices_mutex);
	if (err)
		rdma_chunk_remove(chunk);
	return err;
}

/**
 * rdma_chunk_remove - undo it
 * @chunk: chunk; nothing of it is in use
 */
void rdma_chunk_remove(struct popcorn_chunk *chunk)
{
	struct rdma_dev *d;

	mutex_lock(&devices_mutex);
	list_for_each_entry(d, &devices, list)
		unmap_chunk(d, chunk);
	kfree(chunk->priv[rdma_driver.slot]);
	chunk->priv[rdma_driver.slot] = NULL;
	mutex_unlock(&devices_mutex);
}

/* devices_mutex held. */
static struct rdma_dev *find(struct ib_device *dev)
{
	struct rdma_dev *d;

	list_for_each_entry(d, &devices, list)
		if (d->dev == dev)
			return d;
	return NULL;
}

static struct rdma_dev *create(struct ib_device *dev)
{
	struct rdma_dev *d;

	if (devices_used == (1ul << RDMA_DEVICES) - 1)
		return ERR_PTR(-ENOSPC);
	if (dev->attrs.max_fast_reg_page_list_len < POPCORN_CHUNK_PAGES) {
		pr_err("msg_rdma: %s registers at most %u pages at once, %u are needed\n",
		       dev_name(&dev->dev), dev->attrs.max_fast_reg_page_list_len,
		       POPCORN_CHUNK_PAGES);
		return ERR_PTR(-EOPNOTSUPP);
	}
	d = kzalloc(sizeof(*d), GFP_KERNEL);
	if (!d)
		return ERR_PTR(-ENOMEM);
	d->pd = ib_alloc_pd(dev, 0);
	if (IS_ERR(d->pd)) {
		int err = PTR_ERR(d->pd);

		kfree(d);
		return ERR_PTR(err);
	}
	d->dev = dev;
	d->index = ffz(devices_used);
	d->users = 1;
	init_waitqueue_head(&d->idle);
	INIT_LIST_HEAD(&d->conns);
	devices_used |= 1ul << d->index;
	list_add_tail(&d->list, &devices);
	return d;
}

/**
 * rdma_dev_get - the device of a new connection, made ready if it is new
 * @dev: verbs device
 * @c:   connection; it will be failed if the device goes
 *
 * Process context. Return: the device or ERR_PTR.
 */
struct rdma_dev *rdma_dev_get(struct ib_device *dev, struct rdma_conn *c)
{
	struct rdma_dev *d;
	int err;

	mutex_lock(&devices_mutex);
	d = find(dev);
	if (!d && !unloading)
		d = create(dev);
	if (!IS_ERR_OR_NULL(d) && !d->gone) {
		d->users++;
		list_add_tail(&c->on_dev, &d->conns);
	} else if (!IS_ERR(d)) {
		d = ERR_PTR(-ENODEV);
	}
	mutex_unlock(&devices_mutex);
	if (IS_ERR(d))
		return d;
	err = popcorn_pool_for_each(map_one, d);
	if (err) {
		rdma_dev_put(d, c);
		return ERR_PTR(err);
	}
	return d;
}

/**
 * rdma_dev_put - the connection has destroyed all that it had on the device
 * @d: device
 * @c: connection
 */
void rdma_dev_put(struct rdma_dev *d, struct rdma_conn *c)
{
	mutex_lock(&devices_mutex);
	list_del_init(&c->on_dev);
	if (--d->users == 1)
		wake_up(&d->idle);
	mutex_unlock(&devices_mutex);
}

static bool is_idle(struct rdma_dev *d)
{
	bool idle;

	mutex_lock(&devices_mutex);
	idle = d->users == 1;
	mutex_unlock(&devices_mutex);
	return idle;
}

static int client_add(struct ib_device *dev)
{
	return 0;	/* made ready by the first connection that goes over it */
}

/*
 * The device goes: the core waits for this. Connections are failed again each
 * second, for those that were just being made the first time; @gone lets no more
 * of them come. This ends, as each ends without its peer: one of a link is closed
 * by the link's work (which may be in the middle of a registration, 10 s), one
 * that no link has by the reaper, at once; and draining a queue pair that is in
 * the error state, like destroying it, is between us and the device.
 */
static void client_remove(struct ib_device *dev, void *data)
{
	struct rdma_conn *c;
	struct rdma_dev *d;

	mutex_lock(&devices_mutex);
	d = find(dev);
	if (d)
		d->gone = true;
	mutex_unlock(&devices_mutex);
	if (!d)
		return;
	do {
		mutex_lock(&devices_mutex);
		list_for_each_entry(c, &d->conns, on_dev)
			rdma_conn_fail(c, -ENODEV);
		mutex_unlock(&devices_mutex);
	} while (!wait_event_timeout(d->idle, is_idle(d), HZ));
	if (!unloading)	/* else the pool has forgotten this driver */
		popcorn_pool_for_each(unmap_one, d);
	mutex_lock(&devices_mutex);
	list_del(&d->list);
	devices_used &= ~(1ul << d->index);
	mutex_unlock(&devices_mutex);
	ib_dealloc_pd(d->pd);
	kfree(d);
}

static struct ib_client client = {
	.name = "popcorn",
	.add = client_add,
	.remove = client_remove,
};

/**
 * rdma_devices_init - begin to watch devices
 *
 * Return: 0 or -errno.
 */
int rdma_devices_init(void)
{
	return ib_register_client(&client);
}

/**
 * rdma_devices_exit - give all devices back; no connection is left
 */
void rdma_devices_exit(void)
{
	mutex_lock(&devices_mutex);
	unloading = true;
	mutex_unlock(&devices_mutex);
	ib_unregister_client(&client);
}

/*
 * Register a chunk with the device, if nobody has. Registrations are work
 * requests: they need a connection, and any will do. The pool's mutex keeps
 * others from it and the mapping alive; devices_mutex isn't held, as the device
 * may go while it works.
 */
static int make_valid(struct rdma_map *m, struct popcorn_chunk *chunk, struct rdma_conn *c)
{
	struct scatterlist *sg;
	int i, n, err;

	sg = kvmalloc_array(POPCORN_CHUNK_PAGES, sizeof(*sg), GFP_KERNEL);
	if (!sg)
		return -ENOMEM;
	sg_init_table(sg, POPCORN_CHUNK_PAGES);
	for (i = 0; i < POPCORN_CHUNK_PAGES; i++) {
		sg_set_page(&sg[i], chunk->frame[i].page, PAGE_SIZE, 0);
		sg_dma_address(&sg[i]) = m->dma[i];
		sg_dma_len(&sg[i]) = PAGE_SIZE;
	}
	n = ib_map_mr_sg(m->mr, sg, POPCORN_CHUNK_PAGES, NULL, PAGE_SIZE);
	kvfree(sg);
	if (n != POPCORN_CHUNK_PAGES)
		return n < 0 ? n : -EINVAL;
	ib_update_fast_reg_key(m->mr, ib_inc_rkey(m->mr->rkey));
	err = rdma_conn_register(c, m->mr);
	m->valid = !err;
	return err;
}

struct keys_arg {
	struct rdma_dev *d;
	struct rdma_conn *c;
	struct pw_key *keys;
	u32 max, n, from;
	u32 *next;
};

static int key_of(struct popcorn_chunk *chunk, void *data)
{
	struct keys_arg *a = data;
	struct rdma_map *m;
	int err = 0;

	if (chunk->index < a->from || a->n == a->max)
		return 0;
	m = rdma_chunk_map(a->d, chunk);
	if (!m->valid)
		err = make_valid(m, chunk, a->c);
	if (!err) {
		a->keys[a->n++] = (struct pw_key){
			.addr = cpu_to_le64(m->mr->iova),
			.rkey = cpu_to_le32(m->mr->rkey),
			.chunk = cpu_to_le32(chunk->index),
			.pages = cpu_to_le32(POPCORN_CHUNK_PAGES),
		};
		*a->next = chunk->index + 1;
	}
	return err;
}

/**
 * rdma_dev_keys - remote keys of the pool's chunks on a device
 * @d:     device
 * @c:     connection on it, up: registrations that are due go there
 * @keys:  filled in
 * @max:   room there
 * @chunk: first chunk wanted; moved on
 *
 * Process context. Return: how many were filled in.
 */
u32 rdma_dev_keys(struct rdma_dev *d, struct rdma_conn *c, struct pw_key *keys, u32 max,
		  u32 *chunk)
{
	struct keys_arg a = { .d = d, .c = c, .keys = keys, .max = max, .from = *chunk,
			      .next = chunk };
	int err = popcorn_pool_for_each(key_of, &a);

	if (err)
		pr_err("msg_rdma: can't register pages with %s (%d)\n",
		       dev_name(&d->dev->dev), err);
	return a.n;
}
