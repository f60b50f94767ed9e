/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Every function is inlined: bcc loads no calls between BPF functions. The name is ours, as
 * the kernel's own, __always_inline, means less outside the kernel. */
#ifndef MAPXDP_INLINE_H
#define MAPXDP_INLINE_H

#include <linux/types.h>

#define INLINE static inline __attribute__((always_inline))

/* Hides a value from the optimiser. It would otherwise merge two exits of a loop into one trip
 * count that the verifier cannot bound, or check one copy of a pointer and use another. */
#define OPAQUE(x) asm volatile("" : "+r"(x))

/* 1 if the octets are the same, else 0: without a branch, so that the verifier need not follow
 * every mixture of what a loop over options finds. */
INLINE __u32 is_same(__u8 octet, __u8 other)
{
	__u32 difference = octet ^ other;

	OPAQUE(difference);
	return (difference - 1) >> 31;
}

#endif
