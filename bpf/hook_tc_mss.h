/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TC, both directions: the last program a SYN with options goes through, when everything else
 * about it is done. Following options is nothing for the paths that every packet takes. */
#ifndef MAPXDP_HOOK_TC_MSS_H
#define MAPXDP_HOOK_TC_MSS_H

#include "hook_tc.h"
#include "mss.h"
#include "scratch.h"

/* Ends the program run where another program has to see to the packet's MSS. `moved` is by how
 * much its transport header has; `packets` and `bytes` are what it counts as. Without that
 * program the MSS stays. */
INLINE void tc_clamp_mss(struct __sk_buff *skb, const struct config *config,
			 const struct transport *transport, __s32 moved, enum program_index program,
			 __u32 packets, __u32 bytes)
{
	if (!(transport->tcp_flags & TCP_SYN) || !config->mss || !has_other_options(transport))
		return;
	skb->cb[CB_POSITION] = transport->offset + moved;
	skb->cb[CB_DONE] = transport->header_length;
	skb->cb[CB_RUNS] = packets;
	skb->cb[CB_VALUE] = bytes;
	tc_continue(skb, program);
}

/* Lowers one MSS, `option` octets behind the TCP header's fixed part. One at an odd place lies
 * across two words of the checksum: its two bytes count swapped. */
INLINE void tc_lower_mss(struct __sk_buff *skb, __u32 tcp, __u32 option, __u16 old, __u16 limit)
{
	__be16 value = net16(limit);
	__u16 from = option & 1 ? net16(swapped(old)) : net16(old);
	__u16 to = option & 1 ? net16(swapped(limit)) : value;

	tc_write(skb, tcp + sizeof(struct tcp_header) + option + 2, &value, sizeof(value));
	kernel_l4_csum_replace(skb, tcp + __builtin_offsetof(struct tcp_header, checksum), 0,
			       sum_fold32((__u64)(__u16)~from + to), 0);
}

/* True if the packet's MSS was lowered anywhere. */
INLINE _Bool tc_lower_all_mss(struct __sk_buff *skb, __u32 tcp, __u32 length, __u16 limit)
{
	struct scratch *scratch = the_scratch();
	__u32 read = length_from(TCP_OPTION_MSS_LENGTH, length);
	const __u8 *options = (const __u8 *)scratch;
	_Bool lowered = 0;
	__u64 found;

	if (!scratch || kernel_skb_load_bytes(skb, tcp + sizeof(struct tcp_header), scratch, read))
		return 0;
	found = all_mss(options, length);
#pragma clang loop unroll(disable)
	for (__u32 i = 0; i <= TCP_OPTIONS_MAX - TCP_OPTION_MSS_LENGTH; i++) {
		__u16 value = options[i + 2] << 8 | options[i + 3];

		if (!(found >> i & 1) || value <= limit)
			continue;
		tc_lower_mss(skb, tcp, i, value, limit);
		lowered = 1;
	}
	return lowered;
}

/* MSS program. */
INLINE int tc_mss(struct __sk_buff *skb, enum direction direction)
{
	__u32 limit = active_config()->mss;
	__u32 length = skb->cb[CB_DONE] - sizeof(struct tcp_header);
	__u32 packets = skb->cb[CB_RUNS];
	__u32 bytes = skb->cb[CB_VALUE];

	if (limit && tc_lower_all_mss(skb, skb->cb[CB_POSITION], length, limit))
		count_event(direction, REASON_MSS_CLAMPED);
	return tc_finish(direction, REASON_TRANSLATED, packets, bytes);
}

#endif
