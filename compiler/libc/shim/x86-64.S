/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * What only assembly can do on x86-64. Each function is in a section of its own name, as on the other ISAs.
 */
.macro FUNC name
	.section .text.\name, "ax", @progbits
	.globl \name
	.type \name, @function
	.balign 16
\name:
.endm

/* void __popcorn_set_tp(void *tp) */
FUNC __popcorn_set_tp
	mov	%rdi, %rsi
	mov	$0x1002, %edi		/* ARCH_SET_FS */
	mov	$158, %eax		/* arch_prctl */
	syscall
	ret
.size __popcorn_set_tp, . - __popcorn_set_tp

/* long __popcorn_kernel(long n, long a, long b, long c, long d, long e, long f) */
FUNC __popcorn_kernel
	mov	%rdi, %rax
	mov	%rsi, %rdi
	mov	%rdx, %rsi
	mov	%rcx, %rdx
	mov	%r8, %r10
	mov	%r9, %r8
	mov	8(%rsp), %r9
	syscall
	ret
.size __popcorn_kernel, . - __popcorn_kernel

/*
 * long __popcorn_kernel_stop(volatile int *cancel, volatile unsigned *flag, long n, long a .. long f)
 *
 * A system call that isn't entered if one of two words isn't 0 (of the flag, but for POPCORN_FLAG_EVERY, which is always set in
 * some test runs). A handler that has set one, and finds the
 * program counter where __popcorn_stop_begin() finds it, moves it back: no
 * wake-up is lost. From there on nothing but the result's register changes, which the kernel restores.
 */
FUNC __popcorn_kernel_stop
	push	%rbx
	push	%rbp
	mov	%rdi, %rbx
	mov	%rsi, %rbp
	mov	%rdx, %rax
	mov	%rcx, %rdi
	mov	%r8, %rsi
	mov	%r9, %rdx
	mov	24(%rsp), %r10
	mov	32(%rsp), %r8
	mov	40(%rsp), %r9
.Lbegin:
	cmpl	$0, (%rbx)
	jne	1f
	testl	$~4, (%rbp)
	jne	2f
	syscall
.Lend:
	pop	%rbp
	pop	%rbx
	ret
1:	mov	$-4097, %rax
	jmp	.Lend
2:	mov	$-4098, %rax
	jmp	.Lend
.size __popcorn_kernel_stop, . - __popcorn_kernel_stop

/* unsigned long __popcorn_stop_begin(unsigned long pc): where a call that stands at pc and isn't entered begins, or 0 */
FUNC __popcorn_stop_begin
	lea	.Lbegin(%rip), %rax
	lea	.Lend(%rip), %rcx
	cmp	%rax, %rdi
	jb	1f
	cmp	%rcx, %rdi
	jae	1f
	ret
1:	xor	%eax, %eax
	ret
.size __popcorn_stop_begin, . - __popcorn_stop_begin

/*
 * long __popcorn_kernel_clone(long flags, void *stack, int *ptid, void *tp, int *ctid, void (*fn)(void *), void *arg)
 *
 * The new thread calls fn(arg), which must not return, on the new stack.
 */
FUNC __popcorn_kernel_clone
	mov	%r9, %r11
	mov	8(%rsp), %r9
	and	$-16, %rsi
	sub	$16, %rsi
	mov	%r11, (%rsi)
	mov	%r9, 8(%rsi)
	mov	%r8, %r10
	mov	%rcx, %r8
	mov	$56, %eax
	syscall
	test	%eax, %eax
	jz	1f
	ret
1:	xor	%ebp, %ebp
	pop	%rax
	pop	%rdi
	call	*%rax
	hlt
.size __popcorn_kernel_clone, . - __popcorn_kernel_clone

/* void __popcorn_kernel_leave(void *map, unsigned long bytes): unmaps the own stack and ends the thread */
FUNC __popcorn_kernel_leave
	mov	$11, %eax
	syscall
	xor	%edi, %edi
	mov	$60, %eax
	syscall
	hlt
.size __popcorn_kernel_leave, . - __popcorn_kernel_leave

FUNC __popcorn_restore
	mov	$15, %eax
	syscall
.size __popcorn_restore, . - __popcorn_restore

	.section .note.GNU-stack, "", @progbits
