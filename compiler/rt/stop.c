// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * All threads stop, an image is written, all go on. An agent leads: a thread of the process that exists only
 * meanwhile, is none of the program's, and reaches no point; so a program whose threads are all blocked or pinned
 * still gets an answer.
 */
#include "runtime.h"

#define AGENT_STACK 0x20000ull
#define STEP_MS 20
/* CLONE_VM, _FS, _FILES, _SIGHAND, _THREAD, _SYSVSEM, _CHILD_CLEARTID */
#define AGENT_FLAGS (0x100 | 0x200 | 0x400 | 0x800 | 0x10000 | 0x40000 | 0x200000)

/* Numbers are the request's; who sees that the upper half is not this takes it for another's signal. */
#define REQUEST_MARK 0x504f5043ull	/* "POPC" */

static void on_signal(int sig, struct sys_siginfo *si, void *context)
{
	u32 flag = POPCORN_FLAG_ASKED;

	(void)sig;
	if (si->code == SYS_SI_QUEUE && si->value >> 32 == REQUEST_MARK) {
		popcorn_stop_begin(si->value);
		return;
	}
	if (si->code == SYS_SI_TKILL && si->pid == sys(getpid, 0))
		flag = POPCORN_FLAG_STOP;
	__atomic_or_fetch(&__popcorn_self.flag, flag, __ATOMIC_SEQ_CST);
	__popcorn_libc_interrupt(context);
}

/** popcorn_signal_init - the handler of signal 35 */
void popcorn_signal_init(void)
{
	struct sys_sigaction sa = {
		.handler = (u64)on_signal, .flags = SYS_SA_SIGINFO, .mask = ~0ull,
	};

#if !defined __riscv
	sa.flags |= SYS_SA_RESTORER;
	sa.restorer = (u64)popcorn_sigreturn;
#endif
	sys(rt_sigaction, POPCORN_SIGNAL, &sa, NULL, 8);
}

/* Asks all threads that have not stopped; returns one of them, or NULL if there is none. */
static struct popcorn_thread *ask_all(void)
{
	struct popcorn_thread *t, *left = NULL;

	popcorn_lock(&popcorn.lock);
	for (t = popcorn.threads; t; t = t->next) {
		if (__atomic_load_n(&t->state, __ATOMIC_ACQUIRE) == POPCORN_THREAD_STOPPED)
			continue;
		if (!left || t->pins)
			left = t;
		__atomic_or_fetch(&t->flag, POPCORN_FLAG_STOP, __ATOMIC_SEQ_CST);
		if (t->state == POPCORN_THREAD_RUNS)
			sys(tgkill, sys(getpid, 0), t->tid, POPCORN_SIGNAL);
	}
	popcorn_unlock(&popcorn.lock);
	return left;
}

/** popcorn_has_left - has the kernel ended a thread? The first one stays visible until all have ended. */
int popcorn_has_left(s32 tid)
{
	int pid = sys(getpid, 0), fd;
	struct popcorn_line file = { .len = 0 };
	char text[512], *p = text;
	long n;

	if (tid != pid)
		return sys(tgkill, pid, tid, 0) < 0;
	popcorn_line_str(&file, "/proc/self/task/");	/* QEMU makes up /proc/self/stat */
	popcorn_line_num(&file, pid);
	popcorn_line_str(&file, "/stat");
	file.text[file.len] = 0;
	fd = sys(openat, SYS_AT_FDCWD, file.text, SYS_O_CLOEXEC);
	n = sys(read, fd, text, sizeof(text));
	sys(close, fd);
	for (; p < text + n && *p != ')'; p++)
		;
	return n <= 0 || (p + 2 < text + n && p[2] == 'Z');
}

static int all_have_left(void)
{
	u32 i;

	for (i = 0; i < POPCORN_LEAVING; i++) {
		if (!popcorn.leaving[i])
			continue;
		if (!popcorn_has_left(popcorn.leaving[i]))
			return 0;
		popcorn.leaving[i] = 0;
	}
	return 1;
}

static int stop_all(struct popcorn_line *l)
{
	u64 until = popcorn_now_ms() + popcorn.wait_ms;
	struct popcorn_thread *left;

	for (;;) {
		u32 seen = __atomic_load_n(&popcorn.stopped, __ATOMIC_ACQUIRE);

		left = ask_all();
		if (!left && all_have_left())
			return 0;
		if (popcorn_now_ms() >= until)
			break;
		popcorn_futex_wait(&popcorn.stopped, seen, left ? STEP_MS : 1);
	}
	if (!left) {
		popcorn_line_str(l, "a thread doesn't end");
		return -SYS_EBUSY;
	}
	popcorn_line_str(l, "thread ");
	popcorn_line_num(l, left->tid);
	if (left->pins) {
		popcorn_line_str(l, " can't move: ");
		popcorn_line_str(l, left->pin_why ? left->pin_why : "a frame on its stack is not instrumented");
	} else {
		popcorn_line_str(l, " reaches no migration point");
	}
	return -SYS_EBUSY;
}

static void go_on_all(void)
{
	__atomic_store_n(&popcorn.phase, 0, __ATOMIC_SEQ_CST);
	popcorn_futex_wake(&popcorn.phase, 1 << 30);
}

static int write_image(int fd, struct popcorn_line *l)
{
	const char *why = "the image can't be written";
	s64 number = -1;
	int err = popcorn_dump(fd, &why, &number);

	if (err) {
		popcorn_line_str(l, why);
		if (number >= 0) {
			popcorn_line_str(l, " ");
			popcorn_line_num(l, number);
		}
		popcorn_line_str(l, " (error ");
		popcorn_line_num(l, -err);
		popcorn_line_str(l, ")");
	}
	return err;
}

/* POPCORN_FILE: the image is written under another name, so that what bears the name is whole. */
static void image_to_file(void)
{
	struct popcorn_line l = { .len = 0 };
	int fd, err;

	fd = sys(openat, SYS_AT_FDCWD, popcorn.every_file,
		 SYS_O_WRONLY | SYS_O_CREAT | SYS_O_TRUNC | SYS_O_CLOEXEC, 0600);
	if (fd < 0)
		popcorn_die("POPCORN_FILE can't be opened", popcorn.every_file);
	err = stop_all(&l);
	if (!err)
		err = write_image(fd, &l);
	sys(close, fd);
	if (!err)
		sys(exit_group, POPCORN_ENDED_FOR_IMAGE);
	popcorn.stats.refused++;
	if (popcorn.stats_file) {
		l.text[l.len] = 0;
		popcorn_line_write(&l, 2);
	}
}

/* popcorn checkpoint: it gives the file and gets one line, "0" or an error number and the reason. */
static void image_to_tool(u64 request)
{
	struct popcorn_line l = { .len = 0 }, reason = { .len = 0 };
	char what = 0;
	int image = -1, sock = popcorn_ask_connect(request, &image, &what), err;

	if (sock < 0)
		return;
	popcorn.agent_sock = sock;
	err = stop_all(&reason);
	if (!err)
		err = write_image(image, &reason);
	popcorn_line_num(&l, -err);
	if (err) {
		reason.text[reason.len] = 0;
		popcorn_line_str(&l, " ");
		popcorn_line_str(&l, reason.text);
	}
	sys(close, image);
	popcorn_ask_answer(sock, &l);
	if (!err && what == 'x')
		sys(exit_group, POPCORN_ENDED_FOR_IMAGE);
	sys(close, sock);
}

static void agent(void *arg)
{
	popcorn.agent_sock = -1;
	if (arg)
		image_to_tool((u64)arg);
	else
		image_to_file();
	go_on_all();
}

/**
 * popcorn_stop_begin - makes the agent, which stops all threads
 * @request: of the tool, or 0: POPCORN_FILE
 *
 * Returns 0, or -EBUSY if one is at work. Safe in a signal handler.
 */
int popcorn_stop_begin(u64 request)
{
	u32 none = 0;
	u64 all = ~0ull, old;
	long ret;

	if (!__atomic_compare_exchange_n(&popcorn.agent, &none, 1, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
		return -SYS_EBUSY;
	if (!popcorn.agent_stack)
		popcorn.agent_stack = popcorn_private_pages(AGENT_STACK);
	if (!popcorn.agent_stack)
		goto fail;
	__atomic_store_n(&popcorn.phase, 1, __ATOMIC_SEQ_CST);
	sys(rt_sigprocmask, SYS_SIG_SETMASK, &all, &old, 8);
	ret = popcorn_clone(AGENT_FLAGS, popcorn.agent_stack + AGENT_STACK, agent, (void *)request, NULL,
			    &popcorn.agent);
	sys(rt_sigprocmask, SYS_SIG_SETMASK, &old, NULL, 8);
	if (ret > 0)
		return 0;
	go_on_all();
fail:
	__atomic_store_n(&popcorn.agent, 0, __ATOMIC_SEQ_CST);
	return -SYS_EAGAIN;
}

/** popcorn_stop - a captured thread waits at its root until the agent lets all go on */
void popcorn_stop(struct popcorn_thread *t)
{
	sys(sigaltstack, NULL, &t->alt);
	sys(rt_sigpending, &t->pending, 8);
	fegetenv(&t->fenv);
	__atomic_store_n(&t->state, POPCORN_THREAD_STOPPED, __ATOMIC_SEQ_CST);
	__atomic_add_fetch(&popcorn.stopped, 1, __ATOMIC_SEQ_CST);
	popcorn_futex_wake(&popcorn.stopped, 1);
	while (__atomic_load_n(&popcorn.phase, __ATOMIC_ACQUIRE))
		popcorn_futex_wait(&popcorn.phase, 1, 0);
	__atomic_store_n(&t->state, POPCORN_THREAD_RUNS, __ATOMIC_SEQ_CST);
}
