/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MAP-E (RFC 7597) and lw4o6 (RFC 7596): the programs of a WAN interface that mape.bpf.c
 * tail-calls for what is rare.
 *
 *   mape_46_error, mape_64_error  ICMP errors; those in the tunnel, and ICMPv6 errors about it
 *   all others                    fragments: hook_tc_fragment_46.h, hook_tc_fragment_64.h
 *
 * A text of its own, so that both are compiled at the same time.
 */
#include "hook_tc_error_mape.h"
#include "hook_tc_pieces_mape.h"
#include "hook_tc_pieces_mape_64.h"

PROGRAM int mape_46_error(struct __sk_buff *skb)
{
	return tc_error_46(skb, is_encapsulatable_46, tc_encapsulate_error_46);
}

PROGRAM int mape_46_fragment(struct __sk_buff *skb)
{
	return tc_fragment_46(skb);
}

PROGRAM int mape_46_abandon(struct __sk_buff *skb)
{
	return tc_abandon_46(skb);
}

PROGRAM int mape_46_pieces(struct __sk_buff *skb)
{
	const struct mode_46 mode = {
		.depart = depart_encapsulated,
		.follow = follow_encapsulated,
	};

	return tc_pieces_46(skb, mode);
}

PROGRAM int mape_46_send(struct __sk_buff *skb)
{
	return tc_send(skb, DIRECTION_46, ETHERTYPE_IPV6, 0);
}

PROGRAM int mape_64_error(struct __sk_buff *skb)
{
	return tc_downstream_once(skb, tc_error_64);
}

PROGRAM int mape_64_fragment(struct __sk_buff *skb)
{
	return tc_fragment_64(skb, keep_or_decapsulate);
}

PROGRAM int mape_64_pieces(struct __sk_buff *skb)
{
	return tc_fragment_64(skb, decapsulate_fragment_64);
}

PROGRAM int mape_64_send(struct __sk_buff *skb)
{
	return tc_send(skb, DIRECTION_64, ETHERTYPE_IPV4, BPF_F_INGRESS);
}
