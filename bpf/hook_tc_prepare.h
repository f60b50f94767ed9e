/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* TC egress of the WAN, MAP-T: the programs that make a packet one that can be translated, and
 * hand it back to the entry.
 *
 *   options    leaves IPv4 options out
 *   checksum   computes the checksum that UDP lacks
 */
#ifndef MAPXDP_HOOK_TC_PREPARE_H
#define MAPXDP_HOOK_TC_PREPARE_H

#include "hook_tc_46.h"
#include "hook_tc_sum.h"
#include "ipv4_options.h"
#include "udp_checksum.h"

/* Reads the options; `sum` is theirs. */
INLINE enum reason tc_check_options(struct __sk_buff *skb, __u32 length, __u64 *sum)
{
	struct scratch *scratch = the_scratch();
	__u32 read = length_from(sizeof(__u32), length);

	if (!scratch ||
	    kernel_skb_load_bytes(skb, L2_LENGTH + sizeof(struct ipv4_header), scratch, read))
		return REASON_MALFORMED_IPV4;
	*sum = (__u32)kernel_csum_diff(0, 0, scratch, read, 0);
	return check_options((const __u8 *)scratch, length);
}

/* The header as it is without options; its checksum stays as right as it was. */
INLINE void leave_out_options(struct ipv4_header *header, __u32 length, __u64 sum)
{
	__u16 old_first = *(__u16 *)header;
	__u16 old_length = header->total_length;

	header->version_and_length = IPV4_NO_OPTIONS;
	header->total_length = net16(host16(old_length) - length);
	header->checksum = checksum_after(header->checksum, sum + old_first + old_length,
					  (__u64) * (__u16 *)header + header->total_length);
}

/* Options program. */
INLINE int tc_options(struct __sk_buff *skb)
{
	struct tc_upstream up;
	enum reason reason = tc_admit_46(skb, &up);
	struct ipv4_header *header = &up.packet.ipv4.header;
	__u32 length;
	__u64 sum = 0;

	if (reason != REASON_SOURCE_ROUTE)
		return tc_finish(DIRECTION_46, reason, up.packets, up.bytes);
	length = ipv4_header_length(header) - sizeof(*header);
	reason = tc_check_options(skb, length, &sum);
	if (reason == REASON_SOURCE_ROUTE)
		reason = tc_refuse(skb, reason);
	if (reason)
		return tc_finish(DIRECTION_46, reason, up.packets, up.bytes);
	leave_out_options(header, length, sum);
	if (kernel_skb_adjust_room(skb, -(__s32)length, BPF_ADJ_ROOM_NET, BPF_F_ADJ_ROOM_FIXED_GSO))
		return tc_finish(DIRECTION_46, REASON_KERNEL_REFUSED, up.packets, up.bytes);
	tc_write_header(skb, L2_LENGTH, header, sizeof(*header));
	return tc_finish(DIRECTION_46, tc_continue(skb, PROGRAM_ENTRY), up.packets, up.bytes);
}

/* The checksum of a whole UDP datagram of one packet. */
INLINE enum reason tc_udp_checksum(struct __sk_buff *skb, const struct upstream *packet,
				   __u16 *checksum)
{
	__u32 offset = packet->transport.offset;
	struct udp_header udp;
	__u32 sum = 0;

	if (skb->gso_size || kernel_skb_load_bytes(skb, offset, &udp, sizeof(udp)) ||
	    !tc_sum(skb, offset, host16(udp.length), &sum))
		return REASON_UDP_CHECKSUM_ZERO;
	*checksum = udp_checksum(&packet->ipv4.header, udp.length, sum);
	return REASON_TRANSLATED;
}

/* Checksum program. */
INLINE int tc_checksum(struct __sk_buff *skb)
{
	struct tc_upstream up;
	enum reason reason = tc_admit_46(skb, &up);
	__u16 checksum;

	if (reason == REASON_UDP_CHECKSUM_ZERO)
		reason = tc_udp_checksum(skb, &up.packet, &checksum);
	if (reason)
		return tc_finish(DIRECTION_46, reason, up.packets, up.bytes);
	if (kernel_skb_store_bytes(skb, checksum_offset(&up.packet.transport), &checksum,
				   sizeof(checksum), BPF_F_RECOMPUTE_CSUM))
		return tc_finish(DIRECTION_46, REASON_KERNEL_REFUSED, up.packets, up.bytes);
	count_event(DIRECTION_46, REASON_UDP_CHECKSUM_COMPUTED);
	return tc_finish(DIRECTION_46, tc_continue(skb, PROGRAM_ENTRY), up.packets, up.bytes);
}

#endif
