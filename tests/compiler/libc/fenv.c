// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* The floating-point environment has riscv64's constants everywhere, and does what they say. */
#include <fenv.h>
#include <math.h>
#include "check.h"

#pragma STDC FENV_ACCESS ON

static volatile double one = 1, three = 3, zero, huge = 1e308, tiny = 5e-324;
static volatile long double lone = 1, ltiny = 1e-40L;

int main(void)
{
	static const int modes[] = { FE_TONEAREST, FE_TOWARDZERO, FE_DOWNWARD, FE_UPWARD };
	fenv_t env;

	for (int i = 0; i < 4; i++) {
		CHECK(!fesetround(modes[i]) && fegetround() == modes[i]);
		printf("%d: %a %a %a %a\n", modes[i], one / three, -one / three, rint(2.5), rint(-2.5));
		printf("%La %La\n", lone + ltiny, -lone - ltiny);
	}
	CHECK(fesetround(77) != 0);
	fesetround(FE_TONEAREST);
	CHECK(!feclearexcept(FE_ALL_EXCEPT) && fetestexcept(FE_ALL_EXCEPT) == 0);
	printf("%f\n", one / zero);
	CHECK(fetestexcept(FE_ALL_EXCEPT) & FE_DIVBYZERO);
	feclearexcept(FE_ALL_EXCEPT);
	three = huge * huge;
	CHECK((fetestexcept(FE_ALL_EXCEPT) & (FE_OVERFLOW | FE_DIVBYZERO)) == FE_OVERFLOW);
	feclearexcept(FE_OVERFLOW);
	three = tiny / 3;
	CHECK(fetestexcept(FE_UNDERFLOW | FE_OVERFLOW) == FE_UNDERFLOW);
	feclearexcept(FE_ALL_EXCEPT);
	three = zero / zero;
	CHECK(fetestexcept(FE_ALL_EXCEPT) == FE_INVALID);
	CHECK(!fegetenv(&env) && !fesetround(FE_UPWARD) && !feraiseexcept(FE_OVERFLOW) && !fesetenv(&env));
	CHECK(fegetround() == FE_TONEAREST && fetestexcept(FE_ALL_EXCEPT) == FE_INVALID);
	CHECK(!feholdexcept(&env) && !fetestexcept(FE_ALL_EXCEPT) && !feupdateenv(&env));
	CHECK(!fesetenv(FE_DFL_ENV) && !fetestexcept(FE_ALL_EXCEPT));
	puts(failed ? "failed" : "ok");
	return failed;
}
