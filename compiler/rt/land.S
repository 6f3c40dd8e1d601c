/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The native half of setjmp() and longjmp(), for a jump out of a signal handler; rt/jump.c says when it is used.
 *
 * int __popcorn_land(struct popcorn_landing *l)	0, and 1 for each popcorn_jump(l)
 * _Noreturn void popcorn_jump(struct popcorn_landing *l)
 */
.macro FUNC name
	.section .text.\name, "ax", @progbits
	.globl \name
	.hidden \name
	.type \name, @function
	.balign 16
\name:
.endm

#if defined __x86_64__
FUNC __popcorn_land
	mov (%rsp), %rax
	lea 8(%rsp), %rdx
	mov %rbx, (%rdi)
	mov %rbp, 8(%rdi)
	mov %r12, 16(%rdi)
	mov %r13, 24(%rdi)
	mov %r14, 32(%rdi)
	mov %r15, 40(%rdi)
	mov %rdx, 48(%rdi)
	mov %rax, 56(%rdi)
	xor %eax, %eax
	ret
	.size __popcorn_land, . - __popcorn_land

FUNC popcorn_jump
	mov (%rdi), %rbx
	mov 8(%rdi), %rbp
	mov 16(%rdi), %r12
	mov 24(%rdi), %r13
	mov 32(%rdi), %r14
	mov 40(%rdi), %r15
	mov 48(%rdi), %rsp
	mov $1, %eax
	jmp *56(%rdi)
	.size popcorn_jump, . - popcorn_jump

#elif defined __aarch64__
.macro REGS op
	\op x19, x20, [x0]
	\op x21, x22, [x0, #16]
	\op x23, x24, [x0, #32]
	\op x25, x26, [x0, #48]
	\op x27, x28, [x0, #64]
	\op x29, x30, [x0, #80]
	\op d8, d9, [x0, #96]
	\op d10, d11, [x0, #112]
	\op d12, d13, [x0, #128]
	\op d14, d15, [x0, #144]
.endm

FUNC __popcorn_land
	REGS stp
	mov x1, sp
	str x1, [x0, #160]
	mov w0, #0
	ret
	.size __popcorn_land, . - __popcorn_land

FUNC popcorn_jump
	REGS ldp
	ldr x1, [x0, #160]
	mov sp, x1
	mov w0, #1
	ret
	.size popcorn_jump, . - popcorn_jump

#else
.macro REGS op, fop
	\op ra, 0(a0)
	\op sp, 8(a0)
	\op s0, 16(a0)
	\op s1, 24(a0)
	\op s2, 32(a0)
	\op s3, 40(a0)
	\op s4, 48(a0)
	\op s5, 56(a0)
	\op s6, 64(a0)
	\op s7, 72(a0)
	\op s8, 80(a0)
	\op s9, 88(a0)
	\op s10, 96(a0)
	\op s11, 104(a0)
	\fop fs0, 112(a0)
	\fop fs1, 120(a0)
	\fop fs2, 128(a0)
	\fop fs3, 136(a0)
	\fop fs4, 144(a0)
	\fop fs5, 152(a0)
	\fop fs6, 160(a0)
	\fop fs7, 168(a0)
	\fop fs8, 176(a0)
	\fop fs9, 184(a0)
	\fop fs10, 192(a0)
	\fop fs11, 200(a0)
.endm

FUNC __popcorn_land
	REGS sd, fsd
	li a0, 0
	ret
	.size __popcorn_land, . - __popcorn_land

FUNC popcorn_jump
	REGS ld, fld
	li a0, 1
	ret
	.size popcorn_jump, . - popcorn_jump
#endif

	.section .note.GNU-stack, "", @progbits
