/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The packet that an ICMP error quotes, and how it looks to others. Pure; no hook is named here.
 *
 * It may end after 8 octets of its transport header (RFC 792). TTL and Hop Limit stay as they are
 * (RFC 7915 sections 4.3 and 5.3), and a transport checksum that was wrong stays wrong.
 */
#ifndef MAPXDP_QUOTE_H
#define MAPXDP_QUOTE_H

#include "contract.h"
#include "encapsulation.h"
#include "packet.h"
#include "rfc7915_64.h"
#include "rfc7915_icmp.h"

/* What is there of a transport header. */
enum { QUOTED_LEAST = 8, TCP_CHECKSUM_END = 18 };

/* From where to where, as one side knows it. An echo message's identifier is both ports. */
struct quoted_ends {
	__be32 source;
	__be32 destination;
	__u16 source_port;
	__u16 destination_port;
};

/* What every quote has behind its IP header. */
struct quoted_transport {
	__u32 offset;	/* in the frame */
	__u32 length;	/* octets up to the quote's end */
	__u16 checksum; /* as it lies in the packet */
	__u16 source_port;
	__u16 destination_port;
	__u8 index; /* enum protocol_index */
	__u8 icmp_type;
	_Bool has_checksum;
};

struct quote4 {
	struct ipv4_header header;
	struct quoted_transport transport;
};

/* `fragment` is empty where the packet has no Fragment header. */
struct quote6 {
	struct ipv6_header header;
	struct ipv6_fragment_header fragment;
	struct quoted_transport transport;
	__u32 payload_length; /* of the whole packet, after its headers */
	_Bool is_fragment;
	__u8 next_header; /* of the transport */
};

/* The first octets of a transport header, read as what they are. False: none of ours. */
INLINE _Bool read_quoted(__u8 protocol, __u8 icmp, const __be16 word[QUOTED_LEAST / 2],
			 struct quoted_transport *transport)
{
	transport->source_port = host16(word[0]);
	transport->destination_port = host16(word[1]);
	if (protocol == PROTOCOL_TCP) {
		transport->index = INDEX_TCP;
		return 1;
	}
	if (protocol == PROTOCOL_UDP) {
		transport->index = INDEX_UDP;
		transport->checksum = word[3];
		transport->has_checksum = word[3] != 0;
		return 1;
	}
	transport->index = INDEX_ICMP;
	transport->icmp_type = host16(word[0]) >> 8;
	transport->checksum = word[1];
	transport->has_checksum = 1;
	transport->source_port = host16(word[2]);
	transport->destination_port = transport->source_port;
	if (protocol != icmp)
		return 0;
	if (icmp == PROTOCOL_ICMP)
		return transport->icmp_type == ICMP_ECHO_REQUEST ||
		       transport->icmp_type == ICMP_ECHO_REPLY;
	return transport->icmp_type == ICMPV6_ECHO_REQUEST ||
	       transport->icmp_type == ICMPV6_ECHO_REPLY;
}

INLINE __u32 quoted_checksum_offset(const struct quoted_transport *transport)
{
	switch (transport->index) {
	case INDEX_TCP:
		return transport->offset + __builtin_offsetof(struct tcp_header, checksum);
	case INDEX_UDP:
		return transport->offset + __builtin_offsetof(struct udp_header, checksum);
	default:
		return transport->offset + __builtin_offsetof(struct icmp_header, checksum);
	}
}

INLINE struct quoted_ends quoted_ends(__be32 source, __be32 destination,
				      const struct quoted_transport *transport)
{
	struct quoted_ends ends = {
		.source = source,
		.destination = destination,
		.source_port = transport->source_port,
		.destination_port = transport->destination_port,
	};

	return ends;
}

INLINE void give_source_port(const struct quoted_transport *transport, __u16 port,
			     struct quoted_ends *ends)
{
	ends->source_port = port;
	if (transport->index == INDEX_ICMP)
		ends->destination_port = port;
}

INLINE void give_destination_port(const struct quoted_transport *transport, __u16 port,
				  struct quoted_ends *ends)
{
	ends->destination_port = port;
	if (transport->index == INDEX_ICMP)
		ends->source_port = port;
}

/* Sum of what lies in the transport header and changes. */
INLINE __u64 quoted_sum(const struct quoted_transport *transport, __u16 source_port,
			__u16 destination_port, __u8 icmp_type)
{
	if (transport->index == INDEX_ICMP)
		return (__u64)net16(source_port) + net16(icmp_type << 8);
	return (__u64)net16(source_port) + net16(destination_port);
}

/* The quoted checksum under other ends; `from` and `to` are the sums of the pseudo headers. */
INLINE __u16 quoted_checksum(const struct quoted_transport *transport,
			     const struct quoted_ends *ends, __u8 icmp_type, __u64 from, __u64 to)
{
	__u16 checksum;

	from += quoted_sum(transport, transport->source_port, transport->destination_port,
			   transport->icmp_type);
	to += quoted_sum(transport, ends->source_port, ends->destination_port, icmp_type);
	if (from == to)
		return transport->checksum;
	checksum = checksum_after(transport->checksum, from, to);
	return transport->index == INDEX_UDP && !checksum ? 0xffff : checksum;
}

/* What is written over a quoted transport header. */
struct quoted_change {
	__be16 ports[2]; /* of an echo message: the identifier, twice */
	__u16 checksum;
	__u8 icmp_type;
};

INLINE void change_quoted_ports(const struct quoted_ends *ends, struct quoted_change *change)
{
	change->ports[0] = net16(ends->source_port);
	change->ports[1] = net16(ends->destination_port);
}

/* The quote in IPv4 as it was, between other ends. ICMP has no pseudo header. */
INLINE void renumber_quote(const struct quote4 *quote, const struct quoted_ends *ends,
			   struct ipv4_header *header, struct quoted_change *change)
{
	const struct ipv4_header *old = &quote->header;
	const struct quoted_transport *transport = &quote->transport;
	_Bool has_pseudo = transport->index != INDEX_ICMP;
	__u64 from = has_pseudo ? (__u64)old->source + old->destination : 0;
	__u64 to = has_pseudo ? (__u64)ends->source + ends->destination : 0;

	ipv4_header_renumbered(old, ends->source, ends->destination, old->tos, header);
	change_quoted_ports(ends, change);
	change->icmp_type = transport->icmp_type;
	change->checksum = quoted_checksum(transport, ends, transport->icmp_type, from, to);
}

/* What an ICMPv6 pseudo header has besides the addresses. */
INLINE __u64 icmpv6_pseudo_sum(__u16 length)
{
	return (__u64)net16(length) + net16(PROTOCOL_ICMPV6);
}

/* The quote in IPv6 as it was, or would have been (RFC 7915 section 4.3). Returns the length of
 * its headers. */
INLINE __u32 quote_in_ipv6(const struct quote4 *quote, const struct quoted_ends *ends,
			   struct ipv6_header *header, struct ipv6_fragment_header *fragment,
			   struct quoted_change *change)
{
	const struct ipv4_header *ipv4 = &quote->header;
	const struct quoted_transport *transport = &quote->transport;
	__u32 length = host16(ipv4->total_length) - (ipv4->version_and_length & 0xf) * 4;
	__u64 from = (__u64)ipv4->source + ipv4->destination;
	__u64 to = sum_ipv6(header->source) + sum_ipv6(header->destination);
	_Bool is_fragment = ipv4->fragment & net16(IPV4_MORE_FRAGMENTS);
	__u32 carried = length + (is_fragment ? sizeof(*fragment) : 0);
	__u8 next_header = ipv4->protocol;

	change->icmp_type = transport->icmp_type;
	if (transport->index == INDEX_ICMP) {
		from = 0;
		to += icmpv6_pseudo_sum(length);
		next_header = PROTOCOL_ICMPV6;
		change->icmp_type = icmpv6_echo_from_icmp(transport->icmp_type);
	}
	change_quoted_ports(ends, change);
	change->checksum = quoted_checksum(transport, ends, change->icmp_type, from, to);
	header->version_class_flow = net32(6U << 28 | (__u32)ipv4->tos << 20);
	header->payload_length = net16(carried);
	header->next_header = is_fragment ? EXTENSION_FRAGMENT : next_header;
	header->hop_limit = ipv4->ttl;
	if (!is_fragment)
		return sizeof(*header);
	fragment->next_header = next_header;
	fragment->reserved = 0;
	fragment->fragment = net16(IPV6_MORE_FRAGMENTS);
	fragment->identification = net32(host16(ipv4->identification));
	return sizeof(*header) + sizeof(*fragment);
}

/* The quote in IPv4 (RFC 7915 section 5.3). A packet that was whole gets no identification. */
INLINE void quote_in_ipv4(const struct quote6 *quote, const struct quoted_ends *ends,
			  struct ipv4_header *header, struct quoted_change *change)
{
	const struct ipv6_header *ipv6 = &quote->header;
	const struct quoted_transport *transport = &quote->transport;
	__u32 total_length = quote->payload_length + sizeof(*header);
	__u64 from = sum_ipv6(ipv6->source) + sum_ipv6(ipv6->destination);
	__u64 to = (__u64)ends->source + ends->destination;
	__u16 fragment = total_length > LONGEST_WITHOUT_DF ? IPV4_DONT_FRAGMENT : 0;

	change->icmp_type = transport->icmp_type;
	if (transport->index == INDEX_ICMP) {
		from += icmpv6_pseudo_sum(quote->payload_length);
		to = 0;
		change->icmp_type = icmp_echo_from_icmpv6(transport->icmp_type);
	}
	change_quoted_ports(ends, change);
	change->checksum = quoted_checksum(transport, ends, change->icmp_type, from, to);
	header->version_and_length = IPV4_NO_OPTIONS;
	header->tos = host32(ipv6->version_class_flow) >> 20;
	header->total_length = net16(total_length);
	header->identification = 0;
	if (quote->is_fragment) {
		fragment = quote->fragment.fragment & net16(IPV6_MORE_FRAGMENTS)
				   ? IPV4_MORE_FRAGMENTS
				   : 0;
		header->identification = net16(host32(quote->fragment.identification));
	}
	header->fragment = net16(fragment);
	header->ttl = ipv6->hop_limit;
	header->protocol = protocol_from_next_header(quote->next_header);
	header->checksum = 0;
	header->source = ends->source;
	header->destination = ends->destination;
	header->checksum = ipv4_header_checksum(header);
}

#endif
