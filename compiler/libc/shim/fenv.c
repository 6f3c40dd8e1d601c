/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/*
 * The floating-point environment of each ISA in riscv64's terms: the flags of <fenv.h> are in bits 0 to 4 of fenv_t
 * and the rounding mode in bits 5 to 7. Traps do not exist; long double has the rounding mode and no flags.
 */
#include <fenv.h>

/* bit i of an exception, in the order inexact, underflow, overflow, divide by zero, invalid */
#if defined __x86_64__
static const unsigned char flag_bit[] = { 5, 4, 3, 2, 0 };
static const unsigned char round_in[] = { 0, 3, 1, 2 };		/* nearest, zero, down, up */
static const unsigned char round_out[] = { 0, 2, 3, 1 };

static unsigned flags_get(void)
{
	unsigned csr;

	__asm__ volatile("stmxcsr %0" : "=m"(csr));
	return csr;
}

static void flags_set(unsigned csr)
{
	__asm__ volatile("ldmxcsr %0" : : "m"(csr));
}

static unsigned round_get(void)
{
	return flags_get() >> 13 & 3;
}

static void round_set(unsigned mode)
{
	flags_set((flags_get() & ~(3u << 13)) | mode << 13);
}
#elif defined __aarch64__
static const unsigned char flag_bit[] = { 4, 3, 2, 1, 0 };
static const unsigned char round_in[] = { 0, 3, 2, 1 };
static const unsigned char round_out[] = { 0, 3, 2, 1 };

static unsigned flags_get(void)
{
	unsigned long sr;

	__asm__ volatile("mrs %0, fpsr" : "=r"(sr));
	return sr;
}

static void flags_set(unsigned sr)
{
	__asm__ volatile("msr fpsr, %0" : : "r"((unsigned long)sr));
}

static unsigned round_get(void)
{
	unsigned long cr;

	__asm__ volatile("mrs %0, fpcr" : "=r"(cr));
	return cr >> 22 & 3;
}

static void round_set(unsigned mode)
{
	unsigned long cr;

	__asm__ volatile("mrs %0, fpcr" : "=r"(cr));
	cr = (cr & ~(3ul << 22)) | (unsigned long)mode << 22;
	__asm__ volatile("msr fpcr, %0" : : "r"(cr));
}
#else
static const unsigned char flag_bit[] = { 0, 1, 2, 3, 4 };
static const unsigned char round_in[] = { 0, 1, 2, 3 };
static const unsigned char round_out[] = { 0, 1, 2, 3 };

static unsigned flags_get(void)
{
	unsigned flags;

	__asm__ volatile("frflags %0" : "=r"(flags));
	return flags;
}

static void flags_set(unsigned flags)
{
	__asm__ volatile("fsflags %0" : : "r"(flags));
}

static unsigned round_get(void)
{
	unsigned mode;

	__asm__ volatile("frrm %0" : "=r"(mode));
	return mode & 3;
}

static void round_set(unsigned mode)
{
	__asm__ volatile("fsrm %0" : : "r"(mode));
}
#endif

static unsigned native(int flags)
{
	unsigned ret = 0;

	for (int i = 0; i < 5; i++)
		if (flags & 1 << i)
			ret |= 1u << flag_bit[i];
	return ret;
}

int feclearexcept(int flags)
{
	flags_set(flags_get() & ~native(flags));
	return 0;
}

int feraiseexcept(int flags)
{
	flags_set(flags_get() | native(flags));
	return 0;
}

int fetestexcept(int flags)
{
	unsigned now = flags_get();
	int ret = 0;

	for (int i = 0; i < 5; i++)
		if (now & 1u << flag_bit[i])
			ret |= 1 << i;
	return ret & flags;
}

int fegetround(void)
{
	return round_out[round_get()];
}

int __fesetround(int mode);

int __fesetround(int mode)
{
	round_set(round_in[mode & 3]);
	return 0;
}

int fegetenv(fenv_t *env)
{
	*env = fetestexcept(FE_ALL_EXCEPT) | (unsigned)fegetround() << 5;
	return 0;
}

int fesetenv(const fenv_t *env)
{
	fenv_t to = env == FE_DFL_ENV ? 0 : *env;

	__fesetround(to >> 5 & 3);
	flags_set((flags_get() & ~native(FE_ALL_EXCEPT)) | native(to & FE_ALL_EXCEPT));
	return 0;
}

/* The run-time library's long double arithmetic asks these: 0 nearest, 1 down, 2 up, 3 to zero. */
int __fe_getround(void);
int __fe_raise_inexact(void);

int __fe_getround(void)
{
	static const unsigned char mode[] = { 0, 3, 1, 2 };

	return mode[fegetround()];
}

int __fe_raise_inexact(void)
{
	return 0;
}
