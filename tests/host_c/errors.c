/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The pure headers of ICMP errors, compiled for the host and callable from Python. */
#include <string.h>

#include "quote.h"
#include "rfc4884.h"
#include "tunnel_error.h"

void lay_out(__u32 headers, __u32 payload, __u32 objects, int to_icmpv6, struct error_layout *out)
{
	*out = to_icmpv6
		       ? lay_out_error(headers, payload, objects, ICMPV6_LENGTH_UNIT,
				       ICMPV6_BODY_MAX)
		       : lay_out_error(headers, payload, objects, ICMP_LENGTH_UNIT, ICMP_BODY_MAX);
}

__u32 quoted(__u32 length, __u32 body)
{
	return quoted_octets(length, body);
}

/* The error about a tunnel packet, without what it quotes; 0 where there is none. */
int told(const struct icmp_error *icmp, const struct ipv4_header *inner, int is_limit,
	 __u32 ipv6_mtu, struct tunnel_error *out)
{
	if (!is_tunnel_error(icmp) || !concerns_inner(icmp, inner, is_limit))
		return 0;
	tell_sender(icmp, ipv6_mtu, inner->destination, inner->source, 0, 0, out);
	return 1;
}

static _Bool read_transport(__u8 protocol, __u8 icmp, const __u8 *octets, __u32 length,
			    struct quoted_transport *transport)
{
	__be16 word[QUOTED_LEAST / 2];

	memcpy(word, octets, sizeof(word));
	*transport = (struct quoted_transport){.length = length};
	if (!read_quoted(protocol, icmp, word, transport))
		return 0;
	if (transport->index == INDEX_TCP && length >= TCP_CHECKSUM_END) {
		memcpy(&transport->checksum,
		       octets + __builtin_offsetof(struct tcp_header, checksum),
		       sizeof(transport->checksum));
		transport->has_checksum = 1;
	}
	return 1;
}

/* `octets` is a quote's transport header, in place. */
static void write_transport(const struct quoted_transport *transport,
			    const struct quoted_change *change, __u8 *octets)
{
	if (transport->index == INDEX_ICMP) {
		octets[0] = change->icmp_type;
		memcpy(octets + __builtin_offsetof(struct icmp_header, identifier), change->ports,
		       sizeof(change->ports[0]));
	} else {
		memcpy(octets, change->ports, sizeof(change->ports));
	}
	if (transport->has_checksum)
		memcpy(octets + quoted_checksum_offset(transport), &change->checksum,
		       sizeof(change->checksum));
}

/* A quote without options between other ends, as IPv6: its headers go to `out`, its transport
 * changes in place. Returns the length of the headers; 0 for a transport that is none of ours. */
__u32 as_ipv6(const struct ipv4_header *ipv4, __u8 *octets, __u32 length,
	      const struct ipv6_header *ends, __u16 destination_port, __u8 *out)
{
	struct quote4 quote = {.header = *ipv4};
	struct ipv6_header header = *ends;
	struct ipv6_fragment_header fragment = {};
	struct quoted_change change;
	struct quoted_ends to;
	__u32 headers;

	if (!read_transport(ipv4->protocol, PROTOCOL_ICMP, octets, length, &quote.transport))
		return 0;
	to = quoted_ends(ipv4->source, ipv4->destination, &quote.transport);
	give_destination_port(&quote.transport, destination_port, &to);
	headers = quote_in_ipv6(&quote, &to, &header, &fragment, &change);
	memcpy(out, &header, sizeof(header));
	memcpy(out + sizeof(header), &fragment, sizeof(fragment));
	write_transport(&quote.transport, &change, octets);
	return headers;
}

/* A quote as IPv4; `fragment`, if it had one, is its Fragment header. Returns as above. */
__u32 as_ipv4(const struct ipv6_header *ipv6, const struct ipv6_fragment_header *fragment,
	      __u8 *octets, __u32 length, __be32 source, __be32 destination, __u16 source_port,
	      struct ipv4_header *out)
{
	struct quote6 quote = {
		.header = *ipv6,
		.payload_length = host16(ipv6->payload_length),
		.next_header = ipv6->next_header,
	};
	struct quoted_change change;
	struct quoted_ends to;

	if (fragment) {
		quote.is_fragment = 1;
		quote.fragment = *fragment;
		quote.payload_length -= sizeof(*fragment);
		quote.next_header = fragment->next_header;
	}
	if (!read_transport(quote.next_header, PROTOCOL_ICMPV6, octets, length, &quote.transport))
		return 0;
	to = quoted_ends(source, destination, &quote.transport);
	give_source_port(&quote.transport, source_port, &to);
	quote_in_ipv4(&quote, &to, out, &change);
	write_transport(&quote.transport, &change, octets);
	return sizeof(*out);
}
