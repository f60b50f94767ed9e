/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MAP-E (RFC 7597) and lw4o6 (RFC 7596): the programs of a WAN interface.
 *
 *   mape_46         TC egress, and what it tail-calls:
 *   mape_46_…       see hook_tc_46.h
 *   mape_64         TC ingress, and what it tail-calls:
 *   mape_64_…       see hook_tc_extension.h
 *   mape_control    run by the control plane
 *
 * Errors and fragments: mape_rare.bpf.c.
 */
#include "emit_mape.h"
#include "hook_tc_around.h"
#include "hook_tc_control.h"
#include "hook_tc_extension.h"
#include "hook_tc_mss.h"
#include "hook_tc_other.h"
#include "translate64.h"

INLINE enum reason encapsulate_and_emit_46(struct __sk_buff *skb, const struct tc_upstream *up,
					   __u16 port)
{
	struct encapsulation_46 out = {};

	encapsulate_46(up->config, tc_data(skb), tc_end(skb), &up->packet, port, &out);
	if (emit_46(skb, &up->packet.transport, &out))
		return REASON_KERNEL_REFUSED;
	tc_clamp_mss(skb, up->config, &up->packet.transport, sizeof(out.outer), PROGRAM_MSS,
		     up->packets, up->bytes);
	return REASON_TRANSLATED;
}

PROGRAM int mape_46(struct __sk_buff *skb)
{
	return tc_enter_46(skb, encapsulate_and_emit_46);
}

PROGRAM int mape_46_allocate(struct __sk_buff *skb)
{
	return tc_upstream(skb, tc_allocate_46, encapsulate_and_emit_46);
}

PROGRAM int mape_46_reclaim(struct __sk_buff *skb)
{
	tc_search(skb);
	return tc_upstream(skb, tc_reclaim_46, encapsulate_and_emit_46);
}

PROGRAM int mape_46_share(struct __sk_buff *skb)
{
	return tc_upstream(skb, tc_share_46, encapsulate_and_emit_46);
}

PROGRAM int mape_46_flow(struct __sk_buff *skb)
{
	return tc_upstream(skb, tc_flow_46, encapsulate_and_emit_46);
}

PROGRAM int mape_46_sweep(struct __sk_buff *skb)
{
	return tc_sweep(skb);
}

PROGRAM int mape_46_hairpin(struct __sk_buff *skb)
{
	return tc_hairpin(skb);
}

PROGRAM int mape_46_refuse(struct __sk_buff *skb)
{
	return tc_refuse_and_tell(skb);
}

PROGRAM int mape_46_mss(struct __sk_buff *skb)
{
	return tc_mss(skb, DIRECTION_46);
}

PROGRAM int mape_46_first(struct __sk_buff *skb)
{
	return tc_upstream(skb, tc_port_46, encapsulate_and_emit_46);
}

PROGRAM int mape_control(struct __sk_buff *skb)
{
	return tc_control(skb);
}

INLINE enum reason decapsulate_and_emit_64(struct __sk_buff *skb, struct tc_downstream *down)
{
	struct encapsulated_64 packet;
	struct decapsulation_64 out = {};
	enum reason reason = admit_encapsulated_64(down->config, tc_data(skb), tc_end(skb),
						   L2_LENGTH, down->bytes, &packet);

	if (reason)
		return reason;
	down->packets = tc_segments(skb, headers_length(&packet.transport));
	down->bytes = packet.inner.total_length;
	decapsulate_64(down->config, tc_data(skb), tc_end(skb), &packet, &out);
	if (emit_64(skb, &packet.transport, &out))
		return REASON_KERNEL_REFUSED;
	tc_clamp_mss(skb, down->config, &packet.transport, -(__s32)sizeof(struct ipv6_header),
		     PROGRAM_MSS_64, down->packets, down->bytes);
	return REASON_TRANSLATED;
}

PROGRAM int mape_64(struct __sk_buff *skb)
{
	return tc_downstream(skb, decapsulate_and_emit_64);
}

PROGRAM int mape_64_mss(struct __sk_buff *skb)
{
	return tc_mss(skb, DIRECTION_64);
}

PROGRAM int mape_64_extension(struct __sk_buff *skb)
{
	return tc_extension(skb);
}

INLINE enum reason emit_other_46(struct __sk_buff *skb, const struct tc_upstream *up)
{
	const struct ipv4_view *ipv4 = &up->packet.ipv4;
	struct ipv6_header outer;
	__be32 far_end[4];

	tunnel_destination(up->config, ipv4->header.destination, NO_PORT, far_end);
	tunnel_header(ipv4, up->config->map_address, far_end, &outer);
	set_traffic_class(&outer, tunnel_class(up->config, ipv4->header.tos));
	if (kernel_skb_adjust_room(skb, sizeof(outer), BPF_ADJ_ROOM_MAC,
				   BPF_F_ADJ_ROOM_ENCAP_L3_IPV6 | BPF_F_ADJ_ROOM_FIXED_GSO))
		return REASON_KERNEL_REFUSED;
	tc_write_header(skb, L2_LENGTH, &outer, sizeof(outer));
	tc_write_ether_type(skb, ETHERTYPE_IPV6);
	return REASON_TRANSLATED;
}

PROGRAM int mape_46_other(struct __sk_buff *skb)
{
	return tc_other_46(skb, emit_other_46);
}

INLINE enum reason decapsulate_other_and_emit_64(struct __sk_buff *skb, struct tc_downstream *down)
{
	struct encapsulated_64 packet = {};
	enum reason reason = admit_encapsulated_64(down->config, tc_data(skb), tc_end(skb),
						   L2_LENGTH, down->bytes, &packet);
	const struct ipv4_header *inner = &packet.inner.header;
	struct ipv4_header ipv4;

	if (reason != REASON_PROTOCOL_WITHOUT_PORTS)
		return reason;
	reason = check_other_64(down->config, inner->protocol,
				packet.inner.total_length - ipv4_header_length(inner),
				rule_of_tunnelled(down->config, packet.outer.source),
				packet.outer.source, inner->source);
	if (reason)
		return reason;
	down->bytes = packet.inner.total_length;
	ipv4_header_renumbered(inner, inner->source, inner->destination, packet.tos, &ipv4);
	if (tc_remove_tunnel_header(skb))
		return REASON_KERNEL_REFUSED;
	tc_write(skb, L2_LENGTH, &ipv4, sizeof(ipv4));
	tc_write_ether_type(skb, ETHERTYPE_IPV4);
	return REASON_TRANSLATED;
}

PROGRAM int mape_64_other(struct __sk_buff *skb)
{
	return tc_downstream_once(skb, decapsulate_other_and_emit_64);
}
