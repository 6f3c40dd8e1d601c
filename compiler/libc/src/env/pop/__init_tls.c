/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The description of each thread and its TLS block. The first thread's block is made before the libc starts
 * (shim/start.c), with nothing but the image; its description is a variable.
 */
#define SYSCALL_NO_TLS 1
#include <string.h>
#include "popcorn_impl.h"
#include "libc.h"
#include "syscall.h"

_Thread_local struct __pthread *__popcorn_pthread;

volatile int __thread_list_lock;

static struct __pthread main_thread;

static void start_thread(struct __pthread *td)
{
	td->self = td;
	td->detach_state = DT_JOINABLE;
	td->locale = &libc.global_locale;
	td->robust_list.head = &td->robust_list.head;
	td->next = td->prev = td;
}

/*
 * Makes the block of a thread to be created, of libc.tls_size bytes, which the calling thread's own variables
 * show the way round: both images are laid out alike.
 */
void *__copy_tls(unsigned char *mem)
{
	uint64_t align = __popcorn_tls.align;
	struct __pthread *td;
	char *image;

	mem += -(uintptr_t)mem & (align - 1);
	td = (void *)mem;
	image = (char *)mem + popcorn_tls_front(sizeof(*td));
	memcpy(image, __popcorn_tls.image, __popcorn_tls.len);
	td->dtv = (void *)image;
	*(struct __pthread **)__popcorn_tls_of(td, &__popcorn_pthread) = td;
	return td;
}

void __init_tls(size_t *aux)
{
	struct __pthread *td = &main_thread;

	td->dtv = (void *)__popcorn_self.tls;
	start_thread(td);
	td->tid = __syscall(SYS_set_tid_address, &__thread_list_lock);
	__popcorn_pthread = td;
	__popcorn_self.libc = td;
	libc.can_do_threads = 1;
	libc.tls_align = __popcorn_tls.align;
	libc.tls_size = popcorn_tls_bytes(sizeof(*td));
}

extern int main(int, char **, char **);
int __libc_start_main(int (*)(int, char **, char **), int, char **, void (*)(), void (*)(), void (*)());

/* The first function of the process that may move. */
void *__popcorn_main(void *sp)
{
	long *args = sp;

	__libc_start_main(main, *args, (char **)(args + 1), 0, 0, 0);
	return 0;
}
