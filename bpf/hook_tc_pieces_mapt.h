/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MAP-T: the headers of IPv6 fragments (RFC 7915 section 4.1). */
#ifndef MAPXDP_HOOK_TC_PIECES_MAPT_H
#define MAPXDP_HOOK_TC_PIECES_MAPT_H

#include "hook_tc_pieces_46.h"

INLINE void leave_translated(const struct tc_upstream *up, const struct ipv6_header *ipv6,
			     struct pieces *out)
{
	_Bool stays_whole = forbids_fragments(&up->packet.ipv4.header);

	__builtin_memcpy(out->ipv6, ipv6, sizeof(out->ipv6));
	out->form = PIECE_IPV6_FRAGMENT;
	out->limit = (stays_whole ? up->config->ipv6_mtu : up->config->lowest_ipv6_mtu) -
		     headers_of(PIECE_IPV6_FRAGMENT);
}

INLINE void depart_translated(const struct __sk_buff *skb, const struct tc_upstream *up, __u16 port,
			      struct pieces *out, struct transport_change *change)
{
	struct translation_46 translation = {};

	translate_46(up->config, tc_data(skb), tc_end(skb), &up->packet, port, &translation);
	*change = translation.change;
	leave_translated(up, &translation.ipv6, out);
}

INLINE void follow_translated(const struct tc_upstream *up, const struct fragment_entry *entry,
			      struct pieces *out)
{
	struct ipv6_header ipv6;
	__be32 source[4];

	translated_source(up->config, up->packet.ipv4.header.source, source);
	ipv6_header_from_ipv4(&up->packet.ipv4, source, entry->far_end, &ipv6);
	set_traffic_class(&ipv6, translated_class(up->config, up->packet.ipv4.header.tos));
	leave_translated(up, &ipv6, out);
}

#endif
