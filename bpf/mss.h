/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Finding the Maximum Segment Size options (RFC 9293 section 3.7.1) of a SYN.
 *
 * A path with 20 or 40 bytes less than Ethernet's MTU loses full-sized segments wherever
 * ICMP is filtered; lowering the MSS that both ends announce avoids them (RFC 7597 section
 * 8.3, RFC 7599 section 10). A SYN may say it more than once, and receivers differ in which
 * they believe.
 */
#ifndef MAPXDP_MSS_H
#define MAPXDP_MSS_H

#include "inline.h"
#include "packet.h"

enum tcp_option { TCP_OPTION_END = 0, TCP_OPTION_NOP = 1, TCP_OPTION_MSS = 2 };
enum { TCP_OPTIONS_MAX = 40, TCP_OPTION_MSS_LENGTH = 4 };

/* What is read of the memory that options lie in, whatever they say. */
enum { TCP_POSITION_MASK = 63, TCP_OPTIONS_ROOM = TCP_POSITION_MASK + 2 };

/* Of a header that has no room for other options: the offset of the 16-bit MSS value in the
 * frame; 0 where there is none. Others are left to all_mss. */
INLINE __u32 find_mss(const void *data, const void *end, const struct transport *tcp)
{
	__u32 start = tcp->offset + sizeof(struct tcp_header);
	const __u8 *option = data + start;

	if (tcp->header_length != sizeof(struct tcp_header) + TCP_OPTION_MSS_LENGTH ||
	    (const void *)(option + TCP_OPTION_MSS_LENGTH) > end)
		return 0;
	return option[0] == TCP_OPTION_MSS && option[1] == TCP_OPTION_MSS_LENGTH ? start + 2 : 0;
}

INLINE _Bool has_other_options(const struct transport *tcp)
{
	return tcp->header_length > sizeof(struct tcp_header) + TCP_OPTION_MSS_LENGTH;
}

/* A bit for each MSS option, by its position; `options` is memory of TCP_OPTIONS_ROOM octets, of
 * which `length` are options. */
INLINE __u64 all_mss(const __u8 *options, __u32 length)
{
	__u32 position = 0;
	__u64 found = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < TCP_OPTIONS_MAX; i++) {
		const __u8 *option = options + (position & TCP_POSITION_MASK);
		__u32 is_nop, is_mss, step;

		OPAQUE(option);
		if (position + 2 > length || option[0] == TCP_OPTION_END)
			break;
		/* One octet for NOP, else its length octet. */
		is_nop = is_same(option[0], TCP_OPTION_NOP);
		step = is_nop | (option[1] & (is_nop - 1));
		if (step + is_nop < 2)
			break;
		is_mss = is_same(option[0], TCP_OPTION_MSS) &
			 is_same(option[1], TCP_OPTION_MSS_LENGTH);
		if (is_mss && position + TCP_OPTION_MSS_LENGTH > length)
			break;
		found |= (__u64)is_mss << (position & TCP_POSITION_MASK);
		position += step;
	}
	return found;
}

#endif
