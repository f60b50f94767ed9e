/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* NAPT44 of established mappings: LAN endpoint -> port of the set, and back.
 *
 * A slot is the truth: its position is the port, its owner word says whose. The eim hash is
 * only an index into the slots; each hit is checked against the owner word. Mapping is
 * endpoint-independent (RFC 4787 REQ-1, RFC 5382 REQ-1), filtering too.
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

#define OWNER_STATE_SHIFT   48
#define OWNER_ENDPOINT_MASK ((1ULL << OWNER_STATE_SHIFT) - 1)

INLINE __u64 owner_word(const struct endpoint *endpoint, enum slot_state state)
{
	return (__u64)endpoint->ipv4 | (__u64)endpoint->port << 32 |
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

/* The helpers get copies: were a caller's variable to escape to them, the compiler could keep
 * nothing that lies around it in registers. */
INLINE const __u64 *eim_lookup(struct endpoint endpoint)
{
	return kernel_map_lookup(MAP(eim), &endpoint);
}

INLINE long eim_insert(struct endpoint endpoint, __u64 index)
{
	return kernel_map_update(MAP(eim), &endpoint, &index, BPF_NOEXIST);
}

INLINE void eim_delete(struct endpoint endpoint)
{
	kernel_map_delete(MAP(eim), &endpoint);
}

INLINE struct slot *slot_at(__u32 position)
{
	return kernel_map_lookup(MAP(slots), &position);
}

/* True if `slot` was `owner`'s and is now `wanted`'s. */
INLINE _Bool swap_owner(struct slot *slot, __u64 owner, __u64 wanted)
{
	return __sync_val_compare_and_swap(&slot->owner, owner, wanted) == owner;
}

/* Fields written before are seen by whoever sees the new owner. */
INLINE void publish_owner(struct slot *slot, __u64 owner)
{
	__sync_lock_test_and_set(&slot->owner, owner);
}

INLINE __s32 timeout_of(const struct config *config, __u32 index, __u64 flags)
{
	__u32 entry = index * FLAG_COMBINATIONS + (flags & (FLAG_COMBINATIONS - 1));

	return config->timeout[entry & (TIMEOUTS - 1)];
}

/* True if nothing kept the mapping alive for more than its timeout and `grace` ticks. Without
 * branches, for the loops that call it; a CPU whose tick is behind sees a negative age. */
INLINE _Bool is_overdue(const struct config *config, const struct slot *slot, __u32 index,
			__u32 now, __s32 grace)
{
	__s32 limit = timeout_of(config, index, READ_ONCE(slot->flags)) + grace;
	__s32 since_46 = now - READ_ONCE(slot->tick_46);
	__s32 since_64 = now - READ_ONCE(slot->tick_64);

	return (__u32)((limit - since_46) & (limit - since_64)) >> 31;
}

/* Flags change rarely; two CPUs may change different ones at the same time. */
INLINE void set_flags(struct slot *slot, __u64 from, __u64 to)
{
	if (to & ~from)
		__sync_fetch_and_or(&slot->flags, to & ~from);
	if (from & ~to)
		__sync_fetch_and_and(&slot->flags, ~(from & ~to));
}

INLINE void note_packet_46(struct slot *slot, const struct transport *transport, __u64 peer,
			   __u32 now)
{
	struct mapping_state old = {.flags = READ_ONCE(slot->flags), .peer = READ_ONCE(slot->peer)};
	struct mapping_state new = mapping_after_46(old, transport, peer);

	if (READ_ONCE(slot->tick_46) != now)
		WRITE_ONCE(slot->tick_46, now);
	if (new.peer != old.peer)
		WRITE_ONCE(slot->peer, new.peer);
	set_flags(slot, old.flags, new.flags);
}

INLINE void note_packet_64(struct slot *slot, const struct transport *transport, __u64 peer,
			   __u32 now)
{
	struct mapping_state old = {.flags = READ_ONCE(slot->flags), .peer = READ_ONCE(slot->peer)};
	struct mapping_state new = mapping_after_64(old, transport, peer);

	/* The peer's SYN says nothing that its first answer has not said. */
	if ((new.flags ^ old.flags) & ~(__u64)FLAG_SYN_64)
		WRITE_ONCE(slot->tick_64, now);
	set_flags(slot, old.flags, new.flags);
}

/* A mapping's fields at its first packet. The slot is exclusively ours. */
INLINE void begin_mapping(struct slot *slot, const struct transport *transport, __u64 peer,
			  __u32 now)
{
	WRITE_ONCE(slot->tick_46, now);
	WRITE_ONCE(slot->tick_64, now);
	WRITE_ONCE(slot->created, now);
	WRITE_ONCE(slot->peer, peer);
	WRITE_ONCE(slot->flags, first_flags(transport));
}

/* The owner of an expired mapping sends again before anyone took its port. */
INLINE _Bool revive(struct slot *slot, __u64 owner, const struct transport *transport, __u64 peer,
		    __u32 now)
{
	if (!swap_owner(slot, owner, with_state(owner, SLOT_DYING)))
		return 0;
	begin_mapping(slot, transport, peer, now);
	publish_owner(slot, owner);
	count_event(DIRECTION_46, REASON_MAPPING_REVIVED);
	return 1;
}

/* The port that `endpoint` already has, noted as used now; false where it has none. */
INLINE _Bool established_port(const struct config *config, const struct endpoint *endpoint,
			      const struct transport *transport, __u64 peer, __u32 now, __u16 *port)
{
	struct port_set set = port_set_of(config);
	const __u64 *position = eim_lookup(*endpoint);
	__u64 owner;
	struct slot *slot;
	__u32 index;

	if (!position)
		return 0;
	index = *position;
	slot = slot_at(index);
	if (!slot)
		return 0;
	owner = READ_ONCE(slot->owner);
	if (owner == owner_word(endpoint, SLOT_EIM)) {
		if (!is_overdue(config, slot, endpoint->protocol, now, 0))
			note_packet_46(slot, transport, peer, now);
		else if (!revive(slot, owner, transport, peer, now))
			return 0;
	} else if (owner != owner_word(endpoint, SLOT_CLAIMED)) {
		return 0; /* a stale index; a claim with our endpoint is about to be published */
	}
	*port = port_of_slot(&set, index - endpoint->protocol * SLOTS);
	return 1;
}

/* The LAN endpoint behind `port`, which is in the set. */
INLINE enum reason endpoint_behind(const struct config *config, const struct transport *transport,
				   __u64 peer, __u32 now, struct endpoint *endpoint)
{
	struct port_set set = port_set_of(config);
	__u32 position = slot_of_port(&set, transport->destination_port);
	struct slot *slot;
	__u64 owner;

	if (position >= SLOTS)
		return REASON_PORT_OUTSIDE_SET;
	slot = slot_at(transport->index * SLOTS + position);
	if (!slot)
		return REASON_PORT_OUTSIDE_SET;
	owner = READ_ONCE(slot->owner);
	if (owner_state(owner) != SLOT_EIM)
		return REASON_NO_MAPPING;
	if (is_overdue(config, slot, transport->index, now, 0))
		return REASON_MAPPING_EXPIRED;
	note_packet_64(slot, transport, peer, now);
	endpoint->ipv4 = owner;
	endpoint->port = owner >> 32;
	endpoint->protocol = transport->index;
	return REASON_TRANSLATED;
}

#endif
