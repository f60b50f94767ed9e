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

INLINE int xdp_decapsulate_64(struct xdp_md *frame, const struct config *config,
			      struct accelerated_64 *down)
{
	struct decapsulation_64 out = {};

	make_encapsulated(config, xdp_data(frame), xdp_end(frame), down, &out);
	return xdp_write(frame, -(__s32)sizeof(struct ipv6_header), &out.ipv4, sizeof(out.ipv4),
			 &down->encapsulated.transport, &out.change, down->shortcut,
			 ETHERTYPE_IPV4);
}

PROGRAM int mape_xdp_wan(struct xdp_md *frame)
{
	return xdp_wan(frame, mode_encapsulated(), xdp_decapsulate_64);
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

INLINE enum reason tc_decapsulate_64(struct __sk_buff *skb, const struct config *config,
				     struct accelerated_64 *down)
{
	struct decapsulation_64 out = {};

	make_encapsulated(config, tc_data(skb), tc_end(skb), down, &out);
	return emit_64(skb, &down->encapsulated.transport, &out);
}

PROGRAM int mape_tc_wan(struct __sk_buff *skb)
{
	return tc_wan(skb, mode_encapsulated(), tc_decapsulate_64);
}

PROGRAM int mape_confirm(struct __sk_buff *skb)
{
	return tc_confirm(skb);
}
