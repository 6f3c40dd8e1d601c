/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * Wire format of the inter-kernel message layer: what two nodes say to each
 * other, the same on every ISA. Everything is little-endian and of fixed size;
 * whoever receives it checks it before believing it (transport/core).
 */
#ifndef POPCORN_WIRE_H
#define POPCORN_WIRE_H

#include <linux/types.h>

#ifndef __KERNEL__
#include <assert.h>
#endif

#define PW_MAGIC	0x31504f50u	/* "POP1" read as little-endian */
#define PW_VERSION	1		/* highest protocol version spoken here */
#define PW_VERSION_MIN	1		/* lowest one still understood */

/*
 * One frame: a header and up to PW_PAYLOAD bytes. It fits a 4 KiB receive
 * buffer. A larger message is a run of frames with consecutive sequence
 * numbers. A PW_PAGE frame is the exception: its payload is a page, and it is
 * received straight into the frame (a page, in the sense of memory) that the
 * request named.
 */
#define PW_FRAME	4096
#define PW_HDR		32
#define PW_PAYLOAD	(PW_FRAME - PW_HDR)
#define PW_MSG_MAX	65536		/* bytes in a message, all its frames */
#define PW_FRAMES_MAX	((PW_MSG_MAX + PW_PAYLOAD - 1) / PW_PAYLOAD)

/* No page is named. */
#define PW_NOFRAME	0xffffffffu

/**
 * enum pw_class - priority classes; each is a lane (queue pair or connection)
 * @PW_URGENT: acknowledgements, invalidations, heartbeats
 * @PW_SYNC:   what a thread waits for: faults, futexes, system calls, migration
 * @PW_BULK:   prefetch, page streams, images
 */
enum pw_class { PW_URGENT, PW_SYNC, PW_BULK, PW_CLASSES };

/**
 * enum pw_kind - what a frame is
 * @PW_NOP:    carries acknowledgement and credit only; not sequenced
 * @PW_HB:     heartbeat, payload struct pw_heartbeat; not sequenced
 * @PW_BYE:    the sender's node is being shut down; not sequenced
 * @PW_MSG:    one-way message
 * @PW_REQ:    request: slot and gen name the answer's place at the sender
 * @PW_ANS:    answer to the request of that slot and gen
 * @PW_PAGE:   answer whose payload is the page that the request asked for
 * @PW_CANCEL: answer slot and gen now if it isn't answered yet
 *
 * From PW_MSG on, frames are sequenced: delivered exactly once, in order.
 * PW_MSG, PW_REQ and PW_CANCEL need credit; answers were prepaid by the
 * requester and don't.
 */
enum pw_kind {
	PW_NOP, PW_HB, PW_BYE, PW_MSG, PW_REQ, PW_ANS, PW_PAGE, PW_CANCEL,
	PW_KINDS
};

#define PW_F_PAGE	0x01	/* PW_REQ: wants a page; arg is the frame's id */
#define PW_F_PAGES	0x02	/* PW_REQ: wants arg pages; payload begins with pw_wants */

/**
 * struct pw_want - one page of a request for several
 * @frame: the requester's frame
 * @slot:  request slot that this page answers; of the first: the header's
 * @gen:   its generation
 *
 * Each is answered (or cancelled) by itself, as if it had been asked alone.
 */
struct pw_want {
	__le32 frame;
	__le16 slot;
	__le16 gen;
};

#define PW_WANTS_MAX	64	/* pages in a request, which is a single frame */

/**
 * struct pw_hdr - header of every frame
 * @seq:    the frame's number in its lane, from 1; unsequenced: the last sent
 * @ack:    highest frame of this lane that the sender has received in order
 * @credit: how many frames that need credit the receiver of this frame may
 *          have sent on this lane in all, modulo 2^32
 * @type:   message type, given out by the layers above
 * @kind:   enum pw_kind
 * @flags:  PW_F_*
 * @slot:   request slot of the requester
 * @gen:    generation of that slot
 * @len:    payload bytes in this frame
 * @frag:   number of this frame in its message, from 0
 * @total:  payload bytes of the whole message
 * @arg:    PW_REQ: frame id (with PW_F_PAGE), number of pages (with
 *          PW_F_PAGES), else the longest answer in bytes;
 *          PW_ANS: status, 0 or a negated errno (Linux's generic numbers)
 */
struct pw_hdr {
	__le32 seq;
	__le32 ack;
	__le32 credit;
	__le16 type;
	__u8 kind;
	__u8 flags;
	__le16 slot;
	__le16 gen;
	__le16 len;
	__le16 frag;
	__le32 total;
	__le32 arg;
};

/**
 * struct pw_heartbeat - payload of PW_HB
 * @sent: sender's CLOCK_BOOTTIME in milliseconds
 * @echo: newest @sent heard from the receiver of this heartbeat, 0 if none.
 *        The receiver's lease runs from that time on its own clock.
 */
struct pw_heartbeat {
	__le64 sent;
	__le64 echo;
};

/* The immediate of a RDMA WRITE that answers a page request. */
#define PW_IMM(slot, gen)	((__u32)(slot) << 16 | (__u16)(gen))
#define PW_IMM_SLOT(imm)	((__u16)((imm) >> 16))
#define PW_IMM_GEN(imm)		((__u16)(imm))

/* Message types of the transport itself; the layers above start at PW_T_USER. */
#define PW_T_NONE	0
#define PW_T_KEYS	1	/* one-way: array of struct pw_key */
#define PW_T_USER	16

/**
 * struct pw_key - remote key of one chunk of the page pool
 * @addr:    I/O virtual address of the chunk's first byte
 * @rkey:    remote key; holds for this session only
 * @chunk:   chunk number: frame id = chunk * @pages + page
 * @pages:   pages in the chunk
 * @session: low half of the session's number; keys of another are ignored, as
 *           the message may be delivered in a later session than it was sent in
 */
struct pw_key {
	__le64 addr;
	__le32 rkey;
	__le32 chunk;
	__le32 pages;
	__le32 session;
};

/*
 * Handshake, once for each lane of a session. The initiator sends HELLO, the
 * responder WELCOME (or the same with a refusal), the initiator PROOF, the
 * responder READY. HELLO and WELCOME fit rdma_cm's private data (56 and 196
 * bytes); PROOF and READY are the first SENDs.
 */
#define PW_HF_AUTH	0x01	/* the sender has a key and wants proof */

#define PW_ARCH_X86_64	1
#define PW_ARCH_AARCH64	2
#define PW_ARCH_RISCV64	3

/**
 * enum pw_refusal - why a handshake was refused
 */
enum pw_refusal {
	PW_OK,
	PW_REFUSE_MALFORMED,	/* not a handshake of ours */
	PW_REFUSE_VERSION,	/* no protocol version in common */
	PW_REFUSE_PAGE_SIZE,	/* page sizes differ */
	PW_REFUSE_TABLE,	/* node tables (or cluster names) differ */
	PW_REFUSE_NODE,		/* unknown or wrong node id, or not from its address */
	PW_REFUSE_AUTH,		/* key missing on one side, or the proof is wrong */
	PW_REFUSE_DEAD,		/* that incarnation was declared dead here */
	PW_REFUSE_BUSY,		/* another session is going on; try again */
	PW_REFUSE_STATE,	/* sequence numbers don't fit */
	PW_REFUSALS
};

/**
 * struct pw_hello - first half of the handshake, both directions
 * @magic:       PW_MAGIC
 * @ver_lo:      lowest version; in WELCOME: the version chosen
 * @ver_hi:      highest version; in WELCOME: the version chosen
 * @class:       enum pw_class of this lane
 * @arch:        PW_ARCH_*
 * @src:         sender's node id
 * @dst:         receiver's node id
 * @page_shift:  log2 of the page size
 * @flags:       PW_HF_*
 * @nodes:       entries in the sender's node table
 * @incarnation: sender's: real time in ns when the node was made, never reused
 * @session:     ties the three lanes together; drawn by the initiator
 * @table:       hash over the cluster's name and those @nodes entries
 * @nonce:       random
 */
struct pw_hello {
	__le32 magic;
	__u8 ver_lo;
	__u8 ver_hi;
	__u8 class;
	__u8 arch;
	__le16 src;
	__le16 dst;
	__u8 page_shift;
	__u8 flags;
	__le16 nodes;
	__le64 incarnation;
	__le64 session;
	__le64 table;
	__u8 nonce[16];
};

/**
 * struct pw_state - what each side tells of a lane once the other is believed
 * @rx_seq: last frame received in order; what comes after it is sent again
 * @credit: see struct pw_hdr
 * @slots:  requests that the sender of this can serve at a time on this lane
 * @zero:   reserved
 * @cpu:    CPU feature words, meaning given by arch
 */
struct pw_state {
	__le32 rx_seq;
	__le32 credit;
	__le16 slots;
	__le16 zero[3];
	__le64 cpu[2];
};

/**
 * struct pw_welcome - the responder's answer to HELLO
 * @hello:   as above, from the responder's side
 * @refusal: enum pw_refusal; PW_OK goes on
 * @zero:    reserved
 * @proof:   HMAC-SHA256 over "R", HELLO and this struct up to here; zeros
 *           without a key
 */
struct pw_welcome {
	struct pw_hello hello;
	__u8 refusal;
	__u8 zero[7];
	__u8 proof[32];
};

/**
 * struct pw_proof - the initiator's answer to WELCOME
 * @state: the initiator's
 * @proof: HMAC-SHA256 over "I", HELLO, WELCOME without its proof, and @state
 */
struct pw_proof {
	struct pw_state state;
	__u8 proof[32];
};

/**
 * struct pw_ready - last word of the handshake
 * @state:   the responder's
 * @refusal: enum pw_refusal
 * @zero:    reserved
 * @proof:   HMAC-SHA256 over "S", HELLO, WELCOME without its proof, and the
 *           fields above
 */
struct pw_ready {
	struct pw_state state;
	__u8 refusal;
	__u8 zero[7];
	__u8 proof[32];
};

static_assert(sizeof(struct pw_hdr) == PW_HDR, "frame header");
static_assert(sizeof(struct pw_heartbeat) == 16, "heartbeat");
static_assert(sizeof(struct pw_key) == 24, "key");
static_assert(sizeof(struct pw_want) == 8, "want");
static_assert(sizeof(struct pw_hello) == 56, "HELLO fits rdma_connect's private data");
static_assert(sizeof(struct pw_welcome) == 96, "WELCOME fits rdma_accept's private data");
static_assert(sizeof(struct pw_state) == 32, "lane state");
static_assert(sizeof(struct pw_proof) == 64, "PROOF");
static_assert(sizeof(struct pw_ready) == 72, "READY");
static_assert(PW_FRAMES_MAX == 17, "largest message");

#endif
