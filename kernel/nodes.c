// SPDX-License-Identifier: GPL-2.0-only
/*
 * The node table and the nodes that live here: from ip= or the nodes file to
 * listening nodes, and back.
 */
#include <linux/fs.h>
#include <linux/if_addr.h>
#include <linux/inet.h>
#include <linux/inetdevice.h>
#include <linux/kernel_read_file.h>
#include <linux/kthread.h>
#include <linux/random.h>
#include <linux/sched.h>
#include <linux/vmalloc.h>
#include <crypto/sha2.h>
#include <net/addrconf.h>
#include <net/ipv6.h>
#include <net/route.h>

#include "engine.h"
#include "trace.h"

#define NODES_FILE	"/etc/popcorn/nodes"
#define KEY_MIN		16
#define KEY_MAX		4096
#define FILE_MAX	(4u << 20)
#define TICK_MS		10
#define BYE_MS		50	/* for farewells to go out */

DEFINE_MUTEX(popcorn_nodes_mutex);
LIST_HEAD(popcorn_nodes);
struct pt_table popcorn_table;

static struct popcorn_driver *owner;	/* its module made the nodes */
static u8 key[SHA256_DIGEST_SIZE * 2];	/* HMAC's block, 64 bytes */
static bool has_key;
static DEFINE_SPINLOCK(nodes_lock);	/* popcorn_nodes, for readers */

/* ------------------------------------------------------------- addresses */

/* A number, nothing else: names can't be looked up here. */
static int parse_addr(const char *s, size_t len, struct pt_addr *a)
{
	static const u8 v4[12] = { [10] = 0xff, [11] = 0xff };
	const char *end;

	memset(a, 0, sizeof(*a));
	if (in4_pton(s, len, a->ip + 12, -1, &end) && end == s + len) {
		memcpy(a->ip, v4, sizeof(v4));
		return 0;
	}
	return in6_pton(s, len, a->ip, -1, &end) && end == s + len ? 0 : -EINVAL;
}

static bool is_v4(const struct pt_addr *a)
{
	return ipv6_addr_v4mapped((const struct in6_addr *)a->ip);
}

static __be32 v4_of(const struct pt_addr *a)
{
	return ((const struct in6_addr *)a->ip)->s6_addr32[3];
}

static bool is_local(const struct pt_addr *a)
{
	if (is_v4(a))
		return inet_addr_type(&init_net, v4_of(a)) == RTN_LOCAL;
	return ipv6_chk_addr(&init_net, (const struct in6_addr *)a->ip, NULL, 0);
}

static const char *addr_wrong(const struct pt_addr *a)
{
	const struct in6_addr *in6 = (const struct in6_addr *)a->ip;

	if (is_v4(a)) {
		if (ipv4_is_multicast(v4_of(a)) || ipv4_is_zeronet(v4_of(a)) ||
		    ipv4_is_lbcast(v4_of(a)))
			return "not a host's address";
		return NULL;
	}
	if (ipv6_addr_any(in6) || ipv6_addr_is_multicast(in6))
		return "not a host's address";
	if (ipv6_addr_type(in6) & IPV6_ADDR_LINKLOCAL)
		return "link-local; give a routable address";
	return NULL;
}

/**
 * popcorn_addr_sockaddr - address for a socket
 * @a:    node address
 * @port: in host order
 * @ss:   filled in
 *
 * Return: its length.
 */
u16 popcorn_addr_sockaddr(const struct pt_addr *a, u16 port, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof(*ss));
	if (is_v4(a)) {
		struct sockaddr_in *in = (struct sockaddr_in *)ss;

		in->sin_family = AF_INET;
		in->sin_port = htons(port);
		in->sin_addr.s_addr = v4_of(a);
		return sizeof(*in);
	} else {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)ss;

		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(port);
		memcpy(&in6->sin6_addr, a->ip, 16);
		return sizeof(*in6);
	}
}
EXPORT_SYMBOL_GPL(popcorn_addr_sockaddr);

/**
 * popcorn_sockaddr_addr - node address from a socket's
 * @sa: IPv4 or IPv6
 * @a:  filled in
 *
 * Return: 0 or -EAFNOSUPPORT.
 */
int popcorn_sockaddr_addr(const struct sockaddr *sa, struct pt_addr *a)
{
	struct in6_addr in6;

	if (sa->sa_family == AF_INET)
		ipv6_addr_set_v4mapped(((const struct sockaddr_in *)sa)->sin_addr.s_addr, &in6);
	else if (sa->sa_family == AF_INET6)
		in6 = ((const struct sockaddr_in6 *)sa)->sin6_addr;
	else
		return -EAFNOSUPPORT;
	memcpy(a->ip, &in6, sizeof(a->ip));
	return 0;
}
EXPORT_SYMBOL_GPL(popcorn_sockaddr_addr);

const struct pt_addr *popcorn_node_addr(const struct popcorn_node *node)
{
	return pt_table_addr(&popcorn_table, node->pt.id);
}
EXPORT_SYMBOL_GPL(popcorn_node_addr);

const struct pt_addr *popcorn_peer_addr(const struct popcorn_link *link)
{
	return pt_table_addr(&popcorn_table, link->peer);
}
EXPORT_SYMBOL_GPL(popcorn_peer_addr);

u16 popcorn_port(void)
{
	return popcorn_params.port;
}
EXPORT_SYMBOL_GPL(popcorn_port);

/* ----------------------------------------------------------------- table */

static int table_add(struct pt_table *t, const char *s, size_t len)
{
	struct pt_addr a;
	const char *wrong;
	bool took = false;
	void *blk = NULL;
	int r;

	if (parse_addr(s, len, &a)) {
		pr_err("'%.*s' is not an IPv4 or IPv6 address; separate addresses by commas, names can't be used\n",
		       (int)min_t(size_t, len, 64), s);
		return -EINVAL;
	}
	wrong = addr_wrong(&a);
	if (wrong) {
		pr_err("%.*s: %s\n", (int)len, s, wrong);
		return -EINVAL;
	}
	if (!t->blk[t->n >> 8])
		blk = popcorn_zalloc(256 * sizeof(struct pt_table_entry), GFP_KERNEL);
	r = pt_table_add(t, &a, blk, &took);
	if (!took)
		kvfree(blk);
	if (r == -EEXIST)
		pr_err("%.*s is in the list twice; remove one\n", (int)len, s);
	else if (r == -ENOSPC)
		pr_err("more than %u addresses; a cluster can't be larger\n", PT_NODES_MAX);
	return r < 0 ? r : 0;
}

/* Addresses with commas, blanks or lines between them; '#' up to the line's end. */
static int table_parse(struct pt_table *t, const char *s)
{
	int r = 0;

	while (*s && !r) {
		size_t len = strcspn(s, ", \t\r\n#");

		if (len)
			r = table_add(t, s, len);
		s += len;
		s += *s == '#' ? strcspn(s, "\n") : !!*s;
	}
	return r;
}

static void table_free(struct pt_table *t)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(t->blk); i++)
		kvfree(t->blk[i]);
	pt_table_init(t, popcorn_params.cluster);
}

/* Is this list what the table was made of? Then a second driver just joins. */
static bool table_is(const char *list)
{
	struct pt_table *t = kmalloc(sizeof(*t), GFP_KERNEL);
	bool same;

	if (!t)
		return false;
	pt_table_init(t, popcorn_params.cluster);
	same = !table_parse(t, list) && t->n <= popcorn_table.n &&
	       pt_table_hash(t, t->n) == pt_table_hash(&popcorn_table, t->n);
	table_free(t);
	kfree(t);
	return same;
}

static char *file_read(const char *path)
{
	void *buf = NULL;
	ssize_t n = kernel_read_file_from_path(path, 0, &buf, FILE_MAX, NULL, READING_POLICY);
	char *s;

	if (n < 0)
		return ERR_PTR(n);
	s = kvmalloc(n + 1, GFP_KERNEL);
	if (s) {
		memcpy(s, buf, n);
		s[n] = 0;
	}
	vfree(buf);
	return s ?: ERR_PTR(-ENOMEM);
}

/* ------------------------------------------------------------------- key */

/* RFC 2104: a key longer than a block is hashed, a shorter one padded. */
static int key_load(const char *path)
{
	struct file *f;
	struct inode *inode;
	u8 *buf;
	ssize_t n;
	loff_t pos = 0;
	int r = -EPERM;

	f = filp_open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK, 0);
	if (IS_ERR(f)) {
		pr_err("keyfile %s: can't be opened (%ld)\n", path, PTR_ERR(f));
		return PTR_ERR(f);
	}
	inode = file_inode(f);
	if (!S_ISREG(inode->i_mode) || !uid_eq(inode->i_uid, GLOBAL_ROOT_UID) ||
	    inode->i_mode & 0177) {
		pr_err("keyfile %s: must be a regular file of root's with mode 0600\n", path);
		goto close;
	}
	r = -ENOMEM;
	buf = kzalloc(KEY_MAX + 1, GFP_KERNEL);
	if (!buf)
		goto close;
	n = kernel_read(f, buf, KEY_MAX + 1, &pos);
	r = n < 0 ? n : -EINVAL;
	if (n < KEY_MIN || n > KEY_MAX) {
		pr_err("keyfile %s: must hold %u to %u bytes (head -c 32 /dev/urandom)\n",
		       path, KEY_MIN, KEY_MAX);
	} else {
		memset(key, 0, sizeof(key));
		if (n > sizeof(key))
			sha256(buf, n, key);
		else
			memcpy(key, buf, n);
		has_key = true;
		r = 0;
	}
	kfree_sensitive(buf);
close:
	filp_close(f, NULL);
	return r;
}

static int env_hmac(void *ctx, const void *data, u32 len, u8 out[32])
{
	u8 pad[sizeof(key)], inner[SHA256_DIGEST_SIZE];
	struct sha256_state s;
	unsigned int i;

	for (i = 0; i < sizeof(key); i++)
		pad[i] = key[i] ^ 0x36;
	sha256_init(&s);
	sha256_update(&s, pad, sizeof(pad));
	sha256_update(&s, data, len);
	sha256_final(&s, inner);
	for (i = 0; i < sizeof(key); i++)
		pad[i] = key[i] ^ 0x5c;
	sha256_init(&s);
	sha256_update(&s, pad, sizeof(pad));
	sha256_update(&s, inner, sizeof(inner));
	sha256_final(&s, out);
	memzero_explicit(pad, sizeof(pad));
	memzero_explicit(&s, sizeof(s));
	return 0;
}

static void env_random(void *ctx, void *buf, u32 len)
{
	get_random_bytes(buf, len);
}

static const struct pt_env env = { .hmac = env_hmac, .random = env_random };

/* ----------------------------------------------------------------- nodes */

static void cpu_features(u64 cpu[2])
{
#if defined(CONFIG_X86)
	const __u32 *w = boot_cpu_data.x86_capability;

	cpu[0] = w[CPUID_1_EDX] | (u64)w[CPUID_1_ECX] << 32;
	cpu[1] = w[CPUID_7_0_EBX] | (u64)w[CPUID_7_ECX] << 32;
#elif defined(CONFIG_ARM64)
	unsigned int i;

	cpu[0] = cpu[1] = 0;
	for (i = 0; i < 64; i++)
		if (cpu_have_feature(i))
			cpu[0] |= 1ull << i;
#else
	cpu[0] = cpu[1] = 0;
#endif
}

static u8 arch(void)
{
	return IS_ENABLED(CONFIG_X86_64) ? PW_ARCH_X86_64 :
	       IS_ENABLED(CONFIG_ARM64) ? PW_ARCH_AARCH64 : PW_ARCH_RISCV64;
}

static void node_tick(struct timer_list *t)
{
	struct popcorn_node *node = from_timer(node, t, timer);
	struct popcorn_link *l;
	unsigned long i;
	u64 now = popcorn_now();

	xa_for_each(&node->links, i, l) {
		spin_lock_bh(&l->lock);
		pt_link_tick(&l->pt, now);
		popcorn_link_unlock(l, false);
	}
	if (!READ_ONCE(node->gone))
		mod_timer(&node->timer, jiffies + msecs_to_jiffies(TICK_MS));
}

static void node_free(struct work_struct *work)
{
	struct popcorn_node *node = container_of(work, struct popcorn_node, free_work);
	struct popcorn_link *l;
	unsigned long i;

	xa_for_each(&node->links, i, l)
		popcorn_link_free(l);
	xa_destroy(&node->links);
	xa_destroy(&node->refused);
	kvfree(node);
	module_put(THIS_MODULE);
}

static void node_release(struct kref *ref)
{
	struct popcorn_node *node = container_of(ref, struct popcorn_node, ref);

	queue_work(popcorn_wq, &node->free_work);
}

/**
 * popcorn_node_put - give back what popcorn_node_get() returned
 * @node: node, or NULL
 *
 * Any context.
 */
void popcorn_node_put(struct popcorn_node *node)
{
	if (node)
		kref_put(&node->ref, node_release);
}
EXPORT_SYMBOL_GPL(popcorn_node_put);

static struct popcorn_node *node_get(bool by_id, unsigned int n)
{
	struct popcorn_node *node, *found = NULL;

	spin_lock_bh(&nodes_lock);
	list_for_each_entry(node, &popcorn_nodes, list)
		if (by_id ? node->pt.id == n : !n--) {
			kref_get(&node->ref);
			found = node;
			break;
		}
	spin_unlock_bh(&nodes_lock);
	return found;
}

/**
 * popcorn_node_get - a node that lives here
 * @id: its id
 *
 * Any context. Return: the node, counted, or NULL.
 */
struct popcorn_node *popcorn_node_get(u16 id)
{
	return node_get(true, id);
}
EXPORT_SYMBOL_GPL(popcorn_node_get);

/**
 * popcorn_node_get_index - the nodes that live here, one after the other
 * @index: from 0
 *
 * Any context. Return: the node, counted, or NULL past the last.
 */
struct popcorn_node *popcorn_node_get_index(unsigned int index)
{
	return node_get(false, index);
}
EXPORT_SYMBOL_GPL(popcorn_node_get_index);

u16 popcorn_node_id(const struct popcorn_node *node)
{
	return node->pt.id;
}
EXPORT_SYMBOL_GPL(popcorn_node_id);

/* How many nodes the cluster has. */
u32 popcorn_node_count(void)
{
	return smp_load_acquire(&popcorn_table.n);
}
EXPORT_SYMBOL_GPL(popcorn_node_count);

static void workers_stop(struct popcorn_node *node)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(node->worker); i++)
		if (node->worker[i].thread)
			kthread_stop(node->worker[i].thread);
}

static int workers_start(struct popcorn_node *node)
{
	struct popcorn_worker *w = node->worker;
	unsigned int i;

	w[0] = (struct popcorn_worker) { .node = node, .first = PW_URGENT, .last = PW_SYNC };
	w[1] = (struct popcorn_worker) { .node = node, .first = PW_BULK, .last = PW_BULK };
	for (i = 0; i < ARRAY_SIZE(node->worker); i++) {
		struct task_struct *t = kthread_create(popcorn_node_worker, &w[i], "popcorn/%u%s",
						       node->pt.id, i ? "b" : "");

		if (IS_ERR(t)) {
			workers_stop(node);
			return PTR_ERR(t);
		}
		if (!i)
			sched_set_fifo_low(t);
		w[i].thread = t;
		wake_up_process(t);
	}
	return 0;
}

static void node_destroy(struct popcorn_node *node)
{
	struct popcorn_link *l;
	unsigned long i;
	u64 now;

	popcorn_drivers_unlisten(node);
	popcorn_links_close(node);
	popcorn_event(POPCORN_NODE_GONE, node, node->pt.id, node->pt.incarnation);
	del_timer_sync(&node->timer);

	xa_for_each(&node->links, i, l) {
		spin_lock_bh(&l->lock);
		pt_link_bye(&l->pt);
		popcorn_link_unlock(l, true);
	}
	msleep(BYE_MS);
	xa_for_each(&node->links, i, l) {
		spin_lock_bh(&l->lock);
		now = popcorn_now();
		pt_link_kill(&l->pt, -ESHUTDOWN, now);
		popcorn_link_unlock(l, true);
	}
	/* Closing may have been under way: then the work is run once more. */
	xa_for_each(&node->links, i, l)
		flush_work(&l->work);

	workers_stop(node);
	spin_lock_bh(&nodes_lock);
	list_del(&node->list);
	spin_unlock_bh(&nodes_lock);
	popcorn_node_put(node);
}

static int node_create(u16 id)
{
	struct popcorn_node *node;
	int r = -ENOMEM, c;

	node = popcorn_zalloc(sizeof(*node), GFP_KERNEL);
	if (!node)
		return -ENOMEM;
	node->pt.id = id;
	node->pt.incarnation = ktime_get_real_ns();
	node->pt.cfg = popcorn_params.cfg;
	node->pt.table = &popcorn_table;
	node->pt.env = &env;
	node->pt.ctx = node;
	node->pt.has_key = has_key;
	node->pt.arch = arch();
	node->pt.page_shift = PAGE_SHIFT;
	cpu_features(node->pt.cpu);
	kref_init(&node->ref);
	xa_init(&node->links);
	xa_init_flags(&node->refused, XA_FLAGS_LOCK_BH);
	spin_lock_init(&node->rx_lock);
	INIT_WORK(&node->free_work, node_free);
	for (c = 0; c < PW_CLASSES; c++)
		node->rx[c].tail = &node->rx[c].head;
	timer_setup(&node->timer, node_tick, 0);

	r = workers_start(node);
	if (r) {
		kvfree(node);
		return r;
	}
	__module_get(THIS_MODULE);
	spin_lock_bh(&nodes_lock);
	list_add_tail(&node->list, &popcorn_nodes);
	spin_unlock_bh(&nodes_lock);
	mod_timer(&node->timer, jiffies + 1);
	r = popcorn_drivers_listen(node);
	if (r)
		node_destroy(node);
	return r;
}

/* Connect to everybody now rather than at the first message. */
static void nodes_meet(void)
{
	struct popcorn_node *node;
	u32 i;

	if (!popcorn_params.eager)
		return;
	list_for_each_entry(node, &popcorn_nodes, list)
		for (i = 0; i < popcorn_table.n; i++)
			if (i != node->pt.id)
				popcorn_link_get(node, i, true);
}

/**
 * popcorn_nodes_create - become the nodes of a list
 * @drv:     driver whose module was given the list; the nodes go with it
 * @ip:      its ip=, or NULL
 * @keyfile: its keyfile=, or NULL
 *
 * Called with popcorn_nodes_mutex. Return: 0 or -errno, told to the user.
 */
int popcorn_nodes_create(struct popcorn_driver *drv, const char *ip, const char *keyfile)
{
	char *file = NULL;
	u32 i, local = 0;
	int r = 0;

	if (owner) {
		if (ip && *ip && !table_is(ip)) {
			pr_err("%s: nodes were already made by %s from another list; rmmod that first or leave ip= away\n",
			       drv->name, owner->name);
			return -EINVAL;
		}
		return 0;
	}
	if (!ip || !*ip) {
		file = file_read(NODES_FILE);
		if (IS_ERR(file)) {
			pr_err("no ip= given and " NODES_FILE " can't be read (%ld): load with ip=ADDRESS,ADDRESS,...\n",
			       PTR_ERR(file));
			return PTR_ERR(file);
		}
	}
	if (keyfile && *keyfile)
		r = key_load(keyfile);
	if (!r)
		r = table_parse(&popcorn_table, file ?: ip);
	kvfree(file);
	if (r)
		goto fail;
	owner = drv;
	for (i = 0; i < popcorn_table.n && !r; i++)
		if (is_local(pt_table_addr(&popcorn_table, i))) {
			local++;
			r = node_create(i);
		}
	if (!r && !local) {
		pr_err("none of the %u addresses is one of this machine's: configure it first (ip address), or add it to the list\n",
		       popcorn_table.n);
		r = -EADDRNOTAVAIL;
	}
	if (r)
		goto fail;
	nodes_meet();
	return 0;
fail:
	popcorn_nodes_destroy();
	return r;
}

/* All nodes go, with popcorn_nodes_mutex held. */
void popcorn_nodes_destroy(void)
{
	struct popcorn_node *node, *next;

	list_for_each_entry_safe(node, next, &popcorn_nodes, list)
		node_destroy(node);
	/* Whoever still holds a node looks at no address any more. */
	flush_workqueue(popcorn_wq);
	table_free(&popcorn_table);
	memzero_explicit(key, sizeof(key));
	has_key = false;
	owner = NULL;
}

bool popcorn_nodes_owned_by(const struct popcorn_driver *drv)
{
	return owner == drv;
}

/**
 * popcorn_nodes_add - a node joins
 * @address: its address
 *
 * Return: 0 or -errno, told to the user.
 */
int popcorn_nodes_add(const char *address)
{
	int r;
	u32 id;

	mutex_lock(&popcorn_nodes_mutex);
	id = popcorn_table.n;
	r = owner ? table_add(&popcorn_table, address, strlen(address)) : -ENODEV;
	if (!r && is_local(pt_table_addr(&popcorn_table, id)))
		r = node_create(id);
	if (!r)
		nodes_meet();
	mutex_unlock(&popcorn_nodes_mutex);
	return r;
}

void popcorn_nodes_exit(void)
{
	table_free(&popcorn_table);
}
