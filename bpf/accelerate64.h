/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which packets from the domain may take a shortcut. They are read and proved as all others are
 * (translate64.h), but for what the packets of their connection have proved that the shortcut was
 * learnt from: its addresses and ports. The LAN endpoint is the shortcut's. Nothing is written here,
 * and no hook is named. */
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

/* A packet that may take a shortcut, which, and the IPv4 packet that it will be. */
struct accelerated_64 {
	union {
		struct translated_64 translated;
		struct encapsulated_64 encapsulated;
	};
	struct shortcut *shortcut;
	__u64 pseudo_header; /* sum of the one that the checksum covers as it comes */
	__u32 length;
	__u8 tos;
};

/* How a mode reads a packet; false where it is the kernel's. */
typedef _Bool (*read_step_64)(const struct config *config, const void *data, const void *end,
			      __u32 offset, __u32 available, struct accelerated_64 *down);

/* Where a mode has what every packet has. */
struct mode_64 {
	read_step_64 read;
	struct transport *(*transport)(struct accelerated_64 *down);
	struct downstream_ends *(*ends)(struct accelerated_64 *down);
};

INLINE _Bool read_translated(const struct config *config, const void *data, const void *end,
			     __u32 offset, __u32 available, struct accelerated_64 *down)
{
	struct translated_64 *packet = &down->translated;
	const struct ipv6_view *ipv6 = &packet->ipv6;
	__u32 rule;

	if (read_translated_64(config, data, end, offset, available, packet, &rule) ||
	    ipv6->hop_limit <= LAST_HOP || !is_simple_transport(&packet->transport))
		return 0;
	packet->ends.source = ipv4_of_translated(config, rule, ipv6->source);
	if (check_source_64(rule, ipv6->source, packet->ends.source, packet->transport.source_port))
		return 0;
	down->shortcut = shortcut_64(config, &packet->transport, packet->ends.source);
	down->pseudo_header = sum_ipv6(ipv6->source) + sum_ipv6(ipv6->destination) +
			      net16(ipv6->payload_length) + net16(ipv6->next_header);
	down->length = ipv4_length_from_ipv6(ipv6);
	down->tos = ipv6->traffic_class;
	return down->shortcut;
}

INLINE _Bool read_encapsulated(const struct config *config, const void *data, const void *end,
			       __u32 offset, __u32 available, struct accelerated_64 *down)
{
	struct encapsulated_64 *packet = &down->encapsulated;
	__u32 rule;

	if (read_encapsulated_64(config, data, end, offset, available, packet, &rule) ||
	    packet->inner.header.ttl <= LAST_HOP || has_options(&packet->inner.header) ||
	    is_header_damaged(&packet->inner.header) || !is_simple_transport(&packet->transport))
		return 0;
	packet->ends.source = packet->inner.header.source;
	if (check_source_64(rule, packet->outer.source, packet->ends.source,
			    packet->transport.source_port))
		return 0;
	down->shortcut = shortcut_64(config, &packet->transport, packet->ends.source);
	down->pseudo_header = pseudo_header_ipv4(&packet->inner);
	down->length = packet->inner.total_length;
	down->tos = packet->tos;
	return down->shortcut;
}

INLINE struct transport *transport_of_translated(struct accelerated_64 *down)
{
	return &down->translated.transport;
}

INLINE struct downstream_ends *ends_of_translated(struct accelerated_64 *down)
{
	return &down->translated.ends;
}

INLINE struct transport *transport_of_encapsulated(struct accelerated_64 *down)
{
	return &down->encapsulated.transport;
}

INLINE struct downstream_ends *ends_of_encapsulated(struct accelerated_64 *down)
{
	return &down->encapsulated.ends;
}

/* MAP-T. */
INLINE struct mode_64 mode_translated(void)
{
	struct mode_64 mode = {
		.read = read_translated,
		.transport = transport_of_translated,
		.ends = ends_of_translated,
	};

	return mode;
}

/* MAP-E and lw4o6. */
INLINE struct mode_64 mode_encapsulated(void)
{
	struct mode_64 mode = {
		.read = read_encapsulated,
		.transport = transport_of_encapsulated,
		.ends = ends_of_encapsulated,
	};

	return mode;
}

/* The headers that a packet will have, one hop later. */
INLINE void make_translated(const struct config *config, const void *data, const void *end,
			    struct accelerated_64 *down, struct translation_64 *out)
{
	down->translated.ipv6.hop_limit--;
	translate_64(config, data, end, &down->translated, kernel_random(), out);
}

INLINE void make_encapsulated(const struct config *config, const void *data, const void *end,
			      struct accelerated_64 *down, struct decapsulation_64 *out)
{
	count_hop(&down->encapsulated.inner.header);
	decapsulate_64(config, data, end, &down->encapsulated, out);
}

/* Once a tick: the mapping, the kernel's routes, and whether the remote may still enter. */
INLINE _Bool check_64(void *context, const struct config *config, struct routed packet, __u32 now,
		      struct shortcut *shortcut)
{
	const struct mapping *mapping = unchanged_mapping(shortcut, shortcut->translated_port);
	__u64 peer = remote_of(shortcut) | (__u64)remote_port_of(shortcut) << OWNER_PORT_SHIFT;

	if (!mapping || !leads_where_it_did(context, shortcut, packet))
		return 0;
	return shortcut->owner_state != SLOT_EIM ||
	       may_enter(config, mapping, shortcut->mapping, shortcut->protocol, peer, now);
}

/* Whether the shortcut may be taken by an IPv4 packet that will be `length` octets long, each piece
 * of it. It becomes the LAN endpoint's. */
INLINE _Bool takes_shortcut_64(void *context, const struct config *config, __u32 came_in,
			       __u32 length, const struct accelerated_64 *down,
			       struct downstream_ends *ends)
{
	struct shortcut *shortcut = down->shortcut;
	struct routed packet = {
		.source = ends->source,
		.destination = shortcut->host,
		.came_in = came_in,
		.tos = down->tos,
	};
	__u32 now = current_tick(config);

	if (!is_usable(shortcut, now))
		return 0;
	if (is_to_be_checked(shortcut, now) &&
	    !note_check(shortcut, check_64(context, config, packet, now, shortcut), now))
		return 0;
	if (length > shortcut->mtu)
		return 0;
	ends->endpoint.ipv4 = shortcut->host;
	ends->endpoint.port = shortcut->translated_port;
	return 1;
}

#endif
