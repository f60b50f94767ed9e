/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From the domain to the LAN (RFC 7599 section 8.2, RFC 7597 section 8.1): the column of calls
 * that decides everything about a packet and touches none of it. No hook is named here. */
#ifndef MAPXDP_TRANSLATE64_H
#define MAPXDP_TRANSLATE64_H

#include "choose.h"
#include "encapsulation.h"
#include "mss.h"
#include "napt44_64.h"
#include "parse.h"
#include "rfc7915_64.h"
#include "rfc7915_icmp.h"
#include "rules.h"
#include "shortcut_end.h"
#include "transport_change.h"
#include "virtual_port.h"

/* The LAN endpoint a packet is for, and the remote it came from. */
struct downstream_ends {
	struct endpoint endpoint;
	__be32 source;
};

/* From this CE's address and a port of its set: not even another CE of that address can be. */
INLINE _Bool is_from_ourselves(const struct config *config, const struct transport *transport,
			       __be32 source)
{
	struct port_set set = port_set_of(config);

	return is_own_ipv4(config, source) && port_in_set(&set, transport->source_port);
}

/* RFC 7599 section 8.2: the port set first, then the source. */
INLINE enum reason check_ends(const struct config *config, const struct transport *transport,
			      __be32 source)
{
	struct port_set set = port_set_of(config);

	if (is_martian(source) || is_from_ourselves(config, transport, source))
		return REASON_SOURCE_MARTIAN;
	if (!port_in_set(&set, transport->destination_port))
		return REASON_PORT_OUTSIDE_SET;
	return REASON_TRANSLATED;
}

/* NAPT44, for a packet whose ends were checked. */
INLINE enum reason find_endpoint(const struct config *config, const struct transport *transport,
				 __be32 destination, struct downstream_ends *ends)
{
	struct port_set set = port_set_of(config);
	__u64 peer_port = transport->index == INDEX_ICMP ? 0 : transport->source_port;
	struct caller caller = {
		.config = config,
		.transport = transport,
		.now = current_tick(config),
	};
	enum reason reason;

	if (config->napt44 == NAPT44_NONE) {
		ends->endpoint.ipv4 = destination;
		ends->endpoint.port = transport->destination_port;
		return REASON_TRANSLATED;
	}
	if (config->napt44 == NAPT44_NETFILTER) {
		ends->endpoint.ipv4 = destination;
		ends->endpoint.port = virtual_of_port(config, &set, transport->destination_port);
		return REASON_TRANSLATED;
	}
	caller.peer = ends->source | peer_port << OWNER_PORT_SHIFT;
	reason = endpoint_behind(&caller, &ends->endpoint);
	if (!reason && changes_connection(transport))
		end_shortcuts(config, transport->index, &ends->endpoint,
			      transport->destination_port, ends->source, transport->source_port);
	return reason;
}

INLINE void change_port_and_mss_64(const struct config *config, const void *data, const void *end,
				   const struct transport *transport, __u16 port,
				   struct transport_change *change)
{
	change->checksum_offset = checksum_offset(transport);
	change->is_udp = transport->index == INDEX_UDP;
	change->icmp_type = transport->icmp_type;
	change_destination_port(transport, port, change);
	if ((transport->tcp_flags & TCP_SYN) && config->mss && !transport->keeps_mss) {
		__u32 mss = find_mss(data, end, transport);

		if (mss)
			change_mss(data, end, transport, mss, config->mss, change);
	}
}

/* An IPv6 packet to the MAP address, and how much of it there is. */
INLINE enum reason admit_64(const struct config *config, const void *data, const void *end,
			    __u32 offset, struct ipv6_view *ipv6)
{
	enum reason reason = parse_ipv6(data, end, offset, ipv6);

	if (reason)
		return reason;
	if (!is_map_address(config, ipv6->destination))
		return REASON_NOT_MAP_ADDRESS;
	return REASON_TRANSLATED;
}

/* What still fits into an IPv4 packet. */
enum { PAYLOAD_MAX = 65535 - sizeof(struct ipv4_header) };

INLINE enum reason check_payload_length(const struct ipv6_view *ipv6, __u32 available)
{
	if (!ipv6->payload_length || ipv6->payload_length > PAYLOAD_MAX ||
	    ipv6->payload_length + sizeof(struct ipv6_header) > available)
		return REASON_MALFORMED_IPV6;
	return REASON_TRANSLATED;
}

INLINE enum reason check_payload(const struct ipv6_view *ipv6, __u32 available)
{
	enum reason reason = check_payload_length(ipv6, available);

	return reason ? reason : refuse_extension(ipv6->next_header);
}

/* MAP-T: an IPv6 packet proved to come from the DMR, or from the CE of an FMR. */
struct translated_64 {
	struct ipv6_view ipv6;
	struct transport transport;
	struct downstream_ends ends;
};

/* The Well-Known Prefix of a DMR must not stand for what is not known everywhere. */
INLINE enum reason check_global(const struct config *config, __u32 rule, __be32 source)
{
	if (rule == DMR_RULE && has_well_known_prefix(config) && !is_global(source))
		return REASON_NOT_GLOBAL;
	return REASON_TRANSLATED;
}

/* That a packet from the domain, with its transport header, comes from where it says. */
INLINE enum reason check_translated_ends(const struct config *config, __u32 rule,
					 struct translated_64 *packet)
{
	enum reason reason;

	packet->ends.source = ipv4_of_translated(config, rule, packet->ipv6.source);
	reason = check_global(config, rule, packet->ends.source);
	if (reason)
		return reason;
	reason = check_ends(config, &packet->transport, packet->ends.source);
	if (reason)
		return reason;
	return check_source_64(rule, packet->ipv6.source, packet->ends.source,
			       packet->transport.source_port);
}

/* Whom it is for. */
INLINE enum reason find_translated_endpoint(const struct config *config, __u32 rule,
					    struct translated_64 *packet)
{
	enum reason reason = check_translated_ends(config, rule, packet);

	if (reason)
		return reason;
	return find_endpoint(config, &packet->transport,
			     ipv4_of_own(config, packet->ipv6.destination), &packet->ends);
}

/* Reads a packet and says which rule it comes from. FRAGMENT_INVALID where it is a fragment: it is
 * to be read otherwise. */
INLINE enum reason read_translated_64(const struct config *config, const void *data,
				      const void *end, __u32 offset, __u32 available,
				      struct translated_64 *packet, __u32 *rule)
{
	enum reason reason = admit_64(config, data, end, offset, &packet->ipv6);

	if (reason)
		return reason;
	*rule = rule_of_translated(config, packet->ipv6.source);
	if (*rule == NO_RULE)
		return REASON_SOURCE_OUTSIDE_DOMAIN;
	reason = check_payload(&packet->ipv6, available);
	if (reason)
		return reason;
	return parse_transport_ipv6(data, end, &packet->ipv6, &packet->transport);
}

INLINE enum reason admit_translated_64(const struct config *config, const void *data,
				       const void *end, __u32 offset, __u32 available,
				       struct translated_64 *packet)
{
	__u32 rule;
	enum reason reason =
		read_translated_64(config, data, end, offset, available, packet, &rule);

	return reason ? reason : find_translated_endpoint(config, rule, packet);
}

/* A fragment from the domain (RFC 8200 section 4.5), its Fragment header behind the IPv6 header. */
INLINE enum reason admit_translated_fragment(const struct config *config, const void *data,
					     const void *end, __u32 offset, __u32 available,
					     struct ipv6_view *ipv6, struct fragment *fragment)
{
	enum reason reason = admit_64(config, data, end, offset, ipv6);

	if (reason)
		return reason;
	if (rule_of_translated(config, ipv6->source) == NO_RULE)
		return REASON_SOURCE_OUTSIDE_DOMAIN;
	if (ipv6->payload_length + sizeof(struct ipv6_header) > available)
		return REASON_MALFORMED_IPV6;
	reason = parse_ipv6_fragment(data, end, offset + sizeof(struct ipv6_header),
				     ipv6->payload_length, fragment);
	if (reason)
		return reason;
	/* RFC 7915 section 5.1.1. */
	if (is_extension_header(fragment->protocol) || fragment->protocol == EXTENSION_FRAGMENT)
		return REASON_EXTENSION_HEADER;
	if (!is_protocol_with_ports(fragment->protocol, PROTOCOL_ICMPV6))
		return REASON_PROTOCOL_WITHOUT_PORTS;
	return refuse_fragment(fragment, IPV4_PAYLOAD_MAX);
}

/* MAP-T: the headers the packet will have. */
struct translation_64 {
	struct ipv4_header ipv4;
	struct transport_change change;
};

INLINE void translate_64(const struct config *config, const void *data, const void *end,
			 const struct translated_64 *packet, __u16 identification,
			 struct translation_64 *out)
{
	const struct ipv6_view *ipv6 = &packet->ipv6;
	__u64 old = sum_ipv6(ipv6->source) + sum_ipv6(ipv6->destination);
	__u64 new = (__u64)packet->ends.source + packet->ends.endpoint.ipv4;

	ipv4_header_from_ipv6(ipv6, packet->ends.source, packet->ends.endpoint.ipv4, identification,
			      &out->ipv4);
	change_port_and_mss_64(config, data, end, &packet->transport, packet->ends.endpoint.port,
			       &out->change);
	if (packet->transport.index == INDEX_ICMP) {
		/* ICMPv6 has a pseudo header, ICMP has none. */
		new = 0;
		old += (__u64)net16(ipv6->payload_length) + net16(PROTOCOL_ICMPV6);
		change_icmp_type(&packet->transport,
				 icmp_echo_from_icmpv6(packet->transport.icmp_type), &out->change);
	}
	out->change.pseudo_header = sum_fold32(sum_without(old) + new);
}

/* MAP-E and lw4o6: IPv4 in IPv6, proved to come from the BR or from the CE of an FMR, and to be
 * for this CE. */
struct encapsulated_64 {
	struct ipv6_view outer;
	struct ipv4_view inner;
	struct transport transport;
	struct downstream_ends ends;
	__u8 tos;
};

/* The outer header: only the BR and the CEs of FMRs may send IPv4 through the tunnel. */
INLINE enum reason admit_outer_64(const struct config *config, const void *data, const void *end,
				  __u32 offset, __u32 available, struct ipv6_view *outer,
				  __u32 *rule)
{
	enum reason reason = admit_64(config, data, end, offset, outer);

	if (reason)
		return reason;
	*rule = rule_of_tunnelled(config, outer->source);
	if (outer->next_header == PROTOCOL_IPV4)
		return *rule == NO_RULE ? REASON_TUNNEL_SOURCE : check_payload(outer, available);
	/* Somebody has to look behind extension headers, whoever sent them. */
	if (*rule != NO_RULE || is_extension_header(outer->next_header))
		reason = refuse_extension(outer->next_header);
	return reason ? reason : REASON_NOT_ENCAPSULATED;
}

/* A fragment of a packet in the tunnel, its Fragment header behind the IPv6 header.
 * NOT_ENCAPSULATED: no such fragment. */
INLINE enum reason admit_outer_fragment(const struct config *config, const void *data,
					const void *end, __u32 offset, __u32 available,
					struct ipv6_view *outer, struct fragment *fragment)
{
	enum reason reason = admit_64(config, data, end, offset, outer);

	if (reason)
		return reason;
	if (outer->next_header != EXTENSION_FRAGMENT ||
	    rule_of_tunnelled(config, outer->source) == NO_RULE)
		return REASON_NOT_ENCAPSULATED;
	if (outer->payload_length + sizeof(struct ipv6_header) > available)
		return REASON_MALFORMED_IPV6;
	reason = parse_ipv6_fragment(data, end, offset + sizeof(struct ipv6_header),
				     outer->payload_length, fragment);
	if (reason)
		return reason;
	if (is_extension_header(fragment->protocol) || fragment->protocol == EXTENSION_FRAGMENT)
		return REASON_EXTENSION_HEADER;
	if (fragment->protocol != PROTOCOL_IPV4)
		return REASON_NOT_ENCAPSULATED;
	return refuse_fragment(fragment, IPV6_PAYLOAD_MAX);
}

INLINE enum reason admit_inner_64(const struct config *config, const void *data, const void *end,
				  struct encapsulated_64 *packet)
{
	__u32 offset = packet->outer.offset + sizeof(struct ipv6_header);
	enum reason reason =
		parse_ipv4(data, end, offset, packet->outer.payload_length, &packet->inner);

	if (reason)
		return reason;
	if (!is_own_ipv4(config, packet->inner.header.destination))
		return REASON_INNER_DESTINATION;
	reason = refuse_ipv4(&packet->inner);
	if (reason)
		return reason;
	return decapsulated_tos(packet->inner.header.tos, packet->outer.traffic_class,
				&packet->tos);
}

/* That a packet that was in the tunnel, with its transport header, comes from where it says. */
INLINE enum reason check_inner_ends(const struct config *config, __u32 rule,
				    struct encapsulated_64 *packet)
{
	enum reason reason;

	packet->ends.source = packet->inner.header.source;
	reason = check_ends(config, &packet->transport, packet->ends.source);
	if (reason)
		return reason;
	return check_source_64(rule, packet->outer.source, packet->ends.source,
			       packet->transport.source_port);
}

/* Whom it is for. */
INLINE enum reason find_inner_endpoint(const struct config *config, __u32 rule,
				       struct encapsulated_64 *packet)
{
	enum reason reason = check_inner_ends(config, rule, packet);

	if (reason)
		return reason;
	return find_endpoint(config, &packet->transport, packet->inner.header.destination,
			     &packet->ends);
}

/* Reads a packet and says which rule it comes from. FRAGMENT_INVALID where the outer or the inner
 * packet is a fragment: it is to be read otherwise. */
INLINE enum reason read_encapsulated_64(const struct config *config, const void *data,
					const void *end, __u32 offset, __u32 available,
					struct encapsulated_64 *packet, __u32 *rule)
{
	enum reason reason =
		admit_outer_64(config, data, end, offset, available, &packet->outer, rule);

	if (reason)
		return reason;
	reason = admit_inner_64(config, data, end, packet);
	if (reason)
		return reason;
	if (packet->inner.is_fragment)
		return REASON_FRAGMENT_INVALID;
	packet->inner.is_fragment = 0; /* known to the compiler */
	return parse_transport_ipv4(data, end, &packet->inner, &packet->transport);
}

INLINE enum reason admit_encapsulated_64(const struct config *config, const void *data,
					 const void *end, __u32 offset, __u32 available,
					 struct encapsulated_64 *packet)
{
	__u32 rule;
	enum reason reason =
		read_encapsulated_64(config, data, end, offset, available, packet, &rule);

	return reason ? reason : find_inner_endpoint(config, rule, packet);
}

/* MAP-E and lw4o6: the inner header after NAPT44. */
struct decapsulation_64 {
	struct ipv4_header ipv4;
	struct transport_change change;
};

INLINE void decapsulate_64(const struct config *config, const void *data, const void *end,
			   const struct encapsulated_64 *packet, struct decapsulation_64 *out)
{
	const struct ipv4_header *inner = &packet->inner.header;
	__be32 destination = packet->ends.endpoint.ipv4;

	ipv4_header_renumbered(inner, inner->source, destination, packet->tos, &out->ipv4);
	change_port_and_mss_64(config, data, end, &packet->transport, packet->ends.endpoint.port,
			       &out->change);
	if (packet->transport.index != INDEX_ICMP)
		out->change.pseudo_header =
			sum_fold32(sum_without(inner->destination) + destination);
}

#endif
