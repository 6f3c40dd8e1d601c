/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The little that the core takes from its surroundings: fixed-size types,
 * byte order, memcpy and errno. The only file here that knows whether it is
 * compiled into a kernel or a program.
 */
#ifndef PT_COMPAT_H
#define PT_COMPAT_H

#ifdef __KERNEL__
#include <linux/build_bug.h>
#include <linux/errno.h>
#include <linux/kernel.h>
#include <linux/string.h>
#include <linux/types.h>
#include <asm/barrier.h>
#include <asm/byteorder.h>

#define pt_store_release(p, v)	smp_store_release(p, v)
#else
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <linux/types.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int32_t s32;
typedef int64_t s64;

#define likely(x)	__builtin_expect(!!(x), 1)
#define unlikely(x)	__builtin_expect(!!(x), 0)

#define pt_store_release(p, v)	__atomic_store_n(p, v, __ATOMIC_RELEASE)

#define cpu_to_le16(x)	((__le16)htole16(x))
#define cpu_to_le32(x)	((__le32)htole32(x))
#define cpu_to_le64(x)	((__le64)htole64(x))
#define le16_to_cpu(x)	le16toh((u16)(x))
#define le32_to_cpu(x)	le32toh((u32)(x))
#define le64_to_cpu(x)	le64toh((u64)(x))
#endif

#include <popcorn/wire.h>

/* Sequence numbers and credits wrap; compare them by distance. */
static inline bool pt_after(u32 a, u32 b)
{
	return (s32)(a - b) > 0;
}

static inline u32 pt_frames(u32 len)
{
	return len <= PW_PAYLOAD ? 1 : (len + PW_PAYLOAD - 1) / PW_PAYLOAD;
}

#endif
