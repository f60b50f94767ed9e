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

/* An IPv4 packet becomes IPv6. */
INLINE struct rewriting rewriting_46(const struct config *config, const void *data, const void *end,
				     const struct accelerated_46 *up, struct translation_46 *out)
{
	struct rewriting to = {
		.headers = &out->ipv6,
		.length = sizeof(out->ipv6),
		.growth = IPV6_GROWTH,
		.type = ETHERTYPE_IPV6,
		.transport = &up->packet.transport,
		.change = &out->change,
		.shortcut = up->shortcut,
	};

	translate_46(config, data, end, &up->packet, up->shortcut->translated_port, out);
	return to;
}

/* An IPv6 packet becomes IPv4. */
INLINE struct rewriting rewriting_64(const struct config *config, const void *data, const void *end,
				     struct accelerated_64 *down, struct translation_64 *out)
{
	struct rewriting to = {
		.headers = &out->ipv4,
		.length = sizeof(out->ipv4),
		.growth = -IPV6_GROWTH,
		.type = ETHERTYPE_IPV4,
		.transport = &down->translated.transport,
		.change = &out->change,
		.shortcut = down->shortcut,
	};

	make_translated(config, data, end, down, out);
	return to;
}

INLINE int xdp_translate_46(struct xdp_md *frame, const struct config *config,
			    const struct accelerated_46 *up)
{
	struct translation_46 out = {};
	struct rewriting to = rewriting_46(config, xdp_data(frame), xdp_end(frame), up, &out);

	return xdp_send(frame, &to);
}

PROGRAM int mapt_xdp_lan(struct xdp_md *frame)
{
	return xdp_lan(frame, xdp_translate_46);
}

INLINE int xdp_translate_64(struct xdp_md *frame, const struct config *config,
			    struct accelerated_64 *down)
{
	struct translation_64 out = {};
	struct rewriting to = rewriting_64(config, xdp_data(frame), xdp_end(frame), down, &out);

	return xdp_send(frame, &to);
}

PROGRAM int mapt_xdp_wan(struct xdp_md *frame)
{
	return xdp_wan(frame, mode_translated(), xdp_translate_64);
}

INLINE enum reason tc_translate_46(struct __sk_buff *skb, const struct config *config,
				   const struct accelerated_46 *up)
{
	struct translation_46 out = {};
	struct rewriting to = rewriting_46(config, tc_data(skb), tc_end(skb), up, &out);

	if (!tc_may_rewrite(skb, leaves_checksum_46(&up->packet)))
		return tc_write_hop(skb, emit_46(skb, to.transport, &out), up->shortcut);
	if (kernel_skb_change_proto(skb, net16(ETHERTYPE_IPV6), 0))
		return REASON_KERNEL_REFUSED;
	return tc_rewrite(skb, &to);
}

PROGRAM int mapt_tc_lan(struct __sk_buff *skb)
{
	return tc_lan(skb, tc_translate_46);
}

INLINE enum reason tc_translate_64(struct __sk_buff *skb, const struct config *config,
				   struct accelerated_64 *down)
{
	struct translation_64 out = {};
	struct rewriting to = rewriting_64(config, tc_data(skb), tc_end(skb), down, &out);

	if (!tc_may_rewrite(skb, is_checksum_pending(to.transport, down->pseudo_header)))
		return tc_write_hop(skb, emit_64(skb, to.transport, &out), down->shortcut);
	if (kernel_skb_change_proto(skb, net16(ETHERTYPE_IPV4), 0))
		return REASON_KERNEL_REFUSED;
	return tc_rewrite(skb, &to);
}

PROGRAM int mapt_tc_wan(struct __sk_buff *skb)
{
	return tc_wan(skb, mode_translated(), tc_translate_64);
}

PROGRAM int mapt_confirm(struct __sk_buff *skb)
{
	return tc_confirm(skb);
}
