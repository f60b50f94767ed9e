/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MAP-T: ICMP errors as ICMPv6 errors and back (RFC 7915 sections 4.2, 4.3, 5.2 and 5.3). */
#ifndef MAPXDP_HOOK_TC_ERROR_MAPT_H
#define MAPXDP_HOOK_TC_ERROR_MAPT_H

#include "hook_tc_error_46.h"
#include "icmp_error46.h"
#include "icmp_error64.h"
#include "translate64.h"

INLINE enum reason is_translatable_46(const struct tc_error_46 *from)
{
	return icmpv6_kind_from_icmp(kind_of(&from->error.icmp)) == NO_KIND
		       ? REASON_ICMP_NOT_CARRIED
		       : REASON_TRANSLATED;
}

INLINE void tc_write_front_46(struct __sk_buff *skb, const struct error_front_46 *front,
			      __u32 quoted_headers)
{
	if (quoted_headers == sizeof(front->quoted))
		tc_write_header(skb, L2_LENGTH, front, sizeof(*front) - sizeof(front->fragment));
	else
		tc_write_header(skb, L2_LENGTH, front, sizeof(*front));
}

INLINE enum reason tc_emit_error_46(struct __sk_buff *skb, const struct tc_error_46 *from,
				    const struct error_46 *out)
{
	const struct quoted_transport *transport = &from->quote.transport;
	const struct ipv6_header *outer = &out->front.outer;
	__u32 icmp = L2_LENGTH + sizeof(*outer);
	__u32 start = icmp + sizeof(out->front.icmp) + out->quoted_headers;

	if (tc_make_all_writable(skb))
		return REASON_KERNEL_REFUSED;
	/* From here on there is no way back: the packet is changed. */
	tc_write_quoted(skb, transport, &out->change);
	if (tc_lay_out(skb, transport->offset, from->error.quote_end, &out->layout) ||
	    tc_change_family(skb, ETHERTYPE_IPV6, start - transport->offset))
		return REASON_KERNEL_REFUSED;
	tc_write_front_46(skb, &out->front, out->quoted_headers);
	return tc_write_icmp_checksum(skb, icmp, host16(outer->payload_length),
				      sum_ipv6(outer->source) + sum_ipv6(outer->destination) +
					      icmpv6_pseudo_sum(host16(outer->payload_length)));
}

INLINE enum reason tc_translate_error_46(struct __sk_buff *skb, const struct tc_error_46 *from)
{
	struct error_46 out;
	enum reason reason = translate_error_46(from->up.config, &from->up.packet.ipv4,
						&from->error.icmp, &from->quote, &from->ends,
						from->error.end - from->error.quote_end, &out);

	return reason ? reason : tc_emit_error_46(skb, from, &out);
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
	__be32 remote;
	enum reason reason;

	if (icmpv6_has_length(icmp->type))
		tc_bound_quote(&from->error, (host32(icmp->word) >> 24) * ICMPV6_LENGTH_UNIT);
	reason = tc_read_quote6(skb, tc_quote_offset(&from->error), from->error.quote_end, quote);
	if (reason)
		return reason;
	if (!is_map_address(config, quote->header.source) || quoted_remote(config, quote, &remote))
		return REASON_QUOTE_INVALID;
	if (!port_in_set(&set, quote->transport.source_port))
		return REASON_PORT_OUTSIDE_SET;
	from->ends =
		quoted_ends(ipv4_of_own(config, quote->header.source), remote, &quote->transport);
	return is_refusal_of_source(icmp) ? REASON_BR_REFUSED : REASON_TRANSLATED;
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
	no_error = rule_of_translated(config, ipv6->source) == NO_RULE
			   ? REASON_SOURCE_OUTSIDE_DOMAIN
			   : REASON_ICMP_NOT_CARRIED;
	if (ipv6->next_header != PROTOCOL_ICMPV6 || check_payload(ipv6, available) ||
	    ipv6->payload_length < sizeof(error->icmp) ||
	    !tc_read_error(skb, L2_LENGTH + sizeof(struct ipv6_header), end, error) ||
	    error->icmp.type >= ICMPV6_INFORMATIONAL)
		return no_error;
	if (!is_refusal_of_source(&error->icmp) &&
	    icmp_kind_from_icmpv6(kind_of(&error->icmp)) == NO_KIND)
		return REASON_ICMP_NOT_CARRIED;
	reason = tc_check_icmp(skb, error, icmpv6_pseudo_header(ipv6));
	if (reason)
		return reason;
	reason = tc_read_sent_quote(skb, from);
	if (reason)
		return reason;
	return find_quoted_sender(config, &from->quote.transport, &from->ends);
}

INLINE enum reason tc_emit_error_64(struct __sk_buff *skb, const struct tc_error_64 *from,
				    const struct error_64 *out)
{
	const struct error_front_64 *front = &out->front;
	const struct quoted_transport *transport = &from->quote.transport;
	__u32 start = L2_LENGTH + sizeof(*front);
	__u32 length = host16(front->outer.total_length) - sizeof(front->outer);

	if (tc_make_all_writable(skb))
		return REASON_KERNEL_REFUSED;
	/* From here on there is no way back: the packet is changed. */
	tc_write_quoted(skb, transport, &out->change);
	if (tc_lay_out(skb, transport->offset, from->error.quote_end, &out->layout) ||
	    tc_change_family(skb, ETHERTYPE_IPV4, start - transport->offset))
		return REASON_KERNEL_REFUSED;
	tc_write_header(skb, L2_LENGTH, front, sizeof(*front));
	return tc_write_icmp_checksum(skb, L2_LENGTH + sizeof(front->outer), length, 0);
}

/* Error program. */
INLINE enum reason tc_translate_error_64(struct __sk_buff *skb, struct tc_downstream *down)
{
	struct tc_error_64 from = {.config = down->config};
	struct error_64 out;
	enum reason reason = tc_admit_error_64(skb, &from);

	if (!reason)
		reason = translate_error_64(from.config, &from.ipv6, &from.error.icmp, &from.quote,
					    &from.ends, from.error.end - from.error.quote_end,
					    kernel_random(), &out);
	if (reason)
		return reason;
	down->bytes = host16(out.front.outer.total_length);
	reason = tc_emit_error_64(skb, &from, &out);
	if (!reason)
		count_event(DIRECTION_64, REASON_ICMP_ERROR_CARRIED);
	return reason;
}

#endif
