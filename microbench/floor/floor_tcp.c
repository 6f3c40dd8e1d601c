// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Floor: bare TCP over 127.0.0.1 between two processes, polling or blocking. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <signal.h>
#include <unistd.h>

#include "floor.h"

struct tcp_chan {
	struct floor_chan chan;
	int fd;
	char buf[FLOOR_MAX];
};

static int tcp_send(struct floor_chan *c, size_t size)
{
	struct tcp_chan *t = (struct tcp_chan *)c;
	size_t done = 0;
	ssize_t n;

	while (done < size) {
		n = send(t->fd, t->buf + done, size - done, MSG_NOSIGNAL);
		if (n >= 0)
			done += (size_t)n;
		else if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return 0;
}

static int tcp_recv(struct floor_chan *c, size_t size)
{
	struct tcp_chan *t = (struct tcp_chan *)c;
	size_t done = 0;
	ssize_t n;

	while (done < size) {
		n = recv(t->fd, t->buf + done, size - done, 0);
		if (n > 0)
			done += (size_t)n;
		else if (n == 0)
			return -ECONNRESET;
		else if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return 0;
}

static void tcp_setup(struct tcp_chan *t, int fd, int busy)
{
	int one = 1;

	t->chan = (struct floor_chan){ .send = tcp_send, .recv = tcp_recv };
	t->fd = fd;
	if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)))
		floor_die("TCP_NODELAY", errno);
	if (busy && fcntl(fd, F_SETFL, O_NONBLOCK))
		floor_die("O_NONBLOCK", errno);
}

static int run(const struct floor_opts *o, int busy)
{
	static struct tcp_chan t;
	struct sockaddr_in sa = { .sin_family = AF_INET };
	socklen_t len = sizeof(sa);
	char name[64];
	int fd, lfd, pid, err;

	snprintf(name, sizeof(name), "%s_%s", o->name ? o->name : "tcp", busy ? "busy" : "block");
	sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	lfd = socket(AF_INET, SOCK_STREAM, 0);
	if (lfd < 0 || bind(lfd, (struct sockaddr *)&sa, len) || listen(lfd, 1) ||
	    getsockname(lfd, (struct sockaddr *)&sa, &len))
		floor_die("listen on 127.0.0.1", errno);
	pid = fork();
	if (pid < 0)
		floor_die("fork", errno);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		floor_pin(1);
		fd = accept(lfd, NULL, NULL);
		if (fd < 0)
			floor_die("accept", errno);
		tcp_setup(&t, fd, busy);
		_exit(!!floor_rows(&t.chan, o, FLOOR_SERVER, name));
	}
	floor_pin(0);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)))
		floor_die("connect to 127.0.0.1", errno);
	tcp_setup(&t, fd, busy);
	err = floor_rows(&t.chan, o, FLOOR_CLIENT, name);
	close(fd);
	close(lfd);
	return floor_reap(pid, err);
}

int main(int argc, char **argv)
{
	struct floor_opts o;
	int bad = 0;

	floor_options(argc, argv, "Bare TCP between two processes over 127.0.0.1.", "busy, block",
		      &o);
	if (floor_mode_on(&o, "busy"))
		bad |= run(&o, 1);
	if (floor_mode_on(&o, "block"))
		bad |= run(&o, 0);
	return bad;
}
