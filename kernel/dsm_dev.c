// SPDX-License-Identifier: GPL-2.0-only
/*
 * /dev/popcorn: what programs ask of shared memory (uapi.h), and the file system whose
 * inodes are what they map.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "dsm.h"

#define DSM_MAGIC	0x504f5053

/* ------------------------------------------------------------------ inodes */

/* Mounted while there is a region: a mount counts the module. */
static struct vfsmount *mnt;
static int mounts;

static int fs_init(struct fs_context *fc)
{
	return init_pseudo(fc, DSM_MAGIC) ? 0 : -ENOMEM;
}

static struct file_system_type fs_type = {
	.name = "popcorn",
	.owner = THIS_MODULE,
	.init_fs_context = fs_init,
	.kill_sb = kill_anon_super,
};

/* An inode for a region at a node, or NULL. */
struct inode *dsm_inode_new(void)
{
	struct inode *inode;

	if (simple_pin_fs(&fs_type, &mnt, &mounts))
		return NULL;
	inode = alloc_anon_inode(mnt->mnt_sb);
	if (!IS_ERR(inode))
		return inode;
	simple_release_fs(&mnt, &mounts);
	return NULL;
}

void dsm_inode_put(struct inode *inode)
{
	if (inode) {
		iput(inode);
		simple_release_fs(&mnt, &mounts);
	}
}

/* ------------------------------------------------------------------ ioctls */

static long ioc_info(void __user *arg)
{
	struct popcorn_ioc_info u;
	struct popcorn_node *node;

	if (copy_from_user(&u, arg, sizeof(u)))
		return -EFAULT;
	node = popcorn_node_get_index(u.node);
	if (!node)
		return -ENODEV;
	u.abi = POPCORN_ABI;
	u.node = popcorn_node_id(node);
	u.nodes = popcorn_node_count();
	popcorn_node_put(node);
	return copy_to_user(arg, &u, sizeof(u)) ? -EFAULT : 0;
}

static long ioc_region(struct file *file, unsigned int cmd, void __user *arg)
{
	struct popcorn_ioc_region u;
	struct dsm_region *r = NULL;
	struct popcorn_node *node;
	int e;

	if (copy_from_user(&u, arg, sizeof(u)))
		return -EFAULT;
	node = u.node == POPCORN_NODE_ANY ? popcorn_node_get_index(0) : popcorn_node_get(u.node);
	if (!node)
		return -ENODEV;
	e = cmd == POPCORN_IOC_CREATE ? dsm_region_create(node, &u, &r) :
					dsm_region_attach(node, &u, &r);
	popcorn_node_put(node);
	if (e)
		return e;
	if (copy_to_user(arg, &u, sizeof(u))) {
		e = -EFAULT;
	} else {
		inode_lock(file_inode(file));
		if (file->private_data) {
			e = -EBUSY;
		} else {
			file->f_mapping = r->inode->i_mapping;
			smp_store_release(&file->private_data, r);
		}
		inode_unlock(file_inode(file));
	}
	if (e)
		dsm_region_close(r);
	return e;
}

static long ioc_stat(struct dsm_region *r, void __user *arg)
{
	const struct dsm_stat *s = &r->stat;
	struct popcorn_ioc_stat u = {
		.resident = atomic_read(&r->resident),
		.faults_local = atomic64_read(&s->faults_local),
		.faults_read = atomic64_read(&s->faults_read),
		.faults_write = atomic64_read(&s->faults_write),
		.faults_upgrade = atomic64_read(&s->faults_upgrade),
		.fault_ns = atomic64_read(&s->fault_ns),
		.invalidated = atomic64_read(&s->invalidated),
		.supplied = atomic64_read(&s->supplied),
		.ahead = atomic64_read(&s->ahead),
		.ahead_used = atomic64_read(&s->ahead_used),
		.dropped = atomic64_read(&s->dropped),
		.lost = atomic64_read(&s->lost),
	};

	return copy_to_user(arg, &u, sizeof(u)) ? -EFAULT : 0;
}

static long ioc_sync(struct dsm_region *r, struct file *file, unsigned int cmd, void __user *arg)
{
	struct popcorn_ioc_sync u;

	if (copy_from_user(&u, arg, sizeof(u)))
		return -EFAULT;
	if (cmd == POPCORN_IOC_UNLOCK)
		return dsm_sync_unlock(r, file, &u);
	return dsm_sync_wait(r, file, cmd == POPCORN_IOC_LOCK ? PD_T_LOCK : PD_T_BARRIER, &u);
}

static long ioc_advise(struct dsm_region *r, void __user *arg)
{
	struct popcorn_ioc_advise u;
	u64 size = (u64)r->pages << PAGE_SHIFT;
	u32 i, first, n;
	int e = 0;

	if (copy_from_user(&u, arg, sizeof(u)))
		return -EFAULT;
	if (u.offset > size || u.bytes > size - u.offset || u.zero)
		return -EINVAL;
	first = u.offset >> PAGE_SHIFT;
	n = DIV_ROUND_UP_ULL(u.offset + u.bytes, PAGE_SIZE) - first;
	switch (u.advice) {
	case POPCORN_ADVISE_WILLNEED:
	case POPCORN_ADVISE_WILLWRITE:
		for (i = 0; i < n && !e; i += PD_BATCH) {
			e = fatal_signal_pending(current) ? -EINTR :
			    dsm_ahead_pages(r, first + i, min_t(u64, n - i, PD_BATCH),
					    u.advice == POPCORN_ADVISE_WILLWRITE, true);
			cond_resched();
		}
		return e;
	case POPCORN_ADVISE_DONTNEED:
		if (!dsm_home(r))
			dsm_drop(r, first, n, false);
		return 0;
	case POPCORN_ADVISE_SEQUENTIAL:
	case POPCORN_ADVISE_NORMAL:
	case POPCORN_ADVISE_RANDOM:
		WRITE_ONCE(r->advice, u.advice);
		return 0;
	}
	return -EINVAL;
}

static long dev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct dsm_region *r = smp_load_acquire(&file->private_data);
	void __user *p = (void __user *)arg;

	switch (cmd) {
	case POPCORN_IOC_INFO:
		return ioc_info(p);
	case POPCORN_IOC_CREATE:
	case POPCORN_IOC_ATTACH:
		return r ? -EBUSY : ioc_region(file, cmd, p);
	}
	if (!r)
		return -ENXIO;
	switch (cmd) {
	case POPCORN_IOC_STAT:
		return ioc_stat(r, p);
	case POPCORN_IOC_ADVISE:
		return ioc_advise(r, p);
	case POPCORN_IOC_LOCK:
	case POPCORN_IOC_UNLOCK:
	case POPCORN_IOC_BARRIER:
		return ioc_sync(r, file, cmd, p);
	}
	return -ENOTTY;
}

static int dev_open(struct inode *inode, struct file *file)
{
	file->private_data = NULL;
	return 0;
}

static int dev_release(struct inode *inode, struct file *file)
{
	struct dsm_region *r = file->private_data;

	if (r) {
		dsm_sync_close(r, file);
		dsm_region_close(r);
	}
	return 0;
}

static const struct file_operations fops = {
	.owner = THIS_MODULE,
	.open = dev_open,
	.release = dev_release,
	.unlocked_ioctl = dev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = dsm_mmap,
	.fsync = noop_fsync,	/* for msync(): there is nothing to write back */
	.llseek = noop_llseek,
};

static struct miscdevice misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "popcorn",
	.fops = &fops,
	.mode = 0666,
};

int dsm_dev_init(void)
{
	return misc_register(&misc);
}

void dsm_dev_exit(void)
{
	misc_deregister(&misc);
}
