/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * System calls of the generic numbers, flags and structs (riscv64's) on the kernel of this ISA. abi.py lists
 * what differs, and tests/test_libc.py compares it with the kernel headers of all ISAs.
 */
#include "../../rt/rt.h"
#include "shim.h"
#include "generic.h"	/* GENERIC_name: the generic numbers */

#if defined __x86_64__
#include "numbers.h"	/* native_nr[]: this kernel's number + 1 for each generic number, or 0 */
#elif defined __aarch64__
#include "flags.h"	/* open_flags[][2]: generic flags for open(), and this kernel's */
#endif

enum { ENOSYS_ = 38, CLONE_SETTLS = 0x80000 };

struct call {
	volatile int *cancel;		/* not NULL: one that may block */
	volatile uint32_t *flag;
};

static inline long kernel(const struct call *how, long n, long a, long b, long c, long d, long e, long f)
{
	if (how->cancel)
		return __popcorn_kernel_stop(how->cancel, how->flag, n, a, b, c, d, e, f);
	return __popcorn_kernel(n, a, b, c, d, e, f);
}

#if defined __x86_64__

struct x86_stat {
	uint64_t dev, ino, nlink;
	uint32_t mode, uid, gid, pad;
	uint64_t rdev;
	int64_t size, blksize, blocks;
	int64_t time[6];
	int64_t unused[3];
};

struct generic_stat {
	uint64_t dev, ino;
	uint32_t mode, nlink, uid, gid;
	uint64_t rdev, pad;
	int64_t size;
	int32_t blksize, pad2;
	int64_t blocks;
	int64_t time[6];
	uint32_t unused[2];
};

static long stat_call(const struct call *how, long n, long a, long b, struct generic_stat *to, long flags,
		      int at)
{
	struct x86_stat st;
	long ret = at ? kernel(how, n, a, b, (long)&st, flags, 0, 0) :
			kernel(how, n, a, (long)&st, 0, 0, 0, 0);

	if (ret)
		return ret;
	*to = (struct generic_stat){
		.dev = st.dev, .ino = st.ino, .mode = st.mode, .nlink = st.nlink, .uid = st.uid,
		.gid = st.gid, .rdev = st.rdev, .size = st.size, .blksize = st.blksize,
		.blocks = st.blocks,
	};
	for (int i = 0; i < 6; i++)
		to->time[i] = st.time[i];
	return 0;
}

struct x86_epoll_event {
	uint32_t events;
	uint64_t data;
} __attribute__((packed));

struct generic_epoll_event {
	uint32_t events;
	uint64_t data;
};

/* The kernel's array is the shorter one: spread out in place from its end. */
static void epoll_spread(void *events, long n)
{
	for (long i = n; i-- > 0;) {
		struct x86_epoll_event from = ((struct x86_epoll_event *)events)[i];

		((struct generic_epoll_event *)events)[i] =
			(struct generic_epoll_event){ from.events, from.data };
	}
}

struct semid64 {
	int32_t perm[12];
	int64_t otime, x86_unused1, ctime, x86_unused2, nsems, unused[2];
};

struct generic_semid64 {
	int32_t perm[12];
	int64_t otime, ctime, nsems, unused[2];
};

static long semctl_call(const struct call *how, long n, long id, long num, long cmd, long arg)
{
	enum { IPC_SET = 1, IPC_STAT = 2, SEM_STAT = 18, SEM_STAT_ANY = 20 };
	struct generic_semid64 *to = (void *)arg;
	struct semid64 st = { .otime = 0 };
	long ret;

	switch (cmd & 0xff) {
	case IPC_SET:
		__builtin_memcpy(st.perm, to->perm, sizeof(st.perm));
		return kernel(how, n, id, num, cmd, (long)&st, 0, 0);
	case IPC_STAT:
	case SEM_STAT:
	case SEM_STAT_ANY:
		ret = kernel(how, n, id, num, cmd, (long)&st, 0, 0);
		if (ret >= 0) {
			__builtin_memcpy(to->perm, st.perm, sizeof(st.perm));
			to->otime = st.otime;
			to->ctime = st.ctime;
			to->nsems = st.nsems;
		}
		return ret;
	}
	return kernel(how, n, id, num, cmd, arg, 0, 0);
}

static long convert(const struct call *how, long n, long a, long b, long c, long d, long e, long f)
{
	struct x86_epoll_event event;
	long ret;

	if ((unsigned long)n >= sizeof(native_nr) / sizeof(native_nr[0]) || !native_nr[n])
		return -ENOSYS_;
	switch (n) {
	case GENERIC_fstat:
		return stat_call(how, native_nr[n] - 1, a, 0, (void *)b, 0, 0);
	case GENERIC_newfstatat:
		return stat_call(how, native_nr[n] - 1, a, b, (void *)c, d, 1);
	case GENERIC_epoll_ctl:
		if (d) {
			const struct generic_epoll_event *from = (void *)d;

			event = (struct x86_epoll_event){ from->events, from->data };
			d = (long)&event;
		}
		break;
	case GENERIC_epoll_pwait:
	case GENERIC_epoll_pwait2:
		ret = kernel(how, native_nr[n] - 1, a, b, c, d, e, f);
		if (ret > 0)
			epoll_spread((void *)b, ret);
		return ret;
	case GENERIC_clone:
		return kernel(how, native_nr[n] - 1, a, b, c, e, d, 0);
	case GENERIC_semctl:
		return semctl_call(how, native_nr[n] - 1, a, b, c, d);
	}
	return kernel(how, native_nr[n] - 1, a, b, c, d, e, f);
}

#elif defined __aarch64__

/* Flags of an open file: generic ones from 0, this kernel's from 1, as the other. */
static long flags_by(long flags, int from)
{
	enum { N = sizeof(open_flags) / sizeof(open_flags[0]) };
	long ret = flags;

	for (int i = 0; i < N; i++)
		ret &= ~(long)open_flags[i][from];
	for (int i = 0; i < N; i++)
		if (flags & open_flags[i][from])
			ret |= open_flags[i][!from];
	return ret;
}

static long convert(const struct call *how, long n, long a, long b, long c, long d, long e, long f)
{
	enum { F_GETFL = 3, F_SETFL = 4 };
	uint64_t open_how[3];
	long ret;

	switch (n) {
	case GENERIC_openat:
		return kernel(how, n, a, b, flags_by(c, 0), d, e, f);
	case GENERIC_open_by_handle_at:
		return kernel(how, n, a, b, flags_by(c, 0), d, e, f);
	case GENERIC_mq_open:
	case GENERIC_pipe2:
		return kernel(how, n, a, flags_by(b, 0), c, d, e, f);
	case GENERIC_openat2:
		if (d != sizeof(open_how))
			break;
		__builtin_memcpy(open_how, (void *)c, sizeof(open_how));
		open_how[0] = flags_by(open_how[0], 0);
		return kernel(how, n, a, b, (long)open_how, d, e, f);
	case GENERIC_fcntl:
		if (b == F_SETFL)
			return kernel(how, n, a, b, flags_by(c, 0), d, e, f);
		if (b == F_GETFL) {
			ret = kernel(how, n, a, b, c, d, e, f);
			return ret < 0 ? ret : flags_by(ret, 1);
		}
		break;
	}
	return kernel(how, n, a, b, c, d, e, f);
}

#else

struct generic_sigaction {
	void (*handler)(int);
	unsigned long flags;
	void (*restorer)(void);
	uint64_t mask;
};

/* QEMU's emulation of system calls before 8.1 has the generic layout instead: the mask is in both places. */
struct riscv_sigaction {
	void (*handler)(int);
	unsigned long flags;
	uint64_t mask, mask_behind_restorer;
};

static long convert(const struct call *how, long n, long a, long b, long c, long d, long e, long f)
{
	const uint64_t none = ~0ull;	/* no mask, since two signals can't be blocked */
	const struct generic_sigaction *to = (void *)b;
	struct generic_sigaction *old = (void *)c;
	struct riscv_sigaction set, was = { .mask_behind_restorer = none };
	long ret;

	if (n != GENERIC_rt_sigaction)
		return kernel(how, n, a, b, c, d, e, f);
	if (to)
		set = (struct riscv_sigaction){ to->handler, to->flags & ~0x04000000ul, to->mask, to->mask };
	ret = kernel(how, n, a, to ? (long)&set : 0, old ? (long)&was : 0, d, e, f);
	if (old && !ret)
		*old = (struct generic_sigaction){ was.handler, was.flags, NULL, was.mask_behind_restorer == none ?
						   was.mask : was.mask_behind_restorer };
	return ret;
}

#endif

static int since_boot(long clock)
{
	enum { MONOTONIC = 1, MONOTONIC_RAW = 4, MONOTONIC_COARSE = 6, BOOTTIME = 7 };

	return clock == MONOTONIC || clock == MONOTONIC_RAW || clock == MONOTONIC_COARSE || clock == BOOTTIME;
}

struct time {
	int64_t sec, nsec;
};

/* The program's time from the kernel's by @sign 1, the kernel's from the program's by -1. */
static struct time shifted(const struct time *t, int sign)
{
	int64_t nsec = t->nsec + sign * (__popcorn_monotonic % 1000000000);
	struct time ret = { t->sec + sign * (__popcorn_monotonic / 1000000000), nsec };

	if (nsec < 0) {
		ret.sec--;
		ret.nsec += 1000000000;
	} else if (nsec >= 1000000000) {
		ret.sec++;
		ret.nsec -= 1000000000;
	}
	return ret;
}

/* Clocks that count from the machine's start go on as before in a program that another machine has begun. */
static long clock_call(const struct call *how, long n, long a, long b, long c, long d)
{
	enum { TIMER_ABSTIME = 1 };
	struct time t;
	long ret;

	switch (n) {
	case GENERIC_clock_gettime:
		ret = convert(how, n, a, b, 0, 0, 0, 0);
		if (!ret && since_boot(a))
			*(struct time *)b = shifted((struct time *)b, 1);
		return ret;
	case GENERIC_clock_nanosleep:
		if (!(b & TIMER_ABSTIME) || !since_boot(a))
			break;
		t = shifted((struct time *)c, -1);
		c = (long)&t;
		break;
	}
	return convert(how, n, a, b, c, d, 0, 0);
}

/* Mappings are the runtime's: it keeps them where they can be on every ISA. */
static long dispatch(const struct call *how, long n, long a, long b, long c, long d, long e, long f)
{
	switch (n) {
	case GENERIC_mmap:
		return __popcorn_mmap((void *)a, b, c, d, e, f);
	case GENERIC_munmap:
		return __popcorn_munmap((void *)a, b);
	case GENERIC_mprotect:
		return __popcorn_mprotect((void *)a, b, c);
	case GENERIC_mremap:
		return __popcorn_mremap((void *)a, b, c, d, (void *)e);
	case GENERIC_brk:
		return __popcorn_brk((void *)a);
	case GENERIC_clock_gettime:
	case GENERIC_clock_nanosleep:
		if (__popcorn_monotonic)
			return clock_call(how, n, a, b, c, d);
		break;
	case GENERIC_exit_group:
		__popcorn_exit();
		break;
	}
	return convert(how, n, a, b, c, d, e, f);
}

/**
 * __popcorn_syscall - a system call that is over soon
 *
 * Generic number and arguments; the kernel's result.
 */
long __popcorn_syscall(long n, long a, long b, long c, long d, long e, long f)
{
	static const struct call how;

	return dispatch(&how, n, a, b, c, d, e, f);
}

/**
 * __popcorn_syscall_stop - a system call that may block
 * @cancel: POPCORN_CANCELLED is returned if this isn't 0 before the call is entered
 * @flag: the same with POPCORN_STOPPED
 *
 * -EINTR if a signal came that doesn't restart the call. With @flag set that may have been the one
 * that sets it.
 */
long __popcorn_syscall_stop(volatile int *cancel, volatile uint32_t *flag, long n, long a, long b, long c,
			    long d, long e, long f)
{
	struct call how = { cancel, flag };

	return dispatch(&how, n, a, b, c, d, e, f);
}
