/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What the user-space floors share: options, a channel to the other end, the rows run over it. */
#ifndef POPCORN_FLOOR_H
#define POPCORN_FLOOR_H

#include <stddef.h>
#include <stdint.h>

#define FLOOR_PAGE	4096
#define FLOOR_REQUEST	64
#define FLOOR_MAX	65536

/**
 * struct floor_opts - what to run
 * @row:	"rtt", "fetch", "stream", "rate" or "all"
 * @mode:	"busy", "block" or "all"; a program refuses what it hasn't got
 * @name:	prefix of the name in each output line
 * @size:	message size in bytes; 0 runs 64 B to 64 KiB in powers of four
 * @iters:	measured operations a row; a tenth of that more runs first, unmeasured
 * @window:	messages on their way at most (stream and rate)
 * @arg:	what follows the options (an address), or NULL
 */
struct floor_opts {
	const char *row;
	const char *mode;
	const char *name;
	size_t size;
	size_t iters;
	size_t window;
	const char *arg;
};

/**
 * struct floor_chan - one end of a connected pair
 * @send:	sends @size bytes from the end's own buffer
 * @put:	places a page at the peer, who sees it as one receive; NULL: the same as @send
 * @recv:	returns once @size bytes of one message have arrived
 *
 * All return 0 or a negative errno. A message is at most FLOOR_MAX bytes.
 */
struct floor_chan {
	int (*send)(struct floor_chan *c, size_t size);
	int (*put)(struct floor_chan *c, size_t size);
	int (*recv)(struct floor_chan *c, size_t size);
};

enum floor_side { FLOOR_CLIENT, FLOOR_SERVER };

/**
 * floor_options() - read the command line; exits with a message if it is wrong
 * @what:	one line that says what the program measures
 * @modes:	the modes it has, as shown in the help
 */
void floor_options(int argc, char **argv, const char *what, const char *modes,
		   struct floor_opts *o);

/**
 * floor_pin() - run on the @nth CPU of those this process may use
 *
 * Wraps around where there are fewer.
 */
void floor_pin(int nth);

/** floor_mode_on() - whether @mode was asked for */
int floor_mode_on(const struct floor_opts *o, const char *mode);

/**
 * floor_rows() - run every row that was asked for over a connected pair
 * @name:	goes into each line; the client prints one a row
 *
 * Both ends call this with equal options. Returns 0 or a negative errno, which was printed.
 */
int floor_rows(struct floor_chan *c, const struct floor_opts *o, enum floor_side side,
	       const char *name);

/** floor_die() - print "program: what: strerror(err)" and exit 1; @err is a positive errno or 0 */
__attribute__((noreturn)) void floor_die(const char *what, int err);

/**
 * floor_reap() - wait for the other end
 *
 * Returns the exit status for this program: @err != 0 or the child's failure give 1.
 */
int floor_reap(int pid, int err);

#endif
