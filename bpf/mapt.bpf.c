/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MAP-T (RFC 7599): the programs of a WAN interface.
 *
 *   mapt_46         TC egress, and what it tail-calls:
 *   mapt_46_…       see hook_tc_46.h
 *   mapt_64         TC ingress
 *   mapt_control    run by the control plane
 */
#include "hook_tc_around.h"
#include "hook_tc_control.h"
#include "hook_tc_pieces_mapt.h"
#include "hook_tc_pieces_mapt_64.h"
#include "translate64.h"

INLINE enum reason emit_46(struct __sk_buff *skb, const struct transport *transport,
			   const struct translation_46 *out)
{
	if (tc_make_writable(skb, transport))
		return REASON_KERNEL_REFUSED;
	/* From here on there is no way back: the packet is changed. */
	tc_write_transport(skb, DIRECTION_46, transport, &out->change);
	if (kernel_skb_change_proto(skb, net16(ETHERTYPE_IPV6), 0))
		return REASON_KERNEL_REFUSED;
	tc_write_header(skb, L2_LENGTH, &out->ipv6, sizeof(out->ipv6));
	tc_write_ether_type(skb, ETHERTYPE_IPV6);
	return REASON_TRANSLATED;
}

INLINE enum reason translate_and_emit_46(struct __sk_buff *skb, const struct tc_upstream *up,
					 __u16 port)
{
	struct translation_46 out = {};

	translate_46(up->config, tc_data(skb), tc_end(skb), &up->packet, port, &out);
	return emit_46(skb, &up->packet.transport, &out);
}

PROGRAM int mapt_46(struct __sk_buff *skb)
{
	return tc_enter_46(skb, translate_and_emit_46);
}

PROGRAM int mapt_46_allocate(struct __sk_buff *skb)
{
	return tc_upstream(skb, tc_allocate_46, translate_and_emit_46);
}

PROGRAM int mapt_46_reclaim(struct __sk_buff *skb)
{
	tc_search(skb);
	return tc_upstream(skb, tc_reclaim_46, translate_and_emit_46);
}

PROGRAM int mapt_46_share(struct __sk_buff *skb)
{
	return tc_upstream(skb, tc_share_46, translate_and_emit_46);
}

PROGRAM int mapt_46_flow(struct __sk_buff *skb)
{
	return tc_upstream(skb, tc_flow_46, translate_and_emit_46);
}

PROGRAM int mapt_46_sweep(struct __sk_buff *skb)
{
	return tc_sweep(skb);
}

PROGRAM int mapt_46_hairpin(struct __sk_buff *skb)
{
	return tc_hairpin(skb);
}

PROGRAM int mapt_46_refuse(struct __sk_buff *skb)
{
	return tc_refuse_and_tell(skb);
}

PROGRAM int mapt_46_fragment(struct __sk_buff *skb)
{
	return tc_fragment_46(skb);
}

PROGRAM int mapt_46_first(struct __sk_buff *skb)
{
	return tc_upstream(skb, tc_port_46, translate_and_emit_46);
}

PROGRAM int mapt_46_pieces(struct __sk_buff *skb)
{
	const struct mode_46 mode = {
		.depart = depart_translated,
		.follow = follow_translated,
	};

	return tc_pieces_46(skb, mode);
}

PROGRAM int mapt_46_send(struct __sk_buff *skb)
{
	return tc_send(skb, DIRECTION_46, ETHERTYPE_IPV6, 0);
}

PROGRAM int mapt_control(struct __sk_buff *skb)
{
	return tc_control(skb);
}

INLINE enum reason emit_64(struct __sk_buff *skb, const struct transport *transport,
			   const struct translation_64 *out)
{
	if (tc_make_writable(skb, transport))
		return REASON_KERNEL_REFUSED;
	/* From here on there is no way back: the packet is changed. */
	tc_write_transport(skb, DIRECTION_64, transport, &out->change);
	if (kernel_skb_change_proto(skb, net16(ETHERTYPE_IPV4), 0))
		return REASON_KERNEL_REFUSED;
	tc_write_header(skb, L2_LENGTH, &out->ipv4, sizeof(out->ipv4));
	tc_write_ether_type(skb, ETHERTYPE_IPV4);
	return REASON_TRANSLATED;
}

INLINE enum reason translate_and_emit_64(struct __sk_buff *skb, struct tc_downstream *down)
{
	struct translated_64 packet;
	struct translation_64 out = {};
	enum reason reason = admit_translated_64(down->config, tc_data(skb), tc_end(skb), L2_LENGTH,
						 down->bytes, &packet);

	if (reason == REASON_FRAGMENT_INVALID)
		return tc_continue(skb, PROGRAM_FRAGMENT_64);
	if (reason)
		return reason;
	down->packets = tc_segments(skb, headers_length(&packet.transport));
	down->bytes = ipv4_length_from_ipv6(&packet.ipv6);
	translate_64(down->config, tc_data(skb), tc_end(skb), &packet, kernel_random(), &out);
	return emit_64(skb, &packet.transport, &out);
}

PROGRAM int mapt_64(struct __sk_buff *skb)
{
	return tc_downstream(skb, translate_and_emit_64);
}

PROGRAM int mapt_64_fragment(struct __sk_buff *skb)
{
	return tc_fragment_64(skb, keep_or_translate);
}

PROGRAM int mapt_64_pieces(struct __sk_buff *skb)
{
	return tc_fragment_64(skb, translate_fragment_64);
}

PROGRAM int mapt_64_send(struct __sk_buff *skb)
{
	return tc_send(skb, DIRECTION_64, ETHERTYPE_IPV4, BPF_F_INGRESS);
}
