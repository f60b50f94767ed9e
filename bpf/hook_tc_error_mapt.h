/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MAP-T: ICMP errors as ICMPv6 errors and back (RFC 7915 sections 4.2, 4.3, 5.2 and 5.3). */
#ifndef MAPXDP_HOOK_TC_ERROR_MAPT_H
#define MAPXDP_HOOK_TC_ERROR_MAPT_H

#include "hook_tc_error_46.h"
#include "translate64.h"

INLINE __u32 kind_of(const struct icmp_error *icmp)
{
	return KIND(icmp->type, icmp->code);
}

INLINE enum reason is_translatable_46(const struct tc_error_46 *from)
{
	return icmpv6_kind_from_icmp(kind_of(&from->error.icmp)) == NO_KIND
		       ? REASON_ICMP_NOT_CARRIED
		       : REASON_TRANSLATED;
}

/* All that is before the quoted payload. The Fragment header is there where the quote has one. */
struct error_front_46 {
	struct ipv6_header outer;
	struct icmp_error icmp;
	struct ipv6_header quoted;
	struct ipv6_fragment_header fragment;
};

struct error_front_64 {
	struct ipv4_header outer;
	struct icmp_error icmp;
	struct ipv4_header quoted;
};

/* Type, code and word of the ICMPv6 error. */
INLINE enum reason icmpv6_error_from_icmp(const struct config *config, const struct icmp_error *old,
					  __u16 quoted_length, struct icmp_error *icmp)
{
	__u32 kind = icmpv6_kind_from_icmp(kind_of(old));
	__u32 word = host32(old->word);
	__u32 made = 0;

	if (old->type == ICMP_PARAMETER_PROBLEM) {
		made = icmpv6_pointer_from_icmp(word >> 24);
		if (made == NO_POINTER)
			return REASON_ICMP_NOT_CARRIED;
	} else if (kind == KIND(ICMPV6_PARAMETER_PROBLEM, 1)) {
		made = NEXT_HEADER_POINTER;
	} else if (kind == KIND(ICMPV6_TOO_BIG, 0)) {
		made = icmpv6_mtu_from_icmp(word & 0xffff, quoted_length, config->ipv6_mtu,
					    config->ipv6_mtu);
	}
	icmp->type = kind >> 8;
	icmp->code = kind;
	icmp->checksum = 0;
	icmp->word = net32(made);
	return REASON_TRANSLATED;
}

INLINE enum reason icmp_error_from_icmpv6(const struct config *config, const struct icmp_error *old,
					  _Bool is_fragment, struct icmp_error *icmp)
{
	__u32 less = HEADERS_DIFFER_BY + (is_fragment ? sizeof(struct ipv6_fragment_header) : 0);
	__u32 kind = icmp_kind_from_icmpv6(kind_of(old));
	__u32 word = host32(old->word);
	__u32 made = 0;

	if (kind == KIND(ICMP_PARAMETER_PROBLEM, 0)) {
		made = icmp_pointer_from_icmpv6(word);
		if (made == NO_POINTER)
			return REASON_ICMP_NOT_CARRIED;
		made <<= 24;
	} else if (kind == KIND(ICMP_UNREACHABLE, ICMP_FRAGMENTATION_NEEDED)) {
		made = icmp_mtu_from_icmpv6(word, less, config->ipv6_mtu, config->ipv6_mtu);
	}
	icmp->type = kind >> 8;
	icmp->code = kind;
	icmp->checksum = 0;
	icmp->word = net32(made);
	return REASON_TRANSLATED;
}

INLINE void tc_write_front_46(struct __sk_buff *skb, const struct error_front_46 *front,
			      __u32 quoted_headers)
{
	if (quoted_headers == sizeof(front->quoted))
		tc_write_header(skb, L2_LENGTH, front, sizeof(*front) - sizeof(front->fragment));
	else
		tc_write_header(skb, L2_LENGTH, front, sizeof(*front));
}

/* Writes the error that `front` begins; what is before the quoted payload is `change` octets
 * longer then. */
INLINE enum reason tc_emit_error_46(struct __sk_buff *skb, const struct tc_error_46 *from,
				    const struct error_front_46 *front, __u32 quoted_headers,
				    const struct error_layout *layout,
				    const struct quoted_change *change)
{
	const struct quoted_transport *transport = &from->quote.transport;
	__u32 icmp = L2_LENGTH + sizeof(front->outer);
	__u32 start = icmp + sizeof(front->icmp) + quoted_headers;

	if (tc_make_all_writable(skb))
		return REASON_KERNEL_REFUSED;
	/* From here on there is no way back: the packet is changed. */
	tc_write_quoted(skb, transport, change);
	if (tc_lay_out(skb, transport->offset, from->error.quote_end, layout) ||
	    tc_change_family(skb, ETHERTYPE_IPV6, start - transport->offset))
		return REASON_KERNEL_REFUSED;
	tc_write_front_46(skb, front, quoted_headers);
	return tc_write_icmp_checksum(skb, icmp, host16(front->outer.payload_length),
				      sum_ipv6(front->outer.source) +
					      sum_ipv6(front->outer.destination) +
					      front->outer.payload_length + net16(PROTOCOL_ICMPV6));
}

INLINE enum reason tc_translate_error_46(struct __sk_buff *skb, struct tc_error_46 *from)
{
	const struct config *config = from->up.config;
	const struct quote4 *quote = &from->quote;
	struct ipv4_view *ipv4 = &from->up.packet.ipv4;
	__u32 objects = from->error.end - from->error.quote_end;
	struct error_front_46 front;
	struct error_layout layout;
	struct quoted_change change;
	__be32 destination[4];
	__u32 headers;
	enum reason reason = icmpv6_error_from_icmp(
		config, &from->error.icmp, host16(quote->header.total_length), &front.icmp);

	if (reason)
		return reason;
	rfc6052_embed(config->far_end, config->dmr_length, from->ends.source, front.quoted.source);
	__builtin_memcpy(front.quoted.destination, config->map_address,
			 sizeof(front.quoted.destination));
	headers = quote_in_ipv6(quote, &from->ends, &front.quoted, &front.fragment, &change);
	if (!icmpv6_has_length(front.icmp.type))
		objects = 0;
	layout = lay_out_error(headers, quote->transport.length, objects, ICMPV6_LENGTH_UNIT,
			       ICMPV6_BODY_MAX);
	if (layout.length)
		front.icmp.word = net32(layout.length << 24);
	rfc6052_embed(config->far_end, config->dmr_length, ipv4->header.destination, destination);
	ipv4->total_length = sizeof(struct ipv4_header) + sizeof(front.icmp) + headers +
			     layout.payload + layout.padding + layout.objects;
	ipv6_header_from_ipv4(ipv4, config->map_address, destination, &front.outer);
	return tc_emit_error_46(skb, from, &front, headers, &layout, &change);
}

struct tc_error_64 {
	const struct config *config;
	struct ipv6_view ipv6;
	struct tc_error error;
	struct quote6 quote;
	struct quoted_ends ends; /* as the LAN knows them */
};

/* The IPv6 packet that begins at `offset` of the frame. A Fragment header may follow directly. */
INLINE enum reason tc_read_quote6(struct __sk_buff *skb, __u32 offset, __u32 end,
				  struct quote6 *quote)
{
	struct ipv6_header *header = &quote->header;
	struct ipv6_fragment_header *fragment = &quote->fragment;

	if (offset + sizeof(*header) > end ||
	    kernel_skb_load_bytes(skb, offset, header, sizeof(*header)))
		return REASON_QUOTE_INVALID;
	if (host32(header->version_class_flow) >> 28 != 6)
		return REASON_QUOTE_INVALID;
	offset += sizeof(*header);
	quote->payload_length = host16(header->payload_length);
	quote->next_header = header->next_header;
	quote->is_fragment = header->next_header == EXTENSION_FRAGMENT;
	if (quote->is_fragment) {
		if (offset + sizeof(*fragment) > end ||
		    kernel_skb_load_bytes(skb, offset, fragment, sizeof(*fragment)))
			return REASON_QUOTE_INVALID;
		if (quote->payload_length < sizeof(*fragment) ||
		    fragment->fragment & net16(IPV6_FRAGMENT_OFFSET))
			return REASON_QUOTE_INVALID;
		offset += sizeof(*fragment);
		quote->payload_length -= sizeof(*fragment);
		quote->next_header = fragment->next_header;
	}
	if (quote->payload_length > PAYLOAD_MAX)
		return REASON_QUOTE_INVALID;
	return tc_read_quoted(skb, offset, end, quote->next_header, PROTOCOL_ICMPV6,
			      &quote->transport);
}

/* The BR, or another CE, knows no such CE as this one. */
INLINE _Bool is_refusal_by_br(const struct icmp_error *icmp)
{
	return icmp->type == ICMPV6_UNREACHABLE &&
	       (icmp->code == ICMPV6_POLICY || icmp->code == ICMPV6_REJECT_ROUTE);
}

INLINE __u64 icmpv6_pseudo_header(const struct ipv6_view *ipv6)
{
	return sum_ipv6(ipv6->source) + sum_ipv6(ipv6->destination) +
	       icmpv6_pseudo_sum(ipv6->payload_length);
}

/* From the quoted packet to the port that sent it. */
INLINE enum reason tc_read_sent_quote(struct __sk_buff *skb, struct tc_error_64 *from)
{
	const struct config *config = from->config;
	const struct icmp_error *icmp = &from->error.icmp;
	struct quote6 *quote = &from->quote;
	struct port_set set = port_set_of(config);
	enum reason reason;

	if (icmpv6_has_length(icmp->type))
		tc_bound_quote(&from->error, (host32(icmp->word) >> 24) * ICMPV6_LENGTH_UNIT);
	reason = tc_read_quote6(skb, tc_quote_offset(&from->error), from->error.quote_end, quote);
	if (reason)
		return reason;
	if (!same_ipv6(quote->header.source, config->map_address) ||
	    !under_prefix(quote->header.destination, config->far_end, config->dmr_length))
		return REASON_QUOTE_INVALID;
	if (!port_in_set(&set, quote->transport.source_port))
		return REASON_PORT_OUTSIDE_SET;
	return is_refusal_by_br(icmp) ? REASON_BR_REFUSED : REASON_TRANSLATED;
}

INLINE enum reason tc_admit_error_64(struct __sk_buff *skb, struct tc_error_64 *from)
{
	const struct config *config = from->config;
	struct tc_error *error = &from->error;
	struct ipv6_view *ipv6 = &from->ipv6;
	__u32 available = tc_network_length(skb);
	enum reason reason = admit_64(config, tc_data(skb), tc_end(skb), L2_LENGTH, ipv6);
	__u32 end = L2_LENGTH + sizeof(struct ipv6_header) + ipv6->payload_length;
	enum reason no_error;

	if (reason)
		return reason;
	no_error = under_prefix(ipv6->source, config->far_end, config->dmr_length)
			   ? REASON_ICMP_NOT_CARRIED
			   : REASON_SOURCE_OUTSIDE_DOMAIN;
	if (ipv6->next_header != PROTOCOL_ICMPV6 || check_payload(ipv6, available) ||
	    ipv6->payload_length < sizeof(error->icmp) ||
	    !tc_read_error(skb, L2_LENGTH + sizeof(struct ipv6_header), end, error) ||
	    error->icmp.type >= ICMPV6_INFORMATIONAL)
		return no_error;
	if (!is_refusal_by_br(&error->icmp) &&
	    icmp_kind_from_icmpv6(kind_of(&error->icmp)) == NO_KIND)
		return REASON_ICMP_NOT_CARRIED;
	reason = tc_check_icmp(skb, error, icmpv6_pseudo_header(ipv6));
	if (reason)
		return reason;
	reason = tc_read_sent_quote(skb, from);
	if (reason)
		return reason;
	from->ends = quoted_ends(
		config->ipv4, rfc6052_extract(from->quote.header.destination, config->dmr_length),
		&from->quote.transport);
	return find_quoted_sender(config, &from->quote.transport, &from->ends);
}

/* RFC 6791: routers on the way have no IPv4 address. */
INLINE __be32 error_source(const struct config *config, const struct ipv6_view *ipv6)
{
	__be32 source;

	if (!under_prefix(ipv6->source, config->far_end, config->dmr_length))
		return config->icmp_error_source;
	source = rfc6052_extract(ipv6->source, config->dmr_length);
	return is_martian(source) ? config->icmp_error_source : source;
}

INLINE enum reason tc_emit_error_64(struct __sk_buff *skb, const struct tc_error_64 *from,
				    const struct error_front_64 *front,
				    const struct error_layout *layout,
				    const struct quoted_change *change)
{
	const struct quoted_transport *transport = &from->quote.transport;
	__u32 start = L2_LENGTH + sizeof(*front);
	__u32 length = host16(front->outer.total_length) - sizeof(front->outer);

	if (tc_make_all_writable(skb))
		return REASON_KERNEL_REFUSED;
	/* From here on there is no way back: the packet is changed. */
	tc_write_quoted(skb, transport, change);
	if (tc_lay_out(skb, transport->offset, from->error.quote_end, layout) ||
	    tc_change_family(skb, ETHERTYPE_IPV4, start - transport->offset))
		return REASON_KERNEL_REFUSED;
	tc_write_header(skb, L2_LENGTH, front, sizeof(*front));
	return tc_write_icmp_checksum(skb, L2_LENGTH + sizeof(front->outer), length, 0);
}

INLINE enum reason tc_translate_error_64(struct __sk_buff *skb, struct tc_downstream *down)
{
	struct tc_error_64 from = {.config = down->config};
	__u32 objects;
	struct error_front_64 front;
	struct error_layout layout;
	struct quoted_change change;
	enum reason reason = tc_admit_error_64(skb, &from);

	if (!reason)
		reason = icmp_error_from_icmpv6(from.config, &from.error.icmp,
						from.quote.is_fragment, &front.icmp);
	if (reason)
		return reason;
	quote_in_ipv4(&from.quote, &from.ends, &front.quoted, &change);
	objects = from.error.end - from.error.quote_end;
	layout = lay_out_error(sizeof(front.quoted), from.quote.transport.length, objects,
			       ICMP_LENGTH_UNIT, ICMP_BODY_MAX);
	front.icmp.word |= net32(layout.length << 16);
	from.ipv6.payload_length = sizeof(front.icmp) + sizeof(front.quoted) + layout.payload +
				   layout.padding + layout.objects;
	ipv4_header_from_ipv6(&from.ipv6, error_source(from.config, &from.ipv6), from.ends.source,
			      kernel_random(), &front.outer);
	down->bytes = ipv4_length_from_ipv6(&from.ipv6);
	reason = tc_emit_error_64(skb, &from, &front, &layout, &change);
	if (!reason)
		count_event(DIRECTION_64, REASON_ICMP_ERROR_CARRIED);
	return reason;
}

#endif
