// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * How `popcorn checkpoint` reaches a process: it listens on an abstract socket, signal 35 brings the
 * name along. The process connects if the listener is root or its own user, gets the file to write, and answers
 * with a line. The tool for its part gives the file to nobody but the process that it named.
 */
#include "runtime.h"

#define NAME "popcorn-checkpoint-"
#define WAIT_S 5

enum {
	AF_UNIX_NR = 1, SOCK_STREAM_NR = 1, SOCK_CLOEXEC_NR = 02000000, SOL_SOCKET_NR = 1,
	SO_PEERCRED_NR = 17, SO_RCVTIMEO_NR = 20, SCM_RIGHTS_NR = 1, MSG_CMSG_CLOEXEC_NR = 0x40000000,
	MSG_NOSIGNAL_NR = 0x4000,
};

struct address {
	u16 family;
	char path[108];
};

struct credentials {
	s32 pid;
	u32 uid, gid;
};

struct message {
	void *name;
	u32 name_len, pad;
	void *iov;
	u64 iov_len;
	void *control;
	u64 control_len;
	s32 flags;
};

struct control {
	u64 len;
	s32 level, type;
	s32 fd, pad;
};

static int receive_fd(int sock, char *what)
{
	struct {
		void *base;
		u64 len;
	} iov = { what, 1 };
	struct control c = { .len = 0 };
	struct message m = {
		.iov = &iov, .iov_len = 1, .control = &c, .control_len = sizeof(c),
	};

	if (sys(recvmsg, sock, &m, MSG_CMSG_CLOEXEC_NR) != 1 || m.control_len < 20 ||
	    c.level != SOL_SOCKET_NR || c.type != SCM_RIGHTS_NR)
		return -SYS_EINVAL;
	return c.fd;
}

/**
 * popcorn_ask_connect - to the tool that has sent the signal
 * @request: what it sent along
 * @image: the file that it wants the image in
 * @what: 'x' if the process is to end afterwards
 *
 * Returns a socket, or -errno.
 */
int popcorn_ask_connect(u64 request, int *image, char *what)
{
	struct address a = { .family = AF_UNIX_NR };
	struct sys_timespec wait = { WAIT_S, 0 };
	struct credentials peer = { .pid = 0 };
	u32 len = sizeof(peer), n = 1, i;
	int sock;

	for (i = 0; i < sizeof(NAME) - 1; i++)
		a.path[n++] = NAME[i];
	for (i = 0; i < 8; i++)
		a.path[n++] = "0123456789abcdef"[request >> (28 - 4 * i) & 15];
	sock = sys(socket, AF_UNIX_NR, SOCK_STREAM_NR | SOCK_CLOEXEC_NR, 0);
	if (sock < 0)
		return sock;
	sys(setsockopt, sock, SOL_SOCKET_NR, SO_RCVTIMEO_NR, &wait, sizeof(wait));
	if (!sys(connect, sock, &a, 2 + n) &&
	    !sys(getsockopt, sock, SOL_SOCKET_NR, SO_PEERCRED_NR, &peer, &len) &&
	    (!peer.uid || peer.uid == (u32)sys(geteuid, 0))) {
		*image = receive_fd(sock, what);
		if (*image >= 0)
			return sock;
	}
	sys(close, sock);
	return -SYS_EACCES;
}

/** popcorn_ask_answer - how it went, for the tool */
void popcorn_ask_answer(int sock, const struct popcorn_line *l)
{
	sys(sendto, sock, l->text, l->len, MSG_NOSIGNAL_NR, NULL, 0);
}
