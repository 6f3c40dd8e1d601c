// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * An Ethernet switch between the QEMUs of one cluster, in user space: it needs no privileges, and
 * the wire between any two nodes can be cut and healed while the guests notice nothing else.
 *
 * usage: cluster-switch CONTROL PORT...    (numbers of inherited sockets; ports are nodes 1, 2, …)
 *
 * A port is a datagram socket that carries one frame a message. The last two bytes of a node's
 * MAC are its number, so nothing is learned. The control socket takes `cut A B` and `heal A B`
 * and answers `ok` when they are in force. The switch ends when the control socket is closed.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

enum { MAX_PORTS = 256, MAX_FRAME = 65536, MAX_QUEUE = 2048 };

struct frame {
	struct frame *next;
	int from;
	size_t len;
	unsigned char data[];
};

struct port {
	int fd;
	int queued;
	struct frame *head, **tail;
};

static struct port ports[MAX_PORTS + 1];	/* by node number, from 1 */
static unsigned char is_cut[MAX_PORTS + 1][MAX_PORTS + 1];
static int nports;

/* Sends what waits for @p; frames beyond a bounded queue are lost, as in any switch. */
static void flush(struct port *p)
{
	while (p->head) {
		struct frame *f = p->head;

		if (send(p->fd, f->data, f->len, MSG_DONTWAIT) < 0 &&
		    (errno == EAGAIN || errno == ENOBUFS))
			return;
		p->head = f->next;
		if (!p->head)
			p->tail = &p->head;
		p->queued--;
		free(f);
	}
}

static void deliver(struct port *p, int from, const unsigned char *data, size_t len)
{
	struct frame *f;

	if (!p->head && (send(p->fd, data, len, MSG_DONTWAIT) >= 0 ||
			 (errno != EAGAIN && errno != ENOBUFS)))
		return;
	f = p->queued < MAX_QUEUE ? malloc(sizeof(*f) + len) : NULL;
	if (!f)
		return;
	f->next = NULL;
	f->from = from;
	f->len = len;
	memcpy(f->data, data, len);
	*p->tail = f;
	p->tail = &f->next;
	p->queued++;
}

static void forward(int from, const unsigned char *frame, size_t len)
{
	int to = frame[4] << 8 | frame[5], i;

	if (len < 14)
		return;
	if (!(frame[0] & 1)) {
		if (to >= 1 && to <= nports && to != from && !is_cut[from][to])
			deliver(&ports[to], from, frame, len);
		return;
	}
	for (i = 1; i <= nports; i++)
		if (i != from && !is_cut[from][i])
			deliver(&ports[i], from, frame, len);
}

/* What waits on the wire of a cut is lost with it. */
static void drop_from(struct port *p, int from)
{
	struct frame **link = &p->head, *f;

	while ((f = *link)) {
		if (f->from != from) {
			link = &f->next;
			continue;
		}
		*link = f->next;
		p->queued--;
		free(f);
	}
	p->tail = link;
}

static void control(int fd)
{
	char line[64] = "", verb[8];
	int a, b, cut;
	ssize_t n = recv(fd, line, sizeof(line) - 1, 0);

	if (n <= 0)
		exit(0);
	if (sscanf(line, "%7s %d %d", verb, &a, &b) == 3 && a >= 1 && a <= nports &&
	    b >= 1 && b <= nports) {
		cut = !strcmp(verb, "cut");
		is_cut[a][b] = is_cut[b][a] = cut;
		if (cut) {
			drop_from(&ports[a], b);
			drop_from(&ports[b], a);
		}
		n = send(fd, "ok", 2, 0);
	} else {
		n = send(fd, "bad", 3, 0);
	}
	if (n < 0)
		exit(1);
}

int main(int argc, char **argv)
{
	static unsigned char buf[MAX_FRAME];
	static struct pollfd p[MAX_PORTS + 1];
	int i, burst;
	ssize_t n;

	nports = argc - 2;
	if (nports < 1 || nports > MAX_PORTS) {
		fprintf(stderr, "usage: cluster-switch CONTROL PORT...\n");
		return 2;
	}
	for (i = 0; i <= nports; i++) {
		ports[i].fd = p[i].fd = atoi(argv[i + 1]);
		ports[i].tail = &ports[i].head;
	}
	for (;;) {
		for (i = 0; i <= nports; i++)
			p[i].events = POLLIN | (ports[i].head ? POLLOUT : 0);
		if (poll(p, nports + 1, -1) < 0)
			continue;
		if (p[0].revents)
			control(p[0].fd);
		for (i = 1; i <= nports; i++) {
			if (p[i].revents & POLLOUT)
				flush(&ports[i]);
			for (burst = 0; burst < 16 && (p[i].revents & POLLIN); burst++) {
				n = recv(p[i].fd, buf, sizeof(buf), MSG_DONTWAIT);
				if (n <= 0)
					break;
				forward(i, buf, n);
			}
		}
	}
}
