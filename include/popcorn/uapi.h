/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What programs ask of popcorn.ko: ioctls on /dev/popcorn.
 *
 * An open file is one attachment: POPCORN_IOC_CREATE or POPCORN_IOC_ATTACH ties it to a
 * region at a node of this kernel, mmap() maps it (MAP_SHARED, offset within the
 * region), close() of the last copy leaves it.
 */
#ifndef POPCORN_UAPI_H
#define POPCORN_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define POPCORN_ABI		1
#define POPCORN_NODE_ANY	0xffff	/* the first node of this kernel */
#define POPCORN_MODE_KERNEL	1
#define POPCORN_MODE_USER	2

/**
 * struct popcorn_ioc_info - POPCORN_IOC_INFO
 * @abi:   POPCORN_ABI
 * @node:  in: index among the nodes of this kernel, from 0; out: its id
 * @nodes: nodes in the table
 * Error: -ENODEV: no such node here (no msg_*.ko is loaded).
 */
struct popcorn_ioc_info {
	__u32 abi;
	__u16 node;
	__u16 nodes;
};

/**
 * struct popcorn_ioc_region - POPCORN_IOC_CREATE, POPCORN_IOC_ATTACH
 * @id:      of the region; create: 0 lets the home choose one, and says which
 * @node:    own node, one of this kernel, or POPCORN_NODE_ANY; out: its id
 * @home:    attach: the node that created it; create: out
 * @bytes:   create: size, rounded up to pages; attach: 0, or what it must be; out: size
 * @perm:    create: mode bits as of a file, for the creator's user and others
 * @hold_us: create: microseconds that a page is kept at least; 0: default
 *
 * Errors: -EEXIST (create: the id is taken), -ENOENT (attach: no such region there),
 * -EACCES, -EINVAL (size 0 or too large, bad node), -EBUSY (the file has a region),
 * -EPROTO (other page size, mode or version), -EHOSTDOWN (the home is dead),
 * -ENOMEM, -ERANGE (node ids from 64 on can't share memory yet).
 */
struct popcorn_ioc_region {
	__u32 id;
	__u16 node;
	__u16 home;
	__u64 bytes;
	__u32 perm;
	__u32 hold_us;
};

#define POPCORN_ADVISE_WILLNEED	1	/* fetch the pages to read, don't wait */
#define POPCORN_ADVISE_DONTNEED	2	/* drop this node's copies where that loses nothing */
#define POPCORN_ADVISE_SEQUENTIAL 3	/* for the whole region: fetch far ahead */
#define POPCORN_ADVISE_NORMAL	4	/* detect it */
#define POPCORN_ADVISE_RANDOM	5	/* never fetch ahead */
#define POPCORN_ADVISE_WILLWRITE 6	/* fetch the pages to write, don't wait */

struct popcorn_ioc_advise {
	__u64 offset;
	__u64 bytes;
	__u32 advice;
	__u32 zero;
};

/**
 * struct popcorn_ioc_sync - POPCORN_IOC_LOCK, _UNLOCK, _BARRIER
 * @number:     which lock or barrier of the region, 0 to POPCORN_SYNC_MAX - 1
 * @count:      barrier: how many threads, in all, it waits for
 * @timeout_ms: 0: none
 *
 * Errors: -ETIMEDOUT; -EOWNERDEAD: the lock is the caller's, but a node died that had
 * it, or while it waited at the barrier; -EPERM: unlock of what this attachment hasn't.
 */
struct popcorn_ioc_sync {
	__u32 number;
	__u32 count;
	__u32 timeout_ms;
	__u32 zero;
};
#define POPCORN_SYNC_MAX	4096

/**
 * struct popcorn_ioc_stat - POPCORN_IOC_STAT: this node's figures of the region
 * @resident:       pages here
 * @faults_local:   faults that needed no message
 * @faults_read:    faults to read that needed one
 * @faults_write:   to write a page that wasn't here
 * @faults_upgrade: to write a page that was here to read
 * @fault_ns:       what those that needed one took, all together
 * @invalidated:    copies dropped because another node writes
 * @supplied:       pages sent to others, also those given up with it
 * @ahead:          pages asked for ahead of need
 * @ahead_used:     those of them that were touched
 * @dropped:        copies given up for lack of memory or on advice
 * @lost:           kernel mode: accesses that raised SIGBUS; user mode, at the home: pages
 *                  whose only copy died with its node
 */
struct popcorn_ioc_stat {
	__u64 resident;
	__u64 faults_local;
	__u64 faults_read;
	__u64 faults_write;
	__u64 faults_upgrade;
	__u64 fault_ns;
	__u64 invalidated;
	__u64 supplied;
	__u64 ahead;
	__u64 ahead_used;
	__u64 dropped;
	__u64 lost;
};

#define POPCORN_IOC_MAGIC	0xb7
#define POPCORN_IOC_INFO	_IOWR(POPCORN_IOC_MAGIC, 0, struct popcorn_ioc_info)
#define POPCORN_IOC_CREATE	_IOWR(POPCORN_IOC_MAGIC, 1, struct popcorn_ioc_region)
#define POPCORN_IOC_ATTACH	_IOWR(POPCORN_IOC_MAGIC, 2, struct popcorn_ioc_region)
#define POPCORN_IOC_ADVISE	_IOW(POPCORN_IOC_MAGIC, 3, struct popcorn_ioc_advise)
#define POPCORN_IOC_STAT	_IOR(POPCORN_IOC_MAGIC, 4, struct popcorn_ioc_stat)
#define POPCORN_IOC_LOCK	_IOW(POPCORN_IOC_MAGIC, 5, struct popcorn_ioc_sync)
#define POPCORN_IOC_UNLOCK	_IOW(POPCORN_IOC_MAGIC, 6, struct popcorn_ioc_sync)
#define POPCORN_IOC_BARRIER	_IOW(POPCORN_IOC_MAGIC, 7, struct popcorn_ioc_sync)

#endif
