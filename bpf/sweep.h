/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The sweep: releases flows that are long expired, so that their ports become free again.
 *
 * It rides on packets from the LAN. While there are flows, the first packets of each tick look
 * at SWEEP_FLOWS flows each, until all have been looked at; each releases at most one, and the
 * next goes on from there. */
#ifndef MAPXDP_SWEEP_H
#define MAPXDP_SWEEP_H

#include "napt44_flow.h"

enum { SWEEP_TICK_SHIFT = 32 };

INLINE _Bool sweep_is_due(__u32 now)
{
	struct pool *pool = the_pool();

	return READ_ONCE(pool->flow_count) && READ_ONCE(pool->sweep_tick) != (__u64)now + 1;
}

/* 1 if the flow is long expired, 0 if not, without a branch. */
INLINE __u32 is_over(const struct config *config, const struct mapping *flow, __u32 now)
{
	return is_zero(owner_state(READ_ONCE(flow->owner)) ^ SLOT_FLOW) &
	       is_overdue(config, flow, now, GRACE_TICKS, PRESSURE_NONE);
}

/* In each tick the sweep goes round once, from wherever it is. */
INLINE void note_looked_at(struct pool *pool, __u32 now, __u32 count)
{
	__u64 round = READ_ONCE(pool->sweep_round);
	__u32 left = round >> SWEEP_TICK_SHIFT == now ? (__u32)round : FLOWS;

	left -= count < left ? count : left;
	WRITE_ONCE(pool->sweep_round, (__u64)now << SWEEP_TICK_SHIFT | left);
	if (!left)
		WRITE_ONCE(pool->sweep_tick, (__u64)now + 1);
}

/* From `begin` on, the first flow of a word that holds any; the last flow where none does. */
INLINE __u32 first_taken(__u32 begin)
{
	__u32 first = begin / WORD_BITS;
	__u32 number = first;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < FLOW_SEARCH_WORDS; i++) {
		const __u64 *word;

		number = (first + i) & (FLOW_WORDS - 1);
		word = flow_word(number);
		if (!word || READ_ONCE(*word))
			break;
	}
	if (number == first)
		return begin;
	return number > first ? number * WORD_BITS : FLOWS - 1;
}

/* The next expired flow from the sweep's position on; NOWHERE where this run sees none. Nothing
 * that the loop counts is used after it, for the verifier. */
INLINE __u32 next_expired_flow(const struct config *config, __u32 now)
{
	struct pool *pool = the_pool();
	__u32 begin = READ_ONCE(pool->sweep_position) & (FLOWS - 1);
	__u32 first = first_taken(begin);
	__u32 left = FLOWS - first;
	__u32 position = first;
	__u32 found = 0;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < SWEEP_FLOWS && !found; i++) {
		const struct mapping *flow;

		OPAQUE(left);
		if (i >= left)
			break;
		position = (first + i) & (FLOWS - 1);
		flow = flow_at(position);
		if (!flow)
			break;
		found = is_over(config, flow, now);
	}
	WRITE_ONCE(pool->sweep_position, (position + 1) & (FLOWS - 1));
	note_looked_at(pool, now, position + 1 - begin);
	return found ? position : NOWHERE;
}

INLINE void sweep(const struct config *config, __u32 now)
{
	__u32 index = next_expired_flow(config, now);

	if (index != NOWHERE)
		release_flow(config, index, now, PRESSURE_NONE);
}

#endif
