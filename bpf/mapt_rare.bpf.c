/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* MAP-T (RFC 7599): the programs of a WAN interface that mapt.bpf.c tail-calls for what is rare.
 *
 *   mapt_46_error, mapt_64_error  ICMP errors; ICMPv6 errors, whoever sent them
 *   all others                    fragments: hook_tc_fragment_46.h, hook_tc_fragment_64.h
 *
 * A text of its own, so that both are compiled at the same time.
 */
#include "hook_tc_error_mapt.h"
#include "hook_tc_pieces_mapt.h"
#include "hook_tc_pieces_mapt_64.h"

PROGRAM int mapt_46_error(struct __sk_buff *skb)
{
	return tc_error_46(skb, is_translatable_46, tc_translate_error_46);
}

PROGRAM int mapt_46_fragment(struct __sk_buff *skb)
{
	return tc_fragment_46(skb);
}

PROGRAM int mapt_46_abandon(struct __sk_buff *skb)
{
	return tc_abandon_46(skb);
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

PROGRAM int mapt_64_error(struct __sk_buff *skb)
{
	return tc_downstream_once(skb, tc_translate_error_64);
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
