// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* fork, wait, exec and posix_spawn: a child computes and tells over a pipe, and ends by code or signal. */
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>
#include "try.h"

extern char **environ;

static NOINLINE int work(int n)
{
	return n < 2 ? n : work(n - 1) + work(n - 2);
}

/* Forks deep in recursion; both sides go on through all the frames. */
static NOINLINE int split(int n, int fd, pid_t *child)
{
	int local = n, r;

	if (!n) {
		*child = fork();
		if (*child)
			return 0;
		r = work(10);
		return write(fd, &r, sizeof(r)) == sizeof(r) ? 1 : 2;
	}
	r = split(n - 1, fd, child);
	return r + (local - n);
}

static void ended(const char *what, pid_t pid)
{
	int st = 0;

	if (waitpid(pid, &st, 0) != pid)
		puts("no child");
	else if (WIFSIGNALED(st))
		printf("%s: signal %d\n", what, WTERMSIG(st));
	else
		printf("%s: status %d\n", what, WEXITSTATUS(st));
}

int main(void)
{
	char *argv[] = { "sh", "-c", "exit 9", NULL };
	int p[2], v = 0, r;
	pid_t pid;

	if (pipe(p))
		return 1;
	fflush(stdout);
	r = split(HIDE(6), p[1], &pid);
	if (!pid)
		_exit(r * 5);
	if (read(p[0], &v, sizeof(v)) != sizeof(v))
		return 1;
	printf("child says %d\n", v);
	ended("split", pid);
	pid = fork();
	if (!pid) {
		raise(SIGKILL);
		_exit(1);
	}
	ended("killed", pid);
	pid = fork();
	if (!pid) {
		execv("/bin/sh", argv);
		_exit(127);
	}
	ended("exec", pid);
	if (posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ))
		return 1;
	ended("spawn", pid);
	printf("system %d\n", WEXITSTATUS(system("exit 4")));
	printf("work %d\n", work(HIDE(12)));
	return 0;
}
