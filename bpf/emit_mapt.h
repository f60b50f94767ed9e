/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MAP-T (RFC 7599): TC writes what was computed. From its first write on there is no way back. */
#ifndef MAPXDP_EMIT_MAPT_H
#define MAPXDP_EMIT_MAPT_H

#include "hook_tc.h"
#include "translate46.h"
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

#endif
