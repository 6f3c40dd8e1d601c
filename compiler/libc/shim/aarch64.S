/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What only assembly can do on aarch64; shim/x86-64.S says what each function is for. */
.macro FUNC name
	.section .text.\name, "ax", @progbits
	.globl \name
	.type \name, @function
	.balign 16
\name:
.endm

FUNC __popcorn_set_tp
	msr	tpidr_el0, x0
	ret
.size __popcorn_set_tp, . - __popcorn_set_tp

FUNC __popcorn_kernel
	mov	x8, x0
	mov	x0, x1
	mov	x1, x2
	mov	x2, x3
	mov	x3, x4
	mov	x4, x5
	mov	x5, x6
	svc	#0
	ret
.size __popcorn_kernel, . - __popcorn_kernel

FUNC __popcorn_kernel_stop
	mov	x9, x0
	mov	x10, x1
	mov	x8, x2
	mov	x0, x3
	mov	x1, x4
	mov	x2, x5
	mov	x3, x6
	mov	x4, x7
	ldr	x5, [sp]
.Lbegin:
	ldr	w11, [x9]
	cbnz	w11, 1f
	ldr	w11, [x10]
	and	w11, w11, #~4
	cbnz	w11, 2f
	svc	#0
.Lend:
	ret
1:	mov	x0, #-4097
	ret
2:	mov	x0, #-4098
	ret
.size __popcorn_kernel_stop, . - __popcorn_kernel_stop

FUNC __popcorn_stop_begin
	adr	x1, .Lbegin
	adr	x2, .Lend
	cmp	x0, x1
	b.lo	1f
	cmp	x0, x2
	b.hs	1f
	mov	x0, x1
	ret
1:	mov	x0, #0
	ret
.size __popcorn_stop_begin, . - __popcorn_stop_begin

FUNC __popcorn_kernel_clone
	and	x1, x1, #-16
	stp	x5, x6, [x1, #-16]!
	mov	x8, #220
	svc	#0
	cbz	x0, 1f
	ret
1:	mov	x29, #0
	mov	x30, #0
	ldp	x1, x0, [sp], #16
	blr	x1
	brk	#0
.size __popcorn_kernel_clone, . - __popcorn_kernel_clone

FUNC __popcorn_kernel_leave
	mov	x8, #215
	svc	#0
	mov	x0, #0
	mov	x8, #93
	svc	#0
	brk	#0
.size __popcorn_kernel_leave, . - __popcorn_kernel_leave

FUNC __popcorn_restore
	mov	x8, #139
	svc	#0
.size __popcorn_restore, . - __popcorn_restore

	.section .note.GNU-stack, "", @progbits
