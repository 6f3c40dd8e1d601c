; SPDX-License-Identifier: GPL-2.0-only OR MIT
; A structure that is passed in the native stack.
target triple = "riscv64-unknown-linux-musl"
%s = type { [5 x i64] }
declare i32 @work(i32)
define i64 @takes(ptr byval(%s) align 8 %p, i32 %n) noinline {
  %r = call i32 @work(i32 %n)
  %q = getelementptr i64, ptr %p, i64 3
  %v = load i64, ptr %q
  %x = sext i32 %r to i64
  %y = add i64 %v, %x
  ret i64 %y
}
define i64 @foreign(ptr %p, i32 %n) {
  %y = call i64 @takes(ptr byval(%s) align 8 %p, i32 %n)
  ret i64 %y
}
