// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * popcorn checkpoint, popcorn restore: a process that popcorn-cc has built, to a file and from it, on
 * any of its ISAs. The process writes the file itself (compiler/rt/ask.c has its side of the talk).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../compiler/rt/image.h"
#include "tool.h"

#define SIGNAL 35
#define SOCKET_NAME "popcorn-checkpoint-%08x"
#define REQUEST_MARK 0x504f5043ull
#define CONNECT_MS 10000
#define RESEND_MS 200

static const char usage_checkpoint[] =
"usage: popcorn checkpoint [OPTION]... PID FILE\n"
"\n"
"Writes a process that popcorn-cc has built into FILE, and lets it go on.\n"
"\n"
"  -x, --exit             the process ends once FILE is written (exit status 75)\n"
"  -t, --timeout SECONDS  give up after so long, default 60\n"
"  -s, --signal N         the number that reaches the process as signal 35, default 35;\n"
"                         37 for a process under qemu-user\n";

static const char usage_restore[] =
"usage: popcorn restore [OPTION]... FILE\n"
"\n"
"Goes on with the process in FILE, which popcorn checkpoint has written, maybe on another ISA.\n"
"Descriptors 0 to 2 that were no files are this command's; the exit status is the process's.\n"
"\n"
"  -i, --isa ISA          x86-64, aarch64 or riscv64, default this machine's\n"
"  -p, --program PROGRAM  the program's binary, default where it was, for the ISA\n"
"  -w, --with COMMAND     start it with COMMAND, such as qemu-riscv64-static\n";

static int fail(const char *command, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "popcorn: %s: ", command);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return EXIT_FAILED;
}

/* Signal 35 ends a process that doesn't catch it: is it one of ours, and alive? */
static bool catches(pid_t pid, int signo)
{
	char *status = slurp("/proc/%d/status", pid), *line;
	unsigned long long mask = 0;

	line = status ? strstr(status, "\nSigCgt:") : NULL;
	if (line && !strstr(status, "\nState:\tZ"))
		mask = strtoull(line + 8, NULL, 16);
	free(status);
	return mask >> (signo - 1) & 1;
}

static int listen_at(unsigned int *nonce)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int sock = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), n;

	if (sock < 0 || getrandom(nonce, sizeof(*nonce), 0) != sizeof(*nonce))
		return -1;
	n = snprintf(a.sun_path + 1, sizeof(a.sun_path) - 1, SOCKET_NAME, *nonce);
	if (bind(sock, (struct sockaddr *)&a, offsetof(struct sockaddr_un, sun_path) + 1 + n) ||
	    listen(sock, 4)) {
		close(sock);
		return -1;
	}
	return sock;
}

/* Asks until the process has connected; nobody else gets anything. */
static int await_process(int sock, pid_t pid, int signo, unsigned int nonce)
{
	union sigval v = { .sival_ptr = (void *)(REQUEST_MARK << 32 | nonce) };
	struct pollfd p = { .fd = sock, .events = POLLIN };
	int waited;

	for (waited = 0; waited < CONNECT_MS; waited += RESEND_MS) {
		struct ucred peer;
		socklen_t len = sizeof(peer);
		int conn;

		if (sigqueue(pid, signo, v))
			return -1;
		if (poll(&p, 1, RESEND_MS) <= 0) {
			if (catches(pid, signo))
				continue;
			errno = ESRCH;	/* it has ended, but its parent doesn't know yet */
			return -1;
		}
		conn = accept4(sock, NULL, NULL, SOCK_CLOEXEC);
		if (conn >= 0 && !getsockopt(conn, SOL_SOCKET, SO_PEERCRED, &peer, &len) && peer.pid == pid)
			return conn;
		close(conn);
	}
	errno = ETIMEDOUT;
	return -1;
}

static bool send_fd(int conn, int fd, char what)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { &what, 1 };
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control),
	};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	return sendmsg(conn, &m, MSG_NOSIGNAL) == 1;
}

/* "0", or an error number and the reason. */
static int answer(int conn, int seconds, char *line, size_t size)
{
	struct pollfd p = { .fd = conn, .events = POLLIN };
	size_t n = 0;
	ssize_t got;

	while (n < size - 1) {
		if (poll(&p, 1, seconds * 1000) <= 0)
			return ETIMEDOUT;
		got = recv(conn, line + n, size - 1 - n, 0);
		if (got <= 0)
			break;
		n += got;
	}
	line[n] = 0;
	return n ? 0 : ECONNRESET;
}

static const void *map_image(const char *command, const char *file, size_t *len)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *p = MAP_FAILED;

	if (fd < 0 || fstat(fd, &st)) {
		fail(command, "%s: %s", file, strerror(errno));
		return NULL;
	}
	if (st.st_size)
		p = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (p == MAP_FAILED) {
		fail(command, "%s: not a checkpoint", file);
		return NULL;
	}
	*len = st.st_size;
	return p;
}

static int write_image(pid_t pid, const char *file, int signo, int seconds, char what)
{
	char *part = xprintf("%s.%d.part", file, getpid()), line[600];
	unsigned int nonce;
	int sock, conn, fd, err;

	sock = listen_at(&nonce);
	if (sock < 0)
		return fail("checkpoint", "no socket: %s", strerror(errno));
	fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return fail("checkpoint", "%s: %s", part, strerror(errno));
	conn = await_process(sock, pid, signo, nonce);
	if (conn < 0) {
		unlink(part);
		return fail("checkpoint", "process %d doesn't answer: %s", pid, strerror(errno));
	}
	err = send_fd(conn, fd, what) ? answer(conn, seconds, line, sizeof(line)) : errno;
	if (!err && strcmp(line, "0")) {
		char *why = strchr(line, ' ');

		unlink(part);
		return fail("checkpoint", "process %d: %s", pid, why ? why + 1 : line);
	}
	if (!err && (fsync(fd) || rename(part, file)))
		err = errno;
	if (err) {
		unlink(part);
		return fail("checkpoint", "%s: %s", file, strerror(err));
	}
	return EXIT_OK;
}

int cmd_checkpoint(int argc, char **argv)
{
	static const struct option options[] = {
		{ "exit", no_argument, NULL, 'x' },
		{ "timeout", required_argument, NULL, 't' },
		{ "signal", required_argument, NULL, 's' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	int c, seconds = 60, signo = SIGNAL;
	char what = 'c', *end;
	long pid;

	optind = 0;
	while ((c = getopt_long(argc, argv, "+xt:s:h", options, NULL)) != -1)
		switch (c) {
		case 'x':
			what = 'x';
			break;
		case 't':
			seconds = atoi(optarg);
			break;
		case 's':
			signo = atoi(optarg);
			break;
		case 'h':
			fputs(usage_checkpoint, stdout);
			return EXIT_OK;
		default:
			fputs("popcorn: see popcorn checkpoint --help\n", stderr);
			return EXIT_USAGE;
		}
	pid = argc - optind == 2 ? strtol(argv[optind], &end, 10) : 0;
	if (pid <= 0 || *end || seconds <= 0 || seconds > 86400 || signo < 1 || signo > 64) {
		fputs(usage_checkpoint, stderr);
		return EXIT_USAGE;
	}
	if (kill(pid, 0) && errno == ESRCH)
		return fail("checkpoint", "there is no process %ld", pid);
	if (!catches(pid, signo))
		return fail("checkpoint", "process %ld was not built by popcorn-cc", pid);
	return write_image(pid, argv[optind + 1], signo, seconds, what);
}

int cmd_restore(int argc, char **argv)
{
	static const struct option options[] = {
		{ "isa", required_argument, NULL, 'i' },
		{ "program", required_argument, NULL, 'p' },
		{ "with", required_argument, NULL, 'w' },
		{ "help", no_argument, NULL, 'h' },
		{ 0 }
	};
	const char *isa = POPCORN_ISA, *program = NULL, *with = NULL, *file, *why = "";
	struct popcorn_image_part part;
	struct popcorn_image_in in;
	char *run[3] = { NULL };
	const void *image;
	char *path;
	size_t len;
	int c, n = 0;

	optind = 0;
	while ((c = getopt_long(argc, argv, "+i:p:w:h", options, NULL)) != -1)
		switch (c) {
		case 'i':
			isa = optarg;
			break;
		case 'p':
			program = optarg;
			break;
		case 'w':
			with = optarg;
			break;
		case 'h':
			fputs(usage_restore, stdout);
			return EXIT_OK;
		default:
			fputs("popcorn: see popcorn restore --help\n", stderr);
			return EXIT_USAGE;
		}
	if (argc - optind != 1) {
		fputs(usage_restore, stderr);
		return EXIT_USAGE;
	}
	file = argv[optind];
	image = map_image("restore", file, &len);
	if (!image)
		return EXIT_FAILED;
	if (popcorn_image_check(image, len, NULL, &why))
		return fail("restore", "%s: %s", file, why);
	popcorn_image_open(&in, image, len);
	popcorn_image_next(&in, &part);
	path = xprintf("%s_%s", (const char *)part.payload + sizeof(struct popcorn_image_process), isa);
	if (!program)
		program = path;
	file = realpath(file, NULL);
	if (!file || setenv("POPCORN_RESTORE", file, 1))
		return fail("restore", "%s", strerror(errno));
	if (with)
		run[n++] = (char *)with;
	run[n++] = (char *)program;
	if (with)
		execvp(with, run);
	else
		execv(program, run);	/* execvp() gives the shell what isn't for this machine */
	if (errno == ENOEXEC)
		return fail("restore", "%s: not for this machine; --with qemu-riscv64-static, say, runs it", run[0]);
	return fail("restore", "%s: %s", run[0], strerror(errno));
}
