/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MAP-T (RFC 7599): the programs of a WAN interface.
 *
 *   mapt_46         TC egress, and what it tail-calls:
 *   mapt_46_…       see hook_tc_46.h and hook_tc_prepare.h
 *   mapt_64         TC ingress, and what it tail-calls:
 *   mapt_64_…       see hook_tc_extension.h
 *   mapt_control    run by the control plane
 *
 * Errors and fragments: mapt_rare.bpf.c.
 */
#include "emit_mapt.h"
#include "hook_tc_around.h"
#include "hook_tc_control.h"
#include "hook_tc_extension.h"
#include "hook_tc_mss.h"
#include "hook_tc_other.h"
#include "hook_tc_prepare.h"
#include "translate64.h"

/* By how much IPv6 headers are longer. */
enum { TRANSLATION_OVERHEAD = sizeof(struct ipv6_header) - sizeof(struct ipv4_header) };

INLINE enum reason translate_and_emit_46(struct __sk_buff *skb, const struct tc_upstream *up,
					 __u16 port)
{
	struct translation_46 out = {};

	translate_46(up->config, tc_data(skb), tc_end(skb), &up->packet, port, &out);
	if (emit_46(skb, &up->packet.transport, &out))
		return REASON_KERNEL_REFUSED;
	tc_clamp_mss(skb, up->config, &up->packet.transport, TRANSLATION_OVERHEAD, PROGRAM_MSS,
		     up->packets, up->bytes);
	return REASON_TRANSLATED;
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

PROGRAM int mapt_46_mss(struct __sk_buff *skb)
{
	return tc_mss(skb, DIRECTION_46);
}

PROGRAM int mapt_46_options(struct __sk_buff *skb)
{
	return tc_options(skb);
}

PROGRAM int mapt_46_checksum(struct __sk_buff *skb)
{
	return tc_checksum(skb);
}

PROGRAM int mapt_46_first(struct __sk_buff *skb)
{
	return tc_upstream(skb, tc_port_46, translate_and_emit_46);
}

PROGRAM int mapt_control(struct __sk_buff *skb)
{
	return tc_control(skb);
}

INLINE enum reason translate_and_emit_64(struct __sk_buff *skb, struct tc_downstream *down)
{
	struct translated_64 packet;
	struct translation_64 out = {};
	enum reason reason = admit_translated_64(down->config, tc_data(skb), tc_end(skb), L2_LENGTH,
						 down->bytes, &packet);

	if (reason)
		return reason;
	down->packets = tc_segments(skb, headers_length(&packet.transport));
	down->bytes = ipv4_length_from_ipv6(&packet.ipv6);
	translate_64(down->config, tc_data(skb), tc_end(skb), &packet, kernel_random(), &out);
	reason = emit_64(skb, &packet.transport, &out);
	/* Not even RFC 6935 allows it here, but such packets come: IPv4 may lack the checksum. */
	if (!reason && lacks_checksum(&packet.transport))
		count_event(DIRECTION_64, REASON_UDP_CHECKSUM_ABSENT);
	if (!reason)
		tc_clamp_mss(skb, down->config, &packet.transport, -(__s32)TRANSLATION_OVERHEAD,
			     PROGRAM_MSS_64, down->packets, down->bytes);
	return reason;
}

PROGRAM int mapt_64(struct __sk_buff *skb)
{
	return tc_downstream(skb, translate_and_emit_64);
}

PROGRAM int mapt_64_mss(struct __sk_buff *skb)
{
	return tc_mss(skb, DIRECTION_64);
}

PROGRAM int mapt_64_extension(struct __sk_buff *skb)
{
	return tc_extension(skb);
}

PROGRAM int mapt_64_refuse(struct __sk_buff *skb)
{
	return tc_refuse_and_tell_64(skb);
}

INLINE enum reason emit_other_46(struct __sk_buff *skb, const struct tc_upstream *up)
{
	__u8 protocol = up->packet.ipv4.header.protocol;
	__u32 offset = L2_LENGTH + sizeof(struct ipv4_header);
	struct ipv6_header ipv6;
	__u32 change;

	translate_other_46(up->config, &up->packet.ipv4, &ipv6, &change);
	if (tc_make_other_writable(skb, offset, protocol))
		return REASON_KERNEL_REFUSED;
	/* From here on there is no way back: the packet is changed. */
	tc_write_other_checksum(skb, offset, protocol, change);
	if (kernel_skb_change_proto(skb, net16(ETHERTYPE_IPV6), 0))
		return REASON_KERNEL_REFUSED;
	tc_write_header(skb, L2_LENGTH, &ipv6, sizeof(ipv6));
	tc_write_ether_type(skb, ETHERTYPE_IPV6);
	return REASON_TRANSLATED;
}

PROGRAM int mapt_46_other(struct __sk_buff *skb)
{
	return tc_other_46(skb, emit_other_46);
}

INLINE enum reason emit_other_64(struct __sk_buff *skb, const struct config *config,
				 const struct ipv6_view *ipv6, __be32 source)
{
	__u32 offset = L2_LENGTH + sizeof(struct ipv6_header);
	struct ipv4_header ipv4;
	__u32 change;

	translate_other_64(config, ipv6, source, kernel_random(), &ipv4, &change);
	if (tc_make_other_writable(skb, offset, ipv6->next_header))
		return REASON_KERNEL_REFUSED;
	/* From here on there is no way back: the packet is changed. */
	tc_write_other_checksum(skb, offset, ipv6->next_header, change);
	if (kernel_skb_change_proto(skb, net16(ETHERTYPE_IPV4), 0))
		return REASON_KERNEL_REFUSED;
	tc_write_header(skb, L2_LENGTH, &ipv4, sizeof(ipv4));
	tc_write_ether_type(skb, ETHERTYPE_IPV4);
	return REASON_TRANSLATED;
}

INLINE enum reason translate_other_and_emit_64(struct __sk_buff *skb, struct tc_downstream *down)
{
	struct translated_64 packet = {};
	enum reason reason = admit_translated_64(down->config, tc_data(skb), tc_end(skb), L2_LENGTH,
						 down->bytes, &packet);
	__u32 rule;

	if (reason != REASON_PROTOCOL_WITHOUT_PORTS)
		return reason;
	rule = rule_of_translated(down->config, packet.ipv6.source);
	packet.ends.source = ipv4_of_translated(down->config, rule, packet.ipv6.source);
	reason = check_other_64(down->config, packet.ipv6.next_header, packet.ipv6.payload_length,
				rule, packet.ipv6.source, packet.ends.source);
	if (reason)
		return reason;
	down->bytes = ipv4_length_from_ipv6(&packet.ipv6);
	return emit_other_64(skb, down->config, &packet.ipv6, packet.ends.source);
}

PROGRAM int mapt_64_other(struct __sk_buff *skb)
{
	return tc_downstream_once(skb, translate_other_and_emit_64);
}
