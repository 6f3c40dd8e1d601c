/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Threads of a program that popcorn-cc has built go to other nodes: by a call here, or because
 * somebody asked (signal 35), at the next migration point.
 */
#ifndef POPCORN_MIGRATE_H
#define POPCORN_MIGRATE_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The signal that asks a thread to move at its next migration point. */
#define POPCORN_MIGRATE_SIGNAL 35

/**
 * migrate - the calling thread goes to a node and goes on there
 * @nid: the node, from 0
 * @callback: called with @arg where the thread has arrived, before migrate() returns; or NULL. It can't move.
 *
 * Returns 0 once it is there, also if it was there before. Otherwise the thread is where it was: -EBUSY if a frame on
 * its stack can't move (migrate_reason() says which), -EINVAL if there is no such node, or what its way there failed with.
 */
int migrate(int nid, void (*callback)(void *arg), void *arg);

/**
 * check_migrate - a migration point: moves the calling thread if it was asked to
 *
 * As migrate() to the node that was proposed; returns 0 at once if none was.
 */
int check_migrate(void (*callback)(void *arg), void *arg);

/**
 * migrate_schedule - a place in the program where a schedule may want threads to move
 * @region: number of the place
 * @tid: number of the thread among those of the program
 *
 * The schedule is the environment's POPCORN_SCHEDULE: "REGION:THREAD:NODE[,...]", where * stands for any thread.
 * Results as of migrate(); 0 if the schedule has nothing for them.
 */
int migrate_schedule(size_t region, int tid, void (*callback)(void *arg), void *arg);

/** current_nid - the node that the calling thread runs on */
int current_nid(void);

/** migrate_reason - why the calling thread's last move failed; "" if it did not */
const char *migrate_reason(void);

#ifdef __cplusplus
}
#endif

#endif
