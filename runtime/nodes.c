// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The node table as users give it: a list of addresses, or a file of them. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine.h"

static const u8 mapped[12] = { [10] = 0xff, [11] = 0xff };

/**
 * ue_addr_parse() - an address as the core keeps it
 * @s: IPv4 or IPv6 address
 * @a: result
 *
 * Return: 0 or -EINVAL.
 */
int ue_addr_parse(const char *s, struct pt_addr *a)
{
	if (inet_pton(AF_INET6, s, a->ip) == 1)
		return 0;
	memcpy(a->ip, mapped, sizeof(mapped));
	return inet_pton(AF_INET, s, a->ip + 12) == 1 ? 0 : -EINVAL;
}

/**
 * ue_addr_str() - an address for people
 * @a:    address
 * @buf:  result
 * @size: of @buf, at least INET6_ADDRSTRLEN
 */
void ue_addr_str(const struct pt_addr *a, char *buf, size_t size)
{
	if (!memcmp(a->ip, mapped, sizeof(mapped)))
		inet_ntop(AF_INET, a->ip + 12, buf, size);
	else
		inet_ntop(AF_INET6, a->ip, buf, size);
}

/**
 * ue_table_add() - append a node
 * @t:    table
 * @addr: its address
 *
 * Return: its id; -EINVAL, -EEXIST, -ENOSPC, -ENOMEM.
 */
int ue_table_add(struct pt_table *t, const char *addr)
{
	struct pt_addr a;
	void *blk = NULL;
	bool took;
	int r;

	if (ue_addr_parse(addr, &a))
		return -EINVAL;
	if (!(t->n & 255)) {
		blk = ue_alloc(256 * sizeof(struct pt_table_entry));
		if (!blk)
			return -ENOMEM;
	}
	r = pt_table_add(t, &a, blk, &took);
	if (!took)
		free(blk);
	return r;
}

/* Return: entries added, or -errno. Cuts @list up. */
static int add_list(struct pt_table *t, char *list, const char *sep)
{
	char *save, *s;
	int r;

	for (s = strtok_r(list, sep, &save); s; s = strtok_r(NULL, sep, &save)) {
		r = ue_table_add(t, s);
		if (r < 0)
			return r;
	}
	return 0;
}

static int add_file(struct pt_table *t, const char *path)
{
	char *line = NULL;
	size_t size = 0;
	FILE *f = fopen(path, "re");
	int r = 0;

	if (!f)
		return -errno;
	while (!r && getline(&line, &size, f) >= 0) {
		line[strcspn(line, "#\n")] = 0;
		r = add_list(t, line, " \t\r");
	}
	free(line);
	fclose(f);
	return r;
}

/**
 * ue_table_load() - fill a table
 * @t:    table
 * @spec: addresses separated by commas, or the path of a file
 *
 * Return: 0; -EINVAL for something that is no address or no entry at all,
 * -EEXIST for an address that is there twice, -ENOSPC, -ENOMEM, or what opening
 * the file gave.
 */
int ue_table_load(struct pt_table *t, const char *spec)
{
	char *s;
	int r;

	if (strchr(spec, '/')) {
		r = add_file(t, spec);
	} else {
		s = ue_inject() ? NULL : strdup(spec);
		if (!s)
			return -ENOMEM;
		r = add_list(t, s, ",");
		free(s);
	}
	return r ?: t->n ? 0 : -EINVAL;
}

void ue_table_free(struct pt_table *t)
{
	unsigned int i;

	for (i = 0; i < 256; i++)
		free(t->blk[i]);
}
