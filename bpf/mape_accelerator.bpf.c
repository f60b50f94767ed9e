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

/* An IPv4 packet gets a tunnel header. */
INLINE struct rewriting rewriting_46(const struct config *config, const void *data, const void *end,
				     const struct accelerated_46 *up, struct encapsulation_46 *out)
{
	struct rewriting to = {
		.headers = out,
		.length = sizeof(out->outer) + sizeof(out->inner),
		.growth = sizeof(out->outer),
		.type = ETHERTYPE_IPV6,
		.transport = &up->packet.transport,
		.change = &out->change,
		.shortcut = up->shortcut,
	};

	encapsulate_46(config, data, end, &up->packet, up->shortcut->translated_port, out);
	return to;
}

/* An IPv4 packet leaves its tunnel. */
INLINE struct rewriting rewriting_64(const struct config *config, const void *data, const void *end,
				     struct accelerated_64 *down, struct decapsulation_64 *out)
{
	struct rewriting to = {
		.headers = &out->ipv4,
		.length = sizeof(out->ipv4),
		.growth = -(__s32)sizeof(struct ipv6_header),
		.type = ETHERTYPE_IPV4,
		.transport = &down->encapsulated.transport,
		.change = &out->change,
		.shortcut = down->shortcut,
	};

	make_encapsulated(config, data, end, down, out);
	return to;
}

INLINE int xdp_encapsulate_46(struct xdp_md *frame, const struct config *config,
			      const struct accelerated_46 *up)
{
	struct encapsulation_46 out = {};
	struct rewriting to = rewriting_46(config, xdp_data(frame), xdp_end(frame), up, &out);

	return xdp_send(frame, &to);
}

PROGRAM int mape_xdp_lan(struct xdp_md *frame)
{
	return xdp_lan(frame, xdp_encapsulate_46);
}

INLINE int xdp_decapsulate_64(struct xdp_md *frame, const struct config *config,
			      struct accelerated_64 *down)
{
	struct decapsulation_64 out = {};
	struct rewriting to = rewriting_64(config, xdp_data(frame), xdp_end(frame), down, &out);

	return xdp_send(frame, &to);
}

PROGRAM int mape_xdp_wan(struct xdp_md *frame)
{
	return xdp_wan(frame, mode_encapsulated(), xdp_decapsulate_64);
}

INLINE enum reason tc_encapsulate_46(struct __sk_buff *skb, const struct config *config,
				     const struct accelerated_46 *up)
{
	struct encapsulation_46 out = {};
	struct rewriting to = rewriting_46(config, tc_data(skb), tc_end(skb), up, &out);

	if (!tc_may_rewrite(skb, leaves_checksum_46(&up->packet)))
		return tc_write_hop(skb, emit_46(skb, to.transport, &out), up->shortcut);
	if (tc_add_tunnel_header(skb))
		return REASON_KERNEL_REFUSED;
	return tc_rewrite(skb, &to);
}

PROGRAM int mape_tc_lan(struct __sk_buff *skb)
{
	return tc_lan(skb, tc_encapsulate_46);
}

INLINE enum reason tc_decapsulate_64(struct __sk_buff *skb, const struct config *config,
				     struct accelerated_64 *down)
{
	struct decapsulation_64 out = {};
	struct rewriting to = rewriting_64(config, tc_data(skb), tc_end(skb), down, &out);

	if (!tc_may_rewrite(skb, is_checksum_pending(to.transport, down->pseudo_header)))
		return tc_write_hop(skb, emit_64(skb, to.transport, &out), down->shortcut);
	if (tc_remove_tunnel_header(skb))
		return REASON_KERNEL_REFUSED;
	return tc_rewrite(skb, &to);
}

PROGRAM int mape_tc_wan(struct __sk_buff *skb)
{
	return tc_wan(skb, mode_encapsulated(), tc_decapsulate_64);
}

PROGRAM int mape_confirm(struct __sk_buff *skb)
{
	return tc_confirm(skb);
}
