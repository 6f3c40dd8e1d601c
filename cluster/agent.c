// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * The first process of a test guest: runs the host's commands, many at a time, and sends their
 * output back over a virtio-serial port.
 *
 * Frames both ways are a header (struct frame, little-endian) and data:
 *   RUN   length of stdin (le32), stdin, command line for the shell   host to guest
 *   KILL  nothing; kills the command's process group                  host to guest
 *   HELLO nothing; the guest is up                                    guest to host
 *   OUT, ERR  output                                                  guest to host
 *   EXIT  exit status (le32; 128 + signal if killed); the last frame  guest to host
 * A command ends when its shell ends: what it left in the background loses its output.
 */

#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RUN = 1, KILL, HELLO, OUT, ERR, EXIT };

enum { MAX_COMMANDS = 64, MAX_FRAME = 1 << 20, CHUNK = 32768 };

struct frame {
	uint32_t id;
	uint32_t type;
	uint32_t len;
};

struct command {
	uint32_t id;
	pid_t pid;		/* 0 if this entry is free */
	int fd[2];		/* stdout and stderr, -1 once closed */
};

static struct command commands[MAX_COMMANDS];
static int port;

static void die(const char *what)
{
	fprintf(stderr, "agent: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void write_all(const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = write(port, p, len);

		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			struct pollfd w = { .fd = port, .events = POLLOUT };

			poll(&w, 1, 1000);
			continue;
		}
		if (n < 0)
			die("write to the host");
		p += n;
		len -= n;
	}
}

static void send_frame(uint32_t id, uint32_t type, const void *data, uint32_t len)
{
	struct frame f = { htole32(id), htole32(type), htole32(len) };

	write_all(&f, sizeof(f));
	write_all(data, len);
}

static void send_exit(uint32_t id, uint32_t status)
{
	status = htole32(status);
	send_frame(id, EXIT, &status, sizeof(status));
}

/* Returns false once nothing more can come from @fd, or for now. */
static int forward(struct command *c, int which)
{
	static char buf[CHUNK];
	ssize_t n = read(c->fd[which], buf, sizeof(buf));

	if (n > 0) {
		send_frame(c->id, which ? ERR : OUT, buf, n);
		return 1;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(c->fd[which]);
		c->fd[which] = -1;
	}
	return 0;
}

static void child(const char *line, int in, int out, int err)
{
	struct sched_param normal = { 0 };
	sigset_t none;

	setpgid(0, 0);
	signal(SIGPIPE, SIG_DFL);
	sched_setscheduler(0, SCHED_OTHER, &normal);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		_exit(126);
	execl("/bin/sh", "sh", "-c", line, NULL);
	_exit(127);
}

static void run(uint32_t id, char *data, uint32_t len)
{
	struct command *c = commands;
	uint32_t in_len;
	int out[2], err[2], in;

	while (c < commands + MAX_COMMANDS && c->pid)
		c++;
	memcpy(&in_len, data, sizeof(in_len));
	in_len = le32toh(in_len);
	if (c == commands + MAX_COMMANDS || len < sizeof(in_len) || in_len > len - sizeof(in_len)) {
		send_exit(id, 125);
		return;
	}
	in = in_len ? memfd_create("stdin", MFD_CLOEXEC) : open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (in < 0 || pipe2(out, O_CLOEXEC) || pipe2(err, O_CLOEXEC))
		die("pipe");
	if (in_len && (write(in, data + sizeof(in_len), in_len) != (ssize_t)in_len ||
		       lseek(in, 0, SEEK_SET)))
		die("stdin");
	c->pid = fork();
	if (!c->pid)
		child(data + sizeof(in_len) + in_len, in, out[1], err[1]);
	close(in);
	close(out[1]);
	close(err[1]);
	if (c->pid < 0) {
		c->pid = 0;
		close(out[0]);
		close(err[0]);
		send_exit(id, 125);
		return;
	}
	setpgid(c->pid, c->pid);	/* here too: KILL may come before the child has run */
	c->id = id;
	c->fd[0] = out[0];
	c->fd[1] = err[0];
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
}

static void finish(struct command *c, int status)
{
	int i;

	for (i = 0; i < 2; i++) {
		while (c->fd[i] >= 0 && forward(c, i))
			;
		if (c->fd[i] >= 0)
			close(c->fd[i]);
	}
	send_exit(c->id, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	c->pid = 0;
}

static void reap(void)
{
	pid_t pid;
	int status, i;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (i = 0; i < MAX_COMMANDS; i++)
			if (commands[i].pid == pid)
				finish(&commands[i], status);
}

static void handle(const struct frame *f, char *data)
{
	int i;

	if (f->type == RUN) {
		run(f->id, data, f->len);
		return;
	}
	for (i = 0; i < MAX_COMMANDS; i++)
		if (commands[i].pid && commands[i].id == f->id)
			kill(-commands[i].pid, SIGKILL);
}

/* Reads what the host sent and handles the frames that are complete. */
static void receive(void)
{
	static char buf[sizeof(struct frame) + MAX_FRAME + 1];
	static size_t have;
	struct frame f;
	ssize_t n = read(port, buf + have, sizeof(buf) - 1 - have);

	if (n <= 0) {
		/* no host: port reads return 0 at once until it comes back */
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			die("read from the host");
		usleep(20000);
		return;
	}
	have += n;
	while (have >= sizeof(f)) {
		size_t whole;
		char keep;

		memcpy(&f, buf, sizeof(f));
		f.id = le32toh(f.id);
		f.type = le32toh(f.type);
		f.len = le32toh(f.len);
		whole = sizeof(f) + f.len;
		if (f.len > MAX_FRAME)
			die("frame too long");
		if (have < whole)
			return;
		keep = buf[whole];
		buf[whole] = 0;
		handle(&f, buf + sizeof(f));
		buf[whole] = keep;
		memmove(buf, buf + whole, have - whole);
		have -= whole;
	}
}

int main(int argc, char **argv)
{
	struct sched_param first = { .sched_priority = 50 };
	struct pollfd p[2 + 2 * MAX_COMMANDS];
	sigset_t mask;
	int i, j, n, sig;

	if (argc != 2) {
		fprintf(stderr, "usage: agent PORT\n");
		return 2;
	}
	port = open(argv[1], O_RDWR | O_CLOEXEC | O_NONBLOCK);
	if (port < 0)
		die(argv[1]);
	/* commands must get through when the guest is busy */
	sched_setscheduler(0, SCHED_FIFO, &first);
	sigemptyset(&mask);
	sigaddset(&mask, SIGCHLD);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	signal(SIGPIPE, SIG_IGN);
	sig = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (sig < 0)
		die("signalfd");
	send_frame(0, HELLO, NULL, 0);

	for (;;) {
		p[0] = (struct pollfd){ .fd = port, .events = POLLIN };
		p[1] = (struct pollfd){ .fd = sig, .events = POLLIN };
		for (n = 2, i = 0; i < MAX_COMMANDS; i++)
			for (j = 0; j < 2; j++, n++)
				p[n] = (struct pollfd){
					.fd = commands[i].pid ? commands[i].fd[j] : -1,
					.events = POLLIN,
				};
		if (poll(p, n, -1) < 0)
			continue;
		for (i = 2; i < n; i++)
			if (p[i].revents)
				forward(&commands[(i - 2) / 2], i % 2);
		if (p[1].revents) {
			struct signalfd_siginfo si;

			while (read(sig, &si, sizeof(si)) > 0)
				;
			reap();
		}
		if (p[0].revents)
			receive();
	}
}
