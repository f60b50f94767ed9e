/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* NAPT44 of packets from the WAN: the LAN endpoint behind a port of the set. */
#ifndef MAPXDP_NAPT44_64_H
#define MAPXDP_NAPT44_64_H

#include "filtering.h"
#include "napt44_flow.h"

/* What was asked of a port: by which packet, from which remote, when. */
struct caller {
	const struct config *config;
	const struct transport *transport;
	__u64 peer; /* as in struct mapping */
	__u32 now;
};

INLINE enum reason owner_of_flow(const struct caller *caller, __u32 slot_index,
				 struct endpoint *endpoint)
{
	__u32 protocol = caller->transport->index;
	__u32 index = flow_lookup(flow_key_64(slot_index, protocol, caller->peer));
	struct mapping *flow;
	__u64 owner;

	if (index == NOWHERE)
		return REASON_FILTERED;
	flow = flow_at(index);
	if (!flow)
		return REASON_FILTERED;
	owner = READ_ONCE(flow->owner);
	if (owner_state(owner) != SLOT_FLOW || READ_ONCE(flow->slot) != slot_index ||
	    READ_ONCE(flow->peer) != caller->peer ||
	    is_overdue(caller->config, flow, caller->now, GRACE_TICKS, PRESSURE_NONE))
		return REASON_FILTERED;
	if (is_overdue(caller->config, flow, caller->now, 0, PRESSURE_NONE))
		return REASON_MAPPING_EXPIRED;
	note_packet_64(flow, caller->transport, caller->peer, caller->now);
	*endpoint = endpoint_of(owner, protocol);
	return REASON_TRANSLATED;
}

INLINE enum reason owner_of_port(const struct caller *caller, struct mapping *slot,
				 __u32 slot_index)
{
	if (is_overdue(caller->config, slot, caller->now, 0, PRESSURE_NONE))
		return REASON_MAPPING_EXPIRED;
	if (!may_enter(caller->config, slot, slot_index, caller->transport->index, caller->peer,
		       caller->now))
		return REASON_FILTERED;
	note_packet_64(slot, caller->transport, caller->peer, caller->now);
	return REASON_TRANSLATED;
}

/* The endpoint behind the packet's destination port, which is in the set. */
INLINE enum reason endpoint_behind(const struct caller *caller, struct endpoint *endpoint)
{
	struct port_set set = port_set_of(caller->config);
	__u32 position = slot_of_port(&set, caller->transport->destination_port);
	__u32 slot_index = caller->transport->index * SLOTS + position;
	enum reason reason = REASON_TRANSLATED;
	struct mapping *slot;
	__u64 owner;

	if (position >= SLOTS)
		return REASON_PORT_OUTSIDE_SET;
	slot = slot_at(slot_index);
	if (!slot)
		return REASON_PORT_OUTSIDE_SET;
	owner = READ_ONCE(slot->owner);
	switch (owner_state(owner)) {
	case SLOT_DYING:
		/* A shared port that somebody looks at, to free it, may still have flows. */
		if (owner & OWNER_ENDPOINT_MASK)
			return REASON_NO_MAPPING;
		return owner_of_flow(caller, slot_index, endpoint);
	case SLOT_SHARED:
		return owner_of_flow(caller, slot_index, endpoint);
	case SLOT_EIM:
		reason = owner_of_port(caller, slot, slot_index);
		break;
	case SLOT_STATIC:
		note_packet_64(slot, caller->transport, caller->peer, caller->now);
		break;
	default:
		return REASON_NO_MAPPING;
	}
	*endpoint = endpoint_of(owner, caller->transport->index);
	return reason;
}

#endif
