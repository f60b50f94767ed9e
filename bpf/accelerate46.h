/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Which packets from the LAN may take a shortcut, in any mode: all that a router does to a packet
 * is known of them. Nothing is written here, and no hook is named. */
#ifndef MAPXDP_ACCELERATE46_H
#define MAPXDP_ACCELERATE46_H

#include "next_hop.h"
#include "translate46.h"

/* A router lets no packet pass that would have none left (RFC 1812 section 5.3.1). */
enum { LAST_HOP = 1 };

/* A packet that may take a shortcut, and which. */
struct accelerated_46 {
	struct upstream packet;
	struct shortcut *shortcut;
};

/* RFC 1812 section 5.2.2: what a router discards. In IPv6 nobody would notice any more. */
INLINE _Bool is_header_damaged(const struct ipv4_header *ipv4)
{
	return ipv4_header_checksum(ipv4);
}

/* The router's one hop less, and the checksum of the header with it (RFC 1624). */
INLINE void count_hop(struct ipv4_header *ipv4)
{
	__u16 before = net16(ipv4->ttl << 8);

	ipv4->ttl--;
	ipv4->checksum = checksum_after(ipv4->checksum, before, net16(ipv4->ttl << 8));
}

/* The sum of the pseudo header of a whole packet without options. */
INLINE __u64 pseudo_header_ipv4(const struct ipv4_view *ipv4)
{
	__u16 length = ipv4->total_length - sizeof(ipv4->header);

	return (__u64)ipv4->header.source + ipv4->header.destination +
	       net16(ipv4->header.protocol) + net16(length);
}

/* Whether the transport checksum has been left to the card, as far as can be seen; nobody leaves
 * that of an ICMP message. */
INLINE _Bool leaves_checksum_46(const struct upstream *packet)
{
	return packet->transport.index != INDEX_ICMP &&
	       is_checksum_pending(&packet->transport, pseudo_header_ipv4(&packet->ipv4));
}

/* Octets of an IPv4 header without options, and of what is behind it. */
INLINE __u32 ip_headers(const struct upstream *packet)
{
	return sizeof(packet->ipv4.header) + packet->transport.header_length;
}

/* Octets of the longest IPv4 packet on the wire: pieces of `segment` payload octets, if not 0. */
INLINE __u32 longest_piece(__u32 total_length, __u32 headers, __u32 segment)
{
	return segment ? headers + segment : total_length;
}

/* Octets of the longest packet that leaves as it is: what may be cut is cut sooner. Without branches,
 * which the verifier would follow through all the rest. */
INLINE __u32 longest_uncut(const struct config *config, const struct upstream *packet,
			   __u32 segment)
{
	__u32 may_be = may_be_cut(packet, segment);
	__u32 limit = config->ipv4_mtu ^ ((config->ipv4_mtu ^ longest_whole(config)) & -may_be);

	OPAQUE(limit);
	return limit;
}

/* Of a connection nobody opens or closes, and with a checksum. */
INLINE _Bool is_simple_transport(struct transport *transport)
{
	if (changes_connection(transport) || lacks_checksum(transport))
		return 0;
	transport->tcp_flags = 0; /* known to the compiler */
	return 1;
}

/* Whole, without options, of a connection nobody opens or closes, and of a size to be sent. */
INLINE _Bool is_simple_46(const struct config *config, const void *data, const void *end,
			  __u32 offset, __u32 available, __u32 segment, struct upstream *packet)
{
	__u32 length;

	if (parse_ipv4(data, end, offset, available, &packet->ipv4) || packet->ipv4.is_fragment ||
	    has_options(&packet->ipv4.header) || packet->ipv4.header.ttl <= LAST_HOP ||
	    is_header_damaged(&packet->ipv4.header))
		return 0;
	packet->ipv4.is_fragment = 0; /* known to the compiler */
	if (parse_transport_ipv4(data, end, &packet->ipv4, &packet->transport) ||
	    !is_simple_transport(&packet->transport))
		return 0;
	length = longest_piece(packet->ipv4.total_length, ip_headers(packet), segment);
	return length <= longest_uncut(config, packet, segment);
}

INLINE struct shortcut *shortcut_46(const struct config *config, const struct upstream *packet)
{
	const struct transport *transport = &packet->transport;
	const struct ipv4_header *ipv4 = &packet->ipv4.header;
	struct shortcut_key key =
		shortcut_key(transport->index, ipv4->source, transport->source_port,
			     ipv4->destination, transport->destination_port);

	return find_shortcut(MAP(shortcuts_46), config, &key);
}

/* Once a tick: the mapping, which thereby lives on; the kernel's routes; and what the remote is
 * permitted by being sent to. */
INLINE _Bool check_46(void *context, const struct config *config, struct routed packet, __u32 now,
		      const struct accelerated_46 *out)
{
	struct shortcut *shortcut = out->shortcut;
	struct mapping *mapping = unchanged_mapping(shortcut, local_port_of(shortcut));
	struct applicant applicant = applicant_for(config, &out->packet);

	if (!mapping || !leads_where_it_did(context, shortcut, packet))
		return 0;
	WRITE_ONCE(mapping->tick_46, now);
	if (shortcut->owner_state == SLOT_EIM && READ_ONCE(mapping->peer) != applicant.peer)
		permit(&applicant, mapping, shortcut->mapping);
	return 1;
}

/* Whether the packet takes a shortcut; if so, it has been counted as a hop. `came_in`: an ifindex. */
INLINE _Bool takes_shortcut_46(void *context, const struct config *config, __u32 came_in,
			       __u32 segment, struct accelerated_46 *out)
{
	struct ipv4_header *ipv4 = &out->packet.ipv4.header;
	struct routed packet = {
		.source = ipv4->source,
		.destination = ipv4->destination,
		.came_in = came_in,
		.tos = ipv4->tos,
	};
	__u32 now = current_tick(config);

	if (!is_usable(out->shortcut, now))
		return 0;
	if (is_to_be_checked(out->shortcut, now) &&
	    !note_check(out->shortcut, check_46(context, config, packet, now, out), now))
		return 0;
	if (longest_piece(out->packet.ipv4.total_length, ip_headers(&out->packet), segment) >
	    out->shortcut->mtu)
		return 0;
	count_hop(ipv4);
	return 1;
}

#endif
