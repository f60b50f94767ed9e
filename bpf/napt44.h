/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* NAPT44: the mappings, whose they are, and how long they live (docs/napt44.md).
 *
 * A slot is the truth about a port: its position is the port, its owner word says whose. A flow
 * is the same for one endpoint and one remote on a shared port. Hashes are only indexes into
 * them; each hit is checked against the owner word.
 *
 * Only packets from the LAN keep a mapping alive (RFC 4787 REQ-6): a stranger cannot hold a
 * port. A packet from the first peer that changes the connection's state restarts the clock,
 * so that a reset after a long silence leaves the 4 minutes of RFC 7857 section 2.2.
 *
 * Time: a mapping is live while its age is at most its timeout; another endpoint may take the
 * port over when the age exceeds that by GRACE_TICKS. In the tick between, and until it is
 * taken over, its owner alone can revive it: no packet still uses a port as it changes hands.
 */
#ifndef MAPXDP_NAPT44_H
#define MAPXDP_NAPT44_H

#include "config.h"
#include "counters.h"
#include "mapping_state.h"
#include "packet.h"
#include "port_set.h"

enum { GRACE_TICKS = 1 };

#define OWNER_ENDPOINT_MASK ((1ULL << OWNER_STATE_SHIFT) - 1)

/* Who sends, from which endpoint of the LAN, to whom, and when. */
struct applicant {
	const struct config *config;
	const struct transport *transport;
	struct endpoint endpoint;
	__u64 peer; /* as in struct mapping */
	__u32 now;
};

INLINE __u64 owner_word(const struct endpoint *endpoint, enum slot_state state)
{
	return (__u64)endpoint->ipv4 | (__u64)endpoint->port << OWNER_PORT_SHIFT |
	       (__u64)state << OWNER_STATE_SHIFT;
}

INLINE enum slot_state owner_state(__u64 owner)
{
	return (owner >> OWNER_STATE_SHIFT) & 0xff;
}

INLINE __u64 with_state(__u64 owner, enum slot_state state)
{
	return (owner & OWNER_ENDPOINT_MASK) | (__u64)state << OWNER_STATE_SHIFT;
}

INLINE struct endpoint endpoint_of(__u64 owner, __u32 protocol)
{
	struct endpoint endpoint = {
		.ipv4 = owner,
		.port = owner >> OWNER_PORT_SHIFT,
		.protocol = protocol,
	};

	return endpoint;
}

INLINE struct mapping *slot_at(__u32 index)
{
	return kernel_map_lookup(MAP(slots), &index);
}

/* True if `mapping` was `owner`'s and is now `wanted`'s. */
INLINE _Bool swap_owner(struct mapping *mapping, __u64 owner, __u64 wanted)
{
	return __sync_val_compare_and_swap(&mapping->owner, owner, wanted) == owner;
}

/* Fields written before are seen by whoever sees the new owner. */
INLINE void publish_owner(struct mapping *mapping, __u64 owner)
{
	__sync_lock_test_and_set(&mapping->owner, owner);
}

INLINE __s32 timeout_of(const struct config *config, const struct mapping *mapping,
			enum pressure pressure)
{
	__u32 class = READ_ONCE(mapping->timeout_class) & (TIMEOUT_CLASSES - 1);
	__u32 flags = READ_ONCE(mapping->flags) & (FLAG_COMBINATIONS - 1);
	__u32 entry = (__u32)pressure * TIMEOUTS + class * FLAG_COMBINATIONS + flags;

	return config->timeout[entry & (PRESSURES * (TIMEOUTS + 0) - 1)];
}

/* True if nothing kept the mapping alive for more than its timeout and `grace` ticks. Without
 * branches, for the loops that call it; a CPU whose tick is behind sees a negative age. */
INLINE _Bool is_overdue(const struct config *config, const struct mapping *mapping, __u32 now,
			__s32 grace, enum pressure pressure)
{
	__s32 limit = timeout_of(config, mapping, pressure) + grace;
	__s32 since_46 = now - READ_ONCE(mapping->tick_46);
	__s32 since_64 = now - READ_ONCE(mapping->tick_64);

	return (__u32)((limit - since_46) & (limit - since_64)) >> 31;
}

/* Flags change rarely; two CPUs may change different ones at the same time. */
INLINE void set_flags(struct mapping *mapping, __u64 from, __u64 to)
{
	if (to & ~from)
		__sync_fetch_and_or(&mapping->flags, to & ~from);
	if (from & ~to)
		__sync_fetch_and_and(&mapping->flags, ~(from & ~to));
}

INLINE struct mapping_state state_of(const struct mapping *mapping)
{
	struct mapping_state state = {
		.flags = READ_ONCE(mapping->flags),
		.peer = READ_ONCE(mapping->peer),
	};

	return state;
}

INLINE void note_packet_46(struct mapping *mapping, const struct applicant *applicant)
{
	struct mapping_state old = state_of(mapping);
	struct mapping_state new = mapping_after_46(old, applicant->transport, applicant->peer);

	if (READ_ONCE(mapping->tick_46) != applicant->now)
		WRITE_ONCE(mapping->tick_46, applicant->now);
	if (new.peer != old.peer)
		WRITE_ONCE(mapping->peer, new.peer);
	set_flags(mapping, old.flags, new.flags);
}

INLINE void note_packet_64(struct mapping *mapping, const struct transport *transport, __u64 peer,
			   __u32 now)
{
	struct mapping_state old = state_of(mapping);
	struct mapping_state new = mapping_after_64(old, transport, peer);

	if (new.flags != old.flags)
		WRITE_ONCE(mapping->tick_64, now);
	set_flags(mapping, old.flags, new.flags);
}

/* A mapping's fields at its first packet. It is exclusively ours. */
INLINE void begin_mapping(struct mapping *mapping, const struct applicant *applicant)
{
	WRITE_ONCE(mapping->tick_46, applicant->now);
	WRITE_ONCE(mapping->tick_64, applicant->now);
	WRITE_ONCE(mapping->created, applicant->now);
	WRITE_ONCE(mapping->peer, applicant->peer);
	WRITE_ONCE(mapping->flags, first_flags(applicant->transport));
	WRITE_ONCE(mapping->timeout_class, timeout_class_of(applicant->transport, applicant->peer));
	/* What was permitted to those before is forbidden again. */
	WRITE_ONCE(mapping->generation, mapping->generation + 1);
}

/* The owner of an expired mapping sends again before anyone took its port. */
INLINE _Bool revive(struct mapping *mapping, __u64 owner, const struct applicant *applicant)
{
	if (!swap_owner(mapping, owner, with_state(owner, SLOT_DYING)))
		return 0;
	begin_mapping(mapping, applicant);
	publish_owner(mapping, owner);
	count_event(DIRECTION_46, REASON_MAPPING_REVIVED);
	return 1;
}

#endif
