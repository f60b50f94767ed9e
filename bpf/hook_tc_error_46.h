/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TC egress of the WAN: ICMP errors of the LAN about packets that came from the domain (RFC 7915
 * sections 4.2 and 4.3, RFC 5508 REQ-5 and 7). */
#ifndef MAPXDP_HOOK_TC_ERROR_46_H
#define MAPXDP_HOOK_TC_ERROR_46_H

#include "hook_tc_around.h"
#include "hook_tc_error.h"
#include "napt44_quoted.h"

struct tc_error_46 {
	struct tc_upstream up;
	struct tc_error error;
	struct quote4 quote;
	struct quoted_ends ends; /* as the domain knows them */
};

/* Whether a mode has a counterpart for the error. */
typedef enum reason (*kind_step)(const struct tc_error_46 *from);

/* How it turns the error into IPv6. */
typedef enum reason (*error_step)(struct __sk_buff *skb, const struct tc_error_46 *from);

INLINE enum reason tc_admit_error_46(struct __sk_buff *skb, struct tc_error_46 *from,
				     kind_step check_kind)
{
	const struct upstream *packet = &from->up.packet;
	const struct ipv4_view *ipv4 = &packet->ipv4;
	struct tc_error *error = &from->error;
	enum reason reason = tc_admit_46(skb, &from->up);

	if (reason != REASON_ICMP_NOT_CARRIED)
		return reason ? reason : REASON_ICMP_NOT_CARRIED;
	if (!tc_read_error(skb, packet->transport.offset, ipv4->offset + ipv4->total_length, error))
		return REASON_MALFORMED_TRANSPORT;
	reason = check_kind(from);
	if (reason)
		return reason;
	reason = tc_check_icmp(skb, error, 0);
	if (reason)
		return reason;
	tc_bound_quote(error, (host32(error->icmp.word) >> 16 & 0xff) * ICMP_LENGTH_UNIT);
	reason = tc_read_quote4(skb, tc_quote_offset(error), error->quote_end, &from->quote);
	if (reason)
		return reason;
	from->ends = quoted_ends(from->quote.header.source, from->quote.header.destination,
				 &from->quote.transport);
	return find_quoted_receiver(from->up.config, &from->quote.transport, &from->ends);
}

/* Back into the LAN, to who sent the quoted packet to the other's public port. */
INLINE enum reason tc_hairpin_error(struct __sk_buff *skb, struct tc_error_46 *from)
{
	const struct config *config = from->up.config;
	const struct quoted_transport *transport = &from->quote.transport;
	const struct ipv4_header *ipv4 = &from->up.packet.ipv4.header;
	struct ipv4_header outer;
	struct endpoint endpoint;
	enum reason reason = quoted_sender(
		config, transport->index, transport->source_port,
		quoted_peer(transport, config->ipv4, from->ends.destination_port), &endpoint);

	if (reason)
		return reason;
	from->ends.source = endpoint.ipv4;
	from->ends.source_port = endpoint.port;
	ipv4_header_renumbered(ipv4, config->ipv4, endpoint.ipv4, ipv4->tos, &outer);
	reason = tc_renumber_error(skb, &from->error, &from->quote, &from->ends);
	if (reason)
		return reason;
	tc_write_header(skb, L2_LENGTH, &outer, sizeof(outer));
	return REASON_HAIRPINNED;
}

/* Error program; both steps are inlined into it. */
INLINE int tc_error_46(struct __sk_buff *skb, kind_step check_kind, error_step emit)
{
	struct tc_error_46 from;
	enum reason reason = tc_admit_error_46(skb, &from, check_kind);

	if (!reason &&
	    is_hairpinned_quote(from.up.config, &from.up.packet.ipv4.header, &from.quote))
		reason = tc_hairpin_error(skb, &from);
	else if (!reason)
		reason = emit(skb, &from);
	if (class_of(reason) == CLASS_TRANSLATED)
		count_event(DIRECTION_46, REASON_ICMP_ERROR_CARRIED);
	if (reason != REASON_HAIRPINNED)
		return tc_finish(DIRECTION_46, reason, from.up.packets, from.up.bytes);
	count(DIRECTION_46, reason, from.up.packets, from.up.bytes);
	return tc_turn_around(skb);
}

#endif
