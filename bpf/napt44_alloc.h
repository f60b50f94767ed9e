/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* New mappings: claiming a free port of the set, or taking over an expired one.
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
 * search reads one bitmap word for 64 ports and sees every free port there is. Expired ports
 * are looked for only when no free one is to be had, and after a search in vain not again in
 * the same tick: nothing can expire within it.
 */
#ifndef MAPXDP_NAPT44_ALLOC_H
#define MAPXDP_NAPT44_ALLOC_H

#include "napt44_flow.h"
#include "napt44_own.h"

enum allocation {
	ALLOCATED,
	ALLOCATION_RETRY, /* another CPU was faster, or a place was just made: begin again */
	ALLOCATION_NONE,  /* not here: the next step of the ladder */
	ALLOCATION_MORE,  /* this run's share is done; the next run goes on */
	ALLOCATION_INDEX_FULL,
	ALLOCATION_FLOWS_FULL,
};

/* How many words one search reads: all there are up to 4096 ports. Of more it reads a part, and
 * reclaim, which takes free slots too, goes on where it finds none. */
#define SEARCH_WORDS (WORDS_PER_PROTOCOL < 64 ? WORDS_PER_PROTOCOL : 64)
#define PORT_MASK    0xffffU

/* Of a word of the bitmaps, as PORT_MASK is of a port. It changes nothing, but makes every turn
 * of a search look alike to the verifier, which would follow the rest of the program after each. */
#define WORD_MASK (65536 / WORD_BITS - 1)

/* Errors of bpf_map_update_elem with BPF_NOEXIST. */
enum { INSERT_OK = 0, INSERT_EXISTS = -17 };

/* The first slot whose bit is clear, from position `start` on; NOWHERE where there is none.
 * Within the first word it looks around the end. */
INLINE __u32 find_free_slot(__u32 index, __u32 port_count, __u32 start)
{
	__u32 words = (port_count + WORD_BITS - 1) / WORD_BITS;
	__u32 first = start / WORD_BITS;
	__u32 number = 0;
	__u64 free = 0;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < SEARCH_WORDS; i++) {
		const __u64 *word;

		OPAQUE(words);
		if (i >= words)
			break;
		number = position_after(first, i, words) & WORD_MASK;
		word = taken_word(index, number);
		if (!word)
			return NOWHERE;
		free = ~READ_ONCE(*word);
		if (free)
			break;
	}
	if (!free)
		return NOWHERE;
	return (number * WORD_BITS + lowest_bit_from(free, start)) & PORT_MASK;
}

INLINE __u32 random_position(__u32 port_count)
{
	return (__u64)kernel_random() * port_count >> 32;
}

/* The slot at `position` of the set if it was free and is now `wanted`'s, else NULL. */
INLINE struct mapping *claim_free(__u32 index, __u32 position, __u64 wanted)
{
	struct mapping *slot = slot_at(index * SLOTS + position);

	if (!slot)
		return 0;
	mark_taken(index, position);
	if (!swap_owner(slot, 0, wanted))
		return 0;
	count_taken(index);
	return slot;
}

INLINE void give_back(__u32 index, struct mapping *slot, __u32 position)
{
	count_freed(index);
	publish_owner(slot, 0);
	mark_free(index, position);
}

/* Makes the claimed slot the mapping of the applicant, unless it has one by now. */
INLINE enum allocation establish(const struct applicant *applicant, struct mapping *slot,
				 __u32 position, __u16 *port)
{
	struct port_set set = port_set_of(applicant->config);
	__u32 index = applicant->endpoint.protocol;
	long error;

	begin_mapping(slot, applicant);
	error = eim_insert(applicant->endpoint, index * SLOTS + position);
	if (error == INSERT_OK) {
		publish_owner(slot, owner_word(&applicant->endpoint, SLOT_EIM));
		count_port(applicant->endpoint.ipv4, index, 1);
		count_event(DIRECTION_46, REASON_MAPPING_CREATED);
		*port = port_of_slot(&set, position);
		log_event(applicant->config, EVENT_PORT_MAPPED, applicant->endpoint, *port,
			  applicant->peer, applicant->now);
		return ALLOCATED;
	}
	give_back(index, slot, position);
	return error == INSERT_EXISTS ? ALLOCATION_RETRY : ALLOCATION_INDEX_FULL;
}

/* A free port of its own for the applicant: its own number if the set has it, else a random
 * one. */
INLINE enum allocation allocate(const struct applicant *applicant, __u16 *port)
{
	const struct config *config = applicant->config;
	struct port_set set = port_set_of(config);
	__u32 index = applicant->endpoint.protocol;
	__u64 wanted = owner_word(&applicant->endpoint, SLOT_CLAIMED);
	__u32 position = slot_of_port(&set, applicant->endpoint.port);
	struct mapping *slot;

	if (!port_in_set(&set, applicant->endpoint.port) || position >= SLOTS ||
	    !is_marked_free(index, position))
		position = find_free_slot(index, config->port_count,
					  random_position(config->port_count));
	if (position >= SLOTS)
		return ALLOCATION_NONE;
	slot = claim_free(index, position, wanted);
	if (!slot)
		return ALLOCATION_RETRY;
	return establish(applicant, slot, position, port);
}

/* The search for an expired port, over several program runs. */
struct scan {
	const struct config *config;
	__u32 index; /* enum protocol_index */
	__u32 start; /* a random slot of the set */
	__u32 done;  /* slots already looked at from there */
	__u32 now;
	__be32 host;	/* whose packet it is for */
	__u32 free_too; /* 1: free slots may be taken */
	__u32 own_only; /* 1: of owners, only that host gives way */
	enum pressure pressure;
};

/* Free, or long expired. Without branches: of two ways through each turn of a loop, the
 * verifier would follow every sequence. */
INLINE __u32 is_takeable(const struct scan *scan, const struct mapping *slot)
{
	__u64 owner = READ_ONCE(slot->owner);
	__u32 mapped = is_zero(owner_state(owner) ^ SLOT_EIM);
	__u32 gives_way = is_zero((__u32)owner ^ scan->host) | (scan->own_only ^ 1);
	__u32 overdue = is_overdue(scan->config, slot, scan->now, GRACE_TICKS, scan->pressure);

	return (is_zero(owner) & scan->free_too) | (mapped & gives_way & overdue);
}

/* The next slot that is free or long expired; NOWHERE if this run's share holds none. Reads
 * only. Nothing that the loop counts is used after it: the verifier would follow the rest of
 * the program once for each number of turns. */
INLINE __u32 find_expired_slot(struct scan *scan)
{
	__u32 count = scan->config->port_count;
	__u32 left = count - scan->done;
	__u32 first = position_after(scan->start, scan->done, count);
	__u32 position = NOWHERE;
	__u32 found = 0;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < SCAN_SLOTS && !found; i++) {
		const struct mapping *slot;

		OPAQUE(left);
		if (i >= left)
			break;
		position = position_after(first, i, count);
		slot = slot_at(scan->index * SLOTS + position);
		if (!slot)
			break;
		found = is_takeable(scan, slot);
	}
	if (found) {
		position &= PORT_MASK;
		scan->done = distance_to(position, scan->start, count) + 1;
		return position;
	}
	scan->done += left < SCAN_SLOTS ? left : SCAN_SLOTS;
	return NOWHERE;
}

/* What its former owner is told, and counted for. The slot is dying. */
INLINE void end_own_mapping(const struct config *config, const struct mapping *slot,
			    __u32 slot_index, __u64 owner, __u32 now)
{
	struct port_set set = port_set_of(config);
	__u32 protocol = slot_index / SLOTS;
	struct endpoint former = endpoint_of(owner, protocol);

	forget_endpoint(former, slot_index);
	count_port(former.ipv4, protocol, -1);
	log_event(config, EVENT_PORT_RELEASED, former,
		  port_of_slot(&set, slot_index - protocol * SLOTS), READ_ONCE(slot->peer), now);
}

/* The slot, taken from its expired owner (or free, where that may be) and now `wanted`'s; NULL if
 * that owner came back first. */
INLINE struct mapping *take_over(const struct applicant *applicant, __u32 position, __u64 wanted,
				 _Bool free_too, enum pressure pressure)
{
	__u32 index = applicant->endpoint.protocol * SLOTS + position;
	struct mapping *slot = slot_at(index);
	__u64 owner;

	if (!slot)
		return 0;
	owner = READ_ONCE(slot->owner);
	if (!owner && free_too)
		return claim_free(applicant->endpoint.protocol, position, wanted);
	if (owner_state(owner) != SLOT_EIM ||
	    !swap_owner(slot, owner, with_state(owner, SLOT_DYING)))
		return 0;
	if (!is_overdue(applicant->config, slot, applicant->now, GRACE_TICKS, pressure)) {
		publish_owner(slot, owner);
		return 0;
	}
	end_own_mapping(applicant->config, slot, index, owner, applicant->now);
	count_event(DIRECTION_46, REASON_MAPPING_RECLAIMED);
	if (pressure)
		count_event(DIRECTION_46, REASON_EARLY_RECLAIMED);
	publish_owner(slot, wanted);
	return slot;
}

#endif
