// SPDX-License-Identifier: GPL-2.0-only
/*
 * Which drivers are loaded, best first, and what their modules' coming and
 * going does to nodes and links.
 */
#include <linux/module.h>

#include "engine.h"

LIST_HEAD(popcorn_drivers);		/* written with popcorn_nodes_mutex and */
static DEFINE_SPINLOCK(drivers_lock);	/* this, within a link's lock */
static unsigned long slots;

/* The best driver, or NULL. */
struct popcorn_driver *popcorn_driver_best(void)
{
	struct popcorn_driver *drv;

	spin_lock_bh(&drivers_lock);
	drv = list_first_entry_or_null(&popcorn_drivers, struct popcorn_driver, list);
	spin_unlock_bh(&drivers_lock);
	return drv;
}

/* The next one to try after @drv; NULL, meaning the best again, after the last. */
struct popcorn_driver *popcorn_driver_after(struct popcorn_driver *drv)
{
	struct popcorn_driver *next = NULL;

	spin_lock_bh(&drivers_lock);
	if (!list_is_last(&drv->list, &popcorn_drivers))
		next = list_next_entry(drv, list);
	spin_unlock_bh(&drivers_lock);
	return next;
}

static int listen(struct popcorn_node *node, struct popcorn_driver *drv)
{
	void *h = drv->listen(node);

	if (IS_ERR(h)) {
		pr_err("node %u: %s can't listen on port %u (%ld)\n", node->pt.id, drv->name,
		       popcorn_port(), PTR_ERR(h));
		return PTR_ERR(h);
	}
	node->listener[drv->slot] = h;
	return 0;
}

static void unlisten(struct popcorn_node *node, struct popcorn_driver *drv)
{
	void *h = node->listener[drv->slot];

	node->listener[drv->slot] = NULL;
	if (h)
		drv->unlisten(node, h);
}

int popcorn_drivers_listen(struct popcorn_node *node)
{
	struct popcorn_driver *drv;
	int r;

	list_for_each_entry(drv, &popcorn_drivers, list) {
		r = listen(node, drv);
		if (r) {
			popcorn_drivers_unlisten(node);
			return r;
		}
	}
	return 0;
}

void popcorn_drivers_unlisten(struct popcorn_node *node)
{
	struct popcorn_driver *drv;

	list_for_each_entry(drv, &popcorn_drivers, list)
		unlisten(node, drv);
}

static void driver_add(struct popcorn_driver *drv)
{
	struct list_head *p;

	list_for_each(p, &popcorn_drivers)
		if (list_entry(p, struct popcorn_driver, list)->preference < drv->preference)
			break;
	spin_lock_bh(&drivers_lock);
	list_add_tail(&drv->list, p);
	spin_unlock_bh(&drivers_lock);
}

/* No link uses it from here on: sessions over it end, others are tried. */
static void driver_leave(struct popcorn_driver *drv)
{
	struct popcorn_node *node;
	struct popcorn_link *l;
	unsigned long i;
	int c;

	spin_lock_bh(&drivers_lock);
	list_del(&drv->list);
	spin_unlock_bh(&drivers_lock);
	list_for_each_entry(node, &popcorn_nodes, list) {
		unlisten(node, drv);
		xa_for_each(&node->links, i, l) {
			spin_lock_bh(&l->lock);
			if (l->driver == drv)
				l->driver = NULL;
			spin_unlock_bh(&l->lock);
			flush_work(&l->work); /* it may be connecting */
			spin_lock_bh(&l->lock);
			for (c = 0; c < PW_CLASSES; c++)
				if (l->conn[c] && l->conn[c]->driver == drv)
					popcorn_link_fault(l, -ESHUTDOWN);
			popcorn_link_unlock(l, true);
			flush_work(&l->work);
		}
	}
}

/*
 * To insmod some errors of a module's init mean something else: a symbol that is
 * unknown; and modprobe is content if the module "exists". The log has said what it was.
 */
static int init_error(int r)
{
	return r == -ENOENT || r == -EEXIST || r == -ESRCH || r == -ENOEXEC ? -EINVAL : r;
}

/**
 * popcorn_driver_register - a driver's module was loaded
 * @drv:     driver
 * @ip:      its ip=: makes nodes, or must be the same as those there are
 * @keyfile: its keyfile=, or NULL
 *
 * Process context. Return: 0, or -errno with a line in the log, for the module's init
 * to return.
 */
int popcorn_driver_register(struct popcorn_driver *drv, const char *ip, const char *keyfile)
{
	struct popcorn_node *node;
	int r;

	mutex_lock(&popcorn_nodes_mutex);
	drv->slot = find_first_zero_bit(&slots, POPCORN_DRIVERS_MAX);
	if (drv->slot == POPCORN_DRIVERS_MAX) {
		r = -ENOSPC;
		goto unlock;
	}
	__set_bit(drv->slot, &slots);
	r = popcorn_pool_driver_add(drv);
	if (r)
		goto slot;
	driver_add(drv);
	list_for_each_entry(node, &popcorn_nodes, list) {
		r = listen(node, drv);
		if (r)
			goto leave;
	}
	r = popcorn_nodes_create(drv, ip, keyfile);
	if (!r)
		goto unlock;
leave:
	driver_leave(drv);
	popcorn_pool_driver_remove(drv);
slot:
	__clear_bit(drv->slot, &slots);
unlock:
	mutex_unlock(&popcorn_nodes_mutex);
	return init_error(r);
}
EXPORT_SYMBOL_GPL(popcorn_driver_register);

/**
 * popcorn_driver_unregister - a driver's module goes
 * @drv: driver
 *
 * If its module made the nodes they go too; else the links change to another
 * driver. Process context; bounded. When it returns the driver is not called
 * any more; connections that somebody counts may still be released.
 */
void popcorn_driver_unregister(struct popcorn_driver *drv)
{
	mutex_lock(&popcorn_nodes_mutex);
	if (popcorn_nodes_owned_by(drv))
		popcorn_nodes_destroy();
	driver_leave(drv);
	popcorn_pool_driver_remove(drv);
	__clear_bit(drv->slot, &slots);
	mutex_unlock(&popcorn_nodes_mutex);
}
EXPORT_SYMBOL_GPL(popcorn_driver_unregister);
