/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* New flows: a shared port for one endpoint and one remote (docs/napt44.md, step 6).
 *
 * An endpoint looks for shared ports from its home on, a keyed hash of it, so that it keeps one
 * external port towards all its remotes where possible. Which ports are shared is read from the
 * pool's bitmap; whether a port is used towards this remote, from the index of flows. */
#ifndef MAPXDP_NAPT44_SHARE_H
#define MAPXDP_NAPT44_SHARE_H

#include "napt44_alloc.h"

#define SHARED_OWNER ((__u64)SLOT_SHARED << OWNER_STATE_SHIFT)

/* Mixes 64 bits so that each depends on all; not for secrets, the key in it is. */
INLINE __u64 mixed(__u64 x)
{
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ULL;
	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ULL;
	x ^= x >> 32;
	return x;
}

INLINE __u64 endpoint_hash(const struct applicant *applicant)
{
	__u64 key = applicant->config->hash_key;

	return mixed(key ^ mixed(key + owner_word(&applicant->endpoint, 0) +
				 ((__u64)applicant->endpoint.protocol << OWNER_STATE_SHIFT)));
}

INLINE __u32 home_of(const struct applicant *applicant)
{
	return (endpoint_hash(applicant) >> 32) * applicant->config->port_count >> 32;
}

/* Remotes for which no port was left in this tick: for anybody, or (with a host) because of a
 * limit of that host. What ports there are goes into the hash, and what hosts have lost: the gate
 * opens when it changes. */
INLINE __u64 gate_hash(const struct applicant *applicant, __be32 host)
{
	struct pool *pool = the_pool();
	__u32 index = applicant->endpoint.protocol;
	__u64 who = applicant->peer ^ (__u64)index << OWNER_STATE_SHIFT;
	__u64 ports = READ_ONCE(*count_of(pool->shared_count, index)) << 32 ^
		      READ_ONCE(*count_of(pool->used, index));

	who = mixed(applicant->config->hash_key ^ who) + READ_ONCE(pool->released);
	return mixed(who ^ ports ^ (__u64)host << 16);
}

INLINE __u64 gate_word(__u64 hash, __u32 now)
{
	return (hash & ~0xffffffffULL) | now;
}

INLINE _Bool is_gated(const struct applicant *applicant, __be32 host)
{
	__u64 hash = gate_hash(applicant, host);

	return READ_ONCE(the_pool()->gate[hash & (GATES - 1)]) == gate_word(hash, applicant->now);
}

INLINE void set_gate(const struct applicant *applicant, __be32 host)
{
	__u64 hash = gate_hash(applicant, host);

	WRITE_ONCE(the_pool()->gate[hash & (GATES - 1)], gate_word(hash, applicant->now));
}

/* A place for the flow, or whose expired flow stands in it. */
struct place {
	__u32 position; /* NOWHERE: none in this word */
	__u32 victim;	/* a flow to release first; NOWHERE: none */
};

/* Progress of the search for a shared port, over several program runs: a word of the bitmap
 * each. */
struct share_scan {
	__u32 position;	  /* where it goes on */
	__u32 words_done; /* words it has left behind */
	enum pressure pressure;
};

/* The first word with a shared port, from `first` on; NOWHERE where there is none. */
INLINE __u32 next_shared_word(__u32 index, __u32 first, __u32 words)
{
	__u32 number = NOWHERE;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < SEARCH_WORDS; i++) {
		const __u64 *word;

		OPAQUE(words);
		if (i >= words)
			return NOWHERE;
		number = position_after(first, i, words) & WORD_MASK;
		word = shared_word(index, number);
		if (!word)
			return NOWHERE;
		if (READ_ONCE(*word))
			break;
	}
	return number;
}

/* The first of the ports in `bits`, of this word, that has no flow to the applicant's peer, or an
 * expired one. */
INLINE struct place find_in_word(const struct applicant *applicant, __u32 number, __u64 bits,
				 enum pressure pressure)
{
	__u32 index = applicant->endpoint.protocol;
	struct place place = {.position = NOWHERE, .victim = NOWHERE};

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < WORD_BITS && bits; i++) {
		__u32 position = (number * WORD_BITS + lowest_bit(bits)) & PORT_MASK;
		struct mapping *flow;

		bits &= bits - 1;
		place.position = position;
		place.victim =
			flow_lookup(flow_key_64(index * SLOTS + position, index, applicant->peer));
		if (place.victim == NOWHERE)
			break;
		flow = flow_at(place.victim);
		if (flow &&
		    is_overdue(applicant->config, flow, applicant->now, GRACE_TICKS, pressure))
			break;
		place.victim = NOWHERE;
		place.position = NOWHERE;
	}
	return place;
}

/* The same in the next word that has shared ports; `scan` is moved on. */
INLINE struct place find_shared_port(const struct applicant *applicant, struct share_scan *scan)
{
	__u32 index = applicant->endpoint.protocol;
	__u32 words = (applicant->config->port_count + WORD_BITS - 1) / WORD_BITS;
	__u32 first = scan->position / WORD_BITS;
	__u32 number = next_shared_word(index, first, words);
	__u64 *word = shared_word(index, number);
	struct place place = {.position = NOWHERE, .victim = NOWHERE};
	__u64 bits;

	if (!word) {
		scan->words_done = words + 1;
		return place;
	}
	bits = READ_ONCE(*word);
	if (number == first)
		bits &= ~0ULL << (scan->position & 63);
	place = find_in_word(applicant, number, bits, scan->pressure);
	scan->words_done += distance_to(number, first, words) + 1;
	scan->position = position_after(number, 1, words) * WORD_BITS;
	return place;
}

/* Where a flow is in the table means nothing: those that one CPU makes lie close together, for
 * its cache, and apart from those of others, which look for a place at the same moment. */
INLINE __u32 find_free_flow(void)
{
	__u32 cpu = kernel_cpu() & (FLOW_HINTS - 1);
	__u64 *hint = &the_pool()->flow_hint[cpu];
	__u32 first = READ_ONCE(*hint) + cpu * (FLOW_WORDS / FLOW_HINTS);
	__u32 number = 0;
	__u64 free = 0;

#pragma clang loop unroll(disable)
	for (__u32 i = 0; i < FLOW_SEARCH_WORDS; i++) {
		const __u64 *word;

		number = (first + i) & (FLOW_WORDS - 1);
		word = flow_word(number);
		if (!word)
			return NOWHERE;
		free = ~READ_ONCE(*word);
		if (free)
			break;
	}
	if (!free)
		return NOWHERE;
	if (number != (first & (FLOW_WORDS - 1)))
		WRITE_ONCE(*hint, number - cpu * (FLOW_WORDS / FLOW_HINTS));
	return (number * WORD_BITS + lowest_bit(free)) & (FLOWS - 1);
}

INLINE void give_flow_back(struct mapping *flow, __u32 flow_index)
{
	publish_owner(flow, 0);
	clear_bit(flow_word(flow_index / WORD_BITS), flow_index);
}

/* Counts a new flow in, unless the port has just been freed. */
INLINE _Bool join_slot(__u32 slot_index, __u32 protocol)
{
	struct mapping *slot = slot_at(slot_index);

	if (!slot)
		return 0;
	__sync_fetch_and_add(&slot->flow_count, 1);
	if (owner_state(READ_ONCE(slot->owner)) == SLOT_SHARED)
		return 1;
	leave_slot(slot_index, protocol);
	return 0;
}

/* Inserts both index entries, or none. */
INLINE enum allocation insert_flow(const struct applicant *applicant, __u32 slot_index,
				   __u32 flow_index)
{
	__u32 index = applicant->endpoint.protocol;
	struct flow_key claim = flow_key_64(slot_index, index, applicant->peer);
	long error = flow_insert(claim, flow_index);

	if (error == INSERT_OK) {
		error = flow_insert(flow_key_46(&applicant->endpoint, applicant->peer), flow_index);
		if (error == INSERT_OK)
			return ALLOCATED;
		flow_forget(claim);
	}
	return error == INSERT_EXISTS ? ALLOCATION_RETRY : ALLOCATION_INDEX_FULL;
}

/* Makes the free flow at `flow_index` one on the shared port at `position`, on which a place is
 * kept for it already if it has `joined`. */
INLINE enum allocation establish_flow(const struct applicant *applicant, __u32 flow_index,
				      __u32 position, _Bool joined, __u16 *port)
{
	struct port_set set = port_set_of(applicant->config);
	__u32 index = applicant->endpoint.protocol;
	__u32 slot_index = index * SLOTS + position;
	struct mapping *flow = flow_at(flow_index);
	enum allocation result;

	if (!joined && !join_slot(slot_index, index))
		return ALLOCATION_RETRY;
	if (!flow) {
		leave_slot(slot_index, index);
		return ALLOCATION_FLOWS_FULL;
	}
	set_bit(flow_word(flow_index / WORD_BITS), flow_index);
	if (!swap_owner(flow, 0, owner_word(&applicant->endpoint, SLOT_CLAIMED))) {
		leave_slot(slot_index, index);
		return ALLOCATION_RETRY;
	}
	begin_mapping(flow, applicant);
	WRITE_ONCE(flow->slot, slot_index);
	result = insert_flow(applicant, slot_index, flow_index);
	if (result != ALLOCATED) {
		leave_slot(slot_index, index);
		give_flow_back(flow, flow_index);
		return result;
	}
	count_flow(applicant->endpoint.ipv4, 1);
	publish_owner(flow, owner_word(&applicant->endpoint, SLOT_FLOW));
	count_event(DIRECTION_46, REASON_FLOW_CREATED);
	*port = port_of_slot(&set, position);
	log_event(applicant->config, EVENT_FLOW_MAPPED, applicant->endpoint, *port, applicant->peer,
		  applicant->now);
	return ALLOCATED;
}

/* The slot, which is ours to share, joins the pool. */
INLINE void note_shared(__u32 index, __u32 position)
{
	set_bit(shared_word(index, position / WORD_BITS), position);
	add_to(count_of(the_pool()->shared_count, index), 1);
	count_event(DIRECTION_46, REASON_PORT_SHARED);
}

INLINE _Bool pool_below_target(const struct applicant *applicant)
{
	return READ_ONCE(*count_of(the_pool()->shared_count, applicant->endpoint.protocol)) <
	       applicant->config->shared_target;
}

/* A free port from the applicant's home on becomes shared; NOWHERE where there is none. */
INLINE __u32 share_free_port(const struct applicant *applicant, __u32 position)
{
	__u32 index = applicant->endpoint.protocol;

	if (position >= SLOTS || !claim_free(index, position, SHARED_OWNER))
		return NOWHERE;
	note_shared(index, position);
	return position;
}

#endif
