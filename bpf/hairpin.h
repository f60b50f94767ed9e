/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Hairpinning (RFC 4787 REQ-9): a packet of the LAN for a port of this CE, as if it had gone to
 * the BR and come back: from the public address and the sender's port, to the endpoint behind
 * the other port. Pure; no hook is named here. */
#ifndef MAPXDP_HAIRPIN_H
#define MAPXDP_HAIRPIN_H

#include "csum.h"
#include "encapsulation.h"
#include "napt44_64.h"
#include "translate46.h"
#include "transport_change.h"

struct hairpin {
	struct ipv4_header ipv4;
	__u32 pseudo_header; /* sum of the new pseudo header without the old one */
	__u32 ports_change;  /* the same for the ports */
	__be16 ports[2];     /* source, destination */
};

/* The endpoint that the packet is for, `port` being the sender's. */
INLINE enum reason hairpin_endpoint(const struct config *config, const struct upstream *packet,
				    __u16 port, struct endpoint *endpoint)
{
	struct caller caller = {
		.config = config,
		.transport = &packet->transport,
		.peer = (__u64)config->ipv4 | (__u64)port << OWNER_PORT_SHIFT,
		.now = current_tick(config),
	};

	return endpoint_behind(&caller, endpoint);
}

INLINE void turn_around(const struct config *config, const struct upstream *packet, __u16 port,
			const struct endpoint *endpoint, struct hairpin *out)
{
	const struct ipv4_header *ipv4 = &packet->ipv4.header;
	const struct transport *transport = &packet->transport;
	__u64 old_ports = (__u64)net16(transport->source_port) + net16(transport->destination_port);

	ipv4_header_renumbered(ipv4, config->ipv4, endpoint->ipv4, ipv4->tos, &out->ipv4);
	out->pseudo_header = sum_fold32(sum_without((__u64)ipv4->source + ipv4->destination) +
					config->ipv4 + endpoint->ipv4);
	out->ports[0] = net16(port);
	out->ports[1] = net16(endpoint->port);
	out->ports_change = sum_fold32(sum_without(old_ports) + out->ports[0] + out->ports[1]);
}

#endif
