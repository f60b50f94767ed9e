/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Reading headers. Every bounds check of the datapath is in this file.
 *
 * `data` and `end` delimit the bytes that can be read directly; the hook has made sure that
 * they hold all the headers there are. Each function returns REASON_TRANSLATED ("go on") or
 * why the packet cannot be one of ours, and fills its view only in the first case.
 */
#ifndef MAPXDP_PARSE_H
#define MAPXDP_PARSE_H

#include "byteorder.h"
#include "contract.h"
#include "fragment.h"
#include "inline.h"
#include "packet.h"
#include "reasons.h"

/* The longest headers that are read: IPv6, IPv4 and TCP, both with all their options. */
enum { HEADERS_MAX = 40 + 60 + 60 };

INLINE __u32 ipv4_header_length(const struct ipv4_header *header)
{
	return (header->version_and_length & 0xf) * 4;
}

INLINE _Bool has_options(const struct ipv4_header *header)
{
	return header->version_and_length != IPV4_NO_OPTIONS;
}

/* RFC 791 section 3.1. `available` counts the bytes from the header to the frame's end. */
INLINE enum reason parse_ipv4(const void *data, const void *end, __u32 offset, __u32 available,
			      struct ipv4_view *view)
{
	const struct ipv4_header *header = data + offset;

	if ((const void *)(header + 1) > end)
		return REASON_MALFORMED_IPV4;
	view->header = *header;
	view->offset = offset;
	view->total_length = host16(header->total_length);
	view->is_fragment = is_fragment(header);
	if (header->version_and_length >> 4 != 4 || (header->version_and_length & 0xf) < 5)
		return REASON_MALFORMED_IPV4;
	if (view->total_length < ipv4_header_length(header))
		return REASON_MALFORMED_IPV4;
	if (view->total_length > available)
		return REASON_MALFORMED_IPV4;
	return REASON_TRANSLATED;
}

/* Which options belong into later fragments is not looked at: such packets are not cut, nor put
 * together. */
INLINE enum reason refuse_ipv4(const struct ipv4_view *ipv4)
{
	if (ipv4->is_fragment && has_options(&ipv4->header))
		return REASON_FRAGMENT_INVALID;
	return REASON_TRANSLATED;
}

/* RFC 8200 section 3. */
INLINE enum reason parse_ipv6(const void *data, const void *end, __u32 offset,
			      struct ipv6_view *view)
{
	const struct ipv6_header *header = data + offset;
	__u32 first;

	if ((const void *)(header + 1) > end)
		return REASON_IPV6_HEADER_CUT;
	first = host32(header->version_class_flow);
	if (first >> 28 != 6)
		return REASON_IPV6_HEADER_CUT;
	view->offset = offset;
	view->traffic_class = first >> 20;
	view->payload_length = host16(header->payload_length);
	view->next_header = header->next_header;
	view->hop_limit = header->hop_limit;
	__builtin_memcpy(view->source, header->source, sizeof(view->source));
	__builtin_memcpy(view->destination, header->destination, sizeof(view->destination));
	return REASON_TRANSLATED;
}

INLINE _Bool is_extension_header(__u8 next_header)
{
	return next_header == EXTENSION_HOP_BY_HOP || next_header == EXTENSION_ROUTING ||
	       next_header == EXTENSION_DESTINATION || next_header == EXTENSION_AUTHENTICATION;
}

INLINE enum reason refuse_extension(__u8 next_header)
{
	if (next_header == EXTENSION_FRAGMENT)
		return REASON_FRAGMENT_INVALID;
	if (is_extension_header(next_header))
		return REASON_EXTENSION_HEADER;
	return REASON_TRANSLATED;
}

/* A header that is cut off. RFC 1858 section 4: all that admission looks at has to be in the first
 * fragment. */
INLINE enum reason cut_short(const struct transport *transport)
{
	return transport->is_first_fragment ? REASON_FRAGMENT_INVALID : REASON_MALFORMED_TRANSPORT;
}

INLINE enum reason parse_tcp(const void *data, const void *end, __u32 offset, __u32 length,
			     struct transport *transport)
{
	const struct tcp_header *tcp = data + offset;

	if (length < sizeof(*tcp) || (const void *)(tcp + 1) > end)
		return cut_short(transport);
	transport->index = INDEX_TCP;
	transport->source_port = host16(tcp->source_port);
	transport->destination_port = host16(tcp->destination_port);
	transport->checksum = tcp->checksum;
	transport->tcp_flags = tcp->flags;
	transport->header_length = (tcp->data_offset >> 4) * 4;
	if (transport->header_length < sizeof(*tcp))
		return REASON_MALFORMED_TRANSPORT;
	if (transport->header_length > length)
		return cut_short(transport);
	return REASON_TRANSLATED;
}

/* The length that a first fragment's UDP header tells is that of the whole datagram. */
INLINE enum reason parse_udp(const void *data, const void *end, __u32 offset, __u32 length,
			     struct transport *transport)
{
	const struct udp_header *udp = data + offset;

	if (length < sizeof(*udp) || (const void *)(udp + 1) > end)
		return cut_short(transport);
	transport->index = INDEX_UDP;
	transport->source_port = host16(udp->source_port);
	transport->destination_port = host16(udp->destination_port);
	transport->checksum = udp->checksum;
	transport->header_length = sizeof(*udp);
	if (host16(udp->length) < sizeof(*udp) ||
	    (host16(udp->length) > length && !transport->is_first_fragment))
		return REASON_MALFORMED_TRANSPORT;
	return REASON_TRANSLATED;
}

/* The echo messages of ICMP or ICMPv6; `request` and `reply` are its types for them. */
INLINE enum reason parse_echo(const void *data, const void *end, __u32 offset, __u8 request,
			      __u8 reply, struct transport *transport)
{
	const struct icmp_header *icmp = data + offset;

	if ((const void *)(icmp + 1) > end)
		return REASON_MALFORMED_TRANSPORT;
	if (icmp->type != request && icmp->type != reply)
		return REASON_ICMP_NOT_CARRIED;
	transport->index = INDEX_ICMP;
	transport->source_port = host16(icmp->identifier);
	transport->destination_port = transport->source_port;
	transport->checksum = icmp->checksum;
	transport->icmp_type = icmp->type;
	transport->header_length = sizeof(*icmp);
	return REASON_TRANSLATED;
}

/* TCP or UDP at `offset`, of which `length` bytes belong to the packet. */
INLINE enum reason parse_ports(const void *data, const void *end, __u32 offset, __u32 length,
			       __u8 protocol, struct transport *transport)
{
	if (protocol == PROTOCOL_TCP)
		return parse_tcp(data, end, offset, length, transport);
	if (protocol == PROTOCOL_UDP)
		return parse_udp(data, end, offset, length, transport);
	return REASON_PROTOCOL_WITHOUT_PORTS;
}

INLINE _Bool lacks_checksum(const struct transport *transport)
{
	return transport->index == INDEX_UDP && !transport->checksum;
}

INLINE enum reason parse_transport_ipv4(const void *data, const void *end,
					const struct ipv4_view *ipv4, struct transport *transport)
{
	__u32 header_length = ipv4_header_length(&ipv4->header);
	__u32 offset = ipv4->offset + header_length;
	__u32 length = ipv4->total_length - header_length;

	*transport = (struct transport){
		.offset = offset,
		.is_first_fragment = ipv4->is_fragment,
	};
	if (ipv4->header.protocol != PROTOCOL_ICMP)
		return parse_ports(data, end, offset, length, ipv4->header.protocol, transport);
	if (length < sizeof(struct icmp_header))
		return cut_short(transport);
	return parse_echo(data, end, offset, ICMP_ECHO_REQUEST, ICMP_ECHO_REPLY, transport);
}

INLINE enum reason parse_transport_ipv6(const void *data, const void *end,
					const struct ipv6_view *ipv6, struct transport *transport)
{
	__u32 offset = ipv6->offset + sizeof(struct ipv6_header);
	__u32 length = ipv6->payload_length;

	*transport = (struct transport){.offset = offset};
	if (ipv6->next_header != PROTOCOL_ICMPV6)
		return parse_ports(data, end, offset, length, ipv6->next_header, transport);
	if (length < sizeof(struct icmp_header))
		return REASON_MALFORMED_TRANSPORT;
	return parse_echo(data, end, offset, ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY, transport);
}

/* RFC 8200 section 4.5. The header at `offset` and what follows it are `length` octets. */
INLINE enum reason parse_ipv6_fragment(const void *data, const void *end, __u32 offset,
				       __u32 length, struct fragment *fragment)
{
	const struct ipv6_fragment_header *header = data + offset;

	if (length < sizeof(*header) || (const void *)(header + 1) > end)
		return REASON_MALFORMED_IPV6;
	fragment->payload = offset + sizeof(*header);
	fragment->length = length - sizeof(*header);
	fragment->offset = host16(header->fragment) & IPV6_FRAGMENT_OFFSET;
	fragment->more = host16(header->fragment) & IPV6_MORE_FRAGMENTS;
	fragment->identification = host32(header->identification);
	fragment->protocol = header->next_header;
	return REASON_TRANSLATED;
}

/* What TCP or UDP begins with in a fragment, or echo messages: enough to know whose it is. */
INLINE enum reason parse_fragmented_ipv6(const void *data, const void *end,
					 const struct fragment *fragment,
					 struct transport *transport)
{
	*transport = (struct transport){
		.offset = fragment->payload,
		.is_first_fragment = fragment->more,
	};
	if (fragment->protocol != PROTOCOL_ICMPV6)
		return parse_ports(data, end, fragment->payload, fragment->length,
				   fragment->protocol, transport);
	if (fragment->length < sizeof(struct icmp_header))
		return cut_short(transport);
	return parse_echo(data, end, fragment->payload, ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY,
			  transport);
}

#endif
