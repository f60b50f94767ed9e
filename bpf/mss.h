/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Finding the Maximum Segment Size option (RFC 9293 section 3.7.1) of a SYN.
 *
 * A path with 20 or 40 bytes less than Ethernet's MTU loses full-sized segments wherever
 * ICMP is filtered; lowering the MSS that both ends announce avoids them (RFC 7597 section
 * 8.3, RFC 7599 section 10).
 */
#ifndef MAPXDP_MSS_H
#define MAPXDP_MSS_H

#include "inline.h"
#include "packet.h"

enum tcp_option { TCP_OPTION_END = 0, TCP_OPTION_NOP = 1, TCP_OPTION_MSS = 2 };
enum { TCP_OPTIONS_MAX = 40, TCP_OPTION_MSS_LENGTH = 4 };

/* The offset of the 16-bit MSS value in the frame; 0 where there is none. */
INLINE __u32 find_mss(const void *data, const void *end, const struct transport *tcp)
{
	__u32 start = tcp->offset + sizeof(struct tcp_header);
	__u32 length = tcp->header_length - sizeof(struct tcp_header);
	__u32 position = 0;

#pragma clang loop unroll(disable)
	for (int i = 0; i < TCP_OPTIONS_MAX; i++) {
		const __u8 *option;
		__u32 not_nop, is_nop, step;

		if (position + 2 > length || position + 2 > TCP_OPTIONS_MAX)
			return 0;
		option = data + start + position;
		OPAQUE(option);
		if ((const void *)(option + 2) > end || option[0] == TCP_OPTION_END)
			return 0;
		if (option[0] == TCP_OPTION_MSS && option[1] == TCP_OPTION_MSS_LENGTH)
			return position + TCP_OPTION_MSS_LENGTH > length ? 0 : start + position + 2;
		/* One octet for NOP, else its length octet; chosen without a branch, so that
		 * the verifier need not follow every mixture of the two. */
		not_nop = option[0] ^ TCP_OPTION_NOP;
		OPAQUE(not_nop);
		is_nop = (not_nop - 1) >> 31;
		step = is_nop | (option[1] & (is_nop - 1));
		if (step + is_nop < 2)
			return 0;
		position += step;
	}
	return 0;
}

#endif
