/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Both modes behind popcorn.h: each fills in a table of calls.
 */
#ifndef POPCORN_RUNTIME_API_H
#define POPCORN_RUNTIME_API_H

#include <popcorn/popcorn.h>

/**
 * struct popcorn_region - an attachment; a mode's own begins with it
 * @p:     whose
 * @id, @home: what it is called
 * @bytes: size
 * @map:   address, NULL: not mapped yet
 */
struct popcorn_region {
	struct popcorn *p;
	uint32_t id;
	uint16_t home;
	size_t bytes;
	void *map;
};

/**
 * struct api_ops - what a mode does; as the calls of popcorn.h, arguments checked
 */
struct api_ops {
	const char *mode;
	void (*close)(struct popcorn *p);
	unsigned int (*nodes)(const struct popcorn *p);
	int (*create)(struct popcorn *p, uint32_t id, size_t bytes,
		      const struct popcorn_region_opts *opts, struct popcorn_region **out);
	int (*attach)(struct popcorn *p, unsigned int home, uint32_t id,
		      struct popcorn_region **out);
	int (*detach)(struct popcorn_region *r);
	int (*map)(struct popcorn_region *r, void *at);
	int (*advise)(struct popcorn_region *r, size_t offset, size_t bytes, unsigned int advice);
	int (*stat)(struct popcorn_region *r, struct popcorn_ioc_stat *out);
	int (*lock)(struct popcorn_region *r, unsigned int number);
	int (*unlock)(struct popcorn_region *r, unsigned int number);
	int (*barrier)(struct popcorn_region *r, unsigned int number, unsigned int count);
};

/**
 * struct popcorn - a node's program; a mode's own begins with it
 */
struct popcorn {
	const struct api_ops *ops;
	unsigned int self;
};

int api_user_open(const char *spec, struct popcorn **out);
int api_kernel_open(const char *spec, struct popcorn **out);
void api_prof_maps(void);
void api_prof_name(const struct popcorn_region *r, size_t at, size_t bytes, const char *name);

#endif
