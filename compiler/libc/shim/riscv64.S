/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* What only assembly can do on riscv64; shim/x86-64.S says what each function is for. */
.macro FUNC name
	.section .text.\name, "ax", @progbits
	.globl \name
	.type \name, @function
	.balign 16
\name:
.endm

FUNC __popcorn_set_tp
	mv	tp, a0
	ret
.size __popcorn_set_tp, . - __popcorn_set_tp

FUNC __popcorn_kernel
	mv	t0, a0
	mv	a0, a1
	mv	a1, a2
	mv	a2, a3
	mv	a3, a4
	mv	a4, a5
	mv	a5, a6
	mv	a7, t0
	ecall
	ret
.size __popcorn_kernel, . - __popcorn_kernel

FUNC __popcorn_kernel_stop
	mv	t0, a0
	mv	t1, a1
	mv	t2, a2
	mv	a0, a3
	mv	a1, a4
	mv	a2, a5
	mv	a3, a6
	mv	a4, a7
	ld	a5, 0(sp)
	mv	a7, t2
.Lbegin:
	lw	t3, 0(t0)
	bnez	t3, 1f
	lw	t3, 0(t1)
	andi	t3, t3, ~4
	bnez	t3, 2f
	ecall
.Lend:
	ret
1:	li	a0, -4097
	ret
2:	li	a0, -4098
	ret
.size __popcorn_kernel_stop, . - __popcorn_kernel_stop

FUNC __popcorn_stop_begin
	lla	a1, .Lbegin
	lla	a2, .Lend
	bltu	a0, a1, 1f
	bgeu	a0, a2, 1f
	mv	a0, a1
	ret
1:	li	a0, 0
	ret
.size __popcorn_stop_begin, . - __popcorn_stop_begin

FUNC __popcorn_kernel_clone
	andi	a1, a1, -16
	addi	a1, a1, -16
	sd	a5, 0(a1)
	sd	a6, 8(a1)
	li	a7, 220
	ecall
	beqz	a0, 1f
	ret
1:	li	s0, 0
	li	ra, 0
	ld	a1, 0(sp)
	ld	a0, 8(sp)
	addi	sp, sp, 16
	jalr	a1
	unimp
.size __popcorn_kernel_clone, . - __popcorn_kernel_clone

FUNC __popcorn_kernel_leave
	li	a7, 215
	ecall
	li	a0, 0
	li	a7, 93
	ecall
	unimp
.size __popcorn_kernel_leave, . - __popcorn_kernel_leave

FUNC __popcorn_restore
	li	a7, 139
	ecall
.size __popcorn_restore, . - __popcorn_restore

	.section .note.GNU-stack, "", @progbits
