/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The pool: which ports and flows are taken, by bit. A hint for searches, never the truth; a
 * stale bit costs a failed swap. */
#ifndef MAPXDP_POOL_H
#define MAPXDP_POOL_H

#include "portable.h"

#define WORDS_PER_PROTOCOL (SLOTS / WORD_BITS)
#define FLOW_WORDS	   (FLOWS / WORD_BITS)
/* Of more than 16384 flows one search reads a part, another one on each CPU. */
#define FLOW_SEARCH_WORDS  (FLOW_WORDS < 256 ? FLOW_WORDS : 256)
#define NOWHERE		   0xffffffffU

INLINE struct pool *the_pool(void)
{
	return MAP_VALUE(pool);
}

/* Position of the lowest bit that is set. BPF has no instruction for it, and a loop or a table
 * would cost the verifier more: count the zeros below it. Newer compilers recognise what is
 * meant, and then make an instruction that BPF lacks or a table that bcc does not load. */
INLINE __u32 lowest_bit(__u64 word)
{
	__u64 below = (word & -word) - 1;

	OPAQUE(below);
	below -= (below >> 1) & 0x5555555555555555ULL;
	below = (below & 0x3333333333333333ULL) + ((below >> 2) & 0x3333333333333333ULL);
	below = (below + (below >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return below * 0x0101010101010101ULL >> 56;
}

/* The first set bit from `turn` on, around the end. */
INLINE __u32 lowest_bit_from(__u64 word, __u32 turn)
{
	__u64 turned;

	turn &= 63;
	turned = word >> turn | word << ((64 - turn) & 63);
	return (lowest_bit(turned) + turn) & 63;
}

/* The checks of the words are for the verifier, which has lost sight of the bounds by then. */
INLINE __u64 *taken_word(__u32 index, __u32 number)
{
	__u64 word = (__u64)index * WORDS_PER_PROTOCOL + number;

	OPAQUE(word);
	return word < PROTOCOLS * WORDS_PER_PROTOCOL ? &the_pool()->taken[word] : 0;
}

INLINE __u64 *shared_word(__u32 index, __u32 number)
{
	__u64 word = (__u64)index * WORDS_PER_PROTOCOL + number;

	OPAQUE(word);
	return word < PROTOCOLS * WORDS_PER_PROTOCOL ? &the_pool()->shared[word] : 0;
}

INLINE __u64 *flow_word(__u64 number)
{
	OPAQUE(number);
	return number < FLOW_WORDS ? &the_pool()->flows_taken[number] : 0;
}

INLINE void set_bit(__u64 *word, __u32 position)
{
	if (word)
		__sync_fetch_and_or(word, 1ULL << (position & 63));
}

INLINE void clear_bit(__u64 *word, __u32 position)
{
	if (word)
		__sync_fetch_and_and(word, ~(1ULL << (position & 63)));
}

INLINE void mark_taken(__u32 index, __u32 position)
{
	set_bit(taken_word(index, position / WORD_BITS), position);
}

INLINE void mark_free(__u32 index, __u32 position)
{
	clear_bit(taken_word(index, position / WORD_BITS), position);
}

INLINE _Bool is_marked_free(__u32 index, __u32 position)
{
	const __u64 *word = taken_word(index, position / WORD_BITS);

	return word && !(READ_ONCE(*word) >> (position & 63) & 1);
}

/* Position plus distance, around the end; both are below `count`. Without a branch. */
INLINE __u32 position_after(__u32 position, __u32 distance, __u32 count)
{
	__u32 sum = position + distance;
	__u32 beyond = (count - 1 - sum) >> 31;

	OPAQUE(beyond);
	return sum - (count & -beyond);
}

/* The inverse: how far `position` lies beyond `start`. */
INLINE __u32 distance_to(__u32 position, __u32 start, __u32 count)
{
	return position >= start ? position - start : position + count - start;
}

/* 1 for zero, 0 for everything else, without a branch. */
INLINE __u32 is_zero(__u64 x)
{
	OPAQUE(x);
	return ~(x | -x) >> 63;
}

/* The count of a protocol; the check is for the verifier, which follows 64 bits better. */
INLINE __u64 *count_of(__u64 counts[PROTOCOLS], __u64 index)
{
	OPAQUE(index);
	if (index >= PROTOCOLS)
		index = 0;
	return &counts[index];
}

INLINE void add_to(__u64 *count, __s64 change)
{
	__sync_fetch_and_add(count, change);
}

/* A slot leaves the free ones. */
INLINE void count_taken(__u32 index)
{
	struct pool *pool = the_pool();
	__u64 used = __sync_fetch_and_add(count_of(pool->used, index), 1) + 1;
	__u64 *high = count_of(pool->high_water, index);

	if (used > READ_ONCE(*high))
		WRITE_ONCE(*high, used);
}

INLINE void note_flow_count(__s64 change)
{
	struct pool *pool = the_pool();
	__u64 count = __sync_fetch_and_add(&pool->flow_count, change) + change;

	if (count > READ_ONCE(pool->flow_high_water))
		WRITE_ONCE(pool->flow_high_water, count);
}

INLINE void count_freed(__u32 index)
{
	add_to(count_of(the_pool()->used, index), -1);
}

/* True where a search in this tick has already found nothing. */
INLINE _Bool known_exhausted(__u32 index, __u32 now)
{
	return READ_ONCE(*count_of(the_pool()->full_tick, index)) == (__u64)now + 1;
}

INLINE void note_exhausted(__u32 index, __u32 now)
{
	WRITE_ONCE(*count_of(the_pool()->full_tick, index), (__u64)now + 1);
}

#endif
