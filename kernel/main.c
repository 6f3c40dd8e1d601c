// SPDX-License-Identifier: GPL-2.0-only
/*
 * popcorn.ko: parameters, start and end.
 */
#include <linux/module.h>
#include <popcorn/version.h>

#include "dsm.h"

/* ------------------------------------------------------------ parameters */

static ushort port = 7471;
module_param(port, ushort, 0444);
MODULE_PARM_DESC(port, "TCP and RDMA-CM port of all nodes (default 7471)");

static char *cluster = "popcorn";
module_param(cluster, charp, 0444);
MODULE_PARM_DESC(cluster, "name of the cluster; nodes of another don't connect (default popcorn)");

static ushort window = 32;
module_param(window, ushort, 0444);
MODULE_PARM_DESC(window, "frames that a peer may send ahead, per link and class; 17 to 16384 (default 32)");

static ushort slots = 32;
module_param(slots, ushort, 0444);
MODULE_PARM_DESC(slots, "requests in flight, per link, class and direction (default 32)");

static ushort prepaid = 32;
module_param(prepaid, ushort, 0444);
MODULE_PARM_DESC(prepaid, "answer frames reserved for requests in flight, per link and class; at least slots and 17 (default 32)");

static uint hb_ms = 500;
module_param(hb_ms, uint, 0444);
MODULE_PARM_DESC(hb_ms, "heartbeat period in ms (default 500)");

static uint lease_ms = 10000;
module_param(lease_ms, uint, 0444);
MODULE_PARM_DESC(lease_ms, "ms without an echo of our heartbeat until a peer's grants are not used any more; at least 2 hb_ms (default 10000)");

static uint dead_ms = 20000;
module_param(dead_ms, uint, 0444);
MODULE_PARM_DESC(dead_ms, "ms of silence until a peer is declared dead; more than lease_ms (default 20000)");

static uint connect_ms = 3000;
module_param(connect_ms, uint, 0444);
MODULE_PARM_DESC(connect_ms, "ms until an attempt to connect is given up (default 3000)");

static uint backoff_ms = 50;
module_param(backoff_ms, uint, 0444);
MODULE_PARM_DESC(backoff_ms, "first pause between attempts to connect in ms; doubles up to 32 times that (default 50)");

static bool eager = true;
module_param(eager, bool, 0444);
MODULE_PARM_DESC(eager, "connect to all nodes at once; turn it off for large clusters: a link takes 2 MiB (default on)");

static uint pool_mb = 4096;
module_param(pool_mb, uint, 0444);
MODULE_PARM_DESC(pool_mb, "most memory of the page pool in MiB; taken and given back 2 MiB at a time (default 4096)");

static uint fail_alloc;
module_param(fail_alloc, uint, 0600);
MODULE_PARM_DESC(fail_alloc, "fault injection: every so many'th allocation fails; 0: none (default 0)");

struct popcorn_params popcorn_params;

bool popcorn_alloc_fails(void)
{
	static atomic_t count = ATOMIC_INIT(0);
	unsigned int n = READ_ONCE(fail_alloc);

	return unlikely(n) && !((unsigned int)atomic_inc_return(&count) % n);
}

static int params_check(void)
{
	struct popcorn_params *p = &popcorn_params;

	p->cfg = (struct pt_cfg) {
		.window = window, .slots = slots, .prepaid = prepaid,
		.hb_ms = hb_ms, .lease_ms = lease_ms, .dead_ms = dead_ms,
		.connect_ms = connect_ms, .backoff_ms = backoff_ms,
	};
	p->port = port;
	p->cluster = cluster;
	p->eager = eager;
	p->pool_chunks = min_t(uint, pool_mb / 2, U32_MAX / POPCORN_CHUNK_PAGES - 1);
	if (!port || !p->pool_chunks) {
		pr_err("port= and pool_mb= can't be 0\n");
		return -EINVAL;
	}
	if (pt_cfg_check(&p->cfg)) {
		pr_err("these limits don't fit together; see modinfo popcorn for the range of each\n");
		return -EINVAL;
	}
	return 0;
}

static int __init popcorn_init(void)
{
	int r = params_check();

	if (r)
		return r;
	pt_table_init(&popcorn_table, cluster);
	popcorn_wq = alloc_workqueue("popcorn", WQ_UNBOUND | WQ_HIGHPRI | WQ_MEM_RECLAIM, 0);
	if (!popcorn_wq)
		return -ENOMEM;
	r = popcorn_pool_init(popcorn_params.pool_chunks);
	if (r)
		goto wq;
	r = popcorn_msg_init();
	if (r)
		goto pool;
	r = popcorn_proc_init();
	if (r)
		goto msg;
	r = dsm_init();
	if (!r)
		return 0;
	popcorn_proc_exit();
msg:
	popcorn_msg_exit();
pool:
	popcorn_pool_exit();
wq:
	destroy_workqueue(popcorn_wq);
	return r;
}

static void __exit popcorn_exit(void)
{
	dsm_exit();
	popcorn_proc_exit();
	popcorn_nodes_exit();
	destroy_workqueue(popcorn_wq);
	popcorn_keys_exit();
	popcorn_msg_exit();
	popcorn_pool_exit();
}

module_init(popcorn_init);
module_exit(popcorn_exit);
MODULE_LICENSE("GPL");
MODULE_VERSION(POPCORN_VERSION);
MODULE_DESCRIPTION("Popcorn: messages and pages between kernels");
