// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The beginning of a process: what the kernel has left on the native stack goes into common memory, and a process that
 * is to be restored takes another way from here.
 */
#include "runtime.h"

int64_t __popcorn_monotonic POPCORN_PRIVATE;

enum {
	AT_NULL_NR = 0, AT_PHDR_NR = 3, AT_PHENT_NR = 4, AT_PHNUM_NR = 5, AT_PAGESZ_NR = 6,
	AT_BASE_NR = 7, AT_FLAGS_NR = 8, AT_ENTRY_NR = 9, AT_UID_NR = 11, AT_EUID_NR = 12,
	AT_GID_NR = 13, AT_EGID_NR = 14, AT_PLATFORM_NR = 15, AT_HWCAP_NR = 16, AT_CLKTCK_NR = 17,
	AT_SECURE_NR = 23, AT_BASE_PLATFORM_NR = 24, AT_RANDOM_NR = 25, AT_HWCAP2_NR = 26,
	AT_EXECFN_NR = 31, AT_SYSINFO_EHDR_NR = 33,
};

static const u8 auxv_here[] = {
	AT_PHDR_NR, AT_PHENT_NR, AT_PHNUM_NR, AT_PAGESZ_NR, AT_BASE_NR, AT_FLAGS_NR, AT_ENTRY_NR,
	AT_UID_NR, AT_EUID_NR, AT_GID_NR, AT_EGID_NR, AT_HWCAP_NR, AT_CLKTCK_NR, AT_SECURE_NR,
	AT_RANDOM_NR, AT_HWCAP2_NR, AT_EXECFN_NR,
};

static int known(long type)
{
	u32 i;

	for (i = 0; i < sizeof(auxv_here); i++)
		if (auxv_here[i] == type)
			return 1;
	return 0;
}

static const char *env(char **environ, const char *name)
{
	u64 n = __builtin_strlen(name);

	for (; *environ; environ++)
		if (!__builtin_strncmp(*environ, name, n) && (*environ)[n] == '=')
			return *environ + n + 1;
	return NULL;
}

static u64 number(const char *s)
{
	u64 n = 0;

	while (s && *s >= '0' && *s <= '9')
		n = n * 10 + *s++ - '0';
	return n;
}

static const long *auxv_of(const long *sp)
{
	const long *p = sp + 1 + sp[0] + 1;

	while (*p++)
		;
	return p;
}

/**
 * popcorn_auxv_refresh - a restored process has the auxiliary vector of the machine that it runs on now
 * @start: as __popcorn_start() has returned it in the process that was written
 * @auxv: index of the vector in it
 * @sp: what the kernel has left on the stack
 */
void popcorn_auxv_refresh(long *start, u64 auxv, const long *sp)
{
	const long *now;
	long *a;

	for (a = start + auxv; a[0]; a += 2) {
		if (a[0] == AT_RANDOM_NR || a[0] == AT_EXECFN_NR)
			continue;	/* strings, copied then */
		for (now = auxv_of(sp); now[0]; now += 2)
			if (now[0] == a[0])
				a[1] = now[1];
	}
}

static char *copy(char **to, const char *from, u64 n)
{
	char *p = *to;

	__builtin_memcpy(p, from, n);
	*to += n;
	return p;
}

/* The whole of it in one piece of common memory: words first, strings behind. */
static long *start_copy(long *sp)
{
	const long *auxv = auxv_of(sp), *a;
	u64 words = auxv - sp + 2, bytes = 16, i;
	long *to, *w;
	char *s;

	for (i = 1; sp + i < auxv; i++)
		if (sp[i])
			bytes += __builtin_strlen((char *)sp[i]) + 1;
	for (a = auxv; a[0]; a += 2) {
		words += 2;
		if (a[0] == AT_EXECFN_NR)
			bytes += __builtin_strlen((char *)a[1]) + 1;
	}
	to = popcorn_map_anon(words * sizeof(*to) + bytes, POPCORN_KIND_ANON);
	if (!to)
		popcorn_die("no memory for the arguments of the program", NULL);
	s = (char *)(to + words);
	w = to;
	*w++ = sp[0];
	for (i = 1; sp + i < auxv; i++)
		*w++ = sp[i] ? (long)copy(&s, (char *)sp[i], __builtin_strlen((char *)sp[i]) + 1) : 0;
	popcorn.auxv = w - to;
	for (a = auxv; a[0]; a += 2) {
		if (!known(a[0]))
			continue;
		*w++ = a[0];
		if (a[0] == AT_EXECFN_NR)
			*w++ = (long)copy(&s, (char *)a[1], __builtin_strlen((char *)a[1]) + 1);
		else if (a[0] == AT_RANDOM_NR)
			*w++ = (long)copy(&s, (char *)a[1], 16);
		else
			*w++ = a[1];
	}
	return to;
}

static void find_program(void)
{
	const char *suffix = "_" POPCORN_ISA;	/* a literal: a named constant would be common to the ISAs */
	char *path = popcorn.program;
	u64 s = sizeof("_" POPCORN_ISA) - 1;
	long n = sys(readlinkat, SYS_AT_FDCWD, "/proc/self/exe", path, sizeof(popcorn.program) - 1);

	if (n > (long)s && !__builtin_memcmp(path + n - s, suffix, s))
		path[n - s] = 0;
}

static void settings(long *sp)
{
	char **environ = (char **)(sp + 1 + sp[0] + 1);
	const long *a;
	u64 ms;

	popcorn.wait_ms = 2000;
	for (a = auxv_of(sp); a[0]; a += 2)
		if (a[0] == AT_SECURE_NR && a[1])
			return popcorn_inherit();
	popcorn.every = number(env(environ, "POPCORN_EVERY"));
	popcorn.every_file = env(environ, "POPCORN_FILE");
	popcorn.stats_file = env(environ, "POPCORN_STATS");
	popcorn.schedule = env(environ, "POPCORN_SCHEDULE");
	popcorn.nodes = number(env(environ, "POPCORN_NODES"));
	popcorn.engine = popcorn.nodes ? &popcorn_engine_here : NULL;
	ms = number(env(environ, "POPCORN_WAIT_MS"));
	if (ms)
		popcorn.wait_ms = ms;
	popcorn_inherit();
	find_program();
	if (env(environ, "POPCORN_RESTORE"))
		popcorn_restore(env(environ, "POPCORN_RESTORE"), sp);
}

long *__popcorn_start(long *sp)
{
	settings(sp);
	popcorn_signal_init();
	popcorn.start = start_copy(sp);
	return popcorn.start;
}

void __popcorn_exit(void)
{
	struct popcorn_line l = { .len = 0 };
	int fd;

	if (!popcorn.stats_file)
		return;
	fd = sys(openat, SYS_AT_FDCWD, popcorn.stats_file,
		 SYS_O_WRONLY | SYS_O_CREAT | SYS_O_APPEND | SYS_O_CLOEXEC, 0666);
	if (fd < 0)
		return;
	popcorn_line_str(&l, "points ");
	popcorn_line_num(&l, popcorn.stats.points);
	popcorn_line_str(&l, " moves ");
	popcorn_line_num(&l, popcorn.stats.moves);
	popcorn_line_str(&l, " images ");
	popcorn_line_num(&l, popcorn.stats.images);
	popcorn_line_str(&l, " refused ");
	popcorn_line_num(&l, popcorn.stats.refused);
	popcorn_line_write(&l, fd);
	sys(close, fd);
}
