; SPDX-License-Identifier: GPL-2.0-only OR MIT
; longjmp() to a frame that is pinned.
target triple = "riscv64-unknown-linux-musl"
%s = type { [5 x i64] }
@buffer = external global i8
declare i32 @setjmp(ptr) returns_twice
declare i32 @jumps(i32)
define i64 @takes(ptr byval(%s) align 8 %p, i32 %n) noinline {
  %j = call i32 @setjmp(ptr @buffer) returns_twice
  %z = icmp eq i32 %j, 0
  br i1 %z, label %first, label %again
first:
  %r = call i32 @jumps(i32 %n)
  ret i64 -1
again:
  %q = getelementptr i64, ptr %p, i64 3
  %v = load i64, ptr %q
  %x = sext i32 %j to i64
  %y = add i64 %v, %x
  ret i64 %y
}
define i64 @foreign(ptr %p, i32 %n) {
  %y = call i64 @takes(ptr byval(%s) align 8 %p, i32 %n)
  ret i64 %y
}
