/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MAP-E and lw4o6: the headers of IPv4 fragments in IPv6 (RFC 7597 section 8.3). */
#ifndef MAPXDP_HOOK_TC_PIECES_MAPE_H
#define MAPXDP_HOOK_TC_PIECES_MAPE_H

#include "hook_tc_pieces_46.h"

INLINE void leave_encapsulated(const struct tc_upstream *up, const struct ipv6_header *outer,
			       struct ipv4_header *inner, struct pieces *out)
{
	/* A whole packet keeps the identification it has, if the outer packet is cut. */
	if (up->packet.ipv4.is_fragment)
		become_fragment(inner, out->identification, out->offset, out->length, out->more);
	__builtin_memcpy(out->ipv6, outer, sizeof(out->ipv6));
	__builtin_memcpy(out->ipv4, inner, sizeof(out->ipv4));
	out->form = PIECE_ENCAPSULATED;
	out->limit = up->config->ipv4_mtu - sizeof(*inner);
}

INLINE void depart_encapsulated(const struct __sk_buff *skb, const struct tc_upstream *up,
				__u16 port, struct pieces *out, struct transport_change *change)
{
	struct encapsulation_46 encapsulation = {};

	encapsulate_46(up->config, tc_data(skb), tc_end(skb), &up->packet, port, &encapsulation);
	*change = encapsulation.change;
	leave_encapsulated(up, &encapsulation.outer, &encapsulation.inner, out);
}

INLINE void follow_encapsulated(const struct tc_upstream *up, const struct fragment_entry *entry,
				struct pieces *out)
{
	const struct ipv4_header *ipv4 = &up->packet.ipv4.header;
	struct ipv6_header outer;
	struct ipv4_header inner;

	tunnel_header(&up->packet.ipv4, up->config->map_address, entry->far_end, &outer);
	set_traffic_class(&outer, tunnel_class(up->config, ipv4->tos));
	ipv4_header_renumbered(ipv4, entry->source, ipv4->destination, ipv4->tos, &inner);
	leave_encapsulated(up, &outer, &inner, out);
}

#endif
