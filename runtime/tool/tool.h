/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What the parts of the tool popcorn share: reading the system, and verdicts.
 */
#ifndef POPCORN_TOOL_H
#define POPCORN_TOOL_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>

/* Exit status. */
enum { EXIT_OK, EXIT_FAILED, EXIT_USAGE };

/* ------------------------------------------------------------------ host.c */

extern const char *root;	/* files are looked up below it (-R), "" by default */

char *slurp(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
bool exists(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *output(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
char *xprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void *grow(void *array, size_t n, size_t size);
void json_string(const char *s);

/* Calls fn for each name in a directory, sorted, until it returns true; returns that. */
bool each_name(const char *dir, bool (*fn)(const char *name, void *arg), void *arg);

/* --------------------------------------------------------------- verdicts */

enum level { OK, WARN, FAIL };

/**
 * verdict - one line of the doctor's
 * @level: how bad
 * @topic: what was looked at, one word
 * @mend:  command or hint that mends it, or NULL
 * @fmt:   what was found
 */
void verdict(enum level level, const char *topic, const char *mend, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* --------------------------------------------------------------- modules.c */

bool loaded(const char *module);
char *param(const char *module, const char *name);
long number(const char *module, const char *name, long dflt);

void check_kernel(void);
void check_modules(void);
void check_signing(void);
void check_key(void);
void check_clock(void);

/* ------------------------------------------------------------------- net.c */

/**
 * struct member - a node of the table
 * @text:   its address as written
 * @addr:   the same, IPv4 mapped
 * @netdev: device that has it, "" if it isn't local
 */
struct member {
	char text[64];
	struct in6_addr addr;
	char netdev[16];
};

extern struct member *members;
extern size_t n_members, n_local;
extern bool soft_roce;	/* a local node's device is rxe: its packets meet the firewall */

bool is_v4(const struct in6_addr *a);
bool parse_address(const char *s, struct in6_addr *a);

void check_nodes(void);
void check_rdma(void);
void check_mtu(void);
void check_memory(void);

/* -------------------------------------------------------------- firewall.c */

void check_firewall(void);

/* ------------------------------------------------------------------ proc.c */

int cmd_peers(int argc, char **argv);
int cmd_stat(int argc, char **argv);
int cmd_waits(int argc, char **argv);
void check_peers(void);

/* ------------------------------------------------------------------- run.c */

int cmd_run(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int exec_own(char **argv);

/* ------------------------------------------------------------ checkpoint.c */

int cmd_checkpoint(int argc, char **argv);
int cmd_restore(int argc, char **argv);

/* ------------------------------------------------------------------ prof.c */

int cmd_dsm_prof(int argc, char **argv);

#endif
