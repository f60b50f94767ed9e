/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* From the LAN to the domain (RFC 7599 section 8.1, RFC 7597 section 8): the column of calls
 * that decides everything about a packet and touches none of it. No hook is named here. */
#ifndef MAPXDP_TRANSLATE46_H
#define MAPXDP_TRANSLATE46_H

#include "choose.h"
#include "encapsulation.h"
#include "mss.h"
#include "napt44_share.h"
#include "parse.h"
#include "rfc7915_46.h"
#include "rfc7915_icmp.h"
#include "rules.h"
#include "traffic_class.h"
#include "transport_change.h"
#include "virtual_port.h"

/* An IPv4 packet on its way out of the WAN, proved to be one we can send. */
struct upstream {
	struct ipv4_view ipv4;
	struct transport transport;
};

/* What translation adds to the header. */
enum { IPV6_GROWTH = sizeof(struct ipv6_header) - sizeof(struct ipv4_header) };

/* The longest IPv4 packet that leaves in one piece, if its sender lets others cut it (RFC 7915
 * section 4.1). */
INLINE __u32 longest_whole(const struct config *config)
{
	return config->dmr_length ? config->lowest_ipv6_mtu - IPV6_GROWTH : config->ipv4_mtu;
}

/* 1 where a packet may be cut: DF is not set, and it does not leave in segments anyway. As what
 * follows without branches, which the verifier would follow through all the rest. */
INLINE __u32 may_be_cut(const struct upstream *packet, __u32 segment)
{
	__u32 forbidden = host16(packet->ipv4.header.fragment) / IPV4_DONT_FRAGMENT & 1;

	return ((segment - 1) & (forbidden - 1)) >> 31;
}

/* Whether a packet that is no fragment has to be cut. */
INLINE _Bool has_to_be_cut(const struct config *config, const struct upstream *packet,
			   __u32 segment)
{
	__u32 room = longest_whole(config) - packet->ipv4.total_length;
	__u32 has_to = (room >> 31) & may_be_cut(packet, segment);

	OPAQUE(has_to);
	return has_to;
}

/* What cannot be cut has to be small enough. A segmented packet leaves in pieces of `segment`
 * payload octets; 0: the packet leaves as it is. */
INLINE _Bool fits_46(const struct config *config, const struct upstream *packet, __u32 segment)
{
	__u32 length = packet->ipv4.total_length;
	__u32 is_too_long;

	if (segment)
		length = packet->transport.offset - packet->ipv4.offset +
			 packet->transport.header_length + segment;
	else if (packet->ipv4.is_fragment && config->dmr_length)
		length += sizeof(struct ipv6_fragment_header);
	is_too_long = (config->ipv4_mtu - length) >> 31 & ~may_be_cut(packet, segment);
	OPAQUE(is_too_long);
	return !is_too_long;
}

/* Reads the IPv4 header and says whether the packet is ours. `available` counts the bytes from
 * the header at `offset` to the end of the frame. */
INLINE enum reason admit_ipv4_46(const struct config *config, const void *data, const void *end,
				 __u32 offset, __u32 available, struct ipv4_view *ipv4)
{
	enum reason reason = parse_ipv4(data, end, offset, available, ipv4);

	if (reason)
		return reason;
	reason = choose_46(config, ipv4->header.source, ipv4->header.destination);
	if (reason)
		return reason;
	/* A tunnel carries options; before translation somebody has to look at them. */
	if (config->dmr_length && has_options(&ipv4->header))
		return REASON_SOURCE_ROUTE;
	return refuse_ipv4(ipv4);
}

/* Reads what follows the IPv4 header, which is no later fragment's, and says whether it is
 * sound. */
INLINE enum reason admit_transport_46(const struct config *config, const void *data,
				      const void *end, struct upstream *packet)
{
	enum reason reason = parse_transport_ipv4(data, end, &packet->ipv4, &packet->transport);

	if (reason)
		return reason;
	/* Translated UDP must have a checksum (RFC 7915 section 4.5), encapsulated UDP need not. */
	if (config->dmr_length && lacks_checksum(&packet->transport))
		return REASON_UDP_CHECKSUM_ZERO;
	return REASON_TRANSLATED;
}

INLINE struct applicant applicant_for(const struct config *config, const struct upstream *packet)
{
	const struct transport *transport = &packet->transport;
	__u64 peer_port = transport->index == INDEX_ICMP ? 0 : transport->destination_port;
	struct applicant applicant = {
		.config = config,
		.transport = transport,
		.endpoint = {.ipv4 = packet->ipv4.header.source,
			     .port = transport->source_port,
			     .protocol = transport->index},
		.peer = packet->ipv4.header.destination | peer_port << OWNER_PORT_SHIFT,
		.now = current_tick(config),
	};

	return applicant;
}

/* Towards servers, ports are shared before any is given away (docs/napt44.md, step 1). */
INLINE _Bool is_shared_first(const struct applicant *applicant)
{
	const struct config *config = applicant->config;
	__u32 index = applicant->endpoint.protocol;

	OPAQUE(index);
	if (index >= PROTOCOLS)
		return 0;
	if (config->mapping[index] == MAPPING_AUTO)
		return applicant->endpoint.protocol != INDEX_ICMP &&
		       applicant->peer >> OWNER_PORT_SHIFT < config->shared_below;
	return config->mapping[index] == MAPPING_SHARED;
}

INLINE _Bool may_share(const struct applicant *applicant)
{
	__u32 index = applicant->endpoint.protocol;

	OPAQUE(index);
	return index < PROTOCOLS && applicant->config->mapping[index] != MAPPING_EIM;
}

/* The port that the applicant has already, towards its peer or towards all. */
INLINE _Bool known_port(const struct applicant *applicant, _Bool shared_first, __u16 *port)
{
	if (shared_first)
		return flow_port(applicant, port) || own_port(applicant, port);
	return own_port(applicant, port) || flow_port(applicant, port);
}

/* To a port of this CE's own set: the packet stays at home (RFC 4787 REQ-9). */
INLINE _Bool is_hairpin(const struct config *config, const struct upstream *packet)
{
	struct port_set set = port_set_of(config);

	return config->napt44 == NAPT44_BPF && packet->ipv4.header.destination == config->ipv4 &&
	       packet->transport.index != INDEX_ICMP &&
	       port_in_set(&set, packet->transport.destination_port);
}

/* NAPT44 is off: the packet has to carry this CE's address and a port of its set already. */
INLINE enum reason check_source(const struct config *config, const struct upstream *packet)
{
	struct port_set set = port_set_of(config);

	if (!is_own_ipv4(config, packet->ipv4.header.source))
		return REASON_SOURCE_NOT_OURS;
	if (!port_in_set(&set, packet->transport.source_port))
		return REASON_PORT_OUTSIDE_SET;
	return REASON_TRANSLATED;
}

/* Netfilter did NAPT44: the packet has to carry this CE's address and a port that stands for
 * one of the set, which becomes `port`. */
INLINE enum reason real_port_46(const struct config *config, const struct upstream *packet,
				__u16 *port)
{
	struct port_set set = port_set_of(config);

	if (!is_own_ipv4(config, packet->ipv4.header.source))
		return REASON_SOURCE_NOT_OURS;
	if (!port_of_virtual(config, &set, packet->transport.source_port, port))
		return REASON_VIRTUAL_PORT;
	return REASON_TRANSLATED;
}

/* The source address that leaves: the CE's own, or the packet's where NAPT44 is off. */
INLINE __be32 public_source(const struct config *config, const struct upstream *packet)
{
	return config->napt44 == NAPT44_NONE ? packet->ipv4.header.source : config->ipv4;
}

/* The port that says which CE has the destination. An echo message has one identifier, which the
 * peer takes for both ports: the one it leaves with. */
INLINE __u16 peer_port_46(const struct upstream *packet, __u16 port)
{
	return packet->transport.index == INDEX_ICMP ? port : packet->transport.destination_port;
}

INLINE void change_port_and_mss_46(const struct config *config, const void *data, const void *end,
				   const struct upstream *packet, __u16 port,
				   struct transport_change *change)
{
	const struct transport *transport = &packet->transport;

	change->checksum_offset = checksum_offset(transport);
	change->is_udp = transport->index == INDEX_UDP;
	change->icmp_type = transport->icmp_type;
	change_source_port(transport, port, change);
	if ((transport->tcp_flags & TCP_SYN) && config->mss && !transport->keeps_mss) {
		__u32 mss = find_mss(data, end, transport);

		if (mss)
			change_mss(data, end, transport, mss, config->mss, change);
	}
}

/* MAP-T: the headers the packet will have. */
struct translation_46 {
	struct ipv6_header ipv6;
	struct transport_change change;
};

INLINE void translate_46(const struct config *config, const void *data, const void *end,
			 const struct upstream *packet, __u16 port, struct translation_46 *out)
{
	const struct ipv4_header *ipv4 = &packet->ipv4.header;
	__be32 source[4];
	__be32 destination[4];
	__u64 old = (__u64)ipv4->source + ipv4->destination;
	__u64 new;

	translated_source(config, ipv4->source, source);
	translated_destination(config, ipv4->destination, peer_port_46(packet, port), destination);
	ipv6_header_from_ipv4(&packet->ipv4, source, destination, &out->ipv6);
	set_traffic_class(&out->ipv6, translated_class(config, ipv4->tos));
	change_port_and_mss_46(config, data, end, packet, port, &out->change);
	new = sum_ipv6(out->ipv6.source) + sum_ipv6(out->ipv6.destination);
	if (packet->transport.index == INDEX_ICMP) {
		/* ICMP has no pseudo header, ICMPv6 has one. */
		old = 0;
		new += out->ipv6.payload_length + (__u64)net16(PROTOCOL_ICMPV6);
		change_icmp_type(&packet->transport,
				 icmpv6_echo_from_icmp(packet->transport.icmp_type), &out->change);
	}
	out->change.pseudo_header = sum_fold32(sum_without(old) + new);
}

/* MAP-E and lw4o6: the inner header after NAPT44, and the tunnel header. */
struct encapsulation_46 {
	struct ipv6_header outer;
	struct ipv4_header inner;
	struct transport_change change;
};

INLINE void encapsulate_46(const struct config *config, const void *data, const void *end,
			   const struct upstream *packet, __u16 port, struct encapsulation_46 *out)
{
	const struct ipv4_header *ipv4 = &packet->ipv4.header;
	__be32 source = public_source(config, packet);
	__be32 far_end[4];

	tunnel_destination(config, ipv4->destination, peer_port_46(packet, port), far_end);
	tunnel_header(&packet->ipv4, config->map_address, far_end, &out->outer);
	set_traffic_class(&out->outer, tunnel_class(config, ipv4->tos));
	ipv4_header_renumbered(ipv4, source, ipv4->destination, ipv4->tos, &out->inner);
	change_port_and_mss_46(config, data, end, packet, port, &out->change);
	if (packet->transport.index != INDEX_ICMP)
		out->change.pseudo_header = sum_fold32(sum_without(ipv4->source) + source);
}

#endif
