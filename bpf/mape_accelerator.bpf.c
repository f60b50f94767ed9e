/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MAP-E (RFC 7597) and lw4o6 (RFC 7596): the accelerator's programs.
 *
 *   mape_xdp_lan, mape_xdp_wan  XDP of a LAN interface and of the WAN
 *   mape_tc_lan, mape_tc_wan    the same at TC ingress
 *   mape_confirm                TC egress of a LAN interface
 */
#include "emit_mape.h"
#include "hook_tc_accelerator.h"
#include "hook_xdp_accelerator.h"

INLINE int xdp_encapsulate_46(struct xdp_md *frame, const struct config *config,
			      const struct accelerated_46 *up)
{
	struct encapsulation_46 out = {};

	encapsulate_46(config, xdp_data(frame), xdp_end(frame), &up->packet,
		       up->shortcut->translated_port, &out);
	return xdp_write(frame, sizeof(out.outer), &out, sizeof(out.outer) + sizeof(out.inner),
			 &up->packet.transport, &out.change, up->shortcut, ETHERTYPE_IPV6);
}

PROGRAM int mape_xdp_lan(struct xdp_md *frame)
{
	return xdp_lan(frame, xdp_encapsulate_46);
}

PROGRAM int mape_xdp_wan(struct xdp_md *frame)
{
	const struct config *config = active_config();
	struct encapsulated_64 packet;
	struct decapsulation_64 out = {};
	struct shortcut *shortcut;
	__u32 length;
	int verdict;

	if (!xdp_is_of_type(frame, ETHERTYPE_IPV6))
		return XDP_PASS;
	shortcut = encapsulated_shortcut_64(config, xdp_data(frame), xdp_end(frame), L2_LENGTH,
					    xdp_network_length(frame), &packet);
	length = packet.inner.total_length;
	if (!shortcut ||
	    is_checksum_pending(&packet.transport, pseudo_header_ipv4(&packet.inner)) ||
	    !xdp_is_for(frame, shortcut) ||
	    !takes_shortcut_64(frame, config, frame->ingress_ifindex, length, packet.tos, shortcut,
			       &packet.ends))
		return XDP_PASS;
	count_hop(&packet.inner.header);
	decapsulate_64(config, xdp_data(frame), xdp_end(frame), &packet, &out);
	verdict = xdp_write(frame, -(__s32)sizeof(struct ipv6_header), &out.ipv4, sizeof(out.ipv4),
			    &packet.transport, &out.change, shortcut, ETHERTYPE_IPV4);
	return xdp_finish(verdict, DIRECTION_64, length);
}

INLINE enum reason tc_encapsulate_46(struct __sk_buff *skb, const struct config *config,
				     const struct accelerated_46 *up)
{
	struct encapsulation_46 out = {};

	encapsulate_46(config, tc_data(skb), tc_end(skb), &up->packet,
		       up->shortcut->translated_port, &out);
	return emit_46(skb, &up->packet.transport, &out);
}

PROGRAM int mape_tc_lan(struct __sk_buff *skb)
{
	return tc_lan(skb, tc_encapsulate_46);
}

PROGRAM int mape_tc_wan(struct __sk_buff *skb)
{
	const struct config *config = active_config();
	struct encapsulated_64 packet;
	struct decapsulation_64 out = {};
	struct shortcut *shortcut;
	enum reason reason;
	__u32 packets;
	__u32 length;

	if (!tc_may_accelerate(skb, ETHERTYPE_IPV6))
		return TC_ACT_UNSPEC;
	shortcut = encapsulated_shortcut_64(config, tc_data(skb), tc_end(skb), L2_LENGTH,
					    tc_network_length(skb), &packet);
	if (!shortcut)
		return TC_ACT_UNSPEC;
	length = packet.inner.total_length;
	if (!takes_shortcut_64(skb, config, skb->ifindex,
			       longest_piece(length,
					     sizeof(out.ipv4) + packet.transport.header_length,
					     skb->gso_size),
			       packet.tos, shortcut, &packet.ends))
		return TC_ACT_UNSPEC;
	count_hop(&packet.inner.header);
	packets = tc_segments(skb, headers_length(&packet.transport));
	decapsulate_64(config, tc_data(skb), tc_end(skb), &packet, &out);
	reason = emit_64(skb, &packet.transport, &out);
	if (reason)
		return tc_finish(DIRECTION_64, reason, packets, length);
	return tc_take_shortcut(skb, shortcut, DIRECTION_64, packets, length);
}

PROGRAM int mape_confirm(struct __sk_buff *skb)
{
	return tc_confirm(skb);
}
