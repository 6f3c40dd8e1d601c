/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* Where the kernel starts a program. */
	.section .text._start, "ax", @progbits
	.globl	_start
	.type	_start, @function
	.balign	16
_start:
#if defined __x86_64__
	xor	%ebp, %ebp
	mov	%rsp, %rdi
	and	$-16, %rsp
	call	__popcorn_begin
	hlt
#elif defined __aarch64__
	mov	x29, #0
	mov	x30, #0
	mov	x0, sp
	and	sp, x0, #-16
	bl	__popcorn_begin
	brk	#0
#else
	li	s0, 0
	li	ra, 0
	mv	a0, sp
	andi	sp, sp, -16
	call	__popcorn_begin
	unimp
#endif
	.size	_start, . - _start
	.section .note.GNU-stack, "", @progbits
