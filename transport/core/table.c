// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Node table: ids are positions in the list that every node was given. Each
 * entry carries the hash of the table up to itself, so that two nodes of which
 * one knows more can still agree on what they share.
 */
#include "core.h"

/* FNV-1a, 64 bits (RFC draft eastlake-fnv): tells tables apart by accident, not by malice. */
static u64 fnv1a(u64 h, const void *data, u32 len)
{
	const u8 *p = data;

	while (len--)
		h = (h ^ *p++) * 0x100000001b3ull;
	return h;
}

/**
 * pt_table_init - an empty table
 * @t:       table; its memory is the caller's
 * @cluster: the cluster's name, part of the hash
 */
void pt_table_init(struct pt_table *t, const char *cluster)
{
	memset(t, 0, sizeof(*t));
	t->seed = fnv1a(0xcbf29ce484222325ull, cluster, strlen(cluster));
}

/**
 * pt_table_find - id of an address
 * @t: table
 * @a: address
 *
 * Return: the id, or -ENOENT.
 */
int pt_table_find(const struct pt_table *t, const struct pt_addr *a)
{
	u32 i;

	for (i = 0; i < t->n; i++)
		if (!memcmp(pt_table_addr(t, i), a, sizeof(*a)))
			return i;
	return -ENOENT;
}

/**
 * pt_table_add - append a node
 * @t:        table; the caller serialises writers
 * @a:        its address
 * @blk:      memory for 256 entries, zeroed, or NULL if t->n isn't a multiple of 256
 * @took_blk: whether @blk now belongs to the table
 *
 * Return: the new id, -EEXIST, -ENOSPC, or -ENOMEM if @blk was needed and NULL.
 */
int pt_table_add(struct pt_table *t, const struct pt_addr *a, void *blk, bool *took_blk)
{
	struct pt_table_entry *e;
	u32 id = t->n;

	*took_blk = false;
	if (pt_table_find(t, a) >= 0)
		return -EEXIST;
	if (id >= PT_NODES_MAX)
		return -ENOSPC;
	if (!t->blk[id >> 8]) {
		if (!blk)
			return -ENOMEM;
		t->blk[id >> 8] = blk;
		*took_blk = true;
	}
	e = &t->blk[id >> 8][id & 255];
	e->addr = *a;
	e->hash = fnv1a(pt_table_hash(t, id), a->ip, sizeof(a->ip));
	pt_store_release(&t->n, id + 1);
	return id;
}

/**
 * pt_table_hash - hash of the cluster's name and the first entries
 * @t: table
 * @n: how many entries, at most t->n
 */
u64 pt_table_hash(const struct pt_table *t, u32 n)
{
	return n ? t->blk[(n - 1) >> 8][(n - 1) & 255].hash : t->seed;
}
