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

INLINE int xdp_translate_64(struct xdp_md *frame, const struct config *config,
			    struct accelerated_64 *down)
{
	struct translation_64 out = {};

	make_translated(config, xdp_data(frame), xdp_end(frame), down, &out);
	return xdp_write(frame, -IPV6_GROWTH, &out.ipv4, sizeof(out.ipv4),
			 &down->translated.transport, &out.change, down->shortcut, ETHERTYPE_IPV4);
}

PROGRAM int mapt_xdp_wan(struct xdp_md *frame)
{
	return xdp_wan(frame, mode_translated(), xdp_translate_64);
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

INLINE enum reason tc_translate_64(struct __sk_buff *skb, const struct config *config,
				   struct accelerated_64 *down)
{
	struct translation_64 out = {};

	make_translated(config, tc_data(skb), tc_end(skb), down, &out);
	return emit_64(skb, &down->translated.transport, &out);
}

PROGRAM int mapt_tc_wan(struct __sk_buff *skb)
{
	return tc_wan(skb, mode_translated(), tc_translate_64);
}

PROGRAM int mapt_confirm(struct __sk_buff *skb)
{
	return tc_confirm(skb);
}
