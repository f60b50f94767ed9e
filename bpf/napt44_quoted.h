/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* NAPT44 of quoted packets: whose they are, and nothing more. An error keeps no mapping alive,
 * ends none, and is not filtered by who sent it (RFC 5508 REQ-6, RFC 4787 REQ-12). */
#ifndef MAPXDP_NAPT44_QUOTED_H
#define MAPXDP_NAPT44_QUOTED_H

#include "napt44_64.h"
#include "napt44_own.h"
#include "quote.h"
#include "translate46.h"

INLINE __u64 quoted_peer(const struct quoted_transport *transport, __be32 ipv4, __u16 port)
{
	__u64 peer_port = transport->index == INDEX_ICMP ? 0 : port;

	return ipv4 | peer_port << OWNER_PORT_SHIFT;
}

/* A flow that is in use: the owner's endpoint and state. 0 where there is none. */
INLINE __u64 owner_of_quoted_flow(const struct config *config, struct flow_key key, __u64 peer,
				  __u32 now, __u32 *slot_index)
{
	__u32 index = flow_lookup(key);
	struct mapping *flow;
	__u64 owner;

	if (index == NOWHERE)
		return 0;
	flow = flow_at(index);
	if (!flow)
		return 0;
	owner = READ_ONCE(flow->owner);
	*slot_index = READ_ONCE(flow->slot);
	if (owner_state(owner) != SLOT_FLOW || READ_ONCE(flow->peer) != peer ||
	    is_overdue(config, flow, now, 0, PRESSURE_NONE))
		return 0;
	return owner;
}

/* The endpoint that has sent to `peer` from `port`, which is in the set. */
INLINE enum reason quoted_sender(const struct config *config, __u32 protocol, __u16 port,
				 __u64 peer, struct endpoint *endpoint)
{
	struct port_set set = port_set_of(config);
	__u32 position = slot_of_port(&set, port);
	__u32 slot_index = protocol * SLOTS + position;
	__u32 now = current_tick(config);
	__u32 flow_slot = NOWHERE;
	struct mapping *slot;
	__u64 owner;

	if (position >= SLOTS)
		return REASON_NO_MAPPING;
	slot = slot_at(slot_index);
	if (!slot)
		return REASON_NO_MAPPING;
	owner = READ_ONCE(slot->owner);
	if (owner_state(owner) == SLOT_EIM) {
		if (is_overdue(config, slot, now, 0, PRESSURE_NONE))
			return REASON_NO_MAPPING;
	} else if (owner_state(owner) != SLOT_STATIC) {
		/* A shared port that somebody looks at, to free it, may still have flows. */
		owner = owner_of_quoted_flow(config, flow_key_64(slot_index, protocol, peer), peer,
					     now, &flow_slot);
		if (!owner || flow_slot != slot_index)
			return REASON_NO_MAPPING;
	}
	*endpoint = endpoint_of(owner, protocol);
	return REASON_TRANSLATED;
}

/* The port of the applicant's own that is in use. */
INLINE _Bool quoted_own_port(const struct applicant *applicant, __u16 *port)
{
	struct port_set set = port_set_of(applicant->config);
	__u32 index = 0;
	struct mapping *slot = indexed_slot(applicant, &index);
	__u64 owner;

	if (!slot)
		return 0;
	owner = READ_ONCE(slot->owner);
	if (owner == owner_word(&applicant->endpoint, SLOT_EIM)) {
		if (is_overdue(applicant->config, slot, applicant->now, 0, PRESSURE_NONE))
			return 0;
	} else if (owner != owner_word(&applicant->endpoint, SLOT_STATIC)) {
		return 0;
	}
	*port = port_of_slot(&set, index - applicant->endpoint.protocol * SLOTS);
	return 1;
}

/* The port of the applicant's flow to its peer that is in use. */
INLINE _Bool quoted_flow_port(const struct applicant *applicant, __u16 *port)
{
	struct port_set set = port_set_of(applicant->config);
	__u32 slot_index = 0;
	__u64 owner = owner_of_quoted_flow(applicant->config,
					   flow_key_46(&applicant->endpoint, applicant->peer),
					   applicant->peer, applicant->now, &slot_index);

	if (owner != owner_word(&applicant->endpoint, SLOT_FLOW))
		return 0;
	*port = port_of_slot(&set, slot_index - applicant->endpoint.protocol * SLOTS);
	return 1;
}

/* The port that the endpoint which got the quoted packet is known by to `peer`, its sender. */
INLINE enum reason quoted_receiver(const struct config *config, const struct endpoint *endpoint,
				   __u64 peer, __u16 *port)
{
	struct applicant applicant = {
		.config = config,
		.endpoint = *endpoint,
		.peer = peer,
		.now = current_tick(config),
	};

	if (is_shared_first(&applicant)) {
		if (quoted_flow_port(&applicant, port) || quoted_own_port(&applicant, port))
			return REASON_TRANSLATED;
	} else if (quoted_own_port(&applicant, port) || quoted_flow_port(&applicant, port)) {
		return REASON_TRANSLATED;
	}
	return REASON_NO_MAPPING;
}

/* 64: who sent the quoted packet, whose source is this CE's; `ends` become his. */
INLINE enum reason find_quoted_sender(const struct config *config,
				      const struct quoted_transport *transport,
				      struct quoted_ends *ends)
{
	struct port_set set = port_set_of(config);
	struct endpoint endpoint;
	enum reason reason;

	if (config->napt44 == NAPT44_NONE)
		return REASON_TRANSLATED;
	if (config->napt44 == NAPT44_NETFILTER) {
		give_source_port(transport, virtual_of_port(config, &set, transport->source_port),
				 ends);
		return REASON_TRANSLATED;
	}
	reason = quoted_sender(
		config, transport->index, transport->source_port,
		quoted_peer(transport, ends->destination, transport->destination_port), &endpoint);
	if (reason)
		return reason;
	ends->source = endpoint.ipv4;
	give_source_port(transport, endpoint.port, ends);
	return REASON_TRANSLATED;
}

/* 46: who got the quoted packet; `ends` become those that the sender knows. */
INLINE enum reason find_quoted_receiver(const struct config *config,
					const struct quoted_transport *transport,
					struct quoted_ends *ends)
{
	struct port_set set = port_set_of(config);
	struct endpoint endpoint = {
		.ipv4 = ends->destination,
		.port = transport->destination_port,
		.protocol = transport->index,
	};
	__u16 port = transport->destination_port;
	enum reason reason;

	if (config->napt44 == NAPT44_BPF) {
		reason = quoted_receiver(
			config, &endpoint,
			quoted_peer(transport, ends->source, transport->source_port), &port);
		if (reason)
			return reason;
		ends->destination = config->ipv4;
		give_destination_port(transport, port, ends);
		return REASON_TRANSLATED;
	}
	if (!is_own_ipv4(config, ends->destination))
		return REASON_SOURCE_NOT_OURS;
	if (config->napt44 == NAPT44_NONE)
		return port_in_set(&set, port) ? REASON_TRANSLATED : REASON_PORT_OUTSIDE_SET;
	if (!port_of_virtual(config, &set, transport->destination_port, &port))
		return REASON_VIRTUAL_PORT;
	give_destination_port(transport, port, ends);
	return REASON_TRANSLATED;
}

/* From this CE's address to a port of its own: the sender of the quoted packet is in the LAN, too
 * (RFC 5508 REQ-7). */
INLINE _Bool is_hairpinned_quote(const struct config *config, const struct ipv4_header *outer,
				 const struct quote4 *quote)
{
	struct port_set set = port_set_of(config);

	return config->napt44 == NAPT44_BPF && quote->transport.index != INDEX_ICMP &&
	       outer->destination == config->ipv4 && quote->header.source == config->ipv4 &&
	       port_in_set(&set, quote->transport.source_port);
}

#endif
