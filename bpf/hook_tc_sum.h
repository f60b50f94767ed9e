/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Adding up a packet's octets, which only slow paths do: everything else changes checksums by
 * what has changed. */
#ifndef MAPXDP_HOOK_TC_SUM_H
#define MAPXDP_HOOK_TC_SUM_H

#include "hook_tc.h"
#include "scratch.h"

enum { SUM_PIECES_MAX = 65536 / SCRATCH_OCTETS };

/* Adds the next `length` octets, fewer than a piece. The helper adds whole words: what the last
 * one lacks is zero. */
INLINE _Bool tc_sum_rest(struct __sk_buff *skb, struct scratch *scratch, __u32 offset, __u32 length,
			 __u32 *sum)
{
	__u32 before = length - 1;

	if (!length)
		return 1;
	OPAQUE(before);
	before &= SCRATCH_OCTETS - 1;
	scratch->word[before >> 2] = 0;
	if (kernel_skb_load_bytes(skb, offset, scratch, before + 1))
		return 0;
	*sum = kernel_csum_diff(0, 0, scratch, (before + 4) & ~3U, *sum);
	return 1;
}

/* Adds `length` octets of the frame to `sum`, the first at an even place of it. False where they
 * are not all there. */
INLINE _Bool tc_sum(struct __sk_buff *skb, __u32 offset, __u32 length, __u32 *sum)
{
	struct scratch *scratch = the_scratch();
	__u32 pieces = length / SCRATCH_OCTETS;

	if (!scratch)
		return 0;
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < SUM_PIECES_MAX; i++) {
		OPAQUE(pieces);
		if (!pieces)
			break;
		if (kernel_skb_load_bytes(skb, offset, scratch, SCRATCH_OCTETS))
			return 0;
		*sum = kernel_csum_diff(0, 0, scratch, SCRATCH_OCTETS, *sum);
		offset += SCRATCH_OCTETS;
		pieces--;
	}
	return tc_sum_rest(skb, scratch, offset, length % SCRATCH_OCTETS, sum);
}

#endif
