// Arithmetic modulo 2^255 - 19 in 1 KB of code. Included by monocypher.c in the place of its own, which is unrolled to 6 KB (see
// host/firmware_files.py). The same limbs, carries and bounds as there; only public values pass through, so time may vary.

// Sum of a[i] * b[i] for `count` of each, where count * |a[i]| < 2^31. In assembly on ARMv6-M, which has no 32 by 32 to 64 bit multiplication.
#ifdef __ARM_ARCH_6M__
i64 field_dot(const i32 *a, const i32 *b, size_t count);
#else
static i64 field_dot(const i32 *a, const i32 *b, size_t count)
{
	i64 sum = 0;
	FOR (i, 0, count) {
		sum += (i64)a[i] * b[i];
	}
	return sum;
}
#endif

// Move what is over 26 or 25 bits of a limb to the next one.
static void carry_26(i64 t[2])
{
	i64 c = (t[0] + ((i64)1 << 25)) >> 26;
	t[0] -= c * ((i64)1 << 26);
	t[1] += c;
}

static void carry_25(i64 t[2])
{
	i64 c = (t[0] + ((i64)1 << 24)) >> 25;
	t[0] -= c * ((i64)1 << 25);
	t[1] += c;
}

// Two chains of carries, from limbs 0 and 4. t[10] catches what goes over the top.
static void fe_carry(fe h, i64 t[11])
{
	FOR (i, 0, 4) {
		void (*carry)(i64 *) = i & 1 ? carry_25 : carry_26;
		carry(t + i);
		carry(t + i + 4);
	}
	carry_26(t + 4);
	carry_26(t + 8);
	t[10] = 0;
	carry_25(t + 9);
	t[0] += t[10] * 19;
	carry_26(t + 0);
	FOR (i, 0, 10) {
		h[i] = (i32)t[i];
	}
}

#undef FE_CARRY
#define FE_CARRY \
	i64 t[11] = {t0, t1, t2, t3, t4, t5, t6, t7, t8, t9}; \
	fe_carry(h, t)

// g[-m] stands for 19 * g[10 - m].
static void fe_wrap(i32 around[19], const fe g)
{
	FOR (i, 0, 10) {
		around[9 + i] = g[i];
		if (i > 0) {
			around[i - 1] = g[i] * 19;
		}
	}
}

// h[k] is the sum of f[i] * g[k - i], doubled when i and k - i are odd.
static void fe_mul(fe h, const fe f, const fe g)
{
	i32 plain[10], doubled[10]; // f, its last limb first
	i32 around[19];             // g from -9 to 9
	i64 t[11];
	fe_wrap(around, g);
	FOR (i, 0, 10) {
		plain  [9 - i] = f[i];
		doubled[9 - i] = i & 1 ? f[i] * 2 : f[i];
	}
	FOR (k, 0, 10) {
		t[k] = field_dot(k & 1 ? plain : doubled, around + k, 10);
	}
	fe_carry(h, t);
}

// As fe_mul, with i only from k / 2, rounded up, to what that is paired with around the end: all but the first and last i of an
// even k stand for k - i too.
static void fe_sq(fe h, const fe f)
{
	i32 twice[10], weighted[10], around[19];
	i64 t[11];
	fe_wrap(around, f);
	FOR (i, 0, 10) {
		twice   [9 - i] = f[i] * 2;
		weighted[9 - i] = i & 1 ? f[i] * 4 : f[i] * 2;
	}
	FOR (k, 0, 10) {
		size_t first = 4 - k / 2;
		if (k & 1) {
			t[k] = field_dot(twice + first, around + first + k, 5);
		} else {
			i32 *ends = weighted + first;
			ends[0] /= 2;
			ends[5] /= 2;
			t[k] = field_dot(ends, around + first + k, 6);
			ends[0] *= 2;
			ends[5] *= 2;
		}
	}
	fe_carry(h, t);
}
