// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * Checks of the cluster as this machine sees it: node table, RDMA devices, MTU, memory.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/ip.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tool.h"

#define NODES_FILE	"/etc/popcorn/nodes"
#define SHOWN		16	/* peers that are told one by one */

struct member *members;
size_t n_members, n_local;
bool soft_roce;

/* ------------------------------------------------------------- node table */

bool is_v4(const struct in6_addr *a)
{
	return IN6_IS_ADDR_V4MAPPED(a);
}

bool parse_address(const char *s, struct in6_addr *a)
{
	struct in_addr v4;

	if (inet_pton(AF_INET, s, &v4) == 1) {
		memset(a, 0, sizeof(*a));
		a->s6_addr[10] = a->s6_addr[11] = 0xff;
		memcpy(a->s6_addr + 12, &v4, 4);
		return true;
	}
	return inet_pton(AF_INET6, s, a) == 1;
}

/* Which network device has the address; false if none. */
static bool find_netdev(const struct in6_addr *want, char name[16])
{
	struct ifaddrs *list, *i;
	bool found = false;

	if (getifaddrs(&list))
		return false;
	for (i = list; i && !found; i = i->ifa_next) {
		char text[INET6_ADDRSTRLEN];
		struct in6_addr a;
		int family = i->ifa_addr ? i->ifa_addr->sa_family : AF_UNSPEC;

		if (family == AF_INET)
			inet_ntop(family, &((struct sockaddr_in *)i->ifa_addr)->sin_addr, text,
				  sizeof(text));
		else if (family == AF_INET6)
			inet_ntop(family, &((struct sockaddr_in6 *)i->ifa_addr)->sin6_addr, text,
				  sizeof(text));
		else
			continue;
		found = parse_address(text, &a) && !memcmp(&a, want, sizeof(a));
		if (found)
			snprintf(name, 16, "%s", i->ifa_name);
	}
	freeifaddrs(list);
	return found;
}

static bool add_member(const char *text, const char *from)
{
	struct member m = { 0 };
	size_t i;

	snprintf(m.text, sizeof(m.text), "%s", text);
	if (!parse_address(text, &m.addr)) {
		verdict(FAIL, "nodes", "give numbers: names can't be looked up in the kernel",
			"%s: '%s' is not an IPv4 or IPv6 address", from, text);
		return false;
	}
	for (i = 0; i < n_members; i++)
		if (!memcmp(&members[i].addr, &m.addr, sizeof(m.addr))) {
			verdict(FAIL, "nodes", "remove one", "%s: %s is there twice", from, text);
			return false;
		}
	n_local += find_netdev(&m.addr, m.netdev);
	members = grow(members, n_members, sizeof(*members));
	members[n_members++] = m;
	return true;
}

/* As the module reads it: addresses between commas and blanks, '#' starts a comment. */
static bool read_members(char *list, const char *from)
{
	char *line, *word;

	while ((line = strsep(&list, "\n"))) {
		line[strcspn(line, "#")] = 0;
		while ((word = strsep(&line, ", \t\r")))
			if (*word && !add_member(word, from))
				return false;
	}
	return true;
}

void check_nodes(void)
{
	char *list = param("msg_rdma", "ip"), *own = NULL;
	const char *from = "ip=";
	size_t i;

	if (!list)
		list = param("msg_socket", "ip");
	if (!list) {
		from = NODES_FILE;
		list = slurp(NODES_FILE);
	}
	if (!list) {
		verdict(FAIL, "nodes", "write every node's address into " NODES_FILE ", one a line, the"
			" same on all nodes; or modprobe msg_rdma ip=A,B", "no ip= is set and "
			NODES_FILE ": %s", strerror(errno));
		return;
	}
	if (!read_members(list, from))
		goto out;
	for (i = 0; i < n_members && n_local <= SHOWN; i++)
		if (*members[i].netdev) {
			char *more = xprintf("%s%s%zu (%s on %s)", own ? own : "", own ? ", " : "", i,
					     members[i].text, members[i].netdev);

			free(own);
			own = more;
		}
	if (n_members < 2)
		verdict(FAIL, "nodes", "a cluster has at least two nodes, the same list on each",
			"%s: %zu addresses", from, n_members);
	else if (!n_local)
		verdict(FAIL, "nodes", "ip address add ADDRESS/LENGTH dev DEVICE, or correct the list",
			"%s: none of the %zu addresses is this machine's", from, n_members);
	else
		verdict(OK, "nodes", NULL, "%s: %zu nodes, here node %s", from, n_members,
			own ? own : "several");
	free(own);
out:
	free(list);
}

/* ------------------------------------------------------------ RDMA devices */

/* Search for the port of an RDMA device that has an address, and its GID. */
struct gid_search {
	const struct member *m;
	char *dir;		/* of the port */
	char dev[64];
	int port;
	int index;		/* of the best GID, -1 if none */
	bool v2;		/* it is RoCE v2 */
	bool netdev;		/* the port belongs to the address's network device */
	bool infiniband;
	bool found;
	bool any;		/* there is an RDMA device at all */
};

static bool look_gid(const char *name, void *arg)
{
	struct gid_search *s = arg;
	char *ndev = slurp("%s/gid_attrs/ndevs/%s", s->dir, name);
	char *type = slurp("%s/gid_attrs/types/%s", s->dir, name);
	char *gid = slurp("%s/gids/%s", s->dir, name);
	struct in6_addr a;

	if (ndev && !strcmp(ndev, s->m->netdev))
		s->netdev = true;
	if (gid && ndev && !strcmp(ndev, s->m->netdev) && inet_pton(AF_INET6, gid, &a) == 1 &&
	    !memcmp(&a, &s->m->addr, sizeof(a)) && !s->v2) {
		s->index = atoi(name);
		s->v2 = type && !strcmp(type, "RoCE v2");
	}
	free(ndev);
	free(type);
	free(gid);
	return s->v2;
}

static bool is_name(const char *name, void *arg)
{
	return !strcmp(name, arg);
}

static bool look_port(const char *name, void *arg)
{
	struct gid_search *s = arg;
	char *dir = xprintf("/sys/class/infiniband/%s/ports/%s", s->dev, name);
	char *attrs = xprintf("%s/gid_attrs/ndevs", dir);
	char *ipoib = xprintf("/sys/class/net/%s/device/infiniband", s->m->netdev);
	char *layer = slurp("%s/link_layer", dir), *dev_port;
	int port = atoi(name);

	s->netdev = false;
	s->index = -1;
	s->v2 = false;
	s->infiniband = layer && !strcmp(layer, "InfiniBand");
	free(s->dir);
	s->dir = dir;
	if (s->infiniband) {
		/* IPoIB: the address's device sits on this one; rdma_cm finds the GID. */
		dev_port = slurp("/sys/class/net/%s/dev_port", s->m->netdev);
		s->netdev = each_name(ipoib, is_name, s->dev) &&
			    (dev_port ? atoi(dev_port) : 0) + 1 == port;
		free(dev_port);
	} else {
		each_name(attrs, look_gid, s);
	}
	s->port = port;
	s->found = s->netdev;
	free(attrs);
	free(ipoib);
	free(layer);
	return s->found;
}

static bool look_device(const char *name, void *arg)
{
	struct gid_search *s = arg;
	char *dir = xprintf("/sys/class/infiniband/%s/ports", name);

	s->any = true;
	snprintf(s->dev, sizeof(s->dev), "%s", name);
	each_name(dir, look_port, s);
	free(dir);
	return s->found;
}

static void check_port(const struct member *m, struct gid_search *s)
{
	char *state = slurp("%s/state", s->dir), *mend, *wanted = param("msg_rdma", "device");
	long port = number("msg_rdma", "device_port", 0);
	int node = m - members;

	/* Soft-RoCE has no hardware behind it, so its packets go through netfilter. */
	if (!exists("/sys/class/infiniband/%s/device/vendor", s->dev))
		soft_roce = true;
	if (wanted && *wanted && strcmp(wanted, s->dev)) {
		verdict(FAIL, "rdma", "correct device=, or the node's address",
			"node %d: its address is on %s, but msg_rdma is told to use device=%s", node,
			s->dev, wanted);
	} else if (port && port != s->port) {
		verdict(FAIL, "rdma", "correct device_port=, or the node's address",
			"node %d: its address is on port %d, but msg_rdma is told device_port=%ld", node,
			s->port, port);
	} else if (!state || !strstr(state, "ACTIVE")) {
		mend = s->infiniband ? xprintf("check the cable; is a subnet manager running? (opensm)") :
				       xprintf("ip link set %s up; check the cable", m->netdev);
		verdict(FAIL, "rdma", mend, "node %d: %s port %d is not active: %s", node, s->dev,
			s->port, state ? state : "state unknown");
		free(mend);
	} else if (s->infiniband) {
		verdict(OK, "rdma", NULL, "node %d: %s port %d, InfiniBand, %s", node, s->dev, s->port,
			state);
	} else if (s->index < 0) {
		mend = xprintf("rdma link show; ip address show %s (the address must be on the very"
			       " device, a VLAN's or bond's has GIDs of its own)", m->netdev);
		verdict(FAIL, "rdma", mend, "node %d: %s port %d has no GID for %s", node, s->dev,
			s->port, m->text);
		free(mend);
	} else if (!s->v2) {
		verdict(WARN, "rdma", "enable RoCE v2 in the adapter's firmware configuration",
			"node %d: %s port %d GID %d is RoCE v1 only, which routers don't pass on", node,
			s->dev, s->port, s->index);
	} else {
		verdict(OK, "rdma", NULL, "node %d: %s port %d, GID %d (RoCE v2), %s", node, s->dev,
			s->port, s->index, state);
	}
	free(wanted);
	free(state);
}

void check_rdma(void)
{
	enum level missing = loaded("msg_socket") && !loaded("msg_rdma") ? OK : WARN;
	size_t i;

	for (i = 0; i < n_members; i++) {
		struct gid_search s = { .m = &members[i] };
		char *mend;

		if (!*members[i].netdev)
			continue;
		each_name("/sys/class/infiniband", look_device, &s);
		if (s.found) {
			check_port(&members[i], &s);
		} else {
			mend = xprintf("load the adapter's driver, or make a software device: modprobe -a"
				       " crc32_generic rdma_rxe; rdma link add rxe0 type rxe netdev %s",
				       members[i].netdev);
			verdict(missing, "rdma", missing == OK ? NULL : mend,
				"node %zu: no RDMA device on %s%s: only TCP (msg_socket) will work", i,
				members[i].netdev, s.any ? ", though on others" : "");
			free(mend);
		}
		free(s.dir);
	}
}

/* -------------------------------------------------------------------- MTU */

/* Largest RDMA MTU that fits; headers of RoCE v2 take 96 bytes at most. */
static int rdma_mtu(int mtu)
{
	int m = 4096;

	while (m >= 256 && m + 96 > mtu)
		m /= 2;
	return m;
}

/* What the kernel would do with a packet to a peer; nothing is sent. */
static int route_to(const struct member *m, int *mtu)
{
	struct sockaddr_storage ss = { 0 };
	socklen_t len;
	int fd, r = 0;

	if (is_v4(&m->addr)) {
		struct sockaddr_in *in = (struct sockaddr_in *)&ss;

		in->sin_family = AF_INET;
		in->sin_port = htons(7471);
		memcpy(&in->sin_addr, m->addr.s6_addr + 12, 4);
		len = sizeof(*in);
	} else {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(7471);
		in6->sin6_addr = m->addr;
		len = sizeof(*in6);
	}
	*mtu = 0;
	fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&ss, len))
		r = -errno;
	len = sizeof(*mtu);
	if (!r && getsockopt(fd, is_v4(&m->addr) ? IPPROTO_IP : IPPROTO_IPV6,
			     is_v4(&m->addr) ? IP_MTU : IPV6_MTU, mtu, &len))
		*mtu = 0;
	if (fd >= 0)
		close(fd);
	return r;
}

void check_mtu(void)
{
	int first = 0, told = 0, path, r;
	size_t i;

	for (i = 0; i < n_members; i++) {
		char *s, *up;
		int mtu;

		if (!*members[i].netdev)
			continue;
		s = slurp("/sys/class/net/%s/mtu", members[i].netdev);
		up = slurp("/sys/class/net/%s/carrier", members[i].netdev);
		mtu = s ? atoi(s) : 0;
		if (!up || *up != '1')
			verdict(FAIL, "mtu", "ip link set DEVICE up; check the cable",
				"node %zu: %s has no carrier", i, members[i].netdev);
		else if (mtu < 576)
			verdict(FAIL, "mtu", "ip link set DEVICE mtu 1500",
				"node %zu: %s has MTU %d, too little for a page", i, members[i].netdev,
				mtu);
		else if (first && mtu != first)
			verdict(WARN, "mtu", "ip link set DEVICE mtu ..., the same everywhere",
				"node %zu: %s has MTU %d, another node here %d", i, members[i].netdev, mtu,
				first);
		else if (mtu >= 4192)
			verdict(OK, "mtu", NULL, "node %zu: %s %d, RDMA 4096: a page is one packet", i,
				members[i].netdev, mtu);
		else
			verdict(OK, "mtu", NULL, "node %zu: %s %d, RDMA %d: a page is %d packets; 4200 on"
				" all nodes and switches makes it one", i, members[i].netdev, mtu,
				rdma_mtu(mtu), 4096 / rdma_mtu(mtu));
		if (!first)
			first = mtu;
		free(s);
		free(up);
	}
	for (i = 0; i < n_members && n_local && told < SHOWN; i++) {
		if (*members[i].netdev)
			continue;
		r = route_to(&members[i], &path);
		if (r) {
			verdict(FAIL, "route", "ip route get ADDRESS; add a route or an address in its net",
				"node %zu (%s): %s", i, members[i].text, strerror(-r));
			told++;
		} else if (path && first && path < first) {
			verdict(WARN, "mtu", "give switches and peers the same MTU",
				"node %zu (%s): packets over %d bytes don't get there, ours are %d", i,
				members[i].text, path, first);
			told++;
		}
	}
}

/* ----------------------------------------------------------------- memory */

#define CLASSES		3
#define SPARE		4	/* PT_SPARE */
#define ONEWAYS		32	/* POPCORN_TXS */

void check_memory(void)
{
	long window = number("popcorn", "window", 32), slots = number("popcorn", "slots", 32);
	long prepaid = number("popcorn", "prepaid", 32), pool_mb = number("popcorn", "pool_mb", 4096);
	bool eager = number("popcorn", "eager", 1);
	long pages = CLASSES * (window + prepaid + SPARE + 2 * slots + ONEWAYS);
	long links = n_members ? n_local * (n_members - 1) : 0;
	long mb = (links * pages * sysconf(_SC_PAGESIZE) + (1 << 20) - 1) >> 20, free_mb = 0;
	char *info = slurp("/proc/meminfo"), *at = info ? strstr(info, "MemAvailable:") : NULL;
	const char *mend = "options popcorn eager=0 (connect at the first message), or smaller window=,"
			   " slots=, prepaid=";

	if (at)
		free_mb = strtol(at + 13, NULL, 10) / 1024;
	free(info);
	if (!links)
		return;
	if (mb > pool_mb)
		verdict(eager ? FAIL : WARN, "memory", "options popcorn pool_mb=...",
			"%ld links need %ld MiB of buffers, pool_mb= allows %ld", links, mb, pool_mb);
	else if (eager && free_mb && mb > free_mb / 4 && !loaded("popcorn"))
		verdict(mb > free_mb ? FAIL : WARN, "memory", mend,
			"%ld links need %ld MiB of buffers, %ld MiB are available", links, mb, free_mb);
	else
		verdict(OK, "memory", NULL, "%ld MiB of buffers (links: %ld), %ld MiB available", mb,
			links, free_mb);
}
