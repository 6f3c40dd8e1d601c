/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What the kernel keeps for a process is there after a restore: set, then looked at until the end of many points. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t caught[65];

static void on_signal(int sig)
{
	caught[sig]++;
}

static void on_stack(int sig)
{
	char here;
	stack_t st;

	caught[sig]++;
	sigaltstack(NULL, &st);
	if (&here < (char *)st.ss_sp || &here >= (char *)st.ss_sp + st.ss_size)
		caught[sig] = 100;
}

static volatile int spun;

static __attribute__((noinline)) void spin(int n)
{
	if (n)
		spin(n - 1);
	spun++;
}

static void show(const char *what, long value)
{
	printf("%s %ld\n", what, value);
	fflush(stdout);
}

static long left(int which)
{
	struct itimerval t;

	getitimer(which, &t);
	return t.it_interval.tv_sec == 7 && t.it_value.tv_sec > 900 && t.it_value.tv_sec < 1000;
}

/* An alarm waits; the next is due only once it is taken. */
static void ring(void)
{
	struct itimerval t = { { 0, 10000 }, { 0, 1 } };
	sigset_t set;

	signal(SIGALRM, on_signal);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	setitimer(ITIMER_REAL, &t, NULL);
	while (!sigpending(&set) && !sigismember(&set, SIGALRM))
		;
}

static void before(void)
{
	static char stack[0x4000];
	struct sigaction sa = { .sa_handler = on_signal };
	struct itimerval t = { { 7, 0 }, { 999, 0 } };
	stack_t st = { .ss_sp = stack, .ss_size = sizeof(stack) };
	sigset_t set;

	umask(0027);
	mkdir("below", 0700);
	if (chdir("below"))
		exit(1);
	setenv("GIVEN", "by the program", 1);
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGRTMIN + 3, &sa, NULL);
	sa.sa_handler = on_stack;
	sa.sa_flags = SA_ONSTACK | SA_RESTART;
	sigaction(SIGUSR2, &sa, NULL);
	sigaltstack(&st, NULL);
	signal(SIGINT, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &set, NULL);
	setitimer(ITIMER_REAL, &t, NULL);
	setitimer(ITIMER_PROF, &t, NULL);
	fesetround(FE_DOWNWARD);
	feraiseexcept(FE_DIVBYZERO);
}

static void after(int argc, char **argv, int pending)
{
	volatile double one = 1, three = 3;
	struct sigaction sa;
	sigset_t set;
	mode_t mask;
	char cwd[4096];

	show("round", fegetround() == FE_DOWNWARD);
	show("rounds", one / three * 3 < 1);
	show("raised", !!fetestexcept(FE_DIVBYZERO) + 2 * !!fetestexcept(FE_OVERFLOW));
	mask = umask(0);
	show("umask", mask);
	show("cwd", getcwd(cwd, sizeof(cwd)) && !strcmp(strrchr(cwd, '/'), "/below"));
	printf("%d %s %s\n", argc, argv[argc - 1], getenv("GIVEN"));
	if (!pending)
		show("real", left(ITIMER_REAL));
	show("prof", left(ITIMER_PROF));
	sigaction(SIGINT, NULL, &sa);
	show("ignored", sa.sa_handler == SIG_IGN);
	sigaction(SIGUSR2, NULL, &sa);
	show("flags", sa.sa_flags & (SA_ONSTACK | SA_RESTART));
	sigprocmask(SIG_BLOCK, NULL, &set);
	show("blocked", sigismember(&set, SIGUSR1) + 2 * sigismember(&set, SIGUSR2));
	if (pending) {
		sigpending(&set);
		show("pending", sigismember(&set, SIGUSR1) + 2 * sigismember(&set, SIGRTMIN + 3));
		sigemptyset(&set);
		sigprocmask(SIG_SETMASK, &set, NULL);
		show("caught", caught[SIGUSR1] * 10 + caught[SIGRTMIN + 3]);
		for (int i = 0; i < 500 && caught[SIGALRM] < 3; i++)
			usleep(10000);
		show("alarms", caught[SIGALRM] >= 3);
	}
	raise(SIGUSR2);
	show("on its stack", caught[SIGUSR2]);
}

/* What no file can carry. */
static void hold(const char *what)
{
	int fd[2] = { 0, 0 }, wrong = 0;
	struct itimerspec at = { .it_value.tv_sec = 1000 };
	struct sigevent tell = { .sigev_notify = SIGEV_NONE };
	timer_t id;

	if (!strcmp(what, "pipe"))
		wrong = pipe(fd);
	else if (!strcmp(what, "socket"))
		wrong = socketpair(AF_UNIX, SOCK_STREAM, 0, fd);
	else if (!strcmp(what, "eventfd"))
		wrong = eventfd(0, 0) < 0;
	else if (!strcmp(what, "mapping"))
		wrong = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, open("log", O_RDWR), 0) == MAP_FAILED;
	else if (!strcmp(what, "timer"))
		wrong = timer_create(CLOCK_MONOTONIC, &tell, &id) || timer_settime(id, 0, &at, NULL);
	else if (!strcmp(what, "unlinked"))
		wrong = unlink("log");
	if (wrong)
		exit(1);
}

static void append(int fd, const char *text)
{
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		exit(1);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	int pending = !strcmp(what, "pending"), a, b, c;
	struct timespec then, now;
	struct stat st;
	char text[100] = "";
	ssize_t n;

	clock_gettime(CLOCK_MONOTONIC, &then);
	before();
	a = open("log", O_RDWR | O_CREAT | O_TRUNC | O_APPEND, 0666);
	b = dup(a);
	c = open("log", O_RDONLY | O_CLOEXEC);
	append(a, "one ");
	if (pending) {
		ring();
		kill(getpid(), SIGUSR1);
		raise(SIGRTMIN + 3);
	}
	hold(what);

	for (int i = 0; i < 40; i++)
		spin(100);

	clock_gettime(CLOCK_MONOTONIC, &now);
	after(argc, argv, pending);
	show("clock", now.tv_sec > then.tv_sec || (now.tv_sec == then.tv_sec && now.tv_nsec > then.tv_nsec));
	lseek(a, 0, SEEK_SET);
	append(b, "two");
	n = read(c, text, sizeof(text) - 1);
	printf("%zd %s\n", n, text);
	fstat(a, &st);
	show("mode", st.st_mode & 0777);
	show("cloexec", fcntl(a, F_GETFD) * 2 + fcntl(c, F_GETFD));
	show("append", (fcntl(a, F_GETFL) & O_APPEND) != 0);
	show("shared", lseek(a, 0, SEEK_CUR) == lseek(b, 0, SEEK_CUR) && lseek(b, 2, SEEK_SET) == 2 && lseek(a, 0, SEEK_CUR) == 2);
	return 0;
}
