/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Flows: a shared port used by one LAN endpoint towards one remote (RFC 7857 section 3).
 *
 *   FREE ── compare-and-swap ──► CLAIMED ── fill, claim (port, remote) ── exchange ──► FLOW
 *   FLOW ── compare-and-swap ──► DYING ── still expired? drop its index entries ──► FREE
 *
 * The FLOW_64 entry of the index is the claim of (port, remote): it is inserted without
 * replacing, and deleted by its flow's exclusive owner alone. A shared slot counts its flows;
 * whoever takes the count to zero frees the port. A newcomer counts itself in first and then
 * looks whether the port is still shared; a port being freed is dying first and then its count
 * is looked at: one of the two sees the other.
 */
#ifndef MAPXDP_NAPT44_FLOW_H
#define MAPXDP_NAPT44_FLOW_H

#include "event_log.h"
#include "fairness.h"
#include "napt44.h"
#include "pool.h"

INLINE struct mapping *flow_at(__u32 index)
{
	return kernel_map_lookup(MAP(flows), &index);
}

INLINE struct flow_key flow_key_46(const struct endpoint *endpoint, __u64 peer)
{
	struct flow_key key = {
		.local = endpoint->ipv4,
		.remote = peer,
		.port = endpoint->port,
		.remote_port = peer >> OWNER_PORT_SHIFT,
		.protocol = endpoint->protocol,
		.way = FLOW_46,
	};

	return key;
}

INLINE struct flow_key flow_key_64(__u32 slot_index, __u32 protocol, __u64 peer)
{
	struct flow_key key = {
		.local = slot_index,
		.remote = peer,
		.remote_port = peer >> OWNER_PORT_SHIFT,
		.protocol = protocol,
		.way = FLOW_64,
	};

	return key;
}

/* Position of a flow in the flows; NOWHERE where the index has no such key. */
INLINE __u32 flow_lookup(struct flow_key key)
{
	const __u64 *index = kernel_map_lookup(MAP(flow_index), &key);

	return index ? *index : NOWHERE;
}

INLINE long flow_insert(struct flow_key key, __u64 index)
{
	return kernel_map_update(MAP(flow_index), &key, &index, BPF_NOEXIST);
}

INLINE void flow_forget(struct flow_key key)
{
	kernel_map_delete(MAP(flow_index), &key);
}

/* The port of the applicant's flow to its peer, noted as used now; false where it has none. */
INLINE _Bool flow_port(const struct applicant *applicant, __u16 *port)
{
	struct port_set set = port_set_of(applicant->config);
	__u32 index = flow_lookup(flow_key_46(&applicant->endpoint, applicant->peer));
	struct mapping *flow;
	__u64 owner;

	if (index == NOWHERE)
		return 0;
	flow = flow_at(index);
	if (!flow)
		return 0;
	owner = READ_ONCE(flow->owner);
	if (owner != owner_word(&applicant->endpoint, SLOT_FLOW) ||
	    READ_ONCE(flow->peer) != applicant->peer)
		return 0;
	if (!is_overdue(applicant->config, flow, applicant->now, 0, PRESSURE_NONE))
		note_packet_46(flow, applicant);
	else if (is_overdue(applicant->config, flow, applicant->now, GRACE_TICKS, PRESSURE_NONE) ||
		 !may_begin(applicant->transport) || !revive(flow, owner, applicant))
		return 0;
	*port = port_of_slot(&set, READ_ONCE(flow->slot) - applicant->endpoint.protocol * SLOTS);
	return 1;
}

/* A newcomer comes and leaves again between two steps of another CPU, and that so many times in a
 * row: nobody does. */
enum { TRIES_TO_TAKE = 8 };

/* Makes a shared slot without flows dying, and exclusively ours. A newcomer that came and left
 * again meanwhile could not do it: another try is for him. */
INLINE _Bool take_unused(struct mapping *slot)
{
	const __u64 shared = (__u64)SLOT_SHARED << OWNER_STATE_SHIFT;

#pragma clang loop unroll(disable)
	for (__u32 tries = 0; tries < TRIES_TO_TAKE; tries++) {
		if (!swap_owner(slot, shared, (__u64)SLOT_DYING << OWNER_STATE_SHIFT))
			return 0;
		if (!READ_ONCE(slot->flow_count))
			return 1;
		publish_owner(slot, shared);
		if (READ_ONCE(slot->flow_count))
			return 0;
	}
	return 0;
}

/* Frees a shared port without flows. */
INLINE void unshare(struct mapping *slot, __u32 slot_index, __u32 protocol)
{
	__u32 position = slot_index - protocol * SLOTS;

	if (!take_unused(slot))
		return;
	clear_bit(shared_word(protocol, position / WORD_BITS), position);
	add_to(count_of(the_pool()->shared_count, protocol), -1);
	count_freed(protocol);
	count_event(DIRECTION_46, REASON_PORT_UNSHARED);
	publish_owner(slot, 0);
	mark_free(protocol, position);
}

/* One flow less on a port. */
INLINE void leave_slot(__u32 slot_index, __u32 protocol)
{
	struct mapping *slot = slot_at(slot_index);

	if (slot && __sync_fetch_and_add(&slot->flow_count, -1) == 1)
		unshare(slot, slot_index, protocol);
}

/* Ends a flow that is exclusively ours. */
INLINE void end_flow(const struct config *config, struct mapping *flow, __u32 index, __u64 owner,
		     __u32 now)
{
	struct port_set set = port_set_of(config);
	__u32 slot_index = READ_ONCE(flow->slot);
	__u32 protocol = slot_index / SLOTS;
	struct endpoint endpoint = endpoint_of(owner, protocol);
	__u64 peer = READ_ONCE(flow->peer);

	flow_forget(flow_key_46(&endpoint, peer));
	flow_forget(flow_key_64(slot_index, protocol, peer));
	leave_slot(slot_index, protocol);
	count_flow(endpoint.ipv4, -1);
	count_event(DIRECTION_46, REASON_FLOW_RELEASED);
	log_event(config, EVENT_FLOW_RELEASED, endpoint,
		  port_of_slot(&set, slot_index - protocol * SLOTS), peer, now);
	publish_owner(flow, 0);
	clear_bit(flow_word(index / WORD_BITS), index);
}

/* Ends a flow that is long expired. */
INLINE void release_flow(const struct config *config, __u32 index, __u32 now,
			 enum pressure pressure)
{
	struct mapping *flow = flow_at(index);
	__u64 owner;

	if (!flow)
		return;
	owner = READ_ONCE(flow->owner);
	if (owner_state(owner) != SLOT_FLOW ||
	    !swap_owner(flow, owner, with_state(owner, SLOT_DYING)))
		return;
	if (!is_overdue(config, flow, now, GRACE_TICKS, pressure)) {
		publish_owner(flow, owner);
		return;
	}
	if (pressure)
		count_event(DIRECTION_46, REASON_EARLY_RECLAIMED);
	end_flow(config, flow, index, owner, now);
}

#endif
