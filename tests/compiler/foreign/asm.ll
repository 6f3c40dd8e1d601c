; SPDX-License-Identifier: GPL-2.0-only OR MIT
; A call from inline assembly, of x86-64 only.
target triple = "riscv64-unknown-linux-musl"
declare i32 @work(i32)
@number = global i32 0
define void @called() {
  %n = load i32, ptr @number
  %r = call i32 @work(i32 %n)
  store i32 %r, ptr @number
  ret void
}
define i64 @foreign(ptr %p, i32 %n) noinline {
  store i32 %n, ptr @number
  call void asm sideeffect "sub $$136, %rsp\0Acall called\0Aadd $$136, %rsp", "~{memory},~{rax},~{rcx},~{rdx},~{rsi},~{rdi},~{r8},~{r9},~{r10},~{r11},~{xmm0},~{xmm1},~{flags}"()
  %r = load i32, ptr @number
  %x = sext i32 %r to i64
  ret i64 %x
}
@llvm.used = appending global [1 x ptr] [ptr @called]
