/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What can't be said in C: a thread on a stack of its own, and the return from a signal handler. */

/*
 * long popcorn_clone(u64 flags, void *stack, void (*fn)(void *), void *arg, void *tp, u32 *ctid)
 * The new thread calls fn(arg) on the stack that ends at @stack, and ends when it returns.
 */
#if defined __x86_64__
	.section .text.popcorn_clone, "ax", @progbits
	.globl popcorn_clone
	.hidden popcorn_clone
	.type popcorn_clone, @function
popcorn_clone:
	and $-16, %rsi
	lea -16(%rsi), %rsi
	mov %rdx, (%rsi)
	mov %rcx, 8(%rsi)
	mov %r9, %r10
	xor %edx, %edx
	mov $56, %eax
	syscall
	test %rax, %rax
	jnz 1f
	xor %ebp, %ebp
	pop %rax
	pop %rdi
	call *%rax
	xor %edi, %edi
	mov $60, %eax
	syscall
	ud2
1:	ret
	.size popcorn_clone, . - popcorn_clone

	.text				/* not common to the ISAs: here it isn't the section's start */
	.globl popcorn_sigreturn
	.hidden popcorn_sigreturn
	.type popcorn_sigreturn, @function
	nop
popcorn_sigreturn:
	mov $15, %eax
	syscall
	.size popcorn_sigreturn, . - popcorn_sigreturn

#elif defined __aarch64__
	.section .text.popcorn_clone, "ax", @progbits
	.globl popcorn_clone
	.hidden popcorn_clone
	.type popcorn_clone, @function
popcorn_clone:
	and x1, x1, #-16
	stp x2, x3, [x1, #-16]!
	mov x2, xzr
	mov x3, x4
	mov x4, x5
	mov x8, #220
	svc #0
	cbz x0, 1f
	ret
1:	mov x29, xzr
	ldp x1, x0, [sp], #16
	blr x1
	mov x0, xzr
	mov x8, #93
	svc #0
	udf #0
	.size popcorn_clone, . - popcorn_clone

	.section .text.popcorn_sigreturn, "ax", @progbits
	.globl popcorn_sigreturn
	.hidden popcorn_sigreturn
	.type popcorn_sigreturn, @function
popcorn_sigreturn:
	mov x8, #139
	svc #0
	.size popcorn_sigreturn, . - popcorn_sigreturn

#else
	.section .text.popcorn_clone, "ax", @progbits
	.globl popcorn_clone
	.hidden popcorn_clone
	.type popcorn_clone, @function
popcorn_clone:
	andi a1, a1, -16
	addi a1, a1, -16
	sd a2, 0(a1)
	sd a3, 8(a1)
	mv a2, zero
	mv a3, a4
	mv a4, a5
	li a7, 220
	ecall
	beqz a0, 1f
	ret
1:	ld a1, 0(sp)
	ld a0, 8(sp)
	addi sp, sp, 16
	jalr a1
	li a0, 0
	li a7, 93
	ecall
	unimp
	.size popcorn_clone, . - popcorn_clone

	.section .text.popcorn_sigreturn, "ax", @progbits
	.globl popcorn_sigreturn
	.hidden popcorn_sigreturn
	.type popcorn_sigreturn, @function
popcorn_sigreturn:
	li a7, 139
	ecall
	.size popcorn_sigreturn, . - popcorn_sigreturn
#endif

	.section .note.GNU-stack, "", @progbits
