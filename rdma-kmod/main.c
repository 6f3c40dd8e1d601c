// SPDX-License-Identifier: GPL-2.0-only
/*
 * msg_rdma.ko: the inter-kernel layer over kernel verbs (InfiniBand, RoCE,
 * Soft-RoCE).
 */
#include <linux/module.h>
#include <popcorn/version.h>

#include "rdma.h"

static char *ip;
module_param(ip, charp, 0444);
MODULE_PARM_DESC(ip, "all nodes' addresses, the same list on every node: 10.0.0.1,10.0.0.2 (default: /etc/popcorn/nodes)");

static char *keyfile = "";
module_param(keyfile, charp, 0444);
MODULE_PARM_DESC(keyfile, "file with the cluster's key, mode 0600, at least 16 bytes (default: none, peers aren't authenticated)");

char *rdma_param_device = "";
module_param_named(device, rdma_param_device, charp, 0444);
MODULE_PARM_DESC(device, "use this RDMA device only, e.g. mlx5_0 (default: the one that has the node's address)");

unsigned int rdma_param_port;
module_param_named(device_port, rdma_param_port, uint, 0444);
MODULE_PARM_DESC(device_port, "use this port of the device only, from 1 (default: 0, the one that has the node's address; the GID is the one of that address)");

struct popcorn_driver rdma_driver = {
	.name = "rdma",
	.preference = 2,
	.imm = true,
	.listen = rdma_listen_add,
	.unlisten = rdma_listen_del,
	.connect = rdma_conn_connect,
	.close = rdma_conn_close,
	.release = rdma_conn_release,
	.kick_locked = rdma_conn_pump,
	.page_arrived = rdma_conn_page_arrived,
	.chunk_add = rdma_chunk_add,
	.chunk_remove = rdma_chunk_remove,
	.keys = rdma_conn_keys,
	.keys_received = rdma_conn_keys_received,
};

/* The driver isn't registered any more. */
static void finish(void)
{
	rdma_devices_exit();
	destroy_workqueue(rdma_wq);
	rdma_conns_wait();
}

static int __init msg_rdma_init(void)
{
	int err;

	rdma_wq = alloc_workqueue("popcorn_rdma", 0, 0);
	if (!rdma_wq)
		return -ENOMEM;
	err = rdma_devices_init();
	if (err) {
		destroy_workqueue(rdma_wq);
		return err;
	}
	err = popcorn_driver_register(&rdma_driver, ip, keyfile);
	if (err)
		finish();
	return err;
}

static void __exit msg_rdma_exit(void)
{
	popcorn_driver_unregister(&rdma_driver);
	finish();
}

module_init(msg_rdma_init);
module_exit(msg_rdma_exit);

MODULE_DESCRIPTION("Popcorn inter-kernel messages over RDMA");
MODULE_LICENSE("GPL");
MODULE_VERSION(POPCORN_VERSION);
