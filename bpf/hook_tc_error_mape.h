/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MAP-E and lw4o6: ICMP errors through the tunnel, and ICMPv6 errors about packets in it. */
#ifndef MAPXDP_HOOK_TC_ERROR_MAPE_H
#define MAPXDP_HOOK_TC_ERROR_MAPE_H

#include "hook_tc_error_46.h"
#include "translate64.h"
#include "tunnel_error.h"

INLINE enum reason is_encapsulatable_46(const struct tc_error_46 *from)
{
	if (from->up.packet.ipv4.total_length > from->up.config->ipv4_mtu)
		return REASON_TOO_BIG;
	return is_icmp_error(from->error.icmp.type) ? REASON_TRANSLATED : REASON_ICMP_NOT_CARRIED;
}

/* Whichever host of the LAN has something to say: the public address (RFC 5508 REQ-5). */
INLINE __be32 outer_source(const struct config *config, __be32 source)
{
	return config->napt44 == NAPT44_NONE && is_own_ipv4(config, source) ? source : config->ipv4;
}

INLINE enum reason tc_encapsulate_error_46(struct __sk_buff *skb, const struct tc_error_46 *from)
{
	const __u64 flags = BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_FIXED_GSO;
	const struct config *config = from->up.config;
	const struct ipv4_view *ipv4 = &from->up.packet.ipv4;
	struct ipv6_header outer;
	struct ipv4_header inner;
	__be32 far_end[4];

	tunnel_destination(config, ipv4->header.destination, from->ends.source_port, far_end);
	tunnel_header(ipv4, config->map_address, far_end, &outer);
	set_traffic_class(&outer, tunnel_class(config, ipv4->header.tos));
	ipv4_header_renumbered(&ipv4->header, outer_source(config, ipv4->header.source),
			       ipv4->header.destination, ipv4->header.tos, &inner);
	if (tc_renumber_error(skb, &from->error, &from->quote, &from->ends))
		return REASON_KERNEL_REFUSED;
	tc_write_header(skb, L2_LENGTH, &inner, sizeof(inner));
	if (kernel_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC, flags))
		return REASON_KERNEL_REFUSED;
	tc_write_header(skb, L2_LENGTH, &outer, sizeof(outer));
	tc_write_ether_type(skb, ETHERTYPE_IPV6);
	return REASON_TRANSLATED;
}

struct tc_error_64 {
	const struct config *config;
	struct tc_error error;
	struct quote4 quote;
	struct quoted_ends ends; /* as the LAN knows them */
	__be32 far_end[4];	 /* of the quoted tunnel packet */
};

/* The quoted packet is this CE's, by address and port. */
INLINE enum reason check_sent(const struct config *config, const struct quote4 *quote)
{
	struct port_set set = port_set_of(config);

	if (!is_own_ipv4(config, quote->header.source))
		return REASON_QUOTE_INVALID;
	return port_in_set(&set, quote->transport.source_port) ? REASON_TRANSLATED
							       : REASON_PORT_OUTSIDE_SET;
}

INLINE enum reason find_sent(struct tc_error_64 *from)
{
	from->ends = quoted_ends(from->quote.header.source, from->quote.header.destination,
				 &from->quote.transport);
	return find_quoted_sender(from->config, &from->quote.transport, &from->ends);
}

/* Another CE speaks for packets to its own port, from its own address. The BR answers for all. */
INLINE enum reason check_speaker(const struct tc_error_64 *from,
				 const struct encapsulated_64 *packet)
{
	const __be32 *outer = packet->outer.source;

	return check_source_64(rule_of_tunnelled(from->config, outer), outer,
			       packet->inner.header.source, from->quote.transport.destination_port);
}

/* An error of the Internet, or of another CE. */
INLINE enum reason tc_admit_inner_error(struct __sk_buff *skb, struct tc_error_64 *from,
					struct encapsulated_64 *packet)
{
	const struct ipv4_view *inner = &packet->inner;
	struct tc_error *error = &from->error;
	enum reason reason = admit_encapsulated_64(from->config, tc_data(skb), tc_end(skb),
						   L2_LENGTH, tc_network_length(skb), packet);

	if (reason != REASON_ICMP_NOT_CARRIED)
		return reason ? reason : REASON_ICMP_NOT_CARRIED;
	if (!tc_read_error(skb, packet->transport.offset, inner->offset + inner->total_length,
			   error))
		return REASON_MALFORMED_TRANSPORT;
	if (!is_icmp_error(error->icmp.type))
		return REASON_ICMP_NOT_CARRIED;
	reason = tc_check_icmp(skb, error, 0);
	if (reason)
		return reason;
	if (is_martian(inner->header.source))
		return REASON_SOURCE_MARTIAN;
	tc_bound_quote(error, (host32(error->icmp.word) >> 16 & 0xff) * ICMP_LENGTH_UNIT);
	reason = tc_read_quote4(skb, tc_quote_offset(error), error->quote_end, &from->quote);
	if (!reason)
		reason = check_sent(from->config, &from->quote);
	if (!reason)
		reason = check_speaker(from, packet);
	return reason ? reason : find_sent(from);
}

INLINE enum reason tc_decapsulate_error_64(struct __sk_buff *skb, struct tc_downstream *down)
{
	struct tc_error_64 from = {.config = down->config};
	struct encapsulated_64 packet;
	struct ipv4_header ipv4;
	enum reason reason = tc_admit_inner_error(skb, &from, &packet);

	if (reason)
		return reason;
	down->bytes = packet.inner.total_length;
	ipv4_header_renumbered(&packet.inner.header, packet.inner.header.source, from.ends.source,
			       packet.tos, &ipv4);
	if (tc_renumber_error(skb, &from.error, &from.quote, &from.ends) ||
	    tc_change_family(skb, ETHERTYPE_IPV4, -(__s32)sizeof(struct ipv6_header)))
		return REASON_KERNEL_REFUSED;
	tc_write_header(skb, L2_LENGTH, &ipv4, sizeof(ipv4));
	return REASON_TRANSLATED;
}

/* The IPv4 packet in the quoted tunnel packet; `is_limit`: the error is about the Tunnel
 * Encapsulation Limit before it. */
INLINE enum reason tc_read_tunnel_quote(struct __sk_buff *skb, struct tc_error_64 *from,
					__u32 *offset, _Bool *is_limit)
{
	const struct config *config = from->config;
	__u32 end = from->error.quote_end;
	struct ipv6_header outer;
	struct tunnel_limit limit;

	*is_limit = 0;
	if (*offset + sizeof(outer) > end ||
	    kernel_skb_load_bytes(skb, *offset, &outer, sizeof(outer)))
		return REASON_QUOTE_INVALID;
	if (!is_tunnel_header(&outer, config->map_address))
		return REASON_QUOTE_INVALID;
	__builtin_memcpy(from->far_end, outer.destination, sizeof(from->far_end));
	*offset += sizeof(outer);
	if (outer.next_header == EXTENSION_DESTINATION) {
		if (*offset + sizeof(limit) > end ||
		    kernel_skb_load_bytes(skb, *offset, &limit, sizeof(limit)) ||
		    !is_tunnel_limit(&limit))
			return REASON_QUOTE_INVALID;
		*offset += sizeof(limit);
		*is_limit = host32(from->error.icmp.word) == LIMIT_POINTER;
	} else if (outer.next_header != PROTOCOL_IPV4) {
		return REASON_QUOTE_INVALID;
	}
	return tc_read_quote4(skb, *offset, end, &from->quote);
}

/* The quoted tunnel packet went where this CE sends packets to that destination. */
INLINE _Bool is_far_end_right(const struct tc_error_64 *from)
{
	__be32 far_end[4];

	tunnel_destination(from->config, from->quote.header.destination,
			   from->quote.transport.destination_port, far_end);
	return same_ipv6(from->far_end, far_end);
}

/* From the quoted packet in the tunnel, which is at `offset`, to who sent it. */
INLINE enum reason tc_read_sent_quote(struct __sk_buff *skb, struct tc_error_64 *from,
				      __u32 *offset)
{
	const struct icmp_error *icmp = &from->error.icmp;
	_Bool is_limit;
	enum reason reason;

	if (icmpv6_has_length(icmp->type))
		tc_bound_quote(&from->error, (host32(icmp->word) >> 24) * ICMPV6_LENGTH_UNIT);
	*offset = tc_quote_offset(&from->error);
	reason = tc_read_tunnel_quote(skb, from, offset, &is_limit);
	if (!reason)
		reason = check_sent(from->config, &from->quote);
	if (reason)
		return reason;
	if (!is_far_end_right(from))
		return REASON_QUOTE_INVALID;
	if (is_refusal_by_br(icmp))
		return REASON_BR_REFUSED;
	if (!concerns_inner(icmp, &from->quote.header, is_limit))
		return REASON_ICMP_NOT_CARRIED;
	return find_sent(from);
}

INLINE enum reason tc_admit_tunnel_error(struct __sk_buff *skb, struct tc_error_64 *from,
					 const struct ipv6_view *ipv6, __u32 *offset)
{
	struct tc_error *error = &from->error;
	__u32 end = L2_LENGTH + sizeof(struct ipv6_header) + ipv6->payload_length;
	enum reason reason;

	if (ipv6->next_header != PROTOCOL_ICMPV6 || check_payload(ipv6, tc_network_length(skb)) ||
	    ipv6->payload_length < sizeof(error->icmp) ||
	    !tc_read_error(skb, L2_LENGTH + sizeof(struct ipv6_header), end, error) ||
	    error->icmp.type >= ICMPV6_INFORMATIONAL)
		return REASON_NOT_ENCAPSULATED;
	if (!is_tunnel_error(&error->icmp) ||
	    (is_refusal_by_br(&error->icmp) && !same_ipv6(ipv6->source, from->config->far_end)))
		return REASON_ICMP_NOT_CARRIED;
	reason = tc_check_icmp(skb, error,
			       sum_ipv6(ipv6->source) + sum_ipv6(ipv6->destination) +
				       icmpv6_pseudo_sum(ipv6->payload_length));
	return reason ? reason : tc_read_sent_quote(skb, from, offset);
}

/* Writes `front`, and what is left of the quote behind it. */
INLINE enum reason tc_emit_tunnel_error(struct __sk_buff *skb, const struct tc_error_64 *from,
					__u32 offset, __u32 quoted,
					const struct tunnel_error *front)
{
	__u32 start = L2_LENGTH + sizeof(*front);
	struct ipv4_header header;
	struct quoted_change change;

	renumber_quote(&from->quote, &from->ends, &header, &change);
	if (tc_make_all_writable(skb))
		return REASON_KERNEL_REFUSED;
	/* From here on there is no way back: the packet is changed. */
	tc_write_header(skb, offset, &header, sizeof(header));
	tc_write_quoted(skb, &from->quote.transport, &change);
	if (kernel_skb_change_tail(skb, offset + quoted, 0) ||
	    tc_change_family(skb, ETHERTYPE_IPV4, start - offset))
		return REASON_KERNEL_REFUSED;
	tc_write_header(skb, L2_LENGTH, front, sizeof(*front));
	return tc_write_icmp_checksum(skb, L2_LENGTH + sizeof(front->ipv4),
				      sizeof(front->icmp) + quoted, 0);
}

INLINE enum reason tc_tell_sender(struct __sk_buff *skb, struct tc_downstream *down,
				  const struct ipv6_view *ipv6)
{
	const struct config *config = down->config;
	struct tc_error_64 from = {.config = config};
	struct tunnel_error front;
	__u32 offset;
	__u32 quoted;
	enum reason reason = tc_admit_tunnel_error(skb, &from, ipv6, &offset);

	if (reason)
		return reason;
	quoted = lesser(from.error.quote_end - offset, ICMP_BODY_MAX);
	tell_sender(&from.error.icmp, config->ipv6_mtu, config->icmp_error_source, from.ends.source,
		    quoted, kernel_random(), &front);
	down->bytes = sizeof(front) + quoted;
	return tc_emit_tunnel_error(skb, &from, offset, quoted, &front);
}

/* Error program. */
INLINE enum reason tc_error_64(struct __sk_buff *skb, struct tc_downstream *down)
{
	struct ipv6_view ipv6;
	enum reason reason = admit_64(down->config, tc_data(skb), tc_end(skb), L2_LENGTH, &ipv6);

	if (reason)
		return reason;
	if (ipv6.next_header == PROTOCOL_IPV4)
		reason = tc_decapsulate_error_64(skb, down);
	else
		reason = tc_tell_sender(skb, down, &ipv6);
	if (!reason)
		count_event(DIRECTION_64, REASON_ICMP_ERROR_CARRIED);
	return reason;
}

#endif
