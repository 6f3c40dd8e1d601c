/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Ring of frames between two processes of one machine, one direction of one lane.
 *
 * A slot is two cache lines: a stamp, the header, and a short payload in place; a
 * longer payload lies in a block of its own. The receiver looks at the stamp of
 * the slot that comes next, so that a short message is seen with the first line
 * that moves. The sender looks at the receiver's position only when the ring seems
 * full.
 */
#ifndef POPCORN_SHM_RING_H
#define POPCORN_SHM_RING_H

#include <popcorn/wire.h>
#include <stdatomic.h>
#include <stdint.h>

#define SHM_INLINE	88

/**
 * struct shm_slot - a frame
 * @stamp: position + 1 once the frame is there
 * @len:   payload bytes; of PW_PAGE, which is in its frame already, UE_PAGE
 */
struct shm_slot {
	_Alignas(128) _Atomic uint32_t stamp;
	uint32_t len;
	struct pw_hdr hdr;
	uint8_t data[SHM_INLINE];
};

/**
 * struct shm_ring - in shared memory
 * @head:   frames that the receiver is done with
 * @closed: the sender writes no more, neither here nor to frames
 * @slot:   as many as the core can have on the way, rounded up to a power of two
 */
struct shm_ring {
	_Alignas(128) _Atomic uint32_t head;
	_Alignas(128) _Atomic uint32_t closed;
	struct shm_slot slot[];
};

static_assert(sizeof(struct shm_slot) == 128, "two cache lines");

#endif
