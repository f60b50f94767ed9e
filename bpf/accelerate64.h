/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which packets from the domain may take a shortcut. They are read and proved as all others are
 * (translate64.h); only the LAN endpoint is the shortcut's. Nothing is written here, and no hook is
 * named. */
#ifndef MAPXDP_ACCELERATE64_H
#define MAPXDP_ACCELERATE64_H

#include "accelerate46.h"
#include "translate64.h"

INLINE struct shortcut *shortcut_64(const struct config *config, const struct transport *transport,
				    __be32 source)
{
	struct shortcut_key key =
		shortcut_key(transport->index, config->ipv4, transport->destination_port, source,
			     transport->source_port);

	return find_shortcut(MAP(shortcuts_64), config, &key);
}

/* MAP-T: whether the packet takes a shortcut. */
INLINE struct shortcut *translated_shortcut_64(const struct config *config, const void *data,
					       const void *end, __u32 offset, __u32 available,
					       struct translated_64 *packet)
{
	__u32 rule;

	if (read_translated_64(config, data, end, offset, available, packet, &rule) ||
	    packet->ipv6.hop_limit <= LAST_HOP || !is_simple_transport(&packet->transport) ||
	    check_translated_ends(config, rule, packet))
		return 0;
	return shortcut_64(config, &packet->transport, packet->ends.source);
}

/* MAP-E and lw4o6. */
INLINE struct shortcut *encapsulated_shortcut_64(const struct config *config, const void *data,
						 const void *end, __u32 offset, __u32 available,
						 struct encapsulated_64 *packet)
{
	__u32 rule;

	if (read_encapsulated_64(config, data, end, offset, available, packet, &rule) ||
	    packet->inner.header.ttl <= LAST_HOP || has_options(&packet->inner.header) ||
	    !is_simple_transport(&packet->transport) || check_inner_ends(config, rule, packet))
		return 0;
	return shortcut_64(config, &packet->transport, packet->ends.source);
}

/* Once a tick: the kernel's routes, and whether the remote may still enter. */
INLINE _Bool check_64(void *context, const struct config *config, struct routed packet, __u32 now,
		      struct shortcut *shortcut, const struct mapping *mapping)
{
	__u64 peer = remote_of(shortcut) | (__u64)remote_port_of(shortcut) << OWNER_PORT_SHIFT;

	if (!leads_where_it_did(context, shortcut, packet))
		return 0;
	return shortcut->owner_state != SLOT_EIM ||
	       may_enter(config, mapping, shortcut->mapping, shortcut->protocol, peer, now);
}

/* Whether the shortcut may be taken by an IPv4 packet that will be `length` octets long, each piece
 * of it. It becomes the LAN endpoint's. */
INLINE _Bool takes_shortcut_64(void *context, const struct config *config, __u32 came_in,
			       __u32 length, __u8 tos, struct shortcut *shortcut,
			       struct downstream_ends *ends)
{
	struct routed packet = {
		.source = ends->source,
		.destination = shortcut->host,
		.came_in = came_in,
		.tos = tos,
	};
	__u32 now = current_tick(config);
	struct mapping *mapping = usable_mapping(shortcut, shortcut->translated_port, now);

	if (!mapping)
		return 0;
	if (is_to_be_checked(shortcut, now) &&
	    !note_check(shortcut, check_64(context, config, packet, now, shortcut, mapping), now))
		return 0;
	if (length > shortcut->mtu)
		return 0;
	ends->endpoint.ipv4 = shortcut->host;
	ends->endpoint.port = shortcut->translated_port;
	return 1;
}

#endif
