/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * From the kernel's entry to the first instrumented function: arguments in common memory, TLS, the runtime's thread.
 */
#include <elf.h>

#include "../../rt/rt.h"
#include "shim.h"

enum { PROT_RW = 3, MAP_PRIVATE_ANON = 0x22 };

/* Common data: also after a move the same. */
struct popcorn_tls __popcorn_tls;

void *__popcorn_main(void *sp);		/* the libc's, instrumented */
void __popcorn_begin(long *sp);

void *__popcorn_tp_of(char *tls)
{
#if defined __x86_64__
	char *tp = tls + popcorn_tls_round(__popcorn_tls.size);

	*(char **)tp = tp;	/* %fs:0 */
	return tp;
#elif defined __aarch64__
	return tls - popcorn_tls_round(16);
#else
	return tls;
#endif
}

static void find_tls(const long *sp)
{
	const Elf64_Phdr *ph = NULL;
	uint64_t n = 0;

	sp += *sp + 2;			/* past argv */
	while (*sp++)			/* past the environment */
		;
	for (; *sp; sp += 2) {
		if (*sp == AT_PHDR)
			ph = (const void *)sp[1];
		else if (*sp == AT_PHNUM)
			n = sp[1];
	}
	__popcorn_tls.align = 16;
	for (; n; n--, ph++) {
		if (ph->p_type != PT_TLS)
			continue;
		__popcorn_tls.image = (const void *)ph->p_vaddr;
		__popcorn_tls.len = ph->p_filesz;
		__popcorn_tls.size = ph->p_memsz;
		if (ph->p_align > 16)
			__popcorn_tls.align = ph->p_align;
	}
}

/**
 * __popcorn_begin - the process's first function; does not return
 * @sp: the stack as the kernel left it
 */
void __popcorn_begin(long *sp)
{
	const char *from;
	char *tls;
	long map;

	sp = __popcorn_start(sp);
	find_tls(sp);
	map = __popcorn_mmap(NULL, popcorn_tls_bytes(0), PROT_RW, MAP_PRIVATE_ANON, -1, 0);
	if (map < 0 && map > -4096)
		__builtin_trap();
	tls = (char *)map + popcorn_tls_front(0);
	from = __popcorn_tls.image;
	for (uint64_t i = 0; i < __popcorn_tls.len; i++)
		((volatile char *)tls)[i] = from[i];
	__popcorn_set_tp(__popcorn_tp_of(tls));
	if (__popcorn_thread_new(&__popcorn_self, tls, NULL, 0))
		__builtin_trap();
	__popcorn_run(__popcorn_main, sp);
	__builtin_trap();
}
