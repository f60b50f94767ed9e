/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MAP-T (RFC 7599): the accelerator's programs.
 *
 *   mapt_xdp_lan, mapt_xdp_wan  XDP of a LAN interface and of the WAN
 *   mapt_tc_lan, mapt_tc_wan    the same at TC ingress
 *   mapt_confirm                TC egress of a LAN interface
 */
#include "emit_mapt.h"
#include "hook_tc_accelerator.h"
#include "hook_xdp_accelerator.h"

INLINE int xdp_translate_46(struct xdp_md *frame, const struct config *config,
			    const struct accelerated_46 *up)
{
	struct translation_46 out = {};

	translate_46(config, xdp_data(frame), xdp_end(frame), &up->packet,
		     up->shortcut->translated_port, &out);
	return xdp_write(frame, IPV6_GROWTH, &out.ipv6, sizeof(out.ipv6), &up->packet.transport,
			 &out.change, up->shortcut, ETHERTYPE_IPV6);
}

PROGRAM int mapt_xdp_lan(struct xdp_md *frame)
{
	return xdp_lan(frame, xdp_translate_46);
}

INLINE __u64 pseudo_header_ipv6(const struct ipv6_view *ipv6)
{
	return sum_ipv6(ipv6->source) + sum_ipv6(ipv6->destination) + net16(ipv6->payload_length) +
	       net16(ipv6->next_header);
}

PROGRAM int mapt_xdp_wan(struct xdp_md *frame)
{
	const struct config *config = active_config();
	struct translated_64 packet;
	struct translation_64 out = {};
	struct shortcut *shortcut;
	__u32 length;
	int verdict;

	if (!xdp_is_of_type(frame, ETHERTYPE_IPV6))
		return XDP_PASS;
	shortcut = translated_shortcut_64(config, xdp_data(frame), xdp_end(frame), L2_LENGTH,
					  xdp_network_length(frame), &packet);
	length = ipv4_length_from_ipv6(&packet.ipv6);
	if (!shortcut || is_checksum_pending(&packet.transport, pseudo_header_ipv6(&packet.ipv6)) ||
	    !xdp_is_for(frame, shortcut) ||
	    !takes_shortcut_64(frame, config, frame->ingress_ifindex, length,
			       packet.ipv6.traffic_class, shortcut, &packet.ends))
		return XDP_PASS;
	packet.ipv6.hop_limit--;
	translate_64(config, xdp_data(frame), xdp_end(frame), &packet, kernel_random(), &out);
	verdict = xdp_write(frame, -IPV6_GROWTH, &out.ipv4, sizeof(out.ipv4), &packet.transport,
			    &out.change, shortcut, ETHERTYPE_IPV4);
	return xdp_finish(verdict, DIRECTION_64, length);
}

INLINE enum reason tc_translate_46(struct __sk_buff *skb, const struct config *config,
				   const struct accelerated_46 *up)
{
	struct translation_46 out = {};

	translate_46(config, tc_data(skb), tc_end(skb), &up->packet, up->shortcut->translated_port,
		     &out);
	return emit_46(skb, &up->packet.transport, &out);
}

PROGRAM int mapt_tc_lan(struct __sk_buff *skb)
{
	return tc_lan(skb, tc_translate_46);
}

PROGRAM int mapt_tc_wan(struct __sk_buff *skb)
{
	const struct config *config = active_config();
	struct translated_64 packet;
	struct translation_64 out = {};
	struct shortcut *shortcut;
	enum reason reason;
	__u32 packets;
	__u32 length;

	if (!tc_may_accelerate(skb, ETHERTYPE_IPV6))
		return TC_ACT_UNSPEC;
	shortcut = translated_shortcut_64(config, tc_data(skb), tc_end(skb), L2_LENGTH,
					  tc_network_length(skb), &packet);
	if (!shortcut)
		return TC_ACT_UNSPEC;
	length = ipv4_length_from_ipv6(&packet.ipv6);
	if (!takes_shortcut_64(skb, config, skb->ifindex,
			       longest_piece(length,
					     sizeof(out.ipv4) + packet.transport.header_length,
					     skb->gso_size),
			       packet.ipv6.traffic_class, shortcut, &packet.ends))
		return TC_ACT_UNSPEC;
	packet.ipv6.hop_limit--;
	packets = tc_segments(skb, headers_length(&packet.transport));
	translate_64(config, tc_data(skb), tc_end(skb), &packet, kernel_random(), &out);
	reason = emit_64(skb, &packet.transport, &out);
	if (reason)
		return tc_finish(DIRECTION_64, reason, packets, length);
	return tc_take_shortcut(skb, shortcut, DIRECTION_64, packets, length);
}

PROGRAM int mapt_confirm(struct __sk_buff *skb)
{
	return tc_confirm(skb);
}
