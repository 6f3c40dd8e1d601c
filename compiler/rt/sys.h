/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * System calls of the ISA that runs, without a libc: the runtime works before the libc's start, in
 * signal handlers, and while the libc's state is being replaced. Results are the kernel's: -errno on failure.
 */
#ifndef POPCORN_RT_SYS_H
#define POPCORN_RT_SYS_H

#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

#if defined __x86_64__
#define POPCORN_ISA "x86-64"
#define SYS_NR(x86, generic) (x86)
#elif defined __aarch64__
#define POPCORN_ISA "aarch64"
#define SYS_NR(x86, generic) (generic)
#elif defined __riscv && __riscv_xlen == 64
#define POPCORN_ISA "riscv64"
#define SYS_NR(x86, generic) (generic)
#else
#error "an ISA that popcorn-cc does not know"
#endif

/*
 * Variables that belong to this process and are not to move: what has no section of its own, the link
 * puts outside of the common data.
 */
#define POPCORN_PRIVATE __attribute__((section(".bss")))
#define POPCORN_PRIVATE_DATA __attribute__((section(".data")))

enum sys_nr {
	SYS_NR_read = SYS_NR(0, 63),
	SYS_NR_write = SYS_NR(1, 64),
	SYS_NR_close = SYS_NR(3, 57),
	SYS_NR_lseek = SYS_NR(8, 62),
	SYS_NR_mmap = SYS_NR(9, 222),
	SYS_NR_mprotect = SYS_NR(10, 226),
	SYS_NR_munmap = SYS_NR(11, 215),
	SYS_NR_rt_sigaction = SYS_NR(13, 134),
	SYS_NR_rt_sigprocmask = SYS_NR(14, 135),
	SYS_NR_pread64 = SYS_NR(17, 67),
	SYS_NR_mremap = SYS_NR(25, 216),
	SYS_NR_getitimer = SYS_NR(36, 102),
	SYS_NR_setitimer = SYS_NR(38, 103),
	SYS_NR_getpid = SYS_NR(39, 172),
	SYS_NR_sendto = SYS_NR(44, 206),
	SYS_NR_recvmsg = SYS_NR(47, 212),
	SYS_NR_socket = SYS_NR(41, 198),
	SYS_NR_connect = SYS_NR(42, 203),
	SYS_NR_setsockopt = SYS_NR(54, 208),
	SYS_NR_getsockopt = SYS_NR(55, 209),
	SYS_NR_clone = SYS_NR(56, 220),
	SYS_NR_exit = SYS_NR(60, 93),
	SYS_NR_kill = SYS_NR(62, 129),
	SYS_NR_fcntl = SYS_NR(72, 25),
	SYS_NR_getcwd = SYS_NR(79, 17),
	SYS_NR_chdir = SYS_NR(80, 49),
	SYS_NR_umask = SYS_NR(95, 166),
	SYS_NR_geteuid = SYS_NR(107, 175),
	SYS_NR_rt_sigpending = SYS_NR(127, 136),
	SYS_NR_sigaltstack = SYS_NR(131, 132),
	SYS_NR_gettid = SYS_NR(186, 178),
	SYS_NR_futex = SYS_NR(202, 98),
	SYS_NR_getdents64 = SYS_NR(217, 61),
	SYS_NR_clock_gettime = SYS_NR(228, 113),
	SYS_NR_exit_group = SYS_NR(231, 94),
	SYS_NR_tgkill = SYS_NR(234, 131),
	SYS_NR_openat = SYS_NR(257, 56),
	SYS_NR_readlinkat = SYS_NR(267, 78),
	SYS_NR_ppoll = SYS_NR(271, 73),
	SYS_NR_dup3 = SYS_NR(292, 24),
	SYS_NR_pipe2 = SYS_NR(293, 59),
	SYS_NR_statx = SYS_NR(332, 291),
};

static inline long sys6(long nr, long a, long b, long c, long d, long e, long f)
{
#if defined __x86_64__
	register long r10 __asm__("r10") = d, r8 __asm__("r8") = e, r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall" : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return ret;
#elif defined __aarch64__
	register long x8 __asm__("x8") = nr, x0 __asm__("x0") = a, x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c, x3 __asm__("x3") = d, x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory", "cc");
	return x0;
#else
	register long a7 __asm__("a7") = nr, a0 __asm__("a0") = a, a1 __asm__("a1") = b;
	register long a2 __asm__("a2") = c, a3 __asm__("a3") = d, a4 __asm__("a4") = e;
	register long a5 __asm__("a5") = f;

	__asm__ volatile("ecall" : "+r"(a0)
			 : "r"(a7), "r"(a1), "r"(a2), "r"(a3), "r"(a4), "r"(a5)
			 : "memory");
	return a0;
#endif
}

#define SYS_PICK(_1, _2, _3, _4, _5, _6, n, ...) n
#define SYS_ARGS6(a, b, c, d, e, f) (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f)
#define SYS_ARGS5(a, b, c, d, e) SYS_ARGS6(a, b, c, d, e, 0)
#define SYS_ARGS4(a, b, c, d) SYS_ARGS6(a, b, c, d, 0, 0)
#define SYS_ARGS3(a, b, c) SYS_ARGS6(a, b, c, 0, 0, 0)
#define SYS_ARGS2(a, b) SYS_ARGS6(a, b, 0, 0, 0, 0)
#define SYS_ARGS1(a) SYS_ARGS6(a, 0, 0, 0, 0, 0)

/* sys(mmap, addr, ...): one to six arguments; getpid and the like take a 0. */
#define sys(name, ...) \
	sys6(SYS_NR_##name, SYS_PICK(__VA_ARGS__, SYS_ARGS6, SYS_ARGS5, SYS_ARGS4, SYS_ARGS3, \
				     SYS_ARGS2, SYS_ARGS1)(__VA_ARGS__))

/* Of the kernel's interface, the same on all three unless it says otherwise. */
enum {
	SYS_EPERM = 1, SYS_ENOENT = 2, SYS_EINTR = 4, SYS_EAGAIN = 11, SYS_ENOMEM = 12,
	SYS_EACCES = 13, SYS_EBUSY = 16, SYS_EEXIST = 17, SYS_ENODEV = 19, SYS_EINVAL = 22,
	SYS_ENOSYS = 38, SYS_EBADMSG = 74, SYS_EOPNOTSUPP = 95, SYS_ETIMEDOUT = 110,
	SYS_PROT_NONE = 0, SYS_PROT_READ = 1, SYS_PROT_WRITE = 2, SYS_PROT_EXEC = 4,
	SYS_MAP_SHARED = 1, SYS_MAP_PRIVATE = 2, SYS_MAP_FIXED = 0x10, SYS_MAP_ANONYMOUS = 0x20,
	SYS_MAP_GROWSDOWN = 0x100, SYS_MAP_NORESERVE = 0x4000,
	SYS_MAP_FIXED_NOREPLACE = 0x100000,
	SYS_MREMAP_MAYMOVE = 1, SYS_MREMAP_FIXED = 2, SYS_MREMAP_DONTUNMAP = 4,
	SYS_AT_FDCWD = -100,
	SYS_O_RDONLY = 0, SYS_O_WRONLY = 1, SYS_O_RDWR = 2, SYS_O_CREAT = 0100, SYS_O_TRUNC = 01000,
	SYS_O_APPEND = 02000, SYS_O_CLOEXEC = 02000000,
	SYS_FUTEX_WAIT_PRIVATE = 128, SYS_FUTEX_WAKE_PRIVATE = 129,
	SYS_SIG_BLOCK = 0, SYS_SIG_UNBLOCK = 1, SYS_SIG_SETMASK = 2,
	SYS_SIGFPE = 8,
	SYS_CLOCK_MONOTONIC = 1,
};

/* What the kernel takes for sigaction(); riscv64 has no restorer. */
struct sys_sigaction {
	u64 handler;
	u64 flags;
#if !defined __riscv
	u64 restorer;
#endif
	u64 mask;
};

enum {
	SYS_SA_SIGINFO = 4, SYS_SA_ONSTACK = 0x08000000, SYS_SA_RESTORER = 0x04000000,
	SYS_SI_QUEUE = -1, SYS_SI_TKILL = -6,
};

/* The beginning of siginfo_t for a signal that a process sent. */
struct sys_siginfo {
	s32 signo, error, code, pad;
	s32 pid, uid;
	u64 value;
};

struct sys_stack {
	u64 sp;
	s32 flags;
	s32 pad;
	u64 bytes;
};

struct sys_timespec {
	s64 sec;
	s64 nsec;
};

/* The thread pointer of the calling thread. */
static inline void sys_set_tp(void *tp)
{
#if defined __x86_64__
	sys6(158, 0x1002, (long)tp, 0, 0, 0, 0);	/* arch_prctl(ARCH_SET_FS) */
#elif defined __aarch64__
	__asm__ volatile("msr tpidr_el0, %0" : : "r"(tp) : "memory");
#else
	__asm__ volatile("mv tp, %0" : : "r"(tp) : "memory");
#endif
}

static inline int sys_failed(long ret)
{
	return (unsigned long)ret > -4096ul;
}

#endif
