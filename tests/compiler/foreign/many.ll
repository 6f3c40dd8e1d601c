; SPDX-License-Identifier: GPL-2.0-only OR MIT
; More values at once than a record holds.
target triple = "riscv64-unknown-linux-musl"
declare i32 @work(i32)
declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)
define i64 @foreign(ptr %p, i32 %n) noinline {
  %a = alloca [4500 x i64]
  call void @llvm.memset.p0.i64(ptr %a, i8 0, i64 36000, i1 false)
  %w = load volatile [4500 x i64], ptr %a
  %r = call i32 @work(i32 %n)
  store volatile [4500 x i64] %w, ptr %a
  %v = extractvalue [4500 x i64] %w, 4000
  %x = sext i32 %r to i64
  %y = add i64 %v, %x
  ret i64 %y
}
