/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The programs for protocols without ports, one for each direction: where the address is this
 * CE's alone, and nobody translates ports. */
#ifndef MAPXDP_HOOK_TC_OTHER_H
#define MAPXDP_HOOK_TC_OTHER_H

#include "hook_tc_46.h"
#include "other_protocol.h"

/* Lets the header be written, and of the transport header what has to be: see
 * tc_make_writable. */
INLINE enum reason tc_make_other_writable(struct __sk_buff *skb, __u32 offset, __u8 protocol)
{
	struct transport transport = {
		.offset = offset,
		.header_length = covers_addresses(protocol) ? OTHER_HEADER : 0,
	};

	return tc_make_writable(skb, &transport);
}

INLINE void tc_write_other_checksum(struct __sk_buff *skb, __u32 offset, __u8 protocol,
				    __u32 change)
{
	__u64 lite = protocol == PROTOCOL_UDP_LITE ? BPF_F_MARK_MANGLED_0 : 0;

	if (covers_addresses(protocol))
		kernel_l4_csum_replace(skb, offset + OTHER_CHECKSUM_OFFSET, 0, change,
				       lite | BPF_F_PSEUDO_HDR);
}

/* How a mode writes a packet of theirs. */
typedef enum reason (*other_step)(struct __sk_buff *skb, const struct tc_upstream *up);

INLINE int tc_other_46(struct __sk_buff *skb, other_step emit)
{
	struct tc_upstream up = {};
	enum reason reason = tc_admit_46(skb, &up);

	if (reason == REASON_PROTOCOL_WITHOUT_PORTS)
		reason = check_other_46(up.config, &up.packet.ipv4);
	if (reason == REASON_TOO_BIG)
		reason = tc_refuse(skb, reason);
	if (!reason)
		reason = emit(skb, &up);
	return tc_finish(DIRECTION_46, reason, up.packets, up.bytes);
}

#endif
