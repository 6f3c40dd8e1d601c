// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The cluster's key: read from its file, used for the proofs of the handshake. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine.h"

#define KEY_MIN	16
#define KEY_MAX	4096

/**
 * ue_key_load() - read a key file
 * @path: file of 16 to 4096 bytes, all of which are the key
 * @key:  the key, for free()
 * @len:  its bytes
 *
 * Return: 0, -EACCES if others than the owner may use the file, -EINVAL for its
 * size, or another -errno.
 */
int ue_key_load(const char *path, u8 **key, u32 *len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), r = -EINVAL;
	struct stat st;
	u8 *k;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &st)) {
		r = -errno;
		goto out;
	}
	if (st.st_mode & 077) {
		r = -EACCES;
		goto out;
	}
	if (!S_ISREG(st.st_mode) || st.st_size < KEY_MIN || st.st_size > KEY_MAX)
		goto out;
	r = -ENOMEM;
	k = ue_alloc(KEY_MAX);
	if (!k)
		goto out;
	r = -EIO;
	if (read(fd, k, KEY_MAX) == st.st_size) {
		*key = k;
		*len = st.st_size;
		r = 0;
	} else {
		free(k);
	}
out:
	close(fd);
	return r;
}

/* pt_env.hmac */
int ue_key_hmac(void *ctx, const void *data, u32 len, u8 out[32])
{
	struct popcorn_node *n = ctx;
	unsigned int got = 0;

	if (!HMAC(EVP_sha256(), n->key, n->key_len, data, len, out, &got) || got != 32)
		return -EIO;
	return 0;
}

/* pt_env.random */
void ue_key_random(void *ctx, void *buf, u32 len)
{
	(void)ctx;
	/* Up to 256 bytes come whole, once the kernel has seeded itself. */
	if (getrandom(buf, len, 0) != (ssize_t)len)
		abort();
}
