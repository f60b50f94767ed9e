/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* NAPT44 of new mappings: claiming a free port of the set, or taking over an expired one.
 *
 *   FREE ── compare-and-swap ──► CLAIMED ── fill, insert into eim ── exchange ──► EIM
 *   EIM ── compare-and-swap ──► DYING ── still expired? drop from eim ── exchange ──► CLAIMED
 *
 * CLAIMED and DYING are exclusive: only the run that won the swap touches the slot, and a run
 * always ends, so nobody waits for them. The index is inserted before the slot is published,
 * without replacing: the loser of a race between two packets of one endpoint gives its slot
 * back and uses the winner's.
 *
 * Ports are drawn at random (RFC 6056 section 3.3.1) after the LAN's own port was tried. The
 * search reads one bitmap word for 64 ports and sees every free port there is; the bitmap is
 * a hint, and a stale bit costs a failed swap. Expired ports are looked for only when no free
 * one is left, and after a search in vain not again in the same tick: nothing can expire
 * within it.
 */
#ifndef MAPXDP_NAPT44_ALLOC_H
#define MAPXDP_NAPT44_ALLOC_H

#include "napt44.h"

enum allocation {
	ALLOCATED,
	ALLOCATION_RETRY,   /* another CPU was faster: begin again */
	ALLOCATION_NO_FREE, /* no free port: look for expired ones */
	ALLOCATION_EXHAUSTED,
	ALLOCATION_INDEX_FULL,
};

/* Who wants a port, for which packet. */
struct applicant {
	const struct config *config;
	const struct transport *transport;
	struct endpoint endpoint;
	__u64 peer;
	__u32 now;
};

#define BITMAP_WORDS (SLOTS / BITMAP_WORD_BITS)
/* How many words one search reads: all there are up to 16384 ports. The ports of an unshared
 * address are more; there it samples a quarter, and reclaim, which takes free slots too, goes
 * on from where it finds none. */
#define SEARCH_WORDS (BITMAP_WORDS < 256 ? BITMAP_WORDS : 256)
#define PORT_MASK    0xffffU
#define NO_SLOT	     0xffffffffU

/* Errors of bpf_map_update_elem with BPF_NOEXIST. */
enum { INSERT_OK = 0, INSERT_EXISTS = -17 };

INLINE struct bitmap *the_bitmap(void)
{
	return MAP_VALUE(bitmap);
}

/* Position of the lowest bit that is set. BPF has no instruction for it, and a loop or a table
 * would cost the verifier more: count the zeros below it. Newer compilers recognise what is meant, and
 * then make an instruction that BPF lacks or a table that bcc does not load. */
INLINE __u32 lowest_bit(__u64 word)
{
	__u64 below = (word & -word) - 1;

	OPAQUE(below);
	below -= (below >> 1) & 0x5555555555555555ULL;
	below = (below & 0x3333333333333333ULL) + ((below >> 2) & 0x3333333333333333ULL);
	below = (below + (below >> 4)) & 0x0f0f0f0f0f0f0f0fULL;
	return below * 0x0101010101010101ULL >> 56;
}

INLINE __u32 random_bit(__u64 word, __u32 random)
{
	__u32 turn = random & 63;
	__u64 turned = word >> turn | word << ((64 - turn) & 63);

	return (lowest_bit(turned) + turn) & 63;
}

/* The word `number` of the protocol's part of the bitmap; the check is for the verifier, which
 * has lost sight of the bounds by then. */
INLINE __u64 *bitmap_word(__u32 index, __u32 number)
{
	__u32 word = index * BITMAP_WORDS + number;

	OPAQUE(word);
	return word < PROTOCOLS * BITMAP_WORDS ? &the_bitmap()->taken[word] : 0;
}

/* Position plus distance, around the end; both are below `count`. Without a branch. */
INLINE __u32 position_after(__u32 position, __u32 distance, __u32 count)
{
	__u32 sum = position + distance;
	__u32 beyond = (count - 1 - sum) >> 31;

	OPAQUE(beyond);
	return sum - (count & -beyond);
}

/* A slot whose bit is clear, from a random word on; NO_SLOT where there is none. */
INLINE __u32 find_free_slot(__u32 index, __u32 port_count, __u32 random)
{
	__u32 words = (port_count + BITMAP_WORD_BITS - 1) / BITMAP_WORD_BITS;
	__u32 start = (__u64)random * words >> 32;
	__u32 number = 0;
	__u64 free = 0;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < SEARCH_WORDS; i++) {
		const __u64 *word;

		OPAQUE(words);
		if (i >= words)
			break;
		number = position_after(start, i, words);
		word = bitmap_word(index, number);
		if (!word)
			return NO_SLOT;
		free = ~READ_ONCE(*word);
		if (free)
			break;
	}
	if (!free)
		return NO_SLOT;
	return (number * BITMAP_WORD_BITS + random_bit(free, random)) & PORT_MASK;
}

INLINE void mark_taken(__u32 index, __u32 position)
{
	__u64 *word = bitmap_word(index, position / BITMAP_WORD_BITS);

	if (word)
		__sync_fetch_and_or(word, 1ULL << (position % BITMAP_WORD_BITS));
}

INLINE void mark_free(__u32 index, __u32 position)
{
	__u64 *word = bitmap_word(index, position / BITMAP_WORD_BITS);

	if (word)
		__sync_fetch_and_and(word, ~(1ULL << (position % BITMAP_WORD_BITS)));
}

/* The slot at `position` of the set if it was free and is now claimed, else NULL. */
INLINE struct slot *claim_free(const struct applicant *applicant, __u32 position)
{
	struct slot *slot = slot_at(applicant->endpoint.protocol * SLOTS + position);

	if (!slot)
		return 0;
	mark_taken(applicant->endpoint.protocol, position);
	return swap_owner(slot, 0, owner_word(&applicant->endpoint, SLOT_CLAIMED)) ? slot : 0;
}

INLINE void give_back(const struct applicant *applicant, struct slot *slot, __u32 position)
{
	publish_owner(slot, 0);
	mark_free(applicant->endpoint.protocol, position);
}

/* Makes the claimed slot the mapping of the applicant, unless it has one by now. */
INLINE enum allocation establish(const struct applicant *applicant, struct slot *slot,
				 __u32 position, __u16 *port)
{
	struct port_set set = port_set_of(applicant->config);
	__u64 index = applicant->endpoint.protocol * SLOTS + position;
	long error;

	begin_mapping(slot, applicant->transport, applicant->peer, applicant->now);
	error = eim_insert(applicant->endpoint, index);
	if (error == INSERT_OK) {
		publish_owner(slot, owner_word(&applicant->endpoint, SLOT_EIM));
		count_event(DIRECTION_46, REASON_MAPPING_CREATED);
		*port = port_of_slot(&set, position);
		return ALLOCATED;
	}
	give_back(applicant, slot, position);
	if (error != INSERT_EXISTS)
		return ALLOCATION_INDEX_FULL;
	return established_port(applicant->config, &applicant->endpoint, applicant->transport,
				applicant->peer, applicant->now, port)
		       ? ALLOCATED
		       : ALLOCATION_RETRY;
}

/* True where a search in this tick has already found every port in use. */
INLINE _Bool known_exhausted(__u32 index, __u32 now)
{
	return READ_ONCE(the_bitmap()->full_tick[index]) == (__u64)now + 1;
}

INLINE void note_exhausted(__u32 index, __u32 now)
{
	WRITE_ONCE(the_bitmap()->full_tick[index], (__u64)now + 1);
}

/* A free port for the applicant: its own if the set has it, else a random one. */
INLINE enum allocation allocate(const struct applicant *applicant, __u16 *port)
{
	struct port_set set = port_set_of(applicant->config);
	__u32 index = applicant->endpoint.protocol;
	struct slot *slot = 0;
	__u32 position;

	if (index >= PROTOCOLS)
		return ALLOCATION_EXHAUSTED;
	if (port_in_set(&set, applicant->endpoint.port)) {
		position = slot_of_port(&set, applicant->endpoint.port);
		if (position < SLOTS)
			slot = claim_free(applicant, position);
	}
	if (!slot) {
		position = find_free_slot(index, applicant->config->port_count, kernel_random());
		if (position >= SLOTS)
			return known_exhausted(index, applicant->now) ? ALLOCATION_EXHAUSTED
								      : ALLOCATION_NO_FREE;
		slot = claim_free(applicant, position);
		if (!slot)
			return ALLOCATION_RETRY;
	}
	return establish(applicant, slot, position, port);
}

/* Progress of the search for an expired port, over several program runs. */
struct scan {
	__u32 start; /* a random slot of the set */
	__u32 done;  /* slots already looked at from there */
};

/* 1 for zero, 0 for everything else, without a branch. */
INLINE __u32 is_zero(__u64 x)
{
	OPAQUE(x);
	return ~(x | -x) >> 63;
}

/* Free, or long expired. Without branches: of two ways through each turn of a loop, the
 * verifier would follow every sequence. */
INLINE __u32 is_takeable(const struct applicant *applicant, const struct slot *slot, __u64 owner)
{
	__u32 mapped = is_zero(owner_state(owner) ^ SLOT_EIM);
	__u32 overdue = is_overdue(applicant->config, slot, applicant->endpoint.protocol,
				   applicant->now, GRACE_TICKS);

	return is_zero(owner) | (mapped & overdue);
}

/* The inverse: how far `position` lies beyond `start`. */
INLINE __u32 distance_to(__u32 position, __u32 start, __u32 count)
{
	return position >= start ? position - start : position + count - start;
}

/* The next slot that is free or long expired; NO_SLOT if this run's share holds none. Reads
 * only. Nothing that the loop counts is used after it: the verifier would follow the rest of
 * the program once for each number of turns. */
INLINE __u32 find_expired_slot(const struct applicant *applicant, struct scan *scan)
{
	__u32 index = applicant->endpoint.protocol;
	__u32 count = applicant->config->port_count;
	__u32 left = count - scan->done;
	__u32 first = position_after(scan->start, scan->done, count);
	__u32 position = NO_SLOT;
	__u32 found = 0;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < SCAN_SLOTS && !found; i++) {
		const struct slot *slot;

		OPAQUE(left);
		if (i >= left)
			break;
		position = position_after(first, i, count);
		slot = slot_at(index * SLOTS + position);
		if (!slot)
			break;
		found = is_takeable(applicant, slot, READ_ONCE(slot->owner));
	}
	if (found) {
		position &= PORT_MASK;
		scan->done = distance_to(position, scan->start, count) + 1;
		return position;
	}
	scan->done += left < SCAN_SLOTS ? left : SCAN_SLOTS;
	return NO_SLOT;
}

/* Removes the index entry of the slot's old owner, unless it already points elsewhere. */
INLINE void forget_owner(__u64 owner, __u64 slot_index)
{
	struct endpoint old = {
		.ipv4 = owner,
		.port = owner >> 32,
		.protocol = slot_index / SLOTS,
	};
	const __u64 *position = eim_lookup(old);

	if (position && *position == slot_index)
		eim_delete(old);
}

/* The slot, taken from its expired owner and claimed; NULL if that owner came back first. */
INLINE struct slot *take_over(const struct applicant *applicant, __u32 position)
{
	__u32 index = applicant->endpoint.protocol;
	struct slot *slot = slot_at(index * SLOTS + position);
	__u64 owner;

	if (!slot)
		return 0;
	owner = READ_ONCE(slot->owner);
	if (owner == 0)
		return claim_free(applicant, position);
	if (owner_state(owner) != SLOT_EIM ||
	    !swap_owner(slot, owner, with_state(owner, SLOT_DYING)))
		return 0;
	if (!is_overdue(applicant->config, slot, index, applicant->now, GRACE_TICKS)) {
		publish_owner(slot, owner);
		return 0;
	}
	forget_owner(owner, index * SLOTS + position);
	count_event(DIRECTION_46, REASON_MAPPING_RECLAIMED);
	publish_owner(slot, owner_word(&applicant->endpoint, SLOT_CLAIMED));
	return slot;
}

/* An expired port for the applicant. ALLOCATION_NO_FREE: call again, `scan` has advanced. */
INLINE enum allocation reclaim(const struct applicant *applicant, struct scan *scan, __u16 *port)
{
	__u32 index = applicant->endpoint.protocol;
	__u32 position;
	struct slot *slot;

	if (index >= PROTOCOLS)
		return ALLOCATION_EXHAUSTED;
	position = find_expired_slot(applicant, scan);
	if (position >= SLOTS) {
		if (scan->done < applicant->config->port_count)
			return ALLOCATION_NO_FREE;
		note_exhausted(index, applicant->now);
		return ALLOCATION_EXHAUSTED;
	}
	slot = take_over(applicant, position);
	if (!slot)
		return ALLOCATION_NO_FREE;
	return establish(applicant, slot, position, port);
}

#endif
